"""A saved plan, as `tofu show -json` tells it, to what people and the limits need: who loses what, and how much.

Pure. The format is OpenTofu's internal/command/jsonplan (format_version 1.2); values that the plan marks as sensitive
are never shown, and count for no digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.model import Thresholds

MACHINES = "module.machine"
"""The module whose resources have grant keys for their index."""
HIDDEN = "(sensitive)"
SHOWN_AT_MOST = 8
"""Addresses that a message lists before it says how many more there are."""

_ACTIONS = {
    ("create",): "create",
    ("update",): "update",
    ("delete",): "delete",
    ("read",): "read",
    ("forget",): "forget",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    # OpenTofu 1.12 with lifecycle.destroy = false: the old object is left running, which is a forget.
    ("forget", "create"): "forget",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that the plan does. `action`: create, update, replace, delete, read or forget.

    `what` says it in words for people; `grants` are the keys of those whom it concerns.
    """

    address: str
    action: str
    what: str
    grants: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The form of the contract."""
        return {
            "address": self.address,
            "action": self.action,
            "what": self.what,
            "grants": list(self.grants),
        }


@dataclass(frozen=True, slots=True)
class Part:
    """A part of one resource that counts by itself, such as an entry of a list. `value` is what it says, hashed.

    Of what is done beside OpenTofu `name` is the whole address.
    """

    name: str
    action: str
    what: str
    grants: tuple[str, ...] = ()
    value: object = None

    def as_json(self) -> dict[str, object]:
        """In the form of an item."""
        return Item(self.name, self.action, _clean(self.what), self.grants).as_json()


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a resource that change, and the attributes that they tell all of."""

    parts: tuple[Part, ...]
    attributes: frozenset[str]


Divide = Callable[[Mapping[str, Any]], Parts | None]
"""Takes a resource change as the plan tells it; None where it has no parts."""


