"""YAML 1.2 (core schema) to plain values, fast; and the line of a value, only when somebody asks.

ryaml reads 1.2, so `on` and `no` are plain names, and refuses duplicate keys and NUL. Measured against it: it
takes tags for keys or ignores them, and expands aliases, so both are looked for first. PyYAML's C parser knows
lines and columns, which ryaml does not; it is slow, so it only sees a file that has a fault, and of a long list
only the entry that is asked for. It reads YAML 1.1, which makes no difference to where a value stands.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import ryaml
import yaml

from cf_infra.diagnostics import Diagnostic, Path, printable

LIMIT_GRANTS = 45_000_000
LIMIT_OTHER = 1_000_000
SECRET = "secret-in-stack"
SECRETS = frozenset({SECRET, "secret-in-settings"})
"""The codes whose line is never shown."""
AS_WRITTEN = "\0"
"""Stands in a hint for the value as the file has it: `2.10` is read as 2.1, and the reader looks for `2.10`."""

_DEEPEST = 128
"""Where ryaml itself stops."""
_MOST_FAULTS = 50
_LONGEST_LINE = 4000
"""So much of a line is kept to be shown; what stands behind it has line and column only."""
_LONGEST = 8_000_000
"""So many characters are composed at once, a second for each million; of more, only entries that stand alone."""
# Line breaks to a YAML reader and to no editor; and signs that turn the direction of writing, so that a reviewer
# sees another text than what stands there (https://trojansource.codes).
_HIDING = re.compile("[\x85\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")


def load(raw: bytes, file: str, limit: int = LIMIT_OTHER) -> tuple[Any, list[Diagnostic]]:
    """The value in `raw`, or None and the faults that keep it from being read."""
    if len(raw) > limit:
        return None, [too_large(limit, file)]
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return None, [_not_utf8(error, file)]
    if _may_hide(text) and (hidden := _HIDING.search(text)):
        return None, [_character(text, hidden, file)]
    # Only what could begin an anchor, an alias or a tag; text may hold such signs too, so the parser decides.
    suspicious = _may_have_features(text) or _may_be_deep(raw)
    faults = _Audit(text, file).faults() if suspicious else []
    if faults:
        return None, faults
    try:
        return ryaml.loads(text), []
    except (ryaml.InvalidYamlError, ValueError) as error:
        return None, _Audit(text, file).faults() or [_unplaced(text, file, str(error))]


def _may_hide(text: str) -> bool:
    return not text.isascii() or text.count("\r") != text.count("\r\n")


def _may_have_features(text: str) -> bool:
    """True if a node could begin with one of their signs; cheap, as nearly every file says no."""
    # One character is found ten times as fast as two.
    if ("<" in text and "<<" in text) or "\n..." in text:
        return True
    if "%" in text and (text.startswith("%") or "\n%" in text):
        return True
    for sign in "&*!":
        if text.count(sign) > _MANY:
            return True
        at = text.find(sign)
        while at >= 0:
            # Behind a key, a dash or a bracket, or first in its line; 200 columns are enough to tell.
            begin = text.rfind("\n", max(0, at - 200), at) + 1 or max(0, at - 200)
            before = text[begin:at].rstrip()
            if not before or before[-1] in ":-?,[{\ufeff":
                return True
            at = text.find(sign, at + 1)
    return False


_MANY = 100_000
"""Of more signs than these the parser is quicker to say what they are."""


def _may_be_deep(raw: bytes) -> bool:
    """True if brackets could be nested too deep: ryaml's time grows with the square of the depth."""
    brackets = raw.translate(None, _NO_BRACKETS)
    for _ in range(_USUAL_DEPTH):
        outer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(outer) == len(brackets):
            return len(outer) > _DEEPEST
        brackets = outer
    return True


_USUAL_DEPTH = 16
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def too_large(limit: int, file: str) -> Diagnostic:
    """The fault of a file that has more than `limit` bytes."""
    return Diagnostic(
        "too-large",
        file=file,
        detail=f"It has more than {limit:,} bytes, and no more are read.",
        hint="look for what was pasted by mistake",
    )


