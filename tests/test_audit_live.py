"""`audit` against the stand-ins of GitHub and Cirun, over HTTP: every sort of drift is found, and mended by its fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from audit_world import GRANTS, KEY, ORG, PEOPLE, TOKEN, URL, World, entry
from roots import Runner

from cf_infra import auditing
from cf_infra.console import today_utc
from cf_infra.diagnostics import Failure
from cf_infra.github import Github
from cf_infra.rest import Token
from tests.cirun_standin import CirunStandin, CirunState
from tests.github import Standin, State
from tests.github.state import RunnerGroup

pytestmark = pytest.mark.programs

Plant = Callable[[World], None]


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    state = State(ORG)
    with Standin(state) as github, CirunStandin(CirunState(KEY, github=state)) as cirun:
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        for name, value in cirun.environment().items():
            monkeypatch.setenv(name, value)
        made = World(tmp_path, github, cirun, Runner(capsys))
        yield made
        assert not any(TOKEN in text or KEY in text for text in made.asked), "no output has a token"


def test_nothing_is_found_where_all_is_as_the_files_say(world: World) -> None:
    ran = world.audit("--detailed-exitcode")
    assert (ran.code, ran.json()["findings"]) == (0, [])
    assert ran.json()["asked"] == {"cirun": 2, f"github:{ORG}": 13}
    assert re.search(r"github: 3 repositories, 100 in one request", ran.err), "progress is on stderr"


def test_what_did_not_change_is_asked_for_only_if_it_changed(world: World) -> None:
    assert world.findings() == []
    world.github.log.clear()
    assert world.findings() == []
    lists = [one for one in world.github.log if one.method == "GET"]
    assert lists and {one.status for one in lists} == {304}
    kept = world.root / ".state" / "_audit" / "github.json"
    assert kept.stat().st_mode & 0o777 == 0o600 and TOKEN not in kept.read_text()


def own_runners(world: World) -> None:
    world.commit(
        "beta-feedstock", {".cirun.yml": "runners:\n  - name: mine\n    labels: [cirun-gpu-large, x]\n"}
    )


def extra_policy(world: World) -> None:
    policy = "policies:\n  - id: mine\n    repo: delta-feedstock\n    users: [ada]\n"
    world.state.add_repository("delta-feedstock")
    world.edit(".access.yml", "version: 1\npolicies:\n", f"version: 1\n{policy}")
    opened = "  - resource: cirun-gpu-large\n    policies:\n"
    world.edit(".access.yml", opened, f"{opened}      - mine\n")


def expired(world: World) -> None:
    world.write(
        GRANTS.replace(entry("gamma", "gpu-large"), entry("gamma", "gpu-large", expires="2026-02-01"))
    )


def app_expired(world: World) -> None:
    old, new = entry("beta", "namespace"), entry("beta", "namespace", expires="2026-02-01")
    world.write(GRANTS.replace(old, new))


def forgotten(world: World) -> None:
    """Whether Cirun follows a repository or its name is among what only Cirun can answer; here it follows."""
    del world.cirun.state.repositories[f"{ORG}/gamma-feedstock"]


def renamed(world: World) -> None:
    world.state.move(world.repository("gamma-feedstock"), name="gamma2-feedstock")
    forgotten(world)
    world.cirun.state.repositories[f"{ORG}/gamma2-feedstock"] = True


def transferred(world: World) -> None:
    world.state.move(world.repository("gamma-feedstock"), owner="stranger")
    forgotten(world)


def removed(world: World) -> None:
    world.state.remove(world.repository("gamma-feedstock"))
    forgotten(world)


def group_for_all(world: World) -> None:
    world.state.groups[77] = RunnerGroup("all", id=77, name="somebodys")


def activated(world: World) -> None:
    world.state.add_repository("delta-feedstock")
    world.cirun.state.repositories[f"{ORG}/delta-feedstock"] = True


BETA = "  - resource: cirun-cpu-large\n    policies:\n      - beta-feedstock-policy\n"
DRIFT: dict[str, tuple[Plant, str, str, str]] = {
    "an entry of the list that no grant has": (
        extra_policy, "undeclared-access", f"{ORG}/.cirun/.access.yml", "delta-feedstock/cirun-gpu-large",
    ),
    "an entry that somebody took out": (
        lambda w: w.edit(".access.yml", BETA, ""),
        "missing-access", f"{ORG}/.cirun/.access.yml", "beta-feedstock/cirun-cpu-large",
    ),
    "jobs of pull requests that may run": (
        lambda w: w.edit(".access.yml", "pull_request: false", "pull_request: true"),
        "wrong-pull-requests", f"{ORG}/.cirun/.access.yml", "alpha-feedstock/cirun-gpu-large",
    ),
    "a role that somebody added": (
        lambda w: w.edit(".access.yml", "      - maintain\n", "      - maintain\n      - triage\n"),
        "wrong-conditions", f"{ORG}/.cirun/.access.yml", "alpha-feedstock/cirun-gpu-large",
    ),
    "an entry without the donor's terms": (
        lambda w: w.edit(".access.yml", f"    users_from_json: {URL}\n", ""),
        "people-without-terms", f"{ORG}/.cirun/.access.yml", "alpha-feedstock/cirun-gpu-large",
    ),
    "a list that cannot be read": (
        lambda w: w.edit(".access.yml", "version: 1\npolicies:", "version: 1\npolicy:"),
        "unreadable-list", f"{ORG}/.cirun/.access.yml", "the whole list",
    ),
    "a grant that ended": (
        expired, "expired-but-alive", f"{ORG}/.cirun/.access.yml", "gamma-feedstock/cirun-gpu-large",
    ),
    "an app's repository whose grant ended": (
        app_expired, "expired-but-alive", f"github:{ORG} app Namespace", "beta-feedstock",
    ),
    "a runner that nobody offers": (
        lambda w: w.edit(".cirun.global.yml", "runners:\n", "runners:\n  - name: mine\n    labels: [mine]\n"),
        "undeclared-label", f"{ORG}/.cirun/.cirun.global.yml", "mine",
    ),
    "a runner on another machine": (
        lambda w: w.edit(".cirun.global.yml", "g4dn", "p5.48xlarge"),
        "wrong-runner", f"{ORG}/.cirun/.cirun.global.yml", "cirun-gpu-large",
    ),
    "runners of a repository's own": (own_runners, "own-runners", f"github:{ORG}", "beta-feedstock"),
    "a repository that was renamed": (renamed, "renamed-repository", f"github:{ORG}", "gamma-feedstock"),
    "a repository that went to somebody else": (
        transferred, "renamed-repository", f"github:{ORG}", "gamma-feedstock",
    ),
    "a repository that is gone": (
        removed, "missing-repository", f"github:{ORG}", "gamma-feedstock",
    ),
    "a repository that is archived": (
        lambda w: setattr(w.repository("gamma-feedstock"), "archived", True),
        "archived-repository", f"github:{ORG}", "gamma-feedstock",
    ),
    "a repository in a runner group": (
        lambda w: w.group("cf-gpu").selected.add(w.repository("beta-feedstock").id),
        "undeclared-access", f"github:{ORG} runner group cf-gpu", "beta-feedstock",
    ),
    "a repository that a secret's selection lost": (
        lambda w: w.state.secrets["STAGING"].selected.clear(),
        "missing-access", f"github:{ORG} secret STAGING", "alpha-feedstock",
    ),
    "a variable that shows another label": (
        lambda w: setattr(w.state.variables["CF_GPU_RUNNER"], "value", "other"),
        "wrong-value", f"github:{ORG} variable CF_GPU_RUNNER", "CF_GPU_RUNNER",
    ),
    "a runner group that shuts feedstocks out": (
        lambda w: setattr(w.group("cf-gpu"), "allows_public", False),
        "wrong-value", f"github:{ORG} runner group cf-gpu", "cf-gpu",
    ),
    "a secret for everybody": (
        lambda w: setattr(w.state.secrets["STAGING"], "visibility", "all"),
        "secret-for-all", f"github:{ORG} secret STAGING", "STAGING",
    ),
    "our runner group for everybody": (
        lambda w: setattr(w.group("cf-gpu"), "visibility", "all"),
        "group-for-all", f"github:{ORG} runner group cf-gpu", "cf-gpu",
    ),
    "somebody else's runner group for everybody": (
        group_for_all, "group-for-all", f"github:{ORG} runner group somebodys", "somebodys",
    ),
    "a repository that the app has": (
        lambda w: w.app().repositories.add(w.repository("alpha-feedstock").id),
        "undeclared-access", f"github:{ORG} app Namespace", "alpha-feedstock",
    ),
    "an activation without a grant": (activated, "activation-without-grant", "cirun", "delta-feedstock"),
    "a grant without an activation": (
        lambda w: w.cirun.state.repositories.pop(f"{ORG}/alpha-feedstock"),  # type: ignore[arg-type, return-value]
        "grant-without-activation", "cirun", "alpha-feedstock",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRIFT)
def test_drift_is_found_and_its_fix_mends_it(name: str, world: World) -> None:
    plant, kind, where, subject = DRIFT[name]
    world.now += 86400
    plant(world)
    found = world.findings()
    hits = [one for one in found if (one["kind"], one["where"], one["subject"]) == (kind, where, subject)]
    assert len(hits) == 1, found
    assert hits[0]["fix"] and hits[0]["what"].endswith("."), "a finding says what is wrong and how to mend it"
    for _ in range(4):  # mending one thing (a grant that goes) shows the next (its entry in the list)
        for fix in dict.fromkeys(one["fix"] for one in found):
            world.mend(fix)
        if not (found := world.findings()):
            return
    pytest.fail(f"the fixes do not mend it: {found}")


def test_the_app_for_all_repositories_is_for_people_to_mend(world: World) -> None:
    world.app().selection = "all"
    [found] = world.findings()
    assert (found["kind"], found["where"]) == ("app-for-all", f"github:{ORG} app Namespace")
    assert f"settings/installations/{world.app().id}" in found["fix"]
    world.app().selection = "selected"
    assert world.findings() == []


def test_what_is_not_there_at_all(world: World) -> None:
    world.state.installations.clear()
    world.state.groups.clear()
    found = {(one["kind"], one["where"]): one for one in world.findings()}
    assert "There is no installation" in found["app-for-all", f"github:{ORG} app Namespace"]["what"]
    assert (
        found["missing-access", f"github:{ORG} runner group cf-gpu"]["what"]
        == "The runner group is not there."
    )


def test_named_stacks_are_looked_at_alone(world: World) -> None:
    own_runners(world)
    assert {one["kind"] for one in world.findings("access")} == {"own-runners"}
    lab = world.root / "stacks" / "lab.yaml"
    lab.write_text(LAB)
    ran = world.audit("lab")
    found = orjson.loads(ran.out)["findings"]
    assert [(one["kind"], one["where"]) for one in found] == [("not-audited", "lab (sandbox)")]
    assert ran.code == 1 and world.audit("nobody").code == 1


LAB = """\
version: 1
kind: openstack
cloud: sandbox
donor: {name: A lab}
hosts: [{name: gpu-01, vcpus: 16, memory_gib: 64, disk_gib: 400}]
images: {ubuntu: {name: ubuntu}}
network: {cidr: 10.51.0.0/24, external: public}
offers:
  big:
    slice: {vcpus: 2, memory_gib: 8, disk_gib: 50}
    image: ubuntu
    via: direct
    mode: dedicated