def undivided(_change: Mapping[str, Any]) -> Parts | None:
    """No resource has parts."""
    return None


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a plan of one stack does; `diagnostics` are errors that the plan itself is.

    `hashes`: by address and action the hash of what is planned there; equal ones do the same.
    """

    stack: str
    items: tuple[Item, ...]
    review_digest: str
    imports: int = 0
    diagnostics: tuple[Diagnostic, ...] = ()
    hashes: tuple[tuple[str, str, str], ...] = ()

    def count(self, *actions: str) -> int:
        """How many items have one of these actions."""
        return sum(item.action in actions for item in self.items)

    def as_json(self) -> dict[str, Any]:
        """The form of the contract; `total` counts what changes anything, an adoption included."""
        counts = {
            "add": self.count("create"),
            "change": self.count("update"),
            "replace": self.count("replace"),
            "destroy": self.count("delete"),
        }
        return {
            "stack": self.stack,
            **counts,
            "forget": self.count("forget"),
            "import": self.imports,
            "total": sum(counts.values())
            + sum(i.what.startswith("adopt ") for i in self.items if i.action == "read"),
            "review_digest": self.review_digest,
            "items": [item.as_json() for item in self.items],
        }


def summarise(
    shown: Mapping[str, Any],
    stack: str,
    owners: Mapping[str, Sequence[str]],
    versions: Mapping[str, str],
    divide: Divide = undivided,
    beside: Iterable[Part] = (),
) -> PlanSummary:
    """What the plan `shown` (of `tofu show -json`) does.

    What `divide` finds in a resource is shown and counted in its place, where it tells all that changes.

    `owners`: the grants of an address, or of a runner class that is the index of one, where the plan itself does not
    say them. `beside`: what is done without OpenTofu and is a part of what people review: it counts for the digest and
    is no item. `versions`: of OpenTofu and the providers; they count for the digest. Raises Failure if the plan has a
    form that is not known, or is not whole.
    """
    _readable(shown)
    words = _Words(shown)
    items, entries, forgotten, imports = [], [], [], 0
    for change in shown.get("resource_changes") or ():
        action = _action(change)
        if action is None:
            continue
        grants = _grants(change, owners)
        address = change["address"] + (f" (deposed {change['deposed']})" if change.get("deposed") else "")
        parts = divide(change)
        for part in parts.parts if parts else ():
            name = f"{address}#{part.name}"
            items.append(Item(name, part.action, _clean(part.what), part.grants))
            entries.append((name, part.action, part.grants, _digest(part.value)))
        if not (parts and action == "update" and _told(change, parts)):
            items.append(Item(address, action, words.phrase(change, action), grants))
            entries.append((address, action, grants, _values_hash(change, action, parts)))
        imports += bool(change["change"].get("importing"))
        if action == "forget":
            forgotten.append(address)
    entries += [(part.name, part.action, part.grants, _digest(part.value)) for part in beside]
    return PlanSummary(
        stack,
        tuple(sorted(items, key=lambda item: (item.address, item.action))),
        _digest([sorted(entries), sorted(versions.items())]),
        imports,
        tuple(_forget(stack, forgotten)),
        tuple(sorted((address, action, hashed) for address, action, _, hashed in entries)),
    )


def _told(change: Mapping[str, Any], parts: Parts) -> bool:
    """Do the parts tell everything that an update does?"""
    told = change["change"]
    changed = _changed(_mapping(told.get("before")), told)
    return bool(parts.parts) and not told.get("importing") and parts.attributes.issuperset(changed)


Hash = Sequence[str]
"""(address, action, hash) of one thing that a plan does."""


def beyond(hashes: Iterable[Hash], covered: Iterable[Hash]) -> list[str]:
    """The addresses at which a plan does something that another one, the reviewed one, does not.

    A part that the other one changes may go first and come later. Of a resource with parts the parts count, since
    the whole may be done in two steps.
    """
    allowed = {(address, action): value for address, action, value in covered}
    divided = {address.partition("#")[0] for address, _ in allowed if "#" in address}
    found = []
    for address, action, value in hashes:
        changed = allowed.get((address, "update")) if "#" in address else None
        good = (
            allowed.get((address, action)) == value
            or (changed is not None and (action == "delete" or changed == value))
            or ("#" not in address and address in divided and action == "update")
        )
        found += [] if good else [address]
    return sorted(found)


def _readable(shown: Mapping[str, Any]) -> None:
    version = str(shown.get("format_version", ""))
    if not re.fullmatch(r"1\.\d+", version):
        raise Failure(
            Diagnostic(
                "tool-too-old",
                detail=f"The plan has format {version or 'none'}; this version of cf-infra reads 1.x.",
                hint="use the OpenTofu that comes with it:\nmake setup",
            )
        )
    if shown.get("errored"):
        raise Failure(
            Diagnostic(
                "tofu-failed", detail="The plan ended with an error and is not whole.", hint="make a new one"
            )
        )


def _action(change: Mapping[str, Any]) -> str | None:
    """Our name of the action; None where nothing is done. To import an object is to read it."""
    actions = tuple(change["change"]["actions"])
    if actions == ("no-op",):
        return "read" if change["change"].get("importing") else None
    if actions not in _ACTIONS:
        raise Failure(
            Diagnostic(
                "tofu-failed",
                detail=f"{change['address']} has the action {'+'.join(actions)}, not known here.",
            )
        )
    return _ACTIONS[actions]


def _forget(stack: str, addresses: Sequence[str]) -> Iterator[Diagnostic]:
    if addresses:
        yield Diagnostic(
            "forget",
            detail=f"`{stack}` would leave these running and know them no more:\n{_some(sorted(addresses))}",
            hint="destroy them instead: take `removed` blocks and `destroy = false` out of the configuration",
        )


def _some(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN_AT_MOST
    return "\n".join([f"  {name}" for name in names[:SHOWN_AT_MOST]] + [f"  and {rest} more"] * (rest > 0))


# --- whom it concerns


def _grants(change: Mapping[str, Any], owners: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The grant keys: as told by `owners`, else by the mark on the server, else by its index."""
    address, index = change["address"], change.get("index")
    for name in (address, index):
        if isinstance(name, str) and name in owners:
            return tuple(sorted(owners[name]))
    if not isinstance(index, str) or not _in_module(change, MACHINES):
        return ()
    values = change["change"].get("after") or change["change"].get("before") or {}
    marked = (values.get("metadata") or {}).get("grant") if isinstance(values, dict) else None
    key = marked if isinstance(marked, str) else index
    if key in owners:
        return tuple(sorted(owners[key]))
    # `repository/class/2` is the second machine of a grant; `pool:class/1` belongs to nobody alone.
    parts = key.split("/")
    return () if key.startswith("pool:") or len(parts) < 2 else ("/".join(parts[:2]),)


