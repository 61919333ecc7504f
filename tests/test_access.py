"""Cirun's lists: the real one of September 2025 taken over and given back, and the rules of both directions."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from roots import PROJECT, TODAY, Runner, read_folder, write_root

from cf_infra import access, edit, project
from cf_infra.access import AccessList, Control, Policy
from cf_infra.catalog import catalog
from cf_infra.diagnostics import Failure
from cf_infra.model import Grant
from cf_infra.parse import parse

REAL = Path(__file__).parent / "data" / "conda-forge-access-2025-09.yml"
DAY = date.fromisoformat(TODAY)


def real() -> AccessList:
    return access.read_access(REAL.read_bytes(), REAL.name)


def meaning(found: AccessList) -> dict[str, object]:
    opened = found.resources_of()
    return {p.id: (p, sorted(opened[p.id])) for p in found.policies}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


# ------------------------------------------------------------------------------------------- the real list


def test_the_real_list_has_what_is_said_of_it() -> None:
    found = real()
    assert len(found.policies) == 26
    assert sum(len(resources) for resources in found.resources_of().values()) == 63


def test_the_repository_s_own_grants_are_the_real_list() -> None:
    """Exported, entry by entry, it is the list; the dedicated machines beside it are in no list of Cirun."""
    folder = project.read(PROJECT, DAY)
    exported = access.export_access(folder.resolved(), folder.inventory)
    own = {name for name in meaning(exported) if name not in meaning(real())}
    assert own == set()
    order = dict.fromkeys(control.resource for control in real().access_control)
    assert [control.resource for control in exported.access_control] == list(order)
    assert meaning(exported) == meaning(real())


def test_export_keeps_what_the_lints_of_the_list_repository_ask_for(tmp_path: Path, run: Runner) -> None:
    """Policies sorted by id, whatever the order of the entries; resources as they stand.

    People merge the lists of conda-forge/.cirun, with lints of their own: a pull request of ours passes them.
    """
    shuffled = real()
    policies = sorted(shuffled.policies, key=lambda policy: policy.id[::-1])
    assert [policy.id for policy in policies] != sorted(policy.id for policy in policies)
    text = access.access_text(shuffled.model_copy(update={"policies": policies}))
    root = write_root(tmp_path, {"shuffled.yml": text.encode(), "grants.yaml": b"version: 1\ngrants: []\n"})
    assert (
        run("import", "access", str(root / "shuffled.yml"), "--root", str(root), "--today", TODAY).code == 0
    )
    out = run("export", "access", "--root", str(root), "--today", TODAY).out
    exported = access.read_access(out.encode(), ".access.yml")
    ids = [policy.id for policy in exported.policies]
    assert ids == sorted(ids) and len(ids) == 26
    resources = [control.resource for control in exported.access_control]
    assert resources == list(dict.fromkeys(control.resource for control in real().access_control))
    assert all(control.policies == sorted(control.policies) for control in exported.access_control)


def test_import_into_an_empty_root(tmp_path: Path, run: Runner) -> None:
    root = write_root(tmp_path, {f"stacks/{n}": p for n, p in read_folder(PROJECT / "stacks").items()})
    write_root(root, {f"users/{n}": p for n, p in read_folder(PROJECT / "users").items()})
    ran = run("import", "access", str(REAL), "--root", str(root), "--today", TODAY, "--format", "json")
    assert ran.code == 0
    found = ran.json()
    assert len(found["added"]) == 26 and found["unchanged"] == []  # type: ignore[arg-type]
    assert [d["code"] for d in found["diagnostics"]] == ["imported"]  # type: ignore[attr-defined]
    exported = run("export", "access", "--root", str(root), "--today", TODAY)
    assert exported.code == 0
    assert meaning(access.read_access(exported.out.encode(), "x")) == meaning(real())
    before = (root / "grants.yaml").read_bytes()
    again = run(
        "import", "access", str(REAL), "--root", str(root), "--today", TODAY, "--format", "json"
    ).json()
    assert again["added"] == [] and len(again["unchanged"]) == 26  # type: ignore[arg-type]
    assert (root / "grants.yaml").read_bytes() == before


def test_import_with_classes(tmp_path: Path, run: Runner) -> None:
    """A label that exactly one offer has becomes its class; the list that comes out is the same."""
    root = write_root(tmp_path, {f"stacks/{n}": p for n, p in read_folder(PROJECT / "stacks").items()})
    write_root(root, {f"users/{n}": p for n, p in read_folder(PROJECT / "users").items()})
    assert (
        run("import", "access", str(REAL), "--classes", "--root", str(root), "--today", TODAY, "--quiet").code
        == 0
    )
    text = (root / "grants.yaml").read_text()
    assert "cirun-openstack-gpu-large" not in text and "gpu-large" in text
    exported = run("export", "access", "--root", str(root), "--today", TODAY)
    assert meaning(access.read_access(exported.out.encode(), "x")) == meaning(real())


def test_import_touches_no_line_of_another(tmp_path: Path, run: Runner) -> None:
    root = write_root(tmp_path, {f"stacks/{n}": p for n, p in read_folder(PROJECT / "stacks").items()})
    write_root(root, {f"users/{n}": p for n, p in read_folder(PROJECT / "users").items()})
    mine = b"""# ours
