"""`explain --live` and `--comment` against the stand-ins: one feedstock's whole way, and who does not answer."""

from __future__ import annotations

from typing import Any

import pytest
from feedstock_world import CONFIG_BEFORE, DAY, LABEL, LISTS, ORG, TOKEN, World, entry
from real_tofu import tool_with_github
from roots import write_root
from test_activation import world
from test_explain import inert

from cf_infra.feedstock import BUILD_CONFIG, CONFIG
from tests.github.state import Issue

pytestmark = pytest.mark.programs

__all__ = ["world"]


def publish(world: World) -> None:
    """Bring Cirun's list to GitHub, as `apply` does."""
    text = world("export", "access").out
    cirun = world.github.state.repository(ORG, ".cirun")
    assert cirun is not None
    world.github.state.commit(cirun, {".access.yml": text}, "Access list")


def outcomes(world: World, *more: str) -> dict[str, str]:
    found = world.json("explain", "numpy", "gpu-large", "--live", *more)
    chain: Any = found["chain"]
    return {step["step"]: step["outcome"] for step in chain}


def whys(world: World, *more: str) -> dict[str, str]:
    chain: Any = world.json("explain", "numpy", "gpu-large", "--live", *more)["chain"]
    return {step["step"]: step["why"] for step in chain}


LIVE = ("repository", "access-list", "cirun-list", "cirun", "feedstock", "labels")


def test_the_whole_way_and_back(world: World) -> None:
    """Granted, listed, activated, merged: yes at every link. Revoked and deactivated: no, and nothing left."""
    granted = outcomes(world)
    assert {step: granted[step] for step in LIVE} == {
        "repository": "yes",
        "access-list": "no",
        "cirun-list": "no",
        "cirun": "no",
        "feedstock": "no",
        "labels": "no",
    }
    publish(world)
    world("activate", "numpy")
    proposed = outcomes(world)
    assert [proposed[step] for step in LIVE] == ["yes", "yes", "yes", "yes", "no", "no"]
    assert "A pull request is open" in whys(world)["labels"]
    world.merge()
    done = world.json("explain", "numpy", "gpu-large", "--live")
    assert done["allowed"] and done["live"] is True
    assert {step["outcome"] for step in done["chain"] if step["step"] in LIVE} == {"yes"}

    world.grants()
    assert "although no entry of grants.yaml holds" in whys(world)["access-list"]
    publish(world)
    world("deactivate", "numpy")
    world.merge()
    revoked = world.json("explain", "numpy", "gpu-large", "--live")
    assert not revoked["allowed"]
    assert [step["step"] for step in revoked["chain"] if step["outcome"] == "no"] == ["grant"]
    assert not world.is_active and LABEL not in str(world.file(BUILD_CONFIG))
    assert "self_hosted" not in str(world.file(CONFIG))


def test_roles_and_teams_are_asked_for(world: World) -> None:
    world.grants(entry(more="    teams: [core]\n"))
    state = world.github.state
    state.add_team("core", "carol")
    state.add_member("bob")
    alice = state.add_member("alice")
    world.numpy.collaborators[alice.id] = "maintain"
    assert outcomes(world, "--user", "alice")["who"] == "yes"
    assert "in the team `core`" in whys(world, "--user", "carol")["who"]
    refused = whys(world, "--user", "bob")["who"]
    assert "has the role `read`; needed is the role `admin`, `maintain` or `write` or" in refused
    assert outcomes(world, "--user", "bob")["who"] == "no"
    assert outcomes(world, "--user", "nobody-of-this-name")["who"] == "no"


@pytest.mark.parametrize("edit", ["roles", "pull_request"])
def test_a_list_under_other_conditions_is_told(world: World, edit: str) -> None:
    publish(world)
    cirun = world.github.state.repository(ORG, ".cirun")
    assert cirun is not None
    text = cirun.commits[cirun.branches["main"]].files[".access.yml"].decode()
    old, new = {"roles": ("maintain", "triage"), "pull_request": ("request: false", "request: true")}[edit]
    changed = text.replace(old, new)
    assert changed != text
    world.github.state.commit(cirun, {".access.yml": changed}, "Edited by somebody")
    assert "under other conditions" in whys(world)["access-list"]
    assert "under other conditions" in whys(world)["cirun-list"]


