"""Permissions of overrides.yaml at a plan: the one that is needed, those that are not, and the journal's line of it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cf_infra import deploy, overrides, plan, project, record, recording
from cf_infra.deployment import Deployment, InventoryFile, note_begun, save_inventory, save_proven
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.journal_file import JOURNAL, OURS, Journal
from cf_infra.model import Thresholds
from cf_infra.project import Folder
from cf_infra.receipts import Place, Receipt
from cf_infra.record import Record

FAR = "2100-01-01"
DAY = date(2026, 6, 1)
STACK = b"version: 1\nkind: openstack\nrights: member\ncloud: nowhere\ndonor: {name: Lab}\n"


def folder(*entries: str) -> Folder:
    text = "version: 1\noverrides:\n" + "".join(f"  - {entry}\n" for entry in entries)
    files = {"grants.yaml": b"version: 1\ngrants: []\n", "stacks/lab.yaml": STACK}
    return project.from_files(Path(), {**files, "overrides.yaml": text.encode()}, DAY)


def override(destroy: int, until: str = FAR, stack: str = "lab") -> str:
    return f"{{stack: {stack}, destroy: {destroy}, reason: It moves, until: {until}}}"


def saved(allowed: int = 0, by: str = "", **more: Any) -> Record:
    summary = {"add": 0, "change": 0, "replace": 0, "destroy": 3, "total": 3, "items": []}
    values: dict[str, Any] = {
        "stack": "lab", "cloud": "nowhere", "own": True, "today": "2026-06-01", "clock": "2026-06-01",
        "head": "a" * 40, "inputs": {"grants.yaml": "b" * 64}, "compiled": "c" * 64, "review_digest": "d" * 64,
        "plan_digest": "e" * 64, "summary": summary, "allowed": allowed, "allowed_by": by,
    }  # fmt: skip
    return Record(**{**values, **more})


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ({"servers": 10, "taken": 3}, 0),
        ({"servers": 9, "taken": 3}, 3),
        ({"servers": 9, "taken": 4, "pairs": 20, "lost": 5}, 5),
        ({"servers": 1, "taken": 0, "whole_stack": True}, 1),
    ],
)
def test_the_number_is_the_one_that_the_limits_take(given: dict[str, Any], number: int) -> None:
    counts: dict[str, Any] = {"servers": 0, "taken": 0, "pairs": 100, "lost": 0, "whole_stack": False}
    counts |= {**given, "thresholds": Thresholds()}
    assert plan.needed(**counts) == number
    assert plan.limits(stack="lab", allowances={"lab": number}, **counts) == []


def test_one_that_has_ended_allows_nothing_whatever_day_is_pretended() -> None:
    own = folder(override(3, "2026-06-02"), override(4, stack="other"))
    assert overrides.valid(own.inventory, DAY) == {"other": 4}, "the clock is later than the pretended day"


@pytest.mark.parametrize(
    ("entry", "plans", "said"),
    [
        (override(3), {"lab": saved(3, "overrides.yaml")}, None),
        (override(3), {"lab": saved()}, "takes away nothing that a limit refuses"),
        (override(4), {"lab": saved(3, "terminal")}, "takes away 3, as terminal allows"),
        (override(4), {"lab": saved(refusals=[["wrong-allowance", "", ""]])}, None),
        (override(3), {}, None),
        (override(3, "2026-06-02"), {"lab": saved()}, None),
    ],
    ids=["used", "unused", "typed-instead", "wrong-number", "not-planned", "ended"],
)
def test_those_that_no_plan_needs_are_named(entry: str, plans: dict[str, Record], said: str | None) -> None:
    own = folder(entry)
    found = project.placed(own, overrides.unused(own, DAY, plans))
    assert [d.code for d in found] == ["override-unused"] * (said is not None)
    if said is not None:
        assert said in found[0].detail and (found[0].file, found[0].line) == ("overrides.yaml", 3)


def test_the_plan_says_which_one_it_uses() -> None:
    assert (
        overrides.told(saved(3, "overrides.yaml"))
        == "uses the override of overrides.yaml: 3 may be taken away"
    )
    assert overrides.told(saved(3, "terminal")) == "uses --allow-destroy: 3 may be taken away"


def test_a_record_of_before_is_still_read(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, "lab", "nowhere", own=True)
    record.save(deployment, saved())
    deployment.plan.write_bytes(b"a plan")
    raw = deployment.record.read_bytes()
    old = b"\n".join(line for line in raw.split(b"\n") if b"allowed" not in line)
    deployment.record.write_bytes(old)
    assert record.load(tmp_path / "build", "lab") == saved()


# ---------------------------------------------------------------------------------------------- the journal


@pytest.fixture
def lab(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path, "lab", "nowhere", own=True)


def events(deployment: Deployment) -> list[dict[str, Any]]:
    return Journal(deployment.state, print).read().events


def inventory(complete: bool = True, **access: str | None) -> InventoryFile:
    keys = {f"{name}-feedstock/gpu": ends for name, ends in access.items()}
    return InventoryFile(
        "lab", "nowhere", "id", "2026-06-01T00:00:00+00:00", "2026-06-01", complete, access=keys
    )


def test_an_apply_tells_its_override_and_who_got_and_lost_what(lab: Deployment) -> None:
    save_proven(lab, inventory(kept=None, longer="2026-07-01", gone=None))
    with recording.applying(lab, saved(3, "overrides.yaml"), print) as told:
        after = inventory(kept=None, longer="2026-08-01", new="2027-01-01")
        save_inventory(lab, after)
        save_proven(lab, after)
        told.changes = 3
        told.receipts = [
            Receipt("gone-feedstock/gpu", [Place("server x\ny", "2026-06-01T10:00:00+00:00")], ["ask"])
        ]
    begun, used, ended = events(lab)[1:]
    assert (begun["event"], used["event"], ended["event"]) == ("apply-begun", "override-used", "apply-ended")
    assert (used["destroy"], used["source"]) == (3, "overrides.yaml")
    assert (
        begun["plan_digest"] == "e" * 64
        and begun["review_digest"] == "d" * 64
        and begun["commit"] == "a" * 40
    )
    assert ended["result"] == "done" and ended["changes"] == 3 and ended["codes"] == ended["unsure"] == []
    assert ended["gained"] == [{"grant": "new-feedstock/gpu", "ends": "2027-01-01"}]
    assert ended["changed"] == [{"grant": "longer-feedstock/gpu", "ends": "2026-08-01"}]
    assert ended["lost"] == ["gone-feedstock/gpu"]
    (receipt,) = ended["receipts"]
    assert receipt["gone_from"][0]["place"] == "server x y" and receipt["by_hand"] == 1


@pytest.mark.parametrize(
    ("stopped", "result", "codes"),
    [
        (Failure(Diagnostic("still-there")), "failed", ["still-there"]),
        (KeyboardInterrupt(), "interrupted", []),
        (ZeroDivisionError(), "failed", []),
    ],
)
def test_an_apply_that_fails_says_what_is_not_sure(
    lab: Deployment, stopped: BaseException, result: str, codes: list[str]
) -> None:
    save_proven(lab, inventory(kept=None, gone=None))
    with pytest.raises(type(stopped)), recording.applying(lab, saved(), print):
        save_inventory(lab, inventory(complete=False, kept=None, new=None))
        raise stopped
    ended = events(lab)[-1]
    assert ended["result"] == result and ended["codes"] == codes and ended["gained"] == ended["lost"] == []
    assert ended["unsure"] == ["gone-feedstock/gpu", "new-feedstock/gpu"]


def test_nothing_is_begun_where_the_journal_is_broken(lab: Deployment) -> None:
    recording.planned(lab, saved(), print)
    (lab.state / JOURNAL).write_bytes(b"")
    with pytest.raises(Failure) as raised, recording.applying(lab, saved(), print):
        pytest.fail("the apply was begun")
    assert [d.code for d in raised.value.diagnostics] == ["broken-journal"]


def test_a_journal_that_breaks_meanwhile_is_told_beside_what_failed(lab: Deployment) -> None:
    with pytest.raises(Failure) as raised, recording.applying(lab, saved(), print):
        (lab.state / JOURNAL).write_bytes(b"")
        raise Failure(Diagnostic("still-there"))
    assert [d.code for d in raised.value.diagnostics] == ["still-there", "broken-journal"]


def test_taking_back_first_promises_nothing(lab: Deployment) -> None:
    """What the inventory says then is not given yet; the apply that follows tells it."""
    save_proven(lab, inventory(gone=None))
    with recording.applying(lab, saved(3, "terminal"), print, "take-back"):
        save_inventory(lab, inventory(complete=False, new=None))
    told = events(lab)
    assert [e["event"] for e in told] == ["begun", "apply-begun", "apply-ended"]
    assert told[-1]["part"] == "take-back" and not told[-1]["gained"] and not told[-1]["unsure"]


def test_a_sandbox_that_was_made_anew_keeps_its_journal(tmp_path: Path) -> None:
    """All else that is known of the old one goes; what was there is told to have gone with it."""
    deployment = Deployment(tmp_path, "lab", "sandbox", own=False)
    note_begun(deployment, "the old one")
    recording.planned(deployment, saved(), print)
    run: Any = SimpleNamespace(deployment=deployment, say=print, around=SimpleNamespace(where="sandbox"))
    assert deploy._same_cloud(run, "the new one") is False
    assert {path.name for path in deployment.state.iterdir()} == set(OURS)
    assert [e["event"] for e in events(deployment)] == ["begun", "planned", "forgotten"]
