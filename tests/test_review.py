"""The review of a change: one value, its verdict, and Markdown and text that hold whatever strangers wrote.

What is inert is proven by reading the Markdown as GitHub does: a stranger's text may stand in code and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from cf_infra import compact, plan, report, review, review_report
from cf_infra.codes import CODES
from cf_infra.review import KINDS
from cf_infra.review_report import CUT, LEAST, LIMIT, STEPS, WORDS, markdown, terminal

HERE = Path(__file__).parent
OWNERS = {"gpu-large": ("pytorch-cpu-feedstock/gpu-large", "llama.cpp-feedstock/gpu-large")}
FEWER = settings(settings.get_profile("any-machine"), max_examples=60)
GFM = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
OURS = re.compile(
    r"<details>|</details>|<summary>[a-z0-9, ]+</summary>|<!-- cf-infra [a-z0-9 ]+ -->|\s+", re.ASCII
)
"""All HTML that we write."""


def diff(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "diff" / name / "expected.json").read_text())
    del found["diagnostics"]
    return found


def plan_of(name: str, stack: str = "lab") -> dict[str, Any]:
    shown = json.loads((HERE / "plans" / f"{name}.json").read_text())
    return plan.summarise(shown, stack, OWNERS, {}).as_json()


def fault(code: str, **more: Any) -> dict[str, Any]:
    told = {
        "severity": CODES[code].severity,
        "code": code,
        "summary": CODES[code].summary,
        "detail": "",
        "hint": "",
    }
    return {**told, "file": None, "line": None, "column": None, "label": "", "excerpt": "", **more}


def items(*rows: tuple[str, str], what: str = "server x") -> list[dict[str, Any]]:
    return [{"address": a, "action": action, "what": what, "grants": []} for a, action in rows]


def stack(name: str, *rows: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"stack": name, "items": items(*rows), "review_digest": "ab" * 32, **more}


def full() -> dict[str, Any]:
    """A value with something in every place."""
    return review.review(
        diff("everything"),
        plans=[
            {**plan_of("openstack-day"), "manual": ["tell the donor"], "lost": ["a/b"],
             "credentials": [{"credential": "cirun", "generation": "230", "what": "make"}],
             "refused": True, "refusals": [{"code": "too-many-deletes", "detail": "too much", "hint": "less"}]},
            stack("odd", ("a.b", "explode"), ("c.d", "forget"), ("e#f", "delete")),
        ],
        unplanned=[{"stack": "other", "why": "its file is changed"}],
        diagnostics=[
            fault("bad-value", file="grants.yaml", line=3, hint="mend it", detail="no"), fault("not-from-head")
        ],
        overrides=["lab: uses the override of 3"],
        approvals=[{"what": "GPUs of lab", "stack": "lab", "needed": 2, "given": 1, "approvers": ["alice"],
                    "missing": 1, "by": ["alice", "bob"], "why": "still needs 1 of alice, bob"}],
        pull={"repository": "conda-forge/x", "number": 3},
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- verdict


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("reformatted", "Changes nothing."),
        (
            "an-ended-one-is-removed",
            "Removes 1 grant that gave nothing any more, takes away no machine, +0.00 EUR and USD a month.",
        ),
        (
            "prices",
            (
                "Gives 1 feedstock a GPU until 2027-01-10, gives 1 feedstock machines without a GPU until 2027-01-10, "
                "changes 1 stack file, makes 3 machines, takes away no machine, "
                "+2,372.50 EUR a month and 1 unknown price, OVER 1 BUDGET."
            ),
        ),
        (
            "a-donor-goes",
            "Takes access from 4 feedstocks, changes 2 stack files, takes away 1 machine, -912.50 EUR a month.",
        ),
        (
            "hostile-texts",
            (
                "Gives 1 feedstock a GPU until 2027-01-10, changes 1 stack file, takes away no machine, "
                "+0.00 EUR and USD a month."
            ),
        ),
    ],
)
def test_the_verdict_of_a_difference(name: str, verdict: str) -> None:
    assert review.review(diff(name))["verdict"] == verdict


def test_the_verdict_names_what_a_reviewer_needs() -> None:
    found = diff("everything")
    rows = [row for row in found["effects"]["grants"] if row["key"] == "numba-feedstock/gpu-large"]
    keys = {rows[0]["key"]}
    effects = {name: [] for name in found["effects"]}
    effects["grants"] = rows
    effects["access"] = [r for r in found["effects"]["access"] if keys & set(r["grants"])]
    effects["ends"] = [r for r in found["effects"]["ends"] if r["grant"] in keys]
    small = {**found, "effects": effects, "grants": {"added": [*keys], "changed": [], "removed": []}}
    data = review.review({**small, "currencies": ["USD"]}, plans=[stack("lab")])
    wanted = "Gives 1 feedstock a GPU until 2027-01-10, destroys nothing, +0.00 USD a month."
    assert data["verdict"] == wanted
    assert markdown(data).startswith(f"### {wanted}\n") and terminal(data).startswith(
        "Gives 1 feedstock a GPU until"
    )
    assert "**No danger: nothing is destroyed" in markdown(data)


def test_errors_alone_decide() -> None:
    data = review.review(None, diagnostics=[fault("bad-value", file="grants.yaml", line=3)])
    assert data["verdict"] == "Cannot be applied: the files have 1 error."
    assert [row["kind"] for row in data["danger"]] == ["error"]
    assert "`grants.yaml:3`" in markdown(data) and "grants.yaml:3" in terminal(data)


def test_what_a_plan_takes_counts_not_what_the_files_say() -> None:
    data = review.review(diff("everything"), plans=[plan_of("openstack-day")])
    assert "DESTROYS 4 things" in data["verdict"] and "REPLACES 1 thing" in data["verdict"]
    assert "takes away" not in data["verdict"]
    assert "NOT PLANNED" not in data["verdict"]


def test_what_is_not_planned_is_said_and_what_needs_no_plan_is_not_missing() -> None:
    waits = review.review(diff("everything"), unplanned=[{"stack": "lab", "why": "its file is changed"}])
    assert waits["verdict"].endswith("1 stack NOT PLANNED.") and "its file is changed" in markdown(waits)
    nothing = {"stack": "apple", "why": "nothing of ours", "provisions": False}
    calm = review.review(diff("everything"), unplanned=[nothing])
    assert "NOT PLANNED" not in calm["verdict"] + markdown(calm)
    assert "nothing to plan: `nothing of ours`" in markdown(calm)


def test_records_in_the_state_are_no_danger() -> None:
    data = review.review(None, plans=[stack("lab", ("terraform_data.x", "delete"))])
    assert (
        data["danger"] == [] and data["verdict"] == "Changes nothing." and data["stacks"][0]["records"] == 1
    )


def test_each_kind_of_danger_has_words_and_stands_in_both_forms() -> None:
    assert WORDS.keys() == set(KINDS)
    data = full()
    shown = {row["kind"] for row in data["danger"]}
    assert shown == set(KINDS) - {"full"}
    for row in data["danger"]:
        assert WORDS[row["kind"]] in markdown(data) and WORDS[row["kind"]] in " ".join(terminal(data).split())


def test_a_host_without_room_is_danger_and_one_with_less_is_told() -> None:
    found = diff("everything")
    (host,) = [row for row in found["effects"]["capacity"] if row["after"]]
    assert [row["kind"] for row in review.review(found)["danger"]].count("capacity") == 1
    host["after"]["free"]["gpus"] = 0
    data = review.review(found)
    assert "leaves 1 host FULL" in data["verdict"]
    assert [row["kind"] for row in data["danger"] if row["kind"] in ("full", "capacity")] == ["full"]


def test_the_terminal_has_80_columns() -> None:
    for line in terminal(full()).splitlines():
        assert len(line) <= 80 or len(line.split()) <= 2 or "review digest" in line


def test_the_value_is_json() -> None:
    data = full()
    assert orjson.loads(orjson.dumps(data)) == data


# ------------------------------------------------------------------------------------------------------- inert

LEFT, RIGHT = "Qzx", "xzQ"
KEPT = {"severity", "action", "change", "who", "gives", "kind"}
"""Keys whose values are our own words, from short lists; the models and our code allow no others."""
SHA = "0600a98db8f6a1f3d5a90bb0600a98db8f6a1f3d"
NASTY = [
    "| a | b |\n|---|---|", "</details>", "</summary></details><img src=x onerror=y>", "<!-- cf-infra head", "-->",
    "`", "``` \n```", "~~~", "@conda-forge/core", "#12", "GH-12", "conda-forge/x#12", SHA, "https://example.org/",
    "www.example.org", "[x](javascript:y)", "![x](http://x)", "\n\n# title", "\r\n- list", "$`x`$", "\x1b[31m",
    "\u202e", "\u200b", "\\`", "*x*", "&lt;b&gt;", "\n    indented", "\n> quoted", "| `", "é" * 200, "\U0001f600" * 400,
    "mailto:x@example.org", "x" * 5000, "", " ",
]  # fmt: skip
STRANGE = st.one_of(
    st.lists(st.sampled_from(NASTY), max_size=4).map(" ".join),
    st.text(max_size=60),
    st.tuples(st.sampled_from(NASTY), st.text(max_size=20)).map("".join),
)


def spoiled(value: Any, texts: Iterator[str]) -> Any:
    """A value with one of `texts` in every field that a stranger's text can reach."""
    if isinstance(value, dict):
        return {name: item if name in KEPT else spoiled(item, texts) for name, item in value.items()}
    if isinstance(value, list):
        return [spoiled(item, texts) for item in value]
    return f"{LEFT}{next(texts)}{RIGHT}" if isinstance(value, str) and value else value


