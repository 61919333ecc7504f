"""Cirun's two lists, .access.yml and .cirun.global.yml: made from what is resolved, and .access.yml read back.

Format: https://docs.cirun.io, and conda-forge/.cirun. A policy says who may trigger jobs of a repository; access
control says which policies open a resource; a resource that is listed twice means the union.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Literal

from pydantic import Field

from cf_infra import yaml12
from cf_infra.catalog import Catalog
from cf_infra.diagnostics import Diagnostic, Failure, nearest, some
from cf_infra.edit import scalar as scalar
from cf_infra.model import (
    Frozen,
    Grant,
    Inventory,
    Kind,
    Line,
    Login,
    Offer,
    Repository,
    Resource,
    Stack,
    Url,
    Via,
)
from cf_infra.names import flavor_name, image_name
from cf_infra.parse import is_mapping, place, texts, validated
from cf_infra.people import terms_of, with_access
from cf_infra.resolve import Access, Resolved

# ------------------------------------------------------------------------------------------------ the format


class Policy(Frozen):
    """Who may trigger jobs of a repository."""

    id: Line
    repo: Repository
    roles: list[Login] = Field(default_factory=list)
    teams: list[Repository] = Field(default_factory=list)
    users: list[Login] = Field(default_factory=list)
    users_from_json: Url | None = None
    pull_request: bool = False


class Control(Frozen):
    """Which policies open a resource."""

    resource: Resource
    policies: list[Line] = Field(default_factory=list)


class AccessList(Frozen):
    """.access.yml as a whole."""

    version: Literal[1] = 1
    policies: list[Policy] = Field(default_factory=list)
    access_control: list[Control] = Field(default_factory=list)

    def resources_of(self) -> dict[str, list[str]]:
        """Policy id -> the resources that it opens, in the order of the file, each once."""
        found: dict[str, dict[str, None]] = {policy.id: {} for policy in self.policies}
        for control in self.access_control:
            for policy in control.policies:
                found.setdefault(policy, {})[control.resource] = None
        return {policy: list(resources) for policy, resources in found.items()}


def read_access(raw: bytes, file: str) -> AccessList:
    """The access list in `raw`. Raises Failure with everything that is wrong with it."""
    value, faults = yaml12.load(raw, file, yaml12.LIMIT_GRANTS)
    if faults or not is_mapping(value, file, faults):
        raise Failure(*place(faults, texts({file: raw})))
    access = validated(value, AccessList, file, faults)
    if access is not None:
        faults += _inconsistent(access, file)
    if access is None or faults:
        raise Failure(*place(faults, texts({file: raw})))
    return access


def _inconsistent(access: AccessList, file: str) -> Iterable[Diagnostic]:
    ids: set[str] = set()
    for index, policy in enumerate(access.policies):
        if policy.id in ids:
            yield Diagnostic(
                "bad-access-list",
                file=file,
                path=("policies", index, "id"),
                label="again",
                detail=f"There are two policies `{policy.id}`, and nobody can say which of them is meant.",
                hint="give each policy its own id",
            )
        ids.add(policy.id)
    for index, control in enumerate(access.access_control):
        for position, policy_id in enumerate(control.policies):
            if policy_id not in ids:
                yield Diagnostic(
                    "bad-access-list",
                    file=file,
                    path=("access_control", index, "policies", position),
                    label="no such policy",
                    detail=f"There is no policy `{policy_id}`. There are: {some(sorted(ids), policy_id)}.",
                    hint=f"do you mean `{near}`?" if (near := nearest(policy_id, ids)) else "add the policy",
                )


# ------------------------------------------------------------------------------------------------ export


@dataclass(frozen=True)
class _Row:
    policy: Policy
    labels: tuple[str, ...]


def export_access(resolved: Resolved, inventory: Inventory) -> AccessList:
    """All access that is alive as Cirun's list: policies sorted by id, resources in the order of the entries."""
    people = _people(inventory, resolved.today)
    by_entry: dict[int, list[Access]] = {}
    for access in resolved.access:
        by_entry.setdefault(access.index, []).append(access)
    rows = []
    taken = {grant.id for grant in inventory.grants.values() if grant.id is not None}
    for index, grant in inventory.grants.items():
        labels = tuple(
            dict.fromkeys(
                label for access in by_entry.get(index, ()) for label in _labels(access, resolved.catalog)
            )
        )
        if labels or (grant.imported is not None and not grant.resources):
            policy = _policy(grant, _id(grant, taken), people)
            # With nobody left of its people, a policy would be open to everybody who has a role.
            if policy.users or policy.users_from_json is not None or grant.terms is None:
                rows.append(_Row(policy, labels))
    policies = {row.policy.id: row.policy for row in rows}
    opened: dict[str, list[str]] = {label: [] for label in _merged_order([row.labels for row in rows])}
    for row in rows:
        for label in row.labels:
            opened[label].append(row.policy.id)
    controls = [Control(resource=label, policies=sorted(ids)) for label, ids in opened.items()]
    return AccessList(policies=[policies[i] for i in sorted(policies)], access_control=controls)


