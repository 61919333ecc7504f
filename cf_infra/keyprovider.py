"""The program that OpenTofu runs to get the key of a stack's state: one exchange of JSON, then it ends.

OpenTofu starts it several times in every run, so it imports little of the standard library, nothing else, and is
started by its path (`python -I -S .../keyprovider.py`): what lies in the working folder cannot be imported into it.
It finds the master key by a reference (a file, or a command to run), so that no environment holds a key.
Protocol: `internal/encryption/keyprovider/external/protocol` in OpenTofu's source, version 1.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import stat
import subprocess
import sys
from base64 import b64encode
from binascii import unhexlify

TYPE_CHECKING = False  # what `typing` says costs as much to import as all the rest of this
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MARK = "cf-infra key provider: "
"""Begins each complaint on stderr, which OpenTofu quotes in its own error; tofu.py finds it there."""
COMMAND_TIMEOUT = 60.0
"""Seconds that a command may take to print the key. OpenTofu itself gives the whole exchange one minute."""


BASE_VARIABLES = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
)
"""What every program that we start may have of our environment. The list stands here because this file runs alone."""
COMMAND_VARIABLES = (
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "GPG_TTY",
    "SSH_AUTH_SOCK",
    "USER",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
)
"""What password stores need to find their agent; none of them is a secret. Commands of settings.yaml get these, too."""


def command_environment(environ: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """The environment of a command of settings.yaml: what is named here and in `more`, and nothing else of ours.

    The token for GitHub, Cirun's key and whatever else a shell holds is no business of a password store.
    """
    names = (*BASE_VARIABLES, *COMMAND_VARIABLES, *more)
    return {name: environ[name] for name in names if name in environ}


class KeyProblem(Exception):
    """The key cannot be had; `code` is one of codes.py, `detail` says why in whole sentences, without the key."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def master_from_file(path: str) -> bytes:
    """The 32 bytes that a file holds as 64 hexadecimal digits.

    A symbolic link is followed; what it leads to must be a plain file that only its owner may read or write.
    Raises KeyProblem: no-key (there is none), bad-key (wrong form, owner or mode).
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyProblem("no-key", f"The key file {path} does not exist.") from None
    except OSError as error:
        raise KeyProblem("bad-key", f"The key file {path} cannot be read: {error.strerror}.") from None
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise KeyProblem("bad-key", f"The key {path} is not a plain file.")
        if facts.st_uid not in (os.geteuid(), 0):
            raise KeyProblem(
                "bad-key", f"The key file {path} belongs to another user (number {facts.st_uid})."
            )
        if facts.st_mode & 0o077:
            mode = stat.S_IMODE(facts.st_mode)
            raise KeyProblem(
                "bad-key", f"The key file {path} has mode {mode:o}: others than its owner may use it."
            )
        text = os.read(handle, 1024)
    finally:
        os.close(handle)
    return _from_hex(text, f"The key file {path}")


def master_from_command(argv: list[str]) -> bytes:
    """The 32 bytes that a command prints as 64 hexadecimal digits; it has 60 seconds.

    Raises KeyProblem: no-key (it cannot be started, fails or is silent), bad-key (it prints something else).
    """
    name = argv[0]
    try:
        done = subprocess.run(
            argv,
            env=command_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise KeyProblem(
            "no-key", f"The key command {name} gave no answer in {COMMAND_TIMEOUT:.0f} s."
        ) from None
    except OSError as error:
        raise KeyProblem("no-key", f"The key command {name} cannot be started: {error.strerror}.") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        # A command that fails half-way may have said a part of the key.
        last = f" Its last words: {re.sub('[0-9A-Fa-f]{16,}', '(secret)', said[-1])[:200]}" if said else ""
        raise KeyProblem("no-key", f"The key command {name} ended with exit status {done.returncode}.{last}")
    return _from_hex(done.stdout, f"What the key command {name} prints")


def _from_hex(text: bytes, subject: str) -> bytes:
    digits = text.strip()
    try:
        master = unhexlify(digits)
    except ValueError:
        master = b""
    if len(master) != 32:
        raise KeyProblem("bad-key", f"{subject} is not 64 hexadecimal digits ({len(digits)} characters).")
    return master


def stack_key(master: bytes, stack: str) -> bytes:
    """32 bytes for one stack: HMAC-SHA256 of its name under the master key."""
    return derive(master, f"cf-infra stack key 1\0{stack}")


def encryption_key(key: bytes) -> bytes:
    """The AES-256 key for a stack's state and plans; passwords come from the same stack key by other labels."""
    return derive(key, "cf-infra state encryption 1")


