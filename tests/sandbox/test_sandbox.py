"""The sandbox, started for real: its scheduler enforces the declared hardware, and it cleans up after itself.

Every class has its own sandbox, in a folder and on ports of its own; the tests of a class build on each other.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from openstack.config import OpenStackConfig
from openstack.connection import Connection

from cf_infra import sandbox
from cf_infra.sandbox import Flavor, Gpu, Host, SandboxError, Seed

pytestmark = [
    pytest.mark.sandbox,
    # openstacksdk announces its own plans at every connection and with every resource.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]

V100 = "tesla-v100"
FOUR_GPUS = Host(
    name="gpu-01",
    vcpus=48,
    memory_mib=500 * 1024,
    disk_gib=2000,
    gpus=tuple(Gpu(V100, address) for address in ("a3:00.0", "c3:00.0", "27:00.0", "44:00.0")),
)
EIGHT_GPUS = Host(
    name="gpu-01",
    vcpus=48,
    memory_mib=524_288,
    disk_gib=2000,
    gpus=tuple(Gpu(V100, f"{bus:02x}:00.0") for bus in range(8)),
)
SEED = Seed(
    images=("ubuntu-2204-nvidia-20230914",),
    flavors=(
        Flavor("gpu_large", vcpus=4, memory_mib=12_288, disk_gib=60, gpu_alias=V100, gpus=1),
        Flavor("gpu_eighth", vcpus=6, memory_mib=61_440, disk_gib=100, gpu_alias=V100, gpus=1),
        Flavor("ada", vcpus=1, memory_mib=512, disk_gib=1, gpu_alias="rtx4000-ada", gpus=1),
        Flavor("ci_16", vcpus=16, memory_mib=1024, disk_gib=1),
    ),
    external_network="public",
)
ACTIVE, REFUSED = ("ACTIVE", ""), ("ERROR", "No valid host was found. ")


@dataclass
class Sandbox:
    """One sandbox under test."""

    state: Path
    port: int
    said: list[str] = field(default_factory=list)

    def up(self, *hosts: Host, seed: Seed = SEED) -> sandbox.Endpoints:
        return sandbox.up(self.state, self.port, hosts, seed, self.said.append)

    def down(self) -> None:
        sandbox.down(self.state, self.said.append)

    def cloud(self, name: str = "sandbox-member") -> Cloud:
        return Cloud(self.state / "clouds.yaml", name)

    def pids(self) -> dict[str, int]:
        return {
            file.stem: json.loads(file.read_text())["pid"] for file in (self.state / "run").glob("*.json")
        }


class Cloud:
    """A connection as one of the two users, closed at the end of a `with`."""

    def __init__(self, clouds_yaml: Path, name: str) -> None:
        config = OpenStackConfig(config_files=[str(clouds_yaml)], load_envvars=False)
        self.connection = Connection(config=config.get_one(name))

    def __enter__(self) -> Connection:
        return self.connection

    def __exit__(self, *_exception: object) -> None:
        self.connection.close()


@pytest.fixture(scope="class")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that does not exist yet, and is stopped in the end."""
    made = Sandbox(tmp_path_factory.mktemp("sandbox") / "state", free_base_port())
    yield made
    made.down()


