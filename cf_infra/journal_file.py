"""A deployment's journal on the disk: beside its state is the record, in build/journal/ a copy for readers.

One process writes at a time; each event is on the disk before the command goes on. `journal.head.json` has how long
the journal was when this machine last wrote it, so that a journal that was cut is known from one that never grew.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from cf_infra import journal
from cf_infra.deployment import STATE, now
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import disk_fault, write
from cf_infra.journal import NOTHING, Head
from cf_infra.keyprovider import command_environment

JOURNAL = "journal.jsonl"
HEAD = "journal.head.json"
LOCK = "journal.lock"
ASIDE = "broken-journal"
"""The folder into which people put a broken journal; the next one begins with its digest."""
OURS = (JOURNAL, HEAD, LOCK)
WHOLE_FOLDER = "_folder"
"""What the journal is called in build/journal/ that belongs to no stack."""


@cache
def who(root: Path) -> str:
    """Who runs this: GitHub's actor in a workflow, else git's `github.user`, else the system's user name."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return journal.somebody(os.environ.get("GITHUB_ACTOR", ""))
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["git", "-C", str(root), "config", "--get", "github.user"],
            env=command_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        if done.returncode == 0 and done.stdout.strip():
            return journal.somebody(done.stdout.strip())
    try:
        return journal.somebody(getpass.getuser())
    except (OSError, KeyError):
        return "unknown"


@dataclass(frozen=True)
class Journal:
    """The journal in the folder `state`: .state/NAME/, or .state/ itself for what belongs to no stack."""

    state: Path
    say: Callable[[str], None]

    @property
    def name(self) -> str:
        """The deployment's name."""
        return WHOLE_FOLDER if self.state.name == STATE else self.state.name

    @property
    def root(self) -> Path:
        """The root folder."""
        return self.state.parent if self.state.name == STATE else self.state.parent.parent

    @property
    def view(self) -> Path | None:
        """The copy for readers; None for a folder that is below no root."""
        below = self.root / STATE in (self.state, self.state.parent)
        return self.root / "build" / "journal" / f"{self.name}.jsonl" if below else None

    def note(self, kind: str, **fields: Any) -> None:
        """Add an event. Raises Failure("broken-journal"), and Failure for a disk that does not take it."""
        found = self._event(kind, **fields)
        try:
            with self._locked():
                self._append(found)
        except OSError as error:
            raise Failure(disk_fault(error, self.state / JOURNAL)) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _append(self, found: journal.Event) -> None:
        path = self.state / JOURNAL
        raw = path.read_bytes() if path.is_file() else b""
        before = journal.read(raw, self.head())
        if before.why:
            raise Failure(broken(self.state, before))
        events = [found]
        if before.torn:
            events.insert(0, self._set_aside(before.torn))
        if before.head == NOTHING:
            events.insert(0, self._event("begun", after=_digest_of(self.state / ASIDE / JOURNAL)))
        lines, head = journal.chained(events, before.head)
        whole = raw[: len(raw) - len(before.torn)]
        self._write(path, len(whole), lines)
        self._keep(head)
        if self.view is not None:
            write(self.view, whole + lines)

    def _write(self, path: Path, size: int, lines: bytes) -> None:
        """All lines at once after the first `size` bytes."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            os.ftruncate(file.fileno(), size)
            file.seek(size)
            left = memoryview(lines)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())

    def _set_aside(self, torn: bytes) -> dict[str, Any]:
        digest = journal.digest(torn)
        aside = self.state / f"journal.torn-{digest[:8]}"
        write(aside, torn)
        self.say(f"a run was killed while it wrote the journal: {len(torn)} bytes of it lie in {aside.name}")
        return self._event("torn", bytes=len(torn), sha256=digest)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        return journal.event(kind, self.name, now().isoformat(), who(self.root), fields)

    def head(self) -> Head:
        """Where the journal stood when it was last written on this machine. A head that says nothing is none."""
        try:
            told = orjson.loads((self.state / HEAD).read_bytes())
            return Head(int(told["lines"]), str(told["digest"]))
        except (OSError, ValueError, KeyError, TypeError):
            return NOTHING

    def read(self) -> journal.Read:
        """All events, and what is wrong. Raises OSError."""
        path = self.state / JOURNAL
        return journal.read(path.read_bytes() if path.is_file() else b"", self.head())

    def join(self, theirs: bytes) -> bytes | None:
        """Ours and theirs as one; ours is that one from now on. None if one of them is broken."""
        ours = (self.state / JOURNAL).read_bytes()
        if journal.read(ours, self.head()).why:
            return None
        found = journal.joined(theirs, ours, who(self.root), now().isoformat(), self.name)
        if found is not None:
            write(self.state / JOURNAL, found)
            self._keep(journal.read(found).head)
        return found

    def seen(self) -> None:
        """Remember how long it is, as it came from elsewhere; unless it does not follow from what was here."""
        found = self.read()
        if not found.why and found.head.lines:
            self._keep(found.head)

    def _keep(self, head: Head) -> None:
        write(self.state / HEAD, orjson.dumps({"lines": head.lines, "digest": head.digest}))


def _digest_of(path: Path) -> str | None:
    return journal.digest(path.read_bytes()) if path.is_file() and not path.is_symlink() else None


def broken(state: Path, found: journal.Read) -> Diagnostic:
    """A journal that was cut or edited: nothing is added to it."""
    name = state.name if state.name != STATE else WHOLE_FOLDER
    where = STATE if state.name == STATE else f"{STATE}/{state.name}"
    detail = f"{where}/{JOURNAL} was cut or edited: line {found.line} is the first that does not hold, {found.why}."
    hint = (
        f"keep it, and compare it with build/journal/{name}.jsonl, with the bucket's older versions or with a backup. "
        "The next command begins a new one, which names this one by its digest, when it is put aside:\n"
        f"mkdir {where}/{ASIDE} && mv {where}/journal.* {where}/{ASIDE}/"
    )
    return Diagnostic("broken-journal", detail=detail, hint=hint)


def journals(root: Path, say: Callable[[str], None]) -> list[Journal]:
    """All journals of a root folder, that of the whole folder first. One that was lost and left its head counts."""
    folder = root / STATE
    places = [folder, *sorted(folder.iterdir())] if folder.is_dir() else []
    return [Journal(p, say) for p in places if any((p / name).is_file() for name in (JOURNAL, HEAD))]