version: 1
grants: # who
# first
- feedstock:   'on'
  resources: [gpu-dedicated]
  reason: |
    It needs
    a GPU
  request: "https://example.org/1"
  granted: 2026-01-01
  expires: 2027-01-01
  roles: [admin]

# the end
"""
    (root / "grants.yaml").write_bytes(mine)
    assert run("import", "access", str(REAL), "--root", str(root), "--today", TODAY).code == 0
    after = (root / "grants.yaml").read_bytes()
    assert after.startswith(mine)
    assert after[len(mine) :].startswith(b"- feedstock: ")
    assert len(project.read(root, DAY).inventory.grants) == 27


@pytest.mark.parametrize(
    "grants",
    [
        "version: 1\ngrants: [{feedstock: a, resources: []}]\n",
        "grants:\n  - feedstock: a\n    resources: []\n    roles: [admin]\n    imported: x\nversion: 1\n",
    ],
)
def test_where_nothing_can_be_added(
    grants: str, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "roles" not in grants:
        grants = grants.replace("resources: []", "resources: [], roles: [admin], imported: x")
    root = write_root(tmp_path, {"grants.yaml": grants.encode(), "stacks/README": b""})
    ran = run("import", "access", str(REAL), "--root", str(root), "--today", TODAY)
    assert ran.code == 1
    assert "`grants:` is the last key" in ran.err and "grants.yaml:" in ran.err
    assert (root / "grants.yaml").read_text() == grants


def test_import_of_a_broken_root_says_what_is_broken(tmp_path: Path, run: Runner) -> None:
    root = write_root(tmp_path, {"grants.yaml": b"version: 1\n"})
    ran = run("import", "access", str(REAL), "--root", str(root), "--today", TODAY)
    assert ran.code == 1 and "needs `grants`" in ran.err


# ------------------------------------------------------------------------------------------------- reading


def read(text: str) -> AccessList:
    return access.read_access(text.encode(), ".access.yml")


def test_a_resource_that_stands_twice_means_the_union() -> None:
    found = read(
        """
version: 1
policies:
  - {id: a, repo: a-feedstock, roles: [admin]}
  - {id: b, repo: b-feedstock, roles: [admin]}
access_control:
  - {resource: x, policies: [a]}
  - {resource: y, policies: [a, b]}
  - {resource: x, policies: [b, a]}
"""
    )
    assert found.resources_of() == {"a": ["x", "y"], "b": ["y", "x"]}


def test_all_faults_at_once() -> None:
    with pytest.raises(Failure) as failure:
        read("policies:\n- {id: a, repo: a/b}\n- {id: 1, repo: x}\naccess_control: {}\n")
    assert [(d.code, d.line) for d in failure.value.diagnostics] == [
        ("bad-value", 2),
        ("wrong-type", 3),
        ("wrong-type", 4),
    ]


# ------------------------------------------------------------------------------------------------- writing

STACK = """
version: 1
kind: openstack
cloud: lab
donor: {name: Lab, terms: {users: people, url: "https://example.org/people.json"}}
hosts: [{name: h, vcpus: 48, memory_gib: 480, disk_gib: 2000, gpus: [{model: t4}]}]
images: {u: {name: ubuntu}, own: {file: images/x.qcow2}}
offers:
  large: {slice: {vcpus: 1, memory_gib: 1, disk_gib: 1}, image: u, via: cirun, mode: on-demand, label: lab-large}
  arm:
    slice: {vcpus: 1, memory_gib: 1, disk_gib: 1}
    image: own
    via: cirun
    mode: on-demand
    label: lab-arm
    arch: aarch64
    flavor: f1
    cirun: {cloud: other, region: R1, gpu: t4, preemptible: true, idle: 2, extra_config: {a: 1, b: true}}
  pool: {slice: {vcpus: 1, memory_gib: 1, disk_gib: 1}, image: u, via: drone, mode: pool, size: 1}