"""


def test_a_list_that_graphql_does_not_tell_whole_is_read_otherwise(world: World) -> None:
    world.edit(".access.yml", "version: 1\n", "version: 1\n" + "# filler\n" * 70_000)
    assert world.findings() == []
    world.edit(".access.yml", "pull_request: false", "pull_request: true")
    found = world.findings()
    assert {one["kind"] for one in found} == {"wrong-pull-requests"}
    assert {one["since"] for one in found} == {"2026-01-01T02:00:00Z"}, (
        "the last change is known all the same"
    )


def test_a_fine_grained_token_cannot_look_at_apps_and_is_told_so(world: World) -> None:
    rights = (
        "contents",
        "organization_self_hosted_runners",
        "organization_secrets",
        "organization_actions_variables",
    )
    permissions = dict.fromkeys((*rights, "organization_administration"), "read")
    world.state.add_token(TOKEN, "operator", permissions=permissions)
    ran = world.audit("--only", "github")
    found = orjson.loads(ran.out)["findings"]
    assert [(one["kind"], one["where"]) for one in found] == [("not-audited", f"github:{ORG} app Namespace")]
    assert ran.code == 1


def test_what_was_remembered_and_is_broken_counts_for_nothing(world: World) -> None:
    folder = world.root / ".state" / "_audit"
    folder.mkdir(parents=True)
    for text in ("{", "[1]", '{"x": 5}', '{"x": [{"github": 5}]}'):
        for name in ("people.json", "github.json"):
            (folder / name).write_text(text)
        assert world.findings() == []


def test_a_list_of_people_that_was_changed_elsewhere(world: World) -> None:
    assert world.findings() == []
    more = PEOPLE.replace(b"]}", b', {"github": "mallory", "id": 66}]}')
    world.now += 86400
    world.commit("terms", {"people.json": more.decode()}, "mallory", owner="donor")
    [found] = world.findings()
    assert (found["kind"], found["where"], found["subject"]) == ("people-changed", URL, "mallory")
    assert "66" in found["what"] and "Last changed by mallory" in found["what"]
    assert found["since"] == "2026-01-02T00:00:00Z"
    assert found["fix"] == f"curl -fsS {URL} | diff users/donor.json -"
    (world.root / "users" / "donor.json").write_bytes(more)  # accepted: the known list has them now
    assert world.findings() == []
    world.commit("terms", {"people.json": PEOPLE.decode()}, "donor", owner="donor")
    [found] = world.findings()
    assert found["subject"] == "mallory" and "taken off since the last audit" in found["what"]


def test_the_age_is_that_of_the_version_from_which_on_it_was_there(world: World) -> None:
    world.now += 86400
    world.edit(".access.yml", "pull_request: false", "pull_request: true", "mallory")
    for day in range(3):
        world.now += 86400
        world.edit(".access.yml", "version: 1\n", f"version: 1\n# {day}\n", "somebody")
    found = world.findings()
    assert {one["kind"] for one in found} == {"wrong-pull-requests"} and len(found) == 3
    assert {one["since"] for one in found} == {"2026-01-02T01:00:00Z"}
    assert all("By mallory." in one["what"] for one in found)


def test_cirun_that_goes_by_another_list_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cirun's answer is what it read last; nobody outside knows when it reads again."""
    stale = {"version": 1, "policies": [{"id": "x", "repo": "old-feedstock", "roles": ["write"]}]}
    control = {"access_control": [{"resource": "cirun-gpu-large", "policies": ["x"]}]}
    monkeypatch.setattr("tests.cirun_standin._list", lambda _repository: {**stale, **control})
    found = {
        (one["kind"], one["subject"]) for one in world.findings() if one["where"] == "cirun access-control"
    }
    assert ("undeclared-access", "old-feedstock/cirun-gpu-large") in found
    assert ("missing-access", "alpha-feedstock/cirun-gpu-large") in found
    monkeypatch.undo()


