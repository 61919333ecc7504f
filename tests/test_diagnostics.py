"""What is wrong, as data and as text."""

from __future__ import annotations

import pytest

from cf_infra.diagnostics import (
    WIDEST,
    Diagnostic,
    Failure,
    has_errors,
    in_order,
    nearest,
    printable,
    render,
    some,
)


def test_text() -> None:
    found = Diagnostic(
        "over-capacity",
        detail="Host is full.\nTwo lines.",
        hint="lower it, or see:\ncf-infra status lab",
        file="grants.yaml",
        line=41,
        column=12,
        label="asks for 3",
        excerpt="    count: 3",
        width=1,
    )
    assert render([found]) == (
        "error[over-capacity]: Host is over capacity\n"
        "  --> grants.yaml:41:12\n"
        "   |\n"
        "41 |     count: 3\n"
        "   |            ^ asks for 3\n"
        "Host is full.\n"
        "Two lines.\n"
        "hint: lower it, or see:\n"
        "    cf-infra status lab\n"
    )


def test_text_without_a_place() -> None:
    assert render([Diagnostic("usage")]) == "error[usage]: Wrong usage\n"
    assert render([Diagnostic("no-expiry", file="x")]) == "warning[no-expiry]: Grant never ends\n  --> x\n"
    without = Diagnostic("bad-value", file="x", line=2, column=3, label="not shown")
    assert render([without]).splitlines()[1:] == ["  --> x:2:3"]
    assert render([]) == ""


def test_two_are_apart() -> None:
    assert render([Diagnostic("usage"), Diagnostic("bug")]).split("\n\n")[1].startswith("error[bug]")


def test_colour_changes_no_word() -> None:
    found = [Diagnostic("bad-value", "d", "h", "x", 1, 2, "l", "abc"), Diagnostic("no-expiry", file="x")]
    coloured = render(found, color=True)
    assert (
        "\x1b[1;31merror[bad-value]\x1b[0m" in coloured and "\x1b[1;33mwarning[no-expiry]\x1b[0m" in coloured
    )
    import re

    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(found)


@pytest.mark.parametrize(
    ("column", "mark"),
    [(1, "^"), (50, "^"), (119, "^"), (121, "^"), (150, "^"), (299, "^"), (300, "^"), (301, "^")],
)
def test_long_lines_are_shown_around_the_place(column: int, mark: str) -> None:
    line = "".join(chr(ord("a") + n % 26) for n in range(300))
    _, _, _, shown, below = render(
        [Diagnostic("bad-value", file="x", line=1, column=column, excerpt=line)]
    ).splitlines()
    assert len(shown) <= WIDEST + len("1 | ......")
    at = below.index(mark)
    assert column == 301 or shown[at] == line[column - 1]


def test_a_place_behind_what_is_kept_is_told_without_the_line() -> None:
    text = render([Diagnostic("bad-value", file="x", line=1, column=5000, excerpt="abc")])
    assert text.splitlines()[1:] == ["  --> x:1:5000"]


def test_tabs_keep_their_width() -> None:
    text = render([Diagnostic("bad-value", file="x", line=1, column=3, excerpt="\ta\tb")])
    assert text.splitlines()[-1] == "  | \t ^"


def test_order() -> None:
    """By file, line, column; each once; what has no place comes last."""
    a = Diagnostic("bad-value", file="a", line=2, column=1)
    b = Diagnostic("bad-value", file="a", line=10, column=1)
    c = Diagnostic("bad-value", file="a", line=10, column=2)
    d = Diagnostic("bad-value", file="b")
    e = Diagnostic("usage")
    assert in_order([e, d, c, b, a, b, e]) == [a, b, c, d, e]
    assert in_order([Diagnostic("usage", path=("a",), on_key=True), e]) == [e]


def test_json_is_for_scripts() -> None:
    found = Diagnostic("no-expiry", "d", "h", "x", 1, 2, "l", "abc").as_json()
    assert found == {
        "severity": "warning",
        "code": "no-expiry",
        "summary": "Grant never ends",
        "detail": "d",
        "file": "x",
        "line": 1,
        "column": 2,
        "hint": "h",
        "label": "l",
        "excerpt": "abc",
    }


def test_failure() -> None:
    failure = Failure(Diagnostic("usage", "wrong"), Diagnostic("no-expiry"))
    assert str(failure) == "usage: wrong; no-expiry: Grant never ends"
    assert has_errors(failure.diagnostics) and not has_errors([Diagnostic("no-expiry")])


def test_words() -> None:
    assert some([]) == "none"
    assert some(["a", "b"]) == "a, b"
    assert some([f"n{i}" for i in range(10)]) == "n0, n1, n2, n3, n4, n5, n6, n7 and 2 more"
    assert some([f"n{i}" for i in range(10)] + ["gpu"], near="gpi").startswith("gpu, ")
    assert nearest("resource", ["resources", "roles"]) == "resources"
    assert nearest("zzz", ["resources"]) is None


def test_nothing_steers_a_terminal() -> None:
    assert printable("a\x1b[2J\u202eb\tc") == "a\ufffd[2J\ufffdb\tc"
    text = render([Diagnostic("bad-value", "\x1b[2J", "\x9b1m", "\x07", 1, 1, "\u2066", "\x00")])
    assert all(c.isprintable() or c == "\n" for c in text)