"""
CIRUN = """
version: 1
kind: cirun
donor: {name: Somebody}
offers:
  mac: {via: cirun, mode: on-demand, label: mac-label, os: macos}
  win:
    via: cirun
    mode: on-demand
    label: win-label
    os: windows
    flavor: D8
    cirun: {cloud: azure, machine_image: "/x/y"}
"""


def exported(*grants: dict[str, Any], stack: str = STACK) -> AccessList:
    files = {
        "grants.yaml": b"version: 1\ngrants: []\n",
        "stacks/lab.yaml": stack.encode(),
        "stacks/cirun.yaml": CIRUN.encode(),
        "users/people.json": b'{"users": [{"github": "Alice", "id": 1}, {"github": "bob", "id": 2}]}',
    }
    parsed = parse(files)
    assert parsed.diagnostics == []
    base: dict[str, Any] = {"feedstock": "a", "resources": ["large"]}
    made = {i: Grant.model_validate({**base, **g}) for i, g in enumerate(grants)}
    inventory = parsed.inventory.model_copy(update={"grants": made})
    folder = project.Folder(Path(), DAY, files, inventory)
    return access.export_access(folder.resolved(), inventory)


def test_terms_with_an_address_are_a_list_elsewhere() -> None:
    [policy] = exported({"terms": "people", "users": ["carol"]}).policies
    assert policy.users_from_json == "https://example.org/people.json"
    assert policy.users == ["carol"]


def test_terms_without_an_address_are_written_out() -> None:
    plain = STACK.replace(', url: "https://example.org/people.json"', "")
    [policy] = exported({"terms": "people", "users": ["alice"]}, stack=plain).policies
    assert policy.users_from_json is None
    assert policy.users == ["alice", "bob"]


def test_ids() -> None:
    """Kept where there is one; else made from the repository, and never one that is taken."""
    found = exported(
        {"roles": ["admin"]},
        {"roles": ["write"]},
        {"roles": ["read"], "id": "a-feedstock-2-policy"},
        {"feedstock": "b", "id": "a-feedstock-policy"},
    )
    assert [p.id for p in found.policies] == [
        "a-feedstock-2-policy",
        "a-feedstock-3-policy",
        "a-feedstock-4-policy",
        "a-feedstock-policy",
    ]


def test_order_of_resources_is_kept() -> None:
    found = exported(
        {"resources": ["mac", "lab-arm", "large"]},
        {"feedstock": "b", "resources": ["win", "mac"]},
        {"feedstock": "c", "resources": ["lab-arm", "gone"], "imported": "x"},
    )
    order = [c.resource for c in found.access_control]
    assert (
        order.index("win-label")
        < order.index("mac-label")
        < order.index("lab-arm")
        < order.index("lab-large")
    )
    assert order.index("lab-arm") < order.index("gone")


def test_orders_that_disagree_fall_back_to_the_first() -> None:
    found = exported({"resources": ["mac", "win"]}, {"feedstock": "b", "resources": ["win", "mac"]})
    assert [c.resource for c in found.access_control] == ["mac-label", "win-label"]


def test_what_is_not_exported() -> None:
    """Machines that are reached otherwise, what has ended or not begun; but not an import without resources."""
    found = exported(
        {"resources": ["pool"]},
        {"feedstock": "b", "expires": "2026-06-01"},
        {"feedstock": "c", "granted": "2026-06-02"},
        {"feedstock": "d", "resources": [], "imported": "x"},
    )
    assert [p.repo for p in found.policies] == ["d-feedstock"]
    assert found.access_control == []
    assert access.access_text(found).endswith("access_control: []\n")
    assert access.access_text(AccessList()) == "version: 1\npolicies: []\naccess_control: []\n"


def test_runners() -> None:
    files = {
        "grants.yaml": b"version: 1\ngrants: []\n",
        "stacks/lab.yaml": STACK.encode(),
        "stacks/cirun.yaml": CIRUN.encode(),
        "users/people.json": b'{"users": []}',
    }
    folder = project.from_files(Path(), files, DAY)
    assert folder.diagnostics == []
    import yaml

    found = {r["name"]: r for r in yaml.safe_load(access.runners_text(folder.resolved()))["runners"]}
    assert found == {
        "win-label": {
            "name": "win-label",
            "cloud": "azure",
            "instance_type": "D8",
            "machine_image": "/x/y",
            "labels": ["windows", "x64", "win-label"],
        },
        "lab-large": {
            "name": "lab-large",
            "cloud": "openstack",
            "instance_type": "cf-lab-large",
            "machine_image": "ubuntu",
            "labels": ["linux", "x64", "lab-large"],
        },
        "lab-arm": {
            "name": "lab-arm",
            "cloud": "other",
            "instance_type": "f1",
            "machine_image": "cf-lab-own",
            "region": "R1",
            "gpu": "t4",
            "preemptible": True,
            "idle": 2,
            "labels": ["linux", "arm64", "lab-arm"],
            "extra_config": {"a": 1, "b": True},
        },
    }


@pytest.mark.parametrize(
    "value", ["on", "NO", "null", "1e3", "07", "1:20", "a: b", "- x", "#", "", "a:", "é", "~", "a b", "y"]
)
def test_scalars_mean_the_same_to_every_reader(value: str) -> None:
    import ryaml
    import yaml

    text = f"key: {access.scalar(value)}\n"
    assert yaml.safe_load(text) == ryaml.loads(text) == {"key": value}


# ------------------------------------------------------------------------------------------------- import


def imported(*policies: Policy, controls: list[Control], classes: bool = False) -> list[Grant]:
    files = {
        "grants.yaml": b"version: 1\ngrants: []\n",
        "stacks/lab.yaml": STACK.encode(),
        "stacks/cirun.yaml": CIRUN.encode(),
    }
    inventory = parse(files).inventory
    listed = AccessList(policies=list(policies), access_control=controls)
    done = access.import_access(listed, "the list", inventory, catalog(inventory.stacks), classes)
    text = edit.with_entries("", done.entries)
    return list(parse({"grants.yaml": text.encode()}).inventory.grants.values())


def test_terms_are_known_by_their_address() -> None:
    [known, other] = imported(
        Policy(id="a", repo="a-feedstock", users_from_json="https://example.org/people.json"),
        Policy(id="b", repo="b", users_from_json="https://example.org/other.json"),
        controls=[],
    )
    assert (known.terms, known.terms_url, known.feedstock) == ("people", None, "a")
    assert (other.terms, other.terms_url, other.repo) == (None, "https://example.org/other.json", "b")
    assert known.imported == "the list" and known.resources == []


@pytest.mark.parametrize(
    ("repo", "feedstock"),
    [
        ("a-feedstock", "a"),
        ("a", None),
        ("-feedstock", None),
        ("a-feedstock-feedstock", None),
        ("feedstock", None),
    ],
)
def test_names_of_feedstocks(repo: str, feedstock: str | None) -> None:
    [one] = imported(Policy(id="a", repo=repo, roles=["admin"]), controls=[])
    assert one.feedstock == feedstock
    assert one.repository == repo


def test_a_class_that_two_donors_offer_stays_a_label() -> None:
    """Naming the class would open the other donor's machines, too."""
    other = STACK.replace("lab-", "other-").replace("cloud: lab", "cloud: other")
    files = {
        "grants.yaml": b"version: 1\ngrants: []\n",
        "stacks/lab.yaml": STACK.encode(),
        "stacks/other.yaml": other.encode(),
    }
    inventory = parse(files).inventory
    listed = AccessList(
        policies=[Policy(id="a", repo="a", roles=["admin"])],
        access_control=[Control(resource="lab-large", policies=["a"])],
    )
    done = access.import_access(listed, "x", inventory, catalog(inventory.stacks), classes=True)
    assert [entry.resources for entry in done.entries] == [["lab-large"]]


