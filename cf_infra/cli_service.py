"""The command line of what runs by itself: `intake`, `renewals`, `daily`, and the form that `intake` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cf_infra.cli_options import Clouds, Form, NoColor, Quiet, Root, Today, day_of, sound
from cf_infra.console import Console, Format

OnlyTold = Annotated[bool, typer.Option("--dry-run", help="Only look: say what would be done.")]
NOTHING_DONE = "Nothing was changed, as --dry-run asks."


def intake(
    issue: Annotated[
        str | None,
        typer.Argument(metavar="[ISSUE]", help="OWNER/REPO#N, or N in the own repository."),
    ] = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="All open issues, and those whose grant is new.")
    ] = False,
    root: Root = Path(),
    dry_run: OnlyTold = False,
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Do what an issue asks for: one pull request with the grant and the accepted terms, and one answer there.

    Who asks is whom GitHub names as the issue's author. What was done is brought up to date by the next run.

    \b
    Examples:
      cf-infra intake conda-forge/cf-infra#123 --dry-run
      cf-infra intake 123
      cf-infra intake --waiting
    """
    from cf_infra import intake_github

    console = Console(form, quiet, no_color)
    if (issue is None) != waiting:
        raise typer.BadParameter("either one, or --waiting.", param_hint="ISSUE")
    if issue is None:
        found, faults = intake_github.waiting(root, day_of(today), dry_run, console.progress)
        console.diagnostics(faults)
        text = "\n".join(f"{one.place}: {one.decision.outcome}" for one in found)
        console.result({"issues": [one.as_json() for one in found]}, text or "No issue is open.")
        console.finish()
        return
    options = intake_github.Options(root, issue, day_of(today), dry_run)
    told = intake_github.take_in(options, console.progress)
    console.result(told.as_json(), told.answer if form is Format.MARKDOWN else told.text())
    if dry_run:
        console.hint(NOTHING_DONE)
    console.finish()


def renewals(
    days: Annotated[int, typer.Option("--days", min=1, max=60, help="So many days before the end.")] = 30,
    root: Root = Path(),
    dry_run: OnlyTold = False,
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Ask maintainers, once and in their own repository, whether a grant that ends soon is still needed.

    One issue for each repository; it is closed when all that it asks about is renewed or has ended.

    \b
    Examples:
      cf-infra renewals --dry-run
      cf-infra renewals --days 45
    """
    from cf_infra import renewing

    console = Console(form, quiet, no_color)
    done = renewing.renew(renewing.Options(root, day_of(today), days, dry_run), console.progress)
    console.diagnostics(done.diagnostics)
    console.result(done.as_json(), done.text())
    if dry_run:
        console.hint(NOTHING_DONE)
    console.finish()


def daily(
    root: Root = Path(),
    dry_run: OnlyTold = False,
    today: Today = None,
    cloud: Clouds = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Do what a day brings: turn what is due, try every credential, audit; one issue where a person must decide.

    The issue is opened, changed and closed in the own repository (GITHUB_REPOSITORY, or settings.yaml). A day with
    nothing new changes nothing there.

    \b
    Examples:
      cf-infra daily --dry-run
      cf-infra daily --format markdown >> summary.md
    """
    from cf_infra import commands, day
    from cf_infra import daily as told

    console = Console(form, quiet, no_color)
    options = day.Options(root, day_of(today), dry_run, commands.pairs(cloud, "--cloud"))
    done = day.run(options, console.progress)
    console.diagnostics(done.day.diagnostics)
    write = told.markdown if form is Format.MARKDOWN else told.terminal
    data = told.as_json(done.day, done.change, done.address)
    console.result(data, write(done.day, done.change, done.address))
    if dry_run:
        console.hint(NOTHING_DONE)
    console.finish()


def issue_form(
    root: Root = Path(),
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Print the issue form by which maintainers ask, with the machines and terms that the stacks have.

    \b
    Example:
      cf-infra export issue-form > .github/ISSUE_TEMPLATE/access.yml
    """
    from cf_infra import issue_form as forms

    console = Console(form, quiet, no_color)
    text = forms.form(sound(console, root, day_of(today)).inventory)
    console.result({"form": text}, text)
    console.finish()
