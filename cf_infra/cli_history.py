"""The command line of what was: `history`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cf_infra.cli_options import Form, NoColor, Quiet, Root, Today, day_of
from cf_infra.console import Console, Format


def history(
    feedstock: Annotated[
        str,
        typer.Argument(
            metavar="[FEEDSTOCK]", help="Without -feedstock; or a repository.", show_default=False
        ),
    ] = "",
    resource: Annotated[
        str, typer.Argument(metavar="[RESOURCE]", help="Only this class or label.", show_default=False)
    ] = "",
    verify: Annotated[
        bool, typer.Option("--verify", help="Say whether all journals are whole, instead.")
    ] = False,
    root: Root = Path(),
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Say who had what when: from which apply to which, of whose request, and what proved the end.

    Reads the journals beside the states and git, and needs no network.

    \b
    Examples:
      cf-infra history pytorch-cpu
      cf-infra history pytorch-cpu gpu-large --format markdown
      cf-infra history --verify
    """
    from cf_infra import history as told

    console = Console(form, quiet, no_color)
    if bool(feedstock) == verify:
        raise typer.BadParameter("either one, or --verify.", param_hint="FEEDSTOCK or --verify")
    day = day_of(today)
    found = (
        told.verify(root, console.progress)
        if verify
        else told.history(root, feedstock, resource, day, console.progress)
    )
    console.diagnostics(found.diagnostics)
    console.result(found.data, found.markdown if form is Format.MARKDOWN else found.text)
    console.finish()
