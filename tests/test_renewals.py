"""Asking before a grant ends: once for each end, in the feedstock's own repository, and closed when it is settled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roots import Runner
from service_world import DAY, ORG, OWN, TOKEN, World, entry, service_world

from cf_infra import renewals
from cf_infra.github_issues import Desk
from cf_infra.renewals import Asked, Do
from tests.github.state import Issue, Repository

pytestmark = pytest.mark.programs

TODAY = date.fromisoformat(DAY)
SOON = "2026-06-20"


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv("GITHUB_REPOSITORY", f"{ORG}/{OWN}")
    with service_world(tmp_path / "root", Runner(capsys)) as made:
        yield made


def until(end: str, name: str = "numpy", *resources: str) -> str:
    return entry(name, *resources).replace("2027-01-01", end)


def issues(repository: Repository) -> list[Issue]:
    return [one for one in repository.issues.values() if one.pull is None]


def test_one_issue_for_all_that_ends_and_only_once(world: World) -> None:
    world.grants(until(SOON), until("2026-06-25", "numpy", "cpu-large"), until("2026-12-01", "scipy"))
    [done] = world.json("renewals")["renewals"]
    assert done["repository"] == "numpy-feedstock" and done["do"] == "ask"
    [issue] = issues(world.numpy)
    assert issue.title == renewals.TITLE and "2 grants of this repository end soon" in str(issue.body)
    for text in (
        "| `gpu-large` | 2026-06-20 |",
        "| `cpu-large` | 2026-06-25 |",
        "Otherwise nothing has to be done",
    ):
        assert text in str(issue.body)
    assert not issues(world.scipy)
    before = len(world.writes())
    assert world.json("renewals")["renewals"] == [] and len(world.writes()) == before
    issue.state = "closed"
    assert world.json("renewals")["renewals"] == [], "who closes it has answered"


def test_the_link_leads_to_the_form_with_its_answers(world: World) -> None:
    world.grants(until(SOON))
    world.json("renewals")
    [issue] = issues(world.numpy)
    [address] = [
        line.partition("(")[2].rstrip(")") for line in str(issue.body).splitlines() if line.startswith("- [")
    ]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert urlsplit(address).path == f"/{ORG}/{OWN}/issues/new" and asked["template"] == "access.yml"
    told = world.intake(world.ask(feedstock=asked["feedstock"], machine=asked["machine"]))
    assert told["outcome"] == "proposed" and "expires: 2027-06-20" in world.at(world.pulls[0].pull.head)  # type: ignore[union-attr]


def test_without_a_form_there_is_the_operators_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY")
    world.grants(until(SOON))
    world.json("renewals")
    [issue] = issues(world.numpy)
    assert "cf-infra grant renew numpy gpu-large --for 365d" in str(issue.body) and "`olga`" in str(
        issue.body
    )


def test_it_closes_itself_when_renewed_and_when_ended(world: World) -> None:
    world.grants(until(SOON), until(SOON, "scipy"))
    world.json("renewals")
    world.grants(until("2027-06-20"))
    done = world.json("renewals")["renewals"]
    assert [(one["repository"], one["do"]) for one in done] == [("numpy-feedstock", "close")]
    [issue] = issues(world.numpy)
    assert issue.state == "closed" and "renewed until 2027-06-20" in next(iter(issue.comments.values())).body
    world.grants(until("2027-06-20"), until("2026-06-01", "scipy"))
    assert [one["do"] for one in world.json("renewals")["renewals"]] == ["close"]
    [other] = issues(world.scipy)
    assert other.state == "closed" and "has ended" in next(iter(other.comments.values())).body
    assert world.json("renewals")["renewals"] == []


def test_what_ends_next_is_added_to_the_open_issue_and_said(world: World) -> None:
    world.grants(until(SOON))
    world.json("renewals")
    world.grants(until(SOON), until("2026-06-30", "numpy", "cpu-large"))
    [done] = world.json("renewals")["renewals"]
    assert done["do"] == "add" and len(issues(world.numpy)) == 1
    [issue] = issues(world.numpy)
    [comment] = issue.comments.values()
    assert "`cpu-large` ends on 2026-06-30" in comment.body and "| `cpu-large` |" in str(issue.body)
    world.grants(until("2027-01-01"), until("2026-06-30", "numpy", "cpu-large"))
    assert [one["do"] for one in world.json("renewals")["renewals"]] == ["tidy"]
    assert "gpu-large" not in str(issue.body).split("To renew")[0] and len(issue.comments) == 1


def test_a_renewed_grant_that_ends_a_year_later_is_asked_about_again(world: World) -> None:
    world.grants(until(SOON))
    world.json("renewals")
    world.grants(until("2027-06-20"))
    world.json("renewals")
    ran = world.run("renewals", "--root", str(world.root), "--today", "2027-06-01")
    assert ran.code == 0 and len(issues(world.numpy)) == 2


def test_at_most_so_many_a_day_and_those_that_end_first(world: World) -> None:
    names = [f"p{number}" for number in range(5)]
    for name in names:
        world.github.state.add_repository(f"{name}-feedstock")
    world.grants(*(until(f"2026-06-1{9 - number}", name) for number, name in enumerate(names)))
    settings = (world.root / "settings.yaml").read_text()
    world.files({"settings.yaml": f"{settings}renewals_per_run: 2\n"})
    first = world.json("renewals")
    assert [one["repository"] for one in first["renewals"]] == ["p4-feedstock", "p3-feedstock"]
    assert first["waiting"] == ["p2-feedstock", "p1-feedstock", "p0-feedstock"]
    assert len(world.json("renewals")["renewals"]) == 2 and world.json("renewals")["waiting"] == []


def test_a_repository_that_cannot_be_asked_is_told_and_the_others_are_asked(world: World) -> None:
    state = world.github.state
    gone, off, moved = (state.add_repository(f"{name}-feedstock") for name in ("old", "off", "moved"))
    gone.archived, off.has_issues = True, False
    state.move(moved, name="other-feedstock")
    names = ("old", "off", "moved", "nowhere", "numpy")
    world.grants(*(until(SOON, name) for name in names))
    told = world.json("renewals")
    assert [one["repository"] for one in told["renewals"]] == ["numpy-feedstock"]
    assert sorted(d["detail"].split("`")[1] for d in told["diagnostics"] if d["code"] == "cannot-ask") == [
        "moved-feedstock", "nowhere-feedstock", "off-feedstock", "old-feedstock"]  # fmt: skip


def test_somebody_elses_issue_with_our_line_is_none_of_ours(world: World) -> None:
    world.grants(until(SOON))
    body = "<!-- cf-infra renewal: numpy-feedstock/gpu-large=2026-06-20 -->\nhaha"
    theirs = world.github.state.add_issue(world.numpy, "mallory", "x", body)
    assert [one["do"] for one in world.json("renewals")["renewals"]] == ["ask"]
    assert theirs.state == "open" and theirs.body == body and len(issues(world.numpy)) == 2


def test_a_dry_run_asks_nobody(world: World) -> None:
    world.grants(until(SOON))
    assert [one["do"] for one in world.json("renewals", "--dry-run")["renewals"]] == ["ask"]
    assert world.writes() == [] and not issues(world.numpy)


def test_the_limit_of_requests_ends_the_run_and_the_next_one_goes_on(world: World) -> None:
    world.grants(until(SOON), until(SOON, "scipy"))
    world.github.secondary_limit(retry_after=7200)
    assert world.json("renewals", code=1)["diagnostics"][0]["code"] == "rate-limited"
    assert len(world.json("renewals")["renewals"]) == 2


@pytest.mark.parametrize("at", range(4))
def test_killed_before_any_write_nothing_is_asked_or_said_twice(
    world: World, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Desk._send
    for grants in (
        (until(SOON),),
        (until(SOON), until("2026-06-30", "numpy", "cpu-large")),
        (until("2027-06-01"),),
    ):
        world.grants(*grants)
        count = iter(range(100))

        def dies(self: Desk, *arguments: Any, count: Iterator[int] = count, **more: Any) -> Any:
            if next(count) == at:
                raise KeyboardInterrupt
            return send(self, *arguments, **more)

        with monkeypatch.context() as patched:
            patched.setattr(Desk, "_send", dies)
            world.run("renewals", "--root", str(world.root), "--today", DAY)
        world.json("renewals")
    [issue] = issues(world.numpy)
    assert issue.state == "closed"
    assert len({one.body for one in issue.comments.values()}) == len(issue.comments) == 2


def test_two_that_were_opened_at_once_become_one(world: World) -> None:
    world.grants(until(SOON))
    world.json("renewals")
    [issue] = issues(world.numpy)
    world.github.state.add_issue(world.numpy, "operator", issue.title, issue.body)
    world.json("renewals")
    first, second = issues(world.numpy)
    assert (first.state, second.state) == ("open", "closed") and f"#{first.number}" in next(
        iter(second.comments.values())
    ).body
    assert world.json("renewals")["renewals"] == []


# ------------------------------------------------------------------------------------------------ the pure part

KEYS = st.sampled_from(["a-feedstock/gpu", "a-feedstock/cpu", "a-feedstock/win"])
DAYS = st.integers(-5, 60).map(lambda number: TODAY + timedelta(days=number))


@given(st.dictionaries(KEYS, DAYS | st.none()), st.dictionaries(KEYS, DAYS), st.booleans(), st.booleans())
def test_after_any_action_there_is_nothing_to_do(
    pairs: dict[str, date | None], before: dict[str, date], is_open: bool, there: bool
) -> None:
    """What an issue says is enough memory: the same decision taken again does nothing."""
    pairs = {key: end for key, end in pairs.items() if end is None or end > TODAY}
    known = [Asked(1, is_open, before)] if there else []
    action = renewals.decide("a-feedstock", pairs, known, TODAY, 30)
    after = list(known)
    if action.do is Do.ASK:
        after.append(Asked(2, True, action.pairs))
    elif action.do is Do.CLOSE:
        after = [Asked(1, False, before)]
    elif action.do is not Do.NOTHING:
        after = [Asked(1, True, action.pairs)]
    assert renewals.decide("a-feedstock", pairs, after, TODAY, 30).do is Do.NOTHING
    for key, end in action.pairs.items():
        assert renewals.read(renewals.first_line(action.pairs) + "\nx")[key] == end


@given(st.text())
def test_the_first_line_of_any_text_is_read_or_is_none_of_ours(text: str) -> None:
    assert isinstance(renewals.read(text), dict)
    assert renewals.read(f"<!-- {renewals.MARKER} {text} -->".split("\n", 1)[0]) is not None
