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
from dataclasses import dataclass
from pathlib import Path

from cf_infra import keyprovider
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.keyprovider import COMMAND_VARIABLES, KeyProblem, derive, fingerprint, stack_key

__all__ = [
    "COMMAND_VARIABLES",
    "KeyCommand",
    "KeyFile",
    "KeySource",
    "encryption_environment",
    "fingerprint",
    "password",
    "sandbox_key_file",
    "stack_key",
    "state_key",
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


def sandbox_key_file(environ: Mapping[str, str]) -> Path:
    """Where the sandbox's key lies: `${XDG_CONFIG_HOME:-~/.config}/cf-infra/sandbox.key`."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    return Path(home) / "cf-infra" / "sandbox.key"


def state_key(source: KeySource, root: Path, *, create: bool = False) -> bytes:
    """The master key, 32 bytes. `create` makes the file if there is none: for the sandbox only.

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
            Diagnostic(problem.code, detail=problem.detail, hint=_way_out(problem.code, source))
        ) from None


def password(key: bytes, name: str, generation: int) -> str:
    """The password of a cloud user in one rotation period: 43 characters of base64url, 256 bits.

    Derived from the stack's key, so that it need not be stored to be known again.
    """
    digest = derive(key, f"cf-infra password 1\0{name}\0{generation}")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def encryption_environment(source: KeySource, stack: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What OpenTofu's environment needs to encrypt state and plans of `stack`; holds no secret.

    TF_ENCRYPTION, and for a key command what its password store needs (COMMAND_VARIABLES, as far as set).
    """
    found = {"TF_ENCRYPTION": _encryption(source, stack)}
    if isinstance(source, KeyCommand):
        found |= {name: environ[name] for name in COMMAND_VARIABLES if name in environ}
    return found


def _encryption(source: KeySource, stack: str) -> str:
    # The key provider's name becomes part of the state: renaming it would make every state unreadable.
    # Its command does not, so the clone, the key file and the interpreter may move.
    interpreter = [sys.executable, "-I", "-S", str(Path(keyprovider.__file__).resolve())]
    reference = (
        ["file", stack, str(source.path.expanduser().absolute())]
        if isinstance(source, KeyFile)
        else ["command", stack, *source.argv]
    )
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


def _create(path: Path) -> None:
    """A new random key. Two runs at once agree on one: only the first link to the name succeeds."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")
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


def _way_out(code: str, source: KeySource) -> str:
    if isinstance(source, KeyCommand):
        return (
            "run the command of `state.key` in settings.yaml by hand; it must print the key and nothing else"
        )
    path = source.path
    if code == "bad-key":
        return (
            "keep the key outside the repository, as 64 hexadecimal digits, for yourself alone:\n"
            f"chmod 600 {shlex.quote(str(path))}"
        )
    return (
        "if this state exists already, get its key from who made it: a new one cannot read it.\n"
        "Otherwise make one, and keep a copy in your team's password store:\n"
        f"mkdir -p {shlex.quote(str(path.parent))}\n"
        f"(umask 077; set -C; python3 -c 'import secrets; print(secrets.token_hex(32))' > {shlex.quote(str(path))})"
    )
