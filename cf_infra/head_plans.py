"""The plan of a pull request's head: its data over the base's everything else, without a cloud and without a login.

Both sides are read from git's objects. grants.yaml and users/ are the head's, stacks/ only if a maintainer approved
that head; settings.yaml, overrides.yaml, modules/ and this program never are. OpenTofu works on a copy of the state in
a folder of its own, which is gone afterwards: nothing is written where states, plans or journals lie.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from cf_infra import (
    commands,
    comparing,
    deploy,
    files,
    github_files,
    keys,
    kinds,
    ledger,
    overrides,
    project,
    state_place,
    unasked,
    waves,
)
from cf_infra.comparing import Source
from cf_infra.deployment import Deployment, now
from cf_infra.diagnostics import Diagnostic, Failure, has_errors
from cf_infra.files import write_tree
from cf_infra.kinds import Say
from cf_infra.model import Inventory, Stack, State
from cf_infra.parse import GRANTS, OVERRIDES
from cf_infra.process import Interrupted
from cf_infra.project import Folder
from cf_infra.state_place import STATE_FILE
from cf_infra.tofu import find

STACKS, USERS = "stacks/", "users/"
NOT_APPROVED = "its file is changed: it is planned after a maintainer approved this head"


@dataclass(frozen=True)
class HeadPlans:
    """What the head would do. `base`, `head`: which commits were read, however they were named.

    `plans`: the rows of `plan --format json`, each with its `hashes`; `unplanned`: rows of stack and why;
    `provisions` is False where there is nothing that a plan could tell.
    """

    base: dict[str, str | None]
    head: dict[str, str | None]
    plans: list[dict[str, Any]]
    unplanned: list[dict[str, Any]] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it but the diagnostics, which commands print in their own way."""
        return {name: value for name, value in asdict(self).items() if name != "diagnostics"}


def plans(
    root: Path,
    base: str,
    head: str,
    today: date,
    say: Say,
    *,
    stacks_approved: bool = False,
    clouds: Mapping[str, str] | None = None,
) -> HeadPlans:
    """Plan all stacks as `head` would have them. `clouds`: as `--cloud`. Raises Failure if either side has errors.

    A base that is its own head tells what time alone does. Nobody is asked but the place of the states.
    """
    one, other, told = comparing.read_sides(root, base, head)
    before = project.from_files(root, one.files, today)
    taken = _with_stacks if stacks_approved else _data_only
    after = project.from_files(root, comparing.mixed(one, other, taken), today)
    if has_errors([*before.diagnostics, *after.diagnostics]):
        raise Failure(*told, *comparing.errors(before, one), *_errors(root, one, other, after, today))
    with tempfile.TemporaryDirectory(prefix="cf-infra-head-") as place:
        found = _Planning(Path(place), before, after, today, say, clouds or {})
        told += found.prepare(one)
        changed = set() if stacks_approved else _changed(one, other)
        whole = (
            project.from_files(root, comparing.mixed(one, other, _with_stacks), today) if changed else after
        )
        waiting = [_waits(name, [before.inventory, whole.inventory]) for name in sorted(changed)]
        return found.run(one, other, waiting, told)


def _data_only(name: str) -> bool:
    return name == GRANTS or name.startswith(USERS)


def _with_stacks(name: str) -> bool:
    return _data_only(name) or name.startswith(STACKS)


def _changed(one: Source, other: Source) -> set[str]:
    """The stacks whose files differ."""
    names = {name for name in {*one.files, *other.files} if name.startswith(STACKS)}
    return {Path(name).stem for name in names if one.files.get(name) != other.files.get(name)}


def _waits(name: str, sides: Iterable[Inventory]) -> dict[str, Any]:
    """Why a stack whose file is changed is not planned."""
    stacks = [side.stacks[name] for side in sides if name in side.stacks]
    if stacks and not any(kinds.is_deployed(stack) for stack in stacks):
        return _nothing(name, stacks[-1])
    return {"stack": name, "why": NOT_APPROVED}


def _nothing(name: str, stack: Stack) -> dict[str, Any]:
    """Why a stack is not planned at which OpenTofu has nothing to do."""
    why = f"kind {stack.kind}: nothing of ours to provision, see the difference"
    return {"stack": name, "why": why, "provisions": False}


def _errors(root: Path, one: Source, other: Source, after: Folder, today: date) -> list[Diagnostic]:
    """What is wrong with the head, or with its data beside the base's stacks."""
    found = comparing.errors(after, other)
    if not found or not _changed(one, other):
        return found
    whole = project.from_files(root, comparing.mixed(one, other, _with_stacks), today)
    if has_errors(whole.diagnostics):
        return comparing.errors(whole, other)
    names = ", ".join(sorted(_changed(one, other)))
    detail = f"The data of `{other.name}` fits its own stacks only, and those are not used: {names}."
    hint = "have a maintainer approve that head, then plan it again"
    return [Diagnostic("stacks-first", detail=detail, hint=hint)]


