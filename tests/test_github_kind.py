"""Stacks of kind github and app, from grants.yaml through the real OpenTofu and provider to the stand-in and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_tofu import tool_with_github
from roots import Runner, write_root

from cf_infra import deploy, keys, record
from cf_infra.access import AccessList
from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github import Github
from cf_infra.github_files import rows
from cf_infra.github_parts import listed
from cf_infra.rest import Token
from tests.github import Standin, State
from tests.github.state import Installation, RunnerGroup, Secret, Selection

pytestmark = pytest.mark.sandbox  # no OpenStack, but some two hundred runs of OpenTofu
ORG = "conda-forge"
TOKEN = "ghp_ThisIsNoTokenButItLooksLikeOne0002"
DAY = "2026-06-01"
ACCOUNT = b"""\
version: 1
kind: cirun
donor: {name: Somebody}
offers:
  gpu-large: {via: cirun, mode: on-demand, label: cirun-gpu-large, cirun: {cloud: aws, instance_type: g4dn}}
  cpu-large: {via: cirun, mode: on-demand, label: cirun-cpu-large, cirun: {cloud: aws, instance_type: m6}}
"""
ACCESS = b"""\
version: 1
kind: github
donor: {name: conda-forge}
github:
  runner_groups: {cf-gpu: {resources: [gpu-large]}}
  secrets: {STAGING: {resources: [gpu-large]}}
  variables: {CF_GPU_RUNNER: {resources: [cirun-gpu-large]}}
"""
VENDOR = """\
version: 1
kind: app
donor: {name: Namespace}
app:
  vendor: Namespace
  installation: NUMBER
  keep: admin-requests
  by_hand: [End what still runs in the dashboard.]
offers:
  namespace: {via: app, mode: on-demand}
