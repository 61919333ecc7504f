"""What hosts have, what a slice of them is, and whether all that is promised fits.

The unit for GPUs is the IOMMU group: a group goes to one machine, whatever the number of GPUs in it.
Cores are whole, memory is whole MiB, disk whole GiB, all rounded down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cf_infra.model import Gpu, Host, Offer, Slice, Stack


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a machine, or what a host has left: GPU groups, vCPUs, MiB of memory, GiB of disk."""

    gpus: int
    vcpus: int
    memory_mib: int
    disk_gib: int

    def times(self, count: int) -> Shape:
        """So many machines of this size together."""
        return Shape(self.gpus * count, self.vcpus * count, self.memory_mib * count, self.disk_gib * count)

    def minus(self, other: Shape) -> Shape:
        """What is left when `other` is taken away."""
        return Shape(
            self.gpus - other.gpus,
            self.vcpus - other.vcpus,
            self.memory_mib - other.memory_mib,
            self.disk_gib - other.disk_gib,
        )

    def plus(self, other: Shape) -> Shape:
        """Both together."""
        return self.minus(other.times(-1))

    def fits(self, machine: Shape) -> int:
        """How many such machines this holds."""
        counts = [
            have // need for have, need in zip(self._numbers(), machine._numbers(), strict=True) if need > 0
        ]
        return max(0, min(counts, default=0))

    def short_of(self, machine: Shape) -> list[str]:
        """What of this is not enough for one machine."""
        names = ("GPU groups", "vCPUs", "memory", "disk")
        pairs = zip(names, self._numbers(), machine._numbers(), strict=True)
        return [name for name, have, need in pairs if have < need]

    def _numbers(self) -> tuple[int, int, int, int]:
        return self.gpus, self.vcpus, self.memory_mib, self.disk_gib


NOTHING = Shape(0, 0, 0, 0)


class SliceFault(ValueError):
    """A slice cannot be cut from these hosts; the text says why."""


def usable_gpus(host: Host) -> list[Gpu]:
    """One GPU for each IOMMU group that has one in order; a GPU without a group is its own."""
    chosen: dict[int, Gpu] = {}
    for index, gpu in enumerate(host.gpus):
        if not gpu.broken:
            chosen.setdefault(-1 - index if gpu.iommu_group is None else gpu.iommu_group, gpu)
    return list(chosen.values())


def total(host: Host) -> Shape:
    """What a host can give to machines: all less what it keeps for itself."""
    kept = host.reserved
    return Shape(
        len(usable_gpus(host)),
        max(0, host.vcpus - kept.vcpus),
        max(0, host.memory_gib - kept.memory_gib) * 1024,
        max(0, host.disk_gib - kept.disk_gib),
    )


def hosts_of(stack: Stack, offer: Offer) -> list[Host]:
    """The hosts that an offer is cut from: those it names, else all."""
    if not offer.hosts or "all" in offer.hosts:
        return list(stack.hosts)
    return [h for h in stack.hosts if h.name in offer.hosts]


def has_gpu(stack: Stack, runner_class: str) -> bool:
    """Has a machine of this offer a GPU? One of unknown size has one if its name says so. Raises SliceFault."""
    offer = stack.offers[runner_class]
    if offer.cirun.gpu is not None:
        return True
    size = shape(stack, offer)
    return "gpu" in f"{runner_class} {offer.label}" if size is None else size.gpus > 0


def shape(stack: Stack, offer: Offer) -> Shape | None:
    """The size of a machine of this offer; None where only the cloud's flavor knows it.

    Raises SliceFault if a fraction does not come out whole, or differs from host to host.
    """
    if offer.slice is None:
        return None
    if isinstance(offer.slice, Slice):
        s = offer.slice
        return Shape(s.gpus, s.vcpus, s.memory_gib * 1024, s.disk_gib)
    hosts = hosts_of(stack, offer)
    if not hosts:
        raise SliceFault(f"{offer.slice} is a share of a host, and the stack has no hosts.")
    shapes = {host.name: _share(host, offer.slice) for host in hosts}
    first = shapes[hosts[0].name]
    for name, other in shapes.items():
        if other != first:
            raise SliceFault(
                f"{offer.slice} of {hosts[0].name} is {words(first)}, but of {name} it is {words(other)}."
            )
    return first


