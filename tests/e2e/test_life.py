"""A grant becomes a server, and the server is gone when the grant is; nothing else moves."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import struct
import threading
from pathlib import Path

import pytest
from keystoneauth1.exceptions import NotFound, Unauthorized
from scene import (
    COUNTS,
    JSON,
    Process,
    Scene,
    actions,
    connection,
    files_below,
    playing,
    server_actions,
    user_data,
)

from cf_infra import keys

LIFE = "life"
KEPT, COUNTED, GOES, COMES = "webkit2gtk4.1", "pytorch_scatter", "llama.cpp", "newcomer"
LONG, RENAMED = "l" * 90, "r" * 90
SHARED = "sharing"
# The header of an empty disk of 1 MiB, all that Glance looks at: magic, version 3, no backing file, clusters of
# 64 KiB (docs/interop/qcow2.txt of QEMU).
QCOW2 = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 20).ljust(1 << 16, b"\0")
MARKER = "HOSTILE-7f3a"
HOSTILE = (
    f'{MARKER} ${{file("/etc/passwd")}} %{{ for x in [1] }}y%{{ endfor }} "q" \'s\' \\ {{{{ 7*7 }}}} $(id) `id`\n'
     "a second line: 🚀 é\n" + "x" * 3800
)  # fmt: skip
LINE = HOSTILE.splitlines()[0]
GPU_GRANT: JSON = {"resources": ["gpu-own"], "reason": HOSTILE}
SHARING: JSON = {
    "feedstock": SHARED,
    "resources": ["gpu-pool", "gpu-job"],
    "expires": "2040-01-12",
    "id": f"{MARKER} ${{x}} %{{y}}",
}


def own(feedstock: str, **more: object) -> JSON:
    return {"feedstock": feedstock, **GPU_GRANT, **more}


@playing(minutes=4)
def test_a_grant_becomes_a_server_and_the_server_goes_with_it(scene: Scene) -> None:
    scene.stack(LIFE, lambda text: text.replace("A donor of the tests", json.dumps(LINE, ensure_ascii=False)))
    scene.write("images/own.img", "").write_bytes(QCOW2)
    scene.grants(own(KEPT), own(COUNTED, count=2), own(GOES), own(LONG), SHARING)

    first = planned(scene)
    watch = Watch(scene)
    applied = scene.run("apply", "--format", "json", during=watch.look)
    assert applied.stack(LIFE) | {"applied": 0} == {
        "stack": LIFE,
        "applied": 0,
        "failed": False,
        "receipts": [],
    }
    assert applied.stack(LIFE)["applied"] == sum(first[k] for k in COUNTS)
    assert re.search(r"^ +[0-9.]+s  life: creating server cf-life-llama-cpp-", applied.err, re.M)
    assert re.search(
        r"^ +[0-9.]+s  life: created server cf-life-llama-cpp-.* \([0-9]+ s\)$", applied.err, re.M
    )
    scene.nothing_to_do()

    audited(scene)
    servers_are_as_compiled(scene)
    offered_to_the_project_alone(scene)
    logins_work(scene)
    status_needs_neither_cloud_nor_key(scene)

    before = scene.ids(LIFE)
    taken_away = receipts_of_what_left(scene)
    assert scene.ids(LIFE).items() >= {k: v for k, v in before.items() if k not in taken_away}.items()
    renamed_and_counted_up(scene)
    access_ends_at_once_and_the_pool_stays_so_that_builds_may_end(scene)
    then_the_pool_goes_and_credentials_turn(scene)

    nothing_is_readable(scene)
    nothing_hostile_went_anywhere(scene)
    watch.saw_no_secret()


# ------------------------------------------------------------------------------------------------ grant


def audited(scene: Scene) -> None:
    """An audit finds nothing while all is as declared, and a login that nobody declared, with the way to end it."""
    assert scene.audit() == []
    strange = scene.cloud.identity.create_user(
        name=f"cf-{LIFE}-strange", description=f"managed by cf-infra, stack {LIFE}"
    )
    (found,) = scene.audit()
    assert (found["kind"], found["subject"]) == ("orphan", strange.name)
    assert found["fix"] == f"openstack --os-cloud sandbox user delete {strange.id}"
    scene.cloud.identity.delete_user(strange)
    assert scene.audit() == []


def planned(scene: Scene) -> JSON:
    """The JSON of the contract; planning twice gives the same review digest, and no exit code 2 unless asked for."""
    done = scene.plan("--detailed-exitcode", code=2)
    assert done.err.startswith(" "), "talk goes to stderr"
    row = done.stack(LIFE)
    assert set(row) >= {"stack", "wave", *COUNTS, "refused", "review_digest", "plan_digest", "items"}
    assert (row["wave"], row["refused"], row["change"], row["replace"], row["destroy"]) == (1, False, 0, 0, 0)
    assert all(set(item) >= {"address", "action", "what", "grants"} for item in row["items"])
    assert server_actions(row) == dict.fromkeys(
        [
            f"{KEPT}-feedstock/gpu-own",
            f"{COUNTED}-feedstock/gpu-own",
            f"{COUNTED}-feedstock/gpu-own/2",
            f"{GOES}-feedstock/gpu-own",
            f"{LONG}-feedstock/gpu-own",
            "pool:gpu-pool/1",
        ],
        "create",
    )
    by_address = {item["address"]: item["grants"] for item in row["items"]}
    server = "module.machine.openstack_compute_instance_v2.this"
    assert by_address[f'{server}["{COUNTED}-feedstock/gpu-own/2"]'] == [f"{COUNTED}-feedstock/gpu-own"]
    assert by_address[f'{server}["pool:gpu-pool/1"]'] == [f"{SHARED}-feedstock/gpu-pool"]
    text = scene.run("plan")
    assert f"{LIFE}: {row['add']} to add" in text.out and row["review_digest"] in text.out
    return row


def servers_are_as_compiled(scene: Scene) -> None:
    compiled = json.loads((scene.root / "build/life/grants.auto.tfvars.json").read_text())
    found = scene.servers(LIFE)
    project = scene.cloud.identity.find_project("cf-life-project", ignore_missing=False)
    images = {image.id: image.name for image in scene.cloud.image.images()}
    assert set(found) == set(compiled["machines"]) and len(found) == 6
    for key, server in found.items():
        wanted = compiled["machines"][key]
        text = compiled["user_data"][wanted["user_data"]].replace("@HOSTNAME@", wanted["hostname"])
        assert user_data(server) == text and text.startswith("#cloud-config\n")
        assert server["metadata"] == {
            "managed_by": "cf-infra",
            "stack": LIFE,
            "grant": key,
            "user_data_sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        assert (server["status"], server["tenant_id"]) == ("ACTIVE", project.id)
        size = server["flavor"]
        assert (size["vcpus"], size["ram"], size["disk"]) == (2, 4096, 10)
        assert size["extra_specs"] == {"pci_passthrough:alias": "a100:1"}
        assert images[server["image"]["id"]] == ("cf-life-own" if key.startswith("pool:") else "ubuntu-e2e")
        assert (
            len(scene.gpus(server["id"])) == 1 and server["OS-EXT-SRV-ATTR:hypervisor_hostname"] == "life-01"
        )
        digest = hashlib.sha256(key.encode()).hexdigest()[:6]
        assert (
            re.fullmatch(rf"[a-z0-9][a-z0-9-]{{0,61}}-{digest}", wanted["hostname"])
            and len(wanted["hostname"]) <= 63
        )
        assert (
            server["name"] == f"cf-life-{wanted['hostname']}"
            and f"\nhostname: {wanted['hostname']}\n" in text
        )
    assert project.tags == ["cf-infra", "stack=life"]
    (network,) = scene.cloud.network.networks(project_id=project.id)
    assert network.tags == ["cf-infra", "stack=life"] and network.name == "cf-life-net"
    quota = scene.cloud.compute.get_quota_set(project.id)
    assert {
        k: getattr(quota, {"ram_mib": "ram"}.get(k, k)) for k in compiled["project"]["quota"]
    } == compiled["project"]["quota"]


def offered_to_the_project_alone(scene: Scene) -> None:
    project = scene.cloud.identity.find_project("cf-life-project", ignore_missing=False)
    flavors = {
        f.name: f for f in scene.cloud.compute.flavors(is_public=None) if f.name.startswith("cf-life-")
    }
    assert sorted(flavors) == ["cf-life-gpu-job", "cf-life-gpu-own", "cf-life-gpu-pool"]
    for flavor in flavors.values():
        assert not flavor.is_public
        assert [row["tenant_id"] for row in scene.cloud.compute.get_flavor_access(flavor)] == [project.id]
    with connection(scene.lab.clouds_yaml, "sandbox-member") as stranger:
        assert [f.name for f in stranger.compute.flavors() if f.name.startswith("cf-life-")] == []


def logins_work(scene: Scene) -> None:
    """What was delivered logs in to the stack's own project, and only its owner may read it."""
    delivered = scene.state(LIFE) / "delivered"
    for path in delivered.glob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    value = json.loads((delivered / "cirun.json").read_text())
    project = scene.cloud.identity.find_project("cf-life-project", ignore_missing=False)
    assert value["project_id"] == project.id
    assert log_in(scene, value) == (project.id, {"member", "reader"})
    watcher = json.loads((delivered / "watcher.json").read_text())
    assert log_in(scene, watcher) == (project.id, {"member", "reader"})


