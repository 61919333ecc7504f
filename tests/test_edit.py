"""grants.yaml edited in place: what was meant is there, and every line of others is as it was, byte for byte."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_properties import grant

from cf_infra import yaml12
from cf_infra.diagnostics import Failure
from cf_infra.edit import Editor, Piece
from cf_infra.model import Grant
from cf_infra.parse import GRANTS

TEXT = """\
# ours
version: 1
grants: # who may use what
  # the first
  - feedstock: a
    resources: [x, 'y', z] # three
    granted: 2026-01-01
    # soon
    expires: "2026-07-01" # then over

  # about b
  # in two lines
  - feedstock: b
    # needs both
    resources:
      - x # one
      # this is why
      - y
        # and more on y
      - z
    reason: |
      text

  # ----- others -----
  - {feedstock: c, resources: [x, y], roles: [admin]}
  - resources: [
      x, # one
      y,
      # this is why
      z
    ]
    feedstock: d
    # the end of d
# the end
"""


def entries(text: str) -> list[dict[str, Any]]:
    value, faults = yaml12.load(text.encode(), GRANTS)
    assert faults == []
    found = value["grants"]
    assert isinstance(found, list)
    return found


def edited(text: str, *changes: tuple[Any, ...]) -> str:
    editor = Editor(text)
    for name, *arguments in changes:
        getattr(editor, name)(*arguments)
    return editor.text()


def changed_lines(old: str, new: str) -> list[str]:
    """What differs, as lines with their sign."""
    editor_free = [line for line in _diff(old, new) if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return [line.rstrip("\n") for line in editor_free]


def _diff(old: str, new: str) -> list[str]:
    import difflib

    return list(difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), n=0))


# ------------------------------------------------------------------------------------------------ single changes


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            ("set", 0, "expires", "2027-01-01"),
            ['-    expires: "2026-07-01" # then over', '+    expires: "2027-01-01" # then over'],
        ),
        (("set", 0, "pull_requests", True), ["+    pull_requests: true"]),
        (("set", 1, "expires", "2027-01-01"), ["+    expires: 2027-01-01"]),
        (
            ("set", 2, "expires", "2027-01-01"),
            [
                "-  - {feedstock: c, resources: [x, y], roles: [admin]}",
                "+  - {feedstock: c, resources: [x, y], expires: 2027-01-01, roles: [admin]}",
            ],
        ),
        (
            ("add_resources", 0, ["w", "on"]),
            [
                "-    resources: [x, 'y', z] # three",
                "+    resources: [x, 'y', z, w, \"on\"] # three",
            ],
        ),
        (("add_resources", 1, ["w"]), ["+      - w"]),
        (("add_resources", 3, ["w", "v"]), ["-      z", "+      z,", "+      w,", "+      v"]),
        (
            ("remove_resources", 0, ["y"]),
            ["-    resources: [x, 'y', z] # three", "+    resources: [x, z] # three"],
        ),
        (
            ("remove_resources", 0, ["z", "y"]),
            ["-    resources: [x, 'y', z] # three", "+    resources: [x] # three"],
        ),
        (("remove_resources", 1, ["x"]), ["-      - x # one"]),
        (
            ("remove_resources", 1, ["y"]),
            ["-      # this is why", "-      - y", "-        # and more on y"],
        ),
        (("remove_resources", 3, ["x"]), ["-      x, # one"]),
        (("remove_resources", 3, ["z"]), ["-      # this is why", "-      z"]),
        (
            ("remove_resources", 2, ["x", "y"]),
            ["-  - {feedstock: c, resources: [x, y], roles: [admin]}"],
        ),
    ],
)
def test_one_change_is_one_change(change: tuple[Any, ...], lines: list[str]) -> None:
    after = edited(TEXT, change)
    assert changed_lines(TEXT, after) == lines


def test_an_entry_goes_with_its_own_comments() -> None:
    """Those inside of it and right above it; not a heading, nor what stands above the first."""
    after = edited(TEXT, ("remove", 1))
    assert "about b" not in after and "in two lines" not in after and "needs both" not in after
    assert "  # ----- others -----\n" in after and "\n\n\n" not in after
    after = edited(TEXT, ("remove", 0))
    assert "  # the first\n" in after and "# soon" not in after
    after = edited(TEXT, ("remove", 2))
    assert "  # ----- others -----\n" in after
    after = edited(TEXT, ("remove", 3))
    assert "the end of d" not in after and after.endswith("# the end\n")


def test_all_gone_and_one_back() -> None:
    after = edited(TEXT, *(("remove", i) for i in range(4)))
    assert "grants: [] # who may use what\n" in after
    assert entries(after) == []
    again = edited(after, ("add", Grant(feedstock="e", resources=["x"])))
    assert entries(again) == [{"feedstock": "e", "resources": ["x"]}]
    both = edited(TEXT, *(("remove", i) for i in range(4)), ("add", Grant(feedstock="e", resources=["x"])))
    assert entries(both) == [{"feedstock": "e", "resources": ["x"]}]
    assert "grants: # who may use what\n" in both


def test_nothing_changed_is_nothing_written() -> None:
    assert edited(TEXT) == TEXT
    assert Editor(TEXT).diff() == ""
    assert edited("", ("add", Grant(feedstock="e", resources=["x"]))) == (
        "version: 1\ngrants:\n  - feedstock: e\n    resources: [x]\n"
    )


def test_entries_stand_apart_where_they_did() -> None:
    text = "version: 1\ngrants:\n- {feedstock: a, resources: [x]}\n\n- {feedstock: b, resources: [x]}\n"
    after = edited(text, ("add", Grant(feedstock="c", resources=["x"])))
    assert after == text + "\n- feedstock: c\n  resources: [x]\n"
    removed = edited(text, ("remove", 1))
    assert removed == "version: 1\ngrants:\n- {feedstock: a, resources: [x]}\n"


def test_line_ends_and_the_byte_order_mark_stay() -> None:
    text = "\ufeff" + TEXT.replace("\n", "\r\n")
    after = edited(
        text,
        ("set", 1, "expires", "2027-01-01"),
        ("add_resources", 1, ["w"]),
        ("add", Grant(feedstock="e", resources=["x"])),
    )
    assert after.startswith("\ufeff# ours\r\n")
    assert after.count("\n") == after.count("\r\n") == text.count("\n") + 4


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_line_keeps_its_end(end: str) -> None:
    text = "version: 1\ngrants:\n  - feedstock: a\n    resources: [x, y]\n  - feedstock: b\n    resources: [x, y]"
    after = edited(text + end, ("remove_resources", 0, ["x"]))
    assert after == text.replace("[x, y]", "[y]", 1) + end
    after = edited(text + end, ("set", 1, "expires", "2027-01-01"))
    assert after.startswith(text + "\n    expires: 2027-01-01")


@pytest.mark.parametrize(
    ("line", "name", "after"),
    [
        ("[]", "x", "[x]"),
        ("[ ] # none", "x", "[x ] # none"),
        ("[\n      a, # one\n    ]", "x", "[\n      a, # one\n      x,\n    ]"),
        ("[a,\n      b]", "x", "[a,\n      b, x]"),
        ("\n    -\n      a", "x", "\n    -\n      a\n    - x"),
    ],
)
def test_a_resource_more_in_each_style(line: str, name: str, after: str) -> None:
    text = "grants:\n  - feedstock: f\n    resources: @\n    imported: x\n"
    assert edited(text.replace("@", line), ("add_resources", 0, [name])) == text.replace("@", after)


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("[a, # one\n      b, # two\n      c]", "[a, # one\n      c]"),
        ("[a, # one\n      b]", "[a, # one\n      ]"),
        ("[a, b,\n      c]", "[a,\n      c]"),
        ("[a, b, ]", "[a, ]"),
        ("\n    - a\n    -\n      b\n    - c", "\n    - a\n    - c"),
        ("\n    - a\n    # --- two\n    - b", "\n    - a\n    # --- two"),
    ],
)
def test_a_resource_less_in_each_style(line: str, after: str) -> None:
    text = "grants:\n  - feedstock: f\n    resources: @\n    imported: x\n"
    assert edited(text.replace("@", line), ("remove_resources", 0, ["b"])) == text.replace("@", after)


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        ("- 7\n", ("set", 0, "expires", "2027-01-01")),
        ("- {feedstock: a, resources: x}\n", ("add_resources", 0, ["y"])),
        ("- {feedstock: a, expires: [x]}\n", ("set", 0, "expires", "2027-01-01")),
    ],
)
def test_an_entry_that_is_none_is_refused(entry: str, change: tuple[Any, ...]) -> None:
    with pytest.raises(Failure) as failure:
        edited(f"grants:\n{entry}", change)
    assert [d.code for d in failure.value.diagnostics] == ["cannot-edit"]


def test_a_text_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(Failure) as failure:
        Editor("grants: {")
    assert [d.code for d in failure.value.diagnostics] == ["broken-yaml"]


def test_nothing_is_added_where_another_key_follows() -> None:
    text = "grants:\n  - {feedstock: a, resources: [x, y]}\nversion: 1\n"
    assert edited(text, ("remove_resources", 0, ["x"])) == text.replace("x, ", "")
    with pytest.raises(Failure, match="cannot-edit"):
        edited(text, ("add", Grant(feedstock="b", resources=["x"])))


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\ngrants: {a: b}\n",
        "version: 1\ngrants: [{feedstock: a, resources: [x, y]}]\n",
        "version: 1\ngrants:\n  - ? resources\n    : - x\n      - y\n    feedstock: a\n",
        "version: 1\ngrants:\n  - feedstock: a\n    reason: 'one\n  - two'\n    resources: [x, y]\n",
    ],
    ids=["no list", "in brackets", "behind a question mark", "text like an entry"],
)
def test_what_cannot_be_edited_is_refused(text: str) -> None:
    with pytest.raises(Failure) as failure:
        edited(text, ("remove_resources", 0, ["x"]))
    assert [d.code for d in failure.value.diagnostics] == ["cannot-edit"]


def test_nothing_comes_out_that_was_not_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof at the end: were a change wrong, there would be no text."""
    monkeypatch.setattr(Piece, "with_value", lambda self, key, value: self.text + "    count: 7\n")
    editor = Editor(TEXT)
    editor.set(3, "expires", "2027-01-01")
    with pytest.raises(Failure) as failure:
        editor.text()
    assert [d.code for d in failure.value.diagnostics] == ["cannot-edit"]