def duplicate_keys(text: str, file: str) -> list[Diagnostic]:
    """The keys that stand twice in a text that is JSON: that is YAML too, and its own reader takes the last one."""
    return [fault for fault in _Audit(text, file).faults() if fault.code == "duplicate-key"]


def _not_utf8(error: UnicodeDecodeError, file: str) -> Diagnostic:
    before = error.object[: error.start]
    line = before.count(b"\n") + 1
    column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
    return Diagnostic(
        "not-utf8",
        file=file,
        line=line,
        column=column,
        detail=f"Byte 0x{error.object[error.start]:02x} is not UTF-8.",
        hint=f"save the file as UTF-8, for example:\niconv -f latin1 -t utf-8 {file} > fixed",
    )


def _character(text: str, found: re.Match[str], file: str) -> Diagnostic:
    line = text.count("\n", 0, found.start())
    column = found.start() - (text.rfind("\n", 0, found.start()) + 1)
    return Diagnostic(
        "broken-yaml",
        file=file,
        line=line + 1,
        column=column + 1,
        excerpt=_line(text, line),
        label=f"U+{ord(found[0]):04X}",
        detail=f"The control character U+{ord(found[0]):04X} stands in the text; most programs do not show it.",
        hint="delete it; it is often left over from a terminal, a web page or another editor",
    )


def _unplaced(text: str, file: str, message: str) -> Diagnostic:
    if control := _CONTROL.search(text):
        return _character(text, control, file)
    where = re.search(r" at line (\d+) column (\d+)", message)
    line, column = _inside(text, int(where[1]) - 1, int(where[2]) - 1) if where else (0, 0)
    return Diagnostic(
        "broken-yaml",
        file=file,
        line=line + 1,
        column=column + 1,
        excerpt=_line(text, line),
        label="here",
        detail=f"The YAML reader says: {message}.",
        hint=_EXAMPLES,
    )


_EXAMPLES = "compare with the examples in docs/files.md and docs/stacks.md"


# ---------------------------------------------------------------------------------- what keeps it from being read


_SECOND = "A second document (`---`)"
_END = "An end of document (`...`)"
_DIRECTIVE = "A directive (`%NAME`)"
_INSTEAD = {_SECOND: "keep one of the two", _END: "delete the line", _DIRECTIVE: "delete the line"}


@dataclass
class _Level:
    """A list or mapping that is open: its keys with their lines, and whether a key comes next."""

    keys: dict[str, int] | None
    key_is_next: bool = True


