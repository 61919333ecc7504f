"""Looks for known secrets in all that a run left or showed: files, git objects, archives, output, processes.

A secret is told by its name and the form in which it was found, never by its value. What may hold which secret stands
in `may_hold` and MAY_INHERIT, and nowhere else.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import yaml

from cf_infra import keyprovider, keys
from cf_infra.compile import PROVISIONER

PRODUCT = str(Path(keyprovider.__file__).resolve().parent) + os.sep
SHORTEST = 12
"""Bytes. What is shorter turns up by chance, and would be no secret anyway."""
PAUSE = 0.03
"""Seconds between two looks at the processes below this one, at least."""
SHARE = 0.04
"""Of its time at most, this thread looks; the rest it leaves to the tests."""
KEY, LOGIN, CLOUD, SERVICE = "key", "login", "cloud", "service"
"""Kinds of secrets: the master key and what is derived to encrypt; what a sink gets; clouds.yaml; a service's token."""


LOGIN_IN_JSON = re.compile(rb'"([a-z0-9-]{1,40})/([0-9]{1,6})(?:\.[0-9]+)?"')
"""How files name a generation of a login: `cirun/292`, `cirun/292.1`."""
Logins = set[tuple[str, str]]


@dataclass(frozen=True)
class Secret:
    """Something that must stand nowhere but where `may_hold` says."""

    name: str
    value: bytes
    kind: str = SERVICE


@dataclass(frozen=True, order=True)
class Leak:
    """Where which secret stands, in which form."""

    where: str
    secret: str
    form: str

    def __str__(self) -> str:
        return f"{self.where}: {self.secret}, {self.form}"


# ------------------------------------------------------------------------------------------------------ forms


def forms(value: bytes) -> dict[bytes, str]:
    """How a secret may be written, each with the name of the form; a key of several lines also line by line."""
    found: dict[bytes, str] = {}
    for part in dict.fromkeys([value, *value.splitlines()]):
        for name, written in _forms(part):
            if len(written) >= SHORTEST:
                found.setdefault(written, name)
    return found


def _forms(raw: bytes) -> Iterator[tuple[str, bytes]]:
    yield "plain", raw
    for encode, name in ((b64encode, "base64"), (urlsafe_b64encode, "base64 for addresses")):
        for shift in range(3):
            # Inside of a longer text: the signs that depend on the neighbours are left out.
            written = encode(b"\0" * shift + raw).rstrip(b"=")
            end = len(written) - bool((shift + len(raw)) % 3)
            yield name, written[(0, 2, 3)[shift] : end]
    yield "hexadecimal", raw.hex().encode()
    yield "hexadecimal", raw.hex().upper().encode()
    yield "backwards", raw[::-1]
    with suppress(UnicodeDecodeError):
        text = raw.decode()
        yield "UTF-16", text.encode("utf-16-le")
        yield from ((name, one.encode()) for name, one in _written(text))


def _written(text: str) -> Iterator[tuple[str, str]]:
    for one in (quote(text), quote(text, safe=""), quote_plus(text), quote(text, safe="!*'()~")):
        yield "URL-escaped", one
        yield "URL-escaped", re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), one)
    for one in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
        go = re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", one)
        for written in (one, go):
            yield "JSON-escaped", written[1:-1]
            yield "JSON-escaped twice", json.dumps(written)[3:-3]
    for style in ('"', "'", None):
        written = yaml.safe_dump(text, default_style=style, width=10**9).removesuffix("...\n").strip()
        yield "as YAML writes it", written.strip("\"'")
    yield "as Python writes it", repr(text)[1:-1]
    yield "quoted for a shell", shlex.quote(text).strip("'")


# ----------------------------------------------------------------------------------------------------- search


