"""An apply of several stacks in its order: access is taken back, machines change, then access is opened.

A stack that fails withholds what only its machines would serve; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cf_infra import deploy, record, waves
from cf_infra.deployment import Deployment, load_proven
from cf_infra.diagnostics import Diagnostic
from cf_infra.model import Key, Via
from cf_infra.project import Folder
from cf_infra.resolve import Resolved

Say = Callable[[str], None]


@dataclass
class Rollout:
    """The stacks of one apply by name, what they come to, and what failed."""

    saved: dict[str, record.Record]
    folders: Mapping[str, Folder]
    say: Callable[[str], Say]
    jobs: int
    done: dict[str, deploy.Applied] = field(default_factory=dict)
    failed: dict[str, list[Diagnostic]] = field(default_factory=dict)
    interrupted: bool = False
    told: list[Diagnostic] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    waiting: frozenset[str] = frozenset()
    """Those among `failed` that wait for a person: they were not begun."""
    covered: Callable[[record.Record], None] = lambda _saved: None
    """What is to be written down before a stack is begun."""

    def run(self) -> None:
        """Do it all. What fails is kept; nothing is begun after an interruption."""
        first, access = self._wave(1), self._wave(2)
        leaving = [name for name in access if self.saved[name].destroy]
        staying = [name for name in access if name not in leaving]
        self._apply(leaving)
        if first and staying:
            self._take_back([name for name in staying if name not in self.waiting])
        self._hold_back(first)
        self._apply(first)
        withheld = self._withheld(first)
        self._apply(staying, lambda name: deploy.Step(name in self.begun, withheld.get(name, frozenset())))

    def _wave(self, number: int) -> list[str]:
        def wave(name: str) -> int:
            stack = self.folders[name].inventory.stacks.get(name)
            return waves.WAVES[stack.kind.value] if stack is not None else 1

        return [name for name in self.saved if wave(name) == number]

    def _deployment(self, name: str) -> Deployment:
        row = self.saved[name]
        return Deployment(self.folders[name].root, name, row.cloud, row.own)

    def _prepared(self, name: str) -> deploy.Run:
        return deploy.prepare(self.folders[name], self._deployment(name), self.say(name))

    # ------------------------------------------------------------------------------------ the three steps

    def _take_back(self, names: list[str]) -> None:
        def one(name: str) -> record.Record | None:
            run = self._prepared(name)
            deploy.verify(run, self.saved[name])
            self.covered(self.saved[name])
            return deploy.take_back_first(run, self.saved[name])

        done, failed, self.interrupted = waves.in_parallel(names, one, self.jobs)
        for name, rest in done.items():
            if rest is not None:
                self.saved[name] = rest
                self.begun.add(name)
        self.failed |= failed

    def _hold_back(self, names: list[str]) -> None:
        """What would remove machines that somebody may still ask for is not begun."""
        failed = sorted(self.failed)
        for name in names if failed else ():
            summary = self.saved[name].summary
            if summary["destroy"] or summary["replace"]:
                detail = f"`{name}` removes machines, and {', '.join(failed)} could not take the access to them back."
                hint = "mend what failed there, make new plans and apply them:\ncf-infra plan"
                self.failed[name] = [Diagnostic("access-first", detail=detail, hint=hint)]

    def _apply(self, names: list[str], step: Callable[[str], deploy.Step] = lambda _: deploy.WHOLE) -> None:
        def one(name: str) -> deploy.Applied:
            run, saved = self._prepared(name), self.saved[name]
            if name not in self.begun:
                deploy.verify(run, saved)
                self.covered(saved)
            return deploy.apply_stack(run, saved, step(name))

        left = [] if self.interrupted else [name for name in names if name not in self.failed]
        done, failed, interrupted = waves.in_parallel(left, one, self.jobs)
        self.done |= done
        self.failed |= failed
        self.interrupted = self.interrupted or interrupted

    # ------------------------------------------------------------------------------------------ withheld

    def _withheld(self, first: list[str]) -> dict[str, frozenset[Key]]:
        """By access stack the pairs that nobody serves yet, because the stacks with their machines failed."""
        broken = {name for name in first if name in self.failed}
        found = {}
        for name in set(self._wave(2)) - set(self.failed) if broken else ():
            folder = self.folders[name]
            resolved = folder.resolved()
            proven = load_proven(self._deployment(name).state)
            had = set(proven.access) if proven is not None else set()
            named = set(resolved.stacks[name].access)
            if keys := frozenset((self._new_at(broken, resolved) & named) - had):
                found[name] = keys
                self.told.append(_withheld(name, sorted(broken), sorted(keys)))
        return found

    def _new_at(self, broken: set[str], resolved: Resolved) -> set[Key]:
        keys: set[Key] = set()
        for name in broken:
            proven = load_proven(self._deployment(name).state)
            had = set(proven.access) if proven is not None else set()
            stack = resolved.stacks.get(name)
            keys |= {key for key in (stack.access if stack else ()) if key not in had}
        return {key for key in keys if not _served_elsewhere(key, broken, resolved)}


def _served_elsewhere(key: Key, broken: set[str], resolved: Resolved) -> bool:
    others = [s for name, s in resolved.stacks.items() if name not in broken and key in s.access]
    resource = key.partition("/")[2]
    return any(
        offer.via is Via.CIRUN
        for stack in others
        for runner_class, offer in stack.stack.offers.items()
        if runner_class == resource
    )


def _withheld(name: str, broken: list[str], keys: list[Key]) -> Diagnostic:
    shown = "\n".join([f"- {key}" for key in keys[:8]] + [f"- and {len(keys) - 8} more"] * (len(keys) > 8))
    detail = f"{', '.join(broken)} failed or waits, so `{name}` does not open yet:\n{shown}"
    return Diagnostic(
        "withheld", detail=detail, hint="mend what failed, then plan and apply again:\ncf-infra plan"
    )


def everything_said(rollout: Rollout) -> list[Diagnostic]:
    """Everything that has to be said."""
    found = [fault for applied in rollout.done.values() for fault in applied.diagnostics]
    return [*found, *rollout.told, *(fault for faults in rollout.failed.values() for fault in faults)]
