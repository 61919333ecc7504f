"""The command line of what reviewers look at: `diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cf_infra.cli_options import Detailed, Form, NoColor, Quiet, Root, Today, day_of
from cf_infra.console import Console, Format

DIFFERENCES = 2


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
