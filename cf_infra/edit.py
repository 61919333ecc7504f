"""The text of grants.yaml changed in place: comments, order, quotes, styles and line ends stay as people wrote them.

An entry is a piece of its own: from its dash to the next one's. A change composes the one piece that it is about (the
nodes' marks say where values stand) and touches no other. Whatever was done is proven in the end: the text is read
again and must say what was meant, else nothing comes out (`cannot-edit`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import yaml

from cf_infra import yaml12
from cf_infra.diagnostics import Diagnostic, Failure, Path
from cf_infra.model import Grant
from cf_infra.parse import GRANTS

NEW = "version: 1\ngrants: []\n"
"""A grants.yaml that grants nothing."""

# --------------------------------------------------------------------------------------------- values as text

_PLAIN = re.compile(r"^[A-Za-z][A-Za-z0-9_./:@+-]*$")
_SENTENCE = re.compile(r"^[A-Za-z][A-Za-z0-9 ,._/()+-]*[A-Za-z0-9.)]$")
_DAY = re.compile(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
_WORDS = frozenset("true false null yes no on off y n".split())
_ORDER = list(Grant.model_fields)


def scalar(value: str | bool | int) -> str:
    """A value as YAML 1.1 and 1.2 both read it: plain where that is safe, else in double quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if _PLAIN.match(value) and not value.endswith(":") and value.lower() not in _WORDS:
        return value
    return yaml12.quoted(value)


def grant_text(grant: Grant) -> str:
    """One entry as it stands in grants.yaml; what is at its default is left out."""
    values = grant.model_dump(exclude_defaults=True, mode="json")
    order = [
        "feedstock",
        "repo",
        "resources",
        *(k for k in values if k not in ("feedstock", "repo", "resources")),
    ]
    lines = [f"{key}: {_value(key, values[key])}" for key in order if key in values]
    if not grant.resources:
        lines.insert(1, "resources: []")
    return "".join(f"{'  - ' if i == 0 else '    '}{line}\n" for i, line in enumerate(dict.fromkeys(lines)))


def _value(key: str, value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(scalar(item) for item in value)}]"
    if key in ("granted", "expires") and isinstance(value, str) and _DAY.match(value):
        return value  # read as text by YAML 1.2, and written so by people
    if key == "reason" and isinstance(value, str) and _SENTENCE.match(value) and value.lower() not in _WORDS:
        return value
    return scalar(value) if isinstance(value, (str, bool, int)) else scalar(str(value))


# ----------------------------------------------------------------------------------------------- the whole file