def tokens(text: str) -> Iterator[Token]:
    for token in GFM.parse(text):
        yield token
        yield from token.children or ()


def is_inert(text: str) -> None:
    """Ensure that a stranger's text is in code only, and that no structure is made or ended by it."""
    depth = 0
    for token in tokens(text):
        if token.type in ("html_block", "html_inline"):
            assert OURS.sub("", token.content) == "", token.content
            depth += token.content.count("<details>") - token.content.count("</details>")
            assert depth >= 0
        elif token.type not in ("code_inline", "fence", "inline"):
            assert LEFT not in token.content and RIGHT not in token.content, token.content
            assert not re.search(r"[@<>]|#\d|GH-\d|://|www\.", token.content), token.content
        assert token.type not in ("link_open", "image", "code_block", "blockquote_open")
    assert depth == 0


def built(*texts: str) -> dict[str, Any]:
    """The full value made of spoiled parts, by the same code that makes every other one."""
    data, endless = full(), cycle(texts)
    plans = [{key: row[key] for key in row if key != "planned"} for row in data["stacks"] if row["planned"]]
    return review.review(
        spoiled(data["diff"], endless),
        plans=spoiled(plans, endless),
        unplanned=spoiled([{"stack": "x", "why": "y"}], endless),
        diagnostics=spoiled(data["diagnostics"], endless),
        overrides=spoiled(data["overrides"], endless),
        approvals=spoiled(data["approvals"], endless),
        pull=data["pull"],
    )


