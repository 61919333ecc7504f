"""Sinks that are files: with mode 600, encrypted for people by age, or the environment file of a Drone server."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import orjson

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import disk_fault, read_regular, write
from cf_infra.handing_over import document, handing_over
from cf_infra.material import Material
from cf_infra.model import AgeSink, CredentialKind, DroneEnvSink

LARGEST = 1 << 20
"""Bytes of an environment file, or of a note beside an encrypted one."""


@dataclass(frozen=True)
class ToFile:
    """`NAME.json` in the stack's folder of delivered things, mode 600. `instead_of`: what it stands in for."""

    folder: Path
    instead_of: str = ""

    @property
    def place(self) -> str:
        """Such as `a file in .state/lab/delivered`."""
        instead = f", in place of {self.instead_of}" if self.instead_of else ""
        return f"a file in {shown_folder(self.folder)}{instead}"

    def deliver(self, material: Material) -> None:
        """Write the file whole, unless it is so already."""
        with handing_over(self.place, material):
            write_if_changed(self.folder / f"{material.name}.json", document(material))

    def withdraw(self, owner: str, name: str) -> list[str]:
        """Remove the file."""
        return _removed(self.folder / f"{name}.json")


def shown_folder(folder: Path) -> str:
    """The end of a path, as people know it from the root folder."""
    return "/".join(folder.parts[-3:])


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write a file of the owner's alone; False if it was so already. Raises Failure like files.write."""
    with contextlib.suppress(OSError, Failure):
        same = read_regular(path, len(content), path.name) == content
        if same and path.stat().st_mode & 0o777 == 0o600:
            return False
    write(path, content, mode=0o600)
    return True


def _removed(path: Path) -> list[str]:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Failure(disk_fault(error, path)) from None
    return []


# -------------------------------------------------------------------------------------------------- age


@dataclass(frozen=True)
class ToAge:
    """A file that only those can read who have the key of a recipient (https://age-encryption.org/v1)."""

    settings: AgeSink
    folder: Path

    @property
    def place(self) -> str:
        """Such as `the age file keys.age (2 recipients)`."""
        name = self.settings.file or f"NAME.json.age in {shown_folder(self.folder)}"
        count = len(self.settings.recipients)
        return f"the age file {name} ({count} recipient{'s' * (count != 1)})"

    def deliver(self, material: Material) -> None:
        """Encrypt and write, unless a note beside it says that it holds the same for the same people.

        The note is a salted scrypt digest: the file cannot be compared, since it is another one each time.
        """
        with handing_over(self.place, material):
            path, note = self._file(material.name), self._note(material.name)
            content = document(material)
            if path.is_file() and self._is_noted(note, path, content):
                return
            sealed = self._sealed(content)
            note.unlink(missing_ok=True)
            write(path, sealed, mode=0o600)
            salt = secrets.token_bytes(16)
            known = {"salt": salt.hex(), "content": self._digest(content, salt), "file": _sha256(sealed)}
            write(note, orjson.dumps(known), mode=0o600)

    def withdraw(self, owner: str, name: str) -> list[str]:
        """Remove the file. Copies of it stay readable."""
        _removed(self._note(name))
        _removed(self._file(name))
        return [f"Copies of {self.place} stay readable for its recipients: what it held must be revoked."]

    def _file(self, name: str) -> Path:
        return located(self.settings.file or f"{name}.json.age", self.folder)

    def _note(self, name: str) -> Path:
        return self.folder / f".{name}.json.age.note"

    def _is_noted(self, note: Path, path: Path, content: bytes) -> bool:
        try:
            known = orjson.loads(read_regular(note, LARGEST, note.name))
            same = known["content"] == self._digest(content, bytes.fromhex(known["salt"]))
            return bool(same and known["file"] == _sha256(path.read_bytes()))
        except (OSError, Failure, ValueError, KeyError, TypeError):
            return False

    def _digest(self, content: bytes, salt: bytes) -> str:
        whole = content + "\0".join(sorted(self.settings.recipients)).encode()
        return hashlib.scrypt(whole, salt=salt, n=1 << 14, r=8, p=1).hex()

    def _sealed(self, content: bytes) -> bytes:
        import pyrage

        try:
            people = [pyrage.x25519.Recipient.from_str(one) for one in self.settings.recipients]
            return bytes(pyrage.encrypt(content, people, armored=True))
        except (pyrage.RecipientError, pyrage.EncryptError):
            detail = (
                "age does not take a recipient that settings.yaml names: one of the keys has a typing error."
            )
            raise Failure(
                Diagnostic("undelivered", detail=detail, hint="compare it with what `age-keygen -y` prints")
            ) from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def located(file: str, folder: Path) -> Path:
    """Where a file of settings.yaml lies; a relative one in the stack's folder of delivered things."""
    return folder / Path(file).expanduser()


