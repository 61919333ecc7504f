"""Cirun's lists by pull request: what a plan shows of it, and what is known of the one that waits for people.

OpenTofu has no part in it: a file on a pull request's branch is gone when the branch goes, and every plan after the
merge would want it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import orjson

from cf_infra.access import AccessList, read_access
from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Diagnostic
from cf_infra.files import write
from cf_infra.github import Github
from cf_infra.github_files import ACCESS, RUNNERS, key_of_row, rows
from cf_infra.github_look import access_list
from cf_infra.github_parts import differences, entry_words
from cf_infra.plan import Part

BRANCH = "cf-infra/access"
TITLE = "Update Cirun's access lists"
PULL = "pull.json"
SHOWN_AT_MOST = 50


@dataclass(frozen=True)
class Pending:
    """The pull request that is open: pairs that have access until it is merged, and those that get it then.

    `settled`: pairs that an earlier one took away, and that are gone now.
    """

    url: str = ""
    still: list[str] = field(default_factory=list)
    not_yet: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)


def load(deployment: Deployment) -> Pending:
    """What the last apply left open."""
    try:
        return Pending(**orjson.loads((deployment.state / PULL).read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return Pending()


def pairs(listed: AccessList, classes: Mapping[str, str]) -> set[str]:
    """The pairs that a list opens."""
    return {key_of_row(row, classes) for row in rows(listed)}


def parts(
    github: Github, repository: str, lists: Mapping[str, bytes], classes: Mapping[str, str]
) -> list[Part]:
    """What the pull request does, entry by entry, as a plan tells it. `lists`: empty if both files go."""
    known = github.file(repository, RUNNERS)
    return parts_between(access_list(github, repository), known.content if known else None, lists, classes)


def parts_between(
    old: AccessList, runners: bytes | None, lists: Mapping[str, bytes], classes: Mapping[str, str]
) -> list[Part]:
    """As `parts`, where the access list is `old` and the runners' file has the content `runners`."""
    new, wanted = listed(lists), lists.get(RUNNERS)
    found = [
        Part(f"list:{ACCESS}#{'/'.join(row)}", action, entry_words(row), (key_of_row(row, classes),), policy)
        for row, action, policy in differences(old, new)
    ]
    if runners != wanted:
        action = "create" if runners is None else "update" if wanted is not None else "delete"
        text = wanted.decode() if wanted is not None else None
        found.append(Part(f"list:{RUNNERS}", action, f"file {RUNNERS}", value=text))
    return found


def listed(lists: Mapping[str, bytes]) -> AccessList:
    """The access list among the files."""
    return read_access(lists[ACCESS], ACCESS) if ACCESS in lists else AccessList()


def propose(
    github: Github,
    deployment: Deployment,
    repository: str,
    lists: Mapping[str, bytes],
    classes: Mapping[str, str],
) -> list[Diagnostic]:
    """Have one open pull request with these lists, none if they are so already; what is left for people to do."""
    before, after = pairs(access_list(github, repository), classes), pairs(listed(lists), classes)
    told = parts(github, repository, lists, classes)
    files = {path: lists.get(path) for path in (ACCESS, RUNNERS)}
    pull = github.propose(repository, BRANCH, files, TITLE, _body(deployment, told))
    earlier = load(deployment)
    left = Pending(
        url=pull.html_url if pull else "",
        still=sorted(before - after) if pull else [],
        not_yet=sorted(after - before) if pull else [],
        settled=sorted(set(earlier.still) - before),
    )
    write(deployment.state / PULL, orjson.dumps(asdict(left), option=orjson.OPT_INDENT_2))
    return [_waiting(left)] if pull else []


def _body(deployment: Deployment, told: list[Part]) -> str:
    signs = {"create": "+", "delete": "-", "update": "~"}
    lines = [f"{signs[part.action]} {part.what}" for part in told]
    more = len(lines) - SHOWN_AT_MOST
    shown = "\n".join(lines[:SHOWN_AT_MOST] + [f"and {more} more"] * (more > 0)).replace("`", " ")
    return (
        f"Made by cf-infra from `grants.yaml`, stack `{deployment.stack}`. Merge it to make it so; what is edited here "
        f"is written over by the next apply.\n\n```text\n{shown or 'The entries stay as they are.'}\n```\n"
    )


def _waiting(left: Pending) -> Diagnostic:
    detail = f"{left.url} is open. Until it is merged, {_count(left.still)} still have access"
    detail += f", and {_count(left.not_yet)} do not have it yet."
    return Diagnostic(
        "pull-request-open", detail=detail, hint="merge it, then plan and apply again for the receipts"
    )


def _count(pairs: list[str]) -> str:
    return f"{len(pairs)} pair{'s' * (len(pairs) != 1)}"