def _labels(access: Access, offers: Catalog) -> Iterable[str]:
    found = offers.offers(access.resource, access.grant.stack)
    if not found:
        yield access.resource  # imported, and offered by nobody we know: kept as it is
    for offered in found:
        if offered.offer.via is Via.CIRUN and offered.offer.label is not None:
            yield offered.offer.label


def _id(grant: Grant, taken: set[str]) -> str:
    if grant.id is not None:
        return grant.id
    name = f"{grant.repository}-policy"
    number = 2
    while name in taken:
        name, number = f"{grant.repository}-{number}-policy", number + 1
    taken.add(name)
    return name


def _people(inventory: Inventory, today: date) -> dict[str, str | tuple[str, ...]]:
    """By name of terms: where Cirun reads their people; or the logins, where it would read some who have no access."""
    found: dict[str, str | tuple[str, ...]] = {}
    for name in {grant.terms for grant in inventory.grants.values() if grant.terms is not None}:
        terms = terms_of(inventory.stacks, name)
        listed = inventory.users.get(name)
        if listed is None:
            found[name] = terms.url or ()
            continue
        users = with_access(listed, terms, today)
        everybody = len(users) == len(listed.users)
        found[name] = terms.url if terms.url and everybody else tuple(user.github for user in users)
    return found


def _policy(grant: Grant, policy_id: str, people: Mapping[str, str | tuple[str, ...]]) -> Policy:
    url, users = grant.terms_url, list(grant.users)
    of_terms = people[grant.terms] if grant.terms is not None else ()
    if isinstance(of_terms, str):
        url = url or of_terms
    elif url is None:
        known = {login.lower() for login in users}
        users += [login for login in of_terms if login.lower() not in known]
    return Policy(
        id=policy_id,
        repo=grant.repository,
        roles=grant.roles,
        teams=grant.teams,
        users=users,
        users_from_json=url,
        pull_request=grant.pull_requests,
    )