"""
KNOWN_FILES = set(
    """
    begun.json inventory.json journal.head.json journal.jsonl journal.lock learned.json proven.json salt
    terraform.tfstate terraform.tfstate.backup
    """.split()
)
SETTINGS = b"version: 1\norganisation: conda-forge\naccess_delivery: direct\n"
REASON = "reason: Builds take long\n    request: https://example.org/1\n    requested_by: somebody\n"


def entry(feedstock: str, *resources: str, **more: str) -> str:
    extra = "".join(f"    {key}: {value}\n" for key, value in more.items())
    return (
        f"  - feedstock: {feedstock}\n    resources: [{', '.join(resources)}]\n    {REASON}"
        f"    granted: 2026-01-01\n    roles: [admin, maintain]\n{extra or '    expires: 2027-01-01'}\n"
    )


def grants(*entries: str) -> bytes:
    return ("version: 1\ngrants:\n" + "".join(entries) if entries else "version: 1\ngrants: []\n").encode()


TWO = (entry("pytorch-cpu", "gpu-large", "cpu-large"), entry("llama.cpp", "gpu-large", "namespace"))


class World:
    """A folder, an organisation on the stand-in, and commands in this process."""

    def __init__(self, root: Path, github: Standin, run: Runner) -> None:
        self.root, self.github, self.run = root, github, run

    @property
    def state(self) -> State:
        return self.github.state

    def write(self, **files: bytes) -> None:
        write_root(self.root, {name.replace("__", "/") + ".yaml": raw for name, raw in files.items()})

    def __call__(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        command = arguments[0]
        day = () if command == "apply" else ("--today", DAY)
        ran = self.run(*arguments, "--root", str(self.root), *day, "--format", "json")
        assert TOKEN not in ran.out + ran.err
        assert ran.code == code, ran.out + ran.err
        return dict(ran.json())

    def file(self, path: str) -> str | None:
        cirun = self.state.repository(ORG, ".cirun")
        assert cirun is not None
        raw = cirun.commits[cirun.branches["main"]].files.get(path)
        return raw.decode() if raw is not None else None

    def edit(self, path: str, content: str) -> None:
        cirun = self.state.repository(ORG, ".cirun")
        assert cirun is not None
        self.state.commit(cirun, {path: content}, "Edited by somebody")

    def merge(self) -> None:
        """The one pull request that is open, merged by people."""
        cirun = self.state.repository(ORG, ".cirun")
        assert cirun is not None
        (number,) = [one.number for one in cirun.issues.values() if one.pull and one.state == "open"]
        people = Github(self.github.url, ORG, Token(TOKEN, "a test"))
        people.service.ask("PUT", f"/repos/{ORG}/.cirun/pulls/{number}/merge", {})
        people.close()

    def chosen(self, selection: Selection | Installation) -> set[str]:
        ids = selection.repositories if isinstance(selection, Installation) else selection.selected
        return {self.state.repositories[i].name for i in ids}

    @property
    def app(self) -> Installation:
        return next(iter(self.state.installations.values()))

    def group(self) -> set[str]:
        return next((self.chosen(g) for g in self.state.groups.values() if g.name == "cf-gpu"), set())


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    tool_with_github()
    state = State(ORG)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    state.add_repository(".cirun", files={"README.md": "# Access\n"})
    made = [
        state.add_repository(n) for n in ("pytorch-cpu-feedstock", "llama.cpp-feedstock", "admin-requests")
    ]
    state.secrets["STAGING"] = Secret("selected", {made[2].id}, name="STAGING")
    installation = state.add_installation("namespace", made[2])
    key = tmp_path / "key"
    monkeypatch.setenv("CF_INFRA_KEY_FILE", str(key))
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    root = tmp_path / "root"
    files = {
        "grants.yaml": grants(*TWO),
        "settings.yaml": SETTINGS,
        "stacks/account.yaml": ACCOUNT,
        "stacks/access.yaml": ACCESS,
        "stacks/namespace.yaml": VENDOR.replace("NUMBER", str(installation.id)).encode(),
    }
    write_root(root, files)
    keys.state_key(keys.KeyFile(key), root, create=True)
    with Standin(state) as github:
        write_root(root, {"settings.yaml": SETTINGS + f"github: {{api: {github.url!r}}}\n".encode()})
        yield World(root, github, Runner(capsys))


def stack(told: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in told["stacks"] if row["stack"] == name)


def test_a_grant_is_opened_everywhere_and_taken_back_everywhere(world: World) -> None:
    planned = world("plan")
    whats = [item["what"] for item in stack(planned, "access")["items"]]
    assert any(w.startswith("access list: pytorch-cpu-feedstock may use cirun-gpu-large") for w in whats)
    assert "file .access.yml" in whats
    assert world.file(".access.yml") is None, "a plan writes nothing"
    world("apply")
    access = world.file(".access.yml") or ""
    assert "llama.cpp-feedstock" in access and "cirun-gpu-large" in access
    assert "instance_type: g4dn" in (world.file(".cirun.global.yml") or "")
    both = {"pytorch-cpu-feedstock", "llama.cpp-feedstock"}
    assert world.group() == both
    assert world.chosen(world.state.secrets["STAGING"]) == both
    assert world.chosen(world.state.variables["CF_GPU_RUNNER"]) == both
    assert world.state.variables["CF_GPU_RUNNER"].value == "cirun-gpu-large"
    assert world.chosen(world.app) == {"admin-requests", "llama.cpp-feedstock"}
    assert all(row["items"] == [] for row in world("plan")["stacks"]), "the second plan is empty"

    world.write(grants=grants(TWO[0]))
    planned = world("plan")
    assert stack(planned, "namespace")["manual"] == [
        "Namespace: End what still runs in the dashboard. (llama.cpp-feedstock/namespace)"
    ]
    applied = world("apply")
    assert "llama.cpp" not in (world.file(".access.yml") or "")
    assert world.group() == world.chosen(world.state.secrets["STAGING"]) == {"pytorch-cpu-feedstock"}
    assert world.chosen(world.state.variables["CF_GPU_RUNNER"]) == {"pytorch-cpu-feedstock"}
    assert world.chosen(world.app) == {"admin-requests"}
    (receipt,) = stack(applied, "access")["receipts"]
    assert receipt["grant"] == "llama.cpp-feedstock/gpu-large"
    assert sorted(place["place"] for place in receipt["gone_from"]) == [
        "access list, cirun-gpu-large",
        "runner group cf-gpu",
        "secret STAGING",
        "variable CF_GPU_RUNNER",
    ]
    (receipt,) = stack(applied, "namespace")["receipts"]
    assert [p["place"].split()[0] for p in receipt["gone_from"]] == ["app"]
    assert receipt["manual"] == stack(planned, "namespace")["manual"]
    assert all(row["items"] == [] for row in world("plan")["stacks"])
    for path in world.root.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_a_list_that_is_there_is_adopted_and_hand_edits_are_shown(world: World) -> None:
    """Nobody's edit is overwritten unseen: not at the first plan, not later, not between plan and apply."""
    theirs = (
        "version: 1\npolicies:\n  - id: numpy-policy\n    repo: numpy-feedstock\n    roles: [admin]\n"
        "access_control:\n  - resource: cirun-gpu-large\n    policies: [numpy-policy]\n"
    )
    world.edit(".access.yml", theirs)
    planned = world("plan", "access")
    by_address = {item["address"]: item for item in stack(planned, "access")["items"]}
    entry_of = 'module.file.github_repository_file.this[".access.yml"]#'
    gone = by_address[f"{entry_of}numpy-feedstock/cirun-gpu-large/numpy-policy"]
    assert gone["action"] == "delete" and gone["grants"] == ["numpy-feedstock/gpu-large"]
    assert stack(planned, "access")["refused"] is False
    world("apply", "access")
    assert "numpy" not in (world.file(".access.yml") or "")

    ours = world.file(".access.yml") or ""
    world.edit(".access.yml", theirs)
    planned = world("plan", "access")
    told = [d for d in planned["diagnostics"] if d["code"] == "changed-by-others"]
    assert (
        len(told) == 1 and "added: access list: numpy-feedstock may use cirun-gpu-large" in told[0]["detail"]
    )
    assert "taken away: access list: pytorch-cpu-feedstock" in told[0]["detail"]
    assert world.file(".access.yml") == theirs

    world.edit(".access.yml", theirs + "# and again\n")
    refused = world("apply", "access", code=1)
    assert [d["code"] for d in refused["diagnostics"]] == ["stale-plan"]
    assert world.file(".access.yml") == theirs + "# and again\n"
    world("plan", "access")
    world("apply", "access")
    assert world.file(".access.yml") == ours


