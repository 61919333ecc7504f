"""Servers that exist but are in no state: a run was killed between making them and writing that down.

OpenStack allows equal names, and an orphan holds its GPU: left alone, the next run would make a second server, or
find no host for it. Pure: what is there and what is wanted come in, the decision goes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from cf_infra.openstack import Server


@dataclass(frozen=True)
class Orphans:
    """`adopt`: machine key -> server id, to be imported; `remove`: with the reason why it is of no use."""

    adopt: dict[str, str]
    remove: list[tuple[Server, str]]


def decide(
    marked: Iterable[Server], known: Mapping[str, str], wanted: Mapping[str, Any], lost: str | None = None
) -> Orphans:
    """What to do with the servers that carry a stack's marks.

    `known`: server id -> machine key, of the state. `wanted`: grants.auto.tfvars.json. A server is adopted if
    it is one that would be made now: same name, flavor and user data, running, and nobody has its place. `lost`:
    something that servers stand on and that is in no state either, so that it goes, and they with it.
    """
    taken: Set[str] = set(known.values())
    adopt: dict[str, str] = {}
    remove: list[tuple[Server, str]] = []
    for server in marked:
        if server.id in known:
            continue
        why = _unfit(server, wanted) or (lost and f"nor is the {lost} that it stands on")
        if why is None and (server.grant in taken or server.grant in adopt):
            why = "its place is taken"
        if why is None:
            adopt[server.grant] = server.id
        else:
            remove.append((server, why))
    return Orphans(adopt, remove)


def _unfit(server: Server, wanted: Mapping[str, Any]) -> str | None:
    machine = wanted["machines"].get(server.grant)
    if machine is None:
        return "nobody is granted it"
    if server.status != "ACTIVE":
        return f"it is in {server.status}"
    if server.name != machine["name"] or server.flavor != wanted["flavors"][machine["flavor"]]["name"]:
        return "it is another machine than the one that is wanted now"
    if server.image != wanted["images"][machine["image"]]["name"]:
        return "it was booted from another image"
    text = wanted["user_data"][machine["user_data"]].replace("@HOSTNAME@", machine["hostname"])
    if server.metadata.get("user_data_sha256") != hashlib.sha256(text.encode()).hexdigest():
        return "it was booted with other user data"
    return None
