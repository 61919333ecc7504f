"""The command line of `export codeowners`."""

from __future__ import annotations

from pathlib import Path

from cf_infra.cli_options import Form, NoColor, Quiet, Root, Today, day_of, sound
from cf_infra.console import Console, Format
from cf_infra.diagnostics import Failure


def codeowners(
    root: Root = Path(),
    today: Today = None,
    form: Form = Format.TEXT,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Print GitHub's CODEOWNERS, as settings.yaml and the donors' contacts mean it.

    \b
    Example:
      cf-infra export codeowners > .github/CODEOWNERS
    """
    from cf_infra import codeowners as owners
    from cf_infra import project

    console = Console(form, quiet, no_color)
    folder = sound(console, root, day_of(today))
    try:
        text = owners.codeowners(folder.inventory)
    except Failure as failure:
        raise Failure(*project.placed(folder, failure.diagnostics)) from None
    console.result({"codeowners": text}, text)
    console.finish()