FORMS = (STEPS[0], STEPS[2], STEPS[-1])
"""With everything, with names in blocks, with the least."""


@FEWER
@given(STRANGE)
def test_any_text_in_any_field_is_inert(text: str) -> None:
    data = built(text)
    assert LEFT not in data["verdict"]
    for step in FORMS:
        is_inert(review_report._markdown(data, step))
    is_inert(review_report._shortest(data, LEAST))
    assert all(c.isprintable() or c == "\n" for c in terminal(data))


@pytest.mark.parametrize("turn", range(5))
def test_texts_that_broke_others_are_inert(turn: int) -> None:
    """Each field has another one of them; and each field has each of them in one of the turns, or nearly."""
    data = built(*NASTY[turn * 7 :], *NASTY[: turn * 7])
    for step in STEPS:
        is_inert(review_report._markdown(data, step))
    is_inert(review_report._shortest(data, LEAST))
    is_inert(markdown(data, footer="<!-- cf-infra head 12 -->"))
    assert all(c.isprintable() or c == "\n" for c in terminal(data))


def test_the_proof_of_inertness_can_fail() -> None:
    for text in (
        f"{LEFT}",
        f"`x` {LEFT}",
        "</details>",
        "a @b",
        "<b>",
        "[a](b)",
        "see #12",
        "| a |\n|---|\n| Qzx |",
    ):
        with pytest.raises(AssertionError):
            is_inert(text)


