"""Entries of one repository are the same whether the file is cut into pieces or read as a whole."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_explain import BASE, DAY
from test_properties import assert_is_in_its_file, grants_texts

from cf_infra import answer, yaml12
from cf_infra.asked import Question
from cf_infra.diagnostics import Failure
from cf_infra.explain import explain
from cf_infra.parse import GRANTS
from cf_infra.selection import Entries, Selection, owner, whole

HEAD = "version: 1\ngrants:\n"


def select(raw: bytes, name: str) -> Selection:
    return Entries(raw).select(name)


def names_like(raw: bytes, name: str) -> list[str]:
    return Entries(raw).names_like(name)


def told(found: Selection) -> list[tuple[int, Any]]:
    """Line and value of each entry, and the lines of its keys."""
    return [(e.line(), e.value, {k: e.line(k) for k in e.value}) for e in found.entries]  # type: ignore[misc]


def is_cut(raw: bytes) -> bool:
    """True if `select` reads the file piece by piece."""
    return Entries(raw).frame is not None


# ------------------------------------------------------------------------------------------------ ways to write

NAMES = ["numpy", "numpy", "Numpy", "numpy-feedstock", "x-numpy", "numpy.x"]
SPELLINGS = [
    "{i}- feedstock: {n}",
    "{i}- feedstock: {n} # remark",
    '{i}- feedstock: "{n}"',
    "{i}- feedstock: '{n}'",
    "{i}-\n{i}  feedstock: {n}",
    "{i}- # remark\n{i}  feedstock: {n}",
    "{i}- resources: [a]\n{i}  feedstock: {n}",
    "{i}- feedstock:\n{i}    {n}",
    "{i}- feedstock: # remark\n{i}    {n}",
    "{i}- feedstock: >-\n{i}    {n}",
    "{i}- feedstock: |\n{i}    {n}",
    "{i}- {{feedstock: {n}, resources: [a, b]}}",
    '{i}- {{"feedstock":"{n}"}}',
    "{i}- {{resources: [a,\n{i}    b],\n{i}   feedstock: {n}}}",
    '{i}- "feedstock": {n}',
    '{i}- "feed\\u0073tock": {n}',
    "{i}- ? feedstock\n{i}  : {n}",
    "{i}- repo: {n}",
    "{i}- repo: {n}-feedstock",
    "{i}- feedstock: null\n{i}  repo: {n}",
    "{i}- feedstock: ~\n{i}  repo: {n}",
    "{i}- feedstock: other\n{i}  repo: {n}",
    "{i}- feedstock: [{n}]",
    "{i}- feedstock: other\n{i}  reason: as {n}",
    "{i}- {n}",
    "{i}-",
]
RESTS = [
    "",
    "{i}  reason: don't [be",
    '{i}  reason: 12" disks: {{n',
    '{i}  reason: "one\n{i}    two"',
    '{i}  reason: "one\n{i}- feedstock: numpy # "',
    "{i}  reason: 'it\n{i}- feedstock: numpy # '",
    "{i}  reason: 'it''s\n{i}- feedstock: numpy # '",
    "{i}  reason: |\n{i}    - feedstock: numpy\n\n{i}    # text",
    "{i}  reason: |-\n\n{i}     - feedstock: numpy",
    "{i}  reason: plain\n{i}    - feedstock: numpy",
    "{i}  reason: [x\n{i}- numpy, b]",
    "{i}  reason: {{a: x\n{i}- y, feedstock: numpy}}",
    '{i}  reason: {{"a":"x\n{i}- feedstock: numpy # "}}',
    "{i}  reason: [[[[[a]]]]]",
    "{i}  # - feedstock: numpy",
    "{i}  reason: a # ' \" [",
    '{i}  reason: "a \\" b" # c',
    '{i}  reason: "a\\\n{i}    b"',
    '{i}  reason: "a\\\n{i}- feedstock: numpy # "',
    "{i}  resources:\n{i}  - numpy\n{i}  - b",
    "\n{i}  teams: [numpy]",
]


@st.composite
def written(draw: st.DrawFn) -> str:
    """A grants.yaml in ways in which somebody could write it, also in order to mislead."""
    indent = draw(st.sampled_from(["", "  ", "    "]))
    lines = [draw(st.sampled_from(["version: 1", "# numpy\nversion: 1", "---\nversion: 1"]))]
    lines += [draw(st.sampled_from(["grants:", "grants: # all", "grants:\n# first", '"grants":']))]
    for _ in range(draw(st.integers(1, 4))):
        name, how = draw(st.sampled_from(NAMES)), draw(st.sampled_from(SPELLINGS))
        rest = "" if "{{" in how else draw(st.sampled_from(RESTS))
        lines.append(how.format(i=indent, n=name))
        lines += [rest.format(i=indent)] if rest else []
    lines += draw(st.sampled_from([[], [], ["# numpy"], ["other: 1"], ["..."], ["version: 1"]]))
    return draw(st.sampled_from(["\n", "\r\n"])).join("\n".join(lines).split("\n")) + draw(
        st.sampled_from(["", "\n"])
    )


@given(
    written() | grants_texts(),
    st.sampled_from(["numpy", "numpy", "NUMPY", "n0", "x-numpy", "other"]),
)
@settings(max_examples=600)
@example(HEAD + '  - feedstock: a\n    reason: "x\n  - feedstock: numpy"\n', "numpy")
@example(HEAD + "  - feedstock: a\n    reason: 'it''s\n  - feedstock: numpy # '\n", "numpy")
@example(HEAD + "  - feedstock: null\n    repo: numpy\n", "numpy")
@example(HEAD + "  - feedstock: a\n    reason: {b: x\n  - feedstock: numpy}\n", "numpy")
@example(HEAD + '- feedstock: "nump\\x79"\n- feedstock: "num\\\n  py"\n', "numpy")
def test_pieces_and_the_whole_are_the_same(text: str, name: str) -> None:
    raw = text.encode()
    both = whole(raw, name)
    found = select(raw, name)
    if both.faults:
        # What cannot be read as a whole: the pieces may be, if the fault is in another's entry.
        assert not found.faults or all(d.line is not None and d.file == GRANTS for d in found.faults)
    else:
        assert found.faults == []
        assert told(found) == told(both)


@given(written())
@settings(max_examples=300)
def test_most_files_are_cut(text: str) -> None:
    """The property above would hold of a program that never cuts; this shows what is not cut, and why."""
    raw = text.encode()
    value, faults = yaml12.load(raw, GRANTS)
    plain = not re.search(r"[\"'\[{]", text) and not faults and set(value) == {"version", "grants"}
    if plain:
        assert is_cut(raw)


def test_a_large_file_is_cut_and_quick() -> None:
    """A tenth of the time of a full parse is asked by the benchmark; here, that it is no full parse at all."""
    entry = (
        '  - feedstock: package-{}\n    resources: [gpu]\n    reason: "it\'s quoted"\n    roles: [admin]\n'
    )
    raw = (HEAD + "".join(entry.format(n) for n in range(20_000))).encode()
    assert is_cut(raw)
    begin = time.process_time()
    [one] = select(raw, "package-15000").entries
    quick = time.process_time() - begin
    begin = time.process_time()
    assert told(whole(raw, "package-15000")) == told(select(raw, "package-15000"))
    assert quick < (time.process_time() - begin) / 2
    assert one.line() == 3 + 4 * 15_000


@given(
    st.binary(max_size=60)
    | st.tuples(
        written(),
        st.integers(0, 300),
        st.integers(0, 4),
        st.sampled_from(["", "\t", "&a ", "'", '"', "{", "]", "\r"]),
    ).map(lambda t: (t[0][: t[1]] + t[3] + t[0][t[1] + t[2] :]).encode()),
    st.sampled_from([GRANTS, "stacks/lab.yaml", "users/lab-terms.json"]),
)
@settings(max_examples=300)
def test_any_bytes_are_answered_or_refused(raw: bytes, name: str) -> None:
    """Never a traceback; and each fault has its place in the file."""
    files = {**BASE, name: raw}
    try:
        answer.terminal(explain(files, Question("numpy", "gpu-large", DAY, "alice")))
    except Failure as failure:
        assert failure.diagnostics
        for d in failure.diagnostics:
            assert_is_in_its_file(d, files)


# ----------------------------------------------------------------------------------------- faults of one's own


def test_faults_of_others_do_not_hinder() -> None:
    text = HEAD + (
        "  - feedstock: a\n    resources: &x [b]\n"
        "  - feedstock: numpy\n    resources: [gpu]\n"
        "  - feedstock: c\n    feedstock: c\n"
        "  - feedstock: d\n   resources: bad indent\n"
        "  - feedstock: e\n    reason: \u202e turned\n"
    )
    assert whole(text.encode(), "numpy").faults
    found = select(text.encode(), "numpy")
    assert found.faults == [] and [e.line() for e in found.entries] == [5]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("  - feedstock: a\n  - feedstock: numpy\n    resources: *x\n", "yaml-feature", 5),
        ("  - feedstock: a\n  - feedstock: numpy\n    resources: &x [b]\n", "yaml-feature", 5),
        ("  - feedstock: numpy\n    <<: {a: b}\n", "yaml-feature", 4),
        ("  - feedstock: numpy\n    id: 1\n    id: 2\n", "duplicate-key", 5),
        ("  - feedstock: numpy\n    reason: a: b\n", "broken-yaml", 4),
        ("  - feedstock: numpy\n    reason: \u202e\n", "broken-yaml", 4),
    ],
)
def test_faults_of_its_own_are_told_where_they_are(text: str, code: str, line: int) -> None:
    [fault] = select((HEAD + text).encode(), "numpy").faults
    assert (fault.code, fault.line, fault.file) == (code, line, GRANTS)


def test_a_line_that_is_named_in_a_message_is_one_of_the_file() -> None:
    text = HEAD + "  - feedstock: a\n" * 5 + "  - feedstock: numpy\n    id: 1\n    id: 2\n"
    [fault] = select(text.encode(), "numpy").faults
    assert "line 9 already" in fault.detail and fault.line == 10


def test_text_that_is_not_closed_may_hide_anything() -> None:
    text = HEAD + '  - feedstock: a\n    reason: "open\n  - feedstock: numpy\n    resources: [gpu]\n'
    [fault] = select(text.encode(), "numpy").faults
    assert fault.code == "broken-yaml"


def test_bytes_that_are_no_text() -> None:
    raw = HEAD.encode() + b"  - feedstock: a\n    reason: \xff\n  - feedstock: numpy\n"
    assert [e.line() for e in select(raw, "numpy").entries] == [5]
    own = HEAD.encode() + b"  - feedstock: a\n  - feedstock: numpy\n    reason: \xff\n"
    assert [(d.code, d.line) for d in select(own, "numpy").faults] == [("not-utf8", 5)]


# ------------------------------------------------------------------------------------------------------ names


def test_owner() -> None:
    assert owner({"feedstock": "NumPy"}) == "numpy-feedstock"
    assert owner({"repo": "Admin"}) == "admin"
    assert owner({"feedstock": None, "repo": "admin"}) == "admin"
    assert owner({"feedstock": 7, "repo": "admin"}) is None
    assert owner("numpy") is None and owner({}) is None


@pytest.mark.parametrize("flow", [False, True])
def test_names_that_are_meant(flow: bool) -> None:
    names = ["pytorch-cpu", "PyTorch", "numpy", "libmagma"]
    text = HEAD + "".join(f"  - feedstock: {n}\n" for n in names) + "  # feedstock: numppy\n"
    if flow:
        text = "version: 1\ngrants: [" + ", ".join(f"{{feedstock: {n}}}" for n in names) + "]\n"
    assert names_like(text.encode(), "pytorch_cpu")[0] == "pytorch-cpu"
    assert names_like(text.encode(), "pytorhc")[0] == "PyTorch"
    assert names_like(text.encode(), "numppy") == ["numpy"], "a remark is no entry"
    assert names_like(text.encode(), "entirely-else") == []


def test_names_among_many() -> None:
    text = HEAD + "".join(f"  - feedstock: package-{n:06}\n" for n in range(5_000))
    assert all(n.startswith("package-00432") for n in names_like(text.encode(), "package-00432"))
