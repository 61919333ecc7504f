"""`renewals`: asks in each feedstock's own repository, once for each end, and closes what is settled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from cf_infra import project, renewals
from cf_infra.diagnostics import Diagnostic, Failure, has_errors
from cf_infra.github_issues import Desk, desk, own_repository, web_of
from cf_infra.model import Key
from cf_infra.project import Folder
from cf_infra.renewals import Action, Asked, Do
from cf_infra.rest import Refused, Say

LOOKED_BACK = timedelta(days=400)
"""How old an issue of ours may be, where GitHub cannot be asked for ours alone."""


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    root: Path
    today: date
    days: int = 30
    dry_run: bool = False


@dataclass
class Done:
    """What was done or would be, and what had to wait for the next run."""

    actions: list[Action] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    looked_at: int = 0

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        rows = [
            {
                "repository": one.repository,
                "do": str(one.do),
                "issue": one.number,
                "pairs": {key: end.isoformat() for key, end in sorted(one.pairs.items())},
                "settled": dict(sorted(one.settled.items())),
            }
            for one in self.actions
        ]
        return {"renewals": rows, "waiting": self.waiting, "looked_at": self.looked_at}

    def text(self) -> str:
        """For a terminal."""
        words = {
            Do.ASK: "asked",
            Do.ADD: "asked about more",
            Do.TIDY: "brought up to date",
            Do.CLOSE: "closed",
        }
        lines = [
            f"{one.repository}: {words[one.do]}" + (f" (#{one.number})" if one.number else "")
            for one in self.actions
        ]
        lines += [f"{name}: waits for the next run" for name in self.waiting]
        return "\n".join(lines or [f"Nobody has to be asked; {self.looked_at} repositories were looked at."])


def renew(options: Options, say: Say, connect: Any = desk) -> Done:
    """Ask whom it is time to ask. Raises Failure for what cannot begin."""
    folder = project.read(options.root, options.today)
    if has_errors(folder.diagnostics):
        raise Failure(*[one for one in folder.diagnostics if one.severity == "error"])
    names = renewals.dated(folder.inventory)
    done = Done()
    if not names:
        return done
    with closing(connect(folder.inventory.settings, say)) as service:
        _Round(options, folder, service, say, done).run(names)
    return done


@dataclass
class _Round:
    options: Options
    folder: Folder
    service: Desk
    say: Say
    done: Done

    def run(self, names: list[str]) -> None:
        settings = self.folder.inventory.settings
        lasts = renewals.lasts(self.folder.inventory, self.options.today)
        actions = []
        for name in names:
            found = self._looked_at(name, lasts.get(name, {}))
            actions += [found] if found is not None and found.do is not Do.NOTHING else []
        # What ends first is asked first: the limit keeps a first run from asking everybody on one day.
        actions.sort(key=lambda one: (one.first_end, one.repository))
        asking = [one for one in actions if one.do is Do.ASK]
        self.done.waiting = [one.repository for one in asking[settings.renewals_per_run :]]
        for action in actions:
            if action.repository not in self.done.waiting:
                self._do(action)

    def _looked_at(self, repository: str, pairs: Mapping[Key, date | None]) -> Action | None:
        since = (self.options.today - LOOKED_BACK).isoformat() + "T00:00:00Z"
        self.done.looked_at += 1
        try:
            own = self.service.own_issues(repository, renewals.MARKER, since)
        except Refused as refused:
            self.done.diagnostics += refused.diagnostics
            return None
        if own is None:
            if renewals.ending(pairs, self.options.today, self.options.days):
                self._told(repository, "is not there, or takes no issues")
            return None
        asked = [Asked(one.number, one.state == "open", renewals.read(one.body)) for one in own]
        return renewals.decide(repository, pairs, asked, self.options.today, self.options.days)

    def _told(self, repository: str, why: str) -> None:
        detail = f"`{repository}` {why}, so its maintainers cannot be asked there."
        hint = "tell them elsewhere, or let the grant end"
        self.done.diagnostics.append(Diagnostic("cannot-ask", detail=detail, hint=hint))

    def _do(self, action: Action) -> None:
        if (why := self._hindered(action.repository)) != "":
            self._told(action.repository, why)
            return
        self.done.actions.append(action)
        if self.options.dry_run:
            return
        try:
            self._write(action)
        except Refused as refused:
            self.done.actions.remove(action)
            self.done.diagnostics += refused.diagnostics

    def _hindered(self, repository: str) -> str:
        """Why nothing can be written there; empty if it can."""
        there = self.service.place(repository)
        full = f"{self.folder.inventory.settings.organisation}/{repository}"
        if there is None:
            return "is not there, or the token may not see it"
        if there.full_name.lower() != full.lower():
            return f"is called `{there.full_name}` now"
        if there.archived:
            return "is archived"
        return "" if there.has_issues else "has its issues switched off"

    def _write(self, action: Action) -> None:
        """Comments come first, each at most once; the issue's first line last, for it is what the next run goes by."""
        name, settings = action.repository, self.folder.inventory.settings
        how = renewals.way(self.folder.inventory, web_of(settings.github.api), own_repository(settings))
        text = renewals.body(action, how, settings.operators)
        if action.do is Do.ASK:
            self.say(f"asking {name}")
            self.service.open_issue(name, renewals.MARKER, renewals.TITLE, text)
            return
        assert action.number is not None
        self.say(f"{name}#{action.number}: {action.do}")
        for number in action.duplicates:
            self.service.comment(name, number, "cf-infra renewal again", f"Goes on in #{action.number}.\n")
            self.service.change_issue(name, number, state="closed", state_reason="not_planned")
        if action.do is Do.CLOSE:
            self.service.comment(name, action.number, "cf-infra renewal settled", renewals.closed(action))
            self.service.change_issue(name, action.number, state="closed", state_reason="completed")
            return
        if action.do is Do.ADD:
            mark = hashlib.sha256(renewals.first_line(action.pairs).encode()).hexdigest()[:12]
            self.service.comment(
                name, action.number, f"cf-infra renewal added {mark}", renewals.added(action)
            )
        self.service.change_issue(name, action.number, body=text)
