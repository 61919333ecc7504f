"""A run that is killed or interrupted: the next one goes on from what is really there, and no GPU is lost."""

from __future__ import annotations

import signal
from pathlib import Path

from scene import JSON, Process, Scene, playing, server_actions

KILLED = "killed"


def own(feedstock: str) -> JSON:
    return {"feedstock": feedstock, "resources": ["gpu-own"]}


def key(feedstock: str) -> str:
    return f"{feedstock}-feedstock/gpu-own"


@playing(minutes=4)
def test_a_killed_run_on_a_full_host(scene: Scene) -> None:
    scene.stack(KILLED)
    scene.grants()
    scene.plan()
    scene.apply()
    scene.grants(own("first"), own("second"), own("third"), own("fourth"))
    scene.plan()
    killed_while_servers_start(scene)
    made = scene.ids(KILLED)
    assert len(made) == 4, "all GPUs are taken"
    lock = scene.state(KILLED) / ".terraform.tfstate.lock.info"
    assert lock.exists(), "the dead run left its lock behind"

    adopted_or_removed(scene, made)
    assert not lock.exists()
    only_we_are_killed(scene)
    interrupted(scene)
    a_lost_state_is_no_permission(scene)


def killed_while_servers_start(scene: Scene) -> None:
    """cf-infra, OpenTofu and its provider are all killed when Nova has all servers and the state has none."""

    def kill(process: Process) -> None:
        scene.wait("four servers", lambda: len(scene.servers(KILLED)) == 4)
        assert len(process.kill(whole=True)) >= 2

    done = scene.run("apply", code=None, during=kill)
    assert done.code == -signal.SIGKILL
    scene.wait("servers that run", lambda: statuses(scene) == {"ACTIVE"})


def statuses(scene: Scene) -> set[str]:
    return {server["status"] for server in scene.servers(KILLED).values()}


def adopted_or_removed(scene: Scene, made: dict[str, str]) -> None:
    """Three are still wanted and are adopted as they are; the fourth has to make room for another."""
    assert {found["subject"] for found in scene.audit() if found["kind"] == "orphan"} == set(made)
    scene.grants(own("first"), own("second"), own("third"), own("newcomer"))
    done = scene.plan()
    assert server_actions(done.stack(KILLED)) == {
        key("first"): "update",
        key("second"): "update",
        key("third"): "update",
        key("newcomer"): "create",
    }
    for name in ("first", "second", "third"):
        assert f"server of {key(name)} ({made[key(name)]}) is in no state: apply adopts it" in done.err
    assert "(nobody is granted it): apply removes it" in done.err
    assert scene.ids(KILLED) == made, "a plan changes nothing"
    scene.apply()
    after = scene.ids(KILLED)
    assert {k: v for k, v in after.items() if k in made} == {
        k: v for k, v in made.items() if k != key("fourth")
    }
    assert set(after) == {key(name) for name in ("first", "second", "third", "newcomer")}
    assert statuses(scene) == {"ACTIVE"} and sorted(len(scene.gpus(i)) for i in after.values()) == [
        1,
        1,
        1,
        1,
    ]
    scene.nothing_to_do()


def only_we_are_killed(scene: Scene) -> None:
    """OpenTofu goes on alone and ends its work; until then nobody else gets at the state."""
    scene.grants(own("first"), own("second"), own("third"))
    gone = scene.ids(KILLED)[key("newcomer")]
    scene.plan()
    left: list[int] = []

    def kill(process: Process) -> None:
        scene.wait("the server that goes", lambda: "deleting server" in process.err, pause=0.1)
        left.extend(process.kill(whole=False))

    scene.run("apply", code=-signal.SIGKILL, during=kill)
    refused = scene.plan(code=1)
    assert refused.codes == ["state-locked"]
    tofu = int(refused.detail("state-locked").rpartition("kill -INT ")[2])
    assert tofu in left and "`apply` of" in refused.detail("state-locked")
    scene.wait("the end of OpenTofu", lambda: not any(alive(pid) for pid in left))
    assert not scene.is_there(lambda: scene.cloud.compute.get_server(gone))

    done = scene.converge()
    (receipt,) = done.stack(KILLED)["receipts"]
    assert receipt["grant"] == key("newcomer"), "the proof comes with the run that can give it"
    assert any(gone in place["place"] for place in receipt["gone_from"])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def interrupted(scene: Scene) -> None:
    """One Ctrl-C: what was begun is written down, nothing else is begun, and we say how to go on."""
    before = scene.ids(KILLED)
    scene.grants(own("first"), own("second"), own("third"), own("fourth"))

    def ctrl_c_at_once(process: Process) -> None:
        scene.wait("OpenTofu", lambda: "asking OpenTofu for a plan" in process.err, pause=0.1)
        process.ctrl_c()

    assert scene.run("plan", "--format", "json", code=130, during=ctrl_c_at_once).codes == ["interrupted"]
    assert scene.run("apply", code=1).codes == ["no-plan"], "a plan that was broken off is not saved"
    scene.plan()

    def ctrl_c(process: Process) -> None:
        scene.wait("the new server", lambda: len(scene.servers(KILLED)) == 4)
        process.ctrl_c()

    done = scene.run("apply", "--format", "json", code=130, during=ctrl_c)
    assert done.codes == ["interrupted"], "JSON is printed all the same"
    assert done.stack(KILLED)["failed"] is True
    assert "Stopping: waiting until what was begun has ended and the state is saved." in done.err
    assert done.detail("interrupted").endswith("cf-infra plan && cf-infra apply")
    assert scene.run("apply", code=1).codes == ["no-plan"], "half of a plan is no plan"
    # OpenTofu does not trust a server whose start it did not see: the state has it, marked, and it is made anew.
    assert server_actions(scene.plan().stack(KILLED)) == {key("fourth"): "replace"}
    scene.apply()
    scene.nothing_to_do()
    assert set(scene.ids(KILLED)) == {*before, key("fourth")} and statuses(scene) == {"ACTIVE"}
    assert scene.ids(KILLED).items() >= before.items()


def a_lost_state_is_no_permission(scene: Scene) -> None:
    """Without their state, servers that have worked would have to go and be made anew: that is over the limit."""
    before = scene.ids(KILLED)
    files = [scene.state(KILLED) / name for name in ("terraform.tfstate", "terraform.tfstate.backup")]
    for path in files:
        path.rename(scene.base / path.name)
    assert scene.plan().stack(KILLED)["refused"] is True
    done = scene.apply(code=1)
    assert done.codes == ["too-many-deletes"] and "4 of 4 servers" in done.detail("too-many-deletes")
    for path in files:
        (scene.base / path.name).replace(path)
    scene.nothing_to_do()
    assert scene.ids(KILLED) == before
