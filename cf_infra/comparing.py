"""`diff`: reads both sides, each a folder or a git revision, and has them compared.

What operators alone decide is BASE's on both sides; a head that changes it is told so. Nothing is guessed: while one
side has an error, nothing is compared.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from cf_infra import project
from cf_infra.diagnostics import Diagnostic, Failure, has_errors
from cf_infra.difference import Difference, difference
from cf_infra.files import read_root, read_tree
from cf_infra.parse import GRANTS, OVERRIDES, SETTINGS
from cf_infra.project import Folder
from cf_infra.revision import Repository

_OPERATORS = (SETTINGS, OVERRIDES)
"""The files that are never taken from a head."""


@dataclass(frozen=True)
class Source:
    """One side as it was read. `commit`: of a revision; `modules`: the id of the folder as git would reckon it.

    `module_files`: the files of modules/ by names below it, read when they are asked for.
    """

    name: str
    files: dict[str, bytes]
    commit: str | None
    modules: Callable[[str], str | None]
    module_files: Callable[[], dict[str, bytes]]

    def as_json(self) -> dict[str, str | None]:
        """What it is called."""
        return {"name": self.name, "commit": self.commit}


@dataclass(frozen=True)
class Compared:
    """What lies between two sides, and what is to be said about them."""

    base: Source
    head: Source
    difference: Difference
    diagnostics: list[Diagnostic] = field(default_factory=list)
    known: list[Diagnostic] = field(default_factory=list)


def read_sides(root: Path, base: str, head: str) -> tuple[Source, Source, list[Diagnostic]]:
    """Both sides, and what is to be said before anything is compared. Raises Failure with what is wrong with either."""
    reader = _Reader(root)
    one, other = _each(reader.source, (base, head))
    return one, other, [*reader.history(one, other), *_not_taken(one, other)]


def mixed(one: Source, other: Source, taken: Callable[[str], bool]) -> dict[str, bytes]:
    """The files of `one`, but those that are `taken` from `other`."""
    ours = {name: raw for name, raw in one.files.items() if not taken(name)}
    return ours | {name: raw for name, raw in other.files.items() if taken(name)}


def is_data(name: str) -> bool:
    """Is it a file that a head may bring? What operators alone decide is not."""
    return name not in _OPERATORS


def compare(root: Path, base: str, head: str, today: date) -> Compared:
    """The difference from `base` to `head`. Raises Failure with all that is wrong with either."""
    one, other, told = read_sides(root, base, head)
    before = project.from_files(root, one.files, today)
    after = project.from_files(root, mixed(one, other, is_data), today)
    if has_errors([*before.diagnostics, *after.diagnostics]):
        raise Failure(*told, *errors(before, one), *errors(after, other))
    new = _new(before, after)
    found = difference(before.inventory, after.inventory, today)
    return Compared(one, other, found, told + new, [d for d in after.diagnostics if d not in new])


def _each(read: Callable[[str], Source], names: Iterable[str]) -> list[Source]:
    """All sides, or one Failure with what is wrong with any."""
    found, faults = [], []
    for name in names:
        try:
            found.append(read(name))
        except Failure as failure:
            faults += failure.diagnostics
    if faults:
        raise Failure(*faults)
    return found


def errors(folder: Folder, source: Source) -> list[Diagnostic]:
    """What is wrong with a side, each fault with its name."""
    note = f"At `{source.name}`: "
    return [replace(d, detail=note + d.detail) for d in folder.diagnostics if d.severity == "error"]


def _new(before: Folder, after: Folder) -> list[Diagnostic]:
    """The warnings that `before` does not have, wherever they stand there."""
    known = {replace(d, line=None, column=None) for d in before.diagnostics}
    return [d for d in after.diagnostics if replace(d, line=None, column=None) not in known]


class _Reader:
    """Reads sides; the repository is looked for only when a revision is named."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._repository: Repository | None = None

    def source(self, name: str) -> Source:
        """A folder, else a revision. A branch that is called as a folder of files is written refs/heads/NAME."""
        folder = Path(name)
        if name and folder.is_dir() and (name in (".", "..") or "/" in name or (folder / GRANTS).is_file()):
            own = folder / "modules"
            files = read_root(folder)
            return Source(name, files, None, lambda sort: _tree(own, sort), lambda: read_tree(own))
        if self._repository is None:
            self._repository = Repository(self._root)
        repository = self._repository
        found = repository.read(name)
        return Source(
            name, found.files, found.commit, lambda _sort: found.modules, lambda: repository.modules(found)
        )

    def history(self, base: Source, head: Source) -> list[Diagnostic]:
        """What to know where the head does not come from the base."""
        if self._repository is None or base.commit is None or head.commit is None:
            return []
        if self._repository.is_ancestor(base.commit, head.commit):
            return []
        detail = f"`{head.name}` does not come from `{base.name}`: what `{base.name}` got since counts as taken away."
        hint = f"compare with where they parted:\ncf-infra diff $(git merge-base {base.name} {head.name}) {head.name}"
        if self._repository.is_shallow:
            detail += "\nThe clone is shallow, and may only not show it."
            hint = "get more of the history:\ngit fetch --deepen=1000"
        return [Diagnostic("not-an-ancestor", detail=detail, hint=hint)]


def _not_taken(base: Source, head: Source) -> list[Diagnostic]:
    names = [name for name in _OPERATORS if base.files.get(name) != head.files.get(name)]
    sort = "sha256" if any(len(s.modules("sha1") or "") == 64 for s in (base, head)) else "sha1"
    names += ["modules/"] if base.modules(sort) != head.modules(sort) else []
    return [
        Diagnostic(
            "not-from-head",
            file=name,
            detail=f"`{head.name}` has another one than `{base.name}`, whose own is used for both.",
            hint="have an operator look at this change by itself",
        )
        for name in names
    ]


def _tree(folder: Path, sort: str) -> str | None:
    """The id that git gives a folder's content; None where there is no such folder, or nothing in it."""
    rows = []
    for path in folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ():
        status = path.lstat()
        found = status.st_mode
        if stat.S_ISDIR(found):
            below = _tree(path, sort)
            rows += [(f"{path.name}/", b"40000", below)] if below else []
        elif stat.S_ISREG(found):
            mode = b"100755" if found & stat.S_IXUSR else b"100644"
            rows.append((path.name, mode, _file_id(path, status.st_size, sort)))
        elif stat.S_ISLNK(found):
            rows.append((path.name, b"120000", _id(b"blob", bytes(path.readlink()), sort)))
    lines = [
        mode + b" " + name.rstrip("/").encode() + b"\0" + bytes.fromhex(i) for name, mode, i in sorted(rows)
    ]
    return _id(b"tree", b"".join(lines), sort) if rows else None


def _id(kind: bytes, content: bytes, sort: str) -> str:
    return hashlib.new(sort, kind + b" %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _file_id(path: Path, size: int, sort: str) -> str:
    """As `_id` of a file's content, piece by piece: it may be a large one."""
    digest = hashlib.new(sort, b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
