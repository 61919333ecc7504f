"""Cut GitHub's published OpenAPI description down to what the stand-in serves: tests/github/openapi.json.

    npm pack @octokit/openapi@23.0.2
    python -m tests.github.trim octokit-openapi-23.0.2.tgz

Kept: the operations of OPERATIONS, with their parameters, bodies, answers and every schema that those name. Left
out: prose, examples and what only documentation needs. OpenAPI 3.0's `nullable` becomes JSON Schema's `null`, so
that any validator of JSON Schema reads the result. Nothing else is changed; what GitHub really does differently
stands at the head of description.py, each with its reason.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = "@octokit/openapi"
VERSION = "23.0.2"
#: npm's own record of what VERSION is; another file is refused.
INTEGRITY = "sha512-pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
MEMBER = "package/generated/api.github.com.json"
TARGET = Path(__file__).with_name("openapi.json")

OPERATIONS = """
get /rate_limit
get /user
get /user/{account_id}
get /users/{username}
get /orgs/{org}
get /orgs/{org}/repos
get /orgs/{org}/members/{username}
get /orgs/{org}/memberships/{username}
get /orgs/{org}/teams
get /orgs/{org}/teams/{team_slug}
get /orgs/{org}/teams/{team_slug}/members
get /orgs/{org}/teams/{team_slug}/memberships/{username}
get /orgs/{org}/teams/{team_slug}/repos/{owner}/{repo}
get /orgs/{org}/actions/runner-groups
post /orgs/{org}/actions/runner-groups
get /orgs/{org}/actions/runner-groups/{runner_group_id}
patch /orgs/{org}/actions/runner-groups/{runner_group_id}
delete /orgs/{org}/actions/runner-groups/{runner_group_id}
get /orgs/{org}/actions/runner-groups/{runner_group_id}/repositories
put /orgs/{org}/actions/runner-groups/{runner_group_id}/repositories
put /orgs/{org}/actions/runner-groups/{runner_group_id}/repositories/{repository_id}
delete /orgs/{org}/actions/runner-groups/{runner_group_id}/repositories/{repository_id}
get /orgs/{org}/actions/secrets
get /orgs/{org}/actions/secrets/public-key
get /orgs/{org}/actions/secrets/{secret_name}
put /orgs/{org}/actions/secrets/{secret_name}
delete /orgs/{org}/actions/secrets/{secret_name}
get /orgs/{org}/actions/secrets/{secret_name}/repositories
put /orgs/{org}/actions/secrets/{secret_name}/repositories
put /orgs/{org}/actions/secrets/{secret_name}/repositories/{repository_id}
delete /orgs/{org}/actions/secrets/{secret_name}/repositories/{repository_id}
get /orgs/{org}/actions/variables
post /orgs/{org}/actions/variables
get /orgs/{org}/actions/variables/{name}
patch /orgs/{org}/actions/variables/{name}
delete /orgs/{org}/actions/variables/{name}
get /orgs/{org}/actions/variables/{name}/repositories
put /orgs/{org}/actions/variables/{name}/repositories
put /orgs/{org}/actions/variables/{name}/repositories/{repository_id}
delete /orgs/{org}/actions/variables/{name}/repositories/{repository_id}
get /orgs/{org}/installations
get /app
get /orgs/{org}/installation
post /app/installations/{installation_id}/access_tokens
get /installation/repositories
delete /installation/token
get /user/installations
get /user/installations/{installation_id}/repositories
put /user/installations/{installation_id}/repositories/{repository_id}
delete /user/installations/{installation_id}/repositories/{repository_id}
get /repos/{owner}/{repo}
get /repos/{owner}/{repo}/collaborators
get /repos/{owner}/{repo}/collaborators/{username}/permission
get /repos/{owner}/{repo}/teams
get /repos/{owner}/{repo}/contents/{path}
put /repos/{owner}/{repo}/contents/{path}
delete /repos/{owner}/{repo}/contents/{path}
get /repos/{owner}/{repo}/commits
get /repos/{owner}/{repo}/commits/{ref}
get /repos/{owner}/{repo}/commits/{commit_sha}/pulls
get /repos/{owner}/{repo}/branches/{branch}
get /repos/{owner}/{repo}/git/blobs/{file_sha}
get /repos/{owner}/{repo}/git/commits/{commit_sha}
post /repos/{owner}/{repo}/git/commits
post /repos/{owner}/{repo}/git/trees
get /repos/{owner}/{repo}/git/ref/{ref}
post /repos/{owner}/{repo}/git/refs
patch /repos/{owner}/{repo}/git/refs/{ref}
delete /repos/{owner}/{repo}/git/refs/{ref}
get /repos/{owner}/{repo}/pulls
post /repos/{owner}/{repo}/pulls
get /repos/{owner}/{repo}/pulls/{pull_number}
get /repos/{owner}/{repo}/pulls/{pull_number}/reviews
patch /repos/{owner}/{repo}/pulls/{pull_number}
get /repos/{owner}/{repo}/pulls/{pull_number}/files
put /repos/{owner}/{repo}/pulls/{pull_number}/merge
get /repos/{owner}/{repo}/issues
post /repos/{owner}/{repo}/issues
get /repos/{owner}/{repo}/issues/{issue_number}
patch /repos/{owner}/{repo}/issues/{issue_number}
get /repos/{owner}/{repo}/issues/{issue_number}/comments
post /repos/{owner}/{repo}/issues/{issue_number}/comments
get /repos/{owner}/{repo}/issues/comments/{comment_id}
patch /repos/{owner}/{repo}/issues/comments/{comment_id}
"""

#: Keywords of JSON Schema that say what is valid. The rest of a schema is prose.
MEANING = frozenset(
    """$ref type enum format pattern minimum maximum minLength maxLength minItems maxItems uniqueItems items required
    properties additionalProperties minProperties maxProperties allOf anyOf oneOf not default""".split()
)


def schema(value: Any) -> Any:
    """Return a schema of OpenAPI 3.0 as one of JSON Schema, without prose."""
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for key, item in value.items():
        if key == "properties":
            kept[key] = {name: schema(part) for name, part in item.items()}
        elif key in ("allOf", "anyOf", "oneOf"):
            kept[key] = [schema(part) for part in item]
        elif key in ("items", "additionalProperties", "not"):
            kept[key] = schema(item)
        elif key in MEANING:
            kept[key] = item
    return nullable(kept) if value.get("nullable") else kept


def nullable(kept: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that allows null as well."""
    if not kept or (isinstance(kept.get("type"), str) and not {"allOf", "anyOf", "oneOf"} & kept.keys()):
        if "enum" in kept and None not in kept["enum"]:
            kept["enum"] = [*kept["enum"], None]
        return {**kept, "type": [kept["type"], "null"]} if kept else kept
    return {"anyOf": [kept, {"type": "null"}]}