def test_emptying_the_list_is_refused(world: World) -> None:
    """Also where nothing was ever applied from here: what the list at GitHub has counts."""
    names = [f"package-{n}" for n in range(6)]
    world.edit(
        ".access.yml",
        "version: 1\npolicies:\n"
        + "".join(f"  - {{id: {n}, repo: {n}-feedstock, roles: [admin]}}\n" for n in names)
        + f"access_control:\n  - {{resource: cirun-gpu-large, policies: [{', '.join(names)}]}}\n",
    )
    planned = stack(world("plan", "access"), "access")
    assert planned["refused"] and planned["refusals"][0]["code"] == "too-many-deletes"
    assert len(planned["lost"]) == 6
    assert [d["code"] for d in world("apply", "access", code=1)["diagnostics"]] == ["too-many-deletes"]
    assert "package-5" in (world.file(".access.yml") or "")


def test_what_is_not_at_github_gets_nothing(world: World) -> None:
    """A repository that was renamed or never was, and one that somebody chose for the app by hand."""
    moved = world.state.repository(ORG, "llama.cpp-feedstock")
    assert moved is not None
    world.state.move(moved, "llama-feedstock")
    world.app.repositories.add(moved.id)
    planned = world("plan", "access", "namespace")
    told = {d["code"]: d["detail"] for d in planned["diagnostics"]}
    assert "is called conda-forge/llama-feedstock now" in told["no-repository"]
    assert "llama-feedstock" in told["undeclared"]
    world("apply", "access", "namespace")
    assert world.group() == {"pytorch-cpu-feedstock"}
    assert world.chosen(world.app) == {"admin-requests", "llama-feedstock"}


