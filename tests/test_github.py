"""The client for GitHub's API, against the stand-in: it waits, gives up, converges, and shows no token."""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cf_infra.diagnostics import Failure, render
from cf_infra.github import LONGEST_COMMENT, Github, base_address, fitting, github
from cf_infra.model import GithubLogin, Settings
from cf_infra.rest import PATIENCE, Token, token_from_command, token_from_variable
from tests.github import Repository, Standin, State
from tests.github.state import Comment, Issue, Secret, Variable

ORG = "conda-forge"
TOKEN = "ghp_NotARealTokenOfTheClientsOwnTests001"
START = 1_800_000_000.0


class Time:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now = START
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def standin(time: Time) -> Iterator[Standin]:
    state = State(ORG, time.clock)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    with Standin(state) as made:
        yield made


@pytest.fixture
def said() -> list[str]:
    return []


Connect = Callable[..., Github]


@pytest.fixture
def connect(standin: Standin, time: Time, said: list[str]) -> Iterator[Connect]:
    made: list[Github] = []

    def connected(token: str = TOKEN, **more: Any) -> Github:
        named = Token(token, "GITHUB_TOKEN")
        options = {"say": said.append, "clock": time.clock, "sleep": time.sleep, **more}
        made.append(Github(standin.url, ORG, named, **options))
        return made[-1]

    yield connected
    for one in made:
        one.close()
        assert TOKEN not in repr(vars(one)) + repr(vars(one.service)) + "".join(said)


@pytest.fixture
def client(connect: Connect) -> Github:
    return connect()


def fault(call: Callable[[], Any]) -> str:
    """The message of what goes wrong, as people read it."""
    with pytest.raises(Failure) as caught:
        call()
    text = render(caught.value.diagnostics)
    assert TOKEN not in text + repr(caught.value)
    return text


# --- what it reads


def test_lists_are_read_whole_and_cheaply(standin: Standin, client: Github) -> None:
    for number in range(1000):
        standin.state.add_repository(f"package-{number:04}-feedstock").archived = number == 7
    found = client.repositories()
    assert len(found) == 1000
    assert [one.name for one in found if one.archived] == ["package-0007-feedstock"]
    assert len(standin.log) == client.service.requests == 10, "100 for each request"


def test_what_has_not_changed_is_not_counted(standin: Standin, client: Github) -> None:
    for number in range(150):
        standin.state.add_repository(f"package-{number:04}-feedstock")
    before = client.repositories()
    used = standin.limits[TOKEN].used
    assert client.repositories() == before
    assert standin.limits[TOKEN].used == used
    assert [one.status for one in standin.log] == [200, 200, 304, 304]
    standin.state.add_repository("one-more")
    assert len(client.repositories()) == 151


