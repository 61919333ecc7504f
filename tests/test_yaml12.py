"""YAML 1.2's core schema, and the traps of the parsers that were measured."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cf_infra import yaml12
from cf_infra.diagnostics import Diagnostic

FILE = "grants.yaml"


def load(text: str | bytes) -> Any:
    value, faults = yaml12.load(text.encode() if isinstance(text, str) else text, FILE)
    assert faults == []
    return value


def faults(text: str | bytes) -> list[Diagnostic]:
    value, found = yaml12.load(text.encode() if isinstance(text, str) else text, FILE)
    assert value is None and found
    return found


def place(d: Diagnostic) -> tuple[str, int | None, int | None]:
    return d.code, d.line, d.column


@pytest.mark.parametrize(
    "plain",
    # YAML 1.1 makes truth values, sexagesimal numbers, numbers with _ and octals of these
    [*"on off yes no y n On NO 1:20 1_0 07 08 1__0 2026-01-10 = 1.2.3 .a 0o8 0xg 1e 12:30:45".split(), "<"],
)
def test_stays_text(plain: str) -> None:
    assert load(f"key: {plain}\n") == {"key": plain}
    assert load(f"{plain}: value\n") == {plain: "value"}
    assert load(f"[{plain}]\n") == [plain]


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("0x1f", 31),
        ("0o17", 15),
        ("2.10", 2.1),
        ("1e3", 1000.0),
        (".inf", float("inf")),
    ],
)
def test_core_schema(plain: str, value: object) -> None:
    found = load(f"key: {plain}\n")["key"]
    assert found == value and type(found) is type(value)


def test_line_breaks_and_byte_order_mark() -> None:
    assert load("a: 1\r\nb:\r\n- x\r\n") == {"a": 1, "b": ["x"]}
    assert load("\ufeffa: 1\n") == {"a": 1}
    assert load("") is None
    assert load("# nothing\n") is None
    assert load("---\na: 1\n") == {"a": 1}
    assert load("--- # the only one\na: 1\n") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb: 2\na: 3\n", ("duplicate-key", 3, 1)),
        ("a: {b: 1, b: 2}\n", ("duplicate-key", 1, 11)),
        ("a:\n  - b: 1\n    'b': 2\n", ("duplicate-key", 3, 5)),
        ("a: &x 1\n", ("yaml-feature", 1, 4)),
        ("- &x\n", ("yaml-feature", 1, 3)),
        ("a: [1,*x]\n", ("yaml-feature", 1, 7)),
        ("*x : 1\n", ("yaml-feature", 1, 1)),
        ("a: !!str 1\n", ("yaml-feature", 1, 4)),
        ("a: !secret x\n", ("yaml-feature", 1, 4)),
        ("a: ! x\n", ("yaml-feature", 1, 4)),
        ("!x a: 1\n", ("yaml-feature", 1, 1)),
        ("a:\n  !x\n  b: 1\n", ("yaml-feature", 2, 3)),
        ("a: {!x b: 1}\n", ("yaml-feature", 1, 5)),
        ('{"a":!x 1}\n', ("yaml-feature", 1, 6)),
        ("? !x a\n: 1\n", ("yaml-feature", 1, 3)),
        ("a: !<tag:yaml.org,2002:str> 1\n", ("yaml-feature", 1, 4)),
        ("- !!python/object/apply:os.system [id]\n", ("yaml-feature", 1, 3)),
        ("<<: {a: 1}\n", ("yaml-feature", 1, 1)),
        ("a: {<< : {a: 1}}\n", ("yaml-feature", 1, 5)),
        ("%YAML 1.1\n---\na: 1\n", ("yaml-feature", 1, 1)),
        ("# x\n%TAG ! tag:x\n---\na: 1\n", ("yaml-feature", 2, 1)),
        ("a: 1\n---\nb: 1\n", ("yaml-feature", 2, 1)),
        ("a: 1\n...\n", ("yaml-feature", 2, 1)),
        ("--- !x\na: 1\n", ("yaml-feature", 1, 5)),
        ("--- &x\na: 1\n", ("yaml-feature", 1, 5)),
        ("a: x\x00y\n", ("broken-yaml", 1, 5)),
        ("a: 1\nb: 'x\x1b[2Jy'\n", ("broken-yaml", 2, 6)),
        ("a: x\x7fy\n", ("broken-yaml", 1, 5)),
        ("a: x\ufffey\n", ("broken-yaml", 1, 5)),
        ("a: 1 # x\u2028b: 2\n", ("broken-yaml", 1, 9)),
        ("a: 1 # x\x85b: 2\n", ("broken-yaml", 1, 9)),
        ("a: 1 # x\rb: 2\n", ("broken-yaml", 1, 9)),
        ("a: \u202ex\n", ("broken-yaml", 1, 4)),
        ("a:\n\tb: 1\n", ("broken-yaml", 2, 1)),
        ("a: b: c\n", ("broken-yaml", 1, 5)),
        ("a: [1, 2\n", ("broken-yaml", 1, 4)),
        ("[a, b]: 1\n", ("broken-yaml", 1, 1)),
        ("{a: 1}: 1\n", ("broken-yaml", 1, 1)),
        ("a: @b\n", ("broken-yaml", 1, 4)),
        ("a: 1\nb: 123456789012345678901234567890\n", ("broken-yaml", 2, 4)),
        (b"a: \xff\n", ("not-utf8", 1, 4)),
        (b"\xef\xbb\xbfa: \xc3\xa9\xff\n", ("not-utf8", 1, 5)),
        (b"a: \xed\xa0\x80\n", ("not-utf8", 1, 4)),
        (b"\xff\xfea\x00", ("not-utf8", 1, 1)),
    ],
)
def test_is_refused_at_its_place(text: str | bytes, where: tuple[str, int, int]) -> None:
    assert place(faults(text)[0]) == where


@pytest.mark.parametrize(
    "text",
    [
        "a: Faster! R&D\n",
        "a: x &y\n",
        "a: 'x, *y'\n",
        'a: "!x"\n',
        "a: |\n  &x\n  !y\n  *z\n",
        "a: >-\n  text, &x\n",
        "# &x *y !z\na: 1\n",
        "a: 100 %\n",
        "a: a<<b\n",
        "a: <<\n",
        "- '...'\n",
        "a: |\n  ---\n  x\n",
        "a: x---y\n",
    ],
)
def test_signs_in_text_are_text(text: str) -> None:
    assert load(text)


def test_all_that_is_wrong_comes_out_at_once() -> None:
    found = faults("a: &x 1\nb: *x\na: 2\nc: [1\n")
    assert sorted(place(d) for d in found) == [
        ("broken-yaml", 4, 4),
        ("duplicate-key", 3, 1),
        ("yaml-feature", 1, 4),
        ("yaml-feature", 2, 4),
    ]


def test_thousands_of_faults_are_few_messages() -> None:
    assert len(faults("a: 1\n" * 10_000)) == 50
    assert len(faults("".join(f"a{i}: !x 1\n" for i in range(10_000)))) == 1


@pytest.mark.parametrize("depth", [129, 1000, 100_000])
@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_too_deep(depth: int, opening: str) -> None:
    """The process lives, whatever the depth: libyaml's composer and Python itself recurse."""
    [d] = faults(f"a: {opening * depth}\n" if opening != "- " else opening * depth)
    assert d.code == "broken-yaml" and "128 levels" in d.detail


