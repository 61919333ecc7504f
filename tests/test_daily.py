"""The day: what goes by itself is told, what a person must decide is in one issue, and nobody is told twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cirun_standin import CirunStandin, CirunState
from hypothesis import given
from hypothesis import strategies as st
from roots import Runner
from service_world import DAY, ORG, OWN, TOKEN, World, entry, service_world

from cf_infra import daily
from cf_infra.daily import Day, Do, Item
from cf_infra.diagnostics import Diagnostic
from cf_infra.github_issues import Desk
from tests.github.state import Issue, Pull

TODAY = date.fromisoformat(DAY)


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv("GITHUB_REPOSITORY", f"{ORG}/{OWN}")
    with (
        service_world(tmp_path / "root", Runner(capsys)) as made,
        CirunStandin(CirunState(github=made.github.state)) as cirun,
    ):
        for name, value in cirun.environment().items():
            monkeypatch.setenv(name, value)
        made.github.state.add_repository(".cirun")
        lists = "version: 1\nkind: github\ndonor: {name: conda-forge}\ngithub: {}\n"
        made.files({"stacks/lists.yaml": lists})
        publish(made)
        yield made


def publish(world: World) -> None:
    """Cirun's list as the files mean it, as an apply leaves it."""
    folder = world.root / "build"
    assert world.run("compile", "--root", str(world.root), "--today", DAY).code == 0
    lists = {p.name: p.read_text() for p in folder.rglob(".*.yml")}
    repository = world.github.state.repository(ORG, ".cirun")
    assert repository is not None and lists
    world.github.state.commit(repository, dict(lists), "lists")


def issues(world: World) -> list[Issue]:
    return [one for one in world.own.issues.values() if one.pull is None]


def stranger(world: World, name: str = "delta") -> None:
    """Somebody opened access by hand: nothing but a person can say what is meant."""
    repository = world.github.state.repository(ORG, ".cirun")
    assert repository is not None
    world.github.state.add_repository(f"{name}-feedstock")
    text = (
        f"version: 1\npolicies: [{{id: p, repo: {name}-feedstock, roles: [admin]}}]\n"
        "access_control: [{resource: cirun-gpu-large, policies: [p]}]\n"
    )
    world.github.state.commit(repository, {".access.yml": text}, "by hand")


def test_a_day_on_which_all_is_well_opens_nothing(world: World) -> None:
    told = world.json("daily")
    assert (told["waiting"], told["not_asked"], told["issue"]["do"]) == ([], [], "nothing")
    assert world.writes() == [] and issues(world) == []


def test_what_a_person_must_decide_opens_one_issue_and_the_next_day_is_silent(world: World) -> None:
    stranger(world)
    told = world.json("daily")
    assert told["issue"]["do"] == "open" and told["waiting"]
    [issue] = issues(world)
    assert issue.title == daily.TITLE and "delta-feedstock" in str(issue.body)
    assert str(issue.body).startswith("<!-- cf-infra daily: audit/")
    before = len(world.writes())
    assert world.json("daily")["issue"]["do"] == "nothing"
    assert world.writes()[before:] == [] and not issue.comments


def test_something_new_is_told_in_a_comment_and_what_is_mended_closes_it(world: World) -> None:
    stranger(world)
    world.json("daily")
    pull = world.github.state.add_issue(world.own, "operator", "Grant", "old")
    world.github.state.commit(world.own, {"x": "y"}, "m", "cf-infra/request-7")
    pull.pull, pull.created = Pull("cf-infra/request-7", "main"), pull.created - 20 * 86_400
    told = world.json("daily")
    [issue] = issues(world)
    assert told["issue"]["do"] == "update" and "reviews/" in str(issue.body)
    [comment] = issue.comments.values()
    assert f"/pull/{pull.number}" in comment.body and "delta" not in comment.body
    pull.state = "closed"
    publish(world)
    assert world.json("daily")["issue"]["do"] == "close"
    assert issue.state == "closed" and len(issue.comments) == 2
    assert world.json("daily")["issue"]["do"] == "nothing"


def test_a_place_that_is_silent_fails_the_run_and_closes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger(world)
    world.json("daily")
    publish(world)
    monkeypatch.delenv("CIRUN_API_KEY")
    told = world.json("daily", code=1)
    assert told["not_asked"] == ["audit"] and told["issue"]["do"] == "nothing"
    [issue] = issues(world)
    assert issue.state == "open" and not issue.comments


def test_a_dry_run_says_the_same_and_writes_nothing(world: World) -> None:
    stranger(world)
    ran = world("daily", "--dry-run")
    assert "delta-feedstock" in ran.out and "wait" in ran.out and world.writes() == [] and not issues(world)
    text = world("daily", "--dry-run", "--format", "markdown").out
    assert text.startswith("### The day") and "`" in text