def fingerprint(key: bytes) -> str:
    """16 hexadecimal digits that tell two stack keys apart and say nothing about them."""
    return derive(key, "cf-infra fingerprint 1")[:8].hex()


def derive(key: bytes, label: str) -> bytes:
    """HMAC-SHA256 of a label: 32 bytes that only the key's holder can make."""
    return hmac.digest(key, label.encode(), "sha256")


def answer(
    master: bytes, stack: str, question: object, previous: Callable[[], bytes] | None = None
) -> dict[str, object]:
    """What OpenTofu is told. `question` is None where it will only encrypt, else what we said at encryption.

    What was encrypted by the key before a change of it is read with `previous`, which is asked for only then; what is
    written is always encrypted by the current one.
    Raises KeyProblem: foreign-state or wrong-key, if the data was encrypted for another stack or by another key.
    """
    key = stack_key(master, stack)
    ours = {"stack": stack, "key": fingerprint(key)}
    keys = {"encryption_key": b64encode(encryption_key(key)).decode()}
    if isinstance(question, dict):
        theirs = question.get("external_data") or {}
        keys["decryption_key"] = b64encode(encryption_key(_made_with(key, ours, theirs, previous))).decode()
    return {"keys": keys, "meta": {"external_data": ours}}


def _made_with(
    key: bytes, ours: dict[str, str], theirs: dict[str, str], previous: Callable[[], bytes] | None
) -> bytes:
    stack, wanted = theirs.get("stack", ours["stack"]), theirs.get("key", ours["key"])
    if stack != ours["stack"]:
        raise KeyProblem("foreign-state", f"It was made for {stack}, not for {ours['stack']}.")
    if wanted == ours["key"]:
        return key
    before = stack_key(previous(), ours["stack"]) if previous is not None else None
    if before is not None and wanted == fingerprint(before):
        return before
    at_hand = (
        "the key at hand gives"
        if before is None
        else f"the previous key gives {fingerprint(before)}, the current"
    )
    raise KeyProblem(
        "wrong-key", f"It was encrypted with a key of fingerprint {wanted}; {at_hand} {ours['key']}."
    )


def _master(kind: str, *rest: str) -> bytes:
    return master_from_file(rest[0]) if kind == "file" else master_from_command(list(rest))


def main(arguments: list[str]) -> int:
    """`file STACK PATH`, `command STACK ARGV...`, or `two STACK CURRENT PREVIOUS`; answers on stdout.

    CURRENT and PREVIOUS are JSON: ["file", PATH] or ["command", ARGV...]. Complaints go to stderr.
    """
    sys.stdout.write('{"magic":"OpenTofu-External-Key-Provider","version":1}\n')
    sys.stdout.flush()
    kind, stack, *rest = arguments
    try:
        question = json.load(sys.stdin)
        if kind == "two":
            current, before = (json.loads(text) for text in rest)
            reply = answer(_master(*current), stack, question, lambda: _master(*before))
        else:
            reply = answer(_master(kind, *rest), stack, question)
    except KeyProblem as problem:
        # The space keeps OpenTofu from breaking the line.
        sys.stderr.write(f" {MARK}{json.dumps([problem.code, problem.detail])}\n")
        return 1
    json.dump(reply, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
