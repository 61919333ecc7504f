"""What a killed run left at the cloud without writing it down, besides servers (see orphans.py).

OpenTofu writes its state every 20 seconds and at the end (internal/backend/local/hook_state.go), so a kill loses
whatever was made since; of a first apply often everything. Left alone, most of it would stop the next run (Keystone and
Nova take a name once, Neutron a rule once), the rest would stay for ever.
It is found by our marks and removed. Only what carries this stack's own mark is touched: a donor's flavor of the
same name is not ours to remove.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cf_infra.compile import PROVISIONER
from cf_infra.deployment import resources
from cf_infra.inventory import CREDENTIAL

# The SDK's types are unions of API versions, of which only one is ever there.
Connection = Any


@dataclass(frozen=True)
class Stray:
    """One thing that is in no state: what it is for people, and how it is removed.

    `carries`: servers stand on it, so it cannot go before they do; `login`: it is one, and nothing else hangs on it.
    """

    id: str
    what: str
    remove: Callable[[], object]
    carries: bool = False
    login: bool = False

    @property
    def address(self) -> str:
        """What a plan calls it."""
        return f"stray:login/{self.id}" if self.login else f"stray:{self.id}"


@dataclass(frozen=True)
class _Known:
    """What the state knows: all ids, the ids by type, and what its application credentials are called."""

    ids: frozenset[str]
    by_type: Mapping[str, list[str]]
    credentials: frozenset[str]

    def of(self, kind: str) -> list[str]:
        return self.by_type.get(kind, [])

    def without(self, found: Iterable[Any]) -> list[Any]:
        """Those that the state does not know."""
        return [thing for thing in found if thing.id not in self.ids]


def find(
    cloud: Connection, tenant: Callable[[], Connection], wanted: Mapping[str, Any], state: Mapping[str, Any]
) -> list[Stray]:
    """All strays of a stack, in the order in which they can be removed.

    `wanted` is grants.auto.tfvars.json, `state` a `show -json` of the state; `tenant` logs in as the stack's own
    user, and is called only if one of its application credentials may be astray.
    """
    known = _known(state)
    found = [
        *_network(cloud, wanted, known),
        *_credentials(tenant, wanted, known),
        *_images(cloud, wanted, known),
    ]
    if "project" in wanted:
        found += [*_flavors(cloud, wanted, known), *_people(cloud, wanted, known)]
    return found


def _known(state: Mapping[str, Any]) -> _Known:
    by_type: dict[str, list[str]] = {}
    names = set()
    for resource in resources(state.get("values") or {}):
        if resource.get("mode") == "managed":
            by_type.setdefault(resource["type"], []).append(str(resource["values"].get("id")))
            if resource["type"] == CREDENTIAL:
                names.add(str(resource["values"].get("name")))
    return _Known(frozenset(i for ids in by_type.values() for i in ids), by_type, frozenset(names))


def _network(cloud: Connection, wanted: Mapping[str, Any], known: _Known) -> Iterator[Stray]:
    mark = wanted["description"]
    yield from _routers(cloud, mark, known)
    yield from _networks(cloud, mark, known)
    yield from _groups(cloud, mark, known)


def _routers(cloud: Connection, mark: str, known: _Known) -> Iterator[Stray]:
    net = cloud.network
    for router in known.of("openstack_networking_router_v2"):
        for port in known.without(net.ports(device_id=router, device_owner="network:router_interface")):
            yield Stray(
                port.id,
                "interface of the router",
                partial(net.remove_interface_from_router, router, port=port.id),
            )
    for router in known.without(net.routers(description=mark)):
        yield Stray(router.id, f"router {router.name}", partial(_delete_router, cloud, router.id))


def _networks(cloud: Connection, mark: str, known: _Known) -> Iterator[Stray]:
    net = cloud.network
    for network in known.of("openstack_networking_network_v2"):
        for subnet in known.without(net.subnets(network_id=network)):
            what = f"subnet {subnet.name or subnet.cidr}"
            yield Stray(subnet.id, what, partial(net.delete_subnet, subnet.id), carries=True)
    for network in known.without(net.networks(description=mark)):
        remove = partial(net.delete_network, network.id)
        yield Stray(network.id, f"network {network.name}", remove, carries=True)


def _groups(cloud: Connection, mark: str, known: _Known) -> Iterator[Stray]:
    net = cloud.network
    for group in known.of("openstack_networking_secgroup_v2"):
        for rule in known.without(net.security_group_rules(security_group_id=group)):
            yield Stray(
                rule.id, "rule of the security group", partial(net.delete_security_group_rule, rule.id)
            )
    for group in known.without(net.security_groups(description=mark)):
        remove = partial(net.delete_security_group, group.id)
        yield Stray(group.id, f"security group {group.name}", remove, carries=True)


def _delete_router(cloud: Connection, router: str) -> None:
    for port in list(cloud.network.ports(device_id=router, device_owner="network:router_interface")):
        cloud.network.remove_interface_from_router(router, port=port.id)
    cloud.network.delete_router(router)


def _credentials(
    tenant: Callable[[], Connection], wanted: Mapping[str, Any], known: _Known
) -> Iterator[Stray]:
    """Looked for on days on which one is made or goes: only then a killed run can have left one."""
    names = {row["name"] for row in wanted["credentials"].values()}
    there = "project" not in wanted or "openstack_identity_user_v3" in known.by_type
    if names == known.credentials or not there:
        return
    cloud = tenant()
    for credential in cloud.identity.application_credentials(cloud.current_user_id):
        if credential.id not in known.ids and credential.description == wanted["description"]:
            remove = partial(
                cloud.identity.delete_application_credential, cloud.current_user_id, credential.id
            )
            yield Stray(credential.id, f"application credential {credential.name}", remove, login=True)


def _flavors(cloud: Connection, wanted: Mapping[str, Any], known: _Known) -> Iterator[Stray]:
    accessible = {i.split("/")[0]: i for i in known.of("openstack_compute_flavor_access_v2")}
    projects = known.of("openstack_identity_project_v3")
    for flavor in known.of("openstack_compute_flavor_v2"):
        if flavor in accessible or not projects:
            continue
        for row in cloud.compute.get_flavor_access(flavor):
            if row["tenant_id"] == projects[0]:
                remove = partial(cloud.compute.flavor_remove_tenant_access, flavor, projects[0])
                yield Stray(f"{flavor}/{projects[0]}", f"access to the flavor {flavor}", remove)
    for found in cloud.compute.flavors(is_public=None):
        if found.id not in known.ids and found.description == wanted["description"]:
            yield Stray(found.id, f"flavor {found.name}", partial(cloud.compute.delete_flavor, found.id))


def _images(cloud: Connection, wanted: Mapping[str, Any], known: _Known) -> Iterator[Stray]:
    tags = set(wanted["tags"])
    for image in known.without(cloud.image.images(tag=sorted(tags)[-1])):
        if tags <= set(image.tags):
            yield Stray(image.id, f"image {image.name}", partial(cloud.image.delete_image, image.id))


def _people(cloud: Connection, wanted: Mapping[str, Any], known: _Known) -> Iterator[Stray]:
    mark, name = wanted["description"], wanted["project"]["name"]
    # By the beginning of their names: a login that is wanted no more was perhaps lost, too.
    begins = wanted["project"]["user_name"].removesuffix(PROVISIONER)
    listed = cloud.identity.get("/users", params={"name__startswith": begins}).json()["users"]
    for user in listed:
        if user["id"] not in known.ids and user.get("description") == mark:
            remove = partial(cloud.identity.delete_user, user["id"])
            yield Stray(
                user["id"], f"user {user['name']}", remove, login=user["name"] != f"{begins}{PROVISIONER}"
            )
    for project in cloud.identity.projects(name=name):
        if project.id not in known.ids and project.description == mark:
            remove = partial(cloud.identity.delete_project, project.id)
            yield Stray(project.id, f"project {project.name}", remove, carries=True)