# --------------------------------------------------------------------------------------------------- codes


def test_exit_codes(world: World) -> None:
    own_runners(world)
    assert world.audit().code == 0
    assert world.audit("--detailed-exitcode").code == 2
    assert world.audit("--fail-on", "own-runners", "--detailed-exitcode").code == 1
    assert world.audit("--fail-on", "orphan").code == 0
    refused = world.audit("--fail-on", "own-runner")
    assert refused.code == 64 and "do you mean `own-runners`?" in refused.out


def test_text_fits_80_columns_and_markdown_is_only_text(world: World) -> None:
    world.commit(
        "beta-feedstock", {".cirun.yml": "runners:\n  - name: '`|<b>@somebody'\n    labels: ['\u202e']\n"}
    )
    extra_policy(world)
    text = world.command("audit", "--root", str(world.root)).out
    prose = [line for line in text.splitlines() if "fix:" not in line and not line.startswith(" " * 11)]
    assert max(map(len, prose)) <= 80 and "\u202e" not in text
    page = world.command("audit", "--root", str(world.root), "--format", "markdown").out
    outside = re.sub(r"```.*?```|`[^`\n]*`", "", page, flags=re.DOTALL)
    assert "<b>" not in outside and "@somebody" not in outside and "\u202e" not in page
    assert "| own-runners | `beta-feedstock`" in page


