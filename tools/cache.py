"""Folders that appear whole or not at all, in the cache that all clones of one user share."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: A temporary folder of this age is nobody's, whatever its name says: process ids come again.
ABANDONED_AFTER_SECONDS = 24 * 3600


def cache_folder() -> Path:
    """Return `${XDG_CACHE_HOME:-~/.cache}/cf-infra`; it need not exist."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG base directory specification: a relative path is invalid and counts as not set.
    return (base if base.is_absolute() else Path.home() / ".cache") / "cf-infra"


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target` and rename it to `target` when the block ends without an error.

    Of two builders that finish the same target, the second one's work is thrown away and the first one's
    stays: equal names have equal contents. After an error or an interrupt nothing is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent)
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}-{socket.gethostname()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def discard(target: Path) -> None:
    """Take a damaged folder out of the way in one step, so that no clone sees half of it, and delete it."""
    aside = target.with_name(f"{target.name}.tmp-{os.getpid()}-{socket.gethostname()}")
    try:
        target.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def remove_abandoned(folder: Path) -> list[Path]:
    """Delete the temporary folders of builders that died, and return them."""
    gone = []
    for candidate in folder.glob("*.tmp-*"):
        _, _, owner = candidate.name.rpartition(".tmp-")
        pid, _, host = owner.partition("-")
        if pid.isdigit() and _is_abandoned(candidate, int(pid), host):
            shutil.rmtree(candidate, ignore_errors=True)
            gone.append(candidate)
    return gone


def _is_abandoned(folder: Path, pid: int, host: str) -> bool:
    # On another host (a shared home, a container) the process cannot be seen from here: only its age counts.
    if host == socket.gethostname() and pid != os.getpid() and not _is_alive(pid):
        return True
    try:
        return time.time() - folder.stat().st_mtime > ABANDONED_AFTER_SECONDS
    except FileNotFoundError:
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def describe(file: Path, value: Mapping[str, Any], folder: Path) -> None:
    """Write `value` and the size of every file in `folder` to `file`, as JSON: the last step of making it."""
    listed = sorted(path for path in folder.rglob("*") if path.is_file() and path != file)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in listed}
    file.write_text(json.dumps({**value, "files": sizes}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_whole(description: Path) -> bool:
    """Tell whether every file that a description lists is there in full: after a crash some can be empty."""
    try:
        sizes = json.loads(description.read_text(encoding="utf-8"))["files"]
        return all((description.parent / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