@dataclass
class _Planning:
    """Plans below `place`, which holds a root of its own and is thrown away."""

    place: Path
    before: Folder
    after: Folder
    today: date
    say: Say
    clouds: Mapping[str, str]

    @property
    def root(self) -> Path:
        """The root that OpenTofu works in."""
        return self.place / "root"

    def prepare(self, base: Source) -> list[Diagnostic]:
        """Have the base's modules and a copy of the states there. What has to be said."""
        self.root.mkdir(mode=0o700)
        if modules := base.module_files():
            write_tree(self.root / "modules", modules)
        return state_place.copied(self.before, self.root, self.say)

    def run(
        self, one: Source, other: Source, waiting: list[dict[str, Any]], told: list[Diagnostic]
    ) -> HeadPlans:
        """Plan what can be planned, in parallel; say of the rest why it is not. `waiting`: what is not to be."""
        folder = project.with_ledgers(self._here(self.after))
        settings = folder.inventory.settings
        allowed = overrides.valid(folder.inventory, self.today)
        options = commands.Options(self.root, self.today, (), self.clouds, settings.jobs, allowed)
        ours = commands.deployed(folder, options, self.say)
        gone = commands.left_behind(folder, options, self.say)
        both = {**ours, **gone}
        changed = {row["stack"] for row in waiting}
        unplanned = [*waiting, *self._nothing_to_provision(changed)]
        names = [name for name in both if name not in changed]
        lost = {name: deploy.lost_pairs(folder, both[name], name in gone) for name in names}

        def one_stack(name: str) -> deploy.Planned:
            its = folder if name in ours else commands.with_old_stack(folder, both[name])
            run = self._prepared(its, both[name], waves.prefixed(self.say, name))
            others = frozenset(key for n, keys in lost.items() if n != name for key in keys)
            return deploy.plan_stack(run, deploy.Wish(allowed, others, destroy=name in gone, ask=False))

        done, failed, interrupted = waves.in_parallel(names, one_stack, settings.jobs)
        if interrupted:
            raise Interrupted("plan")
        unplanned += [{"stack": name, "why": _why(faults)} for name, faults in sorted(failed.items())]
        planned = [done[name] for name in sorted(done)]
        told += [d for d in self.after.diagnostics if d.severity == "warning"]
        told += [d for p in planned for d in p.diagnostics] + [d for ds in failed.values() for d in ds]
        unused = overrides.unused(folder, self.today, {p.record.stack: p.record for p in planned})
        words = [f"{p.record.stack}: {overrides.told(p.record)}" for p in planned if p.record.allowed]
        words += [f"{OVERRIDES}: {d.detail}" for d in unused]
        rows = [{**commands.plan_row(p, folder), "hashes": p.record.hashes} for p in planned]
        sides = one.as_json(), other.as_json()
        return HeadPlans(*sides, rows, unplanned, project.placed(folder, list(dict.fromkeys(told))), words)

    def _here(self, folder: Folder) -> Folder:
        """The folder at the root of our own, where its states are local ones."""
        inventory = folder.inventory
        local = State(key=inventory.settings.state.key, previous=inventory.settings.state.previous)
        settings = inventory.settings.model_copy(update={"state": local})
        changed = inventory.model_copy(update={"settings": settings})
        return replace(folder, root=self.root, inventory=changed, clock=now().date())

    def _prepared(self, folder: Folder, deployment: Deployment, say: Say) -> deploy.Run:
        """As deploy.prepare, with surroundings that ask nobody."""
        folder = replace(folder, ledgers={**folder.ledgers, deployment.stack: ledger.load(deployment.state)})
        stack = folder.resolved().stacks[deployment.stack]
        tool = kinds.tool_for(stack.stack.kind, find(files.PROJECT))
        sources = self._sources(folder, deployment)
        ring = keys.ring(sources, folder.root, deployment.name)
        known = unasked.Before(self.before.root, self._lists)
        around = unasked.surroundings(folder, deployment, stack, ring, say, known)
        return deploy.Run(folder, deployment, stack, around, tool, sources, ring, None, say)

    @cached_property
    def _lists(self) -> dict[str, bytes]:
        return github_files.lists(self.before.resolved(), self.before.inventory)

    def _sources(self, folder: Folder, deployment: Deployment) -> keys.Sources:
        """Where the key of a state comes from; for one that is not there yet a key that is thrown away as well."""
        if (deployment.state / STATE_FILE).is_file():
            return replace(deploy.key_sources(folder, deployment), create=False)
        return keys.Sources(keys.KeyFile(self.place / f"{deployment.name}.key"), create=True)

    def _nothing_to_provision(self, changed: set[str]) -> list[dict[str, Any]]:
        """Stacks whose access changes, and where there is nothing for OpenTofu to do."""
        old, new = self.before.resolved().stacks, self.after.resolved().stacks
        return [
            _nothing(name, stack.stack)
            for name, stack in sorted(new.items())
            if name not in changed
            and not kinds.is_deployed(stack.stack)
            and (name not in old or old[name].access != stack.access)
        ]


def _why(faults: list[Diagnostic]) -> str:
    """Why a stack could not be planned, in one line."""
    errors = [fault for fault in faults if fault.severity == "error"] or faults
    if {fault.code for fault in errors} & {"no-key", "wrong-key", "bad-key"}:
        return "the key of its state is not here"
    return errors[0].summary if errors else "its plan was interrupted"