# --------------------------------------------------------------------------------------- places that are silent


@pytest.mark.parametrize(
    ("variable", "place"), [("GITHUB_TOKEN", f"github:{ORG}"), ("CIRUN_API_KEY", "cirun")]
)
def test_a_place_without_a_token_is_no_silence(
    variable: str, place: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable)
    ran = world.audit()
    assert ran.code == 1
    [found] = [one for one in orjson.loads(ran.out)["findings"] if one["kind"] == "not-audited"]
    assert found["where"] == place and variable in found["what"]
    [told] = orjson.loads(ran.out)["diagnostics"]
    assert told["code"] == "not-audited" and variable in told["hint"]
    other = "github" if place == "cirun" else "cirun"
    assert world.audit("--only", other).code == 0


def test_an_organisation_without_lists_is_told_once(world: World) -> None:
    world.state.move(world.repository(".cirun"), owner="somebody")
    world.state.moved.clear()
    found = orjson.loads(world.audit("--only", "github").out)["findings"]
    assert [(one["kind"], one["where"]) for one in found] == [("not-audited", f"{ORG}/.cirun/")]


def test_a_token_without_a_scope_is_named_and_the_rest_is_audited(world: World) -> None:
    world.state.add_token(TOKEN, "operator", scopes=["repo"])
    own_runners(world)
    ran = world.audit()
    found = orjson.loads(ran.out)["findings"]
    assert ran.code == 1 and [one["kind"] for one in found].count("own-runners") == 1
    silent = {one["where"]: one["what"] for one in found if one["kind"] == "not-audited"}
    places = {f"github:{ORG} {what}" for what in ("runner groups", "secrets", "variables", "apps")}
    assert silent.keys() == places and len(found) == 1 + len(places), (
        "what is not known is not called missing"
    )
    assert all("admin:org" in text for text in silent.values())


