"""The options of `apply --reviewed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cf_infra.diagnostics import Diagnostic, Failure

if TYPE_CHECKING:
    from cf_infra.gate import Asked

Reviewed = Annotated[
    bool,
    typer.Option("--reviewed", help="Only what merged reviews cover, or time alone did; the rest waits."),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="COMMIT", help="Where to begin if a stack's journal names no commit of an apply."
    ),
]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept", metavar="STACK=DIGEST", help="Apply just what waits there with this digest."),
]
ReviewFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--review",
        metavar="FILE",
        help="A saved comment with its record, instead of asking GitHub; repeatable.",
    ),
]
OwnRepository = Annotated[
    str | None,
    typer.Option(
        "--repository",
        metavar="OWNER/NAME",
        help="This folder at GitHub (default: settings.yaml, or the workflow's).",
    ),
]


def asked_of(
    reviewed: bool,
    since: str | None,
    accept: list[str] | None,
    reviews: list[Path] | None,
    repository: str | None,
) -> Asked | None:
    """What was asked; None without --reviewed. Raises Failure("usage")."""
    if not reviewed:
        alone = {"--since": since, "--accept": accept, "--review": reviews, "--repository": repository}
        used = [name for name, value in alone.items() if value]
        if used:
            detail = f"{used[0]} says how --reviewed decides, and that is missing."
            raise Failure(Diagnostic("usage", detail=detail, hint="cf-infra apply --reviewed --help"))
        return None
    from cf_infra import commands, gate

    accepted = commands.pairs(accept, "--accept")
    return gate.Asked(since, accepted, reviews or (), repository)
