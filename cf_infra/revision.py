"""A root folder as it is at a git revision, read from git's objects: nothing is checked out, and nothing is run.

A head may come from a stranger. So only the files of a root folder are read, only regular ones, and none before git
said how large it is. Git itself gets no credential, reaches no network and reads no configuration but the repository's.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cf_infra.diagnostics import Diagnostic, Failure, nearest, printable, some
from cf_infra.keyprovider import command_environment
from cf_infra.parse import GRANTS, OVERRIDES, SETTINGS
from cf_infra.yaml12 import LIMIT_GRANTS, LIMIT_OTHER, too_large

SECONDS = 60
"""So long git may take for one answer."""
LIMIT_LISTING = 1_000_000
"""Bytes of the list of files of one folder: about 20,000 of them."""
LIMIT_TOTAL = 100_000_000
"""Bytes of all files of a revision that are read."""
_FOLDERS = {"stacks": (".yaml", ".yml"), "users": (".json",)}
_MODULES = "modules"
_REGULAR = ("100644", "100755")
_TREE = "040000"
_KINDS = {"120000": "a link", "160000": "a submodule", _TREE: "a folder"}
_POINTER = b"version https://git-lfs.github.com/spec/"
_ALLOWED = ("-c", "protocol.allow=never", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


@dataclass(frozen=True)
class Revision:
    """What a revision holds of a root folder. `modules`: the id of its tree, None where it has none."""

    name: str
    commit: str
    files: dict[str, bytes]
    modules: str | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of `git ls-tree -l`."""

    mode: str
    id: str
    size: int
    name: str