def log_in(scene: Scene, value: JSON) -> tuple[str, set[str]]:
    """The project and the roles of a delivered login."""
    if "application_credential_id" in value:
        credential = {
            "id": value["application_credential_id"],
            "secret": value["application_credential_secret"],
        }
        body: JSON = {
            "identity": {"methods": ["application_credential"], "application_credential": credential}
        }
    else:
        user = {
            "name": value["username"],
            "password": value["password"],
            "domain": {"id": value["domain_id"]},
        }
        body = {"identity": {"methods": ["password"], "password": {"user": user}}}
        body["scope"] = {"project": {"id": value["project_id"]}}
    token = scene.cloud.session.post(
        f"{value['auth_url']}/auth/tokens", json={"auth": body}, authenticated=False
    ).json()["token"]
    return token["project"]["id"], {role["name"] for role in token["roles"]}


def status_needs_neither_cloud_nor_key(scene: Scene) -> None:
    broken = scene.write("../broken.yaml", "clouds: [not, a, mapping\n")
    blind = {
        "OS_CLIENT_CONFIG_FILE": str(broken),
        "CF_INFRA_SANDBOX_DIR": str(scene.base / "nowhere"),
        "XDG_CONFIG_HOME": str(scene.base / "nowhere"),
        "PATH": str(scene.base / "nowhere"),
    }
    row = scene.run("status", "--format", "json", env=blind).stack(LIFE)
    ids = scene.ids(LIFE)
    assert {server["grant"]: server["id"] for server in row["servers"]} == ids
    assert row["complete"] and not row["live"] and {s["status"] for s in row["servers"]} == {"applied"}
    assert re.search(
        r"life on sandbox, as applied (just now|\d+ minutes? ago)", scene.run("status", env=blind).out
    )
    live = scene.run("status", "--live", "--format", "json").stack(LIFE)
    assert live["live"] and {
        server["grant"]: server["status"] for server in live["servers"]
    } == dict.fromkeys(ids, "ACTIVE")
    addresses = {s["grant"]: s["ip"] for s in live["servers"]}
    assert addresses == {
        k: next(iter(s["addresses"].values()))[0]["addr"] for k, s in scene.servers(LIFE).items()
    }