@pytest.mark.parametrize(
    ("break_it", "code", "says"),
    [
        (lambda w: w.state.secrets.clear(), "not-at-github", "gh secret set STAGING"),
        (lambda w: setattr(w.app, "selection", "all"), "not-at-github", "for all repositories"),
        (lambda w: w.state.installations.clear(), "not-at-github", "no installation"),
        (lambda w: w.state.tokens.clear(), "token-refused", "does not take the token"),
        (lambda w: w.edit(".access.yml", "policies: nobody\n"), "bad-access-list", "cannot be read"),
    ],
)
def test_what_has_to_be_made_by_hand_is_said(world: World, break_it: Any, code: str, says: str) -> None:
    break_it(world)
    told = world("plan", "access", "namespace", code=1)["diagnostics"]
    assert code in {d["code"] for d in told}
    assert any(says in d["detail"] + d["hint"] for d in told)
    assert not any(request.method in ("PUT", "POST", "PATCH", "DELETE") for request in world.github.log)


@pytest.mark.parametrize("delivery", ["direct", "pull-request"])
def test_what_somebody_did_to_a_runner_group_is_undone(world: World, delivery: str) -> None:
    """The provider never looks at a group's repositories again; a plan and an apply of ours do."""
    world("plan", "access")
    world("apply", "access")
    settings = (world.root / "settings.yaml").read_bytes()
    world.write(settings=settings.replace(b"direct", delivery.encode()))
    group = next(g for g in world.state.groups.values() if g.name == "cf-gpu")
    other = world.state.repository(ORG, "admin-requests")
    mine = world.state.repository(ORG, "llama.cpp-feedstock")
    assert other is not None and mine is not None
    group.selected = group.selected - {mine.id} | {other.id}
    items = stack(world("plan", "access"), "access")["items"]
    assert sorted((i["action"], i["what"]) for i in items) == [
        ("create", f"runner group cf-gpu: repository {mine.id}, taken away by somebody else"),
        ("delete", "runner group cf-gpu: admin-requests, added by somebody else"),
    ]
    world("apply", "access")
    assert world.group() == {"pytorch-cpu-feedstock", "llama.cpp-feedstock"}
    assert stack(world("plan", "access"), "access")["items"] == []


def test_a_runner_group_that_was_deleted_is_made_anew(world: World) -> None:
    """The provider never sees that it is gone, and could neither change nor delete it."""
    world("plan", "access")
    world("apply", "access")

    def delete(name: str = "cf-gpu") -> None:
        [number] = [g.id for g in world.state.groups.values() if g.name == name]
        del world.state.groups[number]

    both = {"pytorch-cpu-feedstock", "llama.cpp-feedstock"}
    delete()
    planned = world("plan", "access")
    [told] = [d for d in planned["diagnostics"] if d["code"] == "changed-by-others"]
    assert "deleted the runner group cf-gpu" in told["detail"]
    assert {item["action"] for item in stack(planned, "access")["items"]} == {"create"}
    assert [g.name for g in world.state.groups.values()] == ["Default"], "a plan makes nothing"
    assert stack(world("plan", "access"), "access")["items"] != [], "a second plan shows it as well"
    world("apply", "access")
    assert world.group() == both and stack(world("plan", "access"), "access")["items"] == []

    delete()  # and made by hand once more, with another number
    other = world.state.repository(ORG, "admin-requests")
    assert other is not None
    made = RunnerGroup("selected", {other.id}, id=world.state.number(), name="cf-gpu")
    world.state.groups[made.id] = made
    world("plan", "access")
    world("apply", "access")
    assert world.group() == both and [g.id for g in world.state.groups.values()][1:] == [made.id]

    delete()  # and not wanted any more
    world.write(stacks__access=ACCESS.replace(b"  runner_groups: {cf-gpu: {resources: [gpu-large]}}\n", b""))
    world("plan", "access")
    world("apply", "access")
    assert stack(world("plan", "access"), "access")["items"] == []
    for path in (world.root / ".state").rglob("*"):
        assert path.name in KNOWN_FILES or path.is_dir() or path.parent.name == "receipts", path