@pytest.mark.parametrize("many", ["[", "{a: ", "[[", "[]", "[[]", "- [", "a&", "- &", "x: !"])
def test_nothing_takes_for_ever(many: str) -> None:
    """A stranger's file of some megabytes ends a run in seconds, whatever is in it."""
    begin = time.process_time()
    yaml12.load((many * (3_000_000 // len(many))).encode(), FILE, yaml12.LIMIT_GRANTS)
    assert time.process_time() - begin < 10


def test_deep_enough() -> None:
    assert load("a: " + "[" * 126 + "]" * 126)
    spot = yaml12._Finder("a: " + "[" * 126 + "]" * 126).find(("a", *[0] * 125), on_key=False)
    assert (spot.line, spot.column) == (0, 128)


def test_alias_bomb_is_quick() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for known, new in zip("abcdefghijklmnop", "bcdefghijklmnopq", strict=True):
        lines.append(f"{new}: &{new} [{', '.join([f'*{known}'] * 9)}]")
    begin = time.process_time()
    found = faults("\n".join(lines))
    assert time.process_time() - begin < 2
    assert {d.code for d in found} == {"yaml-feature"}


def test_sizes() -> None:
    big = b"# " + b"x" * yaml12.LIMIT_OTHER
    assert [d.code for d in yaml12.load(big, FILE)[1]] == ["too-large"]
    assert yaml12.load(big, FILE, yaml12.LIMIT_GRANTS) == (None, [])


def test_a_long_list_is_read_in_time() -> None:
    """The slow parser sees only a file that may have a fault: it would take three times as long as is allowed."""
    text = "version: 1\ngrants:\n" + '- feedstock: x\n  reason: "Faster! R&D"\n  resources: [a, b]\n' * 20_000
    begin = time.process_time()
    value, found = yaml12.load(text.encode(), FILE, yaml12.LIMIT_GRANTS)
    assert time.process_time() - begin < 5
    assert found == [] and len(value["grants"]) == 20_000


# --------------------------------------------------------------------------------------- where a value is

TEXT = """\
version: 1
# grants:
grants: # who
  # - none
  - feedstock: a
    resources: [x, "y z", {k: v}]
    reason: |
      text
      - text
  -
    feedstock: b
    roles:
      - admin
      - write   # often
  - {feedstock: c, roles: [admin]}

  - feedstock: "d"
end: 1
"""


@pytest.mark.parametrize(
    ("path", "spot"),
    [
        ((), (0, 0, 10)),
        (("version",), (0, 9, 1)),
        (("grants", 0), (4, 4, 12)),
        (("grants", 0, "feedstock"), (4, 15, 1)),
        (("grants", 0, "resources"), (5, 15, 18)),
        (("grants", 0, "resources", 1), (5, 19, 5)),
        (("grants", 0, "resources", 2, "k"), (5, 30, 1)),
        (("grants", 0, "reason"), (6, 12, 1)),
        (("grants", 1, "roles", 1), (13, 8, 5)),
        (("grants", 1, "nothing"), (10, 4, 12)),
        (("grants", 2), (14, 4, 30)),
        (("grants", 2, "roles", 0), (14, 27, 5)),
        (("grants", 3, "feedstock"), (16, 15, 3)),
        (("end",), (17, 5, 1)),
    ],
)
def test_spot(path: tuple[str | int, ...], spot: tuple[int, int, int]) -> None:
    found = yaml12._Finder(TEXT).find(path, on_key=False)
    assert (found.line, found.column, found.width) == spot


def test_spot_of_a_key() -> None:
    found = yaml12._Finder(TEXT).find(("grants", 2, "roles"), on_key=True)
    assert (found.line, found.column, found.width) == (14, 19, 5)


def test_spot_where_nothing_can_be_found() -> None:
    assert yaml12._Finder("a: [1").find(("a", 0), on_key=False) == yaml12.Spot(0, 0, 1)
    assert yaml12._Finder("").find(("a",), on_key=False) == yaml12.Spot(0, 0, 1)


def test_lines_of_entries() -> None:
    line = yaml12.first_line(TEXT)
    assert [line(i) for i in range(4)] == [5, 10, 15, 17]
    assert yaml12.first_line("grants: [{a: 1},\n  {a: 2}]\n")(1) == 2


def test_a_secret_is_never_shown() -> None:
    text = "donor: {api_key: hunter2-hunter2, colour: red}\n"
    found = [
        Diagnostic(yaml12.SECRET, file="s.yaml", path=("donor", "api_key"), on_key=True),
        Diagnostic("unknown-key", file="s.yaml", path=("donor", "colour"), on_key=True),
        Diagnostic("bad-value", file="s.yaml", path=("donor",)),
    ]
    placed = yaml12.located(found, {"s.yaml": text})
    assert [d.column for d in placed] == [9, 35, 8]
    assert placed[0].excerpt.strip() == "api_key: ***"
    assert not any("hunter2" in d.excerpt for d in placed)


def test_diagnostics_without_a_text_stay_as_they_are() -> None:
    found = [
        Diagnostic("usage"),
        Diagnostic("bad-value", file="x", path=("a",)),
        Diagnostic("bad-value", file="s", line=3),
    ]
    assert yaml12.located(found, {"s": "a: 1\n"}) == found


@pytest.mark.parametrize(
    "text", ["", "plain", 'a "b" \\', "line\nbreak\ttab", "\x00\x1b\u202e\U000e0001", "é\U0001f600", "'#: "]
)
def test_quoted_text_is_read_as_it_was(text: str) -> None:
    assert load(f"key: {yaml12.quoted(text)}\n") == {"key": text}
    assert yaml12.quoted(text).isprintable()


def test_what_is_open_when_the_text_ends_is_shown_at_its_end() -> None:
    _, [fault] = yaml12.load(b"{", "x")
    assert (fault.code, fault.line, fault.column, fault.excerpt) == ("broken-yaml", 1, 2, "{")