def _merged_order(lists: list[tuple[str, ...]]) -> list[str]:
    """All names, in an order that keeps that of each list where they agree; else that of first appearance."""
    rank: dict[str, int] = {}
    after: dict[str, set[str]] = {}
    for names in dict.fromkeys(lists):
        for name in names:
            rank.setdefault(name, len(rank))
        for one, other in pairwise(names):
            after.setdefault(one, set()).add(other)
    waits = dict.fromkeys(rank, 0)
    for others in after.values():
        for name in others:
            waits[name] += 1
    ready = [(rank[name], name) for name, count in waits.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        _, name = heapq.heappop(ready)
        order.append(name)
        for other in after.get(name, ()):
            waits[other] -= 1
            if waits[other] == 0:
                heapq.heappush(ready, (rank[other], other))
    return order if len(order) == len(rank) else list(rank)


# --------------------------------------------------------------------------------------------- as YAML text


def access_text(access: AccessList) -> str:
    """.access.yml: the same list, the same bytes."""
    lines = [f"version: {access.version}", "policies:" if access.policies else "policies: []"]
    for policy in access.policies:
        lines += [f"  - id: {scalar(policy.id)}", f"    repo: {scalar(policy.repo)}"]
        for name, values in (("roles", policy.roles), ("teams", policy.teams), ("users", policy.users)):
            if values:
                lines += [f"    {name}:", *(f"      - {scalar(value)}" for value in values)]
        lines.append(f"    pull_request: {scalar(policy.pull_request)}")
        if policy.users_from_json is not None:
            lines.append(f"    users_from_json: {scalar(policy.users_from_json)}")
    lines.append("access_control:" if access.access_control else "access_control: []")
    for control in access.access_control:
        lines.append(f"  - resource: {scalar(control.resource)}")
        lines.append("    policies:" if control.policies else "    policies: []")
        lines += [f"      - {scalar(policy)}" for policy in control.policies]
    return "\n".join(lines) + "\n"


def runners_text(resolved: Resolved) -> str:
    """.cirun.global.yml: one runner for each offer that reaches its jobs through Cirun and says on what machine."""
    blocks = []
    for name, stack in sorted((n, s.stack) for n, s in resolved.stacks.items()):
        for runner_class, offer in stack.offers.items():
            if offer.via is Via.CIRUN and offer.label is not None:
                blocks.append(_runner(name, stack, runner_class, offer))
    found = [block for block in blocks if block]
    return "\n".join(["runners:", *found]) + "\n" if found else "runners: []\n"


_ARCH = {"x86_64": "x64", "aarch64": "arm64", "ppc64le": "ppc64le"}


def _runner(name: str, stack: Stack, runner_class: str, offer: Offer) -> str | None:
    ours = stack.kind is Kind.OPENSTACK
    cloud = offer.cirun.cloud or ("openstack" if ours else None)
    machine = flavor_name(name, runner_class, offer) if ours else (offer.cirun.instance_type or offer.flavor)
    image = image_name(name, stack, offer) if ours else offer.cirun.machine_image
    if cloud is None or machine is None or offer.label is None:
        return None
    values: dict[str, str | bool | int | None] = {
        "name": offer.label,
        "cloud": cloud,
        "instance_type": machine,
        "machine_image": image,
        "region": offer.cirun.region,
        "gpu": offer.cirun.gpu,
        "preemptible": offer.cirun.preemptible,
        "idle": offer.cirun.idle,
    }
    lines = [f"{key}: {scalar(value)}" for key, value in values.items() if value is not None]
    lines += ["labels:", *(f"  - {scalar(label)}" for label in (offer.os, _ARCH[offer.arch], offer.label))]
    if offer.cirun.extra_config:
        lines += [
            "extra_config:",
            *(f"  {scalar(k)}: {scalar(v)}" for k, v in offer.cirun.extra_config.items()),
        ]
    return "\n".join(f"  {'- ' if i == 0 else '  '}{line}" for i, line in enumerate(lines))


# ------------------------------------------------------------------------------------------------ import


@dataclass(frozen=True)
class Imported:
    """What an import does: the entries to add to grants.yaml, the ids that are new, and those that change nothing."""

    entries: list[Grant]
    added: list[str]
    known: list[str]


def import_access(
    access: AccessList, source: str, inventory: Inventory, offers: Catalog, classes: bool = False
) -> Imported:
    """The entries that `access` adds to `inventory`: one for each policy, names of resources kept.

    With `classes`, a label that exactly one offer has becomes its class.
    """
    names = {s.donor.terms.url: s.donor.terms.users for s in inventory.stacks.values() if s.donor.terms.users}
    resources = access.resources_of()
    _ensure_labels_are_no_classes(resources, offers)
    have = {_meaning(grant) for grant in inventory.grants.values()}
    added, known, entries = [], [], []
    for policy in access.policies:
        labels = [_named(label, offers, classes) for label in resources[policy.id]]
        terms = names.get(policy.users_from_json) if policy.users_from_json else None
        entry = _entry(policy, labels, terms, source)
        if _meaning(entry) in have:
            known.append(policy.id)
        else:
            added.append(policy.id)
            entries.append(entry)
    return Imported(entries, added, known)


def _ensure_labels_are_no_classes(resources: Mapping[str, list[str]], offers: Catalog) -> None:
    """A resource is a class or a label, and a label that is also a class would come out as that class's label."""
    faults = []
    for label in dict.fromkeys(name for names in resources.values() for name in names):
        found = [o for o in offers.offers(label) if o.runner_class == label and o.offer.label != label]
        if found:
            named = f"its label is `{found[0].offer.label}`" if found[0].offer.label else "it has no label"
            faults.append(
                Diagnostic(
                    "label-is-a-class",
                    file=f"stacks/{found[0].stack}.yaml",
                    path=("offers", label),
                    on_key=True,
                    label="also a label of the list",
                    detail=f"The list opens `{label}`, which is a class of `{found[0].stack}` here, and {named}.",
                    hint="name the class otherwise, or give it the label that the list has",
                )
            )
    if faults:
        raise Failure(*faults)


def _named(label: str, offers: Catalog, classes: bool) -> str:
    found = offers.offers(label)
    if not classes or len(found) != 1:
        return label
    # A class that another donor offers, too, would open more than the label did.
    alone = len(offers.offers(found[0].runner_class)) == 1
    return found[0].runner_class if alone else label


def _entry(policy: Policy, labels: list[str], terms: str | None, source: str) -> Grant:
    feedstock = policy.repo.removesuffix("-feedstock") if policy.repo.endswith("-feedstock") else ""
    named = bool(feedstock) and not feedstock.endswith("-feedstock")
    return Grant(
        feedstock=feedstock if named else None,
        repo=None if named else policy.repo,
        resources=labels,
        pull_requests=policy.pull_request,
        roles=policy.roles,
        teams=policy.teams,
        users=policy.users,
        terms=terms,
        terms_url=policy.users_from_json if terms is None else None,
        id=policy.id,
        imported=source,
    )


def _meaning(grant: Grant) -> tuple[object, ...]:
    return (
        grant.id,
        grant.repository,
        tuple(sorted(grant.resources)),
        frozenset(grant.roles),
        frozenset(grant.teams),
        frozenset(grant.users),
        grant.terms,
        grant.terms_url,
        grant.pull_requests,
    )