def test_a_repository_that_was_renamed_or_archived_is_a_no(world: World) -> None:
    world.numpy.archived = True
    assert "archived" in whys(world)["repository"] and outcomes(world)["repository"] == "no"
    world.numpy.archived = False
    world.github.state.move(world.numpy, "numpy2-feedstock")
    assert "is called `conda-forge/numpy2-feedstock` now" in whys(world)["repository"]
    assert "labels" not in outcomes(world)


def test_a_runner_group_is_asked_for_and_is_no_boundary_for_cirun(world: World) -> None:
    text = LISTS.replace(b"github: {}", b"github: {runner_groups: {cf-gpu: {resources: [gpu-large]}}}")
    write_root(world.root, {"stacks/lists.yaml": text})
    assert "has no runner group `cf-gpu`" in whys(world)["runner-group"]
    assert outcomes(world)["runner-group"] == "unknown"
    from tests.github.state import RunnerGroup

    group = RunnerGroup("selected", set(), id=7, name="cf-gpu", allows_public=True)
    world.github.state.groups[7] = group
    assert "is not for `numpy-feedstock`" in whys(world)["runner-group"]
    group.selected.add(world.numpy.id)
    assert outcomes(world)["runner-group"] == "yes"


# ----------------------------------------------------------------------------------------- who does not answer


def test_without_logins_all_stays_unknown_with_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.delenv("CIRUN_API_KEY")
    found = outcomes(world)
    assert {found[step] for step in LIVE} == {"unknown"}
    assert "GITHUB_TOKEN" in whys(world)["repository"] and "CIRUN_API_KEY" in whys(world)["cirun"]
    ran = world("explain", "numpy", "gpu-large", "--live")
    assert ran.out.startswith("Yes: ") and "as far as could be asked" in ran.out.replace("\n", " ")


def test_one_that_does_not_answer_does_not_hide_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world)
    world.github.fail_next(500, times=99, matching="/contents/")
    found = outcomes(world)
    assert (found["repository"], found["access-list"], found["labels"]) == ("yes", "unknown", "unknown")
    assert found["cirun-list"] == "yes"


def test_words_of_a_service_are_inert(world: World) -> None:
    body = {"message": f"<img src=x onerror=evil()> @conda-forge/core [evil](x) {TOKEN}"}
    world.github.fail_next(418, times=9, body=body)
    ran = world("explain", "numpy", "gpu-large", "--live", "--format", "markdown")
    assert "onerror" in ran.out
    for sign in ("evil", "@", "<"):
        assert sign not in inert(ran.out)


def test_hostile_files_of_the_feedstock_are_unknown_and_shown_as_text(world: World) -> None:
    world.github.state.commit(world.numpy, {CONFIG: "a: &x <b>\nb: *x\n", BUILD_CONFIG: "\t[@all\n"}, "Evil")
    found = outcomes(world)
    assert (found["feedstock"], found["labels"]) == ("unknown", "unknown")


def test_without_live_nobody_is_asked(world: World) -> None:
    world("explain", "numpy", "gpu-large")
    assert not world.github.log and not world.cirun.log


def test_live_changes_nothing(world: World) -> None:
    world("explain", "numpy", "gpu-large", "--live", "--user", "operator")
    assert all(request.method == "GET" for request in world.github.log)
    assert all(request.startswith("GET ") for request in world.cirun.log)


# ------------------------------------------------------------------------------------------------- the comment

PLACE = f"{ORG}/numpy-feedstock#12"


def issue(world: World) -> Issue:
    state = world.github.state
    made = Issue(state.number(), 12, "Job refused", None, state.add_user("alice").id, 0.0)
    world.numpy.issues[12] = made
    return made


def test_the_answer_is_one_comment_that_later_runs_change(world: World) -> None:
    asked = issue(world)
    found = world.json("explain", "numpy", "cpu-large", "--comment", PLACE, "--yes")
    [comment] = asked.comments.values()
    assert found["comment"] == {"place": PLACE, "id": comment.id}
    assert comment.body.startswith("<!-- cf-infra explain numpy-feedstock cpu-large -->\n**No: ")
    world.grants(entry("numpy", "cpu-large"))
    world("explain", "numpy", "cpu-large", "--comment", PLACE, "--yes", "--live")
    [comment] = asked.comments.values()
    assert "**No: " in comment.body and "activate numpy cpu-large" in comment.body
    assert TOKEN not in comment.body


