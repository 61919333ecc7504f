"""The last mile against the stand-ins: from a grant to a feedstock that builds there, and back; and what goes wrong."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from feedstock_world import CONFIG_BEFORE, LABEL, ORG, TOKEN, World, between_stand_ins, entry
from roots import Runner

from cf_infra.feedstock import BUILD_CONFIG, CONFIG
from cf_infra.journal_file import Journal
from cf_infra.lastmile import BRANCH
from tests.leaks import WATCH

pytestmark = pytest.mark.programs


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    with between_stand_ins(tmp_path, Runner(capsys)) as made:
        for name, value in made.environment().items():
            monkeypatch.setenv(name, value)
        yield made


def test_there_and_back(world: World) -> None:
    """Activated, merged, activated again: nothing to do. Revoked, deactivated, merged: as it was before."""
    first = world.json("activate", "numpy")
    assert world.is_active
    [pull] = world.pulls
    assert str(first["pull_request"]).endswith(f"/pull/{pull.number}")
    assert "self_hosted: true" in str(world.file(CONFIG, BRANCH)) and "# kept" in str(
        world.file(CONFIG, BRANCH)
    )
    assert LABEL in str(world.file(BUILD_CONFIG, BRANCH))
    assert pull.body is not None and "Rerender by hand" in pull.body and "https://example.org/1" in pull.body
    again = world.json("activate", "numpy")
    assert again["pull_request"] == first["pull_request"] and len(world.pulls) == 1
    assert len(world.numpy.history(BRANCH)) == 3, "no commit more than one for each file"
    world.merge()
    assert world.states("activate", "numpy") == {"cirun": "done", "token": "manual", "feedstock": "done"}

    world.grants()
    back = world.json("deactivate", "numpy")
    assert not world.is_active and back["checked_at"]
    world.merge()
    assert world.file(CONFIG) == CONFIG_BEFORE and world.file(BUILD_CONFIG) is None
    assert world.states("deactivate", "numpy") == {"cirun": "done", "feedstock": "done", "token": "manual"}
    told = [e for e in Journal(world.root / ".state", print).read().events if e["event"] != "begun"]
    assert [e["event"] for e in told] == ["activated"] * 3 + ["deactivated"] * 2
    assert {e["repository"] for e in told} == {"numpy-feedstock"}
    assert told[0]["done"] == ["cirun"] and told[2]["done"] == ["cirun", "feedstock"]


def test_a_dry_run_changes_nothing(world: World) -> None:
    ran = world("activate", "numpy", "--dry-run")
    assert "+  self_hosted: true" in ran.out and "+github_actions_labels:" in ran.out
    assert not world.is_active and not world.pulls and BRANCH not in world.numpy.branches
    assert not (world.root / ".state" / "journal.jsonl").exists()
    assert all(entry.method == "GET" for entry in world.github.log)
    world("activate", "numpy")
    world.grants()
    world("deactivate", "numpy", "--dry-run")
    assert world.is_active and len(world.pulls) == 1


def test_a_pull_request_that_nobody_merged_is_closed_by_the_revocation(world: World) -> None:
    world("activate", "numpy")
    world.grants()
    steps = {step["step"]: step for step in world.json("deactivate", "numpy")["steps"]}
    assert not world.pulls
    assert steps["feedstock"]["state"] == "done" and "closed" in steps["feedstock"]["why"]


def test_cirun_stays_on_while_another_grant_holds(world: World) -> None:
    world.grants(entry("numpy", "gpu-large"), entry("numpy", "cpu-large"))
    world("activate", "numpy", "gpu-large")
    world.merge()
    world.grants(entry("numpy", "cpu-large"))
    assert world.states("deactivate", "numpy") == {"cirun": "done", "feedstock": "todo"}
    assert world.is_active
    assert "cirun-cpu-large" in str(world.file(BUILD_CONFIG, BRANCH)) and LABEL not in str(
        world.file(BUILD_CONFIG, BRANCH)
    )


def test_deactivate_never_switches_on(world: World) -> None:
    world("deactivate", "numpy")
    assert not world.is_active


def test_of_several_resources_one_is_named(world: World) -> None:
    world.grants(entry("numpy", "gpu-large", "cpu-large"))
    ran = world("activate", "numpy", code=1)
    assert "which-resource" in ran.err and f"cf-infra activate numpy {LABEL}" in ran.err
    assert not world.pulls
    world("activate", "numpy", "cpu-large")
    assert "cirun-cpu-large" in str(world.file(BUILD_CONFIG, BRANCH))
    assert "timeout_minutes: 360" in str(world.file(CONFIG, BRANCH))


def test_a_run_that_broke_off_is_finished_by_the_next(world: World) -> None:
    world.github.fail_next(500, times=9, matching="/contents/recipe")
    failed = world.json("activate", "numpy", code=1)
    states = {step["step"]: step["state"] for step in failed["steps"]}
    assert states == {"cirun": "done", "token": "manual", "feedstock": "todo"}
    assert "service-silent" in {d["code"] for d in failed["diagnostics"]}
    world.github.faults.clear()
    world("activate", "numpy")
    assert len(world.pulls) == 1


@pytest.mark.parametrize(("variable", "manual"), [("GITHUB_TOKEN", "feedstock"), ("CIRUN_API_KEY", "cirun")])
def test_without_a_login_the_rest_is_done_and_the_step_is_left_to_people(
    world: World, monkeypatch: pytest.MonkeyPatch, variable: str, manual: str
) -> None:
    monkeypatch.delenv(variable)
    found = world.json("activate", "numpy")
    steps = {step["step"]: step for step in found["steps"]}
    assert steps[manual]["state"] == "manual" and variable in steps[manual]["why"] + steps[manual]["how"]
    assert world.is_active == (manual != "cirun") and bool(world.pulls) == (manual != "feedstock")
    assert "by-hand" in {d["code"] for d in found["diagnostics"]}


def test_what_a_refused_file_needs_is_told_and_the_other_file_is_proposed(world: World) -> None:
    world.github.state.commit(world.numpy, {CONFIG: "provider: &x {win: azure}\nosx: *x\n"}, "Anchors")
    ran = world("activate", "numpy")
    assert "left alone" in ran.out and "self_hosted: true" in ran.out
    [pull] = world.pulls
    assert pull.body is not None and "**Not to be merged yet**" in pull.body
    assert world.file(CONFIG, BRANCH) == world.file(CONFIG)


# ------------------------------------------------------------------------------------------------ repositories


def test_a_repository_that_was_renamed_is_left_alone(world: World) -> None:
    world.github.state.move(world.numpy, "numpy2-feedstock")
    ran = world("activate", "numpy", code=1)
    assert "is called `conda-forge/numpy2-feedstock` now" in ran.err


def test_a_repository_that_was_archived_is_a_manual_step(world: World) -> None:
    world.numpy.archived = True
    assert world.states("activate", "numpy")["feedstock"] == "manual"


def test_a_repository_that_is_gone(world: World) -> None:
    world("activate", "numpy")
    world.github.state.remove(world.numpy)
    assert "not at GitHub" in world("activate", "numpy", code=1).err
    world.grants()
    world.cirun.state.github = None
    assert world.states("deactivate", "numpy")["feedstock"] == "done"


def test_a_repository_that_is_no_feedstock_needs_cirun_only(world: World) -> None:
    world.github.state.add_repository("admin-migrations")
    world.grants(entry("x").replace("feedstock: x", "repo: admin-migrations"))
    assert world.states("activate", "admin-migrations") == {"cirun": "done"}


# ------------------------------------------------------------------------------------------------------- token


def command(root: Path, name: str, body: str) -> str:
    path = root / name
    WATCH.holds(path).write_text(f"#!{sys.executable}\nimport os, sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_token_is_made_once_by_the_configured_commands(world: World, tmp_path: Path) -> None:
    log = tmp_path / "log"
    told = f"open({str(log)!r}, 'a').write(' '.join(sys.argv[1:]) + ' ' + str(os.listdir('.')) + chr(10))"
    smithy = command(tmp_path, "smithy", f"{told}\nprint('{TOKEN}')")
    world.settings(
        f"feedstock_token:\n  - ['{smithy}', generate, --feedstock_directory, '{{repository}}']\n"
        f"  - ['{smithy}', register, --organization, '{{organisation}}', 'x; touch {tmp_path}/pwned $(id)']\n"
    )
    assert world.states("activate", "numpy", "--dry-run")["token"] == "todo"
    assert not log.exists()
    assert world.states("activate", "numpy")["token"] == "done"
    generated, registered = log.read_text().splitlines()
    assert generated == "generate --feedstock_directory numpy-feedstock ['numpy-feedstock']"
    assert registered.startswith("register --organization conda-forge x; touch"), "no shell sees it"
    assert not (tmp_path / "pwned").exists()
    assert world.states("activate", "numpy")["token"] == "done"
    assert len(log.read_text().splitlines()) == 2, "a token is not made twice"
    world("activate", "numpy", "--new-token")
    assert len(log.read_text().splitlines()) == 4


def test_a_command_gets_only_what_is_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    smithy = command(tmp_path, "smithy", f"open({str(log)!r}, 'w').write(' '.join(sorted(os.environ)))")
    monkeypatch.setenv("GH_TOKEN", "something-that-conda-smithy-needs")
    world.settings(f"feedstock_token: [['{smithy}', generate]]\ncommand_variables: [GH_TOKEN, NOT_THERE]\n")
    world("activate", "numpy")
    names = set(log.read_text().split())
    assert {"PATH", "HOME", "GH_TOKEN"} <= names
    assert not names & {"GITHUB_TOKEN", "CIRUN_API_KEY", "CIRUN_API_ENDPOINT", "NOT_THERE"}


@pytest.mark.parametrize(
    ("body", "why"), [(f"print('{TOKEN}'); sys.exit(3)", "exit status 3"), (None, "cannot be started")]
)
def test_a_command_that_fails_fails_the_run_and_shows_nothing(
    world: World, tmp_path: Path, body: str | None, why: str
) -> None:
    name = command(tmp_path, "smithy", body) if body else str(tmp_path / "not-there")
    world.settings(f"feedstock_token: [['{name}', generate]]\n")
    ran = world("activate", "numpy", code=1)
    assert why in ran.err and "command-failed" in ran.err
    assert world.pulls, "the other steps are done"
    assert not (world.root / ".state/feedstocks/numpy-feedstock.json").exists()


def test_without_commands_the_step_is_a_copyable_command(world: World) -> None:
    ran = world("activate", "numpy")
    assert "conda smithy register-feedstock-token" in ran.out and "--with-github-actions" in ran.out
    assert "by-hand" in ran.err


# --------------------------------------------------------------------------------------------- wrong questions


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["activate", "scipy"], 1, "No entry of grants.yaml holds for `scipy-feedstock`"),
        (["activate", "conda-forge/numpy-feedstock"], 64, "write numpy-feedstock"),
        (["activate", "../../etc/passwd"], 64, "write passwd"),
        (["activate", "numpy; rm -rf ~"], 64, "must be a feedstock's name"),
        (["activate", "numpy", "gpu-huge"], 64, "No stack offers `gpu-huge`"),
        (["activate", "numpy", "cpu-large"], 1, "has no grant for `cpu-large`"),
        (["activate"], 64, "FEEDSTOCK"),
        (["deactivate", "numpy", "gpu-large"], 64, "gpu-large"),
        (["deactivate", "-numpy"], 64, ""),
    ],
)
def test_wrong_questions_change_nothing(world: World, arguments: list[str], code: int, words: str) -> None:
    ran = world(*arguments, code=code)
    assert words in ran.err and ran.out == ""
    assert not world.cirun.log and not world.github.log


def test_a_faulty_folder_changes_nothing(world: World) -> None:
    world.grants(entry().replace("granted: 2026-01-01", "granted: yesterday"))
    assert "grants.yaml:" in world("activate", "numpy", code=1).err
    assert not world.cirun.log and not world.github.log


def test_an_expired_grant_does_not_count(world: World) -> None:
    world.grants(entry().replace("2027-01-01", "2026-05-31"))
    assert "no-grant" in world("activate", "numpy", code=1).err
    world.cirun.state.repositories[f"{ORG}/numpy-feedstock"] = True
    world("deactivate", "numpy")
    assert not world.is_active


def test_cirun_that_refuses_or_talks_nonsense(world: World) -> None:
    for fault, code in (((401, {}), "token-refused"), ((200, b"<html>"), "service-answer")):
        world.cirun.state.faults.append(fault)
        found = world.json("activate", "numpy", code=1)
        assert code in {d["code"] for d in found["diagnostics"]}


def test_a_token_that_may_not_write_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.github.state.add_token("weak-token", "operator", scopes=["read:org"])
    monkeypatch.setenv("GITHUB_TOKEN", "weak-token")
    ran = world("activate", "numpy", code=1)
    assert "token-lacks-scope" in ran.err or "not-at-github" in ran.err


def test_markdown_is_for_an_issue(world: World) -> None:
    ran = world("activate", "numpy", "--dry-run", "--format", "markdown")
    assert ran.out.startswith("**`numpy-feedstock`**\n") and "```diff\n" in ran.out