# -------------------------------------------------------------------------------------------------------- size


def sized(text: str, limit: int = LIMIT) -> None:
    assert len(text) < limit and len(text.encode()) < limit


NAMES = st.one_of(
    st.from_regex(r"[a-z]{1,12}-feedstock/(gpu|cpu)-large(/[1-9])?", fullmatch=True),
    st.from_regex(r'module\.machine\.x\.this\["[a-zé]{1,9}-[0-9]{1,3}-feedstock/gpu"\]', fullmatch=True),
    st.text("aé日\U0001f600", min_size=1, max_size=40),
)
ACTIONS = st.sampled_from(["create", "update", "delete", "delete", "replace", "read", "forget", "explode"])
STACKS = st.lists(
    st.tuples(st.text("abcé", min_size=1, max_size=300), st.lists(st.tuples(NAMES, ACTIONS), max_size=30)),
    max_size=30,
)


@FEWER
@given(STACKS, st.integers(LEAST + 1, 40_000), st.integers(1, 60))
def test_any_value_is_within_the_limit_and_what_is_left_out_is_said(
    rows: list[tuple[str, list[tuple[str, str]]]], limit: int, times: int
) -> None:
    made = [stack(name, *(each * times if times > 50 else each)) for name, each in rows]
    data = review.review(None, plans=made, overrides=["x" * 400] * times)
    text = markdown(data, limit)
    sized(text, limit)
    is_inert(text)
    taken = sum(row["count"] for row in data["danger"])
    if CUT in text:
        assert sum(int(n.replace(",", "")) for n in re.findall(r"AND ([\d,]+) MORE", text)) <= taken
    else:
        assert "MORE" not in text
        assert sorted(named(text)) == sorted({n for r in data["danger"] for n in shown(r)})


def shown(row: dict[str, Any]) -> Iterable[str]:
    return (review_report._name(one["name"]) for one in row["things"] if row["kind"] != "refused")


def named(text: str) -> set[str]:
    """The names in a comment: of the first form in code at the end of a line, of the others in blocks."""
    found: set[str] = set()
    part = text.partition("#### Danger")[2].partition("\n#### ")[0]
    for token in tokens(part):
        if token.type == "fence":
            found |= set(expanded(token.content))
        elif token.type == "inline" and token.children and token.children[0].type == "code_inline":
            found.add([c.content for c in token.children if c.type == "code_inline"][-1])
    return found


def expanded(block: str) -> Iterator[str]:
    """What compact.lines and compact.dense say, said in full again."""
    for line in block.replace(",\n", ", ").splitlines():
        match = re.fullmatch(r"(\S+\.this(?: and \S+\.this)*): (.*)", line)
        types, rest = (match[1], match[2]) if match else ("", line)
        for before in types.split(" and ") if types else [""]:
            for key in keys_of(rest):
                yield f'{before}["{key}"]' if before else key


def keys_of(text: str) -> Iterator[str]:
    for part in text.split("; "):
        starts, ending = [part], ""
        if part.startswith("*"):
            ending, _, rest = part[1:].partition(": ")
            starts = rest.split(", ")
        else:
            starts = part.split(", ")
        for start in starts:
            yield from ranges_of(start + ending)


def ranges_of(text: str) -> Iterator[str]:
    match = re.fullmatch(r"(.*?)\[([0-9+-]+)\](.*)", text)
    for run in match[2].split("+") if match else ():
        first, _, last = run.partition("-")
        for number in range(int(first), int(last or first) + 1):
            assert match is not None
            yield f"{match[1]}{number:0{len(first) if first.startswith('0') else 0}}{match[3]}"
    if match is None:
        yield text


WORD = st.from_regex(r"[a-z]{1,6}(-[0-9]{1,3})?(-feedstock/[a-z]{1,3}(/[0-9]{1,2})?)?", fullmatch=True)
ADDRESS = st.one_of(
    WORD, st.tuples(st.sampled_from(["a.b.this", "c.d.this"]), WORD).map(lambda p: f'{p[0]}["{p[1]}"]')
)


