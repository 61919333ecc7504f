"""Real logins with delivered credentials: each does the smallest useful thing with one, and undoes it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cf_infra import canary_cloud, canary_services
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.mask import Masker
from cf_infra.material import Canary, Material
from cf_infra.model import CredentialKind, Settings
from cf_infra.openstack import Login
from cf_infra.rest import Say

SKIPPED = "skipped: "
"""Begins what is said of a credential that could not be tried here."""
FORM_ONLY = "only its form was looked at: there is nothing to log in to"
WORKERS = 16
"""So many logins at once: a cloud's Keystone answers few at a time, and more would only wait there."""
LONGEST = 120.0
"""Seconds that one login may take, all requests together."""


def canary(
    material: Material,
    settings: Settings,
    environ: Mapping[str, str],
    login: Login | None = None,
    say: Say = lambda _text: None,
) -> str:
    """Log in with the delivered fields and nothing else; returns what was seen, in a few words.

    `login`: how the stack's cloud is reached (its certificate, its region); nobody's own rights are taken from it.
    Raises Failure("canary-failed"). What cannot be tried here begins with SKIPPED.
    """
    try:
        return _seen(material, settings, environ, login, say)
    except Failure as failure:
        hidden = Masker(material.hidden())
        raise Failure(*(_failed(material, one, hidden) for one in failure.diagnostics)) from None


def canary_of(
    settings: Settings, environ: Mapping[str, str], login: Login | None = None, say: Say = lambda _text: None
) -> Canary:
    """The canary as one function of the credential."""
    return lambda material: canary(material, settings, environ, login, say)


def _seen(
    material: Material, settings: Settings, environ: Mapping[str, str], login: Login | None, say: Say
) -> str:
    fields = material.fields
    match material.kind:
        case CredentialKind.USER | CredentialKind.APPLICATION_CREDENTIAL:
            return canary_cloud.openstack(material, login)
        case CredentialKind.S3_KEY:
            return canary_cloud.s3(fields)
        case CredentialKind.AWS_ACCESS_KEY:
            return canary_cloud.aws_key(fields)
        case CredentialKind.AWS_ROLE:
            token = canary_cloud.web_identity(environ)
            if token is None:
                return f"{SKIPPED}there is no OIDC token here; a job of GitHub Actions with `id-token: write` has one"
            return canary_cloud.aws_role(fields, token)
        case CredentialKind.GITHUB_APP_KEY:
            return canary_services.github_app(fields, settings, say)
        case CredentialKind.GITHUB_TOKEN:
            return canary_services.github_token(fields, settings, say)
        case CredentialKind.DRONE_TOKEN | CredentialKind.DRONE_RPC_SECRET:
            if "server" not in fields:
                return f"{SKIPPED}the stack file does not say which `server` takes it"
            is_token = material.kind is CredentialKind.DRONE_TOKEN
            return (canary_services.drone_token if is_token else canary_services.drone_rpc)(fields, say)
        case CredentialKind.SSH_KEY | CredentialKind.SECRET:
            return FORM_ONLY


_WORDS = {
    "login-refused": "The cloud refuses the login: wrong, expired, deleted, or for another project.",
    "token-refused": "The service does not know it: wrong, expired or revoked.",
}


def _failed(material: Material, cause: Diagnostic, hidden: Masker) -> Diagnostic:
    what = f"`{material.owner}/{material.name}`, generation {material.generation}, does not work."
    hint = (
        "the credential before it stays; see what is there, and run the same command again:\n"
        "cf-infra status --keys"
    )
    return replace(
        cause,
        code="canary-failed",
        file=f"stacks/{material.owner}.yaml",
        path=("credentials", material.name),
        on_key=True,
        label="a login with it failed",
        detail=hidden.text(f"{what} {_WORDS.get(cause.code, cause.detail)}"),
        hint=hint,
    )


# ------------------------------------------------------------------------------------------------ many at once


@dataclass(frozen=True)
class Tried:
    """How one login ended: what was seen, or why it failed."""

    material: Material
    said: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()
    seconds: float = 0.0

    @property
    def proven(self) -> bool:
        """Did a real login work (or, where there is nothing to log in to, was its form right)?"""
        return not self.diagnostics and not self.skipped

    @property
    def skipped(self) -> bool:
        """Could it not be tried here? `said` tells why."""
        return self.said.startswith(SKIPPED)


