"""`status`: what the last apply left, what hosts have free, and with --live what the cloud says now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

from cf_infra import capacity, credential_report, kinds, lab, ledger, openstack, project
from cf_infra.at_github import Ask
from cf_infra.commands import Outcome
from cf_infra.deployment import Deployment, InventoryFile, deployments, load_inventory, now
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github_login import github_login
from cf_infra.model import GithubAccess, Kind, Rights
from cf_infra.project import Folder
from cf_infra.resolve import demands

Say = Callable[[str], None]
OLD = timedelta(days=2)


def status(folder: Folder, names: Sequence[str], live: bool, say: Say) -> Outcome:
    """Rows and text for the named stacks, or all that were ever applied. Raises Failure("unknown-stack")."""
    own = kinds.clouds(folder.inventory)
    found = [d for d in deployments(folder.root, own) if not names or d.stack in names]
    for name in names:
        if name not in own and all(d.stack != name for d in found):
            known = ", ".join(sorted(own)) or "none"
            raise Failure(
                Diagnostic("unknown-stack", detail=f"There is no stack `{name}`. There are: {known}.")
            )
    rows, blocks, told = [], [], []
    for deployment in found:
        inventory = load_inventory(deployment.state)
        if inventory is None:
            continue
        logins = _logins(folder, deployment)
        told += credential_report.faults(deployment.stack, logins, folder.today)
        if deployment.cloud.startswith(kinds.GITHUB):
            holds = _holds(folder, deployment, inventory, live, say)
            row = _row(deployment, inventory, None)
            rows.append({**row, "live": live, "holds": holds, "credentials": logins})
            block = _github_block(deployment, inventory, holds, live)
        else:
            seen = _live(folder, deployment, say) if live else None
            rows.append({**_row(deployment, inventory, seen), "credentials": logins})
            block = _block(deployment, inventory, seen)
        blocks.append("\n".join([block.rstrip("\n"), *credential_report.lines(logins)]) + "\n")
        if not live and now() - _time(inventory) > OLD:
            told.append(Diagnostic("old-inventory", detail=f"`{deployment.name}` was applied {inventory.age(now())}.",
                                   hint=f"ask the cloud:\ncf-infra status {deployment.stack} --live"))  # fmt: skip
    for name, logins in _without_inventory(folder, names, {d.stack for d in found}).items():
        told += credential_report.faults(name, logins, folder.today)
        rows.append({"stack": name, "credentials": logins})
        blocks.append(
            "\n".join([f"{name}: nothing of ours to provision", *credential_report.lines(logins)]) + "\n"
        )
    free = _free(folder, names)
    if not blocks:
        blocks.append("Nothing is applied yet.\n  next: cf-infra plan, then cf-infra apply\n")
    return Outcome(rows, "\n".join([*blocks, *free]), project.placed(folder, told))


def _logins(folder: Folder, deployment: Deployment) -> list[dict[str, Any]]:
    """The credentials of a stack that still has a file, as the ledger has them."""
    stack = folder.inventory.stacks.get(deployment.stack)
    if stack is None:
        return []
    return credential_report.rows(deployment.stack, stack, folder.today, ledger.load(deployment.state))


def _without_inventory(
    folder: Folder, names: Sequence[str], known: set[str]
) -> dict[str, list[dict[str, Any]]]:
    """The credentials of stacks that provision nothing, as far as something was done about them."""
    return {
        name: credential_report.rows(name, stack, folder.today, folder.ledgers[name])
        for name, stack in folder.inventory.stacks.items()
        if name not in known and (not names or name in names) and folder.ledgers.get(name)
    }


def _time(inventory: InventoryFile) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(inventory.applied_at)


def _live(folder: Folder, deployment: Deployment, say: Say) -> dict[str, openstack.Server]:
    say(f"{deployment.name}: asking {deployment.cloud}")
    login = openstack.login(deployment.cloud, lab.state_dir(folder.root))
    stack = folder.inventory.stacks.get(deployment.stack)
    admin = stack is None or stack.rights is Rights.ADMIN
    with openstack.connected(login) as cloud:
        return {server.id: server for server in openstack.servers(cloud, deployment.stack, admin)}


def _holds(
    folder: Folder, deployment: Deployment, inventory: InventoryFile, live: bool, say: Say
) -> list[dict[str, Any]]:
    """Who is named where as the last apply left it; with `live`, whether GitHub still names them."""
    if not live:
        return inventory.holds
    say(f"{deployment.name}: asking {deployment.cloud}")
    stack = folder.inventory.stacks.get(deployment.stack)
    repository = stack.github.repository if stack and stack.github else GithubAccess().repository
    with closing(github_login(folder.inventory.settings).client(say)) as github:
        ask = Ask(github, repository)
        return [
            {**row, "there": row["repository"].lower() in ask.named(row["place"], row["name"])}
            for row in inventory.holds
        ]


def _github_block(
    deployment: Deployment, inventory: InventoryFile, holds: list[dict[str, Any]], live: bool
) -> str:
    when = f"{'asked just now; last apply' if live else 'as applied'} {inventory.age(now())}"
    failed = "" if inventory.complete else " (the last apply failed)"
    lines = [f"{deployment.name} on {inventory.cloud}, {when}{failed}"]
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in holds:
        places.setdefault((row["place"], row["name"]), []).append(row)
    for (place, name), found in places.items():
        lines.append(f"  {place} {name}: {len(found)} repositories")
        lines += [f"    {row['repository']}  GONE" for row in found if not row.get("there", True)]
    return "\n".join([*lines, f"  {len(inventory.access)} grants have access"]) + "\n"


def _row(
    deployment: Deployment, inventory: InventoryFile, seen: dict[str, openstack.Server] | None
) -> dict[str, Any]:
    servers = [
        {
            "grant": row.key,
            "grants": row.grants,
            "id": row.id,
            "name": row.name,
            "ip": row.ip,
            "class": row.runner_class,
            "status": _state(row.id, seen),
        }
        for row in inventory.machines
    ]
    return {
        "stack": inventory.stack,
        "cloud": inventory.cloud,
        "own_cloud": deployment.own,
        "applied_at": inventory.applied_at,
        "complete": inventory.complete,
        "live": seen is not None,
        "servers": servers,
        "without_state": [
            s.id for s in (seen or {}).values() if s.id not in {r.id for r in inventory.machines}
        ],
        "flavors": {name: row["name"] for name, row in inventory.flavors.items()},
        "logins": sorted([*inventory.users, *inventory.credentials]),
        "access": inventory.access,
    }


def _state(server_id: str, seen: dict[str, openstack.Server] | None) -> str:
    if seen is None:
        return "applied"
    return seen[server_id].status if server_id in seen else "GONE"


def _block(deployment: Deployment, inventory: InventoryFile, seen: dict[str, openstack.Server] | None) -> str:
    when = (
        f"asked just now; last apply {inventory.age(now())}"
        if seen is not None
        else f"as applied {inventory.age(now())}"
    )
    lines = [
        f"{deployment.name} on {inventory.cloud}, {when}{'' if inventory.complete else ' (the last apply failed)'}"
    ]
    width = max((len(row.key) for row in inventory.machines), default=0)
    lines += [
        f"  {row.key:<{width}}  {_state(row.id, seen):<8}  {row.ip:<15}  {row.id}"
        for row in inventory.machines
    ]
    if not inventory.machines:
        lines.append("  no servers of its own")
    known = {row.id for row in inventory.machines}
    lines += [
        f"  {server.grant}  {server.status}, in no state: {server.id}"
        for server in (seen or {}).values()
        if server.id not in known
    ]
    logins = sorted([*inventory.users, *inventory.credentials])
    lines.append(f"  {len(inventory.flavors)} flavors offered, {len(inventory.access)} grants have access")
    lines.append(f"  logins there: {', '.join(logins) or 'none'}")
    return "\n".join(lines) + "\n"


def _free(folder: Folder, names: Sequence[str]) -> list[str]:
    """What the hosts have left beside pools and dedicated machines; only where the files are without errors."""
    if any(d.severity == "error" for d in folder.diagnostics):
        return []
    offers = folder.resolved().catalog
    wanted = demands(folder.inventory, offers, folder.today)
    blocks = []
    for name, stack in folder.inventory.stacks.items():
        if stack.kind is not Kind.OPENSTACK or not stack.hosts or (names and name not in names):
            continue
        placement = capacity.place(stack.hosts, wanted[name])
        lines = [f"{name}: free beside pools and dedicated machines"]
        for host in stack.hosts:
            have, left = capacity.total(host), placement.left[host.name]
            lines.append(f"  {host.name}  {left.gpus} of {have.gpus} GPU groups, {left.vcpus} of {have.vcpus} vCPUs, "
                         f"{left.memory_mib // 1024} of {have.memory_mib // 1024} GiB")  # fmt: skip
        blocks.append("\n".join(lines) + "\n")
    return blocks
