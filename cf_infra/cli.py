"""The command line: options, exit codes, what goes to stdout and what to stderr. No decisions of its own.

Exit codes: 0 done, 1 refused or failed, 2 differences (--detailed-exitcode), 64 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from cf_infra import cli_review, cli_service
from cf_infra.cli_grants import grant_app, import_app
from cf_infra.cli_history import history
from cf_infra.cli_options import (
    Clouds,
    Detailed,
    Form,
    Jobs,
    Maintained,
    NoColor,
    Quiet,
    Root,
    Stacks,
    Today,
    sound,
)
from cf_infra.cli_options import day_of as _day
from cf_infra.cli_owners import codeowners
from cf_infra.cli_reviewed import Accept, OwnRepository, Reviewed, ReviewFiles, Since, asked_of
from cf_infra.cli_sandbox import sandbox_app
from cf_infra.cli_state import state_app
from cf_infra.console import DIFFERENCES, INTERRUPTED, USAGE, Console, Format, today_utc
from cf_infra.diagnostics import Diagnostic, Failure

INTERRUPTED_HERE = Diagnostic(
    "interrupted",
    detail="State is safe: what was begun is written down.",
    hint="see where it stands, and go on from there:\ncf-infra plan && cf-infra apply",
)

app = typer.Typer(
    name="cf-infra",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="conda-forge's CI access as code: grants.yaml says who may use which donated machine; the rest follows.\n\n"
    "\b\nA day's work:\n  cf-infra check\n  cf-infra plan\n  cf-infra apply\n  cf-infra status",
)
export_app = typer.Typer(no_args_is_help=True, help="Print lists for other programs.")
app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(grant_app, name="grant")
app.add_typer(state_app, name="state")


@app.command()
def check(
    root: Root = Path(),
    today: Today = None,
    maintainers: Maintained = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Read all files and say everything that is wrong with them. Needs no network.

    \b
    Examples:
      cf-infra check
      cf-infra check --today 2027-01-01
      cf-infra check --maintainers maintainers.json
      cf-infra check --format json | jq '.diagnostics[].code'
    """
    from cf_infra import project

    console = Console(form, quiet, no_color)
    folder = project.read(root, _day(today), _maintainers(maintainers))
    console.diagnostics(folder.diagnostics)
    grants, stacks = len(folder.inventory.grants), len(folder.inventory.stacks)
    console.result(
        {"grants": grants, "stacks": stacks},
        f"{_counted(grants, 'grant')}, {_counted(stacks, 'stack')}: {_verdict(folder.diagnostics)}",
    )
    console.finish()


def _maintainers(file: Path | None) -> Any:
    """The file of maintainers, read; None if none was given."""
    if file is None:
        return None
    from cf_infra.files import read_regular
    from cf_infra.people import maintainers
    from cf_infra.yaml12 import LIMIT_GRANTS

    try:
        return maintainers(read_regular(file, LIMIT_GRANTS, str(file)), str(file))
    except FileNotFoundError:
        raise Failure(
            Diagnostic(
                "not-found",
                file=str(file),
                detail="The file of maintainers is not there.",
                hint='the form is {"pytorch-cpu": ["login", "another-login"]}',
            )
        ) from None


def _verdict(diagnostics: list[Diagnostic]) -> str:
    errors = sum(d.severity == "error" for d in diagnostics)
    warnings = len(diagnostics) - errors
    parts = [_counted(n, word) for n, word in ((errors, "error"), (warnings, "warning")) if n]
    return " and ".join(parts) if parts else "all is well"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