@dataclass
class _Audit:
    """Goes through a text once and finds all that keeps it from being taken, up to where it is no YAML at all."""

    text: str
    file: str
    documents: int = 0
    levels: list[_Level] = field(default_factory=list)
    features: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def faults(self) -> list[Diagnostic]:
        """All of them, but of keys at most _MOST_FAULTS: a file that is no YAML for us would give thousands."""
        found: list[Diagnostic] = []
        try:
            for event in yaml.parse(self.text, Loader=yaml.CSafeLoader):
                found += self._event(event)
                if len(self.levels) > _DEEPEST:
                    found.append(self._too_deep(event))
                    break
                if len(found) >= _MOST_FAULTS:
                    break
        except yaml.MarkedYAMLError as error:
            found.append(_broken(error, self.text, self.file))
        except yaml.YAMLError as error:
            found.append(_unplaced(self.text, self.file, str(error)))
        return found + [self._refused(event, what, count) for what, (event, count) in self.features.items()]

    def _event(self, event: Any) -> Iterator[Diagnostic]:
        if isinstance(event, yaml.CollectionEndEvent):
            self.levels.pop()
            return
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
        what = self._feature(event)
        if what:
            self._note(what, event)
        if isinstance(event, yaml.NodeEvent):
            yield from self._node(event)

    def _note(self, what: str, event: Any) -> None:
        first, count = self.features.get(what, (event, 0))
        self.features[what] = (first, count + 1)

    def _feature(self, event: Any) -> str | None:
        if isinstance(event, yaml.AliasEvent):
            return "An alias (`*name`)"
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            return "An anchor (`&name`)"
        if getattr(event, "tag", None) is not None:
            return "A tag (`!name`)"
        if isinstance(event, yaml.DocumentStartEvent):
            if event.version is not None or event.tags:
                return _DIRECTIVE
            return _SECOND if self.documents > 1 else None
        return _END if isinstance(event, yaml.DocumentEndEvent) and event.explicit else None

    def _node(self, event: Any) -> Iterator[Diagnostic]:
        level = self.levels[-1] if self.levels else None
        if level is not None and level.keys is not None:
            if level.key_is_next:
                yield from self._key(event, level.keys)
            level.key_is_next = not level.key_is_next
        if isinstance(event, yaml.CollectionStartEvent):
            self.levels.append(_Level({} if isinstance(event, yaml.MappingStartEvent) else None))

    def _key(self, event: Any, keys: dict[str, int]) -> Iterator[Diagnostic]:
        if isinstance(event, yaml.CollectionStartEvent):
            yield self._fault(
                "broken-yaml",
                event,
                "a key must be a name",
                "A list or mapping stands as a key.",
                "write the key as one word, and its value behind the colon",
            )
            return
        name = getattr(event, "value", None)
        if name is None:
            return
        if name == "<<" and event.implicit[0]:
            self._note("A merge key (`<<`)", event)
        elif name in keys:
            yield self._fault(
                "duplicate-key",
                event,
                f"`{name}` again",
                f"`{name}` stands in line {keys[name]} already.",
                "keep one of the two",
            )
        keys.setdefault(name, event.start_mark.line + 1)

    def _refused(self, event: Any, what: str, count: int) -> Diagnostic:
        times = "" if count == 1 else f" There are {count} of them."
        return self._fault(
            "yaml-feature",
            event,
            "not allowed here",
            f"{what} makes the file say something else than what a reviewer sees.{times}",
            _INSTEAD.get(what, "write the value out; a text that begins with this sign stands in quotes"),
        )

    def _too_deep(self, event: Any) -> Diagnostic:
        return self._fault(
            "broken-yaml",
            event,
            "too deep",
            f"It is nested more than {_DEEPEST} levels deep.",
            "write it flat",
        )

    def _fault(self, code: str, event: Any, label: str, detail: str, hint: str) -> Diagnostic:
        start, end = event.start_mark, event.end_mark
        width = max(1, end.column - start.column) if start.line == end.line else 1
        return Diagnostic(
            code,
            file=self.file,
            line=start.line + 1,
            column=start.column + 1,
            width=width,
            excerpt=_line(self.text, start.line),
            label=label,
            detail=detail,
            hint=hint,
        )


def _broken(error: yaml.MarkedYAMLError, text: str, file: str) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    if mark and error.context_mark and not _line(text, mark.line).strip():
        # What was never closed is noticed at the end; where it was opened says more.
        mark = error.context_mark
    line, column = _inside(text, mark.line, mark.column) if mark else (0, 0)
    excerpt = _line(text, line)
    tab = "\t" in excerpt[: column + 1]
    return Diagnostic(
        "broken-yaml",
        file=file,
        line=line + 1,
        column=column + 1,
        excerpt=excerpt,
        label="a tab" if tab else "here",
        detail=_sentence(error, line),
        hint="indent with spaces; YAML allows no tabs there"
        if tab
        else _remedy(error, excerpt[column : column + 1]),
    )


def _inside(text: str, line: int, column: int) -> tuple[int, int]:
    """The place, or the end of the text: a text without a last line end is told to go on in the line behind it."""
    last = text.count("\n")
    return (line, column) if line <= last else (last, len(text) - (text.rfind("\n") + 1))


def _sentence(error: yaml.MarkedYAMLError, line: int) -> str:
    problem = (error.problem or "it cannot be understood").strip()
    begin = error.context_mark
    since = f" that begins in line {begin.line + 1}" if begin and begin.line != line else ""
    context = f" ({error.context}{since})" if error.context else ""
    return f"The YAML reader says: {problem}{context}."


def _remedy(error: yaml.MarkedYAMLError, sign: str) -> str:
    if sign and sign in "@`%":
        return f"a text that begins with {sign} stands in quotes"
    if "mapping values" in (error.problem or ""):
        return 'a text with a colon and a space stands in quotes, such as "CUDA: new"'
    return "look for a missing quote, bracket, colon or dash just before this place"


