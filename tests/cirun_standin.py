"""A stateful stand-in for Cirun's API, in the form of its published client (PyPI `cirun` 0.31) and that one's README.

tests/test_cirun.py runs the published client itself against it, so that the two cannot come apart. Changes of the
access list become a pull request in ORG/.cirun of a stand-in for GitHub, as Cirun makes them, if there is one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.github import State
from tests.github.call import Answer
from tests.github.server import Listener, Listening
from tests.github.service import Request
from tests.github.state import Issue, Pull, Repository
from tests.leaks import WATCH

PREFIX = "/api/v1"
#: The words of the published client's own test.
UNAUTHORIZED = "Invalid or inactive API token"
BRANCH = "cirun/access-control"


@dataclass
class CirunState:
    """What Cirun knows: activations by owner/name, clouds with their credentials, the key."""

    key: str = field(default="cirun-key-of-a-test", repr=False)
    repositories: dict[str, bool] = field(default_factory=dict)
    clouds: dict[str, Any] = field(default_factory=dict, repr=False)
    github: State | None = None
    #: What the next answers are instead, each once: (status, value or bytes).
    faults: list[tuple[int, Any]] = field(default_factory=list)
    #: The same for requests that are done all the same: only their answer is another one.
    late: list[tuple[int, Any]] = field(default_factory=list)
    #: Seconds before each answer.
    delay: float = 0.0
    #: Repositories for which a change fails, as often as it is asked for.
    broken: set[str] = field(default_factory=set)


class CirunStandin(Listening):
    """Cirun, listening on a free port of 127.0.0.1."""

    def __init__(self, state: CirunState | None = None) -> None:
        self.state = state or CirunState()
        WATCH.knows("Cirun's key", self.state.key)
        self.log: list[str] = []
        self.violations: list[str] = []
        self._listener = Listener(self._answer, self.violations.append, PREFIX)

    @property
    def url(self) -> str:
        """What CIRUN_API_ENDPOINT has to be."""
        return f"{self._listener.url}{PREFIX}"

    def environment(self) -> dict[str, str]:
        """The variables that lead Cirun's client, and ours, here."""
        return {"CIRUN_API_ENDPOINT": self.url, "CIRUN_API_KEY": self.state.key}

    def check(self) -> None:
        """Raise AssertionError if anything was not as Cirun's client has it."""
        if self.violations:
            raise AssertionError("not as Cirun's client has it:\n" + "\n".join(self.violations))

    def _answer(self, request: Request) -> tuple[Answer, float]:
        self.log.append(f"{request.method} {request.target}")
        if request.target != "/cloud-connect":  # a login is delivered there
            WATCH.said(f"{request.method} {request.target} to Cirun", request.body.decode("utf-8", "replace"))
        if self.state.faults:
            return Answer(*self.state.faults.pop(0)), 0.0
        if request.headers.get("authorization") != f"Bearer {self.state.key}":
            return Answer(401, {"message": UNAUTHORIZED}), 0.0
        handler = HANDLERS.get((request.method, request.target))
        body = json.loads(request.body) if request.body else {}
        if handler is None:
            self.violations.append(f"{request.method} {request.target}: the client knows no such request")
            return Answer(404, {"message": "Not found"}), 0.0
        run, keys = handler
        if body.keys() != keys:
            self.violations.append(
                f"{request.method} {request.target}: {sorted(body)} instead of {sorted(keys)}"
            )
            return Answer(400, {"message": "Bad request"}), 0.0
        answer = run(self.state, body)
        return Answer(*self.state.late.pop(0)) if self.state.late else answer, self.state.delay


def _repositories(state: CirunState, _body: Mapping[str, Any]) -> Answer:
    found = [
        {"repository": name, "active": active, "private": False}
        for name, active in state.repositories.items()
    ]
    return Answer(200, {"repos": found})


def _activate(state: CirunState, body: Mapping[str, Any]) -> Answer:
    name = body["repository"]
    if name in state.broken:
        return Answer(500, {"message": "Internal server error"})
    if state.github is not None and state.github.repository(*name.split("/", 1)) is None:
        return Answer(404, {"message": f"Repository {name} not found"})
    state.repositories[name] = body["active"]
    return Answer(200, {"name": name, "active": body["active"]})