def test_what_an_earlier_run_kept_is_not_counted(standin: Standin, connect: Connect, tmp_path: Path) -> None:
    standin.state.add_repository("one-feedstock")
    first, kept = connect(), tmp_path / "state" / "github.json"
    before = first.repositories()
    first.service.keep(kept)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert TOKEN not in kept.read_text()
    second = connect()
    second.service.recall(kept)
    assert second.repositories() == before
    assert [one.status for one in standin.log] == [200, 304]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"base": "BASE", "known": {"x": 1}}', '{"base": "elsewhere", "known": {}}']
)
def test_what_was_not_kept_so_is_not_used(text: str, client: Github, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text(text.replace("BASE", client.service.base))
    client.service.recall(tmp_path / "kept")
    client.service.recall(tmp_path / "none")
    assert client.service.known == {}


def test_repositories_and_people_are_known_by_number(standin: Standin, client: Github) -> None:
    one = standin.state.add_repository("old-feedstock")
    ann = standin.state.add_user("ann")
    standin.state.move(one, "new-feedstock")
    ann.login = "ann-new"
    found = client.repository("old-feedstock")
    assert found is not None
    assert (found.id, found.name) == (one.id, "new-feedstock")
    standin.state.move(one, owner="elsewhere")
    by_id = client.repository_by_id(one.id)
    assert by_id is not None
    assert by_id.full_name == "elsewhere/new-feedstock"
    assert client.user("ann") is None
    person = client.user_by_id(ann.id)
    assert person is not None
    assert person.login == "ann-new"
    assert client.repository("never") is None


def test_roles_and_teams(standin: Standin, client: Github) -> None:
    one = standin.state.add_repository("one-feedstock")
    standin.state.add_team("gpu", "ann").repositories[one.id] = "maintain"
    standin.state.add_user("eve")
    assert [client.role("one-feedstock", who) for who in ("ann", "eve", "nobody")] == [
        "maintain",
        "read",
        None,
    ]
    assert [one.login for one in client.team_members("gpu")] == ["ann"]
    assert [client.is_in_team("gpu", who) for who in ("ann", "eve")] == [True, False]
    assert "The team `none` of conda-forge is not at GitHub" in fault(lambda: client.team_members("none"))


def test_files_with_their_history(standin: Standin, client: Github) -> None:
    one = standin.state.add_repository(".cirun", files={".access.yml": "version: 1\n", "d/e": "x"})
    standin.state.commit(
        one, {".access.yml": "version: 1\n# more\n"}, "More", author=standin.state.user("operator").id
    )  # type: ignore[union-attr]
    standin.state.commit(one, {"other": "y"}, "Another file")
    found = client.file(".cirun", ".access.yml")
    assert found is not None
    assert found.content == b"version: 1\n# more\n"
    history = client.history(".cirun", ".access.yml")
    assert [each.commit.message for each in history] == ["More", "Initial commit"]
    assert history[0].author is not None
    assert history[0].author.login == "operator"
    assert history[0].when.timestamp() == START
    old = client.file(".cirun", ".access.yml", history[1].sha)
    assert old is not None
    assert old.content == b"version: 1\n"
    assert [client.file(".cirun", path) for path in ("d", "none", "../../../user", "..")] == [None] * 4
    assert len(client.history(".cirun", ".access.yml", most=1)) == 1


def test_a_file_above_a_megabyte_is_read_whole(standin: Standin, client: Github) -> None:
    content = bytes(range(256)) * 8000
    standin.state.add_repository(".cirun", files={".access.yml": content})
    found = client.file(".cirun", ".access.yml")
    assert found is not None
    assert found.content == content


def test_selections_and_apps(standin: Standin, client: Github) -> None:
    one, two = (standin.state.add_repository(f"{name}-feedstock") for name in ("one", "two"))
    state = standin.state
    state.secrets["S"] = Secret("selected", {one.id}, name="S")
    state.variables["V"] = Variable("selected", {two.id}, name="V", value="labels")
    state.groups[1].visibility, state.groups[1].selected = "selected", {one.id, two.id}
    app = state.add_installation("namespace", two)
    assert [(each.name, each.visibility) for each in client.secrets()] == [("S", "selected")]
    assert [(each.name, each.value) for each in client.variables()] == [("V", "labels")]
    assert [each.name for each in client.secret_repositories("S")] == ["one-feedstock"]
    assert [each.name for each in client.variable_repositories("V")] == ["two-feedstock"]
    assert [(each.name, each.default) for each in client.runner_groups()] == [("Default", True)]
    assert {each.id for each in client.group_repositories(1)} == {one.id, two.id}
    assert [(each.id, each.app_slug) for each in client.installations()] == [(app.id, "namespace")]
    assert [each.name for each in client.installation_repositories(app.id)] == ["two-feedstock"]
    assert "`NONE` among the secrets is not at GitHub" in fault(lambda: client.secret_repositories("NONE"))


# --- limits and faults


def test_it_waits_until_the_hour_is_over_and_says_how_long(
    standin: Standin, client: Github, time: Time, said: list[str]
) -> None:
    standin.rate_limit(remaining=0, reset_in=600)
    assert client.viewer() is not None
    assert time.slept == [601.0]
    assert said == ["GitHub allows no more requests for now: waiting 10 min, until 08:10:01 UTC"]


def test_it_does_not_wait_longer_than_a_run_may(standin: Standin, client: Github, time: Time) -> None:
    standin.rate_limit(remaining=0, reset_in=3000)
    text = fault(client.viewer)
    assert text.startswith("error[rate-limited]: Limit of requests is used up\n")
    assert "allows no more requests until 08:50:01 UTC" in text
    assert "run the same command again after that time" in text
    assert time.slept == []


@pytest.mark.parametrize("status", [403, 429])
def test_a_secondary_limit_is_waited_for(
    status: int, standin: Standin, client: Github, time: Time, said: list[str]
) -> None:
    standin.secondary_limit(30, times=2, status=status)
    assert client.viewer() is not None
    assert time.slept == [30.0, 30.0]
    assert "waiting 30 s" in said[0]


def test_a_secondary_limit_that_never_ends_does(standin: Standin, client: Github, time: Time) -> None:
    standin.fail_next(403, 99, body={"message": "You have exceeded a secondary rate limit."})
    assert "error[rate-limited]" in fault(client.viewer)
    assert time.slept == [60.0, 120.0, 240.0, 480.0], "longer each time, 900 s in all"
    assert sum(time.slept) <= PATIENCE


@pytest.mark.parametrize("status", [500, 502, 503, 0])
def test_a_failing_service_gets_a_few_tries(
    status: int, standin: Standin, client: Github, time: Time, said: list[str]
) -> None:
    standin.fail_next(status, times=3)
    assert client.viewer() is not None
    assert time.slept == [1.0, 2.0, 4.0]
    standin.fail_next(status, times=99)
    text = fault(client.viewer)
    assert "error[service-silent]: Service does not answer\nGitHub, GET /user: " in text
    assert ("the connection was lost" if status == 0 else f"status {status}") in text
    assert len(time.slept) == 6
    assert "trying again in 1 s" in said[0]


def test_nobody_there(time: Time) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = Github(f"http://127.0.0.1:{port}", ORG, Token(TOKEN, "GITHUB_TOKEN"), sleep=time.sleep)
    text = fault(client.viewer)
    assert "nobody listens there" in text
    assert f"see whether 127.0.0.1:{port} can be reached" in text


def test_what_is_slow_is_given_up(standin: Standin, client: Github, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cf_infra.rest.TIMEOUT", (1.0, 0.05))
    standin.fail_next(200, times=1, delay=0.2)
    assert client.viewer() is not None
    standin.fail_next(200, times=9, delay=0.2)
    assert "no answer in time" in fault(client.viewer)
    standin.faults.clear()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>log in</html>", "the answer is not JSON but application/json"),
        (b"\xff\xfe", "the answer is not JSON"),
        (b"[" * 100_000, "the answer is not JSON"),
        ({"login": "x"}, "not as GitHub describes it: id"),
        ({"id": "1", "login": "x"}, "not as GitHub describes it: id"),
        ({"id": 1, "login": "a\x1b[2Jb"}, "not as GitHub describes it: login"),
        ([], "not as GitHub describes it: all of it"),
        ("", "not as GitHub describes it: all of it"),
    ],
)
def test_an_answer_that_is_none_is_told(body: Any, told: str, standin: Standin, client: Github) -> None:
    standin.fail_next(200, body=body)
    text = fault(client.viewer)
    assert text.startswith("error[service-answer]: Answer cannot be used\nGitHub, GET /user: ")
    assert told in text
    assert "\x1b" not in text