def test_a_long_comment_costs_no_time() -> None:
    """A stranger's comment must not make a pattern run for ever."""
    noise = " ".join("# a" for _ in range(20_000))
    many = "  # remark\n" * 20_000
    text = f"grants:\n  - feedstock: a\n    resources: [x, {noise}\n      y]\n{many}\n"
    text += "  - feedstock: b\n    resources: [x]\n"
    after = edited(text, ("remove_resources", 0, ["y"]), ("remove", 1))
    assert entries(after) == [{"feedstock": "a", "resources": ["x"]}]


# ------------------------------------------------------------------------------------------------- any change

NAMES = ["one", "two", "three", "on", "1e3", "a.b-c_d"]
KEYS: dict[str, list[str]] = {
    "reason": [
        "plain # remark",
        '"quoted: # no comment"',
        "|\n@text\n\n@# no comment\n@- more",
        ">-\n@folded\n@text\n",
        "'it''s\n@long'",
    ],
    "request": ["https://example.org/1#x", "'https://example.org/2'"],
    "granted": ["2026-01-01", '"2026-01-01" # then'],
    "expires": ["2027-01-01", "'2027-01-01'", "# no end yet", ">-\n@2027-01-01"],
    "pull_requests": ["true", "false # no"],
    "roles": ["[admin]", "[ admin,\n@write ]", "\n# who\n- admin # all\n- write"],
}


