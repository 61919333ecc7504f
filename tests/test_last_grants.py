"""The last grant of a repository ends: an apply switches Cirun off for it; who answers for that, and what may fail."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from feedstock_world import LISTS, ORG, STACK, World, entry
from real_tofu import tool_with_github
from roots import write_root
from test_activation import world

from cf_infra import last_grants, project, rest
from cf_infra.cirun import ENDPOINT, KEY
from cf_infra.deployment import Deployment
from cf_infra.last_grants import Ending, Switch, ending
from cf_infra.project import Folder
from cf_infra.surroundings import Unanswered

__all__ = ["world"]
NUMPY = f"{ORG}/numpy-feedstock"
PAIR, OTHER = "numpy-feedstock/gpu-large", "numpy-feedstock/cpu-large"
MACHINES = b"""\
version: 1
kind: openstack
rights: member
cloud: donor
donor: {name: Donor}
hosts: [{name: one, vcpus: 8, memory_gib: 32, disk_gib: 200}]
images: {linux: {name: linux}}
network: {cidr: 10.0.0.0/24}
offers:
  mid: {slice: 1/2, flavor: m, image: linux, via: cirun, mode: on-demand, max: 1, label: cirun-mid}
  own: {slice: 1/2, flavor: m, image: linux, via: direct, mode: dedicated}
"""


def folder(root: Path, *entries: str, lists: bool = True) -> Folder:
    """A folder with a donor's cloud and somebody's account at Cirun, and with Cirun's lists or without."""
    text = "version: 1\ngrants:\n" + "".join(entries) if entries else "version: 1\ngrants: []\n"
    files = {
        "settings.yaml": f"version: 1\norganisation: {ORG}\n".encode(),
        "grants.yaml": text.encode(),
        "stacks/somebody.yaml": STACK,
        "stacks/donor.yaml": MACHINES,
    }
    found = project.read(
        write_root(root, files | ({"stacks/lists.yaml": LISTS} if lists else {})), date(2026, 6, 1)
    )
    assert not [fault for fault in found.diagnostics if fault.severity == "error"]
    return found


def at(root: Path, stack: str, cloud: str = "", own: bool = True) -> Deployment:
    return Deployment(root, stack, cloud or {"donor": "donor"}.get(stack, f"github:{ORG}"), own)


# ------------------------------------------------------------------------------------------- what ends


def test_only_the_last_grant_of_all_stacks_counts(tmp_path: Path) -> None:
    lists = at(tmp_path, "lists")
    assert ending(folder(tmp_path, entry()), lists, [OTHER]).last == {}, "another class holds"
    assert ending(folder(tmp_path, entry("numpy", "mid")), lists, [PAIR]).last == {}, "another stack's holds"
    assert ending(folder(tmp_path, entry("numpy", "own")), lists, [PAIR]).last == {NUMPY: [PAIR]}
    over = entry().replace("2027-01-01", "2026-06-01")
    assert ending(folder(tmp_path, over), lists, [PAIR]).last == {NUMPY: [PAIR]}, "its day has come"
    both = ending(folder(tmp_path, entry("Scipy")), lists, [PAIR, OTHER, "scipy-feedstock/gpu-large"])
    assert both.last == {NUMPY: [OTHER, PAIR]}, "GitHub's names have no case"


def test_what_jobs_never_reached_through_cirun_is_not_asked_for(tmp_path: Path) -> None:
    found = ending(folder(tmp_path), at(tmp_path, "lists"), ["numpy-feedstock/own", "scipy-feedstock/gone"])
    assert found.last == {f"{ORG}/scipy-feedstock": ["scipy-feedstock/gone"]}, (
        "an imported label, offered by nobody"
    )


@pytest.mark.parametrize(
    ("stack", "cloud", "own", "lists", "answers"),
    [
        ("lists", "", True, True, True),
        ("donor", "", True, True, False),
        ("donor", "", True, False, True),
        ("donor", "sandbox", False, False, False),
        ("donor", "elsewhere", False, False, False),
        ("donor", "sandbox", True, False, False),
        ("somebody", "", True, False, False),
    ],
)
def test_one_stack_answers_and_no_trial(
    tmp_path: Path, stack: str, cloud: str, own: bool, lists: bool, answers: bool
) -> None:
    found = ending(folder(tmp_path, lists=lists), at(tmp_path, stack, cloud, own), ["numpy-feedstock/mid"])
    assert (found.answers, bool(found.last)) == (answers, answers)
    assert bool(found.by_hand(["numpy-feedstock/mid"], ())) is answers


def test_a_stack_whose_file_is_gone_leaves_the_others_grants_alone(tmp_path: Path) -> None:
    """To destroy it, its old file is read without any grants: those of the folder as it is still count."""
    whole = folder(tmp_path, entry("numpy", "gpu-large"), lists=False)
    old = replace(folder(tmp_path, lists=True), whole=whole)
    pairs = [PAIR, "scipy-feedstock/gpu-large"]
    assert list(ending(old, at(tmp_path, "lists"), pairs).last) == [f"{ORG}/scipy-feedstock"]


