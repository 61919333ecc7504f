"""modules/ in a real OpenStack, with both kinds of rights and as the READMEs show them.

Three deployments live through the whole file side by side: most of their time goes into waiting for the provider.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import openstack
import pytest
from module_root import JSON, PASSWORDS, Program, Root, compiled, examples, values_file
from openstack.config import OpenStackConfig
from openstack.connection import Connection

pytestmark = [
    pytest.mark.sandbox,
    # The SDK warns of things that only its own code does.
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

ADMIN, MEMBER, EXAMPLES = "admin", "member", "examples"
GPU = "webkit2gtk4.1-feedstock/gpu-small"
CPU = "pytorch_scatter-feedstock/cpu-small/2"
HOSTILE = next(
    key for key in json.loads(values_file(ADMIN).read_text(encoding="utf-8"))["machines"] if "file(" in key
)
DONORS_FLAVOR = "cf-modules.donor"
IMAGE = "ubuntu-24.04"


@pytest.fixture(scope="module")
def cloud(clouds_yaml: Path) -> Iterator[Connection]:
    """OpenStack's own client, as administrator."""
    with connect(clouds_yaml, "sandbox") as connection:
        yield connection


def connect(clouds_yaml: Path, name: str) -> Connection:
    region = OpenStackConfig(config_files=[str(clouds_yaml)], load_envvars=False).get_one(name)
    return openstack.connection.Connection(config=region)


@pytest.fixture(scope="module")
def external(cloud: Connection) -> Iterator[str]:
    """What a donor's cloud has before we come: an image, a flavor, a way out. The name of the last."""
    undo: list[Callable[[], object]] = []
    if not list(cloud.image.images(name=IMAGE)):
        image = cloud.create_image(
            IMAGE,
            data=b"nothing boots",
            disk_format="raw",
            container_format="bare",
            visibility="public",
            wait=True,
        )
        undo.append(lambda: cloud.image.delete_image(image.id))
    if cloud.compute.find_flavor(DONORS_FLAVOR) is None:
        flavor = cloud.compute.create_flavor(name=DONORS_FLAVOR, vcpus=1, ram=512, disk=1)
        undo.append(lambda: cloud.compute.delete_flavor(flavor))
    network = next(iter(cloud.network.networks(is_router_external=True)), None)
    if network is None:
        network = cloud.network.create_network(name="cf-modules-outside", is_router_external=True)
        subnet = {
            "network_id": network.id,
            "ip_version": 4,
            "cidr": "203.0.113.0/24",
            "is_dhcp_enabled": False,
        }
        cloud.network.create_subnet(**subnet)
        undo.append(lambda: cloud.network.delete_network(network))
    # Neutron's migrations put these in, for every new group; a database made without them has none.
    if not list(cloud.network.default_security_group_rules()):
        for ethertype in ("IPv4", "IPv6"):
            rule = cloud.network.create_default_security_group_rule(
                direction="egress", ethertype=ethertype, used_in_default_sg=True, used_in_non_default_sg=True
            )
            undo.append(partial(cloud.network.delete_default_security_group_rule, rule))
    yield str(network.name)
    for step in reversed(undo):
        step()


@pytest.fixture(scope="module")
def roots(
    tofu: Program,
    clouds_yaml: Path,
    cloud: Connection,
    external: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Root]]:
    """All three, applied."""
    base = tmp_path_factory.mktemp("roots")
    common = {"OS_CLIENT_CONFIG_FILE": str(clouds_yaml), "TF_VAR_passwords": json.dumps(PASSWORDS)}
    of_admin = {**common, "TF_VAR_cloud": "sandbox", "TF_VAR_auth_url": cloud.config.auth["auth_url"]}
    of_admin["TF_VAR_region"] = cloud.config.region_name
    made = {
        ADMIN: Root(compiled(ADMIN, base / ADMIN), tofu, of_admin),
        MEMBER: Root(compiled(MEMBER, base / MEMBER), tofu, {**common, "TF_VAR_cloud": "sandbox-member"}),
        EXAMPLES: Root(examples(base / EXAMPLES), tofu, {**common, "TF_VAR_cloud": "sandbox"}),
    }
    values = made[ADMIN].values()
    values["network"]["external"] = external
    made[ADMIN].write_values(values)
    each(made, Root.init)
    try:
        each(made, Root.apply)
        yield made
    finally:
        each({name: root for name, root in made.items() if root.state()}, Root.destroy)


def each(roots: dict[str, Root], step: Callable[[Root], Any]) -> dict[str, Any]:
    with ThreadPoolExecutor(len(roots) or 1) as pool:
        return dict(zip(roots, pool.map(step, roots.values()), strict=True))