@app.command("compile")
def compile_(
    root: Root = Path(),
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Write build/<stack>/ for OpenTofu, and Cirun's lists. Needs no network; the same input, the same bytes.

    \b
    Examples:
      cf-infra compile
      cf-infra compile --today 2027-01-01
    """
    from cf_infra import project

    console = Console(form, quiet, no_color)
    folder = project.read(root, _day(today))
    console.diagnostics(folder.diagnostics)
    console.stop_on_errors()
    names = project.write_build(project.with_ledgers(folder))
    console.result({"files": names}, f"{len(names)} files in {root / 'build'}")
    console.finish()


Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-destroy", metavar="STACK=N", help="Allow to take away exactly N there; only at a terminal."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer questions with yes; lifts no limit.")]


def _allowed(texts: list[str] | None) -> dict[str, int]:
    from cf_infra import commands

    found = commands.pairs(texts, "--allow-destroy")
    if found and not sys.stdin.isatty():
        raise Failure(
            Diagnostic(
                "usage",
                detail="--allow-destroy is for people at a terminal.",
                hint="commit the permission instead, in overrides.yaml; see docs/limits.md",
            )
        )
    wrong = [text for text in found.values() if not text.isdecimal()]
    if wrong:
        raise Failure(
            Diagnostic("usage", detail=f"{wrong[0]!r} is no number.", hint="--allow-destroy NAME=3")
        )
    return {name: int(text) for name, text in found.items()}


@app.command()
def plan(
    stacks: Stacks = None,
    root: Root = Path(),
    today: Today = None,
    cloud: Clouds = None,
    allow_destroy: Allow = None,
    jobs: Jobs = None,
    refresh: Annotated[bool, typer.Option(help="Ask the cloud what is there.")] = True,
    detailed_exitcode: Detailed = False,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Show what an apply would do, and save it. Changes nothing at any cloud.

    \b
    Examples:
      cf-infra plan
      cf-infra plan quansight-v100 --cloud quansight-v100=sandbox
      cf-infra plan --format json --detailed-exitcode
    """
    from cf_infra import commands

    console = Console(form, quiet, no_color)
    options = commands.Options(
        root,
        _day(today),
        stacks or (),
        commands.pairs(cloud, "--cloud"),
        jobs,
        _allowed(allow_destroy),
        refresh,
    )
    _show(console, commands.plan(options, console.progress), detailed_exitcode, next_step="cf-infra apply")


@app.command()
def apply(
    stacks: Stacks = None,
    root: Root = Path(),
    jobs: Jobs = None,
    reviewed: Reviewed = False,
    since: Since = None,
    accept: Accept = None,
    review: ReviewFiles = None,
    repository: OwnRepository = None,
    yes: Yes = False,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Do what the saved plans say, and prove what is gone. Takes only what `plan` saved.

    With --reviewed a stack is applied only if merged reviews cover all that its plan does, or time alone did it; what
    else there is waits for a person, who accepts just that.

    \b
    Examples:
      cf-infra apply
      cf-infra apply quansight-v100
      cf-infra apply --reviewed
      cf-infra apply quansight-v100 --reviewed --accept quansight-v100=REVIEW_DIGEST
    """
    from cf_infra import commands

    del yes  # the saved plan is the question and the answer
    console = Console(form, quiet, no_color)
    options = commands.Options(root, today_utc(), stacks or (), {}, jobs, {})
    asked = asked_of(reviewed, since, accept, review, repository)
    _show(console, commands.apply(options, console.progress, asked))


@app.command()
def destroy(
    stack: Annotated[str, typer.Argument(metavar="STACK")],
    root: Root = Path(),
    today: Today = None,
    cloud: Clouds = None,
    allow_destroy: Allow = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Plan to take away a whole stack.

    `apply` then does it, if the limits allow.

    \b
    Example:
      cf-infra destroy lab --allow-destroy lab=3 && cf-infra apply lab
    """
    from cf_infra import commands

    console = Console(form, quiet, no_color)
    options = commands.Options(
        root,
        _day(today),
        [stack],
        commands.pairs(cloud, "--cloud"),
        None,
        _allowed(allow_destroy),
        destroy=True,
    )
    _show(console, commands.plan(options, console.progress), next_step=f"cf-infra apply {stack}")


@app.command()
def status(
    stacks: Stacks = None,
    root: Root = Path(),
    today: Today = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the cloud, too.")] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="Who can use or renew each key, login, sink and contact, instead.")
    ] = False,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Show what the last apply left, its age, and what is free.

    Needs no network without --live, but for the bucket where states in S3 are.

    \b
    Examples:
      cf-infra status
      cf-infra status quansight-v100 --live
      cf-infra status --keys
    """
    from cf_infra import commands

    console = Console(form, quiet, no_color)
    if keys:
        _holders(console, root, _day(today), stacks, live)
        return
    options = commands.Options(root, _day(today), stacks or (), {}, None, {})
    _show(console, commands.status(options, live, console.progress))


def _holders(console: Console, root: Path, today: date, stacks: list[str] | None, live: bool) -> None:
    from cf_infra import holders, project

    if live:
        raise Failure(Diagnostic("usage", detail="--keys asks no cloud: it says what the files say."))
    folder = sound(console, root, today)
    project.chosen(folder.inventory.stacks, stacks)
    held = holders.holders(folder.inventory, stacks or ())
    text = holders.markdown(held) if console.form is Format.MARKDOWN else holders.terminal(held)
    console.result({"keys": [one.as_json() for one in held]}, text)
    console.diagnostics(project.placed(folder, holders.findings(held)))
    console.finish()


def _show(console: Console, outcome: Any, detailed: bool = False, next_step: str = "") -> None:
    console.diagnostics(outcome.diagnostics)
    console.keep(outcome.known)
    text = outcome.markdown if console.form is Format.MARKDOWN and outcome.markdown else outcome.text
    console.result({"stacks": outcome.stacks}, text)
    if outcome.interrupted:
        console.diagnostics([INTERRUPTED_HERE])
        console.finish(code=INTERRUPTED)
    if next_step and outcome.differences and not all(row["refused"] for row in outcome.stacks):
        console.hint(f"The plan is saved. To do what it says: {next_step}")
    console.finish(code=DIFFERENCES if detailed and outcome.differences else 0)


app.command("diff")(cli_review.diff)
app.command("intake")(cli_service.intake)
app.command("renewals")(cli_service.renewals)
app.command("daily")(cli_service.daily)
export_app.command("issue-form")(cli_service.issue_form)
app.command("review")(cli_review.review)
app.command("comment")(cli_review.comment)


@export_app.command("access")
def export_access(
    root: Root = Path(),
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Print Cirun's .access.yml as grants.yaml means it today.

    \b
    Example:
      cf-infra export access > .access.yml
    """
    from cf_infra import access

    console = Console(form, quiet, no_color)
    folder = sound(console, root, _day(today))
    exported = access.export_access(folder.resolved(), folder.inventory)
    console.result({"access": exported.model_dump(mode="json")}, access.access_text(exported))
    console.finish()


export_app.command("codeowners")(codeowners)


@app.command()
def explain(
    feedstock: Annotated[
        str, typer.Argument(metavar="FEEDSTOCK", help="Without -feedstock; or a repository.")
    ],
    resource: Annotated[str, typer.Argument(metavar="RESOURCE", help="A runner class or a label.")],
    user: Annotated[str | None, typer.Option("--user", metavar="LOGIN", help="Who starts the job.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask GitHub and Cirun, too.")] = False,
    comment: Annotated[
        str | None,
        typer.Option(
            "--comment", metavar="OWNER/REPO#N", help="Answer there, in one comment that later runs change."
        ),
    ] = None,
    yes: Yes = False,
    root: Root = Path(),
    today: Today = None,
    maintainers: Maintained = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Say whether a feedstock may use a resource, step by step, and what would change a no.

    Needs no network without --live and --comment.

    \b
    Examples:
      cf-infra explain pytorch-cpu gpu-large
      cf-infra explain pytorch-cpu cirun-openstack-gpu-large --user h-vetinari
      cf-infra explain numpy gpu-large --format markdown
      cf-infra explain numpy gpu-large --user their-login --live --comment conda-forge/numpy-feedstock#12
    """
    from cf_infra import answer
    from cf_infra.asked import Question
    from cf_infra.explain import explain as explained
    from cf_infra.files import read_root

    console = Console(form, quiet, no_color)
    question = Question(feedstock, resource, _day(today), user, _maintainers(maintainers))
    files = read_root(root)
    found = explained(files, question)
    if live or comment is not None:
        from cf_infra import live as asking

        place = asking.place_of(comment) if comment is not None else None
        found = asking.live(root, files, found, console.progress) if live else found
        if place is not None:
            _agreed(yes, f"Write this answer to {comment}, where everybody can read it?")
            number = asking.comment(root, place, found, answer.markdown(found), console.progress)
            console.result({"comment": {"place": comment, "id": number}}, "")
            console.hint(f"The answer stands at {comment}.")
    text = answer.markdown(found) if form is Format.MARKDOWN else answer.terminal(found)
    console.result(found.as_json(), text)
    console.finish()


def _agreed(yes: bool, question: str) -> None:
    """Ensure that a person agreed; --yes is their answer where there is no terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        detail = "This is done only after a yes, and there is no terminal to ask at."
        raise Failure(
            Diagnostic("usage", detail=detail, hint="look at what it would do first, then add --yes")
        )
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


# ------------------------------------------------------------------------------------------- the last mile

app.command()(history)

Prepared = Annotated[
    str, typer.Argument(metavar="FEEDSTOCK", help="Without -feedstock; or a repository that has a grant.")
]
OnlyLook = Annotated[
    bool, typer.Option("--dry-run", help="Only look: say what would be done, and show the diff.")
]


@app.command()
def activate(
    feedstock: Prepared,
    resource: Annotated[
        str,
        typer.Argument(
            metavar="[RESOURCE]", help="Which one, where several are granted.", show_default=False
        ),
    ] = "",
    root: Root = Path(),
    dry_run: OnlyLook = False,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make and register a feedstock token again.")
    ] = False,
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Have a feedstock's jobs run on what it was granted: Cirun, the feedstock's token, a pull request to it.

    What is done already is left as it is, so a run that broke off is finished by the next one.

    \b
    Examples:
      cf-infra activate pytorch-cpu --dry-run
      cf-infra activate pytorch-cpu gpu-large
    """
    from cf_infra import activation

    options = activation.Options(root, _day(today), feedstock, resource, dry_run, new_token)
    _last_mile(Console(form, quiet, no_color), activation.activate, options)


@app.command()
def deactivate(
    feedstock: Prepared,
    root: Root = Path(),
    dry_run: OnlyLook = False,
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Take back what `activate` did, as far as no grant asks for it any more.

    Cirun is switched off after a repository's last grant; a pull request takes the lines out of the feedstock.

    \b
    Example:
      cf-infra deactivate pytorch-cpu
    """
    from cf_infra import activation

    options = activation.Options(root, _day(today), feedstock, dry_run=dry_run)
    _last_mile(Console(form, quiet, no_color), activation.deactivate, options)


def _last_mile(console: Console, run: Any, options: Any) -> None:
    outcome = run(options, console.progress)
    console.diagnostics(outcome.diagnostics)
    text = outcome.markdown() if console.form is Format.MARKDOWN else outcome.text()
    console.result(outcome.as_json(), text)
    if options.dry_run:
        console.hint("Nothing was changed, as --dry-run asks.")
    console.finish()


# ------------------------------------------------------------------------------------------------- drift


@app.command()
def drift(
    stacks: Stacks = None,
    detailed_exitcode: Detailed = False,
    root: Root = Path(),
    today: Today = None,
    cloud: Clouds = None,
    jobs: Jobs = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Show what somebody changed at a cloud behind our back: what an apply of the same files would undo.

    Changes nothing. What is there without any of our marks, `audit` finds.

    \b
    Examples:
      cf-infra drift
      cf-infra drift quansight-v100 --detailed-exitcode
    """
    from cf_infra import commands

    console = Console(form, quiet, no_color)
    clouds = commands.pairs(cloud, "--cloud")
    options = commands.Options(root, _day(today), stacks or (), clouds, jobs, {})
    _show(console, commands.drifted(options, console.progress), detailed_exitcode)


# ------------------------------------------------------------------------------------------------- audit

Local = typer.Option(metavar="FILE", help="Compare this copy with grants.yaml, and ask no place.")


@app.command()
def audit(
    stacks: Stacks = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="PLACE", help="Ask only openstack, github or cirun; may be repeated."),
    ] = None,
    access: Annotated[Path | None, Local] = None,
    runners: Annotated[Path | None, Local] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", metavar="KIND", help="Exit 1 if there is such a finding; may be repeated."),
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 if there are findings.")
    ] = False,
    root: Root = Path(),
    today: Today = None,
    cloud: Clouds = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Compare what is there with what the files say, both ways, and tell how to mend it. Changes nothing.

    \b
    Examples:
      cf-infra audit
      cf-infra audit --only github --only cirun --fail-on own-runners
      cf-infra audit --access .access.yml --runners .cirun.global.yml
      cf-infra audit lab --only openstack --cloud lab=sandbox
    """
    from cf_infra import auditing, commands

    console = Console(form, quiet, no_color)
    clouds = commands.pairs(cloud, "--cloud")
    options = auditing.Options(
        root, _day(today), stacks or (), only or (), fail_on or (), access, runners, clouds
    )
    try:
        outcome = auditing.run(options, console.progress)
    except KeyboardInterrupt:
        detail, hint = "Nothing was changed: an audit only reads.", "run it again:\ncf-infra audit"
        console.diagnostics([Diagnostic("interrupted", detail=detail, hint=hint)])
        console.finish(code=INTERRUPTED)
        return
    console.diagnostics(outcome.diagnostics)
    console.keep(outcome.known)
    console.result(outcome.as_json(), outcome.text(markdown=form is Format.MARKDOWN))
    if outcome.fails(options.fail_on):
        console.finish(code=1)
    console.finish(code=DIFFERENCES if detailed_exitcode and outcome.findings else 0)


@app.command()
def rotate(
    stacks: Stacks = None,
    root: Root = Path(),
    today: Today = None,
    cloud: Clouds = None,
    boot: Annotated[
        bool, typer.Option("--boot", help="Then boot and delete a server of each flavor in use.")
    ] = False,
    jobs: Jobs = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Turn the credentials that are due: make, deliver, prove by a login, retire. Changes nothing else.

    A whole `apply` does the same; this is for a day with nothing else to apply. Every credential is tried.

    \b
    Examples:
      cf-infra rotate
      cf-infra rotate quansight-v100 --boot
      cf-infra rotate --format json | jq '.stacks[].credentials[] | select(.works | not)'
    """
    from cf_infra import commands, rotating

    console = Console(form, quiet, no_color)
    clouds = commands.pairs(cloud, "--cloud")
    options = commands.Options(root, _day(today), stacks or (), clouds, jobs, {})
    _show(console, rotating.rotate(options, console.progress, boot))


@app.command("revoke-now")
def revoke_now(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A credential, or STACK/NAME of one.")
    ] = None,
    stack: Annotated[str | None, typer.Option("--stack", metavar="STACK", help="All of a stack.")] = None,
    person: Annotated[
        str | None, typer.Option("--person", metavar="LOGIN", help="All that somebody can read or renew.")
    ] = None,
    terminate: Annotated[
        bool, typer.Option("--terminate", help="Delete the machines that the old login booted.")
    ] = False,
    root: Root = Path(),
    today: Today = None,
    cloud: Clouds = None,
    yes: Yes = False,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """For a leak: replace a credential now, and end the old one, with proof.

    Says first what it ends and which jobs run there. Another one is made, delivered and proven before the old one
    goes. It can be stopped and run again.

    \b
    Examples:
      cf-infra revoke-now cirun
      cf-infra revoke-now quansight-v100/cirun --terminate
      cf-infra revoke-now --stack quansight-v100 --yes
      cf-infra revoke-now --person somebody
    """
    from cf_infra import commands, revoking

    if sum(one is not None for one in (name, stack, person)) != 1:
        detail = "One of NAME, --stack and --person says what is revoked."
        raise Failure(Diagnostic("usage", detail=detail, hint="cf-infra revoke-now STACK/NAME"))
    console = Console(form, quiet, no_color)
    options = commands.Options(root, _day(today), (), commands.pairs(cloud, "--cloud"), None, {})

    def agree(listing: str) -> None:
        if not (yes and quiet):
            typer.echo(listing.rstrip("\n"), err=True)
        _agreed(yes, "Revoke all of this now?")

    asked = revoking.Asked(name, stack, person, terminate)
    _show(console, revoking.revoke(options, asked, agree, console.progress))


def main() -> None:
    """Run the command line; every fault ends here as a message and an exit code, never as a traceback."""
    # What is read stays until the end: looking for garbage among a million new objects cost a fifth of `check`.
    gc.set_threshold(500_000)
    # Pydantic looks for plugins in every installed package; none is wanted, and the search costs 20 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    sys.exit(run(sys.argv[1:]))


def _behind_the_command(arguments: list[str]) -> list[str]:
    """The same with options that stand before the command moved behind it: every command takes them."""
    moved: list[str] = []
    rest = list(arguments)
    while rest and rest[0].startswith("--") and rest[0] not in ("--help", "--"):
        takes_value = rest[0] in ("--root", "--today", "--format", "--jobs") and len(rest) > 1
        count = 2 if takes_value else 1
        moved, rest = moved + rest[:count], rest[count:]
    return rest + moved if rest else moved


@functools.cache
def _commands() -> Any:
    """All commands, made once: it takes longer than most of what tests ask of one."""
    return typer.main.get_command(app)


def run(arguments: list[str]) -> int:
    """The exit code of one command."""
    arguments = _behind_the_command(arguments)
    wants_json = "--format=json" in arguments or ("--format", "json") in itertools.pairwise(arguments)
    console = Console(
        Format.JSON if wants_json else Format.TEXT, "--quiet" in arguments, "--no-color" in arguments
    )
    try:
        # Its `main` would end the process with its own codes and texts, and take Ctrl-C for itself.
        command = _commands()
        with command.make_context("cf-infra", arguments) as context:
            command.invoke(context)
        return 0
    except typer.Exit as stop:
        return stop.exit_code
    except TyperException as error:
        message = error.format_message()
        if "Usage:" in message:  # a group was called without a command: the message is its help
            sys.stderr.write(message + "\n")
        else:
            context = getattr(error, "ctx", None)
            command = context.command_path if context is not None else "cf-infra"
            console.fail(Diagnostic("usage", detail=message, hint=f"see how it is used:\n{command} --help"))
        return USAGE
    except Failure as failure:
        console.fail(*failure.diagnostics)
        return USAGE if all(d.code == "usage" for d in failure.diagnostics) else 1
    except (KeyboardInterrupt, typer.Abort):
        console.fail(INTERRUPTED_HERE)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        from cf_infra.files import disk_fault

        console.fail(disk_fault(error, Path(error.filename or ".")))
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence: a message, not a traceback
        console.fail(_bug(error))
        return 1


def _bug(error: Exception) -> Diagnostic:
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    if os.environ.get("CF_INFRA_TRACEBACK"):
        # Frames and kinds only: an exception's own words may hold what it stumbled over.
        told: BaseException | None = error
        while told is not None:
            sys.stderr.write(
                f"Traceback of {type(told).__name__}:\n{''.join(traceback.format_tb(told.__traceback__))}"
            )
            told = told.__cause__ or told.__context__
    return Diagnostic(
        "bug",
        detail=f"{type(error).__name__} in {where}. This is a bug in cf-infra.",
        hint="report it with what this prints:\nCF_INFRA_TRACEBACK=1 cf-infra ...",
    )