def _in_module(change: Mapping[str, Any], module: str) -> bool:
    return str(change.get("module_address") or "").partition("[")[0] == module


# --- digests


def plan_digest(plan: bytes, compiled: Mapping[str, bytes], head: str) -> str:
    """The hash of what is applied: the saved plan file, the compiled files and the commit."""
    files = [(name, hashlib.sha256(content).hexdigest()) for name, content in sorted(compiled.items())]
    return _digest([hashlib.sha256(plan).hexdigest(), files, head])


def _values_hash(change: Mapping[str, Any], action: str, parts: Parts | None) -> str:
    """The hash of what is planned and known; of an object that goes, its address says enough.

    Of an update only what changes counts: the rest holds ids that the cloud made. An id by which an object is adopted
    does not count either, nor does what `parts` tell in names.
    """
    told = change["change"]
    after = _visible(told.get("after"), told.get("after_sensitive"), told.get("after_unknown"))
    if action in ("delete", "read", "forget"):
        values: object = None
    elif action == "update":
        before = _visible(told.get("before"), told.get("before_sensitive"), None)
        values = _differing(before, after)
    else:
        values = after
    if parts and isinstance(values, dict):
        values = {key: value for key, value in values.items() if key not in parts.attributes}
    return _digest([values, bool(told.get("importing"))])


def _differing(before: Any, after: Any) -> Any:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    return {key: value for key, value in after.items() if before.get(key) != value}


def _visible(value: Any, sensitive: Any, unknown: Any) -> Any:
    """`value` with what is sensitive replaced and what is not known yet left out."""
    if sensitive is True:
        return HIDDEN
    if isinstance(value, dict):
        hidden = sensitive if isinstance(sensitive, dict) else {}
        later = unknown if isinstance(unknown, dict) else {}
        return {
            key: _visible(item, hidden.get(key), later.get(key))
            for key, item in value.items()
            if later.get(key) is not True
        }
    if isinstance(value, list):
        return [_visible(item, _at(sensitive, n), _at(unknown, n)) for n, item in enumerate(value)]
    return value


def _at(marks: Any, index: int) -> Any:
    return marks[index] if isinstance(marks, list) and index < len(marks) else None


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


# --- in words


class _Words:
    """Says what a change does, by the names that things have; the sizes of flavors are looked up in the plan."""

    def __init__(self, shown: Mapping[str, Any]) -> None:
        self._flavors: dict[str, str] = {}
        states = (shown.get("prior_state") or {}).get("values"), shown.get("planned_values")
        for flavor in (found for state in states for found in _flavors(state or {})):
            values = flavor.get("values") or {}
            # By class, too: the id that a new server gets is known only when its flavor is there.
            for name in (values.get("id"), values.get("flavor_id"), flavor.get("index")):
                if isinstance(name, str):
                    self._flavors[name] = _size(values)

    def phrase(self, change: Mapping[str, Any], action: str) -> str:
        """A short phrase such as `server cf-lab-x (6 vCPUs, 60 GiB, 1 GPU); new: image_id`."""
        told = change["change"]
        before = _visible(told.get("before"), told.get("before_sensitive"), None)
        after = _visible(told.get("after"), told.get("after_sensitive"), told.get("after_unknown"))
        values = after if isinstance(after, dict) else before if isinstance(before, dict) else {}
        old = before if isinstance(before, dict) else {}
        text = self._thing(change, {**old, **values})
        if told.get("importing"):
            text = f"adopt {text}"
        if change.get("previous_address"):
            text += f"; was {change['previous_address']}"
        if change.get("deposed"):
            text += "; left from a replacement that failed"
        if action in ("update", "replace"):
            text += _why(change, _changed(old, told))
        return _clean(text)

    def _thing(self, change: Mapping[str, Any], values: Mapping[str, Any]) -> str:
        kind = str(change["type"])
        name = values.get("name")
        named = f" {name}" if isinstance(name, str) and name and name != HIDDEN else ""
        if kind == "openstack_compute_instance_v2":
            size = self._flavors.get(str(values.get("flavor_id"))) or self._flavors.get(_class(change), "")
            return f"server{named}{f' ({size})' if size else ''}"
        if kind == "openstack_compute_flavor_v2":
            return f"flavor{named} ({_size(values)})"
        if kind == "terraform_data":
            return f"record of {change.get('index') or change.get('name')}"
        extra = _EXTRAS[kind](values) if kind in _EXTRAS else ""
        label = _NAMES.get(kind) or re.sub(r"^[a-z]+_|_v\d+$", "", kind).replace("_", " ")
        index = change.get("index")
        called = named or (f" {index}" if isinstance(index, str) else "")
        return f"{label}{called}{f' ({extra})' if extra else ''}"


