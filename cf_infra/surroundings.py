"""What is around OpenTofu for one kind of stack: who we are there, what is there, what proves that it is gone.

deploy.py does the same for every kind; what differs is behind `Surroundings`: at_openstack.py, at_github.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.material import Material
from cf_infra.plan import Divide, Part

if TYPE_CHECKING:
    from cf_infra.deployment import InventoryFile
    from cf_infra.record import Record
    from cf_infra.tofu import Tofu

Check = tuple[str, Callable[[], bool]]
"""A place, and whether what was revoked is still there."""
JSON = dict[str, Any]


class Unanswered(Failure):
    """A place did not say whether something is still there; of the others that is asked all the same."""


@dataclass(frozen=True)
class Found:
    """What a look around found, before a plan.

    `values`: what OpenTofu needs to know of it; `items`, `notes`: what an apply does beside OpenTofu, as a plan's
    items and in words; `remove`: servers (id, name, grant) and `strays`: ids of what a killed run left; `claims`: how
    much of it has our marks and is in no state; `seen`: by what an apply knows that nothing has changed since;
    `told`: findings;
    `pairs`: those that a list beside OpenTofu opens, before and after; `parts`: what changes in it, entry by entry,
    for the review; `gone`: addresses of the state that are not there any more, which the provider does not notice;
    `learned`: what a plan that asks nobody needs to know of the place, without secrets.
    """

    values: JSON
    items: list[JSON] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remove: list[list[str]] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    claims: int = 0
    seen: dict[str, str] = field(default_factory=dict)
    told: list[Diagnostic] = field(default_factory=list)
    pairs: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    parts: list[Part] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    learned: JSON = field(default_factory=dict)


class Surroundings(Protocol):
    """One stack's cloud, organisation or vendor. Everything that asks it raises Failure."""

    @property
    def where(self) -> str:
        """What people call it."""
        ...

    def environment(self) -> dict[str, str]:
        """What OpenTofu's provider needs to log in."""
        ...

    def secrets(self) -> dict[str, object]:
        """Variables that stand neither in a file nor in an environment."""
        ...

    def hidden(self) -> Iterable[str]:
        """What no output may show."""
        ...

    def compiled(self) -> dict[str, bytes]:
        """The stack's folder as it must be."""
        ...

    def lists(self) -> dict[str, bytes]:
        """What tells others who may use the stack, where OpenTofu does not: as much a part of a plan as the rest."""
        ...

    def connected(self) -> AbstractContextManager[Any]:
        """A connection that has logged in."""
        ...

    def identity(self, connection: Any) -> str:
        """What tells it from others of the same name."""
        ...

    def look(self, connection: Any, state: Mapping[str, Any], destroy: bool) -> Found:
        """What is there, beside what the state knows."""
        ...

    def owners(self) -> dict[str, tuple[str, ...]]:
        """Which grants an address belongs to, beyond what its own key says."""
        ...

    def divide(self) -> Divide:
        """How a plan's resources come apart into what people asked for."""
        ...

    def beside(self, destroy: bool) -> list[JSON]:
        """What an apply does to `lists`, in the form of a plan's items."""
        ...

    def findings(self, shown: Mapping[str, Any]) -> list[Diagnostic]:
        """What a plan shows that somebody should know."""
        ...

    def pairs(self, shown: Mapping[str, Any]) -> tuple[set[str], set[str]]:
        """The pairs that the plan's own values have, before and after, where they tell more than our records."""
        ...

    def by_hand(self, grants: Iterable[str]) -> list[str]:
        """Steps that are left to people when these grants end."""
        ...

    def words(self) -> dict[str, str]:
        """What to call addresses while OpenTofu works, beyond the plan's items."""
        ...

    def unchanged(self, connection: Any, saved: Record) -> None:
        """Ensure that what the plan saw is still so. Raises Failure("stale-plan")."""
        ...

    def less(self, connection: Any, state: Mapping[str, Any]) -> JSON | None:
        """The stack's values with nothing new in them, to be applied before machines go; None if nothing is lost."""
        ...

    def withholding(self, keys: Iterable[str], state: Mapping[str, Any]) -> JSON:
        """The stack's values without what these pairs would newly get."""
        ...

    def seen(self, connection: Any, saved: Record) -> dict[str, str]:
        """As `Found.seen`, after a step of our own."""
        ...

    def take_back(self, destroy: bool) -> None:
        """First half of an apply: who is to lose access by `lists` loses it now."""
        ...

    def clear(self, connection: Any, saved: Record, state: Callable[[], Mapping[str, Any]]) -> None:
        """Remove what a killed run left behind, before it stands in the way."""
        ...

    def faults(self, connection: Any) -> list[Diagnostic]:
        """Why something does not work, where OpenTofu does not say it."""
        ...

    def give(self, tofu: Tofu, after: InventoryFile) -> list[Diagnostic]:
        """Second half of an apply: lists, now that what they open is there. What needs a hand."""
        ...

    def materials(self, tofu: Tofu, after: InventoryFile) -> list[Material]:
        """The values of the stack's logins that were made here, all generations that live."""
        ...

    def settle(self) -> tuple[list[str], JSON] | None:
        """What a change of the master key left on the key before: addresses, and the secrets with which they change.

        It is done alone, after all is proven: a login that changes ends the tokens that others work with.
        """
        ...

    def withdraw(self) -> None:
        """After a stack is destroyed: nothing of it is given any more."""
        ...

    def holds(self, state: Mapping[str, Any]) -> list[JSON]:
        """Who is named where, for the inventory: rows of place, repository and grants."""
        ...

    def checks(self, connection: Any, before: InventoryFile, after: InventoryFile) -> dict[str, list[Check]]:
        """By grant, what has to be gone."""
        ...
