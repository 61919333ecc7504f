"""What an apply does at Cirun: it makes no runners any more for a repository whose last grant of them ends.

Jobs reach what several stacks offer through one activation of their repository, so one stack answers for it: that of
kind github, which keeps Cirun's lists of all stacks; where there is none, each stack of kind openstack for what it
offers. A trial on the sandbox answers for nothing: its revocations are no revocations elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from cf_infra import cirun
from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github_files import keeps_lists
from cf_infra.model import Key, Kind
from cf_infra.openstack import is_sandbox
from cf_infra.project import Folder
from cf_infra.resolve import at_cirun, through_cirun
from cf_infra.rest import is_local
from cf_infra.selection import ENDING
from cf_infra.surroundings import JSON, Check, Unanswered

Say = Callable[[str], None]
_OFF = "take back Cirun's activation, which no grant asks for any more:"
ADDRESS = "cirun:"
"""What the addresses of a plan's items begin with."""


@dataclass(frozen=True)
class Ending:
    """What ends with a plan of one stack. `answers`: is it this stack that answers for Cirun?

    `last`: OWNER/NAME of repositories that no grant brings to Cirun any more -> their pairs that end.
    """

    answers: bool = False
    last: Mapping[str, list[Key]] = field(default_factory=dict)

    def items(self) -> list[JSON]:
        """What an apply does at Cirun, in the form of a plan's items."""
        return [
            {"address": f"{ADDRESS}{name}", "action": "delete", "what": place(name), "grants": keys}
            for name, keys in self.last.items()
        ]

    def by_hand(self, pairs: Iterable[Key], done: Collection[str]) -> list[str]:
        """What is left to people of what `pairs` had: a feedstock's own lines, and Cirun, where it is not in `done`."""
        if not self.answers:
            return []
        left = {key: name for name, keys in self.last.items() if name not in done for key in keys}
        steps: dict[str, str] = {}
        for key in sorted(pairs, key=lambda key: (key not in left, key)):
            name = key.partition("/")[0]
            if name.endswith(ENDING):
                what = "Cirun's activation and the lines" if key in left else "the lines"
                undo = f"take back {what} in the feedstock, as far as no grant asks for them:"
                steps.setdefault(name, f"{undo} cf-infra deactivate {name.removesuffix(ENDING)}")
            elif key in left:
                steps.setdefault(name, f"{_OFF} cirun repo remove {left[key]}")
        return [steps[name] for name in sorted(steps)]


def ending(folder: Folder, deployment: Deployment, pairs: Iterable[Key]) -> Ending:
    """Which repositories lose their last grant of what jobs reach through Cirun, over all stacks.

    `pairs` had access at this deployment and have none any more.
    """
    if not _answers(folder, deployment):
        return Ending()
    whole, catalog = folder.whole or folder, folder.resolved().catalog
    stays, owner = at_cirun(whole.resolved()), folder.inventory.settings.organisation
    last: dict[str, list[Key]] = {}
    for key in sorted(pairs):
        repository, _, resource = key.partition("/")
        if through_cirun(catalog.offers(resource)) and repository.lower() not in stays:
            last.setdefault(f"{owner}/{repository}", []).append(key)
    return Ending(answers=True, last=last)


def _answers(folder: Folder, deployment: Deployment) -> bool:
    stack = folder.inventory.stacks[deployment.stack]
    if not deployment.own or is_sandbox(deployment.cloud):
        return False
    listed = keeps_lists((folder.whole or folder).inventory.stacks)
    return stack.kind is Kind.GITHUB or (stack.kind is Kind.OPENSTACK and not listed)


def may_ask(folder: Folder) -> bool:
    """Is there a key for Cirun? Beside a stand-in for GitHub only a stand-in for Cirun is asked."""
    trial = is_local(folder.inventory.settings.github.api)
    return bool(os.environ.get(cirun.KEY, "").strip()) and (not trial or is_local(cirun.address(os.environ)))


def planned(rows: Iterable[JSON]) -> frozenset[str]:
    """OWNER/NAME of those that a saved plan's items switch off."""
    return frozenset(
        row["address"].removeprefix(ADDRESS) for row in rows if row["address"].startswith(ADDRESS)
    )


def place(name: str) -> str:
    """What receipts call the activation of OWNER/NAME."""
    return f"Cirun: active for {name}"


@dataclass
class Switch:
    """Switches Cirun off for `names` (OWNER/NAME), as a plan said, and asks it afterwards.

    A fault of Cirun's does not keep the rest of an apply from being done: it is kept, and the proof fails by it.
    """

    names: frozenset[str]
    say: Say
    failed: dict[str, list[Diagnostic]] = field(default_factory=dict)
    _active: frozenset[str] | None = None

    @property
    def faults(self) -> list[Diagnostic]:
        """Why it could not be done, each reason once."""
        return list(dict.fromkeys(fault for faults in self.failed.values() for fault in faults))

    def off(self) -> None:
        """Do it, name by name. Of a Cirun that does not answer no more is asked."""
        left = sorted(self.names)
        if not left:
            return
        try:
            with closing(cirun.Cirun(say=self.say)) as client:
                while left:
                    self.say(f"switching Cirun off for {left[0]}: no grant brings it there any more")
                    self._one(client, left[0])
                    left.pop(0)
        except Failure as failure:
            self.failed |= dict.fromkeys(left, failure.diagnostics)

    def _one(self, client: cirun.Cirun, name: str) -> None:
        try:
            client.switch_off(name)
        except Failure as failure:
            codes = {fault.code for fault in failure.diagnostics}
            if codes == {"service-refused"}:
                self.failed[name] = failure.diagnostics
            elif codes != {"still-there"}:  # the proof asks again
                raise

    def checks(self, found: Ending) -> dict[str, list[Check]]:
        """By pair, what has to be gone at Cirun."""
        rows: dict[str, list[Check]] = {}
        for name in sorted(self.names & found.last.keys()):
            for key in found.last[name]:
                rows.setdefault(key, []).append((place(name), partial(self.still, name)))
        return rows

    def still(self, name: str) -> bool:
        """Does Cirun make runners for it? One question for all names. Raises Unanswered."""
        if name in self.failed:
            raise Unanswered(*self.failed[name])
        if self._active is None:
            try:
                with closing(cirun.Cirun(say=self.say)) as client:
                    self._active = client.active()
            except Failure as failure:
                self.failed |= dict.fromkeys(self.names, failure.diagnostics)
                raise Unanswered(*failure.diagnostics) from None
        return name.lower() in self._active
