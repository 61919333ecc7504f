"""Who holds the lock of a state, and whether that process still lives.

Backend `local`: OpenTofu takes a POSIX lock (fcntl) on the state file; the system drops it when the process dies, so
it is never stale, and the system tells who holds it. What it holds stands beside it in `.NAME.lock.info`, which a
killed process leaves behind and which means nothing then (OpenTofu's internal/states/statemgr/filesystem.go).
Other backends (s3, http): the lock is an object that outlives its process. Each run notes itself here first, so that
the next one can tell whether the holder was of this host and is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_FLOCK = "hhqqi4x"
"""struct flock of Linux on 64 bits: type, whence, start, length, process id."""
TAKEN_WITHIN = 60.0
"""Seconds from the start of a run in which it takes its lock: it only reads the configuration before."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What OpenTofu writes into a lock. `who` is user@host; `created` is None where it could not be read."""

    id: str
    operation: str
    who: str
    created: datetime | None


def lock_in(text: str) -> Lock | None:
    """The lock that OpenTofu's error text quotes (its `Lock Info:` block: there is no other form of it)."""
    _, found, block = text.partition("Lock Info:")
    if not found:
        return None
    fields = dict(re.findall(r"^\s+(ID|Operation|Who|Created):[ \t]*(.*?)\s*$", block, re.MULTILINE))
    if not fields.get("ID"):
        return None
    operation = fields.get("Operation", "").removeprefix("OperationType").lower()
    return Lock(fields["ID"], operation, fields.get("Who", ""), _time(fields.get("Created", "")))


def _time(text: str) -> datetime | None:
    # Go prints "2026-11-21 09:57:28.198518 +0000 UTC", with up to nine digits of a second.
    match = re.match(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)", text)
    return datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00") if match else None


def holder(state: Path) -> int | None:
    """The process that holds the POSIX lock of a local state file; None if there is none or it is on another host."""
    try:
        with state.open("r+b") as file:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            told = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except (OSError, struct.error):
        return None
    return int(told[4]) if told[0] != fcntl.F_UNLCK and told[4] > 0 else None


def command_of(pid: int) -> str:
    """The command line of a process; empty if it cannot be read."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return " ".join(part.decode("utf-8", "replace") for part in raw.split(b"\0") if part)


@contextlib.contextmanager
def noted(folder: Path, pid: int, operation: str) -> Iterator[None]:
    """Note in `folder` that process `pid` runs; the note goes when it has ended, and stays if we are killed."""
    note = folder / f"cf-infra-run-{pid}.json"
    text = {
        "host": socket.gethostname(),
        "pid": pid,
        "started": _started(pid),
        "operation": operation,
        "at": datetime.now(UTC).isoformat(),
    }
    with contextlib.suppress(OSError):  # it helps the next run, this one does not need it
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(text), encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def left_by_the_dead(lock: Lock, folder: Path) -> bool:
    """True if a run that is noted in `folder` took this lock and is dead. False in every case of doubt.

    The lock does not say its process, so the run is known by host, operation and by the lock's being made
    at the run's beginning.
    """
    if lock.created is None or not lock.who.endswith(f"@{socket.gethostname()}"):
        return False
    notes = [note for path in folder.glob("cf-infra-run-*.json") if (note := _note(path)) is not None]
    return any(_took(note, lock, lock.created) and not _runs(note) for note in notes)


def _took(note: dict[str, object], lock: Lock, created: datetime) -> bool:
    try:
        after = (created - datetime.fromisoformat(str(note.get("at")))).total_seconds()
    except (ValueError, TypeError):
        return False
    same = note.get("host") == socket.gethostname() and note.get("operation") == lock.operation
    return same and -1 <= after <= TAKEN_WITHIN


def forget_the_dead(folder: Path) -> None:
    """Remove the notes of runs that are dead."""
    for path in folder.glob("cf-infra-run-*.json"):
        note = _note(path)
        if note is not None and not _runs(note):
            path.unlink(missing_ok=True)


def _note(path: Path) -> dict[str, object] | None:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and isinstance(note.get("pid"), int) else None


def _runs(note: dict[str, object]) -> bool:
    pid = note["pid"]
    return isinstance(pid, int) and (started := _started(pid)) is not None and started == note.get("started")


def _started(pid: int) -> str | None:
    """When a process began, in a form that no later process of the same number has; None if it is not there."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    # proc_pid_stat(5): the state is the first field after the name, the start time the twentieth.
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"
