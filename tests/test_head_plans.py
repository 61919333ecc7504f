"""The plan of a head: what is taken from it, what never is, and what a stranger's head can do to whoever plans it.

Quick, without OpenTofu: what it would be given is looked at. tests/sandbox/test_head_plans_at_openstack.py and
test_head_plans_at_github.py let it plan.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from roots import read_folder, write_root
from test_diff import blob, commit, git, head_of, huge, link, submodule, tree, way_out

from cf_infra import deploy, head_plans, keys
from cf_infra.at_openstack import PROVISIONER_ADDRESS
from cf_infra.deployment import now
from cf_infra.diagnostics import Diagnostic, Failure, render
from cf_infra.head_plans import HeadPlans
from cf_infra.surroundings import Found
from cf_infra.tofu import Tool

pytestmark = pytest.mark.programs

DAY = date(2026, 6, 1)
SEEN = "SEEN-4c1d"
"""Stands in every file of a head that must not be used: it must turn up nowhere."""
GRANT = """\
  - feedstock: {name}
    resources: [gpu-own]
    reason: {reason}
    request: https://example.org/1
    requested_by: somebody
    approved_by: [approver]
    granted: 2026-01-01
    expires: 2027-01-01
    roles: [admin]
"""
STACK = b"""\
version: 1
kind: openstack
rights: admin
cloud: lab-cloud
donor: {name: A donor, contacts: [donor]}
hosts: [{name: lab-01, vcpus: 64, memory_gib: 256, disk_gib: 900, gpus: [{model: l4}, {model: l4}, {model: l4}]}]
images: {ubuntu: {name: ubuntu-24.04}}
network: {cidr: 10.51.0.0/24}
offers:
  gpu-own: {slice: {gpus: 1, vcpus: 2, memory_gib: 4, disk_gib: 10}, image: ubuntu, via: direct, mode: dedicated}
