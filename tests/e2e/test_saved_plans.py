"""apply takes a saved plan and nothing else, and only while everything is as it was when the plan was made."""

from __future__ import annotations

import shutil
import subprocess

from scene import JSON, Scene, playing

SAVED, ELSE = "saved", "saved-else"
JOB: JSON = {"feedstock": "one", "resources": ["gpu-job"]}
OTHER: JSON = {"feedstock": "two", "resources": ["gpu-job"]}


@playing(minutes=1.5)
def test_only_a_plan_that_still_holds_is_applied(scene: Scene) -> None:
    scene.stack(SAVED)
    scene.stack(ELSE, like="plain")
    scene.grants(JOB)
    git(scene, "init", "-q")
    commit(scene, "first")
    assert scene.apply(code=1).codes == ["no-plan"]
    assert scene.apply(SAVED, code=1).codes == ["no-plan"]
    assert scene.run("apply", "unknown", code=1).codes == ["no-plan"]

    names_what_changed(scene)
    the_plan_file_itself(scene)
    assert scene.left_of(SAVED) == [], "nothing was applied so far"
    the_last_plan_counts_and_only_once(scene)
    who_may_start_jobs_is_part_of_the_plan(scene)


def git(scene: Scene, *arguments: str) -> str:
    who = ["-c", "user.name=A test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", scene.root, *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(scene: Scene, message: str) -> str:
    git(scene, "add", "grants.yaml", "stacks")
    git(scene, "commit", "-q", "--allow-empty", "-m", message)
    return git(scene, "rev-parse", "HEAD")


def stale(scene: Scene) -> str:
    done = scene.apply(SAVED, code=1)
    assert done.codes == ["stale-plan"]
    told = done.detail("stale-plan")
    assert told.endswith("cf-infra plan saved"), "the way out"
    return told


def names_what_changed(scene: Scene) -> None:
    scene.plan(SAVED)
    scene.grants(JOB, {"feedstock": "two", "resources": ["gpu-own"], "stack": SAVED})
    assert "grants.yaml changed since" in stale(scene)
    scene.grants(JOB)
    scene.stack(SAVED, lambda text: text.replace("10.58.0.0/24", "10.58.1.0/24"))
    assert "stacks/saved.yaml changed since" in stale(scene)
    scene.stack(SAVED)
    before = git(scene, "rev-parse", "HEAD")
    after = commit(scene, "second")
    assert f"the commit was {before[:12]} and is {after[:12]}" in stale(scene)
    git(scene, "reset", "-q", "--soft", before)


def the_plan_file_itself(scene: Scene) -> None:
    plan = scene.root / "build" / SAVED / "plan" / "tofu.plan"
    whole = plan.read_bytes()
    plan.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert "the plan file is not the one that was saved" in stale(scene)
    plan.write_bytes(whole[: len(whole) // 2])
    assert "the plan file is not the one that was saved" in stale(scene), "half-written"
    plan.write_bytes(whole)
    beside = plan.with_name("record.json")
    saved = beside.read_text()
    beside.write_text(saved.replace('"refusals": []', '"refusals": [["x", "y", "z"]]'))
    assert "what stands beside the plan file is not what was saved" in stale(scene), "edited"
    beside.write_text(saved)
    scene.plan(ELSE)
    shutil.copy(scene.root / "build" / ELSE / "plan" / "tofu.plan", plan)
    assert "the plan file is not the one that was saved" in stale(scene)
    shutil.copytree(scene.root / "build" / ELSE / "plan", plan.parent, dirs_exist_ok=True)
    assert "another" in stale(scene) or "damaged" in stale(scene)
    (scene.root / "build" / SAVED / "plan" / "record.json").write_text("{")
    assert "damaged" in stale(scene)
    plan.unlink()
    assert scene.apply(SAVED, code=1).codes == ["no-plan"]


def the_last_plan_counts_and_only_once(scene: Scene) -> None:
    first = scene.plan(SAVED).stack(SAVED)
    second = scene.plan(SAVED).stack(SAVED)
    assert first["review_digest"] == second["review_digest"] and first["plan_digest"] != second["plan_digest"]
    scene.apply(SAVED)
    assert "project cf-saved-project" in scene.left_of(SAVED)
    assert scene.apply(SAVED, code=1).codes == ["no-plan"]
    scene.nothing_to_do(SAVED)


def who_may_start_jobs_is_part_of_the_plan(scene: Scene) -> None:
    """A grant that needs no resource of its own still opens a machine to somebody: it is not let in unplanned."""
    scene.grants(JOB, OTHER)
    assert "grants.yaml changed since" in stale(scene)
    scene.grants({**JOB, "roles": [], "users": ["somebody-else"]})
    assert "grants.yaml changed since" in stale(scene)
    assert "somebody-else" not in delivered(scene) and "two-feedstock" not in delivered(scene)
    scene.grants(JOB, OTHER)
    scene.plan(SAVED)
    scene.apply(SAVED)
    assert "two-feedstock" in delivered(scene)


def delivered(scene: Scene) -> str:
    return (scene.state(SAVED) / "delivered" / ".access.yml").read_text()
