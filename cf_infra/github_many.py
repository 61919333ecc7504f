"""Many repositories of GitHub in one request: what each is called now, and one of its files.

Asked through GraphQL, a hundred repositories at a time: the REST API needs a request for each file of each. Fields as
GitHub's published schema has them (npm @octokit/graphql-schema 15.26): Query.repository, Repository.object,
Blob.text, Commit.history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github import Github

AT_ONCE = 100
"""Repositories in one request. Each is a point or less of 5,000 an hour; a hundred answer in a second or two."""
LARGEST = 512_000
"""Bytes of a text that GraphQL tells whole; of a larger one `isTruncated` is true."""
HEAD = "HEAD"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """A file of a repository, at a branch or another name of a commit."""

    owner: str
    name: str
    path: str
    ref: str = HEAD


@dataclass(frozen=True)
class Found:
    """A repository by the name that was asked for. `full_name` is what it is called now.

    `content` is None where there is no such file, or none that is text; `sha` is the hash of the file.
    """

    id: int
    full_name: str
    archived: bool
    content: str | None
    sha: str
    truncated: bool


@dataclass(frozen=True)
class Change:
    """A commit that changed a file."""

    sha: str
    when: str
    by: str


def files(github: Github, places: Sequence[Place], say: Say = lambda _text: None) -> dict[Place, Found]:
    """What is at each place; a repository that is not there, or not to be seen, is not in the answer."""
    field = "databaseId nameWithOwner isArchived object(expression: $e%d) { oid ... on Blob { text isTruncated } }"
    found: dict[Place, Found] = {}
    for number, batch in enumerate(_batches(places)):
        if number:
            say(f"{number * AT_ONCE} of {len(places)} repositories")
        rows = _asked(github, batch, field, ("e",), lambda place: (f"{place.ref}:{place.path}",))
        found |= {
            place: _found(github, row) for place, row in zip(batch, rows, strict=True) if row is not None
        }
    return found


def changes(github: Github, places: Sequence[Place], most: int = 1) -> dict[Place, list[Change]]:
    """The commits that changed each file, newest first, at most so many (100)."""
    field = (
        "object(expression: $e%d) { ... on Commit { history(first: " + str(most) + ", path: $p%d) "
        "{ nodes { oid committedDate author { user { login } } } } } }"
    )
    found: dict[Place, list[Change]] = {}
    for batch in _batches(places):
        rows = _asked(github, batch, field, ("e", "p"), lambda place: (place.ref, place.path))
        found |= {place: list(_history(github, row)) for place, row in zip(batch, rows, strict=True)}
    return found


def _batches(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    return (places[first : first + AT_ONCE] for first in range(0, len(places), AT_ONCE))


def _asked(
    github: Github,
    batch: Sequence[Place],
    field: str,
    more: tuple[str, ...],
    values: Callable[[Place], tuple[str, ...]],
) -> list[Mapping[str, Any] | None]:
    """One request for all of `batch`. Names go as variables: no text of anybody is a part of the query."""
    variables: dict[str, str] = {}
    fields = []
    for number, place in enumerate(batch):
        given = dict(zip(("o", "n", *more), (place.owner, place.name, *values(place)), strict=True))
        variables |= {f"{letter}{number}": value for letter, value in given.items()}
        inner = field.replace("%d", str(number))
        fields.append(f"r{number}: repository(owner: $o{number}, name: $n{number}) {{ {inner} }}")
    declared = ", ".join(f"${name}: String!" for name in variables)
    query = f"query({declared}) {{ {' '.join(fields)} }}"
    data = _answer(github, {"query": query, "variables": variables})
    rows = [data.get(f"r{number}") for number in range(len(batch))]
    if any(row is not None and not isinstance(row, Mapping) for row in rows):
        raise _unusable(github, "a repository is no object")
    return rows


def _answer(github: Github, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data. What is only not there is null in it; any other error of GraphQL's is a failure."""
    value = github.service.ask("POST", address(github.service.base), body).value
    if not isinstance(value, dict):
        raise _unusable(github, "there is no object in the answer")
    told = value.get("errors") or []
    faults = [one for one in (told if isinstance(told, list) else [told]) if not _only_missing(one)]
    if faults:
        first = faults[0] if isinstance(faults[0], dict) else {}
        if first.get("type") == "RATE_LIMITED":
            detail = "GitHub allows no more requests to GraphQL in this hour."
            raise Failure(
                Diagnostic("rate-limited", detail=detail, hint="run the same command again in an hour")
            )
        raise _unusable(github, f"it says: {str(first.get('message', faults[0]))[:200]}")
    data = value.get("data")
    if not isinstance(data, dict):
        raise _unusable(github, "there is no `data` in the answer")
    return data


def _only_missing(fault: Any) -> bool:
    return isinstance(fault, dict) and fault.get("type") == "NOT_FOUND"


def address(base: str) -> str:
    """Where GraphQL is: beside the REST API, under /api/ where that has /api/v3 (docs: GraphQL, forming calls)."""
    found = urlsplit(base)
    prefix = "/api" if found.path.startswith("/api/") else ""
    return f"{found.scheme}://{found.netloc}{prefix}/graphql"


def _unusable(github: Github, why: str) -> Failure:
    return Failure(github.service.unusable(f"{github.service.name}, POST /graphql", why))


def _found(github: Github, row: Mapping[str, Any]) -> Found:
    number, name = row.get("databaseId"), row.get("nameWithOwner")
    file = row.get("object")
    if not isinstance(number, int) or not isinstance(name, str) or name.count("/") != 1:
        raise _unusable(github, "a repository has no number or name")
    there = file if isinstance(file, Mapping) else {}
    text, sha = there.get("text"), there.get("oid")
    return Found(
        number,
        name,
        row.get("isArchived") is True,
        text if isinstance(text, str) else None,
        sha if isinstance(sha, str) else "",
        there.get("isTruncated") is True,
    )


def _history(github: Github, row: Mapping[str, Any] | None) -> Iterator[Change]:
    try:
        nodes: Iterable[Any] = ((row or {}).get("object") or {}).get("history", {}).get("nodes") or ()
        for node in nodes:
            author = (node.get("author") or {}).get("user") or {}
            yield Change(str(node["oid"]), str(node["committedDate"]), str(author.get("login") or ""))
    except (AttributeError, KeyError, TypeError):
        raise _unusable(github, "a commit is not as GitHub describes it") from None
