"""What an audit compares with: what the files mean today, and the commands that make it so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cf_infra.access import AccessList, export_access, runners_text
from cf_infra.model import Delivery, Grant, Inventory, Kind, Via
from cf_infra.resolve import Resolved, has_access

_WORD = re.compile(r"^[A-Za-z0-9_@%+=:,./-]+$")


def word(text: str) -> str:
    """One word of a command line, as a shell reads it; control characters and directions of writing are taken out."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return shown if _WORD.match(shown) else "'" + shown.replace("'", "'\"'\"'") + "'"


@dataclass(frozen=True)
class Declared:
    """The folder's meaning on its day. `clouds`: another one than its own, by stack."""

    inventory: Inventory
    resolved: Resolved
    clouds: Mapping[str, str] = field(default_factory=dict)

    @property
    def organisation(self) -> str:
        """The organisation of settings.yaml."""
        return self.inventory.settings.organisation

    @cached_property
    def access(self) -> AccessList:
        """The list that we would export."""
        return export_access(self.resolved, self.inventory)

    @cached_property
    def runners(self) -> str:
        """The runners' list that we would write."""
        return runners_text(self.resolved)

    @cached_property
    def repositories(self) -> dict[str, str]:
        """Those with any access today: in small letters -> as grants.yaml writes it."""
        return {access.grant.repository.lower(): access.grant.repository for access in self.resolved.access}

    @cached_property
    def by_cirun(self) -> dict[str, str]:
        """As `repositories`, those that reach a machine through Cirun."""
        return {policy.repo.lower(): policy.repo for policy in self.access.policies if self._opens[policy.id]}

    @cached_property
    def _opens(self) -> dict[str, list[str]]:
        return self.access.resources_of()

    @cached_property
    def labels(self) -> frozenset[str]:
        """Labels that a stack offers, or that a grant names itself."""
        offered = {o.label for s in self.inventory.stacks.values() for o in s.offers.values() if o.label}
        return frozenset(offered | {r for grant in self.inventory.grants.values() for r in grant.resources})

    def ended(self, repository: str, resource: str) -> Grant | None:
        """The grant of a pair that ended last, if the pair has ended."""
        catalog, today = self.resolved.catalog, self.resolved.today
        wanted = catalog.canonical(resource)
        found = [
            grant
            for grant in self.inventory.grants.values()
            if grant.repository.lower() == repository.lower()
            and wanted in {catalog.canonical(name) for name in grant.resources}
        ]
        over = [g for g in found if g.expires is not None and g.expires <= today]
        if not over or any(has_access(grant, today) for grant in found):
            return None
        return max(over, key=lambda grant: grant.expires or today)

    # ----------------------------------------------------------------------------------------- the way back

    def apply(self, stack: str) -> str:
        """The commands that make a stack's place what the files say."""
        other = f" --cloud {word(f'{stack}={self.clouds[stack]}')}" if stack in self.clouds else ""
        return f"cf-infra plan {stack}{other} && cf-infra apply {stack}"

    def mend_access(self) -> str:
        """The commands that make the access list what the files say."""
        return self._mend("cf-infra export access > .access.yml", ".access.yml")

    def mend_runners(self) -> str:
        """The commands that make the runners' list what the files say."""
        folder = f"build/{self.github_stack or '_cirun'}"
        return self._mend(f"cf-infra compile && cp {folder}/.cirun.global.yml .", ".cirun.global.yml")

    def _mend(self, made: str, file: str) -> str:
        stack, direct = self.github_stack, self.inventory.settings.access_delivery is Delivery.DIRECT
        if stack is not None and direct:
            return self.apply(stack)
        return f"{made}\n# then a pull request with {file} to {self.organisation}/{self.repository}"

    @property
    def github_stack(self) -> str | None:
        """The stack that has Cirun's lists for its files."""
        found = (name for name, stack in self.inventory.stacks.items() if stack.kind is Kind.GITHUB)
        return next(found, None)

    @property
    def repository(self) -> str:
        """The repository of the organisation that has the lists."""
        name = self.github_stack
        github = self.inventory.stacks[name].github if name is not None else None
        return github.repository if github is not None else ".cirun"

    def revoke(self, repository: str, resources: Iterable[str] = ()) -> str:
        """The command that takes a grant out of grants.yaml."""
        words = [repository.removesuffix("-feedstock"), *resources]
        return f"cf-infra grant revoke {' '.join(map(word, words))}"

    def offers_through_cirun(self) -> bool:
        """Does anything reach a machine through Cirun?"""
        offers = (offer for stack in self.inventory.stacks.values() for offer in stack.offers.values())
        return bool(self.access.access_control) or any(offer.via is Via.CIRUN for offer in offers)