class Trimmer:
    """Collects what the operations name."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.schemas: dict[str, Any] = {}

    def resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        """Follow a reference to a parameter, a body or an answer."""
        while "$ref" in value:
            found: Any = self.document
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            value = found
        return value

    def schema(self, value: Any) -> Any:
        """A schema, with those that it names collected."""
        trimmed = schema(value)
        for name in sorted(set(_named(trimmed))):
            if name not in self.schemas:
                self.schemas[name] = None  # a schema may name itself
                self.schemas[name] = self.schema(self.document["components"]["schemas"][name])
        return trimmed

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """One operation: its parameters, its body, its answers by status."""
        item = self.document["paths"][path]
        found = item[method]
        parameters = [
            self.resolved(one) for one in (*item.get("parameters", ()), *found.get("parameters", ()))
        ]
        kept: dict[str, Any] = {"parameters": [self.parameter(one) for one in parameters]}
        if "requestBody" in found:
            body = self.resolved(found["requestBody"])
            content = body["content"]["application/json"]["schema"]
            kept["body"] = {"required": body.get("required", False), "schema": self.schema(content)}
        answers = {status: self.resolved(answer) for status, answer in found["responses"].items()}
        kept["answers"] = {status: self.answer(answer) for status, answer in sorted(answers.items())}
        return kept

    def parameter(self, value: dict[str, Any]) -> dict[str, Any]:
        """A parameter of the path or the query."""
        kept = {"name": value["name"], "in": value["in"], "schema": self.schema(value["schema"])}
        if value.get("required"):
            kept["required"] = True
        if value.get("x-multi-segment"):
            kept["several_segments"] = True
        return kept

    def answer(self, value: dict[str, Any]) -> Any:
        """The schema of an answer's JSON; None for one without a body."""
        content = value.get("content", {})
        chosen = content.get("application/json") or content.get("application/scim+json")
        return self.schema(chosen["schema"]) if chosen else None


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].removeprefix("#/components/schemas/")
        for item in value.values():
            yield from _named(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item)


def trimmed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the description that OPERATIONS name."""
    trimmer = Trimmer(document)
    operations: dict[str, dict[str, Any]] = {}
    for line in OPERATIONS.split("\n"):
        if line:
            method, path = line.split()
            operations.setdefault(path, {})[method] = trimmer.operation(method, path)
    error = trimmer.schema({"$ref": "#/components/schemas/basic-error"})
    return {
        "source": {"package": PACKAGE, "version": VERSION, "integrity": INTEGRITY, "licence": "MIT"},
        "error": error,
        "operations": operations,
        "components": {"schemas": dict(sorted(trimmer.schemas.items()))},
    }


def main(package: Path) -> None:
    """Write openapi.json from the package; SystemExit if it is another one."""
    data = package.read_bytes()
    digest = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if digest != INTEGRITY:
        raise SystemExit(f"{package} is not {PACKAGE} {VERSION}: its digest is {digest}")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        document = json.load(member)
    text = json.dumps(trimmed(document), indent=1, sort_keys=True, ensure_ascii=False)
    TARGET.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