def test_an_answer_that_is_no_json_and_a_service_that_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr("cf_infra.rest.BACKOFF", ())
    world.github.fail_next(
        200, matching="graphql", body=b"<html>Log in</html>", headers={"Content-Type": "text/html"}
    )
    ran = world.audit("--only", "github")
    assert ran.code == 1 and "not JSON but text/html" in ran.out
    world.github.fail_next(502, matching="graphql")
    ran = world.audit("--only", "github")
    assert ran.code == 1 and "status 502" in ran.out
    world.cirun.state.faults.append((200, b"not json"))
    ran = world.audit("--only", "cirun")
    assert ran.code == 1 and "the answer is not JSON" in ran.out


def test_a_query_that_github_refuses_is_told(world: World) -> None:
    world.github.fail_next(200, matching="graphql", body={"errors": [{"message": "Something went wrong"}]})
    assert "Something went wrong" in world.audit("--only", "github").out
    limited = {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}
    world.github.fail_next(200, matching="graphql", body=limited)
    ran = world.audit("--only", "github")
    assert ran.code == 1 and "in an hour" in ran.out


# ---------------------------------------------------------------------------------------------- size and limits


@pytest.mark.parametrize("with_own", [False, True], ids=["nobody", "everybody"])
def test_a_thousand_repositories_take_few_requests(with_own: bool, world: World) -> None:
    names = [f"many-{number:04}" for number in range(1000)]
    files = {".cirun.yml": "runners: []\n"} if with_own else None
    for name in names:
        world.state.add_repository(f"{name}-feedstock", files=files)
        world.cirun.state.repositories[f"{ORG}/{name}-feedstock"] = True
    world.write(GRANTS + "".join(entry(name, "gpu-large", "cpu-large") for name in names))
    world.settle()
    world.github.log.clear()
    found = world.findings()
    assert len(found) == (1000 if with_own else 0)
    # Pages: the repositories of a group, a secret and a variable, 100 each.
    pages = sum("repositories" in one.path for one in world.github.log)
    assert pages == 3 * 11 + 1
    assert len(world.github.log) - pages <= 1000 / 30
    assert len(world.cirun.log) <= 4