# ------------------------------------------------------------------------------------------ Drone's environment

Restart = Callable[[], None]
_CHANGING = Lock()


@dataclass(frozen=True)
class ToDroneEnv:
    """Two variables in the environment file of a Drone server; everything else in it stays as people wrote it.

    `restart` has the server read it again; it comes again if an earlier run was killed before it was done.
    """

    settings: DroneEnvSink
    folder: Path
    restart: Restart | None = field(default=None, repr=False)

    @property
    def place(self) -> str:
        """Such as `Drone's environment file /etc/drone/server.env`."""
        return f"Drone's environment file {self.settings.file}"

    def deliver(self, material: Material) -> None:
        """Put the new value there and restart the server, unless the value is there already."""
        # One at a time: two credentials of one server are delivered side by side, and change the same file.
        with handing_over(self.place, material), _CHANGING:
            self._change(material.name, lambda lines: _with_value(lines, material))

    def withdraw(self, owner: str, name: str) -> list[str]:
        """Nothing is taken out: a server without its RPC secret does not start."""
        return [f"Take `{name}` out of {self.place}, and restart the server: it is declared no more."]

    def _change(self, name: str, change: Callable[[list[str]], list[str]]) -> None:
        path = located(self.settings.file, self.folder)
        waiting = self.folder / f".{name}.restart"
        before = self._read(path)
        after = "\n".join(change(before.split("\n"))).encode()
        if after != before.encode() or path.stat().st_mode & 0o777 != 0o600:
            owner = _owner(path)
            if self.restart is not None:
                write(waiting, b"", mode=0o600)
            write(path, after, mode=0o600)
            if owner.st_uid != os.geteuid():
                os.chown(path, owner.st_uid, owner.st_gid)
        if self.restart is not None and waiting.exists():
            self.restart()
            waiting.unlink(missing_ok=True)

    def _read(self, path: Path) -> str:
        try:
            raw = read_regular(path, LARGEST, str(path))
            return raw.decode()
        except FileNotFoundError:
            detail = (
                f"There is no file {self.settings.file}; it must be there with the server's other settings."
            )
            hint = f"make it on the server's machine:\ninstall -m 600 /dev/null {self.settings.file}"
            raise Failure(Diagnostic("undelivered", detail=detail, hint=hint)) from None
        except UnicodeDecodeError:
            raise Failure(
                Diagnostic("undelivered", detail="The file is not UTF-8.", hint="look at it with an editor")
            ) from None


def _owner(path: Path) -> os.stat_result:
    """Whose the file is. Raises Failure where what replaces it would belong to somebody else."""
    facts = path.stat()
    if os.geteuid() not in (0, facts.st_uid):
        detail = (
            f"The file belongs to another user (number {facts.st_uid}), who could not read what replaces it."
        )
        raise Failure(
            Diagnostic("undelivered", detail=detail, hint="run this as the file's owner, or as root")
        )
    return facts


_LINE = re.compile(r"^(\s*(?:export\s+)?)(DRONE_RPC_SECRET|DRONE_USER_CREATE)(\s*=\s*)(.*?)\s*$")
_MACHINE = {"machine": "true", "admin": "true"}


def _with_value(lines: list[str], material: Material) -> list[str]:
    """The lines of the file with the credential's value; a variable that stands twice is set at its last line."""
    variable = _VARIABLES[material.kind]
    places = [i for i, line in enumerate(lines) if (found := _LINE.match(line)) and found[2] == variable]
    if not places:
        end = len(lines) - 1 if lines[-1] == "" else len(lines)
        return [*lines[:end], f"{variable}={_value(material, {})}", ""]
    found = _LINE.match(lines[places[-1]])
    assert found is not None
    quote = found[4][:1] if found[4][:1] in ("'", '"') and found[4][-1:] == found[4][:1] else ""
    known = dict(
        part.split(":", 1) for part in found[4].strip("'\"").split(",") if ":" in part
    )  # of DRONE_USER_CREATE
    written = f"{found[1]}{found[2]}{found[3]}{quote}{_value(material, known)}{quote}"
    return [
        *(line for i, line in enumerate(lines[: places[-1]]) if i not in places),
        written,
        *lines[places[-1] + 1 :],
    ]


_VARIABLES = {
    CredentialKind.DRONE_RPC_SECRET: "DRONE_RPC_SECRET",
    CredentialKind.DRONE_TOKEN: "DRONE_USER_CREATE",
}


def _value(material: Material, known: Mapping[str, str]) -> str:
    fields = material.fields
    if material.kind is CredentialKind.DRONE_RPC_SECRET:
        return fields["rpc_secret"]
    parts = {"username": "", **_MACHINE, **known}
    parts |= {"username": fields["username"], "token": fields["token"]}
    return ",".join(f"{key}:{value}" for key, value in parts.items())
