"""The command line of what changes grants.yaml: `import access`, `import requests`, `grant add`, `renew`, `revoke`."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cf_infra.cli_options import DryRun, Form, NoColor, Quiet, Root, Today, day_of
from cf_infra.console import Console, Format
from cf_infra.diagnostics import Failure

import_app = typer.Typer(no_args_is_help=True, help="Take over lists of other programs into grants.yaml.")
grant_app = typer.Typer(no_args_is_help=True, help="Give, renew and take away single grants in grants.yaml.")

Feedstock = Annotated[str, typer.Argument(metavar="FEEDSTOCK", help="Without -feedstock.")]
Some = Annotated[
    list[str] | None, typer.Argument(metavar="RESOURCE...", help="Classes or labels (default: all).")
]


def _date(text: str | None, option: str) -> date | None:
    return None if text is None else day_of(text, option)


def _days(text: str, option: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,3})d", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no number of days; write 30d.", param_hint=option)
    return int(found[1])


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _proposed(console: Console, done: Any, dry_run: bool) -> None:
    console.diagnostics(done.diagnostics)
    console.keep(done.known)
    data = {name: getattr(done, name) for name in ("diff", "added", "changed", "removed", "unchanged")}
    text = done.diff
    if console.form is Format.MARKDOWN:
        block = f"```diff\n{done.diff}```" if done.diff else "grants.yaml stays as it is."
        text = "\n".join([block, "", *(f"- {note}" for note in done.notes)])
    console.result({**data, "notes": done.notes, "commands": done.commands}, text)
    for note in done.notes:
        console.hint(note)
    if not done.diff:
        console.hint("grants.yaml stays as it is.")
    elif dry_run:
        console.hint("Nothing was written, as --dry-run asks.")
    else:
        console.hint("\n    ".join(["grants.yaml is changed. To propose it:", *done.commands]))
    console.finish()


@import_app.command("access")
def import_access(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Cirun's .access.yml.")],
    root: Root = Path(),
    source: Annotated[str | None, typer.Option(help="Where the list comes from, for `imported:`.")] = None,
    classes: Annotated[
        bool, typer.Option(help="Write classes instead of labels that exactly one offer has.")
    ] = False,
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Add the policies of Cirun's .access.yml to grants.yaml; no line of another entry is touched.

    \b
    Example:
      cf-infra import access .access.yml --source "conda-forge/.cirun, September 2025"
    """
    from cf_infra import project

    console = Console(form, quiet, no_color)
    done = project.import_access(root, file, source or file.name, classes, day_of(today))
    console.diagnostics(done.diagnostics)
    console.result(
        {"added": done.added, "unchanged": done.known},
        f"{len(done.added)} entries added to {root / 'grants.yaml'}, {len(done.known)} were there already",
    )
    console.finish()


