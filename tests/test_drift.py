"""What was changed behind our back is what only a plan that looks at the cloud does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from roots import Runner, read_folder, write_root

from cf_infra import daily, drift
from cf_infra.plan import Item, PlanSummary, summarise

VERSIONS = {"tofu": "1.12.6"}
SERVER = 'module.machine.openstack_compute_instance_v2.this["{}"]'


def change(key: str, *actions: str, before: Any = None, after: Any = None) -> dict[str, Any]:
    return {
        "address": SERVER.format(key),
        "module_address": "module.machine",
        "type": "openstack_compute_instance_v2",
        "index": key,
        "change": {"actions": list(actions), "before": before, "after": after},
    }


def summary(*changes: dict[str, Any]) -> PlanSummary:
    return summarise({"format_version": "1.2", "resource_changes": list(changes)}, "lab", {}, VERSIONS)


ONE, TWO = "one-feedstock/gpu", "two-feedstock/gpu"
MADE = change(ONE, "create", after={"name": "cf-lab-one"})
GONE = change(TWO, "create", after={"name": "cf-lab-two"})
OFF = change(TWO, "update", before={"name": "cf-lab-two", "power_state": "shutoff"},
             after={"name": "cf-lab-two", "power_state": "active"})  # fmt: skip


def told(items: list[Item]) -> str:
    return drift.terminal("lab", [item.as_json() for item in items])


def test_what_the_files_ask_for_anyway_is_no_drift() -> None:
    assert drift.drifted(summary(MADE), summary(MADE)) == []
    assert told([]) == "lab: nothing was changed behind our back\n"


def test_a_server_that_somebody_deleted() -> None:
    found = drift.drifted(summary(MADE, GONE), summary(MADE))
    assert [(item.action, item.grants) for item in found] == [("create", (TWO,))]
    assert "- server cf-lab-two is not there any more for two-feedstock/gpu" in told(found)
    assert "cf-infra plan lab" in told(found)


def test_a_server_that_somebody_changed_says_what() -> None:
    found = drift.drifted(summary(OFF), summary())
    assert [item.action for item in found] == ["update"]
    assert "~ server cf-lab-two; changes: power_state was changed" in " ".join(told(found).split())


def test_what_the_files_change_to_something_else_because_of_the_cloud_is_drift() -> None:
    other = change(ONE, "create", after={"name": "cf-lab-other"})
    assert len(drift.drifted(summary(other), summary(MADE))) == 1


def test_what_no_provider_notices_is_told_once() -> None:
    address = "module.group.github_actions_runner_group.this"
    (item,) = drift.drifted(summary(), summary(), [address])
    assert (item.address, item.action) == (address, "create")
    assert len(drift.drifted(summary(GONE), summary(), [SERVER.format(TWO)])) == 1


def test_records_in_the_state_are_no_drift() -> None:
    record = {
        **MADE,
        "address": "module.machine.terraform_data.boot",
        "type": "terraform_data",
        "index": None,
    }
    assert drift.drifted(summary(record), summary()) == []


def test_what_a_cloud_says_is_inert_in_markdown() -> None:
    hostile = Item(SERVER.format(TWO), "create", "server `</details>` @all [x](y) #1 |", (TWO,))
    text = drift.markdown("lab", [hostile.as_json()])
    assert drift.markdown("lab", []) == "### `lab`: nothing was changed behind our back\n"
    inside = text.split("`")[1::2]
    assert "@all" not in "".join(text.split("`")[::2]) and any("</details>" in part for part in inside)


def test_a_day_has_an_item_for_each_and_remembers_it() -> None:
    row = {
        "stack": "lab",
        "failed": False,
        "drift": [i.as_json() for i in drift.drifted(summary(GONE), summary())],
    }
    first, second = daily.Day(), daily.Day()
    for day in (first, second):
        daily.of_drift([row, {"stack": "calm", "failed": False, "drift": []}], day)
    assert [item.mark for item in first.items] == [item.mark for item in second.items]
    assert "cf-infra plan lab && cf-infra apply lab" in first.items[0].fix
    assert first.told == ["calm: nothing was changed behind our back"]


def test_a_stack_that_was_never_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_root(tmp_path, read_folder(Path(__file__).parent / "errors" / "_base"))
    ran = Runner(capsys)("drift", "--root", str(tmp_path), "--today", "2026-06-01")
    assert ran.code == 0 and "lab: not applied yet" in ran.err and ran.out == ""
