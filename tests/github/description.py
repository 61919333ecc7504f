"""GitHub's own description of its REST API, as what requests and answers are held against.

openapi.json is made by trim.py from npm's @octokit/openapi; README.md notes the version, the digest and the licence.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

FILE = Path(__file__).with_name("openapi.json")

#: What GitHub does and its description does not say, each with where that is known from.
#: GitHub answers a repository that was renamed or moved with /repositories/ID as the place where it is now.
BY_ID = re.compile(r"/repositories/(\d+)(/.*)?")
#: Parameters that clients send and GitHub ignores: go-github pages whatever it lists.
IGNORED_PARAMETERS = {"per_page", "page"}
#: Keys of bodies that clients send and GitHub ignores. go-github's DeleteFile (v82, repos_contents.go) sends the same
#: options as its CreateFile, and the provider fills in the content.
IGNORED_KEYS = {"DELETE /repos/{owner}/{repo}/contents/{path}": {"content"}}
#: Statuses that any operation can have: bad credentials, limits, redirects and faults of the server are described
#: in prose only ("Best practices for using the REST API").
ANYWHERE = frozenset({301, 304, 307, 400, 401, 403, 404, 409, 415, 422, 429, 500, 502, 503})


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    parameters: Mapping[tuple[str, str], Mapping[str, Any]]
    body: Mapping[str, Any] | None
    answers: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As people write it: `GET /orgs/{org}`."""
        return f"{self.method} {self.path}"


@dataclass
class Description:
    """The operations by template, and validators made when they are first needed."""

    document: Mapping[str, Any]
    _validators: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def operations(self) -> dict[tuple[str, str], Operation]:
        """All operations by (method, template)."""
        return {
            (method.upper(), path): Operation(
                method.upper(),
                path,
                {(p["in"], p["name"]): p for p in found["parameters"]},
                found.get("body"),
                found["answers"],
            )
            for path, methods in self.document["operations"].items()
            for method, found in methods.items()
        }

    @functools.cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Operation]]:
        # A literal word wins over a parameter: /secrets/public-key over /secrets/{secret_name}.
        ordered = sorted(self.operations.values(), key=lambda one: re.sub(r"\{\w+\}", "~", one.path) + "\x7f")
        return [(re.compile(_pattern(one)), one) for one in ordered]

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        """Return the operation that a request means and the parameters in its path; None if there is none."""
        for pattern, operation in self._patterns:
            if operation.method == method and (found := pattern.fullmatch(path)):
                return operation, {name: unquote(value) for name, value in found.groupdict().items()}
        return None

    def request_faults(
        self, operation: Operation, path: Mapping[str, str], query: Mapping[str, str], body: Any
    ) -> Iterator[str]:
        """What in a request is not as described."""
        for where, given in (("path", path), ("query", query)):
            for name, text in given.items():
                parameter = operation.parameters.get((where, name))
                if parameter is None:
                    if name not in IGNORED_PARAMETERS:
                        yield f"the {where} has `{name}`, which is not described"
                    continue
                value = _typed(text, parameter["schema"])
                yield from self._faults(parameter["schema"], value, f"{where} parameter {name}")
        yield from self._body_faults(operation, body)

    def _body_faults(self, operation: Operation, body: Any) -> Iterator[str]:
        if operation.body is None:
            if body not in (None, {}):
                yield "there is a body where none is described"
            return
        if body is None:
            if operation.body["required"]:
                yield "the body is missing"
            return
        schema = operation.body["schema"]
        yield from self._faults(schema, body, "body")
        known = set(_properties(schema)) | IGNORED_KEYS.get(operation.name, set())
        if isinstance(body, dict) and not schema.get("additionalProperties"):
            yield from (
                f"the body has `{key}`, which is not described" for key in sorted(body.keys() - known)
            )

    def answer_faults(self, operation: Operation, status: int, value: Any) -> Iterator[str]:
        """What in an answer of ours is not as described."""
        described = operation.answers.get(str(status), ...)
        if described is ...:
            if status not in ANYWHERE:
                yield f"status {status} is not described"
            described = self.document["error"]
        if status >= 400 and isinstance(described, dict) and "oneOf" in described:
            described = {
                "anyOf": described["oneOf"]
            }  # the alternatives of errors overlap: any object is both
        if described is None and status >= 400 and value is not None:
            described = self.document["error"]  # "Conflict" in prose: GitHub sends its usual form
        if described is None:
            if value is not None:
                yield f"the answer {status} has a body where none is described"
        elif value is None and status != 304:
            yield f"the answer {status} has no body"
        elif value is not None:
            yield from self._faults(described, value, f"answer {status}")

    def _faults(self, schema: Mapping[str, Any], value: Any, what: str) -> Iterable[str]:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            self._validators[key] = jsonschema_rs.Draft202012Validator(
                {**schema, "components": self.document["components"]}, validate_formats=True
            )
        found = itertools.islice(self._validators[key].iter_errors(value), 3)
        return [f"{what}: {_place(error.instance_path)}{error.message[:300]}" for error in found]


def _place(path: Iterable[Any]) -> str:
    text = "/".join(str(part) for part in path)
    return f"at {text}: " if text else ""


def _pattern(operation: Operation) -> str:
    def group(found: re.Match[str]) -> str:
        several = operation.parameters[("path", found[1])].get("several_segments")
        return f"(?P<{found[1]}>{'.*' if several else '[^/]+'})"

    return re.sub(r"\\\{(\w+)\\\}", group, re.escape(operation.path))


def _properties(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from schema.get("properties", {})
    for key in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(key, ()):
            yield from _properties(part)


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    kinds = schema.get("type", "string")
    if "integer" in kinds and re.fullmatch(r"-?\d+", text):
        return int(text)
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    return text


@functools.cache
def description() -> Description:
    """The description in openapi.json."""
    return Description(json.loads(FILE.read_text(encoding="utf-8")))