_NAMES = {
    "github_actions_organization_secret_repositories": "repositories of the secret",
    "github_actions_organization_variable": "variable",
    "github_actions_runner_group": "runner group",
    "github_app_installation_repository": "repository of the app:",
    "github_repository_file": "file",
    "openstack_compute_flavor_access_v2": "access to flavor",
    "openstack_compute_quotaset_v2": "quota",
    "openstack_identity_application_credential_v3": "application credential",
    "openstack_identity_project_v3": "project",
    "openstack_identity_role_assignment_v3": "role",
    "openstack_identity_user_v3": "user",
    "openstack_images_image_v2": "image",
    "openstack_networking_network_v2": "network",
    "openstack_networking_router_interface_v2": "router interface",
    "openstack_networking_router_v2": "router",
    "openstack_networking_secgroup_rule_v2": "security group rule",
    "openstack_networking_secgroup_v2": "security group",
    "openstack_networking_subnet_v2": "subnet",
}


def _listed(*names: str, unit: str = "") -> Any:
    def tell(values: Mapping[str, Any]) -> str:
        found = [str(values[n]) for n in names if values.get(n) not in (None, "", HIDDEN)]
        return " ".join(found) + (unit if found else "")

    return tell


def _quota(values: Mapping[str, Any]) -> str:
    ram = values.get("ram")
    memory = [f"{ram / 1024:g} GiB"] if isinstance(ram, int | float) else []
    return ", ".join([f"{values[n]} {n}" for n in ("instances", "cores") if n in values] + memory)


_EXTRAS = {
    "openstack_networking_subnet_v2": _listed("cidr"),
    "openstack_networking_secgroup_rule_v2": _listed("direction", "ethertype", "protocol", "port_range_min"),
    "openstack_identity_application_credential_v3": lambda v: (
        f"until {v['expires_at']}" if v.get("expires_at") else ""
    ),
    "openstack_compute_quotaset_v2": _quota,
}


def _size(flavor: Mapping[str, Any]) -> str:
    """`6 vCPUs, 60 GiB, 1 GPU` of the values of a flavor."""
    parts = []
    if isinstance(flavor.get("vcpus"), int):
        parts.append(f"{flavor['vcpus']} vCPU{'s' * (flavor['vcpus'] != 1)}")
    if isinstance(flavor.get("ram"), int | float):
        parts.append(f"{flavor['ram'] / 1024:g} GiB")
    alias = str((flavor.get("extra_specs") or {}).get("pci_passthrough:alias", ""))
    if count := re.search(r":(\d+)$", alias):
        parts.append(f"{count[1]} GPU{'s' * (count[1] != '1')}")
    return ", ".join(parts)


