"""Rules of stacks of kind github and app: what belongs to which kind, what may stand once, what must be free.

Each rule is one small "Ensure ..." function; they are listed in check.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from cf_infra.diagnostics import Diagnostic, some
from cf_infra.model import Kind
from cf_infra.rule import View, at, grant_fault, meant, stack_fault

_PART_OF = {"github": Kind.GITHUB, "app": Kind.APP}


def parts_fit_the_kind(view: View) -> Iterator[Diagnostic]:
    """Ensure `github` and `app` stand on stacks of their kind only."""
    for name, stack in view.inventory.stacks.items():
        for part, kind in _PART_OF.items():
            if getattr(stack, part) is not None and stack.kind is not kind:
                yield stack_fault(
                    "bad-value",
                    name,
                    (part,),
                    f"not on kind {stack.kind}",
                    f"`{part}` is for stacks of kind {kind}.",
                    f"kind: {kind}, or take `{part}` away",
                    on_key=True,
                )


def access_has_one_stack(view: View) -> Iterator[Diagnostic]:
    """Ensure one stack at most keeps the organisation's lists: two would undo each other."""
    ours = [name for name, stack in view.inventory.stacks.items() if stack.kind is Kind.GITHUB]
    for name in ours[1:]:
        yield stack_fault(
            "bad-value",
            name,
            ("kind",),
            "another one",
            f"stacks/{ours[0]}.yaml is of kind github already, and the organisation has its lists once.",
            f"put it all into stacks/{ours[0]}.yaml",
        )


def access_stacks_offer_nothing(view: View) -> Iterator[Diagnostic]:
    """Ensure a stack of kind github has no offers of its own: it opens those of the others."""
    for name, stack in view.inventory.stacks.items():
        if stack.kind is Kind.GITHUB and stack.offers:
            yield stack_fault(
                "bad-value",
                name,
                ("offers",),
                "not on kind github",
                "A stack of kind github has no machines: it keeps the lists of who may use those of the other stacks.",
                "move the offers to the stack that has the machines",
                on_key=True,
            )


def apps_are_installed_once(view: View) -> Iterator[Diagnostic]:
    """Ensure no two stacks choose the repositories of one installation: each would undo the other's."""
    first: dict[int, str] = {}
    for name, stack in view.inventory.stacks.items():
        if stack.app is None:
            continue
        other = first.setdefault(stack.app.installation, name)
        if other != name:
            yield stack_fault(
                "bad-value",
                name,
                ("app", "installation"),
                f"also stacks/{other}.yaml",
                f"stacks/{other}.yaml has the same installation, and each would take away what the other adds.",
                "offer all its classes in one stack file",
            )


def named_resources_are_offered(view: View) -> Iterator[Diagnostic]:
    """Ensure runner groups, secrets and variables follow grants of something that is offered."""
    known = view.catalog.names()
    if view.misses("stacks"):
        return
    for name, path, resource in _named(view):
        if resource not in view.catalog.by_name:
            yield stack_fault(
                "not-offered-here",
                name,
                path,
                "nobody offers it",
                f"There are: {some(known, resource)}.",
                meant(resource, known, "name a class or a label of a stack"),
            )


def _named(view: View) -> Iterator[tuple[str, tuple[str | int, ...], str]]:
    for name, stack in view.inventory.stacks.items():
        for part in ("runner_groups", "secrets", "variables"):
            for key, entry in getattr(stack.github, part, {}).items():
                for position, resource in enumerate(entry.resources):
                    yield name, ("github", part, key, "resources", position), resource


def variables_have_values(view: View) -> Iterator[Diagnostic]:
    """Ensure a variable shows something: labels, or a value that is written down."""
    for name, stack in view.inventory.stacks.items():
        for key, variable in (stack.github.variables if stack.github else {}).items():
            offered = [o.offer for r in variable.resources for o in view.catalog.offers(r)]
            if variable.value is None and offered and all(offer.label is None for offer in offered):
                yield stack_fault(
                    "missing-key",
                    name,
                    ("github", "variables", key),
                    "needs `value`",
                    "A variable without `value` shows the labels of its resources, and these have none.",
                    "value: TEXT",
                    on_key=True,
                )


def names_are_not_githubs(view: View) -> Iterator[Diagnostic]:
    """Ensure no secret or variable begins with GITHUB_: GitHub keeps these names for itself."""
    for name, stack in view.inventory.stacks.items():
        for part in ("secrets", "variables"):
            for key in getattr(stack.github, part, {}):
                if key.startswith("GITHUB_"):
                    yield stack_fault(
                        "bad-value",
                        name,
                        ("github", part, key),
                        "kept by GitHub",
                        "Names that begin with GITHUB_ are GitHub's own.",
                        "give it another name",
                        on_key=True,
                    )


def kept_repository_has_no_grant(view: View) -> Iterator[Diagnostic]:
    """Ensure nobody is granted what could never be taken back: the repository that an installation keeps."""
    kept = {name: s.app.keep.lower() for name, s in view.inventory.stacks.items() if s.app is not None}
    for index, grant in view.inventory.grants.items():
        for position, resource in enumerate(grant.resources):
            for offered in view.catalog.offers(resource, grant.stack):
                if kept.get(offered.stack) == grant.repository.lower():
                    yield grant_fault(
                        "bad-value",
                        at(index, "resources", position),
                        "could never be revoked",
                        f"{grant.repository} is the repository that stacks/{offered.stack}.yaml keeps in the app's "
                        "selection, because GitHub keeps one.",
                        "keep a repository that builds nothing, such as `.github`",
                    )