class Editor:
    """grants.yaml as its entries, counted as the file has them; those that are added get the next numbers.

    Raises Failure("cannot-edit") for a file whose entries do not stand one under another.
    """

    def __init__(self, text: str) -> None:
        self.original = text
        self._mark = "\ufeff" if text.startswith("\ufeff") else ""
        whole = text.removeprefix("\ufeff") or NEW
        self._others, self._values = _read(whole)
        self._head, self._pieces, self._tail = self._split(whole)
        self._head_before, self._pieces_before = self._head, list(self._pieces)
        self._touched = False
        self._proven: str | None = None

    def _split(self, text: str) -> tuple[str, list[str | None], str]:
        empty = _EMPTY.search(text)
        if empty:
            return text[: empty.start()] + empty[1] + empty[2], [], text[empty.end() :]
        lines = _lines(text)
        starts, end = yaml12.lines_of_entries(text)
        if not starts or len(starts) != len(self._values):
            raise _cannot(("grants",), "the list is written otherwise")
        ends = [*starts[1:], end]
        pieces: list[str | None] = ["".join(lines[a:b]) for a, b in zip(starts, ends, strict=True)]
        return "".join(lines[: starts[0]]), pieces, "".join(lines[end:])

    # ------------------------------------------------------------------------------------------ changes

    def add(self, entry: Grant) -> int:
        """Add an entry behind the last one; its number. Raises Failure where more keys follow `grants:`."""
        if self._pieces_before and self._tail:
            raise _cannot(("grants",), "another key follows")
        self._end_last_line()
        self._pieces.append(self._laid_out(grant_text(entry)))
        self._values.append(_said(grant_text(entry)))
        self._touched, self._proven = True, None
        return len(self._pieces) - 1

    def add_resources(self, index: int, names: Sequence[str]) -> None:
        """Add names to an entry's resources, behind those that it has and in their style."""
        if names:
            self._rewrite(index, Piece(self._piece(index)).with_more(names))
            self._values[index]["resources"] = [*self._values[index]["resources"], *names]

    def remove_resources(self, index: int, names: Iterable[str]) -> None:
        """Take names from an entry's resources; without a last one the entry goes, too."""
        gone = set(names)
        left = [name for name in self._values[index]["resources"] if name not in gone]
        if not left:
            self.remove(index)
            return
        text = self._piece(index)
        for name in self._values[index]["resources"]:
            text = Piece(text).without(name) if name in gone else text
        self._rewrite(index, text)
        self._values[index]["resources"] = left

    def set(self, index: int, key: str, value: str | bool | int) -> None:
        """Give a key of an entry a new value; a key that is not there comes behind those it usually follows."""
        self._rewrite(index, Piece(self._piece(index)).with_value(key, value))
        self._values[index][key] = value

    def remove(self, index: int) -> None:
        """Take an entry away, with its own comments: those inside of it, and those right above it.

        Right above: lines with # where its dash stands, and no empty line between. What stands above the first entry
        stays, as it may be about the list; so does a heading (a line such as `# ------`).
        """
        own, rest = Piece(self._piece(index)).parts()
        above = next((i for i in range(index - 1, -1, -1) if self._pieces[i] is not None), None)
        before = self._head if above is None else self._piece(above)
        if above is not None:
            before = before[: _comment_above(before, _indent(own))]
        if _ends_empty(before) or (above is None and not before.rpartition("\n")[0].endswith("\n")):
            rest = _EMPTY_FIRST.sub("", rest)  # one empty line between entries is enough
        if not rest and not self._tail and not any(self._pieces[index + 1 :]):
            before = _EMPTY_LAST.sub("", before)
        if above is None:
            self._head = before + rest
        else:
            self._pieces[above] = before + rest
        self._pieces[index] = None
        self._touched, self._proven = True, None

    def _piece(self, index: int) -> str:
        piece = self._pieces[index]
        assert piece is not None, "the entry was removed"
        return piece

    def _rewrite(self, index: int, text: str) -> None:
        self._pieces[index] = text
        self._touched, self._proven = True, None

    def _end_last_line(self) -> None:
        last = next((i for i in reversed(range(len(self._pieces))) if self._pieces[i] is not None), None)
        if last is not None and not self._piece(last).endswith("\n"):
            self._pieces[last] = self._piece(last) + _newline(self._head)
            self._values[last] = _said(self._piece(last))  # a block of text may have gained its line end

    @cached_property
    def _layout(self) -> tuple[str, bool]:
        """The blanks before an entry of this file, and whether an empty line stands between entries."""
        known = [piece for piece in self._pieces_before if piece is not None]
        indent = _indent(known[-1]) if known else 2
        apart = len(known) > 1 and _ends_empty(known[-2][: _comment_above(known[-2], indent)])
        return " " * indent, apart

    def _laid_out(self, entry: str) -> str:
        """An entry's text with this file's indent, line ends, and empty line between entries."""
        indent, apart = self._layout
        previous = next((p for p in reversed(self._pieces) if p is not None), "")
        # A block of text that keeps its empty lines (`|+`) would take another one for its own.
        apart = apart and previous != "" and not _ends_empty(previous) and not _KEEPS.search(previous)
        lines = [""] * apart + [f"{indent}{line[2:]}" for line in entry.splitlines()]
        return "".join(line + _newline(self._head) for line in lines)

    # ------------------------------------------------------------------------------------------- result

    def text(self) -> str:
        """grants.yaml after all changes. Raises Failure("cannot-edit") if it does not say what was meant."""
        if not self._touched:
            return self.original
        if self._proven is not None:
            return self._proven  # to read 100,000 entries again takes more than a second
        live = [piece for piece in self._pieces if piece is not None]
        text = self._head_for(live) + "".join(live) + self._tail
        wanted = [v for v, piece in zip(self._values, self._pieces, strict=True) if piece is not None]
        value, faults = yaml12.load(text.encode(), GRANTS, yaml12.LIMIT_GRANTS)
        if any(fault.code == "too-large" for fault in faults):
            raise Failure(*faults)
        others = {k: v for k, v in value.items() if k != "grants"} if isinstance(value, dict) else None
        if faults or others != self._others or value["grants"] != wanted:
            raise _cannot(self._first_wrong(value, wanted), "in this form")
        self._proven = self._mark + text
        return self._proven

    def _head_for(self, live: list[str]) -> str:
        """What stands above the entries; `grants:` has to say so where there is none any more."""
        found = None if live else re.search(r"^grants:", self._head, re.MULTILINE)
        head = self._head if found is None else f"{self._head[: found.end()]} []{self._head[found.end() :]}"
        return head if head.endswith("\n") else head + _newline(head)

    def _first_wrong(self, value: Any, wanted: list[Any]) -> Path:
        found = value.get("grants") if isinstance(value, dict) else None
        changed = [i for i, p in enumerate(self._pieces_before) if p != self._pieces[i]]
        if not isinstance(found, list) or len(found) != len(wanted) or not changed:
            return ("grants",)
        return ("grants", changed[0])

    def diff(self, name: str = GRANTS, is_new: bool = False) -> str:
        """What changed, as `git apply` takes it; entry by entry, so that 100,000 of them are no matter."""
        after = self.text().removeprefix("\ufeff")
        if is_new:
            return _unified(_compared("", after), "/dev/null", f"b/{name}")
        before = self.original.removeprefix("\ufeff")
        if not self._pieces_before:
            return _unified(_compared(before, after), f"a/{name}", f"b/{name}")
        return _unified(self._changes(), f"a/{name}", f"b/{name}")

    def _changes(self) -> Iterator[tuple[str, str]]:
        """Line by line what stays, goes and comes."""
        live = [piece for piece in self._pieces if piece is not None]
        count = len(self._pieces_before)
        # What stood between a removed entry and the next one went to the one before it: they are compared together.
        groups = [([self._head_before], self._head_for(live))]
        for old, new in zip(self._pieces_before, self._pieces, strict=False):
            if new is None:
                groups[-1][0].append(old or "")
            else:
                groups.append(([old or ""], new))
        for before, after in groups:
            yield from _compared("".join(before), after)
        yield from _compared("", "".join(piece or "" for piece in self._pieces[count:]))
        yield from _compared(self._tail, self._tail)