def test_without_a_repository_of_its_own_it_is_told_here(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger(world)
    monkeypatch.delenv("GITHUB_REPOSITORY")
    told = world.json("daily")
    assert told["waiting"] and [d["code"] for d in told["diagnostics"]] == ["own-repository-unknown"]
    assert not issues(world)


def test_somebody_elses_issue_with_our_line_is_left_alone(world: World) -> None:
    theirs = world.github.state.add_issue(
        world.own, "mallory", "x", "<!-- cf-infra daily: audit/0123456789ab -->"
    )
    world.json("daily")
    stranger(world)
    world.json("daily")
    assert theirs.state == "open" and not theirs.comments and len(issues(world)) == 2


def test_what_ends_is_told_and_not_in_the_issue(world: World) -> None:
    world.grants(
        entry("numpy").replace("2027-01-01", "2026-06-12"), entry("scipy").replace("2027-01-01", DAY)
    )
    told = world.json("daily", "--dry-run")["by_itself"]
    assert (
        "numpy-feedstock: gpu-large ends on 2026-06-12" in told
        and "scipy-feedstock: gpu-large ended today" in told
    )


@pytest.mark.parametrize("at", range(3))
def test_killed_before_any_write_the_next_run_ends_where_one_run_ends(
    world: World, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Desk._send
    for step in (lambda: stranger(world), lambda: stranger(world, "omega"), lambda: publish(world)):
        step()
        count = iter(range(100))

        def dies(self: Desk, *arguments: Any, count: Iterator[int] = count, **more: Any) -> Any:
            if next(count) == at:
                raise KeyboardInterrupt
            return send(self, *arguments, **more)

        with monkeypatch.context() as patched:
            patched.setattr(Desk, "_send", dies)
            world.run("daily", "--root", str(world.root), "--today", DAY)
        world.json("daily")
    [issue] = issues(world)
    assert issue.state == "closed"
    assert [one.body.split("\n")[1] for one in issue.comments.values()] == [
        "New since then:",
        "Nothing waits for a person any more.",
    ]


# ------------------------------------------------------------------------------------------------ the pure part

PARTS = st.sampled_from(sorted(daily.PARTS))
TEXTS = st.text(max_size=60)
ITEMS = st.lists(st.builds(Item, PARTS, st.sampled_from("abcdef"), TEXTS, TEXTS), max_size=6)


@given(ITEMS, ITEMS, st.sets(PARTS))
def test_the_same_day_again_changes_nothing_and_no_text_breaks_out(
    first: list[Item], second: list[Item], silent: set[str]
) -> None:
    opened = daily.change(Day(items=first), None)
    assert (opened.do is Do.NOTHING) == (not first)
    before = (1, opened.body) if first else None
    day = Day(items=second, silent=silent)
    done = daily.change(day, before)
    if done.do in (Do.OPEN, Do.UPDATE):
        assert done.body.startswith(f"<!-- {daily.MARKER}") and done.body.count("<!--") == 1 + "".join(
            item.what + item.fix for item in (*first, *second)
        ).count("<!--")
        assert daily.change(day, (1, done.body)).do is Do.NOTHING
        for mark in (item.mark for item in second):
            assert mark in daily.marks(done.body)
    if done.do is Do.CLOSE:
        assert not second and not any(item.part in silent for item in first)


def test_faults_that_pass_fail_the_run_and_others_wait_for_a_person() -> None:
    day = Day()
    faults = [
        Diagnostic("service-silent", detail="x"),
        Diagnostic("canary-failed", detail="no login for 3 days"),
    ]
    daily.of_faults("credentials", faults, day)
    assert day.silent == {"credentials"} and [d.code for d in day.diagnostics] == ["service-silent"]
    [item] = day.items
    other = Day()
    daily.of_faults("credentials", [Diagnostic("canary-failed", detail="no login for 4 days")], other)
    assert other.items[0].mark == item.mark, "a day more is nothing new"


def test_what_ended_just_now_is_left_to_the_next_apply() -> None:
    rows = [{"kind": "expired-but-alive", "where": "x", "subject": "a/b", "since": since, "fix": "", "what": "w"}
            for since in ("2026-06-01", "2026-05-20")]  # fmt: skip
    day = Day()
    daily.of_audit(rows, TODAY, day)
    assert len(day.items) == 1 and day.told == ["a/b has ended, and goes with the next apply"]


def test_credentials_of_others_wait_for_them_once() -> None:
    row: dict[str, Any] = {"credential": "aws", "generation": "3", "works": True, "next": "2026-06-10",
                           "turns": "2026-06-10", "by_hand": ["carol makes a new one, due on 2026-06-10"]}  # fmt: skip
    day, late = Day(), Day()
    daily.of_rows("lab", [row], day, turned=True)
    daily.of_rows(
        "lab", [{**row, "by_hand": ["carol makes a new one, due since 2026-06-10"]}], late, turned=True
    )
    assert day.items[0].part == "manual" and day.items[0].mark == late.items[0].mark
    assert day.told == ["lab/aws/3: works, next 2026-06-10"]
