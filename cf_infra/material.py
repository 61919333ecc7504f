"""A credential's value on its way from where it was made to its sinks and its canary, with its secret parts named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cf_infra.model import CredentialKind


@dataclass(frozen=True, slots=True)
class Material:
    """One generation of a credential with its value.

    `owner`: the stack that it belongs to; `generation`: such as `218`, or `218.1` for its first replacement within
    the period; `fields`: what its user needs to log in, by the names that the user expects; `secret`: the names of
    those that no output may show.
    """

    owner: str
    name: str
    generation: str
    kind: CredentialKind
    fields: Mapping[str, str]
    secret: frozenset[str]

    def __repr__(self) -> str:
        """Without any value, so that no traceback or log shows one."""
        return f"Material({self.owner}/{self.name}/{self.generation}, {', '.join(sorted(self.fields))})"

    def hidden(self) -> list[str]:
        """The values that no output may show."""
        return [self.fields[name] for name in sorted(self.secret) if self.fields.get(name)]


class Sink(Protocol):
    """Where a credential's user finds it. Delivering the same twice changes nothing."""

    @property
    def place(self) -> str:
        """What people call it, for receipts and messages: no secret in it."""
        ...

    def deliver(self, material: Material) -> None:
        """Hand over. Raises Failure("undelivered") if the sink refuses, cannot be reached, or answers nonsense."""
        ...

    def withdraw(self, owner: str, name: str) -> list[str]:
        """Take away what it has of a credential that is declared no more; what a person must do instead, if so."""
        ...


class Canary(Protocol):
    """A real login with a delivered credential, which does the smallest useful thing and undoes it."""

    def __call__(self, material: Material) -> str:
        """What was seen, in a few words. Raises Failure("canary-failed")."""
        ...
