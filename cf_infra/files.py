"""The disk: reads a root folder's files, writes what commands make, never half.

Only regular files are read, and no links are followed: grants.yaml and users/ may come from a stranger.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.parse import GRANTS, OVERRIDES, SETTINGS
from cf_infra.yaml12 import LIMIT_GRANTS, LIMIT_OTHER

PROJECT = Path(__file__).resolve().parent.parent
"""The clone that this runs from."""


def project_folder(name: str) -> Path:
    """A folder that the product brings along (modules, sandbox, tools): of the clone, else of the installed wheel."""
    clone = PROJECT / name
    return clone if clone.is_dir() else Path(__file__).resolve().parent / "_project" / name


def read_root(root: Path) -> dict[str, bytes]:
    """The files of a root folder that say something: relative name -> content.

    Raises Failure for what exists and cannot be read, or is no regular file. A file that is not there is no fault
    here (parse says which ones must be).
    """
    if not root.is_dir():
        raise Failure(
            Diagnostic("not-found", detail=f"There is no folder {root}.", hint="cf-infra --root DIR check")
        )
    names = [GRANTS, SETTINGS, OVERRIDES]
    found, faults = {}, [_linked(n) for n in ("stacks", "users") if (root / n).is_symlink()]
    if faults:
        raise Failure(*faults)
    names += sorted(f"stacks/{p.name}" for p in _entries(root / "stacks", (".yaml", ".yml")))
    names += sorted(f"users/{p.name}" for p in _entries(root / "users", (".json",)))
    for name in names:
        try:
            found[name] = read_regular(root / name, LIMIT_GRANTS if name == GRANTS else LIMIT_OTHER, name)
        except FileNotFoundError:
            continue
        except Failure as failure:
            faults += failure.diagnostics
    if faults:
        raise Failure(*faults)
    return found


def _linked(name: str) -> Diagnostic:
    detail = "It is a link, and links are not followed."
    return Diagnostic("unreadable", file=name, detail=detail, hint="put the folder itself there")


def _entries(folder: Path, endings: tuple[str, ...]) -> Iterable[Path]:
    return (p for p in folder.iterdir() if p.name.endswith(endings)) if folder.is_dir() else ()


def read_regular(path: Path, limit: int, shown: str) -> bytes:
    """At most `limit` + 1 bytes of a regular file. Raises FileNotFoundError, or Failure if it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        link = error.errno == errno.ELOOP
        raise Failure(
            Diagnostic(
                "unreadable",
                file=shown,
                detail="It is a link, and links are not followed."
                if link
                else f"The system says: {error.strerror}.",
                hint="put the file itself there" if link else "look at its permissions",
            )
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Failure(
            Diagnostic("unreadable", file=shown, detail="It is not a regular file.", hint="put a file there")
        )
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit + 1)


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all, with `mode`. Raises Failure("disk-full" or "unreadable")."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Failure(disk_fault(error, path)) from None


def disk_fault(error: OSError, path: Path) -> Diagnostic:
    """What to tell about a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Diagnostic(
            "disk-full",
            detail=f"{path} could not be written; what was there before is still there.",
            hint="make room, then run the same command again",
        )
    return Diagnostic(
        "unreadable", detail=f"{path} could not be written: {error.strerror}.", hint="look at its permissions"
    )


def write_tree(folder: Path, files: Mapping[str, bytes], keep: Iterable[str] = ()) -> None:
    """Make `folder` hold exactly `files` (relative names), besides what `keep` names at its top.

    Files whose bytes are the same are not touched, so that tools see no change where there is none.
    """
    kept = set(keep)
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.is_symlink() or path.read_bytes() != content:
            write(path, content)
    for path in sorted(folder.rglob("*"), reverse=True):
        relative = path.relative_to(folder)
        if relative.parts[0] in kept:
            continue
        if path.is_symlink() or path.is_file():
            if relative.as_posix() not in files:
                path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def read_tree(folder: Path) -> dict[str, bytes]:
    """All regular files below a folder, by relative name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def digest(files: Mapping[str, bytes]) -> str:
    """One hash over names and contents, whatever their order."""
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(f"{len(name)}:{name}:{len(content)}:".encode())
        whole.update(content)
    return whole.hexdigest()