def with_entries(text: str, entries: Iterable[Grant]) -> str:
    """grants.yaml with entries added at its end. Raises Failure("cannot-edit")."""
    editor = Editor(text)
    for entry in entries:
        editor.add(entry)
    return editor.text()


_EMPTY = re.compile(r"^(grants:)[ \t]*\[[ \t]*\]([ \t]*(?:#[^\n\r]*)?)(?:\r?\n|\Z)", re.MULTILINE)
_EMPTY_FIRST = re.compile(r"\A(?:[ \t]*\r?\n)+")
_EMPTY_LAST = re.compile(r"(?<=\n)(?:[ \t]*\r?\n)+\Z")
_ROW = re.compile(r"[^\n]*\n|[^\n]+")
_BELOW = re.compile(r"([ \t]*)(#?)[^\n]*\n?")
_TO_COMMA = re.compile(r"(?:\s|(?<=\s)#[^\n]*+\n)*+,")
_KEEPS = re.compile(r"[|>]\d?\+")
_HEADING = re.compile(r"[-=#*~_]{3}")


def _read(text: str) -> tuple[dict[str, Any], list[Any]]:
    """The other keys, and the entries. Raises Failure for a text that cannot be read."""
    value, faults = yaml12.load(text.encode(), GRANTS, yaml12.LIMIT_GRANTS)
    if faults:
        raise Failure(*faults)
    entries = value.get("grants") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        raise _cannot(("grants",), "no list")
    return {k: v for k, v in value.items() if k != "grants"}, entries


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _lines(text: str) -> list[str]:
    """The lines with their ends; only those that YAML takes for ends."""
    return _ROW.findall(text)


def _indent(piece: str) -> int:
    return len(piece) - len(piece.lstrip(" "))


def _ends_empty(text: str) -> bool:
    """True if the last line is empty."""
    return text.count("\n", len(text.rstrip())) > 1


def _said(piece: str) -> dict[str, Any]:
    """What the text of one entry says."""
    [value] = yaml12.load(f"grants:\n{piece}".encode(), GRANTS)[0]["grants"]
    assert isinstance(value, dict)
    return value


def _comment_above(text: str, column: int) -> int:
    """Where the comment begins that ends `text`, in lines whose # stands at `column`; its end if there is none."""
    begin = len(text)
    while begin and text[begin - 1] == "\n":
        line = text.rfind("\n", 0, begin - 1) + 1
        if text[line : line + column + 1] != " " * column + "#":
            break
        begin = line
    return len(text) if _HEADING.search(text, begin) else begin


def _cannot(path: Path, label: str) -> Failure:
    return Failure(
        Diagnostic(
            "cannot-edit",
            file=GRANTS,
            path=path,
            on_key=len(path) == 1,
            label=label,
            detail="Entries are changed in place where `grants:` is the last key, with one entry under another."
            "\nNothing was written.",
            hint="write it so, or make this change by hand",
        )
    )