@pytest.mark.parametrize("status", [502, 0])
def test_a_github_that_fails_half_way_leaves_what_the_next_run_mends(world: World, status: int) -> None:
    """5xx, or no answer at all: what was done is noted, the run fails, and a second plan and apply converge."""
    world("plan")
    world.github.fail_next(status, times=99, matching="POST .*/variables|PUT /user/installations")
    failed = world("apply", code=1)
    assert {d["code"] for d in failed["diagnostics"]} == {"tofu-failed"}
    assert [stack(failed, name)["failed"] for name in ("access", "namespace")] == [True, True]
    assert "cirun-gpu-large" in (world.file(".access.yml") or ""), "the rest was done"
    held = {row["place"] for row in stack(world("status"), "access")["holds"]}
    assert held == {"access list", "runner group", "secret"}
    world.github.faults.clear()
    assert [i["what"] for i in stack(world("plan"), "access")["items"]] == [
        "variable CF_GPU_RUNNER",
        "variable CF_GPU_RUNNER: llama.cpp-feedstock",
        "variable CF_GPU_RUNNER: pytorch-cpu-feedstock",
    ]
    world("apply")
    assert all(row["items"] == [] for row in world("plan")["stacks"])
    assert world.chosen(world.app) == {"admin-requests", "llama.cpp-feedstock"}


def test_a_variable_that_nobody_may_see_is_looked_at(world: World) -> None:
    """The provider would not see what is added by hand to an empty selection."""
    world.write(grants=grants(entry("pytorch-cpu", "cpu-large")))
    world("plan", "access")
    world("apply", "access")
    other = world.state.repository(ORG, "llama.cpp-feedstock")
    assert other is not None
    world.state.variables["CF_GPU_RUNNER"].selected.add(other.id)
    told = [d for d in world("plan", "access")["diagnostics"] if d["code"] == "undeclared"]
    assert len(told) == 1 and "llama.cpp-feedstock" in told[0]["detail"]


def test_a_whole_stack_goes_only_when_it_is_allowed(world: World) -> None:
    world("plan")
    world("apply")
    (world.root / "stacks" / "access.yaml").unlink()
    planned = stack(world("plan"), "access")
    assert planned["refused"] and planned["destroy"] > 0
    number = int(planned["refusals"][0]["hint"].partition("access=")[2].split()[0])
    allowed = f"version: 1\noverrides:\n  - {{stack: access, destroy: {number}, reason: moves, until: 2100-01-01}}\n"
    world.write(overrides=allowed.encode())
    assert not stack(world("plan"), "access")["refused"]
    applied = stack(world("apply", "access"), "access")
    assert world.file(".access.yml") is None and world.group() == set()
    assert "CF_GPU_RUNNER" not in world.state.variables
    assert world.chosen(world.state.secrets["STAGING"]) == set()
    assert {r["grant"] for r in applied["receipts"]} >= {"llama.cpp-feedstock/gpu-large"}
    assert world.chosen(world.app) == {"admin-requests", "llama.cpp-feedstock"}, (
        "the app has a stack of its own"
    )


# ------------------------------------------------------------------------------------ order and failures

LAB = b"""\
version: 1
kind: openstack
cloud: nowhere
donor: {name: Lab}
hosts: [{name: one, vcpus: 8, memory_gib: 32, disk_gib: 100}]
images: {ubuntu: {name: ubuntu}}
offers:
  gpu-lab: {slice: 1/2, image: ubuntu, via: cirun, mode: on-demand, label: cirun-lab}
"""


