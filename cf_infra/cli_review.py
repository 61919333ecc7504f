"""The command line of what reviewers look at: `diff`, `review`, `comment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cf_infra.cli_options import Clouds, Detailed, Form, NoColor, Quiet, Root, Today, day_of
from cf_infra.console import DIFFERENCES, Console, Format


def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A folder, or a git revision.")],
    head: Annotated[str, typer.Argument(metavar="HEAD", help="The same.")],
    root: Root = Path(),
    today: Today = None,
    detailed_exitcode: Detailed = False,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Show which grants HEAD adds, changes and removes, and what that does. Needs no network, runs nothing of HEAD.

    Revisions are read from the objects of the clone that --root is in; settings.yaml, overrides.yaml and modules/ are
    BASE's. An entry that is only moved or written otherwise is no change.

    \b
    Examples:
      cf-infra diff main HEAD
      cf-infra diff HEAD . --format markdown
      cf-infra diff ../before ../after --detailed-exitcode
    """
    from cf_infra import comparing, difference_report

    console = Console(form, quiet, no_color)
    done = comparing.compare(root, base, head, day_of(today))
    console.diagnostics(done.diagnostics)
    console.keep(done.known)
    sides = {"base": done.base.as_json(), "head": done.head.as_json()}
    data = {**sides, **done.difference.as_json()}
    show = {Format.TEXT: difference_report.terminal, Format.MARKDOWN: difference_report.markdown}.get(form)
    console.result(data, show(data) if show else "")
    console.finish(DIFFERENCES if detailed_exitcode and not done.difference.is_empty else 0)


Planned = Annotated[
    bool, typer.Option("--plan", help="Plan the stacks, too: on copies of the states, without any cloud.")
]
Approved = Annotated[
    bool,
    typer.Option("--stacks-approved", help="A maintainer approved this head: plan its stack files as well."),
]


def review(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="A folder, or a git revision: the trusted side.")
    ],
    head: Annotated[str, typer.Argument(metavar="HEAD", help="The same.")],
    root: Root = Path(),
    today: Today = None,
    plan: Planned = False,
    stacks_approved: Approved = False,
    cloud: Clouds = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Show what a reviewer has to know of HEAD: a verdict, then danger, then each stack, then everything.

    It is what `comment` writes at a pull request. Runs nothing of HEAD and asks no cloud.

    \b
    Examples:
      cf-infra review main HEAD
      cf-infra review main HEAD --plan --format markdown
    """
    from cf_infra import commands, project, review_report, reviewing
    from cf_infra.files import read_root

    console = Console(form, quiet, no_color)
    day = day_of(today)
    options = reviewing.Options(root, day, plan, stacks_approved, commands.pairs(cloud, "--cloud"))
    inventory = project.from_files(root, read_root(root), day).inventory
    secrets = reviewing.secrets_of(inventory.settings, inventory.stacks.values())
    found = reviewing.made(options, reviewing.Sides(base, head), console.progress, secrets)
    console.diagnostics(found.diagnostics)
    console.keep(found.known)
    markdown = form is Format.MARKDOWN
    text = review_report.markdown(found.value) if markdown else review_report.terminal(found.value)
    console.result(_without_diagnostics(found.value), text)
    console.finish()


def _without_diagnostics(value: dict[str, Any]) -> dict[str, Any]:
    """The console has them already, those that are known before included."""
    return {key: item for key, item in value.items() if key != "diagnostics"}


def comment(
    pull: Annotated[
        str,
        typer.Argument(metavar="[PULL]", help="OWNER/REPOSITORY#NUMBER, or a number.", show_default=False),
    ] = "",
    waiting: Annotated[
        bool, typer.Option("--waiting", help="All open ones whose newest head has no comment of ours.")
    ] = False,
    repository: Annotated[
        str | None,
        typer.Option(
            "--repository", metavar="OWNER/NAME", envvar="GITHUB_REPOSITORY", help="Where a number is meant."
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option("--head", metavar="SHA", help="Refuse if its newest commit is another one.")
    ] = None,
    base: Annotated[str, typer.Option("--base", metavar="REV", help="The trusted side.")] = "HEAD",
    plan: Planned = False,
    stacks_approved: Approved = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the comment, post nothing.")] = False,
    root: Root = Path(),
    today: Today = None,
    cloud: Clouds = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Say at a pull request what it will do, in one comment that later runs change.

    Reads the pull request's commits from the clone that --root is in, which must have them, and asks GitHub only
    whether they are the ones. Nothing of them is run.

    \b
    Examples:
      cf-infra comment conda-forge/.cirun#12 --dry-run
      cf-infra comment 12 --plan --head 0600a98db8f6...
      cf-infra comment --waiting --repository conda-forge/.cirun
    """
    from cf_infra import commands, reviewing, standing, sticky

    console = Console(form, quiet, no_color)
    if bool(pull) == waiting:
        raise typer.BadParameter("either one, or --waiting.", param_hint="PULL or --waiting")
    options = reviewing.Options(root, day_of(today), plan, stacks_approved, commands.pairs(cloud, "--cloud"))
    place, number = (sticky.repository_of(repository), 0) if waiting else sticky.place_of(pull, repository)
    wanted = sticky.Options(options, place, head, base, dry_run)
    beside = standing.Standing(root, options.today, options.clouds, console.progress)
    if waiting:
        said, faults = sticky.waiting(wanted, console.progress, beside)
    else:
        said, faults = [sticky.comment(wanted, number, console.progress, beside)], []
    console.diagnostics(faults)
    told = [f"{place.owner}/{place.repository}#{one.pull}: {one.reviewed.value['verdict']}" for one in said]
    shown = "\n".join(one.text for one in said) if dry_run else "\n".join(told)
    console.result({"comments": [one.as_json() for one in said]}, shown)
    console.finish()
