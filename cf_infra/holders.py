"""Bus factor: who can use or renew each credential, sink, contact and key, as the files say; fewer than two is told.

Pure. A login that ends with [bot] is nobody: on the day on which its owner is gone, nobody can be asked. Logins are one
person whatever their case.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cf_infra.diagnostics import Diagnostic, Path, printable, some
from cf_infra.model import EMBEDDED_SINKS, CredentialKind, Inventory, Stack
from cf_infra.report import code
from cf_infra.terminal import WIDTH

ENOUGH = 2
"""So many people at least: one of them may be ill, on a journey, or gone."""
SETTINGS = "settings.yaml"


@dataclass(frozen=True, slots=True)
class Held:
    """One thing that somebody must be able to use or renew.

    `people`: who can, each once, as written; `file`, `path`: where that is written, or has to be; `how`: what they can.
    """

    kind: str
    name: str
    people: tuple[str, ...]
    file: str
    path: Path
    how: str
    stack: str | None = None

    @property
    def is_enough(self) -> bool:
        """Is there somebody else, if one person is not there?"""
        return len(self.people) >= ENOUGH

    def as_json(self) -> dict[str, Any]:
        """The form that scripts read."""
        return {
            "kind": self.kind,
            "name": self.name,
            "stack": self.stack,
            "people": list(self.people),
            "count": len(self.people),
            "enough": self.is_enough,
            "how": self.how,
            "file": self.file,
        }


def people(logins: Iterable[str]) -> tuple[str, ...]:
    """The persons among logins: each once, in alphabetical order, without bots."""
    once = {login.lower(): login for login in reversed(list(logins)) if not login.lower().endswith("[bot]")}
    return tuple(once[key] for key in sorted(once))


def holders(inventory: Inventory, names: Sequence[str] = ()) -> list[Held]:
    """Everything that is held, keys first; with `names` only what belongs to these stacks, and what belongs to all."""
    # As data: a key that settings.yaml does not have has no rows, and one that it gets is seen here.
    settings = inventory.settings.model_dump(mode="json")
    found = [*_keys(settings), *_sinks(settings, inventory.stacks)]
    for name, stack in sorted(inventory.stacks.items()):
        found += _of_stack(name, stack, settings)
    return [one for one in found if not names or one.stack is None or one.stack in names]


def _keys(settings: Mapping[str, Any]) -> Iterator[Held]:
    state = settings["state"]
    how = "reads the states, runs plan and apply, renews every login that cf-infra makes"
    yield Held("state key", "master key", people(state["holders"]), SETTINGS, ("state", "holders"), how)
    for number, one in enumerate(state.get("recovery") or ()):
        how = "reaches a working apply on a new machine when the master key is gone"
        path: Path = ("state", "recovery", number, "holders")
        yield Held("recovery key", one["name"], people(one["holders"]), SETTINGS, path, how)
    how = "log in to dedicated machines, and answer for requests"
    yield Held("server login", "operators", people(settings["operators"]), SETTINGS, ("operators",), how)


def _sinks(settings: Mapping[str, Any], stacks: Mapping[str, Stack]) -> Iterator[Held]:
    """Each sink that a credential goes to, or that settings.yaml has; the embedded ones are the operators'."""
    written: Mapping[str, Any] = settings.get("sinks") or {}
    used = {
        sink
        for stack in stacks.values()
        for credential in stack.credentials.values()
        for sink in credential.deliver
    }
    for name in sorted({*written, *used}):
        how = "can use what lies there, or put something else there"
        if name in written:
            path: Path = ("sinks", name, "holders")
            yield Held("sink", name, people(written[name].get("holders") or ()), SETTINGS, path, how)
        elif name in EMBEDDED_SINKS:  # who runs cf-infra reaches them
            yield Held("sink", name, people(settings["operators"]), SETTINGS, ("operators",), how)
        else:
            yield Held("sink", name, (), SETTINGS, ("sinks", name), how)


def _of_stack(name: str, stack: Stack, settings: Mapping[str, Any]) -> Iterator[Held]:
    file = f"stacks/{name}.yaml"
    contacts = people(stack.donor.contacts)
    asked: Path = ("donor", "contacts")
    yield Held(
        "contact", stack.donor.name, contacts, file, asked, "can be asked, and can act for the donor", name
    )
    for credential, row in sorted(stack.credentials.items()):
        if row.kind is CredentialKind.AWS_ROLE:
            how = "says at the provider who may take the role; there is no key"
            yield Held("credential", f"{name}/{credential}", contacts, file, asked, how, name)
        elif row.source is not None:
            how = f"makes it by hand, and puts it into {row.source.removeprefix('env ')}"
            yield Held("credential", f"{name}/{credential}", contacts, file, asked, how, name)
        else:
            keepers = people(settings["state"]["holders"])
            how = "renews it by an apply, with the master key"
            yield Held(
                "credential", f"{name}/{credential}", keepers, SETTINGS, ("state", "holders"), how, name
            )


# ---------------------------------------------------------------------------------------------------- findings


def findings(held: Sequence[Held]) -> list[Diagnostic]:
    """One warning for each place where too few people are written down, with everything that hangs on it."""
    places: dict[tuple[str, Path], list[Held]] = {}
    for one in held:
        if not one.is_enough:
            places.setdefault((one.file, one.path), []).append(one)
    return [_finding(file, path, found) for (file, path), found in places.items()]


def _finding(file: str, path: Path, found: Sequence[Held]) -> Diagnostic:
    who = found[0].people
    count = f"only {who[0]}" if who else "nobody"
    what = some([f"{one.kind} `{one.name}`" for one in found])
    names = ", ".join([*who, *["LOGIN", "LOGIN"][len(who) :]])
    key = ".".join(str(part) for part in path if isinstance(part, str))
    hint = (
        f"write down who else can, once it is true, in {key}:\n{path[-1]}: [{names}]"
        if path[-1] in ("holders", "contacts", "operators")
        else f"list it with its holders in {key}"
    )
    return Diagnostic(
        "single-holder",
        file=file,
        path=path,
        detail=f"As far as is written down, {count} can use or renew: {what}.",
        hint=hint,
    )


# -------------------------------------------------------------------------------------------------------- text


def terminal(held: Sequence[Held]) -> str:
    """The table for people: how many, what, who; 80 columns."""
    rows = [(one, f"{one.kind} {printable(one.name)}") for one in held]
    width = min(max((len(what) for _, what in rows), default=0), 40)
    lines = []
    for one, what in rows:
        begin = f"{len(one.people):>2}{' ' if one.is_enough else '!'} {what:<{width}}  "
        who = printable(", ".join(one.people)) or "nobody is written down"
        lines += textwrap.wrap(who, WIDTH, initial_indent=begin, subsequent_indent=" " * (width + 6)) or [
            begin
        ]
    return "\n".join([*lines, "", _counted(held)]) + "\n"


def markdown(held: Sequence[Held]) -> str:
    """The same as a table; names stand in code."""
    lines = ["| people | what | who |", "|---|---|---|"]
    for one in held:
        who = ", ".join(map(code, one.people)) or "nobody is written down"
        lines.append(
            f"| {'' if one.is_enough else '**'}{len(one.people)}{'' if one.is_enough else '**'} "
            f"| {one.kind} {code(one.name)} | {who} |"
        )
    return "\n".join([*lines, "", _counted(held)]) + "\n"


def _counted(held: Sequence[Held]) -> str:
    few = sum(not one.is_enough for one in held)
    if not few:
        return f"Each of these {len(held)} can be used or renewed by two people at least."
    return f"{few} of {len(held)} can be used or renewed by fewer than two people."
