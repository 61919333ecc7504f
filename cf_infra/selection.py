"""The entries of one repository, found in grants.yaml without reading those of others.

A large grants.yaml takes seconds to read and to validate, and nearly all of it is about others. So its bytes are cut
where entries begin, and only pieces that can be about the repository are read. That is done only where the cuts are
sure to be right; else the file is read as a whole, which finds the same entries and takes longer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from cf_infra import yaml12
from cf_infra.diagnostics import Diagnostic, Path
from cf_infra.model import GrantsFile
from cf_infra.parse import GRANTS, is_mapping, validated

ENDING = "-feedstock"
_HEAD = re.compile(rb"^grants:[ \t]*(?:#[^\n]*)?\r?$", re.MULTILINE)
_FIRST = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*( *)-(?=[ \r\n])")
_NAME_BYTES = rb"[A-Za-z0-9_.-]"
# Two patterns that begin with letters: the search for one with alternatives is eight times as slow.
_NAMED = [re.compile(key + rb"[\"']?:[ ]*[\"']?(" + _NAME_BYTES + rb"+)") for key in (b"feedstock", b"repo")]
_MARK = b"\x01"
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}" + _MARK)
_DEEPEST = 4
"""Lists in an entry that is written in braces are two levels deep; deeper brackets are looked at by the parser."""
_LIKE = 1000
"""So many names that look alike are compared letter by letter."""


@dataclass(frozen=True)
class Found:
    """An entry as it was read, not validated yet: it is grants[index] of `text`, which begins `offset` lines later."""

    value: dict[Any, Any]
    text: str
    index: int
    offset: int
    _line: Callable[[Path], int]

    def line(self, *path: str | int) -> int:
        """The line in grants.yaml, from one, of the key or value at `path` inside the entry."""
        return self._line(("grants", self.index, *path)) + self.offset

    def placed(self, faults: list[Diagnostic]) -> list[Diagnostic]:
        """Faults with a path inside the entry, with their lines in grants.yaml."""
        here = [replace(d, path=("grants", self.index, *(d.path or ()))) for d in faults]
        there = yaml12.located(here, {GRANTS: self.text})
        return [replace(d, line=d.line + self.offset) if d.line is not None else d for d in there]


@dataclass(frozen=True)
class Selection:
    """The entries of a repository in the order of the file, and why some that are its own cannot be read."""

    entries: list[Found] = field(default_factory=list)
    faults: list[Diagnostic] = field(default_factory=list)


def owner(value: Any) -> str | None:
    """The repository, in small letters, that an entry is for; None if it does not say."""
    if not isinstance(value, dict):
        return None
    feedstock, repo = value.get("feedstock"), value.get("repo")
    if feedstock is not None:
        return f"{feedstock.lower()}{ENDING}" if isinstance(feedstock, str) else None
    return repo.lower() if isinstance(repo, str) else None


class Entries:
    """grants.yaml, of which only entries that are asked for are read."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def select(self, name: str) -> Selection:
        """The entries for the feedstock `name` (without its ending) or the repository `name`.

        Faults in entries of others are passed over, as long as it is sure where those begin and end.
        """
        found = None if self.frame is None else _from_pieces(self.raw, self._low, self.frame, name.lower())
        return whole(self.raw, name) if found is None else found

    @cached_property
    def frame(self) -> Frame | None:
        """Where the entries are; None if the file can only be read as a whole."""
        return _frame(self.raw)

    @cached_property
    def _low(self) -> bytes:
        return self.raw.lower()

    def names_like(self, name: str, most: int = 3) -> list[str]:
        """The names of feedstocks and repositories that somebody may have meant who wrote `name`."""
        low = name.lower()
        spelled = {n.lower(): n for pattern in _NAMED for n in map(bytes.decode, pattern.findall(self.raw))}
        # Comparing a hundred thousand names letter by letter takes a second: those that begin alike come first.
        alike = {n: None for n in spelled if n.endswith(low[-4:])}
        for length in range(len(low), 1, -1):
            if len(alike) > _LIKE:
                break
            alike.update(dict.fromkeys(n for n in spelled if n.startswith(low[:length])))
        near = difflib.get_close_matches(low, list(alike)[:_LIKE], n=50, cutoff=0.6)
        best = sorted(near, key=lambda n: not n.startswith(low))[:most]
        return [spelled[n] for n in best if self.frame is None or self.select(n).entries]


def whole(raw: bytes, name: str) -> Selection:
    """As `Entries.select`, by reading the whole file."""
    value, faults = yaml12.load(raw, GRANTS, yaml12.LIMIT_GRANTS)
    text = raw.decode("utf-8-sig", "replace")
    if faults or not is_mapping(value, GRANTS, faults):
        return Selection(faults=yaml12.located(faults, {GRANTS: text}))
    entries = value.get("grants")
    validated({**value, **({"grants": []} if isinstance(entries, list) else {})}, GrantsFile, GRANTS, faults)
    if faults:
        return Selection(faults=yaml12.located(faults, {GRANTS: text}))
    line = yaml12.line_of(text)
    wanted = _repositories(name)
    return Selection([Found(e, text, i, 0, line) for i, e in enumerate(entries) if owner(e) in wanted])


def _repositories(name: str) -> tuple[str, str]:
    return name.lower(), f"{name.lower()}{ENDING}"


# ------------------------------------------------------------------------------------------ where entries begin