# --------------------------------------------------------------------------------------------------- one entry


class Piece(yaml12.Places):
    """The text of one entry, and where its keys and values stand in it. Raises Failure("cannot-edit")."""

    def __init__(self, text: str) -> None:
        self.text = text
        listed = yaml12.composed(text)
        if not isinstance(listed, yaml.SequenceNode) or len(listed.value) != 1:
            raise _cannot(("grants",), "cannot be read by itself")
        self.dash: int = listed.start_mark.column
        [entry] = listed.value
        if not isinstance(entry, yaml.MappingNode):
            raise _cannot(("grants",), "cannot be read by itself")
        self.entry = entry

    def parts(self) -> tuple[str, str]:
        """The entry's own lines, comments inside of it included; and what stands between it and the next one."""
        end = self._own_end(self._end(self.entry), self.dash)
        return self.text[:end], self.text[end:]

    # ----------------------------------------------------------------------------------------- places

    def _own_end(self, place: int, column: int) -> int:
        """The end of what ends at `place`, with the comments below it that are further to the right than `column`."""
        end = here = self._line_end(place)
        while found := _BELOW.match(self.text, here):
            is_comment = bool(found[2]) and len(found[1]) > column
            if found.end() == here or not (is_comment or not found[0].strip()):
                break
            here = found.end()
            end = here if is_comment else end
        return end

    def _own_begin(self, place: int, column: int) -> int:
        """The begin of the line of `place`, with the comment right above it at the same column."""
        return _comment_above(self.text[: self._line_begin(place)], column)

    def _pair(self, key: str) -> tuple[yaml.Node, yaml.Node] | None:
        return next((pair for pair in self.entry.value if pair[0].value == key), None)

    def _put(self, begin: int, end: int, text: str) -> str:
        return self.text[:begin] + text + self.text[end:]

    def _put_lines(self, place: int, lines: Iterable[str]) -> str:
        """The text with whole lines at `place`, which is the begin of a line or the end of the text."""
        newline = _newline(self.text)
        if place == len(self.text) and not self.text.endswith("\n"):
            return self.text + "".join(newline + line for line in lines)
        return self._put(place, place, "".join(line + newline for line in lines))

    # ------------------------------------------------------------------------------------------ a value

    def with_value(self, key: str, value: str | bool | int) -> str:
        """The text with another value of a key."""
        pair = self._pair(key)
        if pair is None:
            return self._with_key(key, value)
        _, old = pair
        if not isinstance(old, yaml.ScalarNode):
            raise _cannot(("grants",), "a list stands there")
        begin, end = self._begin(old), self._end(old)
        new = _value(key, value)
        if old.style in ("'", '"') and isinstance(value, str) and not re.search(r"['\"\\]", value):
            new = f"{old.style}{value}{old.style}"
        return self._put(begin, end, new if begin < end else f" {new}")

    def _with_key(self, key: str, value: str | bool | int) -> str:
        place = _ORDER.index(key)
        before = [p for p in self.entry.value if p[0].value in _ORDER[:place]]
        _, last = max(before, key=lambda p: _ORDER.index(p[0].value)) if before else self.entry.value[-1]
        if self.entry.flow_style:
            return self._put(self._end(last), self._end(last), f", {key}: {_value(key, value)}")
        column = self.entry.start_mark.column
        return self._put_lines(
            self._line_end(self._end(last)), [f"{' ' * column}{key}: {_value(key, value)}"]
        )

    # ------------------------------------------------------------------------------------------ the resources

    def _resources(self) -> yaml.SequenceNode:
        pair = self._pair("resources")
        if pair is None or not isinstance(pair[1], yaml.SequenceNode):
            raise _cannot(("grants",), "no list of resources")
        return pair[1]

    def with_more(self, names: Sequence[str]) -> str:
        """The text with more resources."""
        listed = self._resources()
        written = [scalar(name) for name in names]
        if not listed.value:
            place = self._begin(listed) + 1
            return self._put(place, place, ", ".join(written))
        end = self._end(listed.value[-1])
        if not listed.flow_style:
            dashes = " " * listed.start_mark.column + "- "
            return self._put_lines(
                self._own_end(end, listed.start_mark.column), [dashes + name for name in written]
            )
        comma = self._comma(end)
        if not self._alone(listed.value[-1], comma):
            return self._put(end, end, "".join(f", {name}" for name in written))
        indent = " " * listed.value[-1].start_mark.column
        lines = [f"{indent}{name}," for name in written]
        if comma is not None:
            return self._put_lines(self._line_end(end), lines)
        lines[-1] = lines[-1].removesuffix(",")
        return Piece(self._put(end, end, ","))._put_lines(self._line_end(end) + 1, lines)

    def without(self, name: str) -> str:
        """The text without one of several resources."""
        listed = self._resources()
        number = next(i for i, item in enumerate(listed.value) if item.value == name)
        item = listed.value[number]
        if not listed.flow_style:
            return self._without_line(item, listed.start_mark.column, number)
        comma = self._comma(self._end(item))
        if self._alone(item, comma):
            return self._put(
                self._line_begin(self._begin(item))
                if number == 0
                else self._own_begin(self._begin(item), item.start_mark.column),
                self._line_end(self._end(item)),
                "",
            )
        return self._without_word(listed, number, comma)

    def _without_line(self, item: yaml.Node, column: int, number: int) -> str:
        dash = self._line_begin(self._begin(item))
        while self.text[dash + column : dash + column + 1] != "-":
            dash = self._line_begin(dash - 1)
        if self.text[dash : dash + column].strip():
            raise _cannot(("grants",), "in this form")  # `: - name`, behind a key that is written with `?`
        begin = dash if number == 0 else self._own_begin(dash, column)
        return self._put(begin, self._own_end(self._end(item), column), "")

    def _without_word(self, listed: yaml.SequenceNode, number: int, comma: int | None) -> str:
        begin, end = self._begin(listed.value[number]), self._end(listed.value[number])
        if number + 1 < len(listed.value):
            following = self._begin(listed.value[number + 1])
            if "\n" not in self.text[end:following]:
                return self._put(begin, following, "")
            before = len(self.text[:begin].rstrip(" "))
            return self._put(before, comma or end, "")
        previous = self._end(listed.value[number - 1])
        if "#" in self.text[previous:begin]:
            return self._put(begin, comma or end, "")
        return self._put(previous, end, "")

    def _comma(self, place: int) -> int | None:
        """Just behind the comma that follows, if one does before anything else."""
        found = _TO_COMMA.match(self.text, place)
        return found.end() if found else None

    def _alone(self, item: yaml.Node, comma: int | None) -> bool:
        """True if an item of a list in brackets stands in a line of its own, with its comma and a comment at most."""
        begin, end = self._begin(item), self._end(item)
        stop = self._line_end(end)
        if comma is not None and comma > stop:
            return False
        before = self.text[self._line_begin(begin) : begin]
        after = self.text[comma or end : stop].strip()
        return not before.strip() and (not after or after.startswith("#"))