@pytest.fixture
def changed(roots: dict[str, Root]) -> Iterator[tuple[Root, JSON]]:
    """The administrator's root and a copy of its values, to be written; the old ones come back afterwards."""
    root = roots[ADMIN]
    before = root.values()
    yield root, root.values()
    root.write_values(before)


def servers(cloud: Connection, stack: str) -> dict[str, JSON]:
    """What Nova itself says of the servers of a stack, user data included, by grant."""
    found = cloud.compute.get("/servers/detail?all_tenants=1", microversion="2.79").json()["servers"]
    return {
        server["metadata"]["grant"]: server
        for server in found
        if server["metadata"].get("stack") == f"modules-{stack}"
    }


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# ------------------------------------------------------------------------------------------ what is there


def test_second_plan_is_empty(roots: dict[str, Root]) -> None:
    assert each(roots, Root.plan) == {ADMIN: {}, MEMBER: {}, EXAMPLES: {}}


def test_servers_run_and_every_text_arrived_as_written(roots: dict[str, Root], cloud: Connection) -> None:
    for name, root in ((ADMIN, roots[ADMIN]), (MEMBER, roots[MEMBER])):
        values, found = root.values(), servers(cloud, name)
        assert {machine["metadata"]["grant"] for machine in values["machines"].values()} == set(found)
        for machine in values["machines"].values():
            server = found[machine["metadata"]["grant"]]
            text = values["user_data"][machine["user_data"]].replace("@HOSTNAME@", machine["hostname"])
            assert server["status"] == "ACTIVE"
            assert server["name"] == machine["name"]
            assert base64.b64decode(server["OS-EXT-SRV-ATTR:user_data"]).decode() == text
            assert server["metadata"] == {**machine["metadata"], "user_data_sha256": digest(text)}
            assert server["config_drive"] == "True"
            assert [group["name"] for group in server["security_groups"]] == [values["network"]["name"]]
    assert '${file("/etc/passwd")}' in HOSTILE and "\n" in HOSTILE and "🚀" in HOSTILE
    assert servers(cloud, ADMIN)[HOSTILE]["metadata"]["grant"] == HOSTILE
    project = cloud.identity.get_project(roots[ADMIN].outputs()["project_id"]["value"])
    assert project.description == roots[ADMIN].values()["description"]
    assert project.tags == roots[ADMIN].values()["tags"]


def test_uploaded_image_belongs_to_the_project(roots: dict[str, Root], cloud: Connection) -> None:
    outputs = roots[ADMIN].outputs()
    image = cloud.image.get_image(outputs["image_ids"]["value"]["own"])
    assert (image.name, image.visibility, image.owner_id) == (
        "cf-modules-admin-own",
        "private",
        outputs["project_id"]["value"],
    )
    assert sorted(image.tags) == roots[ADMIN].values()["tags"]
    assert image.size == (roots[ADMIN].folder / "own.raw").stat().st_size


def test_project_has_its_quota(roots: dict[str, Root], cloud: Connection) -> None:
    quota = cloud.compute.get_quota_set(roots[ADMIN].outputs()["project_id"]["value"])
    assert {"instances": quota.instances, "cores": quota.cores, "ram_mib": quota.ram} == roots[
        ADMIN
    ].values()["project"]["quota"]


def test_flavors_are_for_one_project(roots: dict[str, Root], cloud: Connection) -> None:
    outputs = roots[ADMIN].outputs()
    for runner_class, flavor_id in outputs["flavor_ids"]["value"].items():
        wanted = roots[ADMIN].values()["flavors"][runner_class]
        flavor = cloud.compute.get_flavor(flavor_id)
        assert (flavor.name, flavor.vcpus, flavor.ram, flavor.disk, flavor.is_public) == (
            wanted["name"], wanted["vcpus"], wanted["ram_mib"], wanted["disk_gib"], False
        )  # fmt: skip
        access = [entry["tenant_id"] for entry in cloud.compute.get_flavor_access(flavor)]
        assert access == [outputs["project_id"]["value"]]
        alias = {"pci_passthrough:alias": "tesla-v100:1"} if runner_class == "gpu-small" else {}
        assert flavor.extra_specs == alias


@pytest.mark.parametrize("name", [ADMIN, MEMBER])
def test_security_group_has_the_declared_rules_and_no_other(
    name: str, roots: dict[str, Root], cloud: Connection
) -> None:
    values = roots[name].values()
    group = next(iter(cloud.network.security_groups(name=values["network"]["name"])))
    rules = [
        (
            rule["direction"],
            rule["ethertype"],
            rule["protocol"],
            rule["port_range_max"],
            rule["remote_ip_prefix"],
        )
        for rule in sorted(
            group.security_group_rules, key=lambda rule: (rule["direction"], rule["ethertype"])
        )
    ]
    (source,) = values["network"]["ssh_from"]
    assert rules == [
        ("egress", "IPv4", None, None, None),
        ("egress", "IPv6", None, None, None),
        ("ingress", "IPv6" if ":" in source else "IPv4", "tcp", 22, source),
    ]
    # Neutron's own rules have the same form, but no description.
    assert {rule["description"] for rule in group.security_group_rules} == {values["description"]}
    assert group.tags == values["tags"]


