"""What a killed run made besides servers, and never wrote down: the next run finds it by its marks and converges."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess

from real_tofu import Place
from scene import JSON, PROJECT, Process, Scene, actions, descendants, playing, server_actions

from cf_infra import keys, tofu

STRAYS = "strays"
# The header of an empty disk, as in test_life.py.
QCOW2 = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 20).ljust(1 << 16, b"\0")
GPU: list[JSON] = [{"feedstock": name, "resources": ["gpu-own"]} for name in ("first", "second")]
JOB: JSON = {"feedstock": "third", "resources": ["gpu-job"]}
FIRST, SECOND = "first-feedstock/gpu-own", "second-feedstock/gpu-own"


@playing(minutes=4)
def test_nothing_that_was_made_is_lost(scene: Scene) -> None:
    # `max: 1` on demand beside two machines of two GPUs: the third GPU is declared for this test, and is not there.
    scene.stack(STRAYS, lambda text: text.replace("gpus: [", "gpus: [{model: a10}, "))
    scene.write("images/own.img", "").write_bytes(QCOW2)
    scene.grants(*GPU, JOB)
    everything = the_first_apply_is_killed(scene)
    what_servers_stand_on_is_still_known(scene, everything)
    what_servers_stand_on_is_lost(scene, everything)


def the_first_apply_is_killed(scene: Scene) -> list[str]:
    """Both GPUs are taken, and the state knows little or nothing; everything is there once afterwards."""
    scene.plan()

    def kill(process: Process) -> None:
        scene.wait("both servers", lambda: len(scene.servers(STRAYS)) == 2)
        process.kill(whole=True)

    scene.run("apply", code=-signal.SIGKILL, during=kill)
    scene.wait(
        "servers that run", lambda: {s["status"] for s in scene.servers(STRAYS).values()} == {"ACTIVE"}
    )
    scene.converge()
    assert {s["status"] for s in scene.servers(STRAYS).values()} == {"ACTIVE"} and len(scene.ids(STRAYS)) == 2
    everything = scene.left_of(STRAYS)
    assert len(everything) == len(set(everything)), "something was made twice"
    assert {thing.split()[0] for thing in everything} == {
        *("project", "user", "flavor", "network", "subnet", "router", "group", "image", "server")
    }
    return everything


def what_servers_stand_on_is_still_known(scene: Scene, everything: list[str]) -> None:
    """Lost: the last of what an apply makes, of every kind. One server is adopted as it is, the rest is made anew."""
    before = scene.ids(STRAYS)
    forget(
        scene,
        f'module.machine.openstack_compute_instance_v2.this["{FIRST}"]',
        'module.credential.openstack_identity_application_credential_v3.this["watcher/283"]',
        "module.network.openstack_networking_router_interface_v2.this[0]",
        "module.network.openstack_networking_router_v2.this[0]",
        'module.network.openstack_networking_secgroup_rule_v2.egress["IPv4"]',
        'module.flavor.openstack_compute_flavor_access_v2.this["gpu-own"]',
        'module.flavor.openstack_compute_flavor_v2.this["gpu-job"]',
        'module.image.openstack_images_image_v2.this["own"]',
        'module.user.openstack_identity_user_v3.this["cirun/283"]',
    )
    row = scene.plan().stack(STRAYS)
    assert server_actions(row) == {FIRST: "update"}
    assert {a for address, a in actions(row).items() if address.startswith("stray:")} == {"delete"}
    scene.apply()
    scene.nothing_to_do()
    assert scene.ids(STRAYS) == before
    assert scene.left_of(STRAYS) == everything


def what_servers_stand_on_is_lost(scene: Scene, everything: list[str]) -> None:
    """Lost: the subnet, all above it, a flavor that nobody is granted any more. The servers go and come anew."""
    before = scene.ids(STRAYS)
    forget(
        scene,
        "module.machine.openstack_compute_instance_v2.this",
        "module.network.openstack_networking_router_interface_v2.this",
        "module.network.openstack_networking_subnet_v2.this",
        'module.flavor.openstack_compute_flavor_access_v2.this["gpu-job"]',
        'module.flavor.openstack_compute_flavor_v2.this["gpu-job"]',
    )
    scene.grants(*GPU)
    scene.converge()
    after = scene.ids(STRAYS)
    assert set(after) == {FIRST, SECOND} and not set(after.values()) & set(before.values())
    assert scene.left_of(STRAYS) == [
        t for t in everything if t not in ("flavor cf-strays-gpu-job", "image cf-strays-own")
    ]


@playing(minutes=0.5)
def test_what_is_written_during_a_first_apply_is_whole(scene: Scene) -> None:
    """OpenTofu writes its state 20 seconds after the first change, not only the last change of those seconds."""

    def sleeping(seconds: int) -> JSON:
        return {"input": "x", "provisioner": [{"local-exec": {"command": f"sleep {seconds}"}}]}

    place = Place(scene.base / "place", tofu.find(PROJECT))
    place.write({"early": {"input": "x"}, "late": sleeping(21), "never": sleeping(60)})
    run = place.tofu()
    run.init(place.state)
    run.begin(place.state)
    run.plan(place.saved)
    before = serial(place)
    with place.driver("tofu.apply(place.saved)") as driver:
        scene.wait("a snapshot", lambda: serial(place) not in (before, None), 60)
        for pid in [*descendants(driver.pid), driver.pid]:
            os.kill(pid, signal.SIGKILL)
    assert place.addresses() == ["terraform_data.early", "terraform_data.late"]


def serial(place: Place) -> int | None:
    """The number of a state; None while it is being written."""
    with contextlib.suppress(ValueError):
        return int(json.loads(place.state.read_bytes())["serial"])
    return None


def forget(scene: Scene, *addresses: str) -> None:
    """Take resources out of the state, as if a run had been killed before it wrote them down."""
    tool = tofu.find(PROJECT)
    key = keys.encryption_environment(keys.KeyFile(scene.key), STRAYS, os.environ)
    done = subprocess.run(
        [tool.tofu, "state", "rm", *addresses],
        cwd=scene.root / "build" / STRAYS,
        env=tofu.child_environment(tool, key, os.environ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
