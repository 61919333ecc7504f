"""What proves at an OpenStack that what was revoked is gone: servers, flavors, users and lists, each asked itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from cf_infra import openstack
from cf_infra.access import read_access
from cf_infra.deployment import Deployment, InventoryFile
from cf_infra.github_files import ACCESS
from cf_infra.model import Offer
from cf_infra.surroundings import Check

PATIENCE = 60.0
"""Seconds that Nova may take to forget a server that it shows as DELETED."""


def checks_of(
    cloud: Any,
    before: InventoryFile,
    after: InventoryFile,
    deployment: Deployment,
    offers: Mapping[str, Offer],
    admin: bool,
) -> dict[str, list[Check]]:
    """By grant what it had at an OpenStack before and has no more, each with the question whether it is there."""
    checks: dict[str, list[Check]] = {}
    alive = {row.id for row in after.machines}
    marked = {s.grant for s in _settled(cloud, before, admin)}
    for row in before.machines:
        if row.id not in alive:
            for grant in row.grants or [row.key]:
                checks.setdefault(grant, []).extend(_server_checks(cloud, row.id, row.name))
                if all(other.key != row.key for other in after.machines):
                    checks[grant].append((f"servers marked {row.key}", partial(marked.__contains__, row.key)))
    for grant in sorted(before.access.keys() - after.access.keys()):
        checks.setdefault(grant, []).extend(_access_checks(deployment, offers, grant))
    for grant, runner_class, flavor in _flavors_gone(before, after):
        checks.setdefault(grant, []).append(
            (f"flavor {flavor['name']} ({runner_class})", _flavor(cloud, flavor["id"], before))
        )
    for kind, gone in (
        ("user", _ids_gone(before.users, after.users)),
        ("credential", _ids_gone(before.credentials, after.credentials)),
    ):
        for key, login in gone:
            place = f"{kind} {login['name']} ({login['id']})"
            checks.setdefault(f"login {key}", []).append((place, _login(cloud, kind, login["id"])))
    if before.project is not None and after.project is None:
        project = before.project
        checks.setdefault(f"stack {before.stack}", []).append(
            (f"project {project}", lambda: openstack.exists(lambda: cloud.identity.get_project(project)))
        )
    return checks


def _settled(cloud: Any, before: InventoryFile, admin: bool) -> list[openstack.Server]:
    """The stack's servers, as soon as none is on its way out.

    Nova shows a server as DELETED for a while before it forgets it, and OpenTofu takes that for the end.
    """
    end = time.monotonic() + PATIENCE
    while True:
        found = openstack.servers(cloud, before.stack, admin)
        if time.monotonic() > end or all(server.status != "DELETED" for server in found):
            return found
        time.sleep(0.5)


def _server_checks(cloud: Any, server_id: str, name: str) -> Iterator[Check]:
    yield f"server {name} ({server_id})", lambda: openstack.server_by_id(cloud, server_id) is not None


def _access_checks(deployment: Deployment, offers: Mapping[str, Offer], grant: str) -> Iterator[Check]:
    repository, _, resource = grant.partition("/")
    offer = offers.get(resource)
    if offer is not None and offer.label is None:
        return  # no list names it: its machines are all there is
    label = offer.label if offer is not None and offer.label is not None else resource

    def is_there() -> bool:
        path = deployment.delivered / ACCESS
        if not path.is_file():
            return False
        listed = read_access(path.read_bytes(), ACCESS)
        repos = {p.id: p.repo for p in listed.policies}
        return any(
            c.resource == label and repository in (repos[p] for p in c.policies)
            for c in listed.access_control
        )

    yield f"access list, {label}", is_there


def _flavors_gone(before: InventoryFile, after: InventoryFile) -> Iterator[tuple[str, str, dict[str, str]]]:
    for runner_class, flavor in before.flavors.items():
        if runner_class not in after.flavors:
            ends = f"/{runner_class}"
            keys = {key for key in before.access if key.endswith(ends)} or {f"stack {before.stack}"}
            for grant in sorted(keys):
                yield grant, runner_class, flavor


def _flavor(cloud: Any, flavor_id: str, before: InventoryFile) -> Callable[[], bool]:
    def is_there() -> bool:
        if not openstack.exists(lambda: cloud.compute.get_flavor(flavor_id)):
            return False
        return any(row["tenant_id"] == before.project for row in cloud.compute.get_flavor_access(flavor_id))

    return is_there


def _login(cloud: Any, kind: str, key: str) -> Callable[[], bool]:
    if kind == "user":
        return lambda: openstack.exists(lambda: cloud.identity.get_user(key))
    return lambda: openstack.exists(
        lambda: cloud.identity.get_application_credential(cloud.current_user_id, key)
    )


def _ids_gone(
    before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]
) -> Iterable[tuple[str, dict[str, str]]]:
    there = {row["id"] for row in after.values()}
    return [(key, row) for key, row in before.items() if row["id"] not in there]
