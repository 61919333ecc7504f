"""What merged reviews cover: a day of 63 actions in any order, what time did, and the reason why the rest waits."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import test_properties  # noqa: F401  (its profile of hypothesis: the same examples in every run)
from hypothesis import given, settings
from hypothesis import strategies as st
from roots import read_folder

from cf_infra import review_record, reviewed
from cf_infra.access import access_text, export_access
from cf_infra.compile import values
from cf_infra.diagnostics import render
from cf_infra.github_files import ACCESS
from cf_infra.github_parts import FILE, Divider
from cf_infra.model import Inventory
from cf_infra.parse import parse
from cf_infra.plan import Hash, PlanSummary, summarise
from cf_infra.resolve import Resolved, resolve
from cf_infra.reviewed import CLOUD, Asked, Merged, Verdict, judge
from cf_infra.touched import Folder, Touched, touched

HERE = Path(__file__).parent
DAY = date(2026, 4, 10)
KEY, PRINT = bytes(32), "0" * 16
HISTORY = HERE / "data" / "access-requests-2023-2025.jsonl"
OWN = (HERE / "errors" / "_base" / "stacks" / "guest.yaml").read_text()
LISTS = "version: 1\nkind: github\ndonor: {name: conda-forge}\n"
ACTIONS = 63
"""The peak day of the real process (the move of 2026-04-10)."""
STACK, ACCESS_STACK, MACHINES = "cloud", "access", "machines"


# ------------------------------------------------------------------------------------- a day of 63 actions


def pairs() -> list[tuple[str, str]]:
    """63 actions: every pair that was ever asked for, and a machine of its own for the first of them."""
    found: dict[tuple[str, str], None] = {}
    for line in HISTORY.read_text().splitlines():
        request = json.loads(line)["request"]
        if request["action"] == "cirun" and not request.get("revoke"):
            found |= {(f, r): None for f in request["feedstocks"] for r in request["resources"]}
    asked = list(found)
    feedstocks = list(dict.fromkeys(feedstock for feedstock, _ in asked))
    return [*asked, *((name, "cpu-dedicated") for name in feedstocks)][:ACTIONS]


PAIRS = pairs()


def entry(feedstock: str, resource: str) -> str:
    return (
        f"- feedstock: {feedstock}\n  resources: [{resource}]\n  reason: Builds take long\n"
        f"  request: https://example.org/{feedstock}\n  requested_by: somebody\n  granted: {DAY}\n"
        "  expires: 2027-04-10\n  roles: [admin, maintain]\n"
    )


def stacks() -> dict[str, bytes]:
    labels = dict.fromkeys(resource for _, resource in PAIRS if resource.startswith("cirun-"))
    offers = "".join(
        f"  c{n}: {{via: cirun, mode: on-demand, label: {label}, cirun: {{cloud: aws, instance_type: m6}}}}\n"
        for n, label in enumerate(labels)
    )
    donor = f"version: 1\nkind: cirun\ndonor: {{name: Somebody}}\noffers:\n{offers}"
    found = {STACK: donor, ACCESS_STACK: LISTS, MACHINES: OWN}
    return {f"stacks/{name}.yaml": text.encode() for name, text in found.items()}


STACKS = stacks()


@cache
def inventory(chosen: frozenset[int]) -> Inventory:
    """The folder in which these of the day's requests are merged. The order of entries is git's affair."""
    entries = [entry("already", "cpu-dedicated"), *(entry(*PAIRS[n]) for n in sorted(chosen))]
    text = "version: 1\ngrants:\n" + "".join(entries)
    parsed = parse({"grants.yaml": text.encode(), **STACKS})
    assert not parsed.diagnostics, render(parsed.diagnostics)
    return parsed.inventory


def data(chosen: frozenset[int]) -> Folder:
    return Folder(inventory(chosen), {})


def change(kind: str, name: str, index: str, before: Any, after: Any) -> dict[str, Any]:
    actions = ["create"] if before is None else ["delete"] if after is None else ["update"]
    module = "module.machine" if kind.startswith("openstack") else "module.github-access"
    address = f'{module}.{kind}.{name}["{index}"]'
    told = {"actions": actions, "before": before, "after": after}
    return {"address": address, "module_address": module, "type": kind, "index": index, "change": told}


def plans(before: Resolved, after: Resolved, one: Inventory, other: Inventory) -> dict[str, PlanSummary]:
    """What OpenTofu would tell of the machines and of Cirun's list, summarised as it is in `plan`."""
    old, new = (values(side.stacks[MACHINES])["machines"] for side in (before, after))
    kind = "openstack_compute_instance_v2"
    machines = [
        change(kind, "this", key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    was, will = (access_text(export_access(side, inv)) for side, inv in ((before, one), (after, other)))
    files = [change(FILE, "list", ACCESS, {"content": was}, {"content": will})] if was != will else []
    divide = Divider({}, {}, lambda *_: [])
    found = {}
    for name, changes, how in ((MACHINES, machines, None), (ACCESS_STACK, files, divide)):
        shown = {"format_version": "1.2", "resource_changes": changes}
        more = {"divide": how} if how is not None else {}
        found[name] = summarise(shown, name, {}, {"tofu": "1.12"}, **more)
    return found


def plan(before: frozenset[int], after: frozenset[int], today: date = DAY) -> dict[str, PlanSummary]:
    one, other = inventory(before), inventory(after)
    return plans(resolve(one, today), resolve(other, today), one, other)


MORNING: frozenset[int] = frozenset()


@cache
def reviewed_alone(number: int) -> Merged:
    """A pull request of the day, as it was reviewed against the base of the morning."""
    head = MORNING | {number}
    planned, rows = plan(MORNING, head), touched(data(MORNING), data(head)).stacks
    stacks = {
        name: (
            planned[name].review_digest if name in planned else "",
            [*_rows(planned, name), *rows.get(name, ())],
        )
        for name in (STACK, ACCESS_STACK, MACHINES)
    }
    record = review_record.made("o/r", number, "a" * 40, f"{number:040x}", str(DAY), stacks, KEY)
    found = review_record.opened(review_record.sealed(record, PRINT), {PRINT: KEY})
    assert isinstance(found, review_record.ReviewRecord)
    return Merged(f"o/r#{number}", found.head, found, approvals=())


def _rows(planned: Mapping[str, PlanSummary], name: str) -> list[Hash]:
    return list(planned[name].hashes) if name in planned else []


def judged(applied: frozenset[int], now: frozenset[int], merged: Sequence[Merged]) -> dict[str, Verdict]:
    """The default branch's plans against the reviews merged since."""
    planned, rows = plan(applied, now), touched(data(applied), data(now)).stacks
    return {
        name: judge(
            Asked(
                name,
                planned[name].review_digest if name in planned else "",
                _rows(planned, name),
                rows.get(name, ()),
                time=frozenset(),
                offline=reviewed.plain(_rows(planned, name)),
            ),
            merged,
        )
        for name in (STACK, ACCESS_STACK, MACHINES)
    }


def test_the_day_is_what_it_is_said_to_be() -> None:
    assert len(PAIRS) == len(set(PAIRS)) == ACTIONS
    whole = plan(MORNING, frozenset(range(ACTIONS)))
    machines = sum(resource == "cpu-dedicated" for _, resource in PAIRS)
    assert machines == 7 and len(whole[MACHINES].hashes) == machines
    assert len(whole[ACCESS_STACK].hashes) == ACTIONS - machines


@pytest.mark.parametrize("seed", range(5))
def test_a_day_in_any_order_is_covered_after_each_merge(seed: int) -> None:
    """Each was reviewed against the morning; each merge is followed by an apply, or all by one in the evening."""
    order = random.Random(seed).sample(range(ACTIONS), ACTIONS)
    applied: frozenset[int] = MORNING
    for count, number in enumerate(order, 1):
        now = applied | {number}
        found = judged(applied, now, [reviewed_alone(number)])
        assert {name: one.waits for name, one in found.items() if one.waits} == {}
        assert {by for one in found.values() for by in one.by} == {f"o/r#{number}"}
        if count % 9 == seed:  # and some that were applied together, since a run was busy
            late = frozenset(order[: max(count - 7, 0)])
            several = [reviewed_alone(n) for n in order[max(count - 7, 0) : count]]
            assert not any(one.waits for one in judged(late, now, several).values())
        applied = now
    evening = judged(MORNING, applied, [reviewed_alone(n) for n in order])
    assert not any(one.waits for one in evening.values())


@settings(max_examples=30)
@given(st.sets(st.integers(0, ACTIONS - 1), min_size=1, max_size=12), st.data())
def test_what_was_not_reviewed_waits_whatever_else_was_merged(numbers: set[int], more: st.DataObject) -> None:
    """Of any few that are merged, any one was not reviewed: just what is its own waits, and names it."""
    left = more.draw(st.sampled_from(sorted(numbers)))
    merged = [reviewed_alone(n) for n in sorted(numbers - {left})]
    found = judged(MORNING, frozenset(numbers), merged)
    feedstock, resource = PAIRS[left]
    waits = {wait["address"] for one in found.values() for wait in one.waits}
    assert waits and all(f"{feedstock}-feedstock/" in address for address in waits)
    assert found[MACHINES].waits or resource != "cpu-dedicated"
    assert not any(one.waits for one in judged(MORNING, frozenset(numbers - {left}), merged).values())


def test_a_squash_changes_nothing_and_a_rebase_after_the_review_waits() -> None:
    """The merged commit is another one either way; it is the head that the review was of that counts."""
    mine = reviewed_alone(0)
    assert mine.record is not None
    assert not any(one.waits for one in judged(MORNING, frozenset({0}), [mine]).values())
    pushed = replace(mine, head="f" * 40, why=mine.record.other("o/r", 0, "f" * 40))
    found = judged(MORNING, frozenset({0}), [pushed])[ACCESS_STACK]
    assert [wait["why"] for wait in found.waits] == [
        f"o/r#0 shows it, but its review was of another head: {'0' * 12}, and {'f' * 12} was merged"
    ] * len(found.waits)
    assert found.waits and not found.by


def test_a_grant_that_no_plan_shows_waits_as_well() -> None:
    """Access to machines that are there already opens with no resource at all: the files' own rows hold it back."""
    number = next(n for n, (_, resource) in enumerate(PAIRS) if resource.startswith("cirun-"))
    found = judged(MORNING, frozenset({number}), [])
    key = f"{PAIRS[number][0]}-feedstock/c"
    assert [w["address"][: len(key) + 6] for w in found[STACK].waits] == [f"grant:{key}"]
    assert found[STACK].waits[0]["what"].startswith("create grant:")


# ---------------------------------------------------------------------------------------------- one by one

ROW: Hash = ("a", "create", "1")
FILE_ROW: Hash = ("grant:one-feedstock/gpu", "create", "2")


def seen(*rows: Hash, **more: Any) -> Merged:
    record = review_record.made("o/r", 1, "a", "b", "2026-06-01", {"lab": ("d", rows)}, KEY)
    return Merged(**{"pull": "o/r#1", "head": "b", "record": record, "approvals": (), **more})


def why(asked: Asked, *merged: Merged) -> list[str]:
    return [wait["why"] for wait in judge(asked, merged).waits]


def test_time_alone_needs_no_review_and_files_always_do() -> None:
    asked = Asked("lab", "d", [ROW], [FILE_ROW], time=frozenset([ROW, FILE_ROW]))
    assert [wait["address"] for wait in judge(asked, ()).waits] == [FILE_ROW[0]]
    assert not judge(replace(asked, files=()), ()).waits
    assert judge(replace(asked, files=(), rows=[("a", "create", "9")]), ()).waits, "another value is no time"


def test_each_reason_has_its_words() -> None:
    asked = Asked("lab", "d", [ROW])
    assert why(asked) == ["no review covers it"]
    assert why(replace(asked, offline=frozenset())) == [CLOUD]
    assert why(replace(asked, offline=frozenset([ROW]))) == ["no review covers it"]
    assert why(asked, Merged("o/r#7", "b", None, "it has no comment")) == [
        "no review covers it (of o/r#7 it has no comment)"
    ]
    lacking = [{"what": "stack lab", "stack": "lab", "missing": 1, "why": "still needs 1 of carol"}]
    told = "o/r#1 shows it, but an approval is missing: stack lab: still needs 1 of carol"
    assert why(asked, seen(ROW, approvals=lacking)) == [told]
    assert why(replace(asked, stack="guest"), seen(ROW, approvals=lacking)) == ["no review covers it"]
    elsewhere = [{**lacking[0], "stack": "guest"}]
    assert not why(asked, seen(ROW, approvals=elsewhere)), "another donor's approval is for what is theirs"
    assert why(replace(asked, never="nobody knows"), seen(ROW)) == ["nobody knows"]
    assert why(Asked("lab", "d", [], astray=[("orphan:1", "delete", "")]), seen(ROW)) == [CLOUD]


def test_one_of_two_reviews_is_enough() -> None:
    bad = seen(ROW, why="it was edited")
    assert not why(Asked("lab", "d", [ROW]), bad, seen(ROW))


def test_the_digest_of_what_waits_is_of_all_of_it() -> None:
    asked = Asked("lab", "d" * 64, [ROW])
    assert judge(asked, ()).digest == "d" * 64
    more = replace(asked, files=[FILE_ROW])
    digest = judge(more, ()).digest
    assert digest != "d" * 64, "the plan's own digest does not tell what no plan shows"
    later = replace(more, files=[FILE_ROW, ("grant:two-feedstock/gpu", "create", "3")])
    assert judge(later, ()).digest != digest, "what came after was not accepted"
    assert judge(replace(more, files=[FILE_ROW]), [seen(FILE_ROW)]).digest == "d" * 64, (
        "what is covered need not be"
    )
    assert judge(replace(asked, astray=[("orphan:1", "delete", "")]), ()).digest != "d" * 64
    first = replace(asked, never="nothing was applied yet", compiled="1" * 64)
    assert judge(first, ()).digest not in ("d" * 64, judge(replace(first, compiled="2" * 64), ()).digest)


def test_what_waits_is_told_with_the_way_out() -> None:
    rows: list[Hash] = [(f"a{n}", "create", "1") for n in range(12)]
    told = judge(Asked("lab", "d" * 64, rows, words={"a0": "server one"}), ()).diagnostic()
    text = render([told], color=False)
    assert "- server one: no review covers it" in text and "- and 4 more" in text
    assert f"cf-infra plan lab && cf-infra apply lab --reviewed --accept lab={'d' * 64}" in text


@pytest.mark.parametrize(
    ("address", "action", "words"),
    [
        ("grant:one-feedstock/gpu", "create", "grant one-feedstock/gpu given"),
        ("user:lab/7", "delete", "person of users/lab/7 taken away"),
        ("file:settings.yaml", "update", "settings.yaml changed"),
    ],
)
def test_rows_of_files_have_words(address: str, action: str, words: str) -> None:
    assert reviewed.of_files([(address, action, "1")]) == {address: words}


def test_an_entry_that_became_another_is_changed() -> None:
    address = "grant:one-feedstock/gpu"
    rows = [(address, "delete", "1"), (address, "create", "2")]
    assert reviewed.of_files(rows) == {address: "grant one-feedstock/gpu changed"}


# ------------------------------------------------------------------------------------------ what files touch

BASE = {k: v for k, v in read_folder(HERE / "errors" / "_base").items() if k != "grants.yaml"}


def folder(grants: Iterable[str], modules: str | None = None, **files: str) -> Folder:
    text = "version: 1\ngrants:\n" + "".join(grants) if grants else "version: 1\ngrants: []\n"
    named = {
        name.replace("__", "/").replace("_yaml", ".yaml").replace("_json", ".json"): v
        for name, v in files.items()
    }
    raw = {**BASE, "grants.yaml": text.encode(), **{name: v.encode() for name, v in named.items()}}
    return Folder(parse(raw).inventory, raw, modules)


ONE, TWO = entry("one", "gpu-large"), entry("two", "cpu-dedicated")


def test_rows_are_of_the_stacks_that_are_meant() -> None:
    found = touched(folder([]), folder([ONE, TWO]))
    assert {name: [row[:2] for row in rows] for name, rows in found.stacks.items()} == {
        "lab": [("grant:one-feedstock/gpu-large", "create")],
        "guest": [("grant:two-feedstock/cpu-dedicated", "create")],
    }
    assert found.gpu == {"lab"} and found.requesters == {"somebody"} and found.files == {"grants.yaml"}
    back = touched(folder([ONE, TWO]), folder([TWO]))
    assert back.ended == ("one-feedstock/gpu-large",) and not back.gpu and not back.requesters


def test_order_form_and_words_for_people_touch_nothing() -> None:
    assert not touched(folder([ONE, TWO]), folder([TWO, ONE])).stacks
    reworded = ONE.replace("Builds take long", "Other words")
    assert not touched(folder([ONE]), folder([reworded])).stacks
    open_to_more = ONE.replace("[admin, maintain]", "[admin, maintain, write]")
    assert [row[1] for row in touched(folder([ONE]), folder([open_to_more])).stacks["lab"]] == [
        "create",
        "delete",
    ]


def test_a_class_or_its_label_and_the_day_make_no_difference() -> None:
    label = ONE.replace("gpu-large]", "cirun-lab-gpu-large]")
    assert (
        touched(folder([]), folder([ONE])).stacks["lab"] == touched(folder([]), folder([label])).stacks["lab"]
    )


def test_people_files_and_modules_count() -> None:
    nobody, user = '{"users": []}', '{"users": [{"github": "ann", "id": 7}]}'
    one = folder([], users__lab_terms_json=nobody, settings_yaml="version: 1\n")
    one = Folder(parse({**one.files, "users/lab-terms.json": nobody.encode()}).inventory, one.files)
    other = Folder(parse({**one.files, "users/lab-terms.json": user.encode()}).inventory, one.files)
    assert [row[:2] for row in touched(one, other).stacks["lab"]] == [("user:lab-terms/7", "create")]
    assert "guest" not in touched(one, other).stacks
    bigger = folder([], settings_yaml="version: 1\njobs: 9\n")
    found = touched(folder([], settings_yaml="version: 1\n"), bigger)
    assert {name: [r[0] for r in rows] for name, rows in found.stacks.items()} == {
        "lab": ["file:settings.yaml"], "guest": ["file:settings.yaml"]
    }  # fmt: skip
    found = touched(folder([], None), folder([], "tree"))
    assert found.files == {"modules/"} and found.stacks["lab"] == [("file:modules/", "create", "tree")]


def test_a_stack_that_changes_comes_or_goes_is_a_row_of_its_own() -> None:
    text = OWN.replace("m1.large", "m1.small")
    found = touched(folder([]), folder([], stacks__guest_yaml=text))
    assert {n: [r[:2] for r in rows] for n, rows in found.stacks.items()} == {
        "guest": [("file:stacks/guest.yaml", "update")]
    }
    found = touched(folder([], stacks__new_yaml=LISTS), folder([]))
    assert found.ended == ("new",) and found.stacks["new"][0][:2] == ("file:stacks/new.yaml", "delete")


def test_commits_of_one_pull_request_are_joined() -> None:
    one = touched(folder([]), folder([ONE]))
    both = one.joined(touched(folder([ONE]), folder([TWO], settings_yaml="version: 1\njobs: 9\n")))
    assert both.files == {"grants.yaml", "settings.yaml"} and both.gpu == {"lab"}
    assert {r[0] for r in both.stacks["guest"]} == {"grant:two-feedstock/cpu-dedicated", "file:settings.yaml"}
    assert Touched().joined(one) == one
