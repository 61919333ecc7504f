"""What all stacks offer together: from the name in a grant, class or label, to the offers it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cf_infra.model import Mode, Offer, Stack


class Offered(NamedTuple):
    """One offer with where it stands."""

    stack: str
    runner_class: str
    offer: Offer


@dataclass(frozen=True)
class Catalog:
    """All offers by class and by label, in the order of the stacks' names."""

    by_name: dict[str, tuple[Offered, ...]]
    class_of: dict[str, str]

    def canonical(self, resource: str) -> str:
        """The class that a label stands for; every other name is its own."""
        return self.class_of.get(resource, resource)

    def offers(self, resource: str, stack: str | None = None) -> tuple[Offered, ...]:
        """The offers that a grant of `resource` means, of one stack if it names one."""
        found = self.by_name.get(resource, ())
        return found if stack is None else tuple(o for o in found if o.stack == stack)

    def names(self) -> list[str]:
        """Every class and label, sorted: what a grant may name."""
        return sorted(self.by_name)


def catalog(stacks: Mapping[str, Stack]) -> Catalog:
    """The catalog of `stacks`."""
    names: dict[str, list[Offered]] = {}
    class_of: dict[str, str] = {}
    for stack_name, stack in sorted(stacks.items()):
        for runner_class, offer in stack.offers.items():
            entry = Offered(stack_name, runner_class, offer)
            names.setdefault(runner_class, []).append(entry)
            if offer.label and offer.label != runner_class:
                names.setdefault(offer.label, []).append(entry)
                class_of.setdefault(offer.label, runner_class)
    # A class is never hidden by another stack's label of the same name.
    class_of = {
        label: c for label, c in class_of.items() if not any(o.runner_class == label for o in names[label])
    }
    return Catalog({name: tuple(entries) for name, entries in names.items()}, class_of)


def machines_of_its_own(found: tuple[Offered, ...]) -> tuple[Offered, ...]:
    """Those of the offers for which machines are made ahead, so that the donor must be one."""
    return tuple(o for o in found if o.offer.mode in (Mode.DEDICATED, Mode.POOL))