@given(st.sets(ADDRESS, min_size=1, max_size=40))
def test_compact_names_are_all_there(names: set[str]) -> None:
    for form in (compact.lines, compact.dense):
        assert set(expanded("\n".join(form(names)))) == names
    whole = len("\n".join(compact.lines(names)))
    assert len("\n".join(compact.dense(names))) <= whole + 2 * len(names)


def many(count: int, stacks: int, action: str) -> list[dict[str, Any]]:
    rows = [[] for _ in range(stacks)]  # type: list[list[tuple[str, str]]]
    for n in range(count):
        key = f"name{n * 7919 % 100_003}x-feedstock/gpu-large"
        rows[n % stacks].append((f'module.machine.type.this["{key}"]', action if n % 3 else "create"))
    return [stack(f"donor-{n}", *each) for n, each in enumerate(rows)]


def test_thousands_of_actions_have_all_destroys_named() -> None:
    data = review.review(None, plans=many(6_300, 40, "delete"))
    text = markdown(data)
    sized(text)
    assert CUT not in text and f"DESTROYS {6_300 - 2_100:,} things" in text
    assert named(text) == {one["name"] for row in data["danger"] for one in row["things"]}
    assert "Left out, so that this fits a comment" in text


def test_more_than_a_comment_can_name_is_said_in_capitals() -> None:
    data = review.review(diff("everything"), plans=many(60_000, 400, "replace"))
    text = markdown(data, footer="<!-- cf-infra head 12 -->")
    sized(text)
    assert text.endswith("<!-- cf-infra head 12 -->\n") and CUT in text
    more = re.search(r"AND ([\d,]+) MORE", text)
    assert more is not None and 30_000 < int(more[1].replace(",", "")) < 40_000
    assert "**Replaces (destroys, then makes anew): 40,000**" in text and "donor-1 " in text
    assert "jax-feedstock/gpu-large" in text, "other kinds of danger have their room, too"


def test_a_footer_counts_and_one_without_room_is_a_fault() -> None:
    data = full()
    text = markdown(data, footer="x" * 20_000)
    sized(text)
    assert text.endswith("x" * 20_000 + "\n")
    with pytest.raises(ValueError, match="no room"):
        markdown(data, footer="x" * (LIMIT - 1_000))


def test_detail_goes_before_tables_and_tables_before_names() -> None:
    data = review.review(
        diff("everything"), plans=[stack(f"s{n}", ("a.b", "delete"), ("c.d", "create")) for n in range(60)]
    )
    sizes = [len(review_report._markdown(data, step)) for step in STEPS]
    assert all(later < earlier + 150 for earlier, later in pairwise(sizes)), "but for the line that says so"
    assert sizes[-1] < sizes[0] // 3
    seen = []
    for limit in range(60_000, LEAST + 500, -500):
        text = markdown(data, limit)
        seen.append(("<details>" in text, "| stack |" in text, "a.b" in text))
    assert seen == sorted(seen, reverse=True) and seen[0] == (True, True, True) and seen[-1][0] is False
    assert all(row[2] for row in seen)


def test_a_string_of_ten_megabytes_is_cut() -> None:
    huge = "é|`<@" * 2_000_000
    one = {**stack("lab", ("a.b", "delete"), ("c.d", "create"), review_digest=huge), "manual": [huge]}
    one["items"][0]["what"] = one["items"][1]["what"] = huge
    data = review.review(None, plans=[one], overrides=[huge], unplanned=[{"stack": huge, "why": huge}])
    sized(markdown(data))
    assert len(terminal(data)) < 10_000


def test_what_the_value_says_of_secrets_is_said_by_no_form() -> None:
    from cf_infra.mask import Masker

    data = Masker(["hunter2-hunter2"]).value(built("hunter2-hunter2"))
    assert "hunter2" not in markdown(data) + terminal(data) + json.dumps(data)


def test_the_words_for_actions_are_all_there() -> None:
    assert {*report.ORDER} == report.SYMBOLS.keys() >= report.DOES.keys()