# ------------------------------------------------------------------------------------------------ revoke


def receipts_of_what_left(scene: Scene) -> set[str]:
    """One grant is removed, one has a machine less, one has one more, one is new: nothing else moves."""
    gone, less = f"{GOES}-feedstock/gpu-own", f"{COUNTED}-feedstock/gpu-own/2"
    went = scene.ids(LIFE)[gone]
    scene.grants(own(COMES), own(KEPT, count=2), own(COUNTED), own(LONG), SHARING)
    row = scene.plan().stack(LIFE)
    assert server_actions(row) == {
        gone: "delete",
        less: "delete",
        f"{COMES}-feedstock/gpu-own": "create",
        f"{KEPT}-feedstock/gpu-own/2": "create",
    }
    assert actions(row) == actions(row, "openstack_compute_instance_v2"), "no other kind of thing moves"
    applied = scene.apply_into_freed_room()
    (receipt,) = (r for r in applied.stack(LIFE)["receipts"] if r["grant"] == f"{GOES}-feedstock/gpu-own")
    assert set(receipt) == {"grant", "gone_from", "manual"} and receipt["manual"] == []
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", place["checked_at"])
        for place in receipt["gone_from"]
    )
    assert any(went in place["place"] for place in receipt["gone_from"])
    assert not scene.is_there(lambda: scene.cloud.compute.get_server(went))
    on_disk = json.loads(newest(scene.state(LIFE) / "receipts").read_text())
    assert {r["grant"]: r["gone_from"] for r in on_disk["receipts"]} == {
        r["grant"]: r["gone_from"] for r in applied.stack(LIFE)["receipts"]
    }
    scene.nothing_to_do()
    return {gone, less}


