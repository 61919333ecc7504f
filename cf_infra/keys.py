"""The keys: where the master key comes from, and what is derived from it.

One master key (32 bytes) serves all stacks. It stays in a file outside the repository or in whatever a command asks
(a password store, an HSM); everything else is derived: a key for each stack, from it the AES key of its state and
plans (in keyprovider.py, which OpenTofu runs) and the passwords that a cloud insists on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shlex
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cf_infra import keyprovider
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.keyprovider import COMMAND_VARIABLES, KeyProblem, derive, fingerprint, stack_key

__all__ = [
    "COMMAND_VARIABLES",
    "KeyCommand",
    "KeyFile",
    "KeySource",
    "Ring",
    "Sources",
    "encryption_environment",
    "fingerprint",
    "password",
    "review_keys",
    "ring",
    "sandbox_key_file",
    "stack_key",
    "state_key",
    "store",
]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file outside the repository, mode 600, with 64 hexadecimal digits."""

    path: Path


@dataclass(frozen=True, slots=True)
class KeyCommand:
    """A command of settings.yaml that prints 64 hexadecimal digits; run without a shell."""

    argv: tuple[str, ...]


KeySource = KeyFile | KeyCommand


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the master key comes from, and the one before it while a rotation lasts. `create`: see `state_key`."""

    current: KeySource
    previous: KeySource | None = None
    create: bool = False


@dataclass(frozen=True, slots=True)
class Ring:
    """A stack's keys: what is made now comes from `current`, what was made before a rotation from `previous`."""

    current: bytes = field(repr=False)
    previous: bytes | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Of the current key: what to note beside something that is derived from it."""
        return fingerprint(self.current)

    def by_fingerprint(self) -> dict[str, bytes]:
        """All that are at hand, by their fingerprints."""
        return {fingerprint(key): key for key in (self.previous, self.current) if key is not None}

    def of(self, noted: str | None = None) -> bytes:
        """The key whose fingerprint was noted; None: the current one. Raises Failure("no-key")."""
        if noted is None or noted == self.fingerprint:
            return self.current
        if self.previous is not None and noted == fingerprint(self.previous):
            return self.previous
        others = "" if self.previous is None else f" and {fingerprint(self.previous)}"
        detail = f"A key of fingerprint {noted} is needed; those at hand have {self.fingerprint}{others}."
        hint = (
            "the key file or command of this state: is it the right one? After a change of the key, name where the\n"
            "one before lies in settings.yaml, under `state.previous`, until nothing needs it any more"
        )
        raise Failure(Diagnostic("no-key", detail=detail, hint=hint))


def ring(sources: Sources, root: Path, stack: str) -> Ring:
    """The keys of a stack. Raises Failure: see `state_key`."""
    current = stack_key(state_key(sources.current, root, create=sources.create), stack)
    if sources.previous is None:
        return Ring(current)
    previous = stack_key(state_key(sources.previous, root, previous=True), stack)
    return Ring(current, previous if previous != current else None)


def review_keys(sources: Sources, root: Path) -> Ring:
    """What records of reviews are signed with: nothing else is. Raises Failure: see `state_key`."""
    current = derive(state_key(sources.current, root, create=sources.create), _REVIEWS)
    if sources.previous is None:
        return Ring(current)
    previous = derive(state_key(sources.previous, root, previous=True), _REVIEWS)
    return Ring(current, previous if previous != current else None)


_REVIEWS = "cf-infra review record 1"


def sandbox_key_file(environ: Mapping[str, str]) -> Path:
    """Where the sandbox's key lies: `${XDG_CONFIG_HOME:-~/.config}/cf-infra/sandbox.key`."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    return Path(home) / "cf-infra" / "sandbox.key"


def state_key(source: KeySource, root: Path, *, create: bool = False, previous: bool = False) -> bytes:
    """The master key, 32 bytes. `create` makes the file if there is none: for the sandbox only.

    `previous`: it is the one before a rotation, for the hint.

    Raises Failure: no-key with the commands that make one; bad-key if the file is inside the repository, may be
    used by others, or holds something else; disk-full or unreadable if a new one cannot be written.
    """
    try:
        if isinstance(source, KeyCommand):
            return keyprovider.master_from_command(list(source.argv))
        path = _outside(source.path, root)
        if create and not path.exists():
            _create(path)
        return keyprovider.master_from_file(str(path))
    except KeyProblem as problem:
        raise Failure(
            Diagnostic(problem.code, detail=problem.detail, hint=_way_out(problem.code, source, previous))
        ) from None