def prove_all(
    logins: Sequence[tuple[Material, Canary]],
    say: Say = lambda _text: None,
    *,
    workers: int = WORKERS,
    longest: float = LONGEST,
) -> list[Tried]:
    """Try all logins side by side, and return how each ended, in the order given.

    One that is stuck for `longest` seconds is given up as failed, and its thread left behind: threads cannot be ended,
    and this one keeps nobody from ending the program. Ctrl-C is raised at once.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    events: queue.SimpleQueue[tuple[int, Tried | BaseException | None]] = queue.SimpleQueue()
    for index in range(len(logins)):
        waiting.put(index)
    begin = _starter(logins, waiting, events)
    for _ in range(min(workers, len(logins))):
        begin()
    proofs: dict[int, Tried] = {}
    begun: dict[int, float] = {}
    while len(proofs) < len(logins):
        for index, proof in _arrived(events):
            if isinstance(proof, BaseException):
                raise proof
            if proof is None:
                begun[index] = time.monotonic()
            elif index not in proofs:
                proofs[index] = proof
                _tell(say, proof, len(proofs), len(logins))
        for index, since in begun.items():
            if index not in proofs and time.monotonic() - since > longest:
                proofs[index] = _stuck(logins[index][0], longest)
                _tell(say, proofs[index], len(proofs), len(logins))
                begin()  # in place of the one that is stuck
    return [proofs[index] for index in range(len(logins))]


def _starter(
    logins: Sequence[tuple[Material, Canary]],
    waiting: queue.SimpleQueue[int],
    events: queue.SimpleQueue[tuple[int, Tried | BaseException | None]],
) -> Callable[[], None]:
    def work() -> None:
        with suppress(queue.Empty):
            while True:
                index = waiting.get_nowait()
                events.put((index, None))
                try:
                    events.put((index, _proof(*logins[index])))
                except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for it
                    events.put((index, error))

    return lambda: threading.Thread(target=work, daemon=True).start()


def _arrived(
    events: queue.SimpleQueue[tuple[int, Tried | BaseException | None]],
) -> Iterable[tuple[int, Tried | BaseException | None]]:
    """What the threads told, at the latest after a moment: then somebody looks at the clock."""
    with suppress(queue.Empty):
        yield events.get(timeout=0.2)
        while True:
            yield events.get_nowait()


def _proof(material: Material, canary: Canary) -> Tried:
    begun = time.monotonic()
    said = ""
    faults: tuple[Diagnostic, ...] = ()
    try:
        said = canary(material)
    except Failure as failure:
        faults = tuple(failure.diagnostics)
    except Exception as error:  # noqa: BLE001 - one login that goes wrong must not hide the others
        # Its text may have the value in it.
        bug = Diagnostic(
            "bug", detail=f"The login ended with {type(error).__name__}. This is a bug in cf-infra."
        )
        faults = (_failed(material, bug, Masker(material.hidden())),)
    return Tried(material, said, faults, time.monotonic() - begun)


def _stuck(material: Material, longest: float) -> Tried:
    cause = Diagnostic(
        "canary-failed", detail=f"The login had no end after {longest:.0f} s and was given up."
    )
    return Tried(material, diagnostics=(_failed(material, cause, Masker()),), seconds=longest)


def _tell(say: Say, proof: Tried, done: int, of: int) -> None:
    name = f"{proof.material.owner}/{proof.material.name}, generation {proof.material.generation}"
    how = proof.said if not proof.diagnostics else "FAILED"
    say(f"[{done}/{of}] {name}: {how} ({proof.seconds:.1f} s)")


def boot_canary(
    material: Material, flavor: str, image: str, network: str, say: Say, login: Login | None = None
) -> str:
    """Boot a server of the offered flavor and image with the delivered login, and delete it whatever happens.

    Raises Failure("canary-failed").
    """
    try:
        return canary_cloud.boot(material, flavor, image, network, say, login)
    except Failure as failure:
        hidden = Masker(material.hidden())
        raise Failure(*(_failed(material, one, hidden) for one in failure.diagnostics)) from None