def newest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def renamed_and_counted_up(scene: Scene) -> None:
    """A renamed feedstock is another grant: its machine goes, another comes, the others keep theirs."""
    before = scene.ids(LIFE)
    scene.grants(own(COMES), own(KEPT, count=2), own(COUNTED), own(RENAMED), SHARING)
    row = scene.plan().stack(LIFE)
    assert server_actions(row) == {
        f"{LONG}-feedstock/gpu-own": "delete",
        f"{RENAMED}-feedstock/gpu-own": "create",
    }
    scene.apply_into_freed_room()
    after = scene.ids(LIFE)
    assert after.items() >= {k: v for k, v in before.items() if not k.startswith(LONG)}.items()
    assert set(after) - set(before) == {f"{RENAMED}-feedstock/gpu-own"}


def access_ends_at_once_and_the_pool_stays_so_that_builds_may_end(scene: Scene) -> None:
    """`expires` is 2040-01-12 and `max_hours` 30: no access from that day on, the machine stays for two whole days."""
    before = scene.ids(LIFE)
    assert f"{SHARED}-feedstock" in delivered_list(scene)
    scene.today = "2040-01-13"
    row = scene.plan().stack(LIFE)
    assert server_actions(row) == {} and row["refused"] is False
    scene.apply()
    assert scene.ids(LIFE) == before
    assert f"{SHARED}-feedstock" not in delivered_list(scene)
    names = [flavor.name for flavor in scene.cloud.compute.flavors(is_public=None)]
    assert "cf-life-gpu-job" not in names and "cf-life-gpu-pool" in names


def delivered_list(scene: Scene) -> str:
    return (scene.state(LIFE) / "delivered" / ".access.yml").read_text()


def then_the_pool_goes_and_credentials_turn(scene: Scene) -> None:
    """Much later: the pool has nobody left, and both logins turn; the old ones go after the overlap."""
    before = scene.ids(LIFE)
    delivered = scene.state(LIFE) / "delivered"
    old = {path.name: json.loads(path.read_text()) for path in delivered.glob("*.json")}
    scene.today = "2040-04-20"
    row = scene.plan().stack(LIFE)
    assert server_actions(row) == {"pool:gpu-pool/1": "delete"}
    applied = scene.apply()
    grants = {receipt["grant"] for receipt in applied.stack(LIFE)["receipts"]}
    assert f"{SHARED}-feedstock/gpu-pool" in grants
    assert scene.ids(LIFE) == {k: v for k, v in before.items() if not k.startswith("pool:")}
    assert not scene.is_there(lambda: scene.cloud.compute.get_server(before["pool:gpu-pool/1"]))
    for value in old.values():
        log_in(scene, value)
    scene.today = "2040-04-23"
    scene.plan()
    grants = {receipt["grant"] for receipt in scene.apply().stack(LIFE)["receipts"]}
    assert {"login cirun/283", "login watcher/283"} <= grants
    for name, value in old.items():
        with pytest.raises((Unauthorized, NotFound)):
            log_in(scene, value)
        log_in(scene, json.loads((delivered / name).read_text()))
    scene.nothing_to_do()