def test_what_is_left_to_people() -> None:
    found = Ending(answers=True, last={NUMPY: [PAIR], f"{ORG}/tools": ["tools/gpu-large"]})
    pairs = ["numpy-feedstock/own", PAIR, "tools/gpu-large", "scipy-feedstock/gpu-large"]
    both = "take back Cirun's activation and the lines in the feedstock, as far as no grant asks for them: "
    lines = "take back the lines in the feedstock, as far as no grant asks for them: cf-infra deactivate "
    assert found.by_hand(pairs, ()) == [
        f"{both}cf-infra deactivate numpy",
        f"{lines}scipy",
        f"take back Cirun's activation, which no grant asks for any more: cirun repo remove {ORG}/tools",
    ]
    assert found.by_hand(pairs, found.last) == [f"{lines}numpy", f"{lines}scipy"]
    assert last_grants.planned([*found.items(), {"address": "module.x"}]) == found.last.keys()


def test_who_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody without a key, and never the real Cirun beside a stand-in for GitHub."""
    real = folder(tmp_path)
    assert not last_grants.may_ask(real)
    monkeypatch.setenv(KEY, "cirun-key-of-a-test")
    assert last_grants.may_ask(real)
    text = f"version: 1\norganisation: {ORG}\ngithub: {{api: 'http://127.0.0.1:9'}}\n"
    write_root(tmp_path, {"settings.yaml": text.encode()})
    trial = project.read(tmp_path, date(2026, 6, 1))
    assert not last_grants.may_ask(trial)
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9/api/v1")
    assert last_grants.may_ask(trial)


# ------------------------------------------------------------------------------------------- Cirun itself


def switched(*names: str) -> Switch:
    made = Switch(frozenset(f"{ORG}/{name}" for name in names), lambda _text: None)
    made.off()
    return made


def test_it_is_switched_off_and_asked_again(world: World) -> None:
    active = world.cirun.state.repositories
    active |= {NUMPY: True, f"{ORG}/scipy-feedstock": True}
    made = switched("numpy-feedstock", "never-there")
    assert active == {NUMPY: False, f"{ORG}/scipy-feedstock": True}
    before = len(world.cirun.log)
    assert not made.still(NUMPY) and not made.still(f"{ORG}/never-there") and not made.faults
    assert world.cirun.log[before:] == ["GET /repo"], "read back, once for all"
    active[NUMPY] = True
    assert Switch(frozenset([NUMPY]), lambda _text: None).still(NUMPY), "somebody switched it on meanwhile"


def test_without_a_name_nobody_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY)
    assert not switched().faults and not world.cirun.log


def test_what_is_done_when_cirun_lies(world: World) -> None:
    world.cirun.state.repositories[NUMPY] = True
    listed = {"repos": [{"repository": NUMPY, "active": True, "private": False}]}
    answers = [(200, listed), (200, {"name": NUMPY, "active": False}), (200, listed), (200, listed)]
    world.cirun.state.faults += answers
    assert switched("numpy-feedstock").still(NUMPY)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ((500, {"message": "no"}), "service-silent"),
        ((401, {}), "token-refused"),
        ((200, b"<html>"), "service-answer"),
    ],
)
def test_a_cirun_that_fails_leaves_the_proof_open(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: tuple[int, Any], code: str
) -> None:
    monkeypatch.setattr(rest, "BACKOFF", (0.0,))
    world.github.state.add_repository("scipy-feedstock")
    active = world.cirun.state.repositories
    active |= {NUMPY: True, f"{ORG}/scipy-feedstock": True}
    world.cirun.state.faults += [fault] * 2
    made = switched("numpy-feedstock", "scipy-feedstock")
    assert [one.code for one in made.faults] == [code]
    asked = len(world.cirun.log)
    for name in made.names:
        with pytest.raises(Unanswered, match=code):
            made.still(name)
    assert len(world.cirun.log) == asked, "a Cirun that does not answer is not asked again"
    world.cirun.state.faults.clear()
    assert not switched("numpy-feedstock", "scipy-feedstock").still(NUMPY)
    assert not any(active.values()), "the next run converges"


def test_a_cirun_that_is_not_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "BACKOFF", ())
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9/api/v1")
    made = switched("numpy-feedstock")
    assert [one.code for one in made.faults] == ["service-silent"]
    with pytest.raises(Unanswered):
        made.still(NUMPY)
    later = Switch(frozenset([NUMPY]), lambda _text: None)
    with pytest.raises(Unanswered):
        later.still(NUMPY)


def test_a_repository_that_cirun_refuses_does_not_keep_the_others(world: World) -> None:
    active = world.cirun.state.repositories
    active |= {f"{ORG}/a-deleted-feedstock": True, NUMPY: True}
    made = switched("a-deleted-feedstock", "numpy-feedstock")
    assert active == {f"{ORG}/a-deleted-feedstock": True, NUMPY: False}
    assert not made.still(NUMPY)
    with pytest.raises(Unanswered, match="service-refused"):
        made.still(f"{ORG}/a-deleted-feedstock")


def test_a_fault_in_between_is_kept_for_what_was_not_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is switched off, then Cirun fails: of the first that is known, of the second nothing."""
    monkeypatch.setattr(rest, "BACKOFF", ())
    world.github.state.add_repository("a-feedstock")
    active = world.cirun.state.repositories
    active |= {f"{ORG}/a-feedstock": True, NUMPY: True}
    world.cirun.state.broken.add(NUMPY)
    made = switched("a-feedstock", "numpy-feedstock")
    assert active == {f"{ORG}/a-feedstock": False, NUMPY: True}
    assert not made.still(f"{ORG}/a-feedstock") and made.failed.keys() == {NUMPY}
    with pytest.raises(Unanswered):
        made.still(NUMPY)


