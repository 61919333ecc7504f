"""A feedstock's own YAML files, edited in place: comments, order and everything else stay as people wrote them.

What cannot be edited surely is not edited: `CannotEdit` says why. The result is read again and must be the old content
with exactly the changes that were meant.
"""

from __future__ import annotations

from typing import Any

import yaml

from cf_infra import yaml12

Plain = Any
"""A text, or nested lists of them: a document without its form. Mappings are lists of pairs."""


class CannotEdit(Exception):
    """Why a file is left alone, as the end of a sentence: "it has anchors"."""


class Document(yaml12.Places):
    """One file whose top is a mapping. Raises CannotEdit for what is none, and for what reads otherwise than it looks.

    `twice`: a key may stand twice, as it may in conda_build_config.yaml with a selector behind each.
    """

    def __init__(self, raw: bytes, file: str, twice: bool = False) -> None:
        _, faults = yaml12.load(raw, file)
        for fault in faults:
            if not (twice and fault.code == "duplicate-key"):
                line = f" (line {fault.line})" if fault.line else ""
                raise CannotEdit(f"it cannot be read surely: {fault.detail.rstrip('.')}{line}")
        self.text = raw.decode("utf-8")
        if self.text.startswith("\ufeff"):
            raise CannotEdit("it begins with a byte order mark")
        self._read()

    def _read(self) -> None:
        try:
            self.root = yaml.compose(self.text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError:
            raise CannotEdit("YAML's readers do not agree on it") from None
        if self.root is not None and (not isinstance(self.root, yaml.MappingNode) or self.root.flow_style):
            raise CannotEdit("its top is no mapping with one key in a line")
        self.newline = "\r\n" if "\r\n" in self.text else "\n"
        self.__dict__.pop("_starts", None)  # of the text before

    # ---------------------------------------------------------------------------------------- what it says

    def pairs(self, section: str | None = None) -> list[tuple[yaml.Node, yaml.Node]]:
        """Keys and values at the top, or of a section that is a mapping."""
        node = self.root if section is None else self.node(section)
        return list(node.value) if isinstance(node, yaml.MappingNode) else []

    def node(self, key: str, section: str | None = None) -> yaml.Node | None:
        """The value of a key; None if it is not there."""
        return next((value for name, value in self.pairs(section) if name.value == key), None)

    def word(self, key: str, section: str | None = None) -> str | None:
        """A value that is one word; None if it is not there, or more than that."""
        node = self.node(key, section)
        return str(node.value) if isinstance(node, yaml.ScalarNode) else None

    def words(self, key: str, section: str | None = None) -> list[str] | None:
        """A value that is a list of words, or one word; None if it is not there, or anything else."""
        node = self.node(key, section)
        if isinstance(node, yaml.ScalarNode):
            return [str(node.value)] if node.value else []
        if isinstance(node, yaml.SequenceNode) and all(isinstance(n, yaml.ScalarNode) for n in node.value):
            return [str(n.value) for n in node.value]
        return None

    def keys(self) -> list[str]:
        """The keys at the top, as often as they stand there."""
        return [str(key.value) for key, _ in self.pairs()]

    def plain(self) -> Plain:
        """The whole, without its form."""
        return [] if self.root is None else plain(self.root)

    # --------------------------------------------------------------------------------------------- changes

    def put(self, section: str, key: str, value: str, meant: Plain) -> None:
        """Give a key of a section this value, written as `value`; `meant` is what it reads as."""
        before = self.plain()
        if section not in self.keys():
            self._append([f"{section}:", f"  {key}: {value}"])
        elif self.node(key, section) is not None:
            self._replace(section, key, value)
        else:
            self._insert(section, key, value)
        self._hold(_with(before, section, key, meant))

    def drop(self, section: str, key: str) -> None:
        """Take a key out of a section, and the section if that was all of it."""
        if self.node(key, section) is None:
            return
        before = self.plain()
        pairs = self.pairs(section)
        whole = len(pairs) == 1
        name, value = self._pair(section, None) if whole else self._pair(key, section)
        if not whole and self._is_flow(section):
            self._cut_word(pairs, [str(k.value) for k, _ in pairs].index(key))
        else:
            self._cut_lines(name, value)
        self._hold(_without(before, section, key))

    def rewrite(self, key: str, lines: list[str], meant: Plain) -> None:
        """Write a key at the top anew with these lines, or append it; no lines: take it out."""
        before = self.plain()
        if key not in self.keys():
            self._append(lines)
        else:
            name, value = self._pair(key, None)
            self._cut_lines(name, value, lines)
        kept = [[k, meant if k == key else v] for k, v in before if k != key or lines]
        self._hold(kept if key in [k for k, _ in before] else [*kept, [key, meant]])

    def lines_of(self, key: str) -> list[str]:
        """The lines in which a key at the top and its value stand, without their ends."""
        name, value = self._pair(key, None)
        begin, end = self._span(name, value)
        return self.text[begin:end].splitlines()

    def _hold(self, wanted: Plain) -> None:
        """Ensure the text now says what was meant, and nothing else is different."""
        self._read()
        if self.plain() != wanted:
            raise CannotEdit("the change would touch more of it than what is meant")

    # ------------------------------------------------------------------------------------------ the text

    def _pair(self, key: str, section: str | None) -> tuple[yaml.Node, yaml.Node]:
        return next(pair for pair in self.pairs(section) if pair[0].value == key)

    def _is_flow(self, section: str) -> bool:
        node = self.node(section)
        return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)

    def _span(self, name: yaml.Node, value: yaml.Node) -> tuple[int, int]:
        """From the begin of a key's line to the end of its value's last line; nothing else may stand there."""
        begin = self._line_begin(self._begin(name))
        end = self._line_end(max(self._end(name), self._end(value)))
        if self.text[begin : self._begin(name)].strip():
            raise CannotEdit(f"`{name.value}` does not begin its line")
        return begin, end

    def _cut_lines(self, name: yaml.Node, value: yaml.Node, lines: list[str] | None = None) -> None:
        begin, end = self._span(name, value)
        new = "".join(line + self.newline for line in lines or [])
        self.text = self.text[:begin] + new + self.text[end:]

    def _cut_word(self, pairs: list[tuple[yaml.Node, yaml.Node]], number: int) -> None:
        name, value = pairs[number]
        if number + 1 < len(pairs):
            begin, end = self._begin(name), self._begin(pairs[number + 1][0])
        else:
            begin, end = self._end(pairs[number - 1][1]), self._end(value)
        if "#" in self.text[begin:end]:
            raise CannotEdit(f"a comment stands inside of `{name.value}`")
        self.text = self.text[:begin] + self.text[end:]

    def _append(self, lines: list[str]) -> None:
        if self.text and not self.text.endswith("\n"):
            self.text += self.newline
        self.text += "".join(line + self.newline for line in lines)

    def _replace(self, section: str, key: str, value: str) -> None:
        name, old = self._pair(key, section)
        if isinstance(old, yaml.MappingNode):
            raise CannotEdit(f"`{section}: {key}` is a mapping")
        begin, end = self._end(name), self._end(old)
        if isinstance(old, yaml.ScalarNode) or (isinstance(old, yaml.CollectionNode) and old.flow_style):
            begin = max(begin, self._begin(old))
        colon = self.text.find(":", self._end(name)) + 1
        begin = max(begin, colon)
        if "#" in self.text[begin:end]:
            raise CannotEdit(f"a comment stands inside of `{section}: {key}`")
        blank = "" if self.text[begin - 1 : begin].isspace() else " "
        self.text = self.text[:begin] + blank + value + self.text[max(begin, end) :]

    def _insert(self, section: str, key: str, value: str) -> None:
        name, node = self._pair(section, None)
        pairs = self.pairs(section)
        if isinstance(node, yaml.ScalarNode) and self._begin(node) >= self._end(node):  # `provider:` alone
            place = self._line_end(self._end(name))
            self._put_line(place, f"  {key}: {value}")
        elif not isinstance(node, yaml.MappingNode):
            raise CannotEdit(f"`{section}` is no mapping")
        elif node.flow_style:
            place = self._end(pairs[-1][1]) if pairs else self._begin(node) + 1
            text = f"{', ' if pairs else ''}{key}: {value}"
            self.text = self.text[:place] + text + self.text[place:]
        else:
            indent = " " * pairs[0][0].start_mark.column
            self._put_line(self._line_end(max(map(self._end, pairs[-1]))), f"{indent}{key}: {value}")

    def _put_line(self, place: int, line: str) -> None:
        before = self.text[:place]
        if before and not before.endswith("\n"):
            before += self.newline
        self.text = before + line + self.newline + self.text[place:]


def plain(node: yaml.Node) -> Plain:
    """A node without its form."""
    if isinstance(node, yaml.MappingNode):
        return [[plain(key), plain(value)] for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    return str(node.value)


def _with(before: Plain, section: str, key: str, meant: Plain) -> Plain:
    if section not in [name for name, _ in before]:
        return [*before, [section, [[key, meant]]]]
    return [[name, _set(value, key, meant) if name == section else value] for name, value in before]


def _set(value: Plain, key: str, meant: Plain) -> Plain:
    rows = value if isinstance(value, list) else []
    if key in [name for name, _ in rows]:
        return [[name, meant if name == key else old] for name, old in rows]
    return [*rows, [key, meant]]


def _without(before: Plain, section: str, key: str) -> Plain:
    after = []
    for name, value in before:
        rows = [row for row in value if row[0] != key] if name == section else value
        if name != section or rows:
            after.append([name, rows])
    return after
