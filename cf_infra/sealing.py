"""The state's key for the day on which it is lost: sealed for several people, each of whom can open it alone.

`.state/recovery.age` is the key, encrypted by age (https://age-encryption.org/v1) for all recovery keys of
settings.yaml; `.state/recovery.json` says without any secret what was sealed for whom. Both lie in the bucket, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from cf_infra import deploy, keys, state_place
from cf_infra.bucket import bucket_of
from cf_infra.deployment import STATE, now
from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.files import write
from cf_infra.keyprovider import fingerprint, stack_key
from cf_infra.model import State
from cf_infra.names import is_sandbox
from cf_infra.parse import SETTINGS
from cf_infra.project import Folder, placed
from cf_infra.state_place import SEAL, SEALED, TOP, Beside

Say = Callable[[str], None]
VERSION = 1
SEAL_AGAIN = "on a machine that has the key:\ncf-infra state seal"


@dataclass(frozen=True)
class Sealed:
    """For whom the key was sealed; `fresh`: False if it was so already."""

    names: list[str]
    fresh: bool


def seal(folder: Folder, say: Say) -> Sealed:
    """Encrypt the current key, and the previous one if there is one, for all recovery keys. Raises Failure."""
    state = folder.inventory.settings.state
    if not state.recovery:
        raise Failure(*placed(folder, [_nobody()]))
    state_place.fetch_all(folder, say, send=False)
    sources = deploy.shared_key_sources(state)
    current = keys.state_key(sources.current, folder.root)
    previous = keys.state_key(sources.previous, folder.root, previous=True) if sources.previous else None
    names = [key.name for key in state.recovery]
    about = {
        "version": VERSION,
        "keys": {"current": fingerprint(current), "previous": fingerprint(previous) if previous else None},
        "recovery": _recovery(state),
    }
    if _is_so(folder.root, about):
        return Sealed(names, fresh=False)
    closed = _encrypted(folder, {"current": current.hex(), "previous": previous.hex() if previous else None})
    write(folder.root / STATE / SEALED, closed, mode=0o600)
    told = {**about, "sealed_at": now().isoformat(), "sha256": hashlib.sha256(closed).hexdigest()}
    raw = orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write(folder.root / STATE / SEAL, raw)
    bucket = bucket_of(state)
    if bucket is not None:
        Beside(folder.root, bucket, TOP, say).send()
    return Sealed(names, fresh=True)


def _nobody() -> Diagnostic:
    return Diagnostic(
        "missing-key",
        file=SETTINGS,
        path=("state",),
        label="without `recovery`",
        detail="settings.yaml names nobody who may recover the key.",
        hint="each of them makes a pair of keys and tells you the public one:\nage-keygen -o recovery.key",
        on_key=True,
    )


def _recovery(state: State) -> list[dict[str, str]]:
    return [{"name": key.name, "recipient": key.recipient} for key in state.recovery]


def _is_so(root: Path, about: dict[str, Any]) -> bool:
    told, path = _about(root), root / STATE / SEALED
    if told is None or not path.is_file():
        return False
    same = all(told.get(name) == value for name, value in about.items())
    return same and told.get("sha256") == hashlib.sha256(path.read_bytes()).hexdigest()


def _about(root: Path) -> dict[str, Any] | None:
    """What `recovery.json` says; None if there is none."""
    try:
        told = orjson.loads((root / STATE / SEAL).read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _encrypted(folder: Folder, content: dict[str, Any]) -> bytes:
    import pyrage

    recipients, faults = [], []
    for index, key in enumerate(folder.inventory.settings.state.recovery):
        try:
            recipients.append(pyrage.x25519.Recipient.from_str(key.recipient))
        except pyrage.RecipientError:
            path = ("state", "recovery", index, "recipient")
            detail = f"The recipient of `{key.name}` is mistyped: its checksum does not fit."
            hint = "copy it anew from its holder:\nage-keygen -y recovery.key"
            faults.append(
                Diagnostic("bad-value", file=SETTINGS, path=path, label="mistyped", detail=detail, hint=hint)
            )
    if faults:
        raise Failure(*placed(folder, faults))
    return bytes(pyrage.encrypt(orjson.dumps({"version": VERSION, **content}), recipients))


# ---------------------------------------------------------------------------------------- is it up to date


def findings(folder: Folder, key: bytes | None = None) -> list[Diagnostic]:
    """A warning if those who may recover the key could not, as things are. `key`: the current one, if it is at hand."""
    state = folder.inventory.settings.state
    if not state.recovery:
        return []
    told = _about(folder.root)
    if told is None or not (folder.root / STATE / SEALED).is_file():
        return [_old("The key of the state was never sealed for those who may recover it.")]
    try:
        before = {row["name"]: row["recipient"] for row in told["recovery"]}
        sealed = told["keys"]["current"]
    except (KeyError, TypeError):
        return [_old(f"{STATE}/{SEAL} cannot be read.")]
    wanted = {row["name"]: row["recipient"] for row in _recovery(state)}
    if wanted != before:
        new = sorted(name for name in wanted if before.get(name) != wanted[name])
        gone = sorted(name for name in before if before[name] != wanted.get(name))
        parts = [f"{some(new)} cannot open it"] * bool(new) + [f"{some(gone)} still can"] * bool(gone)
        return [_old(f"The key was sealed for others than settings.yaml names: {' and '.join(parts)}.")]
    if key is not None and sealed != fingerprint(key):
        return [_old(f"The key of fingerprint {sealed} was sealed; the current one has {fingerprint(key)}.")]
    return []


def _old(detail: str) -> Diagnostic:
    return Diagnostic("old-seal", detail=detail, hint=f"seal it {SEAL_AGAIN}")


def current_key(folder: Folder) -> bytes | None:
    """The current master key, to compare with: None if nobody is named to recover it, or if it cannot be had.

    Why it cannot, each stack that needs it says for itself.
    """
    state = folder.inventory.settings.state
    if not state.recovery:
        return None
    try:
        return keys.state_key(deploy.shared_key_sources(state).current, folder.root)
    except Failure:
        return None


# ------------------------------------------------------------------------------------------------ recover


@dataclass(frozen=True)
class Recovered:
    """Which files have a key now; `written`: those that did not have it before. `previous`: what is left to say."""

    files: list[Path]
    written: list[Path]
    previous: str = ""


def recover(folder: Folder, identities: bytes, to: Path | None, say: Say) -> Recovered:
    """Open the sealed key with a private key of age, and write it where settings.yaml looks for it. Raises Failure.

    The key is shown nowhere. It must fit the states that are there.
    """
    state_place.fetch_all(folder, say, send=False)
    opened = _opened(folder, _identities(identities))
    _ensure_fits(folder, [key for key in opened if key is not None])
    current, previous = opened
    sources = deploy.shared_key_sources(folder.inventory.settings.state)
    target = sources.current.path if to is None and isinstance(sources.current, keys.KeyFile) else to
    if target is None:
        detail = (
            "settings.yaml takes the key from a command, so there is no file that it could be written to."
        )
        hint = "have it written to a file, and put it from there where the command finds it:\n"
        hint += "cf-infra state recover --to FILE --identity FILE"
        raise Failure(Diagnostic("usage", detail=detail, hint=hint))
    wanted = [(target, current)]
    left = ""
    if previous is not None and isinstance(sources.previous, keys.KeyFile):
        wanted.append((sources.previous.path, previous))
    elif previous is not None:
        left = "The key before the last change of it was sealed, too. If it is still needed, name a file for it under\n"
        left += "`state.previous` in settings.yaml, and run the same again."
    written = [path for path, key in wanted if keys.store(path, folder.root, key)]
    return Recovered([path for path, _ in wanted], written, left)


def _identities(content: bytes) -> list[Any]:
    import pyrage

    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    if lines and lines[0] in ("age-encryption.org/v1", "-----BEGIN AGE ENCRYPTED FILE-----"):
        detail = "The private key is itself encrypted with a passphrase."
        raise Failure(
            Diagnostic(
                "wrong-identity",
                detail=detail,
                hint="open it first:\nage -d FILE | cf-infra state recover --identity -",
            )
        )
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError:
        found = []
    if not found:
        detail = "What was given is no private key of age."
        hint = "give the file that age-keygen wrote; its last line begins with AGE-SECRET-KEY-1"
        raise Failure(Diagnostic("wrong-identity", detail=detail, hint=hint))
    return found


def _opened(folder: Folder, identities: Sequence[Any]) -> tuple[bytes, bytes | None]:
    import pyrage

    path = folder.root / STATE / SEALED
    if not path.is_file():
        bucket = bucket_of(folder.inventory.settings.state)
        where = f"{bucket.where} has no {SEALED}" if bucket else f"There is no {STATE}/{SEALED}"
        raise Failure(
            Diagnostic("no-seal", detail=f"{where}: the key was never sealed there.", hint=SEAL_AGAIN)
        )
    try:
        told = orjson.loads(pyrage.decrypt(path.read_bytes(), identities))
        current, previous = told["current"], told["previous"]
        return _key(current), _key(previous) if previous is not None else None
    except pyrage.DecryptError:
        about = _about(folder.root) or {}
        names = some(row["name"] for row in about.get("recovery", ()))
        detail = f"{STATE}/{SEALED} cannot be opened with this private key. It was sealed for: {names}."
        raise Failure(
            Diagnostic(
                "wrong-identity", detail=detail, hint=f"use one of theirs; or seal it anew, {SEAL_AGAIN}"
            )
        ) from None
    except (ValueError, KeyError, TypeError):
        detail = f"What {STATE}/{SEALED} holds is no key of a state."
        raise Failure(
            Diagnostic("bad-key", detail=detail, hint="bring back an older version of it from the bucket")
        ) from None


def _key(digits: str) -> bytes:
    key = bytes.fromhex(digits)
    if len(key) != 32:
        raise ValueError(digits)
    return key


def _ensure_fits(folder: Folder, masters: Sequence[bytes]) -> None:
    """Ensure that each state that is there can be read: whoever may write to the bucket may have put another key in."""
    for deployment in state_place.with_state(folder):
        if is_sandbox(deployment.cloud):
            continue
        made = state_place.made_with(state_place.read_state(folder, deployment))
        if made not in {fingerprint(stack_key(master, deployment.name)) for master in masters}:
            detail = f"The sealed key does not read the state of `{deployment.name}`; nothing was written."
            hint = (
                f"bring back an older version of {SEALED}, or of the state, from the bucket: docs/recovery.md"
            )
            raise Failure(Diagnostic("wrong-key", detail=detail, hint=hint))
