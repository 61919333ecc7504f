"""`daily`: turns what is due, tries what lives, looks at what is there, and has one issue where a person must decide.

Each part stands alone: what one of them cannot do keeps no other from its work, and closes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from cf_infra import auditing, commands, credential_report, daily, ledger, project, rotating
from cf_infra.daily import Change, Day, Do
from cf_infra.diagnostics import Diagnostic, Failure, has_errors
from cf_infra.github_issues import Desk, desk, own_repository
from cf_infra.model import Kind
from cf_infra.project import Folder
from cf_infra.rest import Say

OURS = "cf-infra/"
"""How the branches of our pull requests begin."""
Part = Callable[[Folder, Day], None]


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    root: Path
    today: date
    dry_run: bool = False
    clouds: dict[str, str] = field(default_factory=dict)


@dataclass
class Done:
    """What the day brought, and what became of the issue."""

    day: Day
    change: Change
    address: str = ""


def run(options: Options, say: Say, connect: Any = desk) -> Done:
    """Do what a day brings. Raises Failure for a folder with errors; what else fails is told, and the rest is done."""
    folder = project.read(options.root, options.today)
    if has_errors(folder.diagnostics):
        raise Failure(*[one for one in folder.diagnostics if one.severity == "error"])
    day = Day()
    daily.of_expiry(folder.inventory, options.today, day)
    _guarded("credentials", day, lambda: _credentials(options, folder, day, say))
    _guarded("audit", day, lambda: _audit(options, day, say))
    _guarded("drift", day, lambda: _drift(options, day, say))
    try:
        with closing(connect(folder.inventory.settings, say)) as service:
            repository = own_repository(folder.inventory.settings)
            _guarded("reviews", day, lambda: _reviews(service, folder, repository, day))
            return _issue(service, repository, day, options, say)
    except Failure as failure:
        day.diagnostics += failure.diagnostics
        day.silent.add("reviews")
        return Done(day, daily.change(day, None))


def _guarded(part: str, day: Day, work: Callable[[], None]) -> None:
    try:
        work()
    except Failure as failure:
        day.silent.add(part)
        daily.of_faults(part, failure.diagnostics, day)


def _credentials(options: Options, folder: Folder, day: Day, say: Say) -> None:
    """Turn what is due, and try each credential; with --dry-run only what is known of them."""
    asked = commands.Options(options.root, options.today, (), options.clouds, None, {})
    if not options.dry_run:
        outcome = rotating.rotate(asked, say)
        if outcome.interrupted:
            raise KeyboardInterrupt
        daily.of_faults("credentials", outcome.diagnostics, day)
        for row in outcome.stacks:
            daily.of_rows(row["stack"], row["credentials"], day, turned=True)
        return
    for name, deployment in rotating.having_credentials(folder, asked, say).items():
        stack = folder.inventory.stacks[name]
        rows = credential_report.rows(name, stack, options.today, ledger.load(deployment.state))
        daily.of_rows(name, rows, day, turned=False)
        daily.of_faults("credentials", credential_report.faults(name, rows, options.today), day)


def _audit(options: Options, day: Day, say: Say) -> None:
    outcome = auditing.run(auditing.Options(options.root, options.today, clouds=options.clouds), say)
    day.diagnostics += [one for one in outcome.diagnostics if one.severity == "error"]
    daily.of_audit([one.as_json() for one in outcome.findings], options.today, day)
    day.told += [f"asked {place}: {count} requests" for place, count in outcome.asked.items()]


def _drift(options: Options, day: Day, say: Say) -> None:
    asked = commands.Options(options.root, options.today, (), options.clouds, None, {})
    outcome = commands.drifted(asked, say)
    if outcome.interrupted:
        raise KeyboardInterrupt
    daily.of_faults("drift", outcome.diagnostics, day)
    daily.of_drift(outcome.stacks, day)
    day.silent |= {"drift"} if any(row["failed"] for row in outcome.stacks) else set()


def _reviews(service: Desk, folder: Folder, repository: str, day: Day) -> None:
    """Pull requests of ours that are open: in the own repository, and the ones of access lists."""
    stacks = folder.inventory.stacks.values()
    lists = {
        stack.github.repository for stack in stacks if stack.kind is Kind.GITHUB and stack.github is not None
    }
    for name in sorted(lists | ({repository} if repository else set())):
        found = [(one.html_url, _day_of(one.created_at)) for one in service.own_pulls(name, OURS)]
        daily.of_pulls(found, folder.today, day)


def _day_of(stamp: str) -> date:
    return datetime.fromisoformat(stamp).date()


def _issue(service: Desk, repository: str, day: Day, options: Options, say: Say) -> Done:
    """Have the issue as it should be. Comments first, each once; the text last, for the next run goes by it."""
    if not repository:
        detail = "Which repository the issue belongs to is not known here, so none is opened or changed."
        hint = "name it in settings.yaml:\ngithub: {repository: ORGANISATION/NAME}"
        if day.items:
            day.diagnostics.append(Diagnostic("own-repository-unknown", detail=detail, hint=hint))
        return Done(day, Change(Do.NOTHING))
    own = [one for one in service.own_issues(repository, daily.MARKER) or () if one.state == "open"]
    change = daily.change(day, (own[0].number, own[0].body or "") if own else None)
    address = own[0].html_url if own else ""
    if options.dry_run or change.do is Do.NOTHING:
        return Done(day, change, address)
    if change.do is Do.OPEN:
        say("opening the issue")
        made = service.open_issue(repository, daily.MARKER, daily.TITLE, change.body)
        return Done(day, change, made.html_url if made is not None else "")
    assert change.number is not None
    say(f"{repository}#{change.number}: {change.do}")
    if change.comment:
        told = f"cf-infra daily {options.today} {_short(change.new) or change.do}"
        service.comment(repository, change.number, told, change.comment)
    if change.do is Do.CLOSE:
        service.change_issue(repository, change.number, state="closed", state_reason="completed")
    else:
        service.change_issue(repository, change.number, body=change.body)
    return Done(day, change, address)


def _short(marks: Sequence[str]) -> str:
    return "-".join(mark.partition("/")[2][:6] for mark in marks[:8])