@import_app.command("requests")
def import_requests(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Requests (YAML), or history (.jsonl).")
    ],
    root: Root = Path(),
    source: Annotated[
        str | None, typer.Option(help="Where they come from, for `imported:` (default: the file's name).")
    ] = None,
    day: Annotated[
        str | None, typer.Option("--date", metavar="DATE", help="When it was asked (default: today).")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for `reason:`.")] = None,
    request: Annotated[str | None, typer.Option(metavar="URL", help="The request's address.")] = None,
    requested_by: Annotated[str | None, typer.Option(metavar="LOGIN", help="Who asks.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="DATE", help="First day without access.")] = None,
    maintainers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON, feedstock: [login]; who asks must be one, or an operator."),
    ] = None,
    durations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Hours of the longest hosted build, JSON or CSV: who needs no runner?"
        ),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Take names that nobody offers any more, with a warning.")
    ] = False,
    dry_run: DryRun = False,
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Do in grants.yaml what requests of conda-forge/admin-requests ask for.

    Prints the difference and the commands for a pull request. What is granted already changes nothing.

    \b
    Examples:
      cf-infra import requests pytorch-gpu.yml --requested-by their-login
      cf-infra import requests requests/*.yml --reason "CUDA builds exceed 6 h" --request URL --expires 2027-01-31
      cf-infra import requests history.jsonl --dry-run
    """
    from cf_infra import amend

    console = Console(form, quiet, no_color)
    if maintainers is not None and requested_by is None:
        raise typer.BadParameter("it needs --requested-by, too.", param_hint="--maintainers")
    amend.grant_of(
        {
            "resources": [],
            "imported": source,
            "reason": reason,
            "request": request,
            "requested_by": requested_by,
        }
    )
    known = amend.Known(
        source,
        _date(day, "--date"),
        reason,
        request,
        requested_by,
        _date(expires, "--expires"),
        maintainers,
        durations,
        history,
    )
    _proposed(console, amend.import_requests(root, files, known, day_of(today), dry_run), dry_run)


@grant_app.command("add")
def grant_add(
    feedstock: Feedstock,
    resources: Annotated[list[str], typer.Argument(metavar="RESOURCE...", help="Classes or labels.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    request: Annotated[str, typer.Option(metavar="URL", help="The request's address.")],
    requested_by: Annotated[str | None, typer.Option(metavar="LOGIN", help="Who asked.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="DATE", help="First day without access.")] = None,
    granted: Annotated[
        str | None, typer.Option("--granted", metavar="DATE", help="First day with access (default: today).")
    ] = None,
    roles: Annotated[
        str, typer.Option(metavar="LIST", help="Who may start jobs, by role; '' for none.")
    ] = "admin,maintain,write",
    teams: Annotated[str | None, typer.Option(metavar="LIST", help="Or by team.")] = None,
    users: Annotated[str | None, typer.Option(metavar="LIST", help="And by login.")] = None,
    terms: Annotated[
        str | None, typer.Option(metavar="NAME", help="And by terms (default: the donor's; '' for none).")
    ] = None,
    stack: Annotated[str | None, typer.Option(metavar="NAME", help="Only at this donor.")] = None,
    count: Annotated[int | None, typer.Option(help="Machines, for offers of mode dedicated.")] = None,
    pull_requests: Annotated[
        bool, typer.Option("--pull-requests", help="Jobs of pull requests may run.")
    ] = False,
    repo: Annotated[
        bool, typer.Option("--repo", help="The name is a repository that is no feedstock.")
    ] = False,
    root: Root = Path(),
    dry_run: DryRun = False,
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Add an entry to grants.yaml; no line of another entry is touched.

    Prints the difference and the commands for a pull request.

    \b
    Example:
      cf-infra grant add pytorch-cpu gpu-large --reason "CUDA tests" --request URL --expires 2027-01-31
    """
    from cf_infra import admin_requests, amend

    console = Console(form, quiet, no_color)
    fault = None if repo else admin_requests.feedstock_fault(feedstock)
    if fault is not None:
        raise Failure(fault)
    begin, end = _date(granted, "--granted") or day_of(today), _date(expires, "--expires")
    values: dict[str, object] = {
        "repo" if repo else "feedstock": feedstock,
        "resources": resources,
        "reason": reason,
        "request": request,
        "requested_by": requested_by,
        "granted": begin.isoformat(),
        "expires": end.isoformat() if end else None,
        "pull_requests": pull_requests,
        "roles": _words(roles),
        "teams": _words(teams),
        "users": _words(users),
        "terms": terms or None,
        "stack": stack,
        "count": count,
    }
    wanted = amend.grant_of(values)
    _proposed(console, amend.add(root, wanted, terms is None, day_of(today), dry_run), dry_run)


@grant_app.command("renew")
def grant_renew(
    feedstock: Annotated[
        str | None, typer.Argument(metavar="[FEEDSTOCK]", help="Without -feedstock; or --all-expiring.")
    ] = None,
    resources: Some = None,
    until: Annotated[str | None, typer.Option(metavar="DATE", help="First day without access.")] = None,
    longer: Annotated[
        str | None, typer.Option("--for", metavar="DAYS", help="So much longer than now, such as 365d.")
    ] = None,
    all_expiring: Annotated[
        str | None, typer.Option(metavar="DAYS", help="All that end within so many days, such as 30d.")
    ] = None,
    root: Root = Path(),
    dry_run: DryRun = False,
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Let grants last longer.

    Prints the difference and the commands for a pull request.

    \b
    Examples:
      cf-infra grant renew pytorch-cpu --until 2028-01-31
      cf-infra grant renew --all-expiring 30d --for 365d
    """
    from cf_infra import amend

    console = Console(form, quiet, no_color)
    if (feedstock is None) == (all_expiring is None):
        raise typer.BadParameter("either one, or all that expire.", param_hint="FEEDSTOCK or --all-expiring")
    if until is not None and (longer is not None or all_expiring is not None):
        raise typer.BadParameter("a day is for one feedstock; else say --for 365d.", param_hint="--until")
    end = _date(until, "--until")
    span = timedelta(days=_days(longer or "365d", "--for"))
    if all_expiring is not None:
        within = _days(all_expiring, "--all-expiring")
        done = amend.renew_expiring(root, within, span, day_of(today), dry_run)
    else:
        if end is not None and end <= day_of(today):
            raise typer.BadParameter(f"{end} is not in the future.", param_hint="--until")
        if end is None and longer is None:
            raise typer.BadParameter("until when? --until 2028-01-31 or --for 365d", param_hint="--until")
        done = amend.renew(root, str(feedstock), resources or None, end or span, day_of(today), dry_run)
    _proposed(console, done, dry_run)


@grant_app.command("revoke")
def grant_revoke(
    feedstock: Feedstock,
    resources: Some = None,
    root: Root = Path(),
    dry_run: DryRun = False,
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Take resources out of a feedstock's entries; an entry without any goes, with its comments.

    Prints the difference and the commands for a pull request.

    \b
    Examples:
      cf-infra grant revoke pytorch-cpu gpu-large
      cf-infra grant revoke pytorch-cpu
    """
    from cf_infra import amend

    console = Console(form, quiet, no_color)
    done = amend.revoke(root, feedstock, resources or None, day_of(today), dry_run)
    _proposed(console, done, dry_run)
