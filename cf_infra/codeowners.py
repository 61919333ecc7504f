"""GitHub's CODEOWNERS, made from the files: who must look at a change of which file. Deterministic.

The last line that fits a path decides (GitHub: "About code owners"). A line without an owner would leave its file to
anybody, so every line has one: the operators, where the files name nobody else. Bots own nothing, for they review
nothing. Owners are logins or teams as the model reads them; nothing else of a file gets into the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cf_infra import approvals
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.model import Inventory
from cf_infra.parse import GRANTS, OVERRIDES, SETTINGS

WIDTH = 32
"""Columns of a path, as far as it is shorter."""
HEAD = """\
# Made by `cf-infra export codeowners` from settings.yaml and stacks/; do not edit.
# The last line that fits decides.
"""


def codeowners(inventory: Inventory) -> str:
    """The text of the file. Raises Failure("no-owners") if nobody would own what only operators may change."""
    operators = approvals.of_operators(inventory)
    if not operators:
        raise Failure(_nobody())
    lines = [HEAD, *(_line(path, owners) for path, owners in _lines(inventory, operators))]
    return "\n".join(lines) + "\n"


def _lines(inventory: Inventory, operators: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "*", operators
    yield f"/{GRANTS}", approvals.of_grants(inventory)
    for name in sorted(inventory.users):
        yield f"/users/{name}.json", approvals.of_users(inventory, name)
    for name in sorted(inventory.stacks):
        yield f"/stacks/{name}.yaml", approvals.of_stack(inventory, name)
    for path in ("/modules/", "/.github/", f"/{SETTINGS}", f"/{OVERRIDES}"):
        yield path, operators


def _line(path: str, owners: Iterable[str]) -> str:
    return f"{path:<{WIDTH}} {' '.join(f'@{owner}' for owner in owners)}"


def _nobody() -> Diagnostic:
    detail = f"{SETTINGS} names no operator who is a person, so nobody would own it, the workflows and the modules."
    hint = "name them, two at least:\noperators: [their-login, another-login]"
    return Diagnostic("no-owners", file=SETTINGS, path=("operators",), on_key=True, detail=detail, hint=hint)
