"""Rules of capacity: what is promised fits the hosts, and if not, who holds them."""

from __future__ import annotations

from collections.abc import Iterator

from cf_infra import capacity
from cf_infra.capacity import Demand, Placement
from cf_infra.catalog import catalog
from cf_infra.diagnostics import MOST_NAMED, Diagnostic
from cf_infra.model import Mode, Offer, Stack
from cf_infra.parse import GRANTS
from cf_infra.resolve import demands
from cf_infra.rule import View, at, grant_fault, stack_fault
from cf_infra.rules_stacks import slice_fault


def offers_fit_a_host(view: View) -> Iterator[Diagnostic]:
    """Ensure at least one host, when it is empty, holds a machine of each offer."""
    for name, stack, runner_class, offer in view.offers():
        size = _size(stack, offer)
        hosts = capacity.hosts_of(stack, offer)
        if size is None or not hosts or any(capacity.total(host).fits(size) for host in hosts):
            continue
        biggest = max(hosts, key=lambda host: (capacity.total(host).gpus, capacity.total(host).memory_mib))
        yield stack_fault(
            "over-capacity",
            name,
            ("offers", runner_class, "slice"),
            "no host is that big",
            f"A machine needs {capacity.words(size)}; `{name}/{biggest.name}` has "
            f"{capacity.words_of_host(biggest)}.",
            "make the slice smaller",
        )


def hosts_hold_everything(view: View) -> Iterator[Diagnostic]:
    """Ensure pools and dedicated machines fit their hosts, and each on-demand offer fits what remains."""
    sound = {name: stack for name, stack in view.inventory.stacks.items() if _is_sound(stack)}
    inventory = view.inventory.model_copy(update={"stacks": sound})
    for name, wanted in demands(inventory, catalog(sound), view.today).items():
        placement = capacity.place(sound[name].hosts, wanted)
        held = [demand for demand in wanted if demand.owner in placement.placed]
        for demand, over in placement.unplaced:
            yield _over_capacity(view, name, placement, held, demand, over)
        if not placement.unplaced:
            yield from _too_many_on_demand(name, sound[name], placement)


def _is_sound(stack: Stack) -> bool:
    """Whether capacity can be reckoned; if not, another rule says why."""
    names = {host.name for host in stack.hosts}
    if not stack.hosts or len(names) < len(stack.hosts):
        return False
    for offer in stack.offers.values():
        size = _size(stack, offer)
        hosts = capacity.hosts_of(stack, offer)
        if slice_fault(stack, offer) or not all(host == "all" or host in names for host in offer.hosts):
            return False
        if size is not None and not any(capacity.total(host).fits(size) for host in hosts):
            return False
    return True


def _size(stack: Stack, offer: Offer) -> capacity.Shape | None:
    return (
        None
        if slice_fault(stack, offer) or not capacity.hosts_of(stack, offer)
        else capacity.shape(stack, offer)
    )


def _over_capacity(
    view: View, name: str, placement: Placement, held: list[Demand], demand: Demand, over: int
) -> Diagnostic:
    room = demand.count - over
    detail = "\n".join(
        [
            f"A machine needs {capacity.words(demand.machine)}. There is room for {room} of {demand.count}:",
            *_hosts(view, name, placement, demand),
            *_holders(view, name, placement, held, demand),
        ]
    )
    asks = f"asks for {demand.count} x `{demand.runner_class}`"
    free = f"see what is free:\ncf-infra status {name}"
    if demand.grant is None:
        path = ("offers", demand.runner_class, "size")
        hint = f"lower `size` to {room}" if room else "take the pool out"
        return stack_fault("over-capacity", name, path, asks, detail, f"{hint}; {free}")
    counted = view.inventory.grants[demand.grant].count is not None
    hint = f"lower `count` to {room}" if room else "ask another donor, or revoke what is not needed any more"
    place = at(demand.grant, "count" if counted else "resources")
    return grant_fault("over-capacity", place, asks, detail, f"{hint}; {free}")


def _hosts(view: View, name: str, placement: Placement, demand: Demand) -> list[str]:
    lines = []
    for host in view.inventory.stacks[name].hosts:
        if host.name in demand.hosts:
            short = ", ".join(placement.left[host.name].short_of(demand.machine))
            lines.append(
                f"  {name}/{host.name} has {capacity.words_of_host(host)}; too little is left: {short}"
            )
    return _at_most(lines)


def _holders(view: View, name: str, placement: Placement, held: list[Demand], demand: Demand) -> list[str]:
    """Who holds machines on the hosts that `demand` may have."""
    rows = []
    for other in held:
        on = {host: n for host, n in placement.placed.get(other.owner, {}).items() if host in demand.hosts}
        if not on or other.owner == demand.owner:
            continue
        holder, where = "a pool", f"stacks/{name}.yaml"
        if other.grant is not None:
            grant = view.inventory.grants[other.grant]
            holder, where = str(grant.feedstock or grant.repo), f"{GRANTS}:{view.line(other.grant)}"
        rows.append((holder, f"{sum(on.values())} x {other.runner_class}", ", ".join(on), where))
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)] for row in rows)
    return ["What is taken there:", *_at_most([f"  {'  '.join(row)}".rstrip() for row in cells])]


def _at_most(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_NAMED
    return lines[:MOST_NAMED] + ([f"  and {more} more"] if more > 0 else [])


def _too_many_on_demand(name: str, stack: Stack, placement: Placement) -> Iterator[Diagnostic]:
    for runner_class, offer in stack.offers.items():
        size = capacity.shape(stack, offer)
        if offer.mode is not Mode.ON_DEMAND or offer.max is None or size is None:
            continue
        room = placement.room_for(size, [host.name for host in capacity.hosts_of(stack, offer)])
        if offer.max > room:
            yield stack_fault(
                "over-capacity",
                name,
                ("offers", runner_class, "max"),
                f"room for {room}",
                f"A machine needs {capacity.words(size)}. Beside pools and dedicated machines there is "
                f"room for {room}, not for {offer.max}.",
                f"max: {room}" if room else "revoke dedicated machines, or take the offer out",
            )