def test_an_answer_is_not_read_without_end(
    standin: Standin, client: Github, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cf_infra.rest.LARGEST", 1 << 20)
    standin.fail_next(200, body=b" " * (2 << 20))
    assert "an answer has more than 1 MB" in fault(client.viewer)


def test_a_list_without_end_is_no_list(
    standin: Standin, client: Github, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cf_infra.github.MOST_PAGES", 3)
    link = {"Link": f'<{standin.url}/api/v3/orgs/{ORG}/repos?page=2>; rel="next"'}
    standin.fail_next(200, times=9, body=[], headers=link)
    assert "the list has more than 3 pages" in fault(client.repositories)
    standin.faults.clear()
    standin.fail_next(200, body={"repos": 1})
    assert "there is no list in the answer" in fault(client.repositories)


# --- the token


def test_the_token_goes_to_one_host_only(standin: Standin, client: Github) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)

        def listen() -> None:
            try:
                connection, _ = other.accept()
            except TimeoutError:
                return
            heard.append(connection.recv(1000))

        thread = threading.Thread(target=listen)
        thread.start()
        place = f"http://127.0.0.1:{other.getsockname()[1]}/user"
        standin.fail_next(301, body={"message": "Moved"}, headers={"Location": place})
        assert "it redirects to 127.0.0.1:" in fault(client.viewer)
        standin.fail_next(200, body=[], headers={"Link": f'<{place}>; rel="next"'})
        assert "it leads to 127.0.0.1:" in fault(client.repositories)
        thread.join()
    assert heard == []


def test_redirects_do_not_go_round_for_ever(standin: Standin, client: Github) -> None:
    place = f"{standin.url}/api/v3/user"
    standin.fail_next(302, times=99, body={}, headers={"Location": place})
    assert "more than 5 redirects" in fault(client.viewer)


def test_a_netrc_does_not_replace_the_token(
    standin: Standin, client: Github, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert client.viewer() is not None
    assert [one.login for one in standin.log] == ["operator"]


def test_this_machine_is_not_asked_through_a_proxy(client: Github, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert client.viewer() is not None


def test_a_wrong_token_is_told_by_its_name(connect: Connect) -> None:
    text = fault(connect("wrong-token-value").viewer)
    assert "GitHub does not take the token that GITHUB_TOKEN gives" in text
    assert "wrong-token-value" not in text


def test_a_service_that_repeats_the_token_is_masked(standin: Standin, client: Github) -> None:
    standin.fail_next(418, body={"message": f"who is {TOKEN}?"})
    text = fault(client.viewer)
    assert "It says: who is (secret)?" in text


@pytest.mark.parametrize(
    ("scopes", "wanted"),
    [
        (["repo"], "lacks what this needs admin:org; it has repo."),
        ([], "lacks what this needs admin:org; it has none."),
    ],
)
def test_a_token_without_a_scope_is_told_which(
    scopes: list[str], wanted: str, standin: Standin, connect: Connect
) -> None:
    standin.state.add_token("weak-token-of-a-test", "operator", scopes=scopes)
    text = fault(connect("weak-token-of-a-test").secrets)
    assert text.startswith("error[token-lacks-scope]: Token lacks a scope\n")
    assert "the token that GITHUB_TOKEN gives " + wanted in text


def test_a_fine_grained_token_is_told_its_permission(standin: Standin, connect: Connect) -> None:
    standin.state.add_token("github_pat_of_a_test", "operator", permissions={})
    app = standin.state.add_installation("namespace")
    weak = connect("github_pat_of_a_test")
    assert "needs organization_self_hosted_runners=read." in fault(weak.runner_groups)
    text = fault(lambda: weak.installation_repositories(app.id))
    assert "needs more than this kind of token can have." in text


def test_what_is_hidden_for_want_of_a_scope_is_not_taken_for_missing(
    standin: Standin, connect: Connect
) -> None:
    standin.state.add_repository("one-feedstock")
    standin.state.add_token("weak-token-of-a-test", "operator", scopes=["read:org"])
    text = fault(lambda: connect("weak-token-of-a-test").propose("one-feedstock", "b", {"a": b"1"}, "t", ""))
    assert "needs repo; it has read:org" in text


def test_a_token_comes_from_a_variable_or_a_command() -> None:
    assert token_from_variable("T", {"T": " abc\n"}).value == "abc"
    assert token_from_command([sys.executable, "-c", "print('abc')"]).value == "abc"
    for environ, told in (({}, "is empty or not set"), ({"T": "a b"}, "is no token")):
        assert told in fault(lambda environ=environ: token_from_variable("T", environ))
    program = "import sys; print('part-of-a-token'); sys.exit(3)"
    text = fault(lambda: token_from_command([sys.executable, "-c", program]))
    assert "ended with exit status 3" in text
    assert "printed nothing" in fault(lambda: token_from_command([sys.executable, "-c", ""]))
    assert "cannot be started" in fault(lambda: token_from_command(["/no/such/program"]))


def test_settings_say_where_the_token_is(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    login = GithubLogin(api=standin.url, token="env A_TOKEN")
    made = github(Settings(organisation=ORG, github=login), environ={"A_TOKEN": TOKEN})
    assert made.viewer() is not None
    made.close()
    command = [sys.executable, "-c", f"print('{TOKEN[:9]}' + '{TOKEN[9:]}')"]  # no argument holds it whole
    made = github(Settings(organisation=ORG, github=GithubLogin(api=standin.url, token_command=command)))
    assert made.viewer() is not None
    made.close()
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    assert "error[no-token]" in fault(lambda: github(Settings()))


@pytest.mark.parametrize(
    ("api", "base"),
    [
        ("https://api.github.com", "https://api.github.com"),
        ("https://api.octo.ghe.com/", "https://api.octo.ghe.com"),
        ("https://github.example", "https://github.example/api/v3"),
        ("https://github.example/api/v3/", "https://github.example/api/v3"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v3"),
    ],
)
def test_where_the_api_begins(api: str, base: str) -> None:
    assert base_address(GithubLogin(api=api).api) == base


@pytest.mark.parametrize(
    "api",
    [
        "http://api.github.com",
        "http://127.0.0.1.evil.example",
        "https://user:pass@github.example",
        "ftp://github.example",
        "https://github.example?x=1",
        "http://localhost@evil.example",
    ],
)
def test_a_token_is_not_sent_just_anywhere(api: str) -> None:
    with pytest.raises(ValueError, match="api"):
        GithubLogin(api=api)


# --- what it changes

ACCESS, GLOBAL = ".access.yml", ".cirun.global.yml"
WANTED: dict[str, bytes | None] = {ACCESS: b"version: 1\n", GLOBAL: b"runners: []\n", "old": None}


@pytest.fixture
def cirun(standin: Standin) -> Repository:
    return standin.state.add_repository(".cirun", files={"README.md": "#\n", "old": "x\n"})


def offer(client: Github, **more: Any) -> Any:
    options = {"files": WANTED, "title": "Access", "body": "Why", **more}
    return client.propose(".cirun", "cf-infra/access", **options)


def on_branch(cirun: Repository) -> dict[str, bytes]:
    return dict(cirun.commits[cirun.branches["cf-infra/access"]].files)


def written(standin: Standin) -> list[str]:
    return [f"{one.method} {one.path.rpartition('/')[2]}" for one in standin.log if one.method != "GET"]


def test_a_pull_request_is_made_once(standin: Standin, client: Github, cirun: Repository) -> None:
    made = offer(client)
    assert (made.number, made.title, made.state) == (1, "Access", "open")
    assert on_branch(cirun) == {"README.md": b"#\n", ACCESS: b"version: 1\n", GLOBAL: b"runners: []\n"}
    assert "old" in cirun.commits[cirun.branches["main"]].files
    count = len(written(standin))
    assert offer(client) == made
    assert len(written(standin)) == count, "a second run changes nothing"


def test_a_pull_request_follows_what_is_wanted(standin: Standin, client: Github, cirun: Repository) -> None:
    offer(client)
    changed = offer(client, files={**WANTED, ACCESS: b"version: 1\n# more\n"}, body="Why, again")
    assert (changed.number, changed.body) == (1, "Why, again")
    assert on_branch(cirun)[ACCESS] == b"version: 1\n# more\n"
    assert len(cirun.issues) == 1


def test_what_is_so_already_needs_no_pull_request(
    standin: Standin, client: Github, cirun: Repository
) -> None:
    assert offer(client, files={"README.md": b"#\n", "never": None}) is None
    assert written(standin) == []


def test_a_branch_that_was_left_behind_begins_anew(
    standin: Standin, client: Github, cirun: Repository
) -> None:
    offer(client)
    cirun.issues[1].state = "closed"
    standin.state.commit(cirun, {"README.md": "# changed\n"}, "Meanwhile")
    made = offer(client)
    assert made.number == 2
    assert on_branch(cirun)["README.md"] == b"# changed\n"


@pytest.mark.parametrize(
    ("matching", "done"),
    [
        ("POST .*/git/refs", ""),
        (f"PUT .*/{re.escape(ACCESS)}", "begins at main"),
        (f"PUT .*/{re.escape(GLOBAL)}", ".access.yml is on the branch cf-infra/access"),
        ("DELETE .*/old", ".cirun.global.yml is on the branch cf-infra/access"),
        ("POST .*/pulls", "old is on the branch cf-infra/access"),
    ],
)
def test_a_run_that_breaks_off_tells_what_is_done_and_the_next_one_goes_on(
    matching: str, done: str, standin: Standin, client: Github, cirun: Repository
) -> None:
    standin.fail_next(502, times=999, matching=matching)
    text = fault(lambda: offer(client))
    assert "error[service-silent]" in text
    assert ("Done before that" in text) == bool(done)
    assert done in text
    standin.faults.clear()
    assert offer(client).number == 1
    assert set(on_branch(cirun)) == {"README.md", ACCESS, GLOBAL}
    assert len(cirun.issues) == 1


@pytest.mark.parametrize(
    "matching", ["POST .*/git/refs", "PUT .*/contents/", "DELETE .*/old", "POST .*/pulls"]
)
def test_an_answer_that_is_lost_once_makes_nothing_twice(
    matching: str, standin: Standin, client: Github, cirun: Repository
) -> None:
    standin.fail_next(0, matching=matching, late=True)
    assert offer(client).number == 1
    assert set(on_branch(cirun)) == {"README.md", ACCESS, GLOBAL}
    assert (len(cirun.issues), sorted(cirun.branches)) == (1, ["cf-infra/access", "main"])


def test_what_somebody_else_wrote_meanwhile_is_kept(
    standin: Standin, client: Github, cirun: Repository
) -> None:
    offer(client)
    refusal = {"message": f"{ACCESS} does not match", "documentation_url": "x"}
    standin.fail_next(409, matching=f"PUT .*/{re.escape(ACCESS)}", body=refusal)
    text = fault(lambda: offer(client, files={ACCESS: b"version: 1\n# more\n"}))
    assert text.startswith("error[changed-meanwhile]")
    assert on_branch(cirun)[ACCESS] == b"version: 1\n"


@pytest.fixture
def issue(standin: Standin, cirun: Repository) -> Issue:
    operator = standin.state.user("operator")
    assert operator is not None
    made = cirun.issues[1] = Issue(5, 1, "A question", None, operator.id, START)
    return made


def test_one_comment_is_kept_up_to_date(standin: Standin, client: Github, issue: Issue) -> None:
    first = client.comment(".cirun", 1, "cf-infra: plan", "Nothing.")
    assert issue.comments[first].body == "<!-- cf-infra: plan -->\nNothing."
    assert client.comment(".cirun", 1, "cf-infra: plan", "Something.") == first
    assert client.comment(".cirun", 1, "cf-infra: plan", "Something.") == first
    assert [each.body for each in issue.comments.values()] == ["<!-- cf-infra: plan -->\nSomething."]
    assert written(standin) == ["POST comments", f"PATCH {first}"]
    assert client.comment(".cirun", 1, "cf-infra: other", "Else.") != first


def test_somebody_elses_comment_is_left_alone(standin: Standin, client: Github, issue: Issue) -> None:
    eve = standin.state.add_user("eve")
    issue.comments[9] = Comment(9, eve.id, "<!-- cf-infra: plan -->\nAll is well.", START, START)
    made = client.comment(".cirun", 1, "cf-infra: plan", "Nothing is.")
    assert made != 9
    assert issue.comments[9].body.endswith("All is well.")


@pytest.mark.parametrize("status", [0, 502])
def test_a_comment_whose_answer_is_lost_is_not_made_twice(
    status: int, standin: Standin, client: Github, issue: Issue
) -> None:
    standin.fail_next(status, matching="^POST", late=True)
    client.comment(".cirun", 1, "cf-infra: plan", "Nothing.")
    assert len(issue.comments) == 1


def test_a_long_text_is_cut_at_a_line() -> None:
    text = "\n".join(f"line {number}" for number in range(10_000))
    cut = fitting(text)
    assert LONGEST_COMMENT - 20 < len(cut) <= LONGEST_COMMENT
    assert re.search(r"\nline \d+\n\n\(The rest did not fit into a comment\.\)$", cut)
    assert text.startswith(cut.partition("\n\n(")[0] + "\n")
    assert fitting("short") == "short"