def test_limits_are_waited_for_and_told(world: World) -> None:
    """With a clock of its own: a limit that ends in ten minutes is waited for, one that ends in an hour is not."""
    slept: list[float] = []
    said: list[str] = []

    def connect(settings: object, say: Callable[[str], None]) -> Github:
        def sleep(seconds: float) -> None:
            slept.append(seconds)
            world.now += seconds

        token = Token(TOKEN, "GITHUB_TOKEN")
        return Github(world.github.url, ORG, token, say=say, clock=lambda: world.now, sleep=sleep)

    options = auditing.Options(world.root, today_utc(), only=["github"])
    world.github.rate_limit(3, reset_in=600)
    done = auditing.run(options, said.append, connect)
    assert done.findings == [] and 600 <= sum(slept) <= 602
    assert any("waiting 10 min" in text for text in said)
    world.github.rate_limit(0, reset_in=3500)
    stopped = auditing.run(options, said.append, connect)
    assert [one.kind for one in stopped.findings] == ["not-audited"]
    assert "allows no more requests until" in stopped.findings[0].what
    world.github.limits.clear()
    world.github.secondary_limit(30, matching="graphql")
    assert auditing.run(options, said.append, connect).findings == [] and slept[-1] == 30


def test_ctrl_c_ends_it_and_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cf_infra.github_many.files", stop)
    ran = world.audit()
    assert ran.code == 130 and "an audit only reads" in ran.out
    assert not (world.root / ".state").exists()


# ---------------------------------------------------------------------------------------------------- local copies


def test_local_copies_need_no_place_and_no_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "CIRUN_API_KEY"):
        monkeypatch.delenv(name)
    commit = world.repository(".cirun").commit_at("main")
    assert commit is not None
    for path in (".access.yml", ".cirun.global.yml"):
        (world.root / path).write_bytes(commit.files[path])
    world.github.log.clear()
    copies = ("--access", str(world.root / ".access.yml"), "--runners", str(world.root / ".cirun.global.yml"))
    assert world.findings(*copies) == []
    (world.root / ".access.yml").write_text("version: 1\n")
    assert {one["kind"] for one in world.findings(*copies)} == {"missing-access"}
    assert world.github.log == [] and not (world.root / ".state").exists()
    with pytest.raises(Failure, match="not-found"):
        auditing.run(auditing.Options(world.root, today_utc(), access=world.root / "none"), print)
    both = world.audit(*copies, "--only", "github")
    assert both.code == 64 and "--only has nothing to choose" in both.out