# ---------------------------------------------------------------------------- through OpenTofu, and its provider


@pytest.mark.sandbox  # no OpenStack, but some runs of OpenTofu
def test_an_apply_that_cirun_does_not_answer_fails_and_the_next_one_converges(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool_with_github()
    monkeypatch.setattr(rest, "BACKOFF", (0.0,))
    monkeypatch.setenv("CF_INFRA_KEY_FILE", world.key())
    world.github.state.add_repository("scipy-feedstock")
    active = world.cirun.state.repositories
    active |= {NUMPY: True, f"{ORG}/scipy-feedstock": True}

    def plan() -> Any:
        [row] = world.json("plan")["stacks"]
        return row

    def apply(code: int = 0) -> Any:
        ran = world.run("apply", "--root", str(world.root), "--format", "json")
        assert ran.code == code, ran.out + ran.err
        return ran.json()

    def planned() -> list[str]:
        return [item["address"] for item in plan()["items"] if item["address"].startswith("cirun:")]

    world.grants(entry(), entry("numpy", "cpu-large"), entry("scipy", "gpu-large"))
    assert planned() == []
    apply()
    world.grants(entry("numpy", "cpu-large"), entry("scipy", "gpu-large"))
    assert planned() == [], "numpy has another grant"
    apply()
    assert all(active.values())

    world.grants(entry("scipy", "gpu-large"))
    assert planned() == [f"cirun:{NUMPY}"]
    assert all(active.values()), "a plan changes nothing"
    world.cirun.state.faults += [(503, {})] * 2
    failed = apply(code=1)
    assert {d["code"] for d in failed["diagnostics"]} == {"not-proven"}
    assert NUMPY in failed["diagnostics"][0]["detail"] and active[NUMPY]
    assert b"numpy" not in listed(world), "the list does not wait for Cirun"

    assert planned() == [f"cirun:{NUMPY}"]
    [receipt] = apply()["stacks"][0]["receipts"]
    assert f"Cirun: active for {NUMPY}" in [place["place"] for place in receipt["gone_from"]]
    assert all(place["checked_at"] for place in receipt["gone_from"])
    assert active == {NUMPY: False, f"{ORG}/scipy-feedstock": True}
    assert plan()["items"] == []

    world.grants()
    planned()
    monkeypatch.delenv(KEY)
    assert {d["code"] for d in apply(code=1)["diagnostics"]} == {"not-proven"}, "the plan promised more"
    [row] = world.json("plan")["stacks"]
    assert row["items"] == [] and "Cirun's activation" in row["manual"][0]
    [receipt] = apply()["stacks"][0]["receipts"]
    assert receipt["manual"] == row["manual"] and active[f"{ORG}/scipy-feedstock"]


@pytest.mark.sandbox  # no OpenStack, but some runs of OpenTofu
def test_cirun_does_not_wait_for_people_to_merge(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the list goes by pull request it opens the way until somebody merges; Cirun shuts it at once."""
    tool_with_github()
    monkeypatch.setenv("CF_INFRA_KEY_FILE", world.key())
    world.cirun.state.repositories[NUMPY] = True

    def settled() -> Any:
        world("plan")
        ran = world.run("apply", "--root", str(world.root), "--format", "json")
        assert ran.code == 0, ran.err
        found: Any = ran.json()["stacks"]
        return found[0]

    settled()
    settings = (world.root / "settings.yaml").read_bytes()
    write_root(world.root, {"settings.yaml": settings.replace(b"direct", b"pull-request")})
    world.grants()
    [receipt] = settled()["receipts"]
    assert [place["place"] for place in receipt["gone_from"]] == [f"Cirun: active for {NUMPY}"]
    assert receipt["manual"][0].startswith("merge http") and not world.is_active
    assert b"numpy" in listed(world), "only people merge it"


def listed(world: World) -> bytes:
    cirun = world.github.state.repository(ORG, ".cirun")
    assert cirun is not None
    return bytes(cirun.commits[cirun.branches["main"]].files[".access.yml"])