def test_router_only_where_a_way_out_is_named(
    roots: dict[str, Root], cloud: Connection, external: str
) -> None:
    (router,) = cloud.network.routers(name=roots[ADMIN].values()["network"]["name"])
    outside = cloud.network.find_network(external)
    assert router.external_gateway_info["network_id"] == outside.id
    assert router.tags == roots[ADMIN].values()["tags"]
    assert list(cloud.network.routers(name=roots[MEMBER].values()["network"]["name"])) == []


@pytest.mark.parametrize("name", [ADMIN, MEMBER])
def test_credentials_log_in_with_their_roles_only(
    name: str, roots: dict[str, Root], cloud: Connection
) -> None:
    outputs = roots[name].outputs()
    assert {key for key, output in outputs.items() if output["sensitive"]} == {"credentials"}
    for key, credential in outputs["credentials"]["value"].items():
        assert outputs["credential_ids"]["value"][key] == credential["id"]
        token = log_in(
            cloud, {"application_credential": {"id": credential["id"], "secret": credential["secret"]}}
        )
        assert {role["name"] for role in token["roles"]} == set(
            roots[name].values()["credentials"][key]["roles"]
        )
        if name == ADMIN:
            assert token["project"]["id"] == outputs["project_id"]["value"]


def test_user_logs_in_with_the_given_password(roots: dict[str, Root], cloud: Connection) -> None:
    outputs = roots[ADMIN].outputs()
    user = {"id": outputs["user_ids"]["value"]["cirun/1"], "password": PASSWORDS["cirun/1"]}
    token = log_in(cloud, {"password": {"user": user}}, outputs["project_id"]["value"])
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}


def log_in(cloud: Connection, how: JSON, project: str | None = None) -> JSON:
    scope = {"scope": {"project": {"id": project}}} if project else {}
    body = {"auth": {"identity": {"methods": list(how), **how}, **scope}}
    answer = cloud.session.post(
        cloud.config.auth["auth_url"] + "/auth/tokens", json=body, authenticated=False
    )
    return dict(answer.json()["token"])


# ------------------------------------------------------------------------------------------ what changes


def about(key: str, plan: dict[str, str]) -> dict[str, str]:
    """The part of a plan that is about one machine, by what it is."""
    ends = f"[{terraform_string(key)}]"
    return {address.removesuffix(ends): what for address, what in plan.items() if address.endswith(ends)}


def terraform_string(key: str) -> str:
    text = json.dumps(key, ensure_ascii=False)
    return text.replace("${", "$${").replace("%{", "%%{")


SERVER = "module.machine.openstack_compute_instance_v2.this"
BOOT = "module.machine.terraform_data.boot"
RECIPE = "module.machine.terraform_data.recipe"


@pytest.mark.parametrize("key", [GPU, HOSTILE], ids=["usual", "hostile"])
def test_a_machine_that_is_taken_away_goes_alone(changed: tuple[Root, JSON], key: str) -> None:
    root, values = changed
    del values["machines"][key]
    root.write_values(values)
    plan = root.plan("-refresh=false")
    assert about(key, plan) == {SERVER: "delete", BOOT: "delete", RECIPE: "delete"}
    assert len(plan) == 3


def test_a_new_machine_comes_alone(changed: tuple[Root, JSON]) -> None:
    root, values = changed
    values["machines"]["aaa-feedstock/cpu-small"] = {
        **values["machines"][CPU],
        "name": "cf-modules-admin-aaa",
    }
    root.write_values(values)
    plan = root.plan("-refresh=false")
    assert about("aaa-feedstock/cpu-small", plan) == {SERVER: "create", BOOT: "create", RECIPE: "create"}
    assert len(plan) == 3


def test_other_user_data_replaces_the_machine(changed: tuple[Root, JSON]) -> None:
    root, values = changed
    values["user_data"]["new"] = "#cloud-config\n{}\n"
    values["machines"][CPU]["user_data"] = "new"
    root.write_values(values)
    plan = root.plan("-refresh=false")
    assert about(CPU, plan) == {SERVER: "delete,create", BOOT: "update", RECIPE: "update"}
    assert len(plan) == 3


def test_another_path_of_an_image_changes_nothing_and_other_content_replaces_its_machines(
    changed: tuple[Root, JSON],
) -> None:
    root, values = changed
    values["images"]["own"]["file"] = "./own.raw"
    root.write_values(values)
    assert root.plan("-refresh=false") == {}

    values["image_digests"]["own"] = digest("other content")
    root.write_values(values)
    plan = root.plan("-refresh=false")
    assert about(CPU, plan) == {SERVER: "delete,create", BOOT: "update", RECIPE: "update"}
    assert plan['module.image.openstack_images_image_v2.this["own"]'] == "delete,create"
    assert len(plan) == 5