class Machines:
    """In the place of a cloud: the saved plan of `lab`, and what the access list was when its turn came."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.fails, self.seen = world, False, list[str | None]()
        prepare, verify, apply_stack = deploy.prepare, deploy.verify, deploy.apply_stack

        def prepared(folder: Any, deployment: Deployment, say: Any) -> Any:
            return deployment if deployment.stack == "lab" else prepare(folder, deployment, say)

        def applied(run: Any, saved: Any, step: deploy.Step = deploy.WHOLE) -> deploy.Applied:
            return self.apply(run) if isinstance(run, Deployment) else apply_stack(run, saved, step)

        monkeypatch.setattr(deploy, "prepare", prepared)
        monkeypatch.setattr(
            deploy, "verify", lambda run, saved: None if isinstance(run, Deployment) else verify(run, saved)
        )
        monkeypatch.setattr(deploy, "apply_stack", applied)

    def plan(self, **counts: int) -> None:
        """Save a plan of `lab` that does so much."""
        deployment = Deployment(self.world.root, "lab", "nowhere", True)
        summary = {"add": 0, "change": 0, "replace": 0, "destroy": 0, "total": 0, "items": [], **counts}
        day = {"today": DAY, "clock": DAY, "head": "", "inputs": {}, "compiled": ""}
        digests = {"review_digest": "", "plan_digest": "", "summary": summary}
        record.save(deployment, record.Record(stack="lab", cloud="nowhere", own=True, **day, **digests))
        deployment.plan.write_bytes(b"")

    def apply(self, deployment: Deployment) -> deploy.Applied:
        self.seen.append(self.world.file(".access.yml"))
        if self.fails:
            raise Failure(Diagnostic("tofu-failed", detail="No valid host was found."))
        return deploy.Applied(deployment, 0, [], [])


@pytest.fixture
def machines(world: World, monkeypatch: pytest.MonkeyPatch) -> Machines:
    world.write(stacks__lab=LAB, grants=grants(entry("pytorch-cpu", "gpu-large", "cpu-large")))
    world("plan", "access", "namespace")
    world("apply", "access", "namespace")
    world.write(grants=grants(entry("pytorch-cpu", "cpu-large"), entry("llama.cpp", "gpu-lab", "gpu-large")))
    return Machines(world, monkeypatch)


def test_access_goes_before_machines_and_comes_after_them(world: World, machines: Machines) -> None:
    world("plan", "access", "namespace")
    machines.plan(destroy=1)
    applied = world("apply")
    (during,) = machines.seen
    assert [row[:2] for row in rows(listed(during) or AccessList())] == [
        ("pytorch-cpu-feedstock", "cirun-cpu-large")
    ]
    after = world.file(".access.yml") or ""
    assert "resource: cirun-lab" in after and "resource: cirun-gpu-large" in after
    assert world.group() == {"llama.cpp-feedstock"}
    (receipt,) = stack(applied, "access")["receipts"]
    assert receipt["grant"] == "pytorch-cpu-feedstock/gpu-large"
    assert all(row["items"] == [] for row in world("plan", "access", "namespace")["stacks"])


def test_a_stack_that_fails_withholds_its_new_labels(world: World, machines: Machines) -> None:
    world("plan", "access", "namespace")
    machines.plan(add=1)
    machines.fails = True
    told = world("apply", code=1)
    assert [d["code"] for d in told["diagnostics"] if d["severity"] == "warning"] == ["withheld"]
    assert (
        "llama.cpp-feedstock/gpu-lab" in told["diagnostics"][-1]["detail"] + told["diagnostics"][0]["detail"]
    )
    after = world.file(".access.yml") or ""
    assert "cirun-lab" not in after, "nobody serves it"
    assert "llama.cpp-feedstock" in after, "what other stacks serve is opened"

    machines.fails = False
    planned = stack(world("plan", "access"), "access")
    assert [i["grants"] for i in planned["items"] if i["action"] == "create"] == [
        ["llama.cpp-feedstock/gpu-lab"]
    ]
    machines.plan(add=1)
    world("apply")
    assert "resource: cirun-lab" in (world.file(".access.yml") or "")


def test_no_machine_goes_while_its_access_cannot_be_taken_back(world: World, machines: Machines) -> None:
    world("plan", "access", "namespace")
    machines.plan(destroy=1)
    world.edit(".access.yml", (world.file(".access.yml") or "") + "# somebody was here\n")
    told = world("apply", code=1)
    assert {d["code"] for d in told["diagnostics"]} == {"stale-plan", "access-first"}
    assert machines.seen == []


# ---------------------------------------------------------------------------------------- by pull request


def test_by_pull_request_the_lists_wait_for_people(world: World) -> None:
    """One pull request with both lists; what it takes away is a step by hand until it is merged, then a receipt."""
    settings = (world.root / "settings.yaml").read_bytes()
    world.write(settings=settings.replace(b"direct", b"pull-request"))
    cirun = world.state.repository(ORG, ".cirun")
    assert cirun is not None
    planned = stack(world("plan", "access"), "access")
    assert "list:.access.yml#pytorch-cpu-feedstock/cirun-gpu-large/pytorch-cpu-feedstock-policy" in {
        item["address"] for item in planned["items"]
    }
    digest = planned["review_digest"]
    assert stack(world("plan", "access"), "access")["review_digest"] == digest
    applied = world("apply", "access")
    assert [d["code"] for d in applied["diagnostics"]] == ["pull-request-open"]
    assert world.file(".access.yml") is None, "only people merge it"
    proposed = cirun.commits[cirun.branches["cf-infra/access"]].files
    assert b"cirun-gpu-large" in proposed[".access.yml"] and b"g4dn" in proposed[".cirun.global.yml"]
    world.merge()
    assert world.file(".access.yml") == proposed[".access.yml"].decode()
    planned = stack(world("plan", "access"), "access")
    assert planned["items"] == [] and planned["review_digest"] != digest
    world("apply", "access")

    world.write(grants=grants(TWO[0]))
    assert stack(world("plan", "access"), "access")["lost"] == ["llama.cpp-feedstock/gpu-large"]
    (receipt,) = stack(world("apply", "access"), "access")["receipts"]
    assert receipt["manual"][0].startswith("merge http") and len(receipt["manual"]) == 2
    assert "access list, cirun-gpu-large" not in {p["place"] for p in receipt["gone_from"]}
    assert world.group() == {"pytorch-cpu-feedstock"}
    world.merge()
    world("plan", "access")
    (receipt,) = stack(world("apply", "access"), "access")["receipts"]
    (step,) = receipt["manual"]
    assert step.endswith("cf-infra deactivate llama.cpp"), (
        "what no list knows of: Cirun, the feedstock's own files"
    )
    assert [p["place"] for p in receipt["gone_from"]] == ["access list, cirun-gpu-large"]


def test_the_way_of_delivery_can_be_changed(world: World) -> None:
    """Files that OpenTofu once wrote are not deleted when changes go by pull request from now on."""
    world("plan", "access")
    world("apply", "access")
    was = world.file(".access.yml")
    settings = (world.root / "settings.yaml").read_bytes()
    world.write(settings=settings.replace(b"direct", b"pull-request"))
    assert stack(world("plan", "access"), "access")["items"] == []
    world.write(grants=grants(TWO[0]))
    planned = stack(world("plan", "access"), "access")
    assert {item["address"].partition("#")[0] for item in planned["items"] if "list" in item["what"]} == {
        "list:.access.yml"
    }
    world("apply", "access")
    assert world.file(".access.yml") == was
    world.merge()
    assert "llama" not in (world.file(".access.yml") or "llama")
    told = world("plan", "access")
    assert stack(told, "access")["items"] == [] and told["diagnostics"] == []


def test_a_pull_request_may_not_empty_the_list_either(world: World) -> None:
    settings = (world.root / "settings.yaml").read_bytes()
    world.write(settings=settings.replace(b"direct", b"pull-request"))
    test_emptying_the_list_is_refused(world)


def test_status_tells_who_is_named_where(world: World) -> None:
    world("plan")
    world("apply")
    row = stack(world("status"), "access")
    assert {(h["place"], h["name"]) for h in row["holds"]} >= {
        ("runner group", "cf-gpu"),
        ("secret", "STAGING"),
    }
    moved = next(iter(world.app.repositories))
    world.app.repositories = {moved}
    world.state.secrets["STAGING"].selected.clear()
    told = world("status", "--live")
    gone = {h["repository"] for h in stack(told, "access")["holds"] if not h["there"]}
    assert gone == {"pytorch-cpu-feedstock", "llama.cpp-feedstock"}
    text = world.run("status", "--root", str(world.root), "--today", DAY, "--live")
    assert "secret STAGING: 2 repositories" in text.out and "llama.cpp-feedstock  GONE" in text.out
    text = world.run("plan", "--root", str(world.root), "--today", DAY)
    assert "secret STAGING: llama.cpp-feedstock" in text.out and "somebody else changed" in text.err
    assert TOKEN not in text.out + text.err