def _line(text: str, number: int) -> str:
    lines = text.split("\n", number + 1)
    return _shown(lines[number]) if number < len(lines) else ""


def _shown(line: str) -> str:
    return printable(line[:_LONGEST_LINE].rstrip("\r"))


# ------------------------------------------------------------------------------------------ where a value is


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a text: line and column from zero, and how many columns the value takes in that line."""

    line: int
    column: int
    width: int


def located(diagnostics: Iterable[Diagnostic], texts: dict[str, str]) -> list[Diagnostic]:
    """The same diagnostics with line, column and excerpt for those that have a path in one of `texts`."""
    finders: dict[str, _Finder] = {}
    done = []
    for d in diagnostics:
        if d.path is None or d.file is None or d.line is not None or d.file not in texts:
            done.append(d)
            continue
        finder = finders.get(d.file) or finders.setdefault(d.file, _Finder(texts[d.file]))
        done.append(_placed(d, finder))
    secrets = {(d.file, d.line) for d in done if d.code in SECRETS}
    return [_masked(d) if (d.file, d.line) in secrets else d for d in done] if secrets else done


def _placed(d: Diagnostic, finder: _Finder) -> Diagnostic:
    spot = finder.find(d.path or (), on_key=d.on_key)
    excerpt = finder.line(spot.line)
    written = excerpt[spot.column : spot.column + spot.width]
    return replace(
        d,
        hint=d.hint.replace(AS_WRITTEN, written or "..."),
        line=spot.line + 1,
        column=spot.column + 1,
        width=spot.width,
        excerpt=excerpt,
    )


def _masked(d: Diagnostic) -> Diagnostic:
    """Without the line, of which only a secret's key may be shown."""
    start = (d.column or 1) - 1
    key = d.excerpt[start : start + d.width]
    return replace(d, excerpt=" " * start + f"{key}: ***" if d.code in SECRETS else "")


