"""What many commands share: options, each with one name, one meaning and one help text, and how they begin."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cf_infra.console import Console, Format, today_utc

if TYPE_CHECKING:
    from cf_infra.project import Folder

Root = Annotated[Path, typer.Option("--root", metavar="DIR", help="The folder with grants.yaml and stacks/.")]
Today = Annotated[
    str | None, typer.Option("--today", metavar="DATE", help="Decide as if it were this day (UTC).")
]
Form = Annotated[Format, typer.Option("--format", help="How results are written to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results and faults.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours (also NO_COLOR, or no terminal).")]
Stacks = Annotated[list[str] | None, typer.Argument(metavar="STACK...", help="Default: all.")]
Clouds = Annotated[
    list[str] | None,
    typer.Option(
        "--cloud",
        metavar="STACK=NAME",
        help="Use another cloud for a stack; `sandbox` is the one on this machine.",
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, max=64, help="Stacks at once (default: settings.yaml).")
]
Detailed = Annotated[bool, typer.Option("--detailed-exitcode", help="Exit 2 if there are differences.")]
Maintained = Annotated[
    Path | None,
    typer.Option(
        "--maintainers", metavar="FILE", help="JSON {feedstock: [logins]}: who left is named (docs/files.md)."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the difference, write nothing.")]


def day_of(text: str | None, option: str = "--today") -> date:
    """The day that an option names; today (UTC) where it names none."""
    if text is None:
        return today_utc()
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise typer.BadParameter(f"{text!r} is no day; write YYYY-MM-DD.", param_hint=option)
    return day


def sound(console: Console, root: Path, day: date) -> Folder:
    """A root folder without errors, which end the command here; its warnings are for `check`."""
    from cf_infra import project

    folder = project.read(root, day)
    console.diagnostics([d for d in folder.diagnostics if d.severity == "error"])
    console.stop_on_errors()
    return folder
