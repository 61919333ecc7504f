"""What one person can reach: for the day on which somebody leaves, or a laptop is stolen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cf_infra.diagnostics import Path
from cf_infra.model import Inventory, Settings, Stack


@dataclass(frozen=True, slots=True)
class Reach:
    """One thing that a person has: what, where it is written, and how it is ended.

    `credential`: `STACK/NAME` of one that the person can read or renew, so that it has to be replaced.
    """

    what: str
    file: str
    path: Path
    end: str
    credential: str | None = None


def reach(inventory: Inventory, login: str) -> list[Reach]:
    """Everything that `login` can reach, in the order in which it should be ended. Logins compare without case."""
    who = login.lower()
    return [
        *_keys(inventory.settings, who),
        *_credentials(inventory, who),
        *_operators(inventory.settings, who),
        *_terms(inventory, who),
        *_grants(inventory, who),
        *_contacts(inventory.stacks, who),
    ]


def _has(logins: Iterable[str], who: str) -> bool:
    return any(login.lower() == who for login in logins)


def _keys(settings: Settings, who: str) -> Iterator[Reach]:
    """Whoever has the master key can read every state, and derive what comes from it."""
    state = settings.state
    if _has(state.holders, who):
        end = "make a new master key, then:\ncf-infra state rekey\ncf-infra revoke-now --stack STACK, for each stack"
        yield Reach("the master key of all states", "settings.yaml", ("state", "holders"), end)
    for index, one in enumerate(state.recovery):
        if _has(one.holders, who):
            end = "take it out of `state.recovery`, then:\ncf-infra state rekey\ncf-infra state seal"
            path = ("state", "recovery", index)
            yield Reach(f"the recovery key `{one.name}`", "settings.yaml", path, end)


def _credentials(inventory: Inventory, who: str) -> Iterator[Reach]:
    sinks = inventory.settings.all_sinks
    for stack_name, stack in inventory.stacks.items():
        for name, credential in stack.credentials.items():
            address = f"{stack_name}/{name}"
            held = [sink for sink in credential.deliver if sink in sinks and _has(sinks[sink].holders, who)]
            made = credential.source is not None and _has(stack.donor.contacts, who)
            if held or made:
                why = f"can read it in {', '.join(held)}" if held else "makes it"
                where = ("credentials", name)
                end = f"cf-infra revoke-now {address}"
                yield Reach(f"{address} ({why})", f"stacks/{stack_name}.yaml", where, end, address)


def _operators(settings: Settings, who: str) -> Iterator[Reach]:
    for index, login in enumerate(settings.operators):
        if login.lower() == who:
            yield Reach("plan and apply", "settings.yaml", ("operators", index), "take the line out")


def _terms(inventory: Inventory, who: str) -> Iterator[Reach]:
    for name, file in inventory.users.items():
        for index, user in enumerate(file.users):
            if user.github.lower() == who:
                what = f"jobs on what needs the terms of `{name}`"
                yield Reach(what, f"users/{name}.json", ("users", index), "take the entry out")


def _grants(inventory: Inventory, who: str) -> Iterator[Reach]:
    for index, grant in inventory.grants.items():
        here = ("grants", index)
        if _has(grant.users, who):
            what = f"jobs of {grant.repository} on {', '.join(grant.resources)}"
            yield Reach(what, "grants.yaml", (*here, "users"), "take the login out of `users`")
        if _has(grant.approved_by, who):
            what = f"approved {grant.repository} on {', '.join(grant.resources)}"
            yield Reach(what, "grants.yaml", (*here, "approved_by"), "have somebody else look at it again")


def _contacts(stacks: Mapping[str, Stack], who: str) -> Iterator[Reach]:
    for name, stack in stacks.items():
        for index, login in enumerate(stack.donor.contacts):
            if login.lower() == who:
                end = "ask the donor who follows, and write that login there"
                yield Reach(
                    f"speaks for the donor of `{name}`",
                    f"stacks/{name}.yaml",
                    ("donor", "contacts", index),
                    end,
                )
