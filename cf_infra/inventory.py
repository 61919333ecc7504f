"""From OpenTofu's state to the inventory that status, receipts and the search for orphans work with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from cf_infra.deployment import Deployment, InventoryFile, MachineRow, now, resources
from cf_infra.resolve import ResolvedStack

SERVER = "openstack_compute_instance_v2"
FLAVOR = "openstack_compute_flavor_v2"
USER = "openstack_identity_user_v3"
PROJECT = "openstack_identity_project_v3"
CREDENTIAL = "openstack_identity_application_credential_v3"


def inventory(
    deployment: Deployment,
    state: Mapping[str, Any],
    resolved: ResolvedStack | None,
    cloud_id: str,
    today: date,
    stack_file: str,
    complete: bool,
) -> InventoryFile:
    """The inventory of `state` (a `show -json` of the state). `resolved` is None where the stack is destroyed."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for resource in resources(state.get("values") or {}):
        if resource.get("mode") == "managed":
            found.setdefault(resource["type"], []).append(resource)
    projects = found.get(PROJECT, [])
    access = resolved.access if resolved is not None else {}
    return InventoryFile(
        stack=deployment.stack,
        cloud=deployment.cloud,
        cloud_id=cloud_id,
        applied_at=now().isoformat(),
        today=today.isoformat(),
        complete=complete,
        machines=[_machine(r, resolved) for r in sorted(found.get(SERVER, ()), key=_index)],
        flavors={_index(r): _named(r) for r in found.get(FLAVOR, ())},
        users={_index(r): _named(r) for r in found.get(USER, ()) if "index" in r},
        credentials={_index(r): _named(r) for r in found.get(CREDENTIAL, ())},
        project=projects[0]["values"]["id"] if projects else None,
        access={key: ends.isoformat() if ends is not None else None for key, ends in access.items()},
        stack_file=stack_file,
    )


def server_ids(state: Mapping[str, Any]) -> dict[str, str]:
    """Server id -> machine key, of a `show -json` of state or of a plan's prior state."""
    return {
        r["values"]["id"]: _index(r)
        for r in resources(state.get("values") or {})
        if r.get("type") == SERVER and r.get("mode") == "managed"
    }


def _index(resource: Mapping[str, Any]) -> str:
    return str(resource.get("index", ""))


def _named(resource: Mapping[str, Any]) -> dict[str, str]:
    return {"id": str(resource["values"]["id"]), "name": str(resource["values"].get("name") or "")}


def _machine(resource: Mapping[str, Any], resolved: ResolvedStack | None) -> MachineRow:
    values, key = resource["values"], _index(resource)
    machine = resolved.machines.get(key) if resolved is not None else None
    return MachineRow(
        key=key,
        id=str(values["id"]),
        name=str(values.get("name") or ""),
        ip=str(values.get("access_ip_v4") or values.get("access_ip_v6") or ""),
        runner_class=machine.runner_class if machine else "",
        grants=list(machine.grants) if machine else [],
    )