@st.composite
def listed(draw: st.DrawFn, inner: str) -> str:
    """A list of resources, in one of the ways in which people write one."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    words = [f"'{n}'" if n in ("on", "1e3") or draw(st.booleans()) else n for n in names]
    remarks = [draw(st.sampled_from(["", "", " # remark", " # a, b]"])) for _ in words]
    style = draw(st.sampled_from(["flow", "wrapped", "lines", "block"]))
    if style == "flow":
        return f" [{', '.join(words)}{draw(st.sampled_from(['', ',', ' ']))}]{remarks[0]}"
    if style == "wrapped":
        joint = draw(st.sampled_from([f",\n{inner}    ", f", # remark\n{inner}  ", ", ", f"\n{inner}  , "]))
        return f" [{joint.join(words)}]"
    above = [draw(st.sampled_from(["", "", f"{inner}  # above\n"])) for _ in words]
    if style == "block":
        dash = draw(st.sampled_from([inner, f"{inner}  "]))
        rows = [
            f"{a.replace(inner + '  #', dash + '#')}{dash}- {w}{r}\n"
            for a, w, r in zip(above, words, remarks, strict=True)
        ]
        return "\n" + "".join(rows).removesuffix("\n")
    last = draw(st.sampled_from([",", ""]))
    rows = [
        f"{a}{inner}  {w}{',' if i + 1 < len(words) else last}{r}\n"
        for i, (a, w, r) in enumerate(zip(above, words, remarks, strict=True))
    ]
    return f" [\n{''.join(rows)}{inner}]"


@st.composite
def files(draw: st.DrawFn) -> str:
    """A grants.yaml in one of the ways in which people write one."""
    indent = draw(st.sampled_from(["", "  ", "    "]))
    inner = indent + "  "
    text = draw(st.sampled_from(["version: 1\n", "# first\nversion: 1\n\n"]))
    text += "grants:" + draw(
        st.sampled_from(["\n", " # who may use what\n", f"\n{indent}# the list\n", "\n\n"])
    )
    for number in range(draw(st.integers(1, 4))):
        text += draw(
            st.sampled_from(
                [
                    "",
                    "",
                    "\n",
                    "# at the margin\n",
                    f"{indent}# above\n",
                    f"\n{indent}# above\n{indent}# it\n",
                ]
            )
        )
        if draw(st.sampled_from([False, False, False, True])):
            text += f"{indent}- {{feedstock: n{number}, resources: [one, 'two'], expires: 2027-01-01}}\n"
            continue
        keys = [f"feedstock: n{number}", f"resources:{draw(listed(inner))}"]
        for key in draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=4, unique=True)):
            value = draw(st.sampled_from(KEYS[key])).replace("@", f"{inner}  ")
            value = "\n".join(
                line if not line.startswith(("#", "- ")) or i == 0 else inner + line
                for i, line in enumerate(value.split("\n"))
            )
            keys.append(f"{key}: {value}".replace(": \n", ":\n"))
        keys = draw(st.permutations(keys))
        first = draw(st.sampled_from([f"{indent}- ", f"{indent}-\n{inner}", f"{indent}- # new\n{inner}"]))
        remark = draw(st.sampled_from(["", f"\n{inner}# inside"]))
        text += first + f"{remark}\n{inner}".join(keys) + remark + "\n"
    text += draw(st.sampled_from(["", "", "\n", "# end\n", f"\n{indent}# end\n"]))
    text = text.removesuffix("\n") if draw(st.booleans()) else text
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


def change(draw: st.DrawFn, values: list[dict[str, Any] | None]) -> tuple[Any, ...] | None:
    """One change that fits, made in `values`, too."""
    alive = [i for i, v in enumerate(values) if v is not None]
    kind = draw(st.sampled_from(["add", "more", "less", "less", "expires", "pull_requests", "remove"]))
    if kind == "add" or not alive:
        new = draw(grant())
        values.append(new.model_dump(mode="json", exclude_defaults=True))
        return ("add", new)
    index = draw(st.sampled_from(alive))
    entry = values[index]
    assert entry is not None
    if kind == "more":
        free = [n for n in NAMES if n not in entry["resources"]]
        names = draw(st.lists(st.sampled_from(free), max_size=2, unique=True)) if free else []
        entry["resources"] = [*entry["resources"], *names]
        return ("add_resources", index, names)
    if kind == "less":
        gone = draw(st.lists(st.sampled_from(entry["resources"]), min_size=1, unique=True))
        entry["resources"] = [n for n in entry["resources"] if n not in gone]
        values[index] = entry if entry["resources"] else None
        return ("remove_resources", index, gone)
    if kind == "remove":
        values[index] = None
        return ("remove", index)
    value = "2028-02-29" if kind == "expires" else draw(st.booleans())
    entry[kind] = value
    return ("set", index, kind, value)


def own_lines(text: str) -> list[str]:
    """The text of each entry, comments in it included, without what stands between entries."""
    editor = Editor(text)
    return [Piece(piece).parts()[0] for piece in editor._pieces if piece is not None]


def usable(changes: list[tuple[Any, ...]], text: str) -> str | None:
    try:
        return edited(text, *changes)
    except Failure as failure:
        assert [d.code for d in failure.diagnostics] == ["cannot-edit"]
        return None


REFUSED = {"count": 0, "all": 0}


@given(files(), st.data())
def test_any_change_does_what_was_meant_and_nothing_else(text: str, data: st.DataObject) -> None:
    values: list[dict[str, Any] | None] = [dict(v) for v in entries(text)]
    known = len(values)
    changes = []
    for _ in range(data.draw(st.integers(1, 4))):
        one = change(data.draw, values)
        if one is not None:
            changes.append(one)
    REFUSED["all"] += 1
    after = usable(changes, text)
    if after is None:
        REFUSED["count"] += 1
        return
    assert entries(after) == [v for v in values if v is not None]
    before_lines = own_lines(text)
    after_lines = iter(own_lines(after)) if entries(after) else iter([])
    touched = {c[1] for c in changes if c[0] != "add"}
    for index, value in enumerate(values[:known]):
        now = next(after_lines) if value is not None else None
        if index not in touched and now is not None:
            assert now.rstrip("\r\n") == before_lines[index].rstrip("\r\n"), "a line of another entry"
    if text.replace("\r\n", "").count("\n") == 0 and "\r\n" in text:
        assert after.count("\n") == after.count("\r\n")


def test_hardly_any_change_was_refused() -> None:
    """Refusing is right where a text is odd; were it the rule, the property above would show nothing."""
    assert REFUSED["all"] >= 40
    assert REFUSED["count"] <= REFUSED["all"] * 0.1, REFUSED


@given(files(), st.data())
@example("version: 1\ngrants: []", None)
def test_the_diff_is_what_git_applies(text: str, data: Any) -> None:
    import tempfile

    editor = Editor(text)
    values: list[dict[str, Any] | None] = [dict(v) for v in entries(text)]
    if data is None:
        editor.add(Grant(feedstock="a", resources=["x"]))
    for _ in range(data.draw(st.integers(1, 3)) if data else 0):
        name, *arguments = change(data.draw, values) or ("add", Grant(feedstock="a", resources=["x"]))
        getattr(editor, name)(*arguments)
    after, diff = editor.text(), editor.diff()
    assert bool(diff) == (after != text)
    if not diff:
        return
    assert shutil.which("git")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "grants.yaml"
        file.write_bytes(text.encode())
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        subprocess.run(["git", "apply", "-"], input=diff.encode(), cwd=folder, check=True)
        assert file.read_bytes() == after.encode()


def test_a_new_file_is_a_diff_against_nothing() -> None:
    editor = Editor("")
    editor.add(Grant(feedstock="a", resources=["x"]))
    assert editor.diff(is_new=True) == (
        "--- /dev/null\n+++ b/grants.yaml\n@@ -0,0 +1,4 @@\n"
        "+version: 1\n+grants:\n+  - feedstock: a\n+    resources: [x]\n"
    )


def test_many_entries_are_edited_quickly() -> None:
    """Each change costs its own entry, and its difference, too; a file above the limit of other files is taken."""
    import time

    text = "grants:\n" + "".join(f"  - feedstock: f{i}\n    resources: [x, y]\n" for i in range(30_000))
    assert len(text) > yaml12.LIMIT_OTHER
    begin = time.process_time()
    editor = Editor(text)
    for index in range(1000):
        editor.set(index, "expires", "2027-01-01")
    for index in range(1000, 1500):
        editor.remove(index)
    assert len(editor.diff().splitlines()) > 2000
    assert time.process_time() - begin < 8


def test_what_grows_too_large_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    editor = Editor("grants:\n  - feedstock: a\n    resources: [x, y]\n")
    monkeypatch.setattr(yaml12, "LIMIT_GRANTS", 50)
    editor.set(0, "expires", "2027-01-01")
    with pytest.raises(Failure, match="too-large"):
        editor.text()