class Repository:
    """The git repository that a root folder is in. Raises Failure("bad-revision") if there is none."""

    def __init__(self, root: Path) -> None:
        self._root = root
        found = self._git("rev-parse", "--show-prefix", "--is-shallow-repository")
        if found.returncode:
            raise _not_a_repository(found.stderr)
        prefix, shallow = found.stdout.decode("utf-8", "replace").split("\n")[:2]
        self._prefix = prefix
        self.is_shallow = shallow == "true"

    def commit(self, name: str) -> str:
        """The commit that `name` means. Raises Failure("bad-revision") with the nearest names."""
        if not name or "\0" in name:
            raise self._unknown(name)
        found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        commit = found.stdout.decode().strip()
        if found.returncode or not re.fullmatch("[0-9a-f]{40,64}", commit):
            raise self._unknown(name)
        return commit

    def _unknown(self, name: str) -> Failure:
        listed = self._git("for-each-ref", "--format=%(refname:short)", "--count=10000")
        names = ["HEAD", *listed.stdout.decode("utf-8", "replace").split()]
        near = nearest(name, names)
        detail = f"`{printable(name)}` is neither a folder nor a commit, branch or tag of this clone. "
        detail += f"There are: {some(names, name)}."
        if self.is_shallow:
            detail += "\nThe clone is shallow: it has the newest commits only."
            return _bad(detail, "get more of the history:\ngit fetch --deepen=1000")
        hint = f"do you mean `{near}`?" if near else "get what others have:\ngit fetch --all --tags"
        return _bad(detail, hint)

    def is_ancestor(self, base: str, head: str) -> bool:
        """Is `base` a commit that `head` comes from? False, too, where a shallow clone does not show it."""
        return self._git("merge-base", "--is-ancestor", base, head).returncode == 0

    def line(self, since: str, until: str) -> list[str]:
        """The commits after `since` up to `until`, oldest first, along first parents: what was merged one by one."""
        found = self._git("rev-list", "--first-parent", "--reverse", f"{since}..{until}", "--")
        return found.stdout.decode().split() if not found.returncode else []

    def changed(self, one: str, other: str) -> list[str]:
        """The names of the files below the root folder that differ between two commits."""
        words = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--relative")
        listed = self._git(*words, one, other)
        if listed.returncode:
            raise _incomplete(other)
        return [name.decode("utf-8", "replace") for name in listed.stdout.split(b"\0") if name]

    def is_clean(self, folder: str) -> bool:
        """Is a folder below the root as its commit has it, with nothing added?"""
        found = self._git("status", "--porcelain", "--untracked-files=all", "--", folder)
        return not found.returncode and not found.stdout

    def parents(self, name: str) -> list[str]:
        """The commits that a commit was made from; empty, too, if it is not here."""
        found = self._git("rev-list", "--parents", "--max-count=1", "--end-of-options", name)
        return found.stdout.decode().split()[1:] if not found.returncode else []

    def parted(self, base: str, head: str) -> str | None:
        """The newest commit that both come from; None where the clone shows none."""
        found = self._git("merge-base", "--end-of-options", base, head)
        return found.stdout.decode().strip() or None if not found.returncode else None

    def read(self, name: str) -> Revision:
        """The root folder's files at a revision. Raises Failure for what must not or cannot be read."""
        commit = self.commit(name)
        top = {e.name: e for e in self._listed(f"{commit}:{self._prefix}", name)}
        wanted, faults = [], []
        for single in (GRANTS, SETTINGS, OVERRIDES):
            wanted += [top[single]] if single in top else []
        for folder, endings in _FOLDERS.items():
            if folder not in top:
                continue
            if top[folder].mode != _TREE:
                faults.append(_no_file(top[folder], name, "a folder"))
                continue
            for entry in self._listed(top[folder].id, name):
                if entry.name.endswith(endings):
                    wanted.append(_Entry(entry.mode, entry.id, entry.size, f"{folder}/{entry.name}"))
        faults += [fault for entry in wanted for fault in _faults(entry, name)]
        if not faults and sum(entry.size for entry in wanted) > LIMIT_TOTAL:
            faults.append(_too_much(name, LIMIT_TOTAL))
        if faults:
            raise Failure(*faults)
        modules = top[_MODULES].id if _MODULES in top else None
        return Revision(name, commit, self._contents(wanted, name), modules)

    def modules(self, revision: Revision) -> dict[str, bytes]:
        """The files of modules/ by names below it. Ask it only of a base. Raises Failure."""
        wanted = list(self._below(revision.modules, "", revision.name)) if revision.modules else []
        faults = [
            _no_file(entry, revision.name, "a regular file") for entry in wanted if entry.mode not in _REGULAR
        ]
        if not faults and sum(entry.size for entry in wanted) > LIMIT_TOTAL:
            faults.append(_too_much(revision.name, LIMIT_TOTAL))
        if faults:
            raise Failure(*faults)
        return self._contents(wanted, revision.name)

    def _below(self, tree: str, beginning: str, name: str) -> Iterable[_Entry]:
        for entry in self._listed(tree, name):
            place = f"{beginning}{entry.name}"
            if entry.mode == _TREE:
                yield from self._below(entry.id, f"{place}/", name)
            else:
                yield _Entry(entry.mode, entry.id, entry.size, place)

    def _listed(self, tree: str, name: str) -> list[_Entry]:
        """The entries of one folder, without what is below it."""
        size = self._git("cat-file", "-s", tree)
        if size.returncode:
            where = self._prefix or "."
            raise _bad(
                f"`{name}` has no folder {where}.", "name the folder that it has:\ncf-infra --root DIR diff"
            )
        if int(size.stdout) > LIMIT_LISTING:
            raise Failure(_too_much(name, LIMIT_LISTING))
        listed = self._git("ls-tree", "-z", "-l", "--full-tree", tree)
        if listed.returncode:
            raise _incomplete(name)
        entries = [_entry(line) for line in listed.stdout.split(b"\0") if line]
        if len({entry.name for entry in entries}) < len(entries):
            detail = (
                f"At `{name}` a name stands twice in one folder, and nobody can say which of them is meant."
            )
            raise _bad(detail, "commit the files anew with git's own commands; see:\ngit fsck")
        return entries

    def _contents(self, entries: Iterable[_Entry], name: str) -> dict[str, bytes]:
        """The files' bytes, as they are in git: no filter and no end of line is changed."""
        listed = list(entries)
        asked = "".join(f"{entry.id}\n" for entry in listed).encode()
        answer = self._git("cat-file", "--batch", stdin=asked).stdout
        found, place, faults = {}, 0, []
        for entry in listed:
            end = answer.find(b"\n", place)
            if answer[place:end] != f"{entry.id} blob {entry.size}".encode():
                raise _incomplete(name)
            place = end + 1 + entry.size
            found[entry.name] = answer[end + 1 : place]
            faults += [_pointer(entry, name)] if found[entry.name].startswith(_POINTER) else []
            place += 1
        if faults:
            raise Failure(*faults)
        return found

    def _git(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = ["git", "--no-pager", "--no-replace-objects", *_ALLOWED, "-C", str(self._root), *words]
        try:
            return subprocess.run(
                command, env=_environment(os.environ), input=stdin, capture_output=True, check=False, timeout=SECONDS
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise _bad(
                f"git took more than {SECONDS} seconds for one answer.", "look at it:\ngit fsck"
            ) from None
        except OSError:
            missing = Diagnostic(
                "tool-missing",
                detail="git is needed to read revisions.",
                hint="install git, or name two folders",
            )
            raise Failure(missing) from None


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Git's: no network, no prompt, no lock, and no other repository than the folder's own."""
    ours = {"GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    return {**command_environment(environ), **ours}


def _entry(line: bytes) -> _Entry:
    about, _, name = line.partition(b"\t")
    mode, _, identity, size = about.split()
    shown = name.decode("utf-8", "replace")
    return _Entry(mode.decode(), identity.decode(), int(size) if size.isdigit() else 0, shown)


def _faults(entry: _Entry, revision: str) -> Iterable[Diagnostic]:
    limit = LIMIT_GRANTS if entry.name == GRANTS else LIMIT_OTHER
    parts = entry.name.split("/")
    if entry.mode not in _REGULAR:
        yield _no_file(entry, revision, "a regular file")
    elif len(parts) > 2 or not {"", ".", ".."}.isdisjoint(parts):
        detail = f"At `{revision}` a name leads out of its folder."
        yield Diagnostic(
            "unreadable", file=printable(entry.name), detail=detail, hint="git mv it to a name of its own"
        )
    elif entry.size > limit:
        yield too_large(limit, entry.name)


def _no_file(entry: _Entry, revision: str, wanted: str) -> Diagnostic:
    kind = _KINDS.get(entry.mode, "a regular file" if entry.mode in _REGULAR else "something else")
    detail = f"At `{revision}` it is {kind}, and not {wanted}: what it leads to is not read."
    return Diagnostic("unreadable", file=printable(entry.name), detail=detail, hint="commit the file itself")


def _pointer(entry: _Entry, revision: str) -> Diagnostic:
    detail = f"At `{revision}` it is a pointer of Git LFS, and its content is elsewhere."
    hint = f"commit the file itself:\ngit lfs untrack {entry.name} && git add --renormalize {entry.name}"
    return Diagnostic("unreadable", file=printable(entry.name), detail=detail, hint=hint)


def _too_much(revision: str, limit: int) -> Diagnostic:
    detail = f"`{revision}` has more than {limit:,} bytes of files or names, and no more are read."
    return Diagnostic("too-large", detail=detail, hint="look for what was committed by mistake")


def _incomplete(revision: str) -> Failure:
    detail = (
        f"Objects of `{revision}` are not in this clone, and none are fetched: it is partial, or damaged."
    )
    return _bad(detail, "see what is missing, then fetch it:\ngit fsck\ngit fetch --refetch")


def _not_a_repository(said: bytes) -> Failure:
    if b"dubious ownership" in said:
        return _bad(
            "The clone belongs to another user, and git does not read it.",
            "allow it, if you trust them:\ngit config --global --add safe.directory DIR",
        )
    return _bad("There is no git repository around the root folder, so it has no revisions.",
                "name two folders:\ncf-infra diff FOLDER FOLDER")  # fmt: skip


def _bad(detail: str, hint: str) -> Failure:
    return Failure(Diagnostic("bad-revision", detail=detail, hint=hint))