def test_another_number_of_gpus_is_another_flavor_and_other_machines(changed: tuple[Root, JSON]) -> None:
    root, values = changed
    values["flavors"]["gpu-small"]["gpus"] = 2
    root.write_values(values)
    plan = root.plan("-refresh=false")
    assert about(GPU, plan) == {SERVER: "delete,create", BOOT: "update", RECIPE: "update"}
    assert {address for address in plan if "openstack_compute_flavor_v2" in address} == {
        'module.flavor.openstack_compute_flavor_v2.this["gpu-small"]'
    }
    assert about(CPU, plan) == {} and about(HOSTILE, plan) == {}


def test_a_donors_flavor_that_outgrows_its_share_is_refused(roots: dict[str, Root]) -> None:
    root = roots[MEMBER]
    before = root.values()
    root.write_values(
        {**before, "flavors": {"cpu-small": {**before["flavors"]["cpu-small"], "ram_mib": 256}}}
    )
    said = root.run("plan", "-input=false", "-no-color", check=False)
    root.write_values(before)
    assert f"The donor's flavor {DONORS_FLAVOR} takes 1 vCPUs, 512 MiB" in " ".join(said.split())


# ------------------------------------------------------------------------------------------ adoption


LOST = {GPU: [SERVER], CPU: [SERVER, BOOT, RECIPE]}
"""What of which machine is in no state any more: only the server, or everything."""


def test_servers_that_are_in_no_state_are_adopted(roots: dict[str, Root], cloud: Connection) -> None:
    root = roots[ADMIN]
    before = servers(cloud, ADMIN)
    root.run("state", "rm", *(f'{address}["{key}"]' for key, lost in LOST.items() for address in lost))
    adopt = root.folder / "adopt.auto.tfvars.json"
    adopt.write_text(json.dumps({"adopt": {key: before[grant_of(root, key)]["id"] for key in LOST}}))

    plan = root.plan()
    assert about(GPU, plan) == {SERVER: "update import"}
    assert about(CPU, plan) == {SERVER: "update import", BOOT: "create", RECIPE: "create"}
    assert len(plan) == 4

    root.apply()
    assert root.plan() == {}, "the same imports once more change nothing"
    adopt.unlink()
    assert root.plan() == {}
    assert servers(cloud, ADMIN) == before, "Nova was not told anything"


def test_adopted_servers_are_still_replaced_by_other_user_data(
    changed: tuple[Root, JSON], cloud: Connection
) -> None:
    """Those of the test above: OpenTofu never knew their text. What the new ones get is the text, not a digest."""
    root, values = changed
    before = servers(cloud, ADMIN)
    values["user_data"]["new"] = "#cloud-config\nhostname: @HOSTNAME@\n"
    for key in LOST:
        values["machines"][key]["user_data"] = "new"
    root.write_values(values)
    root.apply()
    after = servers(cloud, ADMIN)
    for key in LOST:
        grant, text = grant_of(root, key), f"#cloud-config\nhostname: {values['machines'][key]['hostname']}\n"
        assert after[grant]["id"] != before[grant]["id"]
        assert base64.b64decode(after[grant]["OS-EXT-SRV-ATTR:user_data"]).decode() == text
    assert after[HOSTILE]["id"] == before[HOSTILE]["id"]
    assert root.plan() == {}


def grant_of(root: Root, key: str) -> str:
    return str(root.values()["machines"][key]["metadata"]["grant"])


# ------------------------------------------------------------------------------------------ the end


def test_destroy_in_one_go(roots: dict[str, Root], cloud: Connection) -> None:
    """Last: the tenant's provider must still be able to log in while its things are destroyed."""
    project = roots[ADMIN].outputs()["project_id"]["value"]
    each(roots, Root.destroy)
    assert {name: root.state() for name, root in roots.items()} == {ADMIN: [], MEMBER: [], EXAMPLES: []}
    assert servers(cloud, ADMIN) == {} and servers(cloud, MEMBER) == {}
    assert cloud.identity.find_project(project) is None
    ours = ("cf-modules-", "cf-example")
    left = [
        thing.name
        for things in (
            cloud.network.networks(),
            cloud.network.routers(),
            cloud.network.security_groups(),
            cloud.compute.flavors(is_public=None),
            cloud.image.images(),
            cloud.identity.users(),
            cloud.identity.projects(),
        )
        for thing in things
        if (thing.name or "").startswith(ours) and thing.name != "cf-modules-outside"
    ]
    assert left == []