def _share(host: Host, fraction: str) -> Shape:
    k, n = (int(part) for part in fraction.split("/"))
    if k > n:
        raise SliceFault(f"{fraction} is more than a whole host.")
    have = total(host)
    if have.gpus * k % n:
        raise SliceFault(
            f"{host.name} has {have.gpus} usable GPU groups; {fraction} of them is {have.gpus * k}/{n}."
        )
    cut = Shape(have.gpus * k // n, have.vcpus * k // n, have.memory_mib * k // n, have.disk_gib * k // n)
    if min(cut.vcpus, cut.memory_mib, cut.disk_gib) < 1:
        raise SliceFault(f"{fraction} of {host.name} is {words(cut)}, which is no machine.")
    return cut


def gpu_model(stack: Stack, offer: Offer) -> str | None:
    """The model that the offer's machines get; None without GPUs.

    Raises SliceFault if its hosts have several, so that nobody could say which one a machine gets.
    """
    models = sorted({gpu.model for host in hosts_of(stack, offer) for gpu in usable_gpus(host)})
    if len(models) > 1:
        raise SliceFault(f"Its hosts have GPUs of several models: {', '.join(models)}.")
    return models[0] if models else None


def words(machine: Shape) -> str:
    """The size for people: `1 GPU, 6 vCPUs, 61,440 MiB, 250 GiB disk`."""
    gpus = f"{machine.gpus} GPU{'s' if machine.gpus != 1 else ''}, " if machine.gpus else ""
    return f"{gpus}{machine.vcpus} vCPUs, {machine.memory_mib:,} MiB, {machine.disk_gib:,} GiB disk"


def words_of_host(host: Host) -> str:
    """What a host has for machines: `4 GPU groups, 48 vCPUs, 499,712 MiB, 1,800 GiB disk`."""
    have = total(host)
    groups = f"{have.gpus} GPU group{'s' if have.gpus != 1 else ''}, " if host.gpus else ""
    return groups + words(Shape(0, have.vcpus, have.memory_mib, have.disk_gib))


# ------------------------------------------------------------------------------------------------ placement


@dataclass(frozen=True, slots=True)
class Demand:
    """So many machines of a class and size, on some hosts, for a grant (its index in the file) or a pool (None)."""

    runner_class: str
    grant: int | None
    count: int
    machine: Shape
    hosts: tuple[str, ...]

    @property
    def owner(self) -> str:
        """What tells it from all others."""
        return f"pool:{self.runner_class}" if self.grant is None else f"{self.grant}:{self.runner_class}"


@dataclass
class Placement:
    """What every host has left, who got how many where, and who did not fit."""

    left: dict[str, Shape]
    placed: dict[str, dict[str, int]] = field(default_factory=dict)
    unplaced: list[tuple[Demand, int]] = field(default_factory=list)
    _full: dict[tuple[Shape, tuple[str, ...]], int] = field(default_factory=dict, init=False)
    """How many hosts at the head of a list hold no more machines of a size: what is taken never comes back."""

    def put(self, demand: Demand) -> None:
        """Place as many as fit, host after host; what is over is noted."""
        over = demand.count
        asked = (demand.machine, demand.hosts)
        full = self._full.get(asked, 0)
        while over and full < len(demand.hosts):
            host = demand.hosts[full]
            fit = min(over, self.left[host].fits(demand.machine)) if host in self.left else 0
            if fit:
                self.left[host] = self.left[host].minus(demand.machine.times(fit))
                self.placed.setdefault(demand.owner, {})[host] = fit
                over -= fit
            if over:
                full += 1
        self._full[asked] = full
        if over:
            self.unplaced.append((demand, over))

    def room_for(self, machine: Shape, hosts: Iterable[str]) -> int:
        """How many more machines of this size the hosts hold."""
        return sum(self.left[h].fits(machine) for h in hosts if h in self.left)


def place(hosts: Sequence[Host], demands: Sequence[Demand]) -> Placement:
    """All demands on the hosts, in their order; if that does not work, in orders that waste less.

    The placement proves that everything fits; which host a machine really gets is the cloud's scheduler's choice.
    """
    in_order = _place(hosts, demands)
    if not in_order.unplaced:
        return in_order
    for key in (_biggest, _most_bound):
        better = _place(hosts, sorted(demands, key=key))
        if not better.unplaced:
            return better
    return in_order


def _biggest(demand: Demand) -> tuple[int, ...]:
    machine = demand.machine
    return (-machine.gpus, -machine.memory_mib, -machine.vcpus, -machine.disk_gib)


def _most_bound(demand: Demand) -> tuple[int, ...]:
    return (len(demand.hosts), *_biggest(demand))


def _place(hosts: Sequence[Host], demands: Sequence[Demand]) -> Placement:
    placement = Placement({host.name: total(host) for host in hosts})
    for demand in demands:
        placement.put(demand)
    return placement
