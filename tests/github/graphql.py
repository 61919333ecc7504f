"""The part of GitHub's GraphQL API that asks for many repositories at once: a reader of queries, and its answers.

TYPES is what is served, as GitHub's published schema has it (npm @octokit/graphql-schema 15.26); a query beyond it is
a violation. Errors are those that GitHub documents: 200, `data` with null in the place, `errors` with type and path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.github.state import Commit, Repository, State, Token, digest, stamp

#: Type -> field -> (its type, its arguments).
TYPES: dict[str, dict[str, tuple[str, set[str]]]] = {
    "Query": {"repository": ("Repository", {"owner", "name", "followRenames"})},
    "Repository": {
        "databaseId": ("", set()),
        "nameWithOwner": ("", set()),
        "isArchived": ("", set()),
        "object": ("GitObject", {"expression"}),
    },
    "GitObject": {"oid": ("", set())},
    "Blob": {"oid": ("", set()), "text": ("", set()), "isTruncated": ("", set())},
    "Commit": {
        "oid": ("", set()),
        "committedDate": ("", set()),
        "history": ("CommitHistoryConnection", {"first", "path"}),
        "author": ("GitActor", set()),
    },
    "CommitHistoryConnection": {"nodes": ("Commit", set())},
    "GitActor": {"user": ("User", set())},
    "User": {"login": ("", set())},
}
#: Documented for connections: at most 100 at once.
LARGEST_PAGE = 100
#: Bytes of a text that are told; more is cut and `isTruncated`.
LARGEST_TEXT = 512_000
_TOKEN = re.compile(r'\.\.\.|[{}()\[\]:$!,]|"(?:[^"\\]|\\.)*"|\w+')


class Invalid(Exception):
    """A query that GitHub would not take."""


@dataclass
class Field:
    """One field of a selection; `on`: of this type only."""

    name: str
    alias: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    fields: list[Field] = field(default_factory=list)
    on: str = ""


class Reader:
    """Reads one query, with its variables put in."""

    def __init__(self, query: str, variables: Mapping[str, Any]) -> None:
        self._tokens = _TOKEN.findall(query)
        self._variables = variables
        self._declared: set[str] = set()

    def read(self) -> list[Field]:
        """The fields of the query."""
        self._take("query")
        if self._peek() == "(":
            self._declarations()
        fields = self._selection("Query")
        if self._tokens or self._declared != set(self._variables):
            raise Invalid("variables are not those that are declared, or something follows the query")
        return fields

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _take(self, wanted: str = "") -> str:
        if not self._tokens or (wanted and self._tokens[0] != wanted):
            raise Invalid(f"{wanted or 'something'} is expected, not {self._peek()!r}")
        return str(self._tokens.pop(0))

    def _declarations(self) -> None:
        self._take("(")
        while self._peek() != ")":
            if self._peek() == ",":
                self._take()
            self._take("$")
            self._declared.add(self._take())
            self._take(":")
            self._take("String")
            self._take("!")
        self._take(")")

    def _selection(self, kind: str) -> list[Field]:
        self._take("{")
        found: list[Field] = []
        while self._peek() != "}":
            if self._peek() == "...":
                self._take()
                self._take("on")
                on = self._take()
                found += [Field(f.name, f.alias, f.arguments, f.fields, on) for f in self._selection(on)]
            else:
                found.append(self._field(kind))
        self._take("}")
        return found

    def _field(self, kind: str) -> Field:
        name = alias = self._take()
        if self._peek() == ":":
            self._take()
            name = self._take()
        if name not in TYPES[kind]:
            raise Invalid(f"{kind} has no field {name} here")
        result, allowed = TYPES[kind][name]
        arguments = dict(self._arguments()) if self._peek() == "(" else {}
        if not arguments.keys() <= allowed:
            raise Invalid(f"{kind}.{name} does not take {sorted(arguments.keys() - allowed)}")
        if (self._peek() == "{") is not bool(result):
            raise Invalid(f"{kind}.{name} {'needs' if result else 'has no'} fields")
        return Field(name, alias, arguments, self._selection(result) if result else [])

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        self._take("(")
        while self._peek() != ")":
            if self._peek() == ",":
                self._take()
            name = self._take()
            self._take(":")
            yield name, self._value()
        self._take(")")

    def _value(self) -> Any:
        token = self._take()
        if token == "$":
            name = self._take()
            if name not in self._declared:
                raise Invalid(f"${name} is not declared")
            return self._variables[name]
        return int(token) if token.isdecimal() else token.strip('"')


def answer(state: State, token: Token | None, body: Any) -> dict[str, Any]:
    """The answer to one request. Raises Invalid for a query that GitHub would not take."""
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise Invalid("there is no query")
    data: dict[str, Any] = {}
    errors = []
    for one in Reader(body["query"], body.get("variables") or {}).read():
        found = _repository(state, token, one)
        data[one.alias] = found and {f.alias: _of_repository(state, found, f) for f in one.fields}
        if found is None:
            name = f"{one.arguments['owner']}/{one.arguments['name']}"
            message = f"Could not resolve to a Repository with the name '{name}'."
            errors.append({"type": "NOT_FOUND", "path": [one.alias], "message": message})
    return {"data": data, **({"errors": errors} if errors else {})}


def _repository(state: State, token: Token | None, one: Field) -> Repository | None:
    owner, name = one.arguments["owner"], one.arguments["name"]
    found = state.repository(owner, name) or state.moved_from(owner, name)
    if found is None or not found.private:
        return found
    seen = token is not None and state.role(found, token.user) != "none"
    return found if seen and token is not None and (token.scopes is None or "repo" in token.scopes) else None


def _of_repository(state: State, repository: Repository, one: Field) -> Any:
    if one.name == "databaseId":
        return repository.id
    if one.name == "nameWithOwner":
        return f"{state.users[repository.owner].login}/{repository.name}"
    if one.name == "isArchived":
        return repository.archived
    ref, colon, path = one.arguments["expression"].partition(":")
    commit = repository.commit_at(repository.default_branch if ref == "HEAD" else ref)
    if commit is None or (colon and path not in commit.files):
        return None
    if colon:
        return _blob(commit.files[path], one.fields)
    return {f.alias: _of_commit(state, repository, commit, f) for f in one.fields if f.on in ("", "Commit")}


def _blob(content: bytes, fields: list[Field]) -> dict[str, Any]:
    text = None if b"\0" in content else content[:LARGEST_TEXT].decode("utf-8", "replace")
    values = {"oid": digest("blob", content), "text": text, "isTruncated": len(content) > LARGEST_TEXT}
    return {f.alias: values[f.name] for f in fields if f.on in ("", "Blob")}


def _of_commit(state: State, repository: Repository, commit: Commit, one: Field) -> Any:
    if one.name == "oid":
        return commit.sha
    if one.name == "committedDate":
        return stamp(commit.when)
    if one.name == "author":
        login = state.users[commit.author].login if commit.author is not None else None
        return {"user": {"login": login} if login else None}
    if not 1 <= one.arguments["first"] <= LARGEST_PAGE:
        raise Invalid("`first` is from 1 to 100")
    path = one.arguments["path"]
    touching = [one for one in repository.history(commit.sha) if _touches(repository, one, path)]
    (nodes,) = one.fields
    shown = [
        {f.alias: _of_commit(state, repository, other, f) for f in nodes.fields}
        for other in touching[: one.arguments["first"]]
    ]
    return {nodes.alias: shown}


def _touches(repository: Repository, commit: Commit, path: str) -> bool:
    before = repository.commits[commit.parents[0]].files if commit.parents else {}
    return before.get(path) != commit.files.get(path)