# --------------------------------------------------------------------------------------------------- as a diff

_AROUND = 3


def _compared(old: str, new: str) -> Iterator[tuple[str, str]]:
    """The lines of both: (" " both have it, "-" it goes, "+" it comes; the line)."""
    before, after = _lines(old), _lines(new)
    if before == after:
        yield from ((" ", line) for line in before)
        return
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from ((" ", line) for line in before[a:b])
        else:
            yield from (("-", line) for line in before[a:b])
            yield from (("+", line) for line in after[c:d])


def _unified(changes: Iterable[tuple[str, str]], old: str, new: str) -> str:
    """The changes in the unified form, with three lines around each."""
    rows = list(changes)
    changed = [i for i, (sign, _) in enumerate(rows) if sign != " "]
    if not changed:
        return ""
    spans: list[list[int]] = []
    for i in changed:
        if spans and i - spans[-1][1] <= 2 * _AROUND:
            spans[-1][1] = i
        else:
            spans.append([i, i])
    parts = [f"--- {old}\n+++ {new}\n"]
    at, lines_old, lines_new = 0, 0, 0
    for first, last in spans:
        begin, end = max(0, first - _AROUND), min(len(rows), last + _AROUND + 1)
        lines_old += sum(sign != "+" for sign, _ in rows[at:begin])
        lines_new += sum(sign != "-" for sign, _ in rows[at:begin])
        hunk, at = rows[begin:end], end
        old_count, new_count = sum(s != "+" for s, _ in hunk), sum(s != "-" for s, _ in hunk)
        parts.append(f"@@ -{_range(lines_old, old_count)} +{_range(lines_new, new_count)} @@\n")
        parts += [_row(sign, line) for sign, line in hunk]
        lines_old, lines_new = lines_old + old_count, lines_new + new_count
    return "".join(parts)


def _range(before: int, count: int) -> str:
    return f"{before + 1 if count else before},{count}"


def _row(sign: str, line: str) -> str:
    return f"{sign}{line}" if line.endswith("\n") else f"{sign}{line}\n\\ No newline at end of file\n"