def _changed(before: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """The attributes that change, also those whose value is sensitive or known only later."""
    after, later = _mapping(told.get("after")), _mapping(told.get("after_unknown"))
    raw = _mapping(told.get("before")) or before
    known = {key for key, value in after.items() if raw.get(key) != value}
    return sorted(known | {key for key, value in later.items() if value is True})


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _why(change: Mapping[str, Any], changed: Sequence[str]) -> str:
    reason = change.get("action_reason")
    if reason == "replace_because_tainted":
        return "; it was not made whole"
    if reason == "replace_by_triggers":
        return "; what it was made from changes"
    forced = sorted({str(path[0]) for path in change["change"].get("replace_paths") or () if path})
    names = forced or changed
    more = len(names) - SHOWN_AT_MOST
    listed = ", ".join(names[:SHOWN_AT_MOST]) + (f" and {more} more" if more > 0 else "")
    return f"; {'new' if forced else 'changes'}: {listed}" if names else ""


def _flavors(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    modules = [values.get("root_module") or {}]
    while modules:
        module = modules.pop()
        yield from (
            r for r in module.get("resources") or () if r.get("type") == "openstack_compute_flavor_v2"
        )
        modules += module.get("child_modules") or ()


def _class(change: Mapping[str, Any]) -> str:
    """The runner class in a machine's key: `repository/class`, `repository/class/2` or `pool:class/1`."""
    parts = str(change.get("index") or "").removeprefix("pool:").split("/")
    return parts[0] if str(change.get("index")).startswith("pool:") else "".join(parts[1:2])


def _clean(text: str) -> str:
    """Names come from a cloud, which may have let anything in: nothing of them may steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:300]


# --- limits


@dataclass(frozen=True, slots=True)
class _Breach:
    count: int
    words: str


def limits(
    *,
    stack: str,
    servers: int,
    taken: int,
    pairs: int,
    lost: int,
    whole_stack: bool,
    thresholds: Thresholds,
    allowances: Mapping[str, int],
) -> list[Diagnostic]:
    """Why this plan may not be applied: too-many-deletes or wrong-allowance; empty if it may.

    `servers` before, of which `taken` are deleted or replaced; `pairs` of grants before, of which `lost` lose access
    (what ends by a date that was known does not count). `whole_stack`: its file is gone, or `destroy`. An allowance
    must be the number that the refusal names: the largest of the counts that are over a limit.
    """
    breaches = list(_breaches(servers, taken, pairs, lost, whole_stack, thresholds))
    if not breaches:
        return []
    number = _number(breaches)
    allowed = allowances.get(stack)
    if allowed == number:
        return []
    said = "\n".join(f"- {breach.words}" for breach in breaches)
    hint = _allow(stack, number)
    if allowed is not None:
        detail = f"`{stack}` has an allowance of {allowed}, and the plan takes away {number}:\n{said}"
        return [Diagnostic("wrong-allowance", detail=detail, hint=hint)]
    return [
        Diagnostic("too-many-deletes", detail=f"`{stack}` would lose too much at once:\n{said}", hint=hint)
    ]


def needed(
    *, servers: int, taken: int, pairs: int, lost: int, whole_stack: bool, thresholds: Thresholds
) -> int:
    """The number that an allowance must have for this plan; 0 if it needs none."""
    breaches = list(_breaches(servers, taken, pairs, lost, whole_stack, thresholds))
    return _number(breaches) if breaches else 0


def _number(breaches: Sequence[_Breach]) -> int:
    return max(1, *(breach.count for breach in breaches))


def _breaches(
    servers: int, taken: int, pairs: int, lost: int, whole_stack: bool, thresholds: Thresholds
) -> Iterable[_Breach]:
    if whole_stack:
        gone = [_of(taken, servers, "server"), _of(lost, pairs, "grant")]
        yield _Breach(taken or lost, f"the whole stack: {' and '.join(gone)}")
    elif _over(taken, servers, thresholds.servers, thresholds.servers_percent):
        yield _Breach(taken, _words(taken, servers, "server", thresholds.servers, thresholds.servers_percent))
    if _over(lost, pairs, thresholds.grants, thresholds.grants_percent):
        yield _Breach(lost, _words(lost, pairs, "grant", thresholds.grants, thresholds.grants_percent))


def _over(count: int, total: int, least: int, percent: int) -> bool:
    return count >= least and count * 100 > total * percent


def _words(count: int, total: int, noun: str, least: int, percent: int) -> str:
    share = f"{count * 100 / total:.1f} %" if total else "100 %"
    return f"{_of(count, total, noun)}, {share}, is over {percent} % (from {least} on)"


def _of(count: int, total: int, noun: str) -> str:
    return f"{count} of {total} {noun}{'s' * (total != 1)}"


def _allow(stack: str, number: int) -> str:
    return (
        "if that is meant, allow just this number: at a terminal with\n"
        f"--allow-destroy {stack}={number}\n"
        "or, for a reviewed run, with an entry of overrides.yaml:\n"
        f"- {{stack: {stack}, destroy: {number}, reason: WHY, until: YYYY-MM-DD}}"
    )