def free_base_port() -> int:
    """The first of five free ports that follow each other."""
    for base in range(20_000 + os.getpid() % 1000 * 10, 32_000, 10):
        if all(is_free(base + offset) for offset in range(5)):
            return base
    raise AssertionError("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def network(cloud: Connection) -> str:
    """A network with a router to the outside, as a tenant makes it."""
    made = cloud.network.create_network(name="ci")
    subnet = cloud.network.create_subnet(network_id=made.id, ip_version=4, cidr="10.20.0.0/24")
    outside = cloud.network.find_network("public", ignore_missing=False)
    router = cloud.network.create_router(name="ci", external_gateway_info={"network_id": outside.id})
    cloud.network.add_interface_to_router(router, subnet_id=subnet.id)
    return str(made.id)


def boot(cloud: Connection, network_id: str, flavors: Sequence[str], **options: Any) -> list[Any]:
    """Ask for one server per flavor, all at once, and wait until each is ACTIVE or in ERROR."""
    ids = {flavor.name: flavor.id for flavor in cloud.compute.flavors()}
    image = next(iter(cloud.image.images(name=SEED.images[0])))
    asked = [
        cloud.compute.create_server(
            name=flavor, flavor_id=ids[flavor], image_id=image.id, networks=[{"uuid": network_id}], **options
        )
        for flavor in flavors
    ]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        servers = {server.id: server for server in cloud.compute.servers()}
        if all(servers[server.id].status in ("ACTIVE", "ERROR") for server in asked):
            return [servers[server.id] for server in asked]
        time.sleep(1)
    raise AssertionError([(server.name, server.status) for server in servers.values()])


def outcome(server: Any) -> tuple[str, str]:
    return server.status, (server.fault or {}).get("message", "")


class TestFourGpus:
    """The V100 server, and what happens to a sandbox in its life."""

    def test_up_makes_the_cloud(self, box: Sandbox) -> None:
        endpoints = box.up(FOUR_GPUS)
        assert sandbox.running(box.state)
        assert endpoints.auth_url == f"http://127.0.0.1:{box.port}/v3"
        assert sandbox.env(box.state) == {
            "OS_CLIENT_CONFIG_FILE": str(endpoints.clouds_yaml),
            "OS_CLOUD": "sandbox",
        }
        with box.cloud("sandbox") as admin, box.cloud() as member:
            assert admin.current_project.name == "admin" and member.current_project.name == "donated"
            roles = {
                role["name"]
                for role in member.session.auth.get_access(member.session)._data["token"]["roles"]
            }
            assert roles == {"member", "reader"}
            assert [image.name for image in member.image.images()] == list(SEED.images)
            flavors = {flavor.name: flavor for flavor in member.compute.flavors(get_extra_specs=True)}
            assert set(flavors) == {flavor.name for flavor in SEED.flavors}
            assert flavors["gpu_large"].extra_specs == {"pci_passthrough:alias": "tesla-v100:1"}
            assert (flavors["gpu_large"].vcpus, flavors["gpu_large"].ram, flavors["gpu_large"].disk) == (
                4,
                12_288,
                60,
            )
            outside = member.network.find_network("public", ignore_missing=False)
            subnet = admin.network.get_subnet(outside.subnet_ids[0])
            assert outside.is_router_external and subnet.cidr == "203.0.113.0/24"

    def test_secrets_stay_in_private_files(self, box: Sandbox) -> None:
        for path, mode in {".": 0o700, "sandbox.json": 0o600, "clouds.yaml": 0o600, "log": 0o700}.items():
            assert (box.state / path).stat().st_mode & 0o777 == mode, path
        passwords = json.loads((box.state / "sandbox.json").read_text())["passwords"].values()
        logs = "".join(log.read_text() for log in (box.state / "log").iterdir())
        assert len(logs) > 1000 and not any(password in logs for password in passwords)
        assert not any(password in line for password in passwords for line in box.said)

    def test_exactly_four_servers_get_a_gpu(self, box: Sandbox) -> None:
        user_data = base64.b64encode(b"#cloud-config\nhostname: x\n").decode()
        with box.cloud() as member, box.cloud("sandbox") as admin:
            servers = boot(member, network(member), ["gpu_large"] * 5, user_data=user_data)
            assert Counter(map(outcome, servers)) == {ACTIVE: 4, REFUSED: 1}
            active = next(server for server in servers if server.status == "ACTIVE")
            seen = admin.compute.get_server(active.id)
            assert seen.user_data == user_data and seen.compute_host == "gpu-01"
            assert address(active).startswith("10.20.0.")

    def test_up_again_does_nothing(self, box: Sandbox) -> None:
        before = box.pids()
        box.up(FOUR_GPUS)
        assert box.said[-1] == "The sandbox is running already." and box.pids() == before

    def test_other_hosts_are_refused_while_it_runs(self, box: Sandbox) -> None:
        with pytest.raises(SandboxError) as fault:
            box.up(EIGHT_GPUS)
        assert fault.value.detail == "The sandbox is running with other hosts than asked for."
        assert "sandbox down" in fault.value.hint

    def test_servers_are_still_there_after_down_and_up(self, box: Sandbox) -> None:
        box.down()
        assert not sandbox.running(box.state) and all(is_free(box.port + offset) for offset in range(5))
        box.up(FOUR_GPUS)
        with box.cloud() as member:
            server = next(server for server in member.compute.servers() if server.status == "ACTIVE")
            member.compute.stop_server(server)
            member.compute.wait_for_server(server, status="SHUTOFF", interval=0.5, wait=30)
            member.compute.delete_server(server)
            member.compute.wait_for_delete(server, interval=0.5, wait=30)

    def test_reset_wipes_everything_and_keeps_the_way_in(self, box: Sandbox) -> None:
        clouds = (box.state / "clouds.yaml").read_text()
        # As if the sandbox had been made yesterday: Nova takes a service for dead after a minute without a sign.
        with contextlib.closing(sqlite3.connect(box.state / "template/db/nova_cell1.sqlite")) as database:
            database.execute("UPDATE services SET last_seen_up = datetime('now', '-1 day')")
            database.commit()
        sandbox.reset(box.state, box.said.append)
        assert (box.state / "clouds.yaml").read_text() == clouds
        with box.cloud() as member:
            assert list(member.compute.servers()) == []
            assert [net.name for net in member.network.networks()] == ["public"]
            # The new cloud takes servers at once.
            made = member.network.create_network(name="ci")
            member.network.create_subnet(network_id=made.id, ip_version=4, cidr="10.20.0.0/24")
            (server,) = boot(member, made.id, ["gpu_large"])
            assert outcome(server) == ACTIVE

    def test_down_leaves_a_process_alone_that_has_an_old_number(self, box: Sandbox) -> None:
        record = json.loads((box.state / "run" / "nova.json").read_text())
        box.down()
        foreign = subprocess.Popen(["sleep", "60"], start_new_session=True)
        try:
            (box.state / "run").mkdir()
            (box.state / "run" / "nova.json").write_text(json.dumps({**record, "pid": foreign.pid}))
            box.down()
            assert foreign.poll() is None
            assert box.said[-1] == "The sandbox is not running."
        finally:
            foreign.kill()
            foreign.wait()

    def test_a_service_that_cannot_start_shows_its_log(self, box: Sandbox) -> None:
        (box.state / "live/etc/placement/placement.conf").write_text("this is no configuration\n")
        with pytest.raises(SandboxError) as fault:
            box.up(FOUR_GPUS)
        assert fault.value.detail.startswith(
            "Placement ended while it was starting. The last lines of its log:\n"
        )
        assert "this is no configuration" in fault.value.detail
        assert str(box.state / "log" / "placement.log") in fault.value.hint
        assert box.pids() == {}, "the others were stopped again"


class TestEightGpus:
    """A host cut in eighths, in a place where the first attempts were broken off."""

    def test_a_taken_port_is_named(self, box: Sandbox) -> None:
        with socket.create_server(("127.0.0.1", box.port + 3)), pytest.raises(SandboxError) as fault:
            box.up(EIGHT_GPUS)
        taken = f"Port {box.port + 3} of 127.0.0.1, meant for Neutron, is taken by another program."
        assert fault.value.detail == taken
        assert "CF_INFRA_SANDBOX_PORT=" in fault.value.hint
        assert not (box.state / "sandbox.json").exists()

    def test_ctrl_c_stops_what_was_started(self, box: Sandbox) -> None:
        starting = start_in_another_process(box)
        starting.send_signal(signal.SIGINT)
        assert starting.wait(30) != 0
        assert box.pids() == {} and not sandbox.running(box.state)

    def test_a_killed_start_is_not_taken_for_a_finished_one(self, box: Sandbox) -> None:
        starting = start_in_another_process(box)
        starting.kill()
        starting.wait()
        left = box.pids()
        assert left and not sandbox.running(box.state)
        box.up(EIGHT_GPUS)
        assert not set(left.values()) & set(box.pids().values())
        with box.cloud() as member:
            assert [image.name for image in member.image.images()] == list(SEED.images)

    def test_eight_eighths_fit_and_a_ninth_does_not(self, box: Sandbox) -> None:
        with box.cloud() as member:
            servers = boot(member, network(member), ["gpu_eighth"] * 9)
            assert Counter(map(outcome, servers)) == {ACTIVE: 8, REFUSED: 1}


class TestSeveralHosts:
    """Hosts with different GPUs, and one without."""

    def test_each_server_gets_what_it_asks_for(self, box: Sandbox) -> None:
        box.up(
            Host("gpu-01", 16, 65_536, 500, (Gpu(V100, "27:00.0"), Gpu(V100, "44:00.0"))),
            Host("gpu-02", 16, 65_536, 500, (Gpu("rtx4000-ada", "01:00.0"), Gpu(V100, "0000:a3:00.0"))),
            Host("cpu-01", 32, 65_536, 500),
        )
        with box.cloud() as member, box.cloud("sandbox") as admin:
            net = network(member)
            servers = boot(member, net, ["gpu_large", "ada"] * 2 + ["gpu_large"] * 2)
            hosts = Counter((s.name, s.status, admin.compute.get_server(s.id).compute_host) for s in servers)
            assert hosts == {
                ("gpu_large", "ACTIVE", "gpu-01"): 2,
                ("gpu_large", "ACTIVE", "gpu-02"): 1,
                ("gpu_large", "ERROR", None): 1,
                ("ada", "ACTIVE", "gpu-02"): 1,
                ("ada", "ERROR", None): 1,
            }
            # vCPUs are not shared out twice: only cpu-01 still has 16 of them, and it has them two times.
            servers = boot(member, net, ["ci_16"] * 3)
            assert Counter(map(outcome, servers)) == {ACTIVE: 2, REFUSED: 1}


@pytest.mark.parametrize(
    ("port", "hosts", "message"),
    [
        (15_000, [], "No host is given."),
        (80, [FOUR_GPUS], "The base port 80 is not usable."),
        (65_535, [FOUR_GPUS], "The base port 65535 is not usable."),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, port: int, hosts: list[Host], message: str) -> None:
    with pytest.raises(SandboxError) as fault:
        sandbox.up(tmp_path / "state", port, hosts, SEED, lambda _line: None)
    assert fault.value.detail == message and not (tmp_path / "state").exists()


def test_a_folder_that_configuration_files_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"it has \$ in it") as fault:
        sandbox.up(tmp_path / "a$b", 15_000, [FOUR_GPUS], SEED, lambda _line: None)
    assert "CF_INFRA_SANDBOX_DIR" in fault.value.hint and list(tmp_path.iterdir()) == []


def test_without_a_sandbox_there_is_nothing_to_stop_reset_or_use(tmp_path: Path) -> None:
    said: list[str] = []
    sandbox.down(tmp_path / "state", said.append)
    assert said == ["The sandbox is not running."] and not sandbox.running(tmp_path / "state")
    with pytest.raises(SandboxError, match="no sandbox to reset"):
        sandbox.reset(tmp_path / "state", said.append)
    with pytest.raises(SandboxError, match="no sandbox yet"):
        sandbox.env(tmp_path / "state")


def address(server: Any) -> str:
    return str(next(iter(server.addresses.values()))[0]["addr"])


def start_in_another_process(box: Sandbox) -> subprocess.Popen[str]:
    """Run `up` with the eight GPUs, and return when its services have been started but are not ready."""
    program = (
        "from pathlib import Path; from cf_infra import sandbox; from tests_sandbox import EIGHT_GPUS, SEED;"
        f"sandbox.up(Path({str(box.state)!r}), {box.port}, [EIGHT_GPUS], SEED, lambda line: None)"
    )
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    program = f"import sys; sys.path[:0] = {paths!r}; {program}".replace("tests_sandbox", Path(__file__).stem)
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 30
    while len(box.pids()) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process