class _Finder:
    """Finds values in one text; of a long block list it parses only the entry that is asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self._entries = _Entries(text, self.lines)
        self._parsed: dict[int, yaml.Node | None] = {}

    def line(self, number: int) -> str:
        return _shown(self.lines[number]) if number < len(self.lines) else ""

    def find(self, path: Path, on_key: bool) -> Spot:
        if len(path) >= 2 and path[0] == "grants" and isinstance(path[1], int):
            start, node = self._entry(path[1])
            if node is not None:
                return _descend(node, path[2:], on_key, self.lines, start)
        return Spot(0, 0, 1) if self._whole is None else _descend(self._whole, path, on_key, self.lines)

    @cached_property
    def _whole(self) -> yaml.Node | None:
        return composed(self.text) if len(self.text) <= _LONGEST else None

    def _entry(self, index: int) -> tuple[int, yaml.Node | None]:
        """The line where grants[index] begins and its node; None if it cannot be read by itself."""
        chunk = self._entries.chunk(index)
        if chunk is None:
            return 0, None
        start, text = chunk
        if index not in self._parsed:
            listed = composed(text)
            alone = isinstance(listed, yaml.SequenceNode) and len(listed.value) == 1
            self._parsed[index] = listed.value[0] if listed is not None and alone else None
        return start, self._parsed[index]

    def line_of_entry(self, index: int) -> int:
        """The first line of grants[index], from zero."""
        start = self._entries.start(index)
        return start if start is not None else self.find(("grants", index), on_key=False).line


def first_line(text: str) -> Callable[[int], int]:
    """Tells the first line (from one) of grants[index]; reads the text when it is asked first."""
    finder = cache(lambda: _Finder(text))
    return lambda index: finder().line_of_entry(index) + 1


def line_of(text: str) -> Callable[[Path], int]:
    """Tells the line (from one) of the key or value at a path; reads the text when it is asked first."""
    finder = cache(lambda: _Finder(text))
    return lambda path: finder().find(path, on_key=True).line + 1


_HEAD = re.compile(r"^grants:[ \t]*(?:#.*)?\r?$", re.MULTILINE)
_FIRST = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*( *)-(?=[ \r\n])")


def lines_of_entries(text: str) -> tuple[list[int], int]:
    """The lines (from zero) where the entries of `grants:` begin, and the line behind them.

    No line if they do not stand one under another.
    """
    found = _Entries(text, text.split("\n"))
    return found.starts, found.end


class _Entries:
    """The lines where the entries of a block list `grants:` begin; empty if the file is not written so.

    Takes no notice of quoted text that goes on in a line that looks like an entry: such a file is legal to few
    readers, and only the line in a message would be wrong.
    """

    def __init__(self, text: str, lines: list[str]) -> None:
        self.lines = lines
        self.starts: list[int] = []
        self.end = len(lines)
        head = _HEAD.search(text)
        first = _FIRST.match(text, head.end()) if head else None
        if head is not None and first is not None:
            self._split(text, head.end(), first[1])

    def _split(self, text: str, begin: int, indent: str) -> None:
        newlines = [m.start() for m in re.finditer("\n", text)]
        # A list at column 0 ends at the next top-level key, an indented one at any line less indented.
        stop = re.compile(rf"^(?![ #\r\n]|{indent}-)", re.MULTILINE).search(text, begin + 1)
        end = stop.start() if stop else len(text)
        dash = re.compile(rf"^{indent}-(?=[ \r\n])", re.MULTILINE)
        self.starts = [bisect_right(newlines, m.start() - 1) for m in dash.finditer(text, begin, end)]
        self.end = bisect_right(newlines, end - 1) if stop else len(self.lines)

    def start(self, index: int) -> int | None:
        return self.starts[index] if index < len(self.starts) else None

    def chunk(self, index: int) -> tuple[int, str] | None:
        start = self.start(index)
        if start is None:
            return None
        end = self.starts[index + 1] if index + 1 < len(self.starts) else self.end
        return start, "\n".join(self.lines[start:end]) + "\n"


def composed(text: str) -> yaml.Node | None:
    """The nodes of a text that was read before; None for what libyaml takes otherwise than its reader did."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                return None  # its composer recurses and would end the process
        return yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None


def _descend(node: yaml.Node, path: Path, on_key: bool, lines: list[str], first_line: int = 0) -> Spot:
    key: yaml.Node | None = None
    for part in path:
        step = _child(node, part)
        if step is None:
            break
        key, node = step
    target = key if on_key and key is not None else node
    return _spot(target, lines, first_line)


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None


def _spot(node: yaml.Node, lines: list[str], first_line: int) -> Spot:
    start, end = node.start_mark, node.end_mark
    number = first_line + start.line
    line = lines[number].rstrip() if number < len(lines) else ""
    stop = end.column if end.line == start.line else len(line)
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        stop = len(line)
    return Spot(number, start.column, max(1, min(stop, len(line)) - start.column))


class Places:
    """Where the nodes of a YAML text stand in it, as numbers of characters: for those who edit the text itself."""

    text: str

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(found.end() for found in re.finditer("\n", self.text))]

    def _begin(self, node: yaml.Node) -> int:
        return int(self._starts[node.start_mark.line] + node.start_mark.column)

    def _end(self, node: yaml.Node) -> int:
        """Just behind a value's last character; a block's end, as the parser has it, is where the next thing begins."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return max(map(self._end, last)) if isinstance(last, tuple) else self._end(last)
        end = int(self._starts[node.end_mark.line] + node.end_mark.column)
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            begin = self._begin(node)
            return begin + len(self.text[begin:end].rstrip())
        return end

    def _line_begin(self, place: int) -> int:
        return self.text.rfind("\n", 0, place) + 1

    def _line_end(self, place: int) -> int:
        """Just behind the line's end."""
        found = self.text.find("\n", place)
        return len(self.text) if found < 0 else found + 1


def quoted(text: str) -> str:
    """A text in double quotes, as every YAML reader takes it."""
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _escaped(c: str) -> str:
    if c in '"\\':
        return f"\\{c}"
    if c == "\n":
        return "\\n"
    if c == "\t":
        return "\\t"
    if c.isprintable():
        return c
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
