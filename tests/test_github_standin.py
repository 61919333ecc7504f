"""The stand-in for GitHub's REST API: it is strict with others and with itself, and remembers."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from keys_of_tests import RSA, RSA_PEM

from cf_infra.canary_services import app_token
from tests.github import Standin, State
from tests.github.call import HANDLERS, Answer, Need
from tests.github.description import description
from tests.github.state import Secret, Selection, Variable, digest

ORG = "conda-forge"
TOKEN = "ghp_NotARealTokenOfTheStandinsOwnTests01"
ACTIONS = f"/orgs/{ORG}/actions"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Got(NamedTuple):
    status: int
    value: Any
    headers: Any


class Asker:
    """Plain requests to a stand-in, as any client might send them."""

    def __init__(self, github: Standin) -> None:
        self.github = github

    def __call__(
        self, method: str, path: str, body: Any = None, token: str | None = TOKEN, **headers: str
    ) -> Got:
        address = path if path.startswith("http") else self.github.url + path
        request = urllib.request.Request(address, method=method, headers=headers)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        if body is not None:
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=5) as answer:
                return Got(answer.status, json.loads(answer.read() or b"null"), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return Got(error.code, json.loads(error.read() or b"null"), error.headers)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def github(clock: Clock) -> Iterator[Standin]:
    state = State(ORG, clock)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    with Standin(state) as standin:
        yield standin


@pytest.fixture
def ask(github: Standin) -> Asker:
    return Asker(github)


def test_every_described_operation_is_served_and_no_other() -> None:
    assert set(HANDLERS) == set(description().operations)


def test_the_description_says_where_it_comes_from() -> None:
    source = description().document["source"]
    assert source["package"] == "@octokit/openapi"
    assert source["integrity"].startswith("sha512-")


def everything(state: State) -> list[tuple[str, str, Any, int]]:
    """A request of each operation that is there, with its status; in an order in which they can be asked."""
    one = state.add_repository("one-feedstock")
    two = state.add_repository("two-feedstock")
    state.add_team("gpu", "ann").repositories[one.id] = "write"
    app = state.add_installation("namespace", one)
    state.commit(one, {"recipe.yaml": "a: 1\n"}, "A branch", "topic")
    repo, tip = f"/repos/{ORG}/one-feedstock", one.branches["main"]
    readme = one.commits[tip].files["README.md"]
    assert isinstance(readme, bytes)
    content = base64.b64encode(b"x").decode()
    group = {"name": "gpu", "visibility": "selected", "selected_repository_ids": [one.id]}
    secret = {"encrypted_value": base64.b64encode(bytes(range(60))).decode(), "key_id": "012345678912345678"}
    chosen = {"selected_repository_ids": [one.id, two.id]}
    variable = {"name": "V", "value": "1", "visibility": "selected", "selected_repository_ids": [one.id]}
    members = f"/user/installations/{app.id}/repositories"
    readme_sha = digest("blob", readme)
    tree = digest("tree", tip.encode())
    new_file = {"path": "new", "mode": "100644", "type": "blob", "content": "x"}

    def selection(path: str) -> list[tuple[str, str, Any, int]]:
        return [
            ("PUT", f"{path}/repositories", chosen, 204),
            ("DELETE", f"{path}/repositories/{two.id}", None, 204),
            ("PUT", f"{path}/repositories/{two.id}", None, 204),
            ("GET", f"{path}/repositories", None, 200),
            ("DELETE", path, None, 204),
        ]

    return [
        ("GET", "/rate_limit", None, 200),
        ("GET", "/user", None, 200),
        ("GET", f"/user/{state.user('ann').id}", None, 200),  # type: ignore[union-attr]
        ("GET", "/users/ANN", None, 200),
        ("GET", f"/orgs/{ORG}", None, 200),
        ("GET", f"/orgs/{ORG}/repos", None, 200),
        ("GET", f"/orgs/{ORG}/members/ann", None, 204),
        ("GET", f"/orgs/{ORG}/memberships/ann", None, 200),
        ("GET", f"/orgs/{ORG}/teams", None, 200),
        ("GET", f"/orgs/{ORG}/teams/gpu", None, 200),
        ("GET", f"/orgs/{ORG}/teams/gpu/members", None, 200),
        ("GET", f"/orgs/{ORG}/teams/gpu/memberships/ann", None, 200),
        ("GET", f"/orgs/{ORG}/teams/gpu/repos/{ORG}/one-feedstock", None, 204),
        ("GET", f"{ACTIONS}/runner-groups", None, 200),
        ("POST", f"{ACTIONS}/runner-groups", group, 201),
        ("GET", f"{ACTIONS}/runner-groups/GROUP", None, 200),
        ("PATCH", f"{ACTIONS}/runner-groups/GROUP", {"name": "gpus"}, 200),
        *selection(f"{ACTIONS}/runner-groups/GROUP"),
        ("GET", f"{ACTIONS}/secrets/public-key", None, 200),
        ("PUT", f"{ACTIONS}/secrets/S", {**secret, "visibility": "selected"}, 201),
        ("PUT", f"{ACTIONS}/secrets/S", {**secret, "visibility": "selected"}, 204),
        ("GET", f"{ACTIONS}/secrets", None, 200),
        ("GET", f"{ACTIONS}/secrets/S", None, 200),
        *selection(f"{ACTIONS}/secrets/S"),
        ("POST", f"{ACTIONS}/variables", variable, 201),
        ("GET", f"{ACTIONS}/variables", None, 200),
        ("GET", f"{ACTIONS}/variables/V", None, 200),
        ("PATCH", f"{ACTIONS}/variables/V", {"value": "2"}, 204),
        *selection(f"{ACTIONS}/variables/V"),
        ("GET", f"/orgs/{ORG}/installations", None, 200),
        ("GET", "/user/installations", None, 200),
        ("GET", members, None, 200),
        ("PUT", f"{members}/{two.id}", None, 204),
        ("PUT", f"{members}/{two.id}", None, 304),
        ("DELETE", f"{members}/{one.id}", None, 204),
        ("GET", repo, None, 200),
        ("GET", f"{repo}/collaborators", None, 200),
        ("GET", f"{repo}/collaborators/ann/permission", None, 200),
        ("GET", f"{repo}/teams", None, 200),
        ("GET", f"{repo}/contents/README.md", None, 200),
        ("GET", f"{repo}/contents/", None, 200),
        ("GET", f"{repo}/git/blobs/{readme_sha}", None, 200),
        ("PUT", f"{repo}/contents/a/b", {"message": "m", "content": content}, 201),
        ("DELETE", f"{repo}/contents/README.md", {"message": "m", "sha": readme_sha}, 200),
        ("GET", f"{repo}/commits?path=a", None, 200),
        ("GET", f"{repo}/commits/main", None, 200),
        ("GET", f"{repo}/branches/main", None, 200),
        ("POST", f"{repo}/git/refs", {"ref": "refs/heads/a/b", "sha": tip}, 201),
        ("GET", f"{repo}/git/ref/heads/a/b", None, 200),
        ("PATCH", f"{repo}/git/refs/heads/a/b", {"sha": one.branches["topic"]}, 200),
        ("DELETE", f"{repo}/git/refs/heads/a/b", None, 204),
        ("GET", f"{repo}/git/commits/{tip}", None, 200),
        ("POST", f"{repo}/git/trees", {"base_tree": tree, "tree": [new_file]}, 201),
        ("POST", f"{repo}/git/commits", {"message": "m", "tree": tree, "parents": [tip]}, 201),
        ("POST", f"{repo}/pulls", {"head": "topic", "base": "main", "title": "t"}, 201),
        ("GET", f"{repo}/pulls?state=open&head={ORG}:topic", None, 200),
        ("PATCH", f"{repo}/pulls/1", {"title": "another"}, 200),
        ("GET", f"{repo}/pulls/1", None, 200),
        ("GET", f"{repo}/issues/1", None, 200),
        ("POST", f"{repo}/issues/1/comments", {"body": "hello"}, 201),
        ("GET", f"{repo}/issues/1/comments", None, 200),
        ("GET", f"{repo}/issues/comments/COMMENT", None, 200),
        ("PATCH", f"{repo}/issues/comments/COMMENT", {"body": "bye"}, 200),
        ("GET", f"{repo}/pulls/1/files", None, 200),
        ("GET", f"{repo}/pulls/1/reviews", None, 200),
        ("PUT", f"{repo}/pulls/1/merge", None, 200),
        ("GET", f"{repo}/commits/{tip}/pulls", None, 200),
        ("POST", f"{repo}/issues", {"title": "t", "body": "b"}, 201),
        ("PATCH", f"{repo}/issues/2", {"state": "closed", "state_reason": "completed"}, 200),
        ("GET", f"{repo}/issues?state=all&creator=operator", None, 200),
    ]


@pytest.mark.parametrize("prefix", ["", "/api/v3"])
def test_every_operation_answers_as_github_describes_it(prefix: str, github: Standin, ask: Asker) -> None:
    asked = set()
    for method, path, body, status in everything(github.state):
        for name, found in (("GROUP", github.state.groups), ("COMMENT", _comments(github.state))):
            path = path.replace(name, str(max(found, default=0)))
        got = ask(method, prefix + path, body)
        assert got.status == status, f"{method} {path}: {got.value}"
        operation = description().find(method, path.partition("?")[0])
        assert operation is not None
        asked.add((method, operation[0].path))
    assert asked == set(HANDLERS) - OF_APPS, "each operation was asked for"
    github.check()


#: What only an app may ask, with its own statement or a token of its installation.
OF_APPS = {
    ("GET", "/app"),
    ("GET", "/orgs/{org}/installation"),
    ("POST", "/app/installations/{installation_id}/access_tokens"),
    ("GET", "/installation/repositories"),
    ("DELETE", "/installation/token"),
}


def test_an_app_is_itself_with_a_statement_that_it_signed(clock: Clock, github: Standin, ask: Asker) -> None:
    one = github.state.add_repository("one-feedstock")
    github.state.add_repository("two-feedstock")
    installed = github.state.add_installation("namespace", one)
    github.state.add_app(installed, RSA.public_key())
    number = str(installed.app_id)

    def statement(now: float = clock(), app: str = number, pem: str = RSA_PEM) -> str:
        return app_token(app, pem, now)

    mine = statement()
    assert ask("GET", "/app", token=mine).value["slug"] == "namespace"
    assert ask("GET", f"/orgs/{ORG}/installation", token=mine).value["id"] == installed.id
    made = ask("POST", f"/app/installations/{installed.id}/access_tokens", token=mine)
    assert made.status == 201
    own = made.value["token"]
    seen = ask("GET", "/installation/repositories?per_page=1", token=own).value
    assert (seen["total_count"], seen["repository_selection"]) == (1, "selected")
    assert ask("DELETE", "/installation/token", token=own).status == 204
    assert ask("GET", "/installation/repositories", token=own).status == 401
    assert ask("GET", "/installation/repositories", token=TOKEN).status == 403
    assert ask("POST", f"/app/installations/{installed.id + 1}/access_tokens", token=mine).status == 404
    other = rsa.generate_private_key(65537, 2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for wrong, status in (
        (statement(pem=pem), 401),
        (statement(app="1"), 404),
        (statement(clock() - 3600), 401),
        (statement(clock() + 3600), 401),
        ("a.b.c", 401),
        (TOKEN, 401),
    ):
        assert ask("GET", "/app", token=wrong).status == status
    github.check()


def _comments(state: State) -> list[int]:
    return [
        each
        for one in state.repositories.values()
        for issue in one.issues.values()
        for each in issue.comments
    ]


# --- it is strict


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", f"/orgs/{ORG}/packages", None, "no such operation"),
        ("POST", f"{ACTIONS}/runner-groups", {}, '"name" is a required property'),
        ("POST", f"{ACTIONS}/runner-groups", None, "the body is missing"),
        ("POST", f"{ACTIONS}/runner-groups", {"name": "g", "visibility": "some"}, "at visibility"),
        ("POST", f"{ACTIONS}/runner-groups", {"name": "g", "colour": "red"}, "has `colour`"),
        ("GET", f"{ACTIONS}/runner-groups/two", None, "path parameter runner_group_id"),
        ("GET", f"/orgs/{ORG}/repos?sort=age", None, "query parameter sort"),
        ("GET", f"/orgs/{ORG}/repos?colour=red", None, "has `colour`"),
        ("DELETE", f"{ACTIONS}/variables/V", {"a": 1}, "a body where none"),
    ],
)
def test_what_github_does_not_know_fails_the_test(
    method: str, path: str, body: Any, said: str, github: Standin, ask: Asker
) -> None:
    assert ask(method, path, body).status in (404, 422)
    assert said in "\n".join(github.violations)
    with pytest.raises(AssertionError, match="not as GitHub's description has it"):
        github.check()
    github.violations.clear()


def test_an_answer_of_its_own_that_breaks_the_description_fails_the_test(
    github: Standin, ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HANDLERS, ("GET", "/user"), (lambda _call: Answer(200, {"login": 1}), Need()))
    monkeypatch.setitem(HANDLERS, ("GET", "/orgs/{org}"), (lambda _call: Answer(418), Need()))
    ask("GET", "/user")
    ask("GET", f"/orgs/{ORG}")
    assert "fault of the stand-in" in github.violations[0]
    assert "status 418 is not described" in github.violations[1]
    github.violations.clear()


# --- who may see and do what


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status", "accepted"),
    [
        (["repo"], "GET", f"{ACTIONS}/runner-groups", 403, "admin:org"),
        (["read:org"], "GET", f"{ACTIONS}/secrets", 403, "admin:org"),
        (["admin:org"], "GET", f"/orgs/{ORG}/teams", 200, None),
        (["admin:org"], "PUT", f"/repos/{ORG}/open/contents/a", 404, "repo"),
        (["public_repo"], "PUT", f"/repos/{ORG}/open/contents/a", 201, None),
        (["public_repo"], "GET", f"/repos/{ORG}/closed", 404, None),
        (["repo"], "GET", f"/repos/{ORG}/closed", 200, None),
    ],
)
def test_a_token_without_a_scope_is_told_which(
    scopes: list[str], method: str, path: str, status: int, accepted: str | None, github: Standin, ask: Asker
) -> None:
    github.state.add_repository("open")
    github.state.add_repository("closed", private=True)
    github.state.add_token("weak-token-of-a-test", "operator", scopes=scopes)
    body = {"message": "m", "content": "eA=="} if method == "PUT" else None
    got = ask(method, path, body, token="weak-token-of-a-test")
    assert (got.status, got.headers.get("X-Accepted-OAuth-Scopes")) == (status, accepted)
    assert got.headers["X-OAuth-Scopes"] == ", ".join(sorted(scopes))


def test_a_fine_grained_token_is_told_its_permission(github: Standin, ask: Asker) -> None:
    fine = "github_pat_NotARealOne"
    github.state.add_token(fine, "operator", permissions={"organization_secrets": "read"})
    app = github.state.add_installation("namespace")
    assert ask("GET", f"{ACTIONS}/secrets", token=fine).status == 200
    got = ask("GET", f"{ACTIONS}/runner-groups", token=fine)
    assert got.headers["X-Accepted-GitHub-Permissions"] == "organization_self_hosted_runners=read"
    got = ask("DELETE", f"{ACTIONS}/secrets/S", token=fine)
    assert got.headers["X-Accepted-GitHub-Permissions"] == "organization_secrets=write"
    assert ask("GET", f"/user/installations/{app.id}/repositories", token=fine).status == 403


def test_who_has_no_token_sees_what_is_public(github: Standin, ask: Asker) -> None:
    github.state.add_repository("open")
    github.state.add_repository("closed", private=True)
    assert [ask("GET", f"/repos/{ORG}/{name}", token=None).status for name in ("open", "closed")] == [
        200,
        404,
    ]
    assert ask("GET", "/user", token=None).status == 401
    assert ask("GET", f"{ACTIONS}/secrets", token=None).status == 401
    assert ask("GET", f"/repos/{ORG}/open", token="wrong").status == 401


def test_members_see_private_repositories_and_read_only_people_write_nothing(
    github: Standin, ask: Asker
) -> None:
    github.state.add_repository("closed", private=True)
    github.state.add_member("ann")
    github.state.add_token("anns-token", "ann", scopes=["repo"])
    github.state.add_token("bobs-token", "bob", scopes=["repo"])
    body = {"message": "m", "content": "eA=="}
    assert ask("GET", f"/repos/{ORG}/closed", token="anns-token").status == 200
    assert ask("GET", f"/repos/{ORG}/closed", token="bobs-token").status == 404
    assert ask("PUT", f"/repos/{ORG}/closed/contents/a", body, token="anns-token").status == 404


# --- pages, marks, limits


def test_lists_come_in_pages(github: Standin, ask: Asker) -> None:
    names = {github.state.add_repository(f"package-{n:03}").name for n in range(205)}
    got = ask("GET", f"/orgs/{ORG}/repos?per_page=1000")
    assert len(got.value) == 100, "GitHub gives no more than 100"
    seen, address = set(), f"/orgs/{ORG}/repos?per_page=90"
    for left in (90, 90, 25):
        got = ask("GET", address)
        seen |= {one["name"] for one in got.value}
        assert len(got.value) == left
        following = [part for part in got.headers.get("Link", "").split(", ") if 'rel="next"' in part]
        address = following[0].partition(">")[0][1:] if following else ""
    assert (address, seen) == ("", names)
    assert len(ask("GET", f"/orgs/{ORG}/repos").value) == 30


def test_what_has_not_changed_costs_nothing(github: Standin, ask: Asker) -> None:
    github.state.add_repository("one")
    first = ask("GET", f"/repos/{ORG}/one")
    again = ask("GET", f"/repos/{ORG}/one", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.value) == (304, None)
    assert again.headers["X-RateLimit-Used"] == first.headers["X-RateLimit-Used"]
    github.state.repositories[max(github.state.repositories)].archived = True
    assert ask("GET", f"/repos/{ORG}/one", **{"If-None-Match": first.headers["ETag"]}).status == 200
    assert [one.conditional for one in github.log] == [False, True, True]


@pytest.mark.parametrize("status", [403, 429])
def test_the_hourly_limit_ends_and_begins_again(
    status: int, github: Standin, ask: Asker, clock: Clock
) -> None:
    github.limit_status = status
    github.rate_limit(remaining=1, reset_in=100)
    assert ask("GET", "/user").status == 200
    got = ask("GET", "/user")
    assert (got.status, got.headers["X-RateLimit-Remaining"]) == (status, "0")
    assert int(got.headers["X-RateLimit-Reset"]) == clock.now + 100
    assert ask("GET", "/rate_limit").value["rate"]["remaining"] == 0
    clock.now += 100
    assert ask("GET", "/user").status == 200


def test_a_secondary_limit_says_how_long(github: Standin, ask: Asker) -> None:
    github.secondary_limit(7, matching="^PUT")
    assert ask("GET", "/user").status == 200
    got = ask("PUT", f"{ACTIONS}/secrets/S", {"visibility": "all"})
    assert (got.status, got.headers["Retry-After"]) == (403, "7")
    assert "secondary rate limit" in got.value["message"]


def test_faults_come_as_asked_for(github: Standin, ask: Asker) -> None:
    github.fail_next(503, times=2, matching="/user$")
    assert [ask("GET", "/user").status for _ in range(3)] == [503, 503, 200]
    github.fail_next(201, matching="^POST", late=True, body=b"<html>")
    with pytest.raises(json.JSONDecodeError):
        ask("POST", f"{ACTIONS}/variables", {"name": "V", "value": "1", "visibility": "all"})
    assert "V" in github.state.variables, "it was done, and only its answer was lost"
    github.fail_next(0)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        ask("GET", "/user")
    assert [str(one) for one in github.log][-1] == "GET /user -> 0"


# --- what moves


def test_a_repository_that_moved_is_found_by_number(github: Standin, ask: Asker) -> None:
    one = github.state.add_repository("old")
    github.state.groups[1].selected.add(one.id)
    github.state.move(one, "new")
    got = ask("GET", f"/repos/{ORG}/old/contents/README.md?ref=main")
    assert got.status == 301
    assert got.headers["Location"] == f"{github.url}/repositories/{one.id}/contents/README.md?ref=main"
    assert ask("GET", got.headers["Location"]).status == 200
    assert ask("PUT", f"/repos/{ORG}/old/contents/a", {"message": "m", "content": "eA=="}).status == 307
    assert one.id in github.state.groups[1].selected
    github.state.move(one, owner="elsewhere")
    assert ask("GET", f"/repositories/{one.id}").value["full_name"] == "elsewhere/new"
    assert one.id not in github.state.groups[1].selected, "a transfer ends the selection"
    other = github.state.add_repository("old")
    assert ask("GET", f"/repos/{ORG}/old").value["id"] == other.id, "a new one takes the old place"
    github.state.remove(one)
    assert [ask("GET", path).status for path in (f"/repos/{ORG}/new", f"/repositories/{one.id}")] == [
        404,
        404,
    ]


def test_a_login_that_was_given_up_is_not_forwarded(github: Standin, ask: Asker) -> None:
    ann = github.state.add_user("ann")
    ann.login = "ann-new"
    assert [ask("GET", f"/users/{login}").status for login in ("ann", "ann-new")] == [404, 200]
    assert ask("GET", f"/user/{ann.id}").value["login"] == "ann-new"
    assert ask("GET", f"/users/{github.state.add_user('ann').login}").value["id"] != ann.id


def test_roles_come_from_all_sides(github: Standin, ask: Asker) -> None:
    one = github.state.add_repository("one")
    one.collaborators[github.state.add_user("ann").id] = "triage"
    github.state.add_team("core", "bob").repositories[one.id] = "maintain"
    github.state.add_user("eve")

    def role(login: str) -> tuple[str, str]:
        got = ask("GET", f"/repos/{ORG}/one/collaborators/{login}/permission").value
        return got["permission"], got["role_name"]

    assert [role(login) for login in ("ann", "bob", "eve", "operator")] == [
        ("read", "triage"),
        ("write", "maintain"),
        ("read", "read"),
        ("admin", "admin"),
    ]


# --- rules of what it keeps


def test_only_a_selection_can_be_added_to(github: Standin, ask: Asker) -> None:
    one = github.state.add_repository("one")
    github.state.secrets["S"] = Secret(name="S")
    github.state.variables["V"] = Variable(name="V")
    for path in ("secrets/S", "variables/V", "runner-groups/1"):
        assert ask("PUT", f"{ACTIONS}/{path}/repositories/{one.id}").status == 409


def test_only_repositories_of_the_organisation_are_selected(github: Standin, ask: Asker) -> None:
    other = github.state.add_repository("other", owner="somebody")
    github.state.secrets["S"] = Secret("selected", name="S")
    got = ask("PUT", f"{ACTIONS}/secrets/S/repositories", {"selected_repository_ids": [other.id]})
    assert got.status == 422
    assert github.state.secrets["S"] == Secret("selected", name="S")
    assert Selection().selected == set()


@pytest.mark.parametrize(
    ("length", "status", "said"),
    [(47, 422, "Improperly"), (48 + 48 * 1024, 201, ""), (49 + 48 * 1024, 422, "48KB")],
)
def test_a_secret_is_sealed_and_not_too_large(
    length: int, status: int, said: str, github: Standin, ask: Asker
) -> None:
    key = ask("GET", f"{ACTIONS}/secrets/public-key").value
    assert len(base64.b64decode(key["key"])) == 32
    value = base64.b64encode(bytes(n % 251 for n in range(length))).decode()
    body = {"visibility": "all", "encrypted_value": value, "key_id": key["key_id"]}
    got = ask("PUT", f"{ACTIONS}/secrets/S", body)
    assert got.status == status
    assert said in str(got.value)
    assert ask("PUT", f"{ACTIONS}/secrets/S", {**body, "key_id": "1"}).status == 422


def test_an_app_keeps_one_repository(github: Standin, ask: Asker) -> None:
    one = github.state.add_repository("one")
    app = github.state.add_installation("namespace", one)
    assert ask("DELETE", f"/user/installations/{app.id}/repositories/{one.id}").status == 422
    assert app.repositories == {one.id}
    app.selection = "all"
    assert ask("DELETE", f"/user/installations/{app.id}/repositories/{one.id}").status == 422


def test_a_file_changes_only_for_who_knows_it(github: Standin, ask: Asker) -> None:
    one = github.state.add_repository("one", files={"a": "1"})
    path, body = f"/repos/{ORG}/one/contents/a", {"message": "m", "content": "Mg=="}
    assert ask("PUT", path, body).status == 422
    assert ask("PUT", path, {**body, "sha": "0" * 40}).status == 409
    sha = ask("GET", path).value["sha"]
    assert sha == "56a6051ca2b02b04ef92d5150c9ef600403cb1de", "git's own hash of a file with a `1` in it"
    assert ask("PUT", path, {**body, "sha": sha}).status == 200
    assert one.commits[one.branches["main"]].files["a"] == b"2"
    one.archived = True
    assert ask("PUT", path, {**body, "sha": sha}).status == 403


def test_no_token_is_in_what_it_shows(github: Standin, ask: Asker) -> None:
    ask("GET", "/user")
    github.fail_next(401)
    ask("GET", "/user")
    assert TOKEN not in repr(github)
    assert TOKEN not in repr(github.log) + "".join(map(str, github.log))
    assert TOKEN in github.state.tokens