class Needles:
    """All forms of some secrets, to be looked for at once."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.forms: dict[bytes, list[tuple[Secret, str]]] = {}
        for secret in dict.fromkeys(secrets):
            for written, form in forms(secret.value).items():
                self.forms.setdefault(written, []).append((secret, form))

    def of(self, data: bytes) -> Iterator[tuple[Secret, str]]:
        """What stands in `data`."""
        for written, owners in self.forms.items():
            if written in data:
                yield from owners

    def files(self, *folders: Path) -> list[Path]:
        """The files below some folders in which anything of it stands. grep looks for thousands of texts at once."""
        # It takes one text for each line; of a form that has line ends the longest piece stands for all.
        lines = {max(written.split(b"\n"), key=len) for written in self.forms} - {b""}
        if not lines or not folders:
            return []
        done = subprocess.run(
            ["grep", "-rlaF", "-D", "skip", "--null", "-f", "-", "--", *map(str, folders)],
            input=b"\n".join(sorted(lines)) + b"\n",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdout=subprocess.PIPE,
        )
        # 2: a file was not readable, or is gone by now; it names the others all the same.
        assert done.returncode in (0, 1, 2), done.returncode
        return sorted(Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name)


def unpacked(folder: Path, into: Path) -> dict[Path, str]:
    """What does not stand openly below a folder, written out into another: archives' members, git's objects."""
    found: dict[Path, str] = {}

    def keep(label: str, data: bytes) -> None:
        place = into / str(len(found))
        place.write_bytes(data)
        found[place] = label

    for base, folders, names in os.walk(folder):
        for name in names:
            path = Path(base, name)
            with suppress(OSError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError):
                if path.is_symlink() or not path.is_file():
                    continue
                with path.open("rb") as file:
                    begins = file.read(4)
                if begins == b"PK\x03\x04":
                    with zipfile.ZipFile(path) as archive:
                        for member in archive.namelist():
                            keep(f"{path} ({member})", archive.read(member))
                elif begins[:2] == b"\x1f\x8b":
                    keep(f"{path} (unpacked)", gzip.decompress(path.read_bytes()))
        if "objects" in folders and "HEAD" in names:
            told = ["git", f"--git-dir={base}", "cat-file", "--batch-all-objects", "--batch"]
            keep(f"{base} (git objects)", subprocess.run(told, capture_output=True).stdout)
    return found


def may_hold(path: Path, secret: Secret) -> bool:
    """The places that a secret is for; each is a file of its owner alone."""
    try:
        facts = path.stat()
    except OSError:
        return False
    if facts.st_mode & 0o077 or not stat.S_ISREG(facts.st_mode):
        return False
    if secret.kind == KEY:
        return path.read_bytes().strip() in (secret.value, secret.value.hex().encode())
    if secret.kind == LOGIN:
        return path.parent.name == "delivered" and path.suffix == ".json"  # a sink
    if secret.kind == CLOUD:
        return path.name in ("clouds.yaml", "secure.yaml") or any(
            (folder / "sandbox.json").is_file() for folder in path.parents
        )
    return False


def leaks_in(folders: Sequence[Path], secrets: Iterable[Secret], holders: Iterable[Path] = ()) -> list[Leak]:
    """All secrets that stand below the folders, but where they may. `holders`: files of which a test says so."""
    needles, exempt = Needles(secrets), {path.resolve() for path in holders}
    found: set[Leak] = set()
    with tempfile.TemporaryDirectory() as name:
        into = Path(name)
        labels = {}
        for number, folder in enumerate(folders):
            (into / str(number)).mkdir()
            labels |= unpacked(folder, into / str(number))
        for path in needles.files(*folders, into):
            if path.resolve() in exempt or not path.is_file():
                continue
            data = path.read_bytes()
            for secret, form in needles.of(data):
                if path in labels or not may_hold(path, secret):
                    found.add(Leak(labels.get(path, str(path)), secret.name, form))
    return sorted(found)


def leaks_among(noted: Iterable[tuple[bytes, str]], needles: Needles) -> list[Leak]:
    """All secrets in texts, each of which comes with where it was."""
    found = set()
    with tempfile.TemporaryDirectory() as name:
        places = {}
        for number, (text, where) in enumerate(noted):
            path = Path(name, str(number))
            path.write_bytes(text)
            places[path] = where
        for path in needles.files(Path(name)):
            found |= {Leak(places[path], secret.name, form) for secret, form in needles.of(path.read_bytes())}
    return sorted(found)


# ---------------------------------------------------------------------------------------------------- secrets


def secrets_of(folder: Path) -> list[Secret]:
    """All secrets that can be known from what lies below a folder: keys, what is derived from them, logins, clouds."""
    found: dict[Secret, None] = {}
    deployments = _deployments(folder)
    for path in _files(folder):
        for secret in _secrets_in(path, deployments):
            if len(secret.value) >= SHORTEST:
                found[secret] = None
    return list(found)


def _files(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("providers", "site-packages", "node_modules")]
        yield from (path for name in names if (path := Path(base, name)).is_file() and not path.is_symlink())


def _secrets_in(path: Path, deployments: Mapping[Path, dict[str, Logins]]) -> Iterator[Secret]:
    with suppress(OSError, ValueError, yaml.YAMLError, AttributeError):
        facts = path.stat()
        if facts.st_size in (64, 65) and not facts.st_mode & 0o077:
            text = path.read_bytes().strip()
            if re.fullmatch(rb"[0-9a-f]{64}", text):
                yield Secret(f"the key {path.name}", text, KEY)
                yield from derived(bytes.fromhex(text.decode()), _nearest(path, deployments))
        elif path.name in ("clouds.yaml", "secure.yaml"):
            for cloud, row in (yaml.safe_load(path.read_text()) or {}).get("clouds", {}).items():
                for name, value in (row.get("auth") or {}).items():
                    if name in ("password", "application_credential_secret", "token"):
                        yield Secret(f"{name} of the cloud {cloud}", str(value).encode(), CLOUD)
        elif path.parent.name == "delivered" and path.suffix == ".json":
            for name, value in json.loads(path.read_bytes()).items():
                if name in ("password", "application_credential_secret", "secret", "token", "private_key"):
                    yield Secret(f"{name} delivered as {path.stem}", str(value).encode(), LOGIN)


def derived(master: bytes, numbered: Mapping[str, Logins]) -> Iterator[Secret]:
    """What a master key makes for each deployment: `numbered` are its logins with their generations."""
    yield Secret("the master key's bytes", master, KEY)
    for deployment, logins in numbered.items():
        key = keys.stack_key(master, deployment)
        yield Secret(f"the key of {deployment}", key, KEY)
        yield Secret(f"what encrypts the state of {deployment}", keyprovider.encryption_key(key), KEY)
        for name, number in logins:
            value = keys.password(key, name, number).encode()
            yield Secret(f"password of {name}/{number} of {deployment}", value, LOGIN)


def _deployments(folder: Path) -> dict[Path, dict[str, Logins]]:
    """Root folders, each with its deployments and the logins that their files name, a few generations around."""
    found: dict[Path, dict[str, Logins]] = {}
    for path in _files(folder):
        if path.parent.parent.name not in (".state", "build"):
            continue
        here = found.setdefault(path.parent.parent.parent, {})
        logins = here.setdefault(path.parent.name, {(PROVISIONER, "0")})
        if path.suffix == ".json":
            with suppress(OSError):
                for name, number in re.findall(LOGIN_IN_JSON, path.read_bytes()):
                    logins |= set(_around(name.decode(), int(number)))
    for here in found.values():
        for name, logins in here.items():  # build/ knows the stack, .state/ on which cloud
            logins |= here.get(name.partition("@")[0], set())
    return found


def _around(name: str, number: int) -> Iterator[tuple[str, str]]:
    """A generation of a login with those before and after it, and those that were made again within a period."""
    for near in range(max(0, number - 2), number + 3):
        yield name, str(near)
        yield from ((name, f"{near}.{again}") for again in (1, 2))


def _nearest(key: Path, deployments: Mapping[Path, dict[str, Logins]]) -> dict[str, Logins]:
    """The deployments that lie nearest to a key: those of the same test."""
    depth = {root: len(os.path.commonpath([key, root])) for root in deployments}
    most = max(depth.values(), default=0)
    found: dict[str, Logins] = {}
    for root, own in deployments.items():
        if depth[root] == most:
            for name, logins in own.items():
                found[name] = found.get(name, set()) | logins
    return found


# -------------------------------------------------------------------------------------------------- processes

MAY_INHERIT = (
    ("tofu", "AWS_SECRET_ACCESS_KEY"),
    ("tofu", "GITHUB_TOKEN"),
    ("terraform-provider-github*", "GITHUB_TOKEN"),
    ("terraform-provider-cirun*", "CIRUN_API_KEY"),
    # OpenTofu starts it with all of its own environment; it hands on nothing (keyprovider.command_environment).
    ("keyprovider.py", "GITHUB_TOKEN"),
    ("keyprovider.py", "AWS_SECRET_ACCESS_KEY"),
    ("terraform-provider-*", "AWS_SECRET_ACCESS_KEY"),
)
"""Programs that the product starts, and the variable that each needs: the provider reads its token there."""


@dataclass
class Processes:
    """What the programs that were started got: arguments, and those of the product their environment, too."""

    arguments: set[tuple[str, bytes]] = field(default_factory=set)
    environments: set[tuple[str, str, bytes]] = field(default_factory=set)
    seen: set[tuple[int, bytes]] = field(default_factory=set)

    def started(self, argv: Sequence[bytes], environ: Mapping[str, bytes] | None) -> None:
        """Note a program; `environ`: None where it is none of the product's."""
        program = program_of(argv)
        self.arguments |= {(program, one) for one in argv if len(one) >= SHORTEST}
        for name, value in (environ or {}).items():
            if len(value) >= SHORTEST:
                self.environments.add((program, name, value))

    def noted(self) -> Iterator[tuple[bytes, str]]:
        """The arguments, and what stood in environments but is not for them; each with where it was."""
        for program, value in list(self.arguments):
            yield value, f"arguments of {program}"
        for program, name, value in list(self.environments):
            if not any(fnmatch(program, p) and name == n for p, n in MAY_INHERIT):
                yield value, f"environment of {program}, {name}"

    # --- as the system shows them

    def look(self, root: int) -> None:
        """Note all programs below a process, once for each."""
        waiting: list[tuple[int, bytes, bool]] = [(root, b"", False)]
        while waiting:
            pid, above, ours = waiting.pop()
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if pid != root and line != above:  # else it is not yet what it is going to be
                    argv = line.rstrip(b"\0").split(b"\0")
                    environ = _environment(pid) if ours and (pid, line) not in self.seen else None
                    if (pid, line) not in self.seen and environ != {}:  # empty: it is just being started
                        self.seen.add((pid, line))
                        self.started(argv, environ)
                    ours = ours or program_of(argv) in ("cf_infra", "cf-infra", "tofu")
                for task in Path(f"/proc/{pid}/task").iterdir():
                    below = (task / "children").read_bytes().split()
                    waiting += [(int(child), line, ours) for child in below]