"""
VENDOR = b"version: 1\nkind: app\ndonor: {name: Vendor}\noffers: {hosted: {via: app, mode: on-demand}}\n"
BASE_MODULE = b"# the base's own\n"


def grants(*names: str, reason: str = "Builds take long") -> bytes:
    rows = "".join(GRANT.format(name=name, reason=reason) for name in names)
    return f"version: 1\ngrants:\n{rows}".encode() if rows else b"version: 1\ngrants: []\n"


BASE = {
    "grants.yaml": grants("alpha"),
    "settings.yaml": b"version: 1\n",
    "stacks/lab.yaml": STACK,
    "modules/openstack-machine/instance.tf": BASE_MODULE,
    ".gitignore": b".state/\nbuild/\n",
}


@dataclass
class Given:
    """What OpenTofu would have been given for one stack."""

    stack: str
    compiled: dict[str, bytes]
    values: dict[str, Any]
    environment: dict[str, str]
    root: dict[str, bytes]
    allowances: dict[str, int]
    run: deploy.Run = field(repr=False)


@dataclass
class Desk:
    """Whoever plans heads: a clone, and what was given to OpenTofu there."""

    clone: Path
    tmp: Path
    given: dict[str, Given] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    found: Found = field(default_factory=lambda: Found({}))

    def plan(self, head: str, base: str = "main", *, approved: bool = False) -> HeadPlans:
        """A head plan whose OpenTofu says that it was stopped."""
        self.given.clear()
        return head_plans.plans(self.clone, base, head, DAY, lambda _: None, stacks_approved=approved)

    def looked_at(self, beside: dict[str, bytes], state: dict[str, Any], head: str = "main") -> Found:
        """What is known of a stack with these files beside its state, and this state."""
        write_root(self.clone, beside)
        self.state = state
        self.plan(head)
        shutil.rmtree(self.clone / ".state", ignore_errors=True)
        return self.found

    def refused(self, head: str) -> str:
        """Why a head is not planned at all."""
        with pytest.raises(Failure) as caught:
            self.plan(head)
        assert not self.given
        return render(caught.value.diagnostics)

    def head(self, files: dict[str, bytes] | None = None) -> str:
        """A head on `main` with these files changed."""
        git(self.clone, "checkout", "-q", "--detach", "main")
        made = commit(self.clone, files)
        git(self.clone, "checkout", "-q", "main")
        return made

    def look(self, run: deploy.Run, wish: deploy.Wish) -> deploy.Planned:
        """In place of deploy.plan_stack."""
        assert not wish.ask
        found = self.found = run.around.look(None, self.state, wish.destroy)
        tofu = run.tofu()
        self.given[run.stack.name] = Given(
            run.stack.name,
            run.around.compiled(),
            found.values,
            tofu._env,
            read_folder(run.folder.root),
            dict(wish.allowances),
            run,
        )
        raise Failure(Diagnostic("tofu-failed", detail="It was only looked at."))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    clone = tmp_path / "clone"
    clone.mkdir()
    git(clone, "init", "-q", "-b", "main")
    first = commit(clone, BASE)
    made = Desk(clone, tmp_path)
    monkeypatch.setattr(deploy, "plan_stack", made.look)
    monkeypatch.setattr(head_plans, "find", lambda _project: Tool(Path("/none/tofu")))
    for name in (
        "OS_CLOUD",
        "OS_PASSWORD",
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "TF_VAR_x",
    ):
        monkeypatch.setenv(name, SEEN)
    monkeypatch.chdir(clone)
    before = {name: raw for name, raw in read_folder(clone).items() if not name.startswith(".git/")}
    yield made
    git(clone, "checkout", "-q", "main")
    git(clone, "reset", "-q", "--hard", first)
    after = {name: raw for name, raw in read_folder(clone).items() if not name.startswith(".git/")}
    assert after == before, "nothing is written into the clone"


def machines(given: Given) -> set[str]:
    return set(orjson.loads(given.compiled["grants.auto.tfvars.json"])["machines"])


def is_clean(given: Given) -> bool:
    """Has OpenTofu nothing that the head was not to bring?"""
    everything = [*given.compiled.values(), *given.root.values(), orjson.dumps(given.values)]
    return not any(SEEN.encode() in raw for raw in everything) and SEEN not in str(given.environment)


# ---------------------------------------------------------------------------------- what is taken, and how


def test_the_data_is_the_heads_and_the_rest_is_the_bases(desk: Desk) -> None:
    found = desk.plan(desk.head({"grants.yaml": grants("alpha", "beta")}))
    lab = desk.given["lab"]
    assert machines(lab) == {"alpha-feedstock/gpu-own", "beta-feedstock/gpu-own"}
    assert lab.compiled["modules/openstack-machine/instance.tf"] == BASE_MODULE
    assert is_clean(lab)
    assert found.unplanned == [{"stack": "lab", "why": "OpenTofu failed"}], found.unplanned


def test_there_is_no_cloud_no_login_and_no_token(desk: Desk) -> None:
    desk.plan(desk.head())
    lab = desk.given["lab"]
    main = orjson.loads(lab.compiled["main.tf.json"])
    for provider in main["provider"]["openstack"]:
        assert provider["auth_url"] == "http://127.0.0.1:1/v3" and "cloud" not in provider
        assert not any("${" in str(value) for value in provider.values())
    assert main["terraform"]["backend"] == {"local": {}}
    names = [n for n in lab.environment if n.startswith(("OS_", "GITHUB", "GH_", "AWS_", "TF_VAR"))]
    assert names == [] and SEEN not in str(lab.environment)


def test_what_is_planned_is_a_commit_and_not_a_name(desk: Desk) -> None:
    """A branch that moves afterwards is told by the commit that was read."""
    first = desk.head({"grants.yaml": grants("alpha", "beta")})
    git(desk.clone, "branch", "pull", first)
    found = desk.plan("pull")
    git(desk.clone, "branch", "-f", "pull", desk.head({"grants.yaml": grants("miner")}))
    assert found.head == {"name": "pull", "commit": first}
    desk.plan(first)
    assert "beta-feedstock/gpu-own" in machines(desk.given["lab"])


def test_a_changed_stack_is_planned_only_after_it_was_approved(desk: Desk) -> None:
    head = desk.head(
        {"stacks/lab.yaml": STACK.replace(b"10.51.0.0", b"10.52.0.0"), "grants.yaml": grants("beta")}
    )
    found = desk.plan(head)
    assert found.unplanned == [{"stack": "lab", "why": head_plans.NOT_APPROVED}] and not desk.given
    desk.plan(head, approved=True)
    assert b"10.52.0.0" in desk.given["lab"].compiled["grants.auto.tfvars.json"]


def test_other_stacks_are_planned_beside_a_changed_one(desk: Desk) -> None:
    found = desk.plan(
        desk.head({"stacks/new.yaml": STACK.replace(b"gpu-own", b"gpu-new").replace(b"10.51", b"10.53")})
    )
    assert {row["stack"]: row["why"] for row in found.unplanned}["new"] == head_plans.NOT_APPROVED
    assert set(desk.given) == {"lab"}


def test_grants_that_need_a_changed_stack_say_so(desk: Desk) -> None:
    new = STACK.replace(b"gpu-own", b"gpu-new").replace(b"10.51", b"10.53")
    files = {"stacks/new.yaml": new, "grants.yaml": grants("alpha").replace(b"gpu-own", b"gpu-new")}
    assert "error[stacks-first]" in desk.refused(desk.head(files))


def test_what_provisions_nothing_is_said(desk: Desk) -> None:
    commit(desk.clone, {"stacks/vendor.yaml": VENDOR})
    hosted = grants("alpha") + GRANT.format(name="beta", reason="x").replace("gpu-own", "hosted").encode()
    found = desk.plan(desk.head({"grants.yaml": hosted}))
    why = {row["stack"]: row["why"] for row in found.unplanned}
    assert why["vendor"] == "kind app: nothing of ours to provision, see the difference"
    assert set(desk.given) == {"lab"}
    git(desk.clone, "reset", "-q", "--hard", "HEAD~1")


def test_a_changed_stack_that_provisions_nothing_waits_for_nobody(desk: Desk) -> None:
    found = desk.plan(desk.head({"stacks/vendor.yaml": VENDOR}))
    (row,) = [row for row in found.unplanned if row["stack"] == "vendor"]
    assert row["why"].startswith("kind app: nothing of ours") and row["provisions"] is False


# ------------------------------------------------------------------------------------------------- GitHub

ACCOUNT = b"""\
version: 1
kind: cirun
donor: {name: Somebody}
offers: {cpu: {via: cirun, mode: on-demand, label: cirun-cpu, cirun: {cloud: aws, instance_type: m6}}}
"""
LISTS = b"""\
version: 1
kind: github
donor: {name: conda-forge}
github:
  secrets: {STAGING: {resources: [cpu]}}
