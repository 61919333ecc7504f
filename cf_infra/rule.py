"""What the rules of check.py look at, and how they say what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import TypeAlias

from cf_infra.catalog import Catalog
from cf_infra.diagnostics import Diagnostic, Path, nearest
from cf_infra.model import Grant, Inventory, Offer, Stack
from cf_infra.parse import GRANTS
from cf_infra.people import Maintainers


@dataclass(frozen=True)
class View:
    """A folder on a day. `line` tells where grants[index] begins, for messages that name another place.

    `maintainers`: by feedstock (small letters) the logins, if somebody gave a list of them.
    """

    inventory: Inventory
    catalog: Catalog
    today: date
    line: Callable[[int], int]
    maintainers: Maintainers | None = None

    def misses(self, folder: str) -> bool:
        """True if a file of `folder/` could not be read: then what is named may well be in it."""
        return any(name.startswith(f"{folder}/") for name in self.inventory.unread)

    def entries(self) -> Iterable[tuple[int, Grant]]:
        """All entries, those with a wrong value somewhere without it: for rules that look at single values."""
        return chain(self.inventory.grants.items(), self.inventory.partial.items())

    def offers(self) -> Iterable[tuple[str, Stack, str, Offer]]:
        """Every offer: the stack's name, the stack, the runner class, the offer."""
        for name, stack in self.inventory.stacks.items():
            for runner_class, offer in stack.offers.items():
                yield name, stack, runner_class, offer


Rule: TypeAlias = Callable[[View], Iterator[Diagnostic]]


def at(index: int, *path: str | int) -> Path:
    """The place of a value in grants[index]."""
    return ("grants", index, *path)


def grant_fault(code: str, path: Path, label: str, detail: str, hint: str) -> Diagnostic:
    """A fault in grants.yaml."""
    return Diagnostic(code, file=GRANTS, path=path, label=label, detail=detail, hint=hint)


def stack_fault(
    code: str, stack: str, path: Path, label: str, detail: str, hint: str, on_key: bool = False
) -> Diagnostic:
    """A fault in a stack file; `on_key`: its key is shown, not its value."""
    return Diagnostic(
        code, file=f"stacks/{stack}.yaml", path=path, label=label, detail=detail, hint=hint, on_key=on_key
    )


def meant(name: str, known: Iterable[str], otherwise: str) -> str:
    """The hint for a name that is not there: the nearest one that is, else `otherwise`."""
    near = nearest(name, known)
    return f"do you mean `{near}`?" if near else otherwise
