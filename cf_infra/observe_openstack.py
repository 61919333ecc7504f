"""Looks at a stack's cloud for an audit: servers, logins and flavors that carry our marks. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cf_infra import openstack
from cf_infra.compile import MANAGED_BY
from cf_infra.deployment import InventoryFile
from cf_infra.names import prefix
from cf_infra.observed import Left, NotAsked, SeenCloud, SeenFlavor, SeenLogin, SeenServer

Say = Callable[[str], None]


def look(
    connection: Any, stack: str, cloud: str, admin: bool, inventory: InventoryFile | None
) -> tuple[SeenCloud, list[NotAsked]]:
    """What is there, and what the login may not see. Raises Failure where the cloud does not answer."""
    not_asked: list[NotAsked] = []
    with openstack.explained(cloud):
        servers = [
            SeenServer(id=s.id, name=s.name, grant=s.grant, status=s.status, created=s.created)
            for s in openstack.servers(connection, stack, admin)
        ]
        logins = [
            *(_users(connection, stack) if admin else ()),
            *_credentials(connection, stack, inventory, not_asked),
        ]
        flavors = list(_flavors(connection, inventory)) if admin and inventory is not None else []
    if not admin:
        why = "The login has rights `member`: users and the access to flavors are the donor's to look at."
        not_asked.append(
            NotAsked(place=f"{stack} ({cloud}) users and flavors", why=why, fix="# ask the donor")
        )
    return SeenCloud(cloud=cloud, servers=servers, logins=logins, flavors=flavors), not_asked


def left(inventory: InventoryFile | None) -> Left:
    """The inventory as the comparison needs it."""
    if inventory is None:
        return Left()
    return Left(
        applied_at=inventory.applied_at,
        servers=[row.id for row in inventory.machines],
        logins=[row["id"] for row in (*inventory.users.values(), *inventory.credentials.values())],
        project=inventory.project,
    )


def _mark(stack: str) -> str:
    return f"managed by {MANAGED_BY}, stack {stack}"


def _users(connection: Any, stack: str) -> Iterator[SeenLogin]:
    listed = connection.identity.get("/users", params={"name__startswith": prefix(stack)}).json()["users"]
    for user in listed:
        # The provisioner is the stack's own, and stands in the state without a row in the inventory.
        if user.get("description") == _mark(stack) and not user["name"].endswith("-provisioner"):
            yield SeenLogin(id=user["id"], name=user["name"], sort="user")


def _credentials(
    connection: Any, stack: str, inventory: InventoryFile | None, not_asked: list[NotAsked]
) -> Iterator[SeenLogin]:
    """Application credentials of our own login, and of the stack's users where the cloud shows them."""
    from openstack import exceptions as sdk

    owners = [connection.current_user_id]
    owners += [row["id"] for row in inventory.users.values()] if inventory is not None else []
    for owner in owners:
        try:
            for one in connection.identity.application_credentials(owner):
                if one.description == _mark(stack):
                    yield SeenLogin(id=one.id, name=one.name, sort="application credential")
        except (sdk.ForbiddenException, sdk.NotFoundException):
            why = f"The cloud does not show the application credentials of the user {owner}."
            place = f"{stack} application credentials of {owner}"
            not_asked.append(NotAsked(place=place, why=why, fix="# ask the cloud's operators"))


def _flavors(connection: Any, inventory: InventoryFile) -> Iterator[SeenFlavor]:
    there = {flavor.id: flavor for flavor in connection.compute.flavors(is_public=None)}
    for runner_class, row in sorted(inventory.flavors.items()):
        flavor = there.get(row["id"])
        if flavor is not None:
            rows = [] if flavor.is_public else connection.compute.get_flavor_access(flavor.id)
            projects = None if flavor.is_public else sorted(str(one["tenant_id"]) for one in rows)
            yield SeenFlavor(id=flavor.id, name=flavor.name, runner_class=runner_class, projects=projects)