"""
CPU = {"grants.yaml": grants("alpha", "beta").replace(b"gpu-own", b"cpu")}


@pytest.fixture
def lists(desk: Desk) -> Desk:
    """The same with Cirun's lists at GitHub instead of machines."""
    files = {"stacks/account.yaml": ACCOUNT, "stacks/lists.yaml": LISTS, "stacks/lab.yaml.absent": b""}
    commit(desk.clone, {**files, "grants.yaml": grants("alpha").replace(b"gpu-own", b"cpu")})
    return desk


def begun(**learned: Any) -> dict[str, bytes]:
    here = ".state/lists/"
    return {f"{here}begun.json": b'{"cloud_id": "x"}', f"{here}learned.json": orjson.dumps(learned)}


def test_github_is_not_asked_and_no_program_for_a_token(lists: Desk) -> None:
    lists.plan(lists.head(CPU))
    given = lists.given["lists"]
    main = orjson.loads(given.compiled["main.tf.json"])
    assert main["provider"] == {"github": {"base_url": "http://127.0.0.1:1/", "write_delay_ms": 1}}
    assert given.environment["GH_PATH"] == "/dev/null/none" and is_clean(given)


def test_repositories_have_the_numbers_that_are_known_and_others_none(lists: Desk) -> None:
    found = lists.looked_at(begun(repository_ids={"alpha-feedstock": 7}, lists={}), {}, lists.head(CPU))
    assert found.values["repository_ids"] == {"alpha-feedstock": 7, "beta-feedstock": -2}
    found = lists.looked_at(begun(repository_ids={"alpha-feedstock": None}, lists={}), {}, lists.head(CPU))
    assert found.values["repository_ids"]["alpha-feedstock"] is None, "it was not there"