def test_labels_of_two_donors_may_be_two_policies_of_the_same_people(tmp_path: Path, run: Runner) -> None:
    """They are one class to us, and two machines to Cirun: nothing is granted twice."""
    other = STACK.replace("lab-", "other-").replace("cloud: lab", "cloud: other")
    listed = AccessList(
        policies=[Policy(id=i, repo="a-feedstock", roles=["admin"]) for i in ("one", "two")],
        access_control=[
            Control(resource="lab-large", policies=["one"]),
            Control(resource="other-large", policies=["two"]),
        ],
    )
    people = b'{"users": [{"github": "alice", "id": 1}]}'
    root = write_root(
        tmp_path,
        {
            "stacks/lab.yaml": STACK.encode(),
            "stacks/other.yaml": other.encode(),
            "users/people.json": people,
            "list.yml": access.access_text(listed).encode(),
        },
    )
    where = ("--root", str(root), "--today", TODAY)
    assert run("import", "access", str(root / "list.yml"), *where).code == 0
    assert access.read_access(run("export", "access", *where).out.encode(), "x") == listed
    grants = (root / "grants.yaml").read_text()
    (root / "grants.yaml").write_text(grants.replace("other-large", "large"))
    assert "error[granted-twice]" in run("check", *where).err, "the class is what both labels stand for"