def password(key: bytes, name: str, generation: str) -> str:
    """The password of a cloud user in one rotation period: 43 characters of base64url, 256 bits.

    Derived from the stack's key, so that it need not be stored to be known again.
    """
    digest = derive(key, f"cf-infra password 1\0{name}\0{generation}")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def encryption_environment(
    source: KeySource | Sources, stack: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """What OpenTofu's environment needs to encrypt state and plans of `stack`; holds no secret.

    TF_ENCRYPTION, and for a key command what its password store needs (COMMAND_VARIABLES, as far as set). With a
    previous key, what was encrypted with that one can be read as well.
    """
    sources = source if isinstance(source, Sources) else Sources(source)
    found = {"TF_ENCRYPTION": _encryption(sources, stack)}
    if any(isinstance(one, KeyCommand) for one in (sources.current, sources.previous)):
        found |= {name: environ[name] for name in COMMAND_VARIABLES if name in environ}
    return found


def _encryption(sources: Sources, stack: str) -> str:
    # The key provider's name becomes part of the state: renaming it would make every state unreadable, and so would a
    # second one beside it, for OpenTofu's `fallback`. So one provider knows both keys. Its command is not part of the
    # state: the clone, the key file and the interpreter may move.
    interpreter = [sys.executable, "-I", "-S", str(Path(keyprovider.__file__).resolve())]
    kind, *rest = _reference(sources.current)
    if sources.previous is None:
        reference = [kind, stack, *rest]
    else:
        both = (json.dumps(_reference(one)) for one in (sources.current, sources.previous))
        reference = ["two", stack, *both]
    rule = {"method": "method.aes_gcm.stack", "enforced": True}
    document = {
        "key_provider": {
            "external": {"stack": {"command": [_literal(part) for part in [*interpreter, *reference]]}}
        },
        "method": {"aes_gcm": {"stack": {"keys": "${key_provider.external.stack}"}}},
        "state": rule,
        "plan": rule,
    }
    return json.dumps(document)


def _reference(source: KeySource) -> list[str]:
    if isinstance(source, KeyFile):
        return ["file", str(source.path.expanduser().absolute())]
    return ["command", *source.argv]


def _literal(text: str) -> str:
    """Text that OpenTofu's templates leave as it is."""
    return text.replace("${", "$${").replace("%{", "%%{")


def _outside(path: Path, root: Path) -> Path:
    path = path.expanduser().absolute()
    repository = _repository(root.resolve())
    # Both where it is named and where it really lies: a link in either direction would put it into a commit.
    for place in (path.parent.resolve() / path.name, path.resolve()):
        if place.is_relative_to(repository):
            raise KeyProblem("bad-key", f"The key file {path} lies inside the repository {repository}.")
    return path


def _repository(root: Path) -> Path:
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)


def store(path: Path, root: Path, master: bytes) -> bool:
    """Write a master key to a file of its own, mode 600; False if it is there already.

    Raises Failure: other-key if another one is there, and as `state_key`.
    """
    source = KeyFile(path.expanduser())
    if source.path.exists() or source.path.is_symlink():
        _same(source, root, master)
        return False
    try:
        _write(_outside(source.path, root), master.hex())
    except KeyProblem as problem:
        hint = _way_out(problem.code, source, previous=False)
        raise Failure(Diagnostic(problem.code, detail=problem.detail, hint=hint)) from None
    _same(source, root, master)  # somebody may have been faster
    return True


def _same(source: KeyFile, root: Path, master: bytes) -> None:
    there = state_key(source, root)
    if there != master:
        detail = (
            f"{source.path} has a key of fingerprint {fingerprint(there)}, and it would become one of "
            f"{fingerprint(master)}. A key is never written over: it may be the only one that reads some state."
        )
        hint = (
            "move it aside, or have it written elsewhere:\ncf-infra state recover --to FILE --identity FILE"
        )
        raise Failure(Diagnostic("other-key", detail=detail, hint=hint))


def _create(path: Path) -> None:
    _write(path, secrets.token_hex(32))


def _write(path: Path, digits: str) -> None:
    """Write a key's file, whole or not. Two runs at once agree on one: only the first link to the name succeeds."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(digits + "\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        code = "disk-full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "unreadable"
        detail = f"The key file {path} cannot be written: {error.strerror}."
        raise Failure(
            Diagnostic(code, detail=detail, hint="set XDG_CONFIG_HOME to a folder of yours")
        ) from None


def _way_out(code: str, source: KeySource, previous: bool) -> str:
    if isinstance(source, KeyCommand):
        name = "state.previous" if previous else "state.key"
        return f"run the command of `{name}` in settings.yaml by hand; it must print the key and nothing else"
    path = source.path
    if code == "bad-key":
        return (
            "keep the key outside the repository, as 64 hexadecimal digits, for yourself alone:\n"
            f"chmod 600 {shlex.quote(str(path))}"
        )
    if previous:
        return (
            "get the key from before the rotation from who made it. If nothing needs it any more, take\n"
            "`state.previous` out of settings.yaml, and CF_INFRA_PREVIOUS_KEY_FILE out of the environment"
        )
    return (
        "if this state exists already, get its key from who made it: a new one cannot read it.\n"
        "Otherwise make one, and keep a copy in your team's password store:\n"
        f"mkdir -p {shlex.quote(str(path.parent))}\n"
        f"(umask 077; set -C; python3 -c 'import secrets; print(secrets.token_hex(32))' > {shlex.quote(str(path))})"
    )