def test_a_last_apply_that_noted_no_numbers_is_said(lists: Desk) -> None:
    write_root(lists.clone, begun())
    found = lists.plan(lists.head(CPU))
    shutil.rmtree(lists.clone / ".state")
    assert {row["stack"]: row["why"] for row in found.unplanned}["lists"] == "Last apply noted no ids"
    assert "not-learned" in {d.code for d in found.diagnostics}


@pytest.mark.parametrize(("beside", "changed"), [
    ({}, {"create"}),
    (begun(repository_ids={}), set()),
    (begun(repository_ids={}, lists={}, there={}), {"create"}),
    ({**begun(repository_ids={}, lists={}), ".state/lists/pull.json": b'{"url": "http://x"}'}, set()),
    ({**begun(repository_ids={}, there={}), ".state/lists/pull.json": b'{"url": "http://x"}'}, {"create"}),
])  # fmt: skip
def test_lists_by_pull_request_are_compared_with_what_is_known(
    beside: dict[str, bytes], changed: set[str], lists: Desk
) -> None:
    """Before the first apply there are none; nothing noted: as the base has them; while a request waits: as seen."""
    found = lists.looked_at(beside, {}, "main")
    assert {part.action for part in found.parts} == changed


def test_a_state_whose_key_is_elsewhere_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CF_INFRA_KEY_FILE", str(desk.tmp / "no.key"))
    state = desk.clone / ".state" / "lab"
    write_root(state, {"terraform.tfstate": b"{}"})
    found = desk.plan(desk.head())
    shutil.rmtree(state.parent)
    assert found.unplanned == [{"stack": "lab", "why": "the key of its state is not here"}]
    assert not (desk.tmp / "no.key").exists(), "and none is made"


def resource(mode: str, kind: str, address: str, **told: str) -> dict[str, Any]:
    return {"mode": mode, "type": kind, "address": address, "values": told}


PROJECT = resource(
    "managed", "openstack_identity_project_v3", "module.project.this", id="p", name="cf-lab-project"
)
ROLES = [
    resource(
        "data", "openstack_identity_role_v3", f"module.project.data.{name}", id=f"id-of-{name}", name=name
    )
    for name in ("member", "reader")
]


def state_of(*found: dict[str, Any]) -> dict[str, Any]:
    return {"values": {"root_module": {"resources": list(found)}}}


def test_before_there_is_a_project_nothing_is_looked_up_with_a_cloud_either(desk: Desk) -> None:
    desk.plan("main")
    assert desk.found.values["known"] == {"network": None, "roles": {}, "images": {}, "flavors": {}}
    assert desk.found.told == []


@pytest.mark.parametrize(("learned", "image", "said"), [
    (b'{"images": {"ubuntu-24.04": "id-of-ubuntu"}}', "id-of-ubuntu", []),
    (b"{}", "not looked up: image ubuntu-24.04", ["not-looked-up"]),
    (b"[]", "not looked up: image ubuntu-24.04", ["not-looked-up"]),
])  # fmt: skip
def test_ids_are_those_of_the_last_apply_and_others_are_named(
    learned: bytes, image: str, said: list[str], desk: Desk
) -> None:
    found = desk.looked_at({".state/lab/learned.json": learned}, state_of(PROJECT, *ROLES))
    assert found.values["known"] == {
        "network": None,
        "roles": {"member": "id-of-member", "reader": "id-of-reader"},
        "images": {"ubuntu": image},
        "flavors": {},
    }
    assert [d.code for d in found.told] == said


