"""Taking away: too much at once is planned and shown, and not applied unless somebody allows just that number."""

from __future__ import annotations

import os
import pty
import subprocess

from scene import JSON, PROJECT, Done, Scene, playing, server_actions

LIMITS = "limits"
OWN: list[JSON] = [{"feedstock": name, "resources": ["gpu-own"]} for name in ("one", "two", "three", "four")]
JOB: JSON = {"feedstock": "jobs", "resources": ["gpu-job"]}


@playing(minutes=3)
def test_too_much_at_once_needs_to_be_allowed(scene: Scene) -> None:
    scene.stack(LIMITS)
    scene.grants(*OWN, JOB)
    scene.plan()
    scene.apply()
    refused(scene)
    allowed_by_a_file(scene)
    allowed_at_a_terminal(scene)
    a_whole_stack(scene)


def refused(scene: Scene) -> None:
    """Three of four servers: the plan is saved and marked, and apply does nothing."""
    before = scene.ids(LIMITS)
    scene.grants(OWN[0], JOB)
    row = scene.plan().stack(LIMITS)
    assert row["refused"] is True and row["destroy"] >= 3
    assert (scene.root / "build" / LIMITS / "plan" / "tofu.plan").exists()
    done = scene.apply(code=1)
    assert done.codes == ["too-many-deletes"]
    told = done.detail("too-many-deletes")
    assert "3 of 4 servers, 75.0 %, is over 30 % (from 3 on)" in told and "--allow-destroy limits=3" in told
    assert done.stack(LIMITS) == {"stack": LIMITS, "applied": 0, "failed": True, "receipts": []}
    text = scene.run("plan")
    assert "REFUSED: `limits` would lose too much at once:" in text.out and "cf-infra apply" not in text.err
    assert scene.run("apply", "--yes", code=1).codes == ["too-many-deletes"], (
        "it answers questions and lifts no limit"
    )
    assert scene.ids(LIMITS) == before


def override(scene: Scene, number: int, until: str = "2040-12-31") -> None:
    entry = f"{{stack: {LIMITS}, destroy: {number}, reason: The donor asked for it, until: {until}}}"
    scene.write("overrides.yaml", f"version: 1\noverrides:\n  - {entry}\n")


def allowed_by_a_file(scene: Scene) -> None:
    """A wrong number, and a permission whose time is over, allow nothing."""
    before = scene.ids(LIMITS)
    override(scene, 2)
    assert scene.plan().stack(LIMITS)["refused"] is True
    done = scene.apply(code=1)
    assert done.codes == ["wrong-allowance"] and "--allow-destroy limits=3" in done.detail("wrong-allowance")
    override(scene, 3, until="2040-01-09")
    assert scene.plan().stack(LIMITS)["refused"] is True
    assert scene.ids(LIMITS) == before

    override(scene, 3)
    assert scene.plan().stack(LIMITS)["refused"] is False
    receipts = scene.apply().stack(LIMITS)["receipts"]
    assert sorted(r["grant"] for r in receipts) == sorted(
        f"{n}-feedstock/gpu-own" for n in ("two", "three", "four")
    )
    kept = "one-feedstock/gpu-own"
    assert scene.ids(LIMITS) == {kept: before[kept]}
    (scene.root / "overrides.yaml").unlink()
    scene.nothing_to_do()


def allowed_at_a_terminal(scene: Scene) -> None:
    """`destroy` takes a whole stack, which is always over the limit. --allow-destroy is for people at a terminal."""
    destroy = ("destroy", LIMITS, "--format", "json")
    assert scene.run(*destroy).stack(LIMITS)["refused"] is True
    assert scene.apply(code=1).codes == ["too-many-deletes"]
    piped = scene.run(*destroy, "--allow-destroy", f"{LIMITS}=1", code=64)
    assert piped.codes == ["usage"] and "overrides.yaml" in piped.detail("usage")
    wrong = at_a_terminal(scene, *destroy, "--allow-destroy", f"{LIMITS}=7")
    assert wrong.stack(LIMITS)["refused"] is True
    right = at_a_terminal(scene, *destroy, "--allow-destroy", f"{LIMITS}=1")
    assert right.stack(LIMITS)["refused"] is False
    assert server_actions(right.stack(LIMITS)) == {"one-feedstock/gpu-own": "delete"}
    assert len(scene.ids(LIMITS)) == 1, "`destroy` only plans"


def at_a_terminal(scene: Scene, *arguments: str) -> Done:
    """Run a command whose stdin is a terminal."""
    main, terminal = pty.openpty()
    try:
        done = subprocess.run(scene.command(arguments), stdin=terminal, capture_output=True, text=True, timeout=120,
                              cwd=PROJECT, env=scene.environment())  # fmt: skip
    finally:
        os.close(main)
        os.close(terminal)
    assert done.returncode == 0, done.stdout + done.stderr
    return Done(" ".join(arguments), done.returncode, done.stdout, done.stderr)


def a_whole_stack(scene: Scene) -> None:
    """Its file is gone: planned as a removal of everything, refused; allowed, nothing is left, with receipts."""
    server = scene.ids(LIMITS)["one-feedstock/gpu-own"]
    assert len(scene.left_of(LIMITS)) > 5
    (scene.root / "stacks" / f"{LIMITS}.yaml").unlink()
    scene.grants()
    scene.stack("saved")  # a folder without any stack is no folder of ours
    row = scene.plan(code=None).stack(LIMITS)
    assert row["refused"] is True and server_actions(row) == {"one-feedstock/gpu-own": "delete"}
    assert "too-many-deletes" in scene.apply(LIMITS, code=1).codes and scene.left_of(LIMITS)

    override(scene, 1)
    assert scene.plan().stack(LIMITS)["refused"] is False
    receipts = {
        r["grant"]: [p["place"] for p in r["gone_from"]]
        for r in scene.apply(LIMITS).stack(LIMITS)["receipts"]
    }
    assert any(server in place for place in receipts["one-feedstock/gpu-own"])
    assert receipts["jobs-feedstock/gpu-job"] and any("project" in p for p in receipts[f"stack {LIMITS}"])
    assert scene.left_of(LIMITS) == []
    delivered = scene.state(LIMITS) / "delivered"
    assert not delivered.exists() or list(delivered.iterdir()) == []
    row = scene.run("status", "--format", "json").json["stacks"]
    assert [server for r in row if r["stack"] == LIMITS for server in r["servers"]] == []
    after = scene.plan(code=None).json["stacks"]
    assert [r for r in after if r["stack"] == LIMITS] == [], "there is nothing left to plan"
