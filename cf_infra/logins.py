"""The logins of one stack, for those who turn them: what is declared, where it goes, and the values we make here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from typing import Any

from cf_infra import canaries, credentials, ledger, making, sinks, turning
from cf_infra.credentials import UNKNOWN, Generation, History
from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.keys import Ring
from cf_infra.material import Material
from cf_infra.model import CredentialKind, Settings, Stack
from cf_infra.openstack import Login, is_sandbox
from cf_infra.resolve import ResolvedStack
from cf_infra.rest import Say
from cf_infra.turning import Turn

BY_OPENTOFU = frozenset({CredentialKind.APPLICATION_CREDENTIAL, CredentialKind.USER})
"""The kinds that a cloud makes for us, unless somebody else did (`source`)."""


@dataclass(frozen=True)
class Logins:
    """One stack's credentials on one cloud, and everything that is needed to hand them over and try them."""

    deployment: Deployment
    stack: ResolvedStack
    settings: Settings
    ring: Ring
    login: Login | None
    environ: Mapping[str, str]
    today: date
    say: Say

    @property
    def declared(self) -> Mapping[str, Any]:
        """By name, as the stack file has them."""
        return self.stack.stack.credentials

    def turn(self, made: list[Material]) -> list[Diagnostic]:
        """Deliver and prove what is due. `made`: the values that OpenTofu made. What failed, what needs a hand."""
        here, told = self._made_here()
        found = turning.turn(self._turn(), [*made, *here])
        return [*told, *found, *self.overdue()]

    def end(self) -> list[Diagnostic]:
        """After the stack was destroyed: its sinks lose what they have of it. What needs a hand."""
        return turning.end(self._turn())

    def retired(self) -> None:
        """After an apply that was proven: what lives no more is known no more."""
        known = ledger.load(self.deployment.state)
        for name, history in known.items():
            if name in self.declared:
                known[name] = credentials.forgotten(history, self._needed(name, history))
        if known:
            ledger.save(self.deployment.state, known)

    def _needed(self, name: str, history: History) -> list[str]:
        if self.declared[name].source is not None:
            return [max((p.generation for p in history.proven), key=credentials.order, default="0")]
        return [g.label for g in self.stack.generations.values() if g.name == name]

    def _turn(self) -> Turn:
        sandbox = is_sandbox(self.deployment.cloud)
        place = partial(
            sinks.sink,
            owner=self.stack.name,
            settings=self.settings,
            delivered=self.deployment.delivered,
            environ=self.environ,
            sandbox=sandbox,
            say=self.say,
        )
        canary = canaries.canary_of(self.settings, self.environ, self.login, self.say)
        return Turn(
            stack=self.stack.name,
            declared=self.declared,
            state=self.deployment.state,
            today=self.today,
            ring=self.ring,
            sinks=place,
            canary=canary,
            say=self.say,
        )

    def _made_here(self) -> tuple[list[Material], list[Diagnostic]]:
        """What is derived from the stack's key, and what others made and put into a variable."""
        found, told = [], []
        for generation in self._ours():
            try:
                found.append(self._made(generation))
            except Failure as failure:
                told += self._not_at_hand(generation, failure)
        return found, told

    def _ours(self) -> list[Generation]:
        """The generations that OpenTofu does not make; of what others make there is one value, the present one."""
        found = {
            generation.address if generation.credential.source is None else generation.name: generation
            for generation in self.stack.generations.values()
            if generation.credential.source is not None or generation.credential.kind not in BY_OPENTOFU
        }
        return list(found.values())

    def _made(self, generation: Generation) -> Material:
        credential, name = generation.credential, generation.name
        if credential.source is None:
            key = self.ring.of(generation.key)
            fields, secret = making.fields(credential.kind, key, name, generation.label, credential)
        else:
            fields, secret = making.from_source(
                credential,
                self.environ,
                stack=self.stack.name,
                name=name,
                contacts=self.stack.stack.donor.contacts,
                due=credentials.overdue(self.stack.name, name, credential, self.today, self._history(name)),
            )
        return Material(self.stack.name, name, generation.label, credential.kind, fields, secret)

    def _not_at_hand(self, generation: Generation, failure: Failure) -> list[Diagnostic]:
        """Without its value a proven credential stays as it is, untried; another one was never delivered."""
        if not self._history(generation.name).proven:
            return failure.diagnostics
        detail = f"`{generation.name}` of `{self.stack.name}` was not tried: {failure.diagnostics[0].detail}"
        return [Diagnostic("not-tried", detail=detail, hint=failure.diagnostics[0].hint)]

    def _history(self, name: str) -> History:
        return ledger.load(self.deployment.state).get(name, UNKNOWN)

    def steps(self) -> list[dict[str, Any]]:
        """What is to be done about them today, in the form of a plan's JSON."""
        known = ledger.load(self.deployment.state)
        return [asdict(step) for step in steps(self.stack.name, self.stack.stack, self.today, known)]

    def overdue(self) -> list[Diagnostic]:
        """What people have to make anew, by name and day."""
        return [
            Diagnostic(
                "rotation-due",
                file=f"stacks/{self.stack.name}.yaml",
                path=("credentials", step["credential"]),
                label="wants a new one",
                detail=f"`{step['credential']}` of `{self.stack.name}`: {step['what']}.",
            )
            for step in self.steps()
            if step["action"] == "by-hand"
        ]


def steps(name: str, stack: Stack, today: date, known: Mapping[str, History]) -> list[credentials.Step]:
    """What is to be done about a stack's credentials today."""
    return [
        step
        for credential, declared in stack.credentials.items()
        for step in credentials.steps(
            name, credential, declared, today, known.get(credential, UNKNOWN), stack.donor.contacts
        )
    ]