@pytest.mark.parametrize("changed", [False, True])
def test_the_provisioners_password_is_the_one_of_the_state(
    changed: bool, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the master key changes a plan with the cloud asks which password works; this one sees it in the state."""
    rings = []
    for variable, name in (("CF_INFRA_KEY_FILE", "new.key"), ("CF_INFRA_PREVIOUS_KEY_FILE", "old.key")):
        source = keys.KeyFile(desk.tmp / name)
        monkeypatch.setenv(variable, str(source.path))
        rings.append(keys.stack_key(keys.state_key(source, desk.clone, create=True), "lab"))
    there = keys.password(rings[0 if changed else 1], "provisioner", "0")
    user = resource("managed", "openstack_identity_user_v3", PROVISIONER_ADDRESS, id="u", password=there)
    beside = {".state/lab/terraform.tfstate": b"{}", ".state/lab/learned.json": b"{}"}
    desk.looked_at(beside, state_of(PROJECT, *ROLES, user))
    around = desk.given["lab"].run.around
    assert around.secrets()["passwords"] == {"provisioner": there}
    assert there in around.hidden()


def test_a_base_that_is_no_ancestor_and_a_detached_head_are_told(desk: Desk) -> None:
    head = desk.head({"grants.yaml": grants("beta")})
    commit(desk.clone, {"README.md": b"x"})
    git(desk.clone, "checkout", "-q", "--detach")
    assert "not-an-ancestor" in {d.code for d in desk.plan(head).diagnostics}
    git(desk.clone, "checkout", "-q", "main")
    git(desk.clone, "reset", "-q", "--hard", "HEAD~1")


def test_it_works_in_a_worktree_and_says_what_a_shallow_clone_lacks(desk: Desk) -> None:
    head = desk.head({"grants.yaml": grants("beta")})
    other = desk.tmp / "worktree"
    git(desk.clone, "worktree", "add", "-q", "--detach", str(other))
    assert head_plans.plans(other, "main", head, DAY, lambda _: None).head["commit"] == head
    git(desk.clone, "worktree", "remove", str(other))
    shallow = desk.tmp / "shallow"
    git(desk.tmp, "clone", "-q", "--depth", "1", f"file://{desk.clone}", str(shallow))
    with pytest.raises(Failure) as caught:
        head_plans.plans(shallow, "HEAD", head, DAY, lambda _: None)
    assert "The clone is shallow" in render(caught.value.diagnostics)


# ------------------------------------------------------------------------------------------ hostile: refused


def alias_bomb_of_people(f: Path) -> str:
    layers = [b'a: &a ["x","x","x","x","x","x","x","x","x"]\n']
    layers += [
        b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (98 + n, 98 + n, *[97 + n] * 8) for n in range(9)
    ]
    users = tree(f, ("100644", "blob", blob(f, b"".join(layers)), "lab.json"))
    return head_of(f, ("100644", "blob", blob(f, grants()), "grants.yaml"), ("40000", "tree", users, "users"))


def alias_bomb(f: Path) -> str:
    text = b"version: 1\na: &a [x,x,x]\nb: &b [*a,*a,*a]\ngrants: *b\n"
    return head_of(f, ("100644", "blob", blob(f, text), "grants.yaml"))


def environment_as_grants(f: Path) -> str:
    return link(f)


def submodule_as_grants(f: Path) -> str:
    return submodule(f)


def two_hundred_megabytes_of_yaml(f: Path) -> str:
    return huge(f)


def users_file_that_leads_out(f: Path) -> str:
    return way_out(f)


def users_file_that_is_a_link(f: Path) -> str:
    users = tree(f, ("120000", "blob", blob(f, b"/etc/passwd"), "lab.json"))
    return head_of(f, ("100644", "blob", blob(f, grants()), "grants.yaml"), ("40000", "tree", users, "users"))


def more_grants_than_machines(f: Path) -> str:
    return head_of(f, ("100644", "blob", blob(f, grants(*(f"p{n}" for n in range(5000)))), "grants.yaml"),
                   *stacks_of(f))  # fmt: skip


def a_feedstock_that_is_a_path(f: Path) -> str:
    text = grants("alpha").replace(b"feedstock: alpha", b"feedstock: ../../etc/passwd")
    return head_of(f, ("100644", "blob", blob(f, text), "grants.yaml"), *stacks_of(f))


def a_class_that_is_a_path(f: Path) -> str:
    text = grants("alpha").replace(b"gpu-own", b"'../stacks/lab'")
    return head_of(f, ("100644", "blob", blob(f, text), "grants.yaml"), *stacks_of(f))


def stacks_of(f: Path) -> list[tuple[str, str, str, str]]:
    return [("40000", "tree", git(f, "rev-parse", "main:stacks"), "stacks")]


REFUSED: dict[Callable[[Path], str], str] = {
    environment_as_grants: "it is a link, and not a regular file",
    submodule_as_grants: "it is a submodule",
    two_hundred_megabytes_of_yaml: "45,000,000 bytes",
    users_file_that_leads_out: "leads out of its folder",
    users_file_that_is_a_link: "it is a link, and not a regular file",
    alias_bomb: "error[yaml-feature]",
    alias_bomb_of_people: "It is not JSON",
    more_grants_than_machines: "error[over-capacity]",
    a_feedstock_that_is_a_path: "error[bad-value]",
    a_class_that_is_a_path: "error[bad-value]",
}


@pytest.mark.parametrize("made", REFUSED, ids=lambda made: made.__name__)
def test_a_hostile_head_is_refused_before_anything_runs(made: Callable[[Path], str], desk: Desk) -> None:
    assert REFUSED[made] in desk.refused(made(desk.clone))


# --------------------------------------------------------------------------------------- hostile: not used

SOON = (now().date() + timedelta(days=20)).isoformat()
"""A permission that has ended by the clock stays ended, whatever day is pretended."""
LIFTED = (
    f"version: 1\noverrides:\n  - {{stack: lab, destroy: 2, until: {SOON}, reason: A host goes}}\n".encode()
)
MODULE = f'data "external" "x" {{ program = ["touch", "{SEEN}"] }}\n'.encode()
UNUSED: dict[str, dict[str, bytes]] = {
    "modules": {"modules/openstack-machine/instance.tf": MODULE, "modules/evil/main.tf": MODULE},
    "workflow": {".github/workflows/comment.yml": f"on: push # {SEEN}\n".encode()},
    "makefile": {"Makefile": f"check-pull:\n\ttouch {SEEN}\n".encode()},
    "program": {
        "cf_infra/__init__.py": f"raise SystemExit('{SEEN}')\n".encode(),
        "cf_infra/plan.py": b"boom(",
    },
    "sitecustomize": {"sitecustomize.py": f"raise SystemExit('{SEEN}')\n".encode()},
    "key-command": {"settings.yaml": f"version: 1\nstate: {{key: {{command: [touch, {SEEN}]}}}}\n".encode()},
    "limits-lifted": {"overrides.yaml": LIFTED},
    "locks": {"locks/openstack.lock.hcl": f"# {SEEN}\n".encode()},
    "tofu-configuration": {
        ".terraformrc": f'provider_installation {{ dev_overrides {{ "x" = "{SEEN}" }} }}\n'.encode(),
        ".tofurc": f"# {SEEN}\n".encode(),
        ".terraform.lock.hcl": f"# {SEEN}\n".encode(),
    },
    "variables": {
        "evil.auto.tfvars": f'description = "{SEEN}"\n'.encode(),
        "stacks/lab.auto.tfvars.json": f'{{"description": "{SEEN}"}}'.encode(),
        "build/lab/evil.auto.tfvars.json": f'{{"description": "{SEEN}"}}'.encode(),
    },
    "environment": {
        ".envrc": f"export OS_CLOUD={SEEN}\n".encode(),
        ".env": f"GITHUB_TOKEN={SEEN}\n".encode(),
    },
    "git-attributes": {
        ".gitattributes": b"* filter=evil diff=evil merge=evil export-subst\n",
        ".gitconfig": f"[filter 'evil']\n smudge = touch {SEEN}\n".encode(),
        ".gitmodules": f"[submodule 'x']\n path = x\n url = ext::sh -c 'touch {SEEN}'\n".encode(),
    },
    "hooks": {"hooks/post-checkout": f"#!/bin/sh\ntouch {SEEN}\n".encode()},
    "names-in-capitals": {
        "Grants.yaml": grants("miner", reason=SEEN),
        "GRANTS.YAML": grants("miner", reason=SEEN),
        "Users/lab.json": f'{{"x": "{SEEN}"}}'.encode(),
        "Settings.yaml": f"version: 1 # {SEEN}\n".encode(),
    },
    "other-backend-and-provider": {
        "backend.tf.json": f'{{"terraform": {{"backend": {{"http": {{"address": "http://{SEEN}/"}}}}}}}}'.encode(),
        "stacks/main.tf": f'provider "external" {{}} # {SEEN}\n'.encode(),
    },
    "state": {".state/lab/terraform.tfstate": f'{{"x": "{SEEN}"}}'.encode()},
}


@pytest.mark.parametrize("name", UNUSED)
def test_what_a_head_brings_beside_its_data_is_not_used(
    name: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.plan("main")
    innocent = desk.given["lab"]
    git(desk.clone, "checkout", "-q", "--detach", "main")
    (desk.clone / ".gitignore").unlink()
    head = commit(desk.clone, {**UNUSED[name], "zz": b"x"})
    git(desk.clone, "checkout", "-q", "main")
    found = desk.plan(head)
    lab = desk.given["lab"]
    assert is_clean(lab)
    given = (lab.compiled, lab.values, lab.environment.keys())
    assert given == (innocent.compiled, innocent.values, innocent.environment.keys())
    assert lab.allowances == {} and found.overrides == []
    assert not [path for path in desk.tmp.rglob(f"*{SEEN}*") if ".git/" not in path.as_posix()], "nothing ran"


OTHER_CLOUDS: dict[str, tuple[bytes, bytes]] = {
    "another cloud": (b"cloud: lab-cloud", b"cloud: stolen-cloud"),
    "another backend": (b"version: 1", b"version: 1\nbackend: {http: {address: http://evil}}"),
    "another provider": (b"kind: openstack", b"kind: openstack\nprovider: evil/evil"),
    "an image from elsewhere": (
        b"{name: ubuntu-24.04}",
        b"{url: 'http://evil/x.img', sha256: " + b"a" * 64 + b"}",
    ),
    "an image of this machine": (b"{name: ubuntu-24.04}", b"{file: ../../../etc/passwd}"),
}


@pytest.mark.parametrize("name", OTHER_CLOUDS)
def test_a_stack_file_that_names_another_place_is_not_used(name: str, desk: Desk) -> None:
    old, new = OTHER_CLOUDS[name]
    found = desk.plan(desk.head({"stacks/lab.yaml": STACK.replace(old, new, 1)}))
    assert found.unplanned == [{"stack": "lab", "why": head_plans.NOT_APPROVED}] and not desk.given


@pytest.mark.parametrize("name", OTHER_CLOUDS)
def test_an_approved_stack_file_reaches_no_other_place_either(name: str, desk: Desk) -> None:
    """A maintainer's approval is no merge: there still is no cloud, and what no stack file may have is refused."""
    old, new = OTHER_CLOUDS[name]
    head = desk.head({"stacks/lab.yaml": STACK.replace(old, new, 1)})
    if name == "another cloud":
        desk.plan(head, approved=True)
        assert b"stolen-cloud" not in desk.given["lab"].compiled["main.tf.json"]
        assert not desk.given["lab"].environment.keys() & {"OS_CLIENT_CONFIG_FILE", "OS_CLOUD"}
    else:
        with pytest.raises(Failure):
            desk.plan(head, approved=True)
        assert not desk.given


def test_what_looks_like_code_in_a_grant_stays_text(desk: Desk) -> None:
    reason = '"${file(\\"/proc/self/environ\\")} %{ for x in [1] }y%{ endfor } ]] <!-- --> | ` $(id)"'
    desk.plan(desk.head({"grants.yaml": grants("alpha", reason=reason)}))
    lab = desk.given["lab"]
    assert b"environ" not in lab.compiled["main.tf.json"]
    assert not any(name.endswith(".tf") and b"environ" in raw for name, raw in lab.compiled.items())


def test_a_head_cannot_lift_a_limit_and_the_base_can(desk: Desk) -> None:
    lifted = desk.head({"overrides.yaml": LIFTED})
    found = desk.plan(lifted)
    assert desk.given["lab"].allowances == {} and "not-from-head" in {d.code for d in found.diagnostics}
    desk.plan(desk.head(), base=lifted)
    assert desk.given["lab"].allowances == {"lab": 2}
