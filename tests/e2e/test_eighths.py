"""One host cut in eighths: eight machines fit, a ninth is refused by us, and by Nova if the host is not as declared."""

from __future__ import annotations

from scene import JSON, Scene, actions, playing, server_actions

EIGHTHS = "eighths"
PAIRS: list[JSON] = [
    {"feedstock": name, "resources": ["gpu-eighth"], "count": 2} for name in ("one", "two", "three", "four")
]
NINTH: JSON = {"feedstock": "ninth", "resources": ["gpu-eighth"]}
# The same size in numbers: a ninth of nine GPUs would be another one.
NUMBERS = "{gpus: 1, vcpus: 6, memory_gib: 60, disk_gib: 250}"


@playing(minutes=2.5)
def test_eight_eighths_and_a_ninth(scene: Scene) -> None:
    scene.stack(EIGHTHS)
    scene.grants(*PAIRS, NINTH)
    ninth_is_refused(scene)
    scene.grants(*PAIRS)
    scene.plan()
    scene.apply()
    scene.nothing_to_do()
    found = scene.servers(EIGHTHS)
    assert len(found) == 8 and {server["status"] for server in found.values()} == {"ACTIVE"}
    assert {server["flavor"]["ram"] for server in found.values()} == {61_440}
    gpus = [gpu for server in found.values() for gpu in scene.gpus(server["id"])]
    assert len(set(gpus)) == 8 and all(gpu.startswith("eighths-01_") for gpu in gpus)
    the_host_is_smaller_than_declared(scene)


def ninth_is_refused(scene: Scene) -> None:
    for command in ("check", "plan"):
        done = scene.run(command, "--format", "json", code=1)
        assert done.codes == ["over-capacity"]
        assert "eighths-01" in done.detail("over-capacity")
    assert scene.left_of(EIGHTHS) == [] and not (scene.root / "build").exists(), "nothing is written"


def the_host_is_smaller_than_declared(scene: Scene) -> None:
    """The stack file claims a ninth GPU. Nova says no, apply says what Nova says, and nobody else is disturbed."""
    before = scene.ids(EIGHTHS)
    larger = 'gpus:\n      - {model: h100, pci: "e5:00.0", iommu_group: 9}'
    scene.stack(
        EIGHTHS,
        lambda text: text.replace("gpus:", larger, 1)
        .replace("1/8", NUMBERS)
        .replace("vcpus: 56", "vcpus: 62")
                .replace("memory_gib: 512", "memory_gib: 572").replace("disk_gib: 2000", "disk_gib: 2250"))  # fmt: skip
    scene.grants(*PAIRS, NINTH)
    assert server_actions(scene.plan().stack(EIGHTHS)) == {"ninth-feedstock/gpu-eighth": "create"}
    done = scene.apply(code=1)
    assert "server-fault" in done.codes
    told = done.detail("server-fault")
    assert (
        "ninth-feedstock/gpu-eighth" in told
        and "No valid host was found" in told
        and "cf-infra plan eighths" in told
    )
    assert done.stack(EIGHTHS)["failed"] is True
    status = scene.run("status", "--live", "--format", "json").stack(EIGHTHS)
    states = {server["grant"]: server["status"] for server in status["servers"]}
    assert states.pop("ninth-feedstock/gpu-eighth") == "ERROR" and set(states.values()) == {"ACTIVE"}
    assert not status["complete"]

    scene.stack(EIGHTHS)
    scene.grants(*PAIRS)
    row = scene.plan().stack(EIGHTHS)
    assert server_actions(row) == {"ninth-feedstock/gpu-eighth": "delete"}
    # Nova refuses a quota below what is in use: the server has to go first, in the same run.
    assert actions(row)["module.project.openstack_compute_quotaset_v2.this"] == "update"
    scene.apply()
    scene.nothing_to_do()
    assert scene.ids(EIGHTHS) == before