@dataclass(frozen=True)
class Frame:
    """The entries stand from `begin` to `end`, each behind a line end, `indent` and a dash."""

    begin: int
    end: int
    indent: bytes

    def dash(self) -> re.Pattern[bytes]:
        """The line end before an entry."""
        return re.compile(rb"\n(?=" + self.indent + rb"-[ \r\n])")


def _frame(raw: bytes) -> Frame | None:
    """Where the entries are; None if they are not one under another, or if the rest of the file has a fault."""
    head = _HEAD.search(raw)
    first = _FIRST.match(raw, head.end()) if head else None
    if first is None or len(raw) > yaml12.LIMIT_GRANTS or _MARK in raw:
        return None
    indent = first[1]
    other = rb"\n(?=[^ #\r\n])" if indent else rb"\n(?=[^ #\r\n-]|-[^ \r\n])"
    stop = re.compile(other).search(raw, first.end())
    frame = Frame(first.start(1), stop.end() if stop else len(raw), indent)
    value, faults = yaml12.load(raw[: frame.begin] + raw[frame.end :], GRANTS)
    if faults or not isinstance(value, dict) or value.get("grants", ()) is not None:
        return None
    validated({**value, "grants": []}, GrantsFile, GRANTS, faults)
    return None if faults or _may_run_on(raw[frame.begin : frame.end], indent) else frame


def _may_run_on(body: bytes, indent: bytes) -> bool:
    """True if quoted text or brackets could hold a line that looks like the beginning of an entry.

    The parser takes such a line for a part of the value. Texts with a single quote or bracket are suspected, too.
    """
    marked = body
    for sign in (b" ", b"\n", b"\r"):
        marked = marked.replace(b"\n" + indent + b"-" + sign, b"\n" + _MARK + sign)
    brackets = marked.translate(None, _NO_BRACKETS)
    for _ in range(_DEEPEST):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets.strip(_MARK):
        return True
    # A quote opens a text behind a blank or one of these signs only; the sign itself comes first, as it is found fast.
    double = rb'"(?<![^\s\[{,:]")(?:[^"\\\n\x01]|\\[^\n]|\\(?=\n)|\n(?!\x01))*+\n\x01'
    single = rb"'(?<![^\s\[{,:]')(?:[^'\n\x01]|''|\n(?!\x01))*+\n\x01"
    return bool(re.search(double, marked) or re.search(single, marked))


# --------------------------------------------------------------------------------------------- piece by piece


def _from_pieces(raw: bytes, low: bytes, frame: Frame, name: str) -> Selection | None:
    """The entries of a repository; None if a piece turns out not to be one entry."""
    entries, faults = [], []
    wanted = _repositories(name)
    for begin, end in _pieces(raw, low, frame, name):
        text = b"grants:\n" + raw[begin:end]
        value, found = yaml12.load(text, GRANTS, yaml12.LIMIT_GRANTS)
        offset = raw.count(b"\n", 0, begin) - 1
        if found:
            if _names_it(text, name):
                # Read again where it stands in the file: messages name lines, too.
                faults += yaml12.load(b"\n" * offset + text, GRANTS, yaml12.LIMIT_GRANTS)[1]
            continue
        listed = value["grants"] if isinstance(value, dict) and len(value) == 1 else None
        if not isinstance(listed, list) or len(listed) != 1:
            return None
        if owner(listed[0]) in wanted:
            decoded = text.decode()
            entries.append(Found(listed[0], decoded, 0, offset, yaml12.line_of(decoded)))
    return Selection(entries, faults)


def _pieces(raw: bytes, low: bytes, frame: Frame, name: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each entry that could be about `name`, in the order of the file."""
    token = re.escape(name.encode())
    word = rb"%s(?<![a-z0-9_.-]%s)(?:-feedstock)?(?![a-z0-9_.-])" % (token, token)
    found = set(_holding(raw, low, frame, re.compile(word), name))
    if b"\\" in raw:  # a name can be written with escapes
        found |= set(_holding(raw, low, frame, re.compile(rb"\\"), name))
    yield from sorted(found)


def _holding(
    raw: bytes, low: bytes, frame: Frame, pattern: re.Pattern[bytes], name: str
) -> Iterator[tuple[int, int]]:
    """The entries in which `pattern` is found, without those whose first line says that they are for another."""
    dash = frame.dash()
    first_line = re.compile(
        frame.indent + rb"- +feedstock: +(" + _NAME_BYTES + rb"+)[ \t]*(?:#[^\n]*)?\r?\n", re.IGNORECASE
    )
    undecided = {name.encode(), b"null"}
    at = frame.begin
    while hit := pattern.search(low, at, frame.end):
        begin = _begin(raw, frame, hit.start())
        behind = dash.search(raw, hit.start(), frame.end)
        at = behind.end() if behind else frame.end
        told = first_line.match(low, begin)
        if told is None or told[1] in undecided:
            yield begin, at


def _begin(raw: bytes, frame: Frame, at: int) -> int:
    """Where the entry begins in which `at` stands."""
    dash = b"\n" + frame.indent + b"-"
    until = at
    while (found := raw.rfind(dash, frame.begin, until)) >= 0:
        if raw[found + len(dash) : found + len(dash) + 1] in (b" ", b"\r", b"\n"):
            return found + 1
        until = found + len(dash) - 1
    return frame.begin


def _names_it(piece: bytes, name: str) -> bool:
    """True if a piece that cannot be read seems to be about `name`."""
    names = (found.decode().lower() for pattern in _NAMED for found in pattern.findall(piece))
    return any(found in _repositories(name) for found in names)