# ----------------------------------------------------------------------------------------------- secrets


def secrets_of(scene: Scene) -> set[str]:
    """Every secret that this scene had: the key, what is derived from it, and what the clouds' entries hold."""
    master = scene.key.read_text().strip()
    stack = keys.stack_key(bytes.fromhex(master), LIFE)
    derived = {
        keys.password(stack, "provisioner", 0),
        *(keys.password(stack, "cirun", n) for n in (283, 284, 285)),
    }
    clouds = set(re.findall(r'password: "([^"]+)"', scene.lab.clouds_yaml.read_text()))
    delivered = {json.loads(p.read_text()).get("application_credential_secret", master) for p in
                 (scene.state(LIFE) / "delivered").glob("*.json")}  # fmt: skip
    found = {master, stack.hex(), *derived, *clouds, *delivered}
    assert len(found) >= 8 and all(len(secret) >= 24 for secret in found)
    return found


def nothing_is_readable(scene: Scene) -> None:
    """State and plans say nothing to who has not the key, and no secret stands anywhere but where it was delivered."""
    scene.plan()
    state, build = scene.state(LIFE), scene.root / "build"
    project = scene.cloud.identity.find_project("cf-life-project", ignore_missing=False).id
    told = [project, "cf-life-", KEPT, "provisioner", *scene.ids(LIFE).values()]
    encrypted = [
        state / "terraform.tfstate",
        state / "terraform.tfstate.backup",
        build / LIFE / "plan" / "tofu.plan",
    ]
    for path in encrypted:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        content = path.read_bytes()
        assert b"encrypted_data" in content or b"aes_gcm" in content or path.name == "tofu.plan"
        assert [word for word in told if word.encode() in content] == [], path
    assert stat.S_IMODE(scene.key.stat().st_mode) == 0o600
    secrets = secrets_of(scene)
    for path in files_below(build, scene.root / ".state"):
        found = [secret for secret in secrets if secret.encode() in path.read_bytes()]
        if path.parent == state / "delivered" and path.suffix == ".json":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        else:
            assert not found, f"{path} has a secret"
    assert not [secret for secret in secrets for text in scene.said if secret in text], (
        "a command printed a secret"
    )


def nothing_hostile_went_anywhere(scene: Scene) -> None:
    """Reasons and names of policies are for people and for access lists: no cloud and no compiled file has them."""
    assert MARKER in (scene.root / "grants.yaml").read_text()
    assert "root:x:0:0" not in "".join(scene.said)
    for path in files_below(scene.root / "build", scene.lab.state / "live", scene.lab.state / "log"):
        content = path.read_bytes()
        assert b"root:x:0:0" not in content, path
        assert MARKER.encode() not in content or path.name == ".access.yml", path


class Watch:
    """Looks at the environment and the arguments of everything that a command starts."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.seen: dict[int, bytes] = {}

    def look(self, process: Process) -> None:
        def watch() -> None:
            while process.child.poll() is None:
                for pid in [process.child.pid, *process.descendants()]:
                    try:
                        folder = Path(f"/proc/{pid}")
                        self.seen[pid] = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                    except OSError:
                        continue
                process_ended.wait(0.5)

        process_ended = threading.Event()
        threading.Thread(target=watch, daemon=True).start()

    def saw_no_secret(self) -> None:
        programs = b"\0".join(self.seen.values())
        assert b"terraform-provider-openstack" in programs and b"TF_ENCRYPTION" in programs
        assert [secret for secret in secrets_of(self.scene) if secret.encode() in programs] == []