def test_nothing_is_written_without_a_yes(world: World) -> None:
    asked = issue(world)
    ran = world("explain", "numpy", "gpu-large", "--comment", PLACE, code=64)
    assert "--yes" in ran.err and not asked.comments


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("numpy-feedstock#12", 64),
        ("https://github.com/conda-forge/numpy-feedstock/issues/12", 64),
        (f"{ORG}/numpy-feedstock#0", 64),
        (f"{ORG}/numpy-feedstock#12/../../13", 64),
        ("somebody-else/numpy-feedstock#12", 64),
        (f"{ORG}/numpy-feedstock#99", 1),
    ],
)
def test_a_wrong_place_is_refused(world: World, place: str, code: int) -> None:
    issue(world)
    ran = world("explain", "numpy", "gpu-large", "--comment", place, "--yes", code=code)
    assert ran.err and all(request.method == "GET" for request in world.github.log)
    assert DAY not in ran.out


# ------------------------------------------------------------------------------------ from a request, and back

REQUEST = "action: cirun\nfeedstocks:\n  - numpy\nresources:\n  - cirun-gpu-large\npull_request: true\n"


def lists(world: World) -> list[bytes | None]:
    cirun = world.github.state.repository(ORG, ".cirun")
    assert cirun is not None
    files = cirun.commits[cirun.branches["main"]].files
    return [files.get(name) for name in (".access.yml", ".cirun.global.yml")]


@pytest.mark.sandbox  # no OpenStack, but some thirty runs of OpenTofu
def test_from_a_request_to_a_runner_and_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who knows the format of requests only; through the real OpenTofu and its provider."""
    tool_with_github()
    monkeypatch.setenv("CF_INFRA_KEY_FILE", world.key())
    request = world.root.parent / "request.yml"
    known = ["--requested-by", "alice", "--reason", "CUDA tests", "--request", "https://example.org/1"]
    alice = world.github.state.add_member("alice")
    world.numpy.collaborators[alice.id] = "maintain"
    world.grants()

    def settled() -> Any:
        world("plan")
        ran = world.run("apply", "--root", str(world.root), "--format", "json")
        assert ran.code == 0 and TOKEN not in ran.out + ran.err, ran.err
        return ran.json()["stacks"]

    def clean() -> None:
        assert world.json("audit")["findings"] == []

    settled()
    clean()
    before = lists(world)

    request.write_text(REQUEST)
    world("import", "requests", str(request), *known, "--expires", "2027-06-01")
    settled()
    world("activate", "numpy")
    world.merge()
    clean()
    found = world.json("explain", "numpy", "gpu-large", "--user", "alice", "--live")
    chain: Any = found["chain"]
    assert found["allowed"] is True
    assert {s["step"]: s["outcome"] for s in chain if s["step"] in ("who", *LIVE)} == dict.fromkeys(
        ("who", *LIVE), "yes"
    )
    assert "triggers: [push, pull_request]" in str(world.file(CONFIG))

    request.write_text(REQUEST + "revoke: true\n")
    world("import", "requests", str(request), *known)
    [applied] = settled()
    [receipt] = applied["receipts"]
    assert {place["place"] for place in receipt["gone_from"]} == {
        "access list, cirun-gpu-large",
        "Cirun: active for conda-forge/numpy-feedstock",
    }
    assert lists(world) == before and not world.is_active
    clean()
    assert receipt["manual"] == [
        "take back the lines in the feedstock, as far as no grant asks for them: cf-infra deactivate numpy"
    ]
    world("deactivate", "numpy")
    world.merge()
    gone = world.json("explain", "numpy", "gpu-large", "--user", "alice", "--live")
    chain = gone["chain"]
    assert [s["step"] for s in chain if s["outcome"] == "no"] == ["grant"]
    clean()
    assert lists(world) == before and not world.is_active
    assert world.file(CONFIG) == CONFIG_BEFORE and world.file(BUILD_CONFIG) is None