def _environment(pid: int) -> dict[str, bytes]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {
        os.fsdecode(name): value for name, sign, value in (pair.partition(b"=") for pair in pairs) if sign
    }


def program_of(argv: Sequence[bytes]) -> str:
    """What a command line runs: the program, or what an interpreter was told to."""
    words = [os.fsdecode(word) for word in argv]
    name = Path(words[0]).name if words else ""
    if re.fullmatch(r"python[0-9.]*|(ba|da)?sh", name):
        rest = iter(words[1:])
        for word in rest:
            if word == "-m":
                return next(rest, name)
            if not word.startswith("-"):
                return Path(word).name
            if word in ("-c", "-W", "-X"):
                return name
    return name


# -------------------------------------------------------------------------------------------------- the watch


class Watch:
    """Keeps what commands say and what programs get, until somebody asks for the leaks."""

    def __init__(self) -> None:
        self.secrets: dict[Secret, None] = {}
        self.holders: set[Path] = set()
        self.public: set[bytes] = set()
        self.processes = Processes()
        self._said: dict[bytes, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._looking, daemon=True)

    def knows(self, name: str, value: str | bytes, kind: str = SERVICE) -> None:
        """A secret that is in no file."""
        raw = value.encode() if isinstance(value, str) else value
        if len(raw) >= SHORTEST:
            self.secrets[Secret(name, raw, kind)] = None

    def is_public(self, key: str) -> None:
        """A key that stands in a test's own text, which puts it where no key may be, to have it refused."""
        master = bytes.fromhex(key)
        self.public |= {key.encode(), master}

    def holds(self, path: Path) -> Path:
        """A file in which a test keeps a secret, as a person would: a command that prints one."""
        self.holders.add(path)
        return path

    def said(self, where: str, *texts: str) -> None:
        """What a command wrote, and a stand-in was sent in clear text."""
        for text in texts:
            if text:
                self._said.setdefault(text.encode("utf-8", "replace"), where)

    def begin(self) -> None:
        """Look at the processes below this one from now on."""
        self._thread.start()

    def _looking(self) -> None:
        took = 0.0
        while not self._over.wait(max(PAUSE, took / SHARE)):
            began = time.thread_time()
            self.processes.look(os.getpid())
            took = time.thread_time() - began

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def leaks(self, *folders: Path) -> list[Leak]:
        """Everything that was found; what lies below the folders tells most of the secrets."""
        known = [*self.secrets, *(secret for folder in folders for secret in secrets_of(folder))]
        secrets = [secret for secret in known if secret.value not in self.public]
        needles = Needles(secrets)
        found = set(leaks_in(folders, secrets, self.holders))
        noted = [(text, f"said by {where}") for text, where in list(self._said.items())]
        found |= set(leaks_among([*noted, *self.processes.noted()], needles))
        return sorted(found)


def told(found: Sequence[Leak], names: Callable[[str], str] = lambda text: text) -> str:
    """The message of a run that leaks; at most 40 lines."""
    lines = [f"  {names(str(leak))}" for leak in found[:40]]
    more = [f"  and {len(found) - 40} more"] if len(found) > 40 else []
    return "\n".join(
        ["Secrets stand where they must not (tests/leaks.py says where each may be):", *lines, *more]
    )


WATCH = Watch()
"""Of this session of tests."""


def _audited(event: str, arguments: tuple[Any, ...]) -> None:
    """Programs that the product starts in this very process: seen at once, however short they live."""
    if event != "subprocess.Popen":
        return
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith(PRODUCT):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is not None:
        _, argv, _, environ = arguments
        words = [os.fsencode(word) for word in ([argv] if isinstance(argv, str | bytes) else argv)]
        given = os.environ if environ is None else environ
        WATCH.processes.started(words, {os.fsdecode(n): os.fsencode(v) for n, v in given.items()})


def watch_this_process() -> None:
    """Have programs noted that the product starts in this process; there is no way back."""
    sys.addaudithook(_audited)