def _of(state: CirunState, organisation: str) -> tuple[State, Repository] | None:
    found = state.github.repository(organisation, ".cirun") if state.github else None
    return (state.github, found) if state.github and found else None


def _list(repository: Repository) -> dict[str, Any]:
    text = repository.commits[repository.branches["main"]].files.get(".access.yml", b"version: 1\n")
    return {"policies": [], "access_control": [], **yaml.safe_load(text)}


def _read(state: CirunState, body: Mapping[str, Any]) -> Answer:
    found = _of(state, body["org"])
    if found is None:
        return Answer(404, {"message": "No access control"})
    return Answer(200, {"access_yml": _list(found[1])})


def _change(state: CirunState, body: Mapping[str, Any]) -> Answer:
    found = _of(state, body["org"])
    if found is None:
        return Answer(404, {"message": "No access control"})
    github, repository = found
    access = _list(repository)
    for one in body["repository_resource_access"]:
        (_add if one["action"] == "add" else _remove)(access, one)
    text = yaml.safe_dump(access, sort_keys=False)
    github.commit(repository, {".access.yml": text}, "Update access control", BRANCH)
    bot = github.user("cirun-application[bot]") or github.add_user("cirun-application[bot]", "Bot")
    number = len(repository.issues) + 1
    repository.issues[number] = Issue(
        github.number(),
        number,
        "Update access control",
        "",
        bot.id,
        github.clock(),
        pull=Pull(BRANCH, "main"),
    )
    return Answer(200, {"message": "Pull request created"})


def _add(access: dict[str, Any], one: Mapping[str, Any]) -> None:
    policy: dict[str, Any] = {"id": one["repository"], "repo": one["repository"]}
    policy |= {key: one[key] for key in ("roles", "teams", "users", "users_from_json") if one.get(key)}
    policy |= one.get("policy_args") or {}
    access["policies"] = [old for old in access["policies"] if old["id"] != policy["id"]] + [policy]
    for resource in one["resources"]:
        entry = next((old for old in access["access_control"] if old["resource"] == resource), None)
        if entry is None:
            entry = {"resource": resource, "policies": []}
            access["access_control"].append(entry)
        if policy["id"] not in entry["policies"]:
            entry["policies"].append(policy["id"])


def _remove(access: dict[str, Any], one: Mapping[str, Any]) -> None:
    gone = {policy["id"] for policy in access["policies"] if policy["repo"] == one["repository"]}
    for entry in access["access_control"]:
        if entry["resource"] in one["resources"]:
            entry["policies"] = [policy for policy in entry["policies"] if policy not in gone]
    access["access_control"] = [entry for entry in access["access_control"] if entry["policies"]]
    used = {policy for entry in access["access_control"] for policy in entry["policies"]}
    access["policies"] = [policy for policy in access["policies"] if policy["id"] not in gone - used]


def _clouds(state: CirunState, _body: Mapping[str, Any]) -> Answer:
    return Answer(200, {"clouds": [{"cloud": name} for name in state.clouds]})


def _connect(state: CirunState, body: Mapping[str, Any]) -> Answer:
    """One login for each kind of cloud: the one that was there is replaced."""
    state.clouds[body["cloud"]] = body["credentials"]
    return Answer(201, {"message": f"{body['cloud']} is connected"})


#: By method and path: what answers, and the keys that the published client sends.
HANDLERS: dict[tuple[str, str], tuple[Callable[[CirunState, Mapping[str, Any]], Answer], set[str]]] = {
    ("GET", "/repo"): (_repositories, set()),
    ("POST", "/repo"): (_activate, {"repository", "active"}),
    ("GET", "/access-control"): (_read, {"org"}),
    ("PUT", "/access-control"): (_change, {"org", "repository_resource_access"}),
    ("GET", "/cloud-connect"): (_clouds, set()),
    ("POST", "/cloud-connect"): (_connect, {"cloud", "credentials"}),
}
