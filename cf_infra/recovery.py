"""What a run that ended badly leaves of a local state, and how the next one goes on from it.

OpenTofu empties the state file before it writes it anew (internal/states/statemgr/filesystem.go, writeState). If it is
killed just then, only the `.backup` of the run's beginning is whole. If the state cannot be written, it goes to
`errored.tfstate` in the working folder, and if that cannot be written either, into the output. All of them are
encrypted like the state itself.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

from cf_infra import locks
from cf_infra.diagnostics import Diagnostic, Failure

LEFT = "errored.tfstate"
"""What OpenTofu calls a state that it could not put where it belongs."""
ROOM = 16 << 20
"""Bytes that must be free before something is made whose record has to be written afterwards."""


def restore(state: Path) -> bool:
    """Put the backup in the place of a state file that was cut off; True if that was needed.

    What the killed run made after its beginning is in no state then; it is found by its marks.
    """
    backup = state.with_name(state.name + ".backup")
    if (
        not state.exists()
        or _read(state) is not None
        or _read(backup) is None
        or locks.holder(state) is not None
    ):
        return False
    _replace(backup, state)
    return True


def back_up(state: Path) -> None:
    """Have a whole copy beside a local state, for `restore`, before something else than an apply writes it."""
    _replace(state, state.with_name(state.name + ".backup"))


def is_cut_off(state: Path) -> bool:
    """True for a state file that begins and does not end."""
    return (
        state.is_file() and state.stat().st_size > 0 and _read(state) is None and locks.holder(state) is None
    )


def cut_off(state: Path) -> Diagnostic:
    """What to do about one that has no backup."""
    return Diagnostic(
        "unreadable",
        detail=f"The state {state} was cut off, and there is no whole backup beside it.",
        hint="put a copy of yours in its place. Without one, start from an empty state: what was made is found at the "
        f"cloud by its marks, and made anew:\nrm {shlex.quote(str(state))}",
    )


def take(left: Path, state: Path) -> bool:
    """Put a state that was left behind in the place of the local one; False if it is not a later one of it.

    OpenTofu 1.12 cannot do this itself: `state push` takes no encrypted file. The serial number and the lineage stand
    outside the encrypted part.
    """
    new, old = _read(left), _read(state)
    if new is None or locks.holder(state) is not None:
        return False
    if old is not None and (old.get("lineage") != new.get("lineage") or _serial(old) > _serial(new)):
        return False
    _replace(left, state)
    left.unlink()
    return True


def _replace(source: Path, state: Path) -> None:
    draft = state.with_name(f".{state.name}.part")
    shutil.copyfile(source, draft)
    draft.chmod(0o600)
    draft.replace(state)


def _serial(state: dict[str, object]) -> int:
    serial = state.get("serial")
    return serial if isinstance(serial, int) else 0


def _read(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def keep(folder: Path, state: object) -> Path | None:
    """Save a state that OpenTofu could only print; returns where, None if no place would take it."""
    text = json.dumps(state)
    for place in (folder / LEFT, Path(os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm") / f"cf-infra-{LEFT}"):  # noqa: S108
        try:
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            continue
        return place
    return None


def need_room(folder: Path) -> None:
    """Raise Failure (disk-full) unless the state of what is about to be made can be written in `folder`."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < ROOM:
        raise Failure(
            Diagnostic(
                "disk-full",
                detail=f"{existing} has {free >> 20} MiB left; a run needs {ROOM >> 20} MiB, so that what it makes "
                "is not lost to the state.",
                hint="make room, then run the command again",
            )
        )
