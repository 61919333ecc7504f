"""Properties that hold for all grants files, access lists, hosts and texts, not for chosen ones only."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cf_infra import access, capacity, edit, project, yaml12
from cf_infra.access import AccessList, Control, Policy
from cf_infra.capacity import Demand, Shape
from cf_infra.catalog import catalog
from cf_infra.codes import CODES
from cf_infra.compile import compile_all, values
from cf_infra.diagnostics import Diagnostic, render
from cf_infra.model import Grant, Host, Inventory, Kind, Stack
from cf_infra.parse import GRANTS, parse
from cf_infra.resolve import Resolved, hostname, resolve

# Whole folders are large examples: fewer of them than conftest.py's profile asks for.
settings.register_profile("whole-folders", settings.get_profile("any-machine"), max_examples=40)
settings.load_profile("whole-folders")

TODAY = date(2026, 6, 1)
HERE = Path(__file__).parent
SEVERAL = HERE / "golden" / "several-stacks"
POOL = """version: 1
kind: openstack
cloud: pool
donor: {name: A pool}
hosts: [{name: cpu-01, vcpus: 64, memory_gib: 256, disk_gib: 2000}]
images: {ubuntu: {name: ubuntu-24.04}, old: {name: ubuntu-20.04}}
credentials: {drone: {kind: application_credential}}
offers:
  cpu-pool: {slice: {vcpus: 4, memory_gib: 16, disk_gib: 50}, image: ubuntu, via: drone, mode: pool, size: 3}
  old-pool: {slice: {vcpus: 2, memory_gib: 8, disk_gib: 50}, image: old, via: drone, mode: pool, size: 2}
  cpu-dedicated: {slice: {vcpus: 1, memory_gib: 1, disk_gib: 1}, image: old, via: direct, mode: dedicated}
"""
FILES = {
    **{f"stacks/{p.name}": p.read_bytes() for p in SEVERAL.glob("stacks/*.yaml")},
    "stacks/pool.yaml": POOL.encode(),
    "users/lab.json": b'{"users": [{"github": "alice", "id": 1}]}',
}
EMPTY = parse({**FILES, GRANTS: b"version: 1\ngrants: []\n"}).inventory


def inventory_of(grants: list[Grant]) -> Inventory:
    return EMPTY.model_copy(update={"grants": dict(enumerate(grants))})


# ------------------------------------------------------------------------------------------------ grants

NAMES = st.from_regex(re.compile(r"\A[A-Za-z0-9_.-]{1,20}\Z", re.ASCII)).filter(
    lambda n: not n.endswith("-feedstock")
)
DAYS = st.dates(TODAY - timedelta(days=40), TODAY + timedelta(days=40))
RESOURCES = st.sampled_from(
    [
        "gpu-large",
        "cirun-second-gpu-large",
        "cpu-pool",
        "old-pool",
        "cpu-dedicated",
        "win-2xlarge",
        "cpu-hosted",
    ]
)


@st.composite
def grant(draw: st.DrawFn, names: st.SearchStrategy[str] = NAMES) -> Grant:
    begin = draw(st.none() | DAYS)
    latest = TODAY + timedelta(days=90)
    end = draw(st.none() | (DAYS if begin is None else st.dates(begin + timedelta(days=1), latest)))
    resources = draw(st.lists(RESOURCES, min_size=1, max_size=4, unique=True))
    if {"gpu-large", "cirun-second-gpu-large"} <= set(resources):
        resources.remove("cirun-second-gpu-large")
    values = {
        "feedstock": draw(names),
        "resources": resources,
        "reason": draw(st.text(max_size=30).filter(str.isprintable)),
        "request": "https://example.org/1",
        "granted": begin.isoformat() if begin else None,
        "expires": end.isoformat() if end else None,
        "roles": ["admin"],
        "pull_requests": draw(st.booleans()),
        "count": draw(st.none() | st.integers(1, 4)) if "cpu-dedicated" in resources else None,
    }
    return Grant.model_validate(values)


GRANTS_LISTS = st.lists(grant(), min_size=1, max_size=8, unique_by=lambda g: str(g.feedstock).lower())


def tfvars(grants: list[Grant]) -> dict[str, dict[str, Any]]:
    """By stack what OpenTofu gets, through JSON as it does."""
    resolved = resolve(inventory_of(grants), TODAY)
    return {
        name: orjson.loads(orjson.dumps(values(stack)))
        for name, stack in resolved.stacks.items()
        if stack.stack.kind is Kind.OPENSTACK
    }


PER_GRANT = ("machines", "flavors", "images", "user_data")


@given(GRANTS_LISTS, st.data())
def test_a_grant_moves_nothing_of_others(grants: list[Grant], data: st.DataObject) -> None:
    """Added, removed or renamed: every entry that is of others stays as it is, byte for byte."""
    one = data.draw(st.integers(0, len(grants) - 1))
    others = grants[:one] + grants[one + 1 :]
    new_name = data.draw(NAMES)
    assume(new_name.lower() not in {str(g.feedstock).lower() for g in grants})
    renamed = [*others[:one], grants[one].model_copy(update={"feedstock": new_name}), *others[one:]]
    without, before, after = tfvars(others), tfvars(grants), tfvars(renamed)
    for stack, base in without.items():
        for changed, repository in ((before, grants[one].repository), (after, f"{new_name}-feedstock")):
            now = changed[stack]
            assert now.keys() == base.keys()
            for name in base.keys() - set(PER_GRANT):
                assert now[name] == base[name], "project, quota, network, credentials: no grant moves them"
            for name in PER_GRANT:
                assert base[name].items() <= now[name].items()
            for key in now["machines"].keys() - base["machines"].keys():
                assert key.startswith((f"{repository}/", "pool:"))


@given(
    st.lists(grant(st.sampled_from(["a", "b", "b.c", "B_c"])), max_size=8), st.randoms(use_true_random=False)
)
def test_order_of_entries_is_no_matter(grants: list[Grant], random: Any) -> None:
    shuffled = list(grants)
    random.shuffle(shuffled)
    modules = {"openstack-machine/x.tf": b""}
    one, other = inventory_of(grants), inventory_of(shuffled)
    compiled = [compile_all(resolve(i, TODAY), i, modules) for i in (one, other)]
    for name in compiled[0]:
        if name.endswith(".json"):
            assert compiled[0][name] == compiled[1][name]


@given(st.lists(NAMES | st.from_regex(r"\A[A-Za-z0-9_./-]{1,90}\Z"), max_size=40, unique=True))
@example(["a.b/c", "a-b/c", "a_b/c", "-", ".", "...", "_/_"])
def test_hostnames_are_legal_and_differ(keys: list[str]) -> None:
    names = [hostname(key) for key in keys]
    assert len(set(names)) == len(keys)
    for name in names:
        assert re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", name)


# ------------------------------------------------------------------------------------------- access lists

LABELS = st.sampled_from(
    [
        "cirun-first-gpu-large",
        "cirun-second-gpu-large",
        "cirun-azure-windows-2xlarge",
        "cirun-gone",
        "on",
        "1e3",
    ]
)
LOGINS = st.sampled_from(["alice", "Bob-2", "dependabot[bot]", "on", "no", "1e3", "07"])
IDS = st.text(min_size=1, max_size=12).filter(
    lambda t: re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+", t)
)
POLICIES = st.builds(
    Policy,
    id=IDS
    | st.sampled_from(["true", "null", "- x", "a: b", "#", "0x1", "~", "[", "'", '"', "\\", "é\U0001f600"]),
    repo=st.sampled_from(
        ["on-feedstock", "llama.cpp-feedstock", "admin", "-feedstock", "x-feedstock-feedstock", "07"]
    ),
    roles=st.lists(st.sampled_from(["admin", "maintain", "write"]), unique=True),
    teams=st.lists(st.sampled_from(["core", "on"]), unique=True),
    users=st.lists(LOGINS, unique=True),
    users_from_json=st.sampled_from(
        [None, "https://example.org/users.json", "https://example.org/a%20b?c=d#e"]
    ),
    pull_request=st.booleans(),
).filter(lambda p: p.roles or p.teams or p.users or p.users_from_json)


def conditions(policy: Policy) -> tuple[object, ...]:
    rest = (frozenset(policy.roles), frozenset(policy.teams), frozenset(policy.users))
    return (policy.repo, *rest, policy.users_from_json, policy.pull_request)


@st.composite
def access_lists(draw: st.DrawFn) -> AccessList:
    """Any legal list but one in which two policies open one resource to the same people, which says one thing twice."""
    policies = draw(st.lists(POLICIES, max_size=7, unique_by=lambda p: p.id))
    ids = st.sampled_from([p.id for p in policies])
    controls = []
    taken: dict[object, str] = {}
    for resource in draw(st.lists(LABELS, max_size=8)):
        chosen = draw(st.lists(ids)) if policies else []
        free = [i for i in chosen if taken.setdefault((resource, *_of(policies, i)), i) == i]
        controls.append(Control(resource=resource, policies=free))
    return AccessList(policies=policies, access_control=controls)


def _of(policies: list[Policy], policy_id: str) -> tuple[object, ...]:
    return next(conditions(p) for p in policies if p.id == policy_id)


def written(listed: AccessList, style: str) -> str:
    """The list in one of the ways in which people and programs write it."""
    if style == "ours":
        return access.access_text(listed)
    value = listed.model_dump(mode="json", exclude_defaults=style == "short")
    value["version"] = 1
    if style == "json":
        return orjson.dumps(value).decode()
    text = yaml.safe_dump(value, default_style='"', default_flow_style=style == "flow", allow_unicode=True)
    return re.sub(r'!!\w+ "([^"]*)"', r"\1", text)


def meaning(found: AccessList) -> dict[str, object]:
    opened = found.resources_of()
    return {p.id: (conditions(p), frozenset(opened[p.id])) for p in found.policies}


def imported(listed: AccessList, text: str, classes: bool = False) -> tuple[str, Resolved, Inventory]:
    before = parse({**FILES, GRANTS: text.encode()}).inventory
    done = access.import_access(listed, "a list", before, catalog(before.stacks), classes)
    after = edit.with_entries(text, done.entries)
    folder = project.from_files(HERE, {**FILES, GRANTS: after.encode()}, TODAY)
    assert [d for d in folder.diagnostics if d.severity == "error"] == []
    return after, folder.resolved(), folder.inventory


STYLES = st.sampled_from(["ours", "short", "json", "flow", "block"])


@settings(max_examples=100)
@given(access_lists(), st.booleans(), STYLES)
def test_export_after_import_means_the_same(listed: AccessList, classes: bool, style: str) -> None:
    assert access.read_access(written(listed, style).encode(), "list") == listed
    grants, resolved, inventory = imported(listed, "version: 1\ngrants: []\n", classes)
    exported = access.export_access(resolved, inventory)
    assert meaning(exported) == meaning(listed)
    assert [p.id for p in exported.policies] == sorted(p.id for p in listed.policies)
    again = access.import_access(listed, "a list", inventory, resolved.catalog, classes)
    assert again.added == [], "a second import finds everything there"
    assert access.access_text(exported) == access.access_text(
        access.read_access(access.access_text(exported).encode(), "x")
    )
    assert imported(exported, grants, classes)[0] == grants


# ------------------------------------------------------------------------------------- texts of grants.yaml

VALUES = st.sampled_from(
    [
        "plain",
        '"quoted: # not a comment"',
        "'it''s'",
        "[a, b]",
        "{a: 1}",
        "|\n@text\n@- more\n\n@end",
        ">-\n@folded\n@text",
        "true",
        "x # remark",
    ]
)


@st.composite
def grants_texts(draw: st.DrawFn) -> str:
    """A grants.yaml in one of the ways in which people write it."""
    indent = draw(st.sampled_from(["", "  ", "    "]))
    lines = draw(st.sampled_from([["version: 1"], ["# first", "version: 1", ""], ["---", "version: 1"]]))
    lines.append("grants:" + draw(st.sampled_from(["", "  ", " # who may use what"])))
    for number in range(draw(st.integers(1, 5))):
        lines += draw(st.sampled_from([[], [""], ["# - no entry"], [f"{indent}# remark", "", ""]]))
        style = draw(st.sampled_from(["under", "below", "flow"]))
        keys = {f"key{n}": draw(VALUES) for n in range(draw(st.integers(1, 3)))}
        if style == "flow":
            lines.append(f"{indent}- {{feedstock: n{number}, resources: [a, b]}}")
            continue
        lines.append(f"{indent}- feedstock: n{number}" if style == "under" else f"{indent}-")
        inner = f"{indent}  "
        lines += [f"{inner}resources:", f"{inner}- a", f"{inner}  # remark", f"{inner}- b"]
        for key, value in keys.items():
            lines += f"{key}: {value}".replace("@", f"{inner}  ").replace("key", f"{inner}key").split("\n")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(
        st.sampled_from(["", "\n", "\n\n# end\n"])
    )


@given(grants_texts(), st.data())
def test_entries_are_found_where_the_whole_file_has_them(text: str, data: st.DataObject) -> None:
    value, faults = yaml12.load(text.encode(), GRANTS)
    assert faults == []
    path: list[str | int] = ["grants", data.draw(st.integers(0, len(value["grants"]) - 1))]
    here = value["grants"][path[1]]
    while isinstance(here, (dict, list)) and data.draw(st.booleans()):
        part = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else list(range(len(here)))))
        path.append(part)
        here = here[part]
    on_key = data.draw(st.booleans())
    finder = yaml12._Finder(text)
    assert len(finder._entries.starts) == len(value["grants"]), "each entry is found by itself"
    node = yaml12.composed(text)
    assert node is not None
    whole = yaml12._descend(node, tuple(path), on_key, text.split("\n"))
    assert finder.find(tuple(path), on_key) == whole
    assert yaml12.first_line(text)(int(path[1])) == finder.line_of_entry(int(path[1])) + 1


@given(grants_texts(), st.lists(grant(), min_size=1, max_size=3))
def test_appending_touches_no_line(text: str, grants: list[Grant]) -> None:
    after = edit.with_entries(text, grants)
    assert after.startswith(text)
    old, new = (yaml12.load(t.encode(), GRANTS)[0]["grants"] for t in (text, after))
    assert new[: len(old) - 1] == old[:-1], "the last may have ended without a newline in a block of text"
    assert [Grant.model_validate(entry) for entry in new[len(old) :]] == grants


@given(grant())
def test_an_entry_is_read_as_it_was_written(one: Grant) -> None:
    text = edit.with_entries("", [one])
    assert list(parse({GRANTS: text.encode()}).inventory.grants.values()) == [one]


# ------------------------------------------------------------------------------------------------ capacity

SMALL = st.integers(0, 8)
HOSTS = st.builds(
    lambda n, vcpus, memory, disk, groups, kept: Host.model_validate(
        {
            "name": n,
            "vcpus": vcpus,
            "memory_gib": memory,
            "disk_gib": disk,
            "reserved": {"vcpus": kept, "memory_gib": kept},
            "gpus": [{"model": "t4", "iommu_group": g, "broken": b} for g, b in groups],
        }
    ),
    st.sampled_from(["h1", "h2", "h3"]),
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=8),
    st.integers(0, 4),
)
HOST_LISTS = st.lists(HOSTS, min_size=1, max_size=3, unique_by=lambda h: h.name)
SHAPES = st.builds(Shape, SMALL, st.integers(1, 16), st.integers(1, 32 * 1024), st.integers(1, 32))


@given(
    HOST_LISTS,
    st.lists(st.tuples(st.integers(1, 6), SHAPES, st.sets(st.sampled_from(["h1", "h2", "h3"]))), max_size=6),
)
def test_placement_never_exceeds_a_host(hosts: list[Host], asked: list[tuple[int, Shape, set[str]]]) -> None:
    demands = [Demand("c", i, count, shape, tuple(sorted(on))) for i, (count, shape, on) in enumerate(asked)]
    placement = capacity.place(hosts, demands)
    over = {demand.owner: count for demand, count in placement.unplaced}
    for demand in demands:
        on = placement.placed.get(demand.owner, {})
        assert sum(on.values()) + over.get(demand.owner, 0) == demand.count
        assert on.keys() <= set(demand.hosts)
    for host in hosts:
        used = Shape(0, 0, 0, 0)
        for demand in demands:
            used = used.plus(demand.machine.times(placement.placed.get(demand.owner, {}).get(host.name, 0)))
        left = capacity.total(host).minus(used)
        assert left == placement.left[host.name]
        assert min(left.gpus, left.vcpus, left.memory_mib, left.disk_gib) >= 0
        for demand in demands:
            if demand.owner in over and host.name in demand.hosts and len(demands) == 1:
                assert left.fits(demand.machine) == 0, "what did not fit does not fit"


@given(HOSTS, st.integers(1, 12), st.integers(1, 12))
def test_shares_never_add_up_to_more_than_a_host(host: Host, k: int, n: int) -> None:
    stack = Stack.model_validate(
        {
            "version": 1,
            "kind": "openstack",
            "donor": {"name": "x"},
            "hosts": [host.model_dump()],
            "offers": {"c": {"slice": f"{k}/{n}", "via": "direct", "mode": "dedicated"}},
        }
    )
    try:
        machine = capacity.shape(stack, stack.offers["c"])
    except capacity.SliceFault:
        have = capacity.total(host)
        sizes = [have.vcpus * k // n, have.memory_mib * k // n, have.disk_gib * k // n]
        assert k > n or have.gpus * k % n or min(sizes) < 1
        return
    assert machine is not None
    assert capacity.total(host).fits(machine) >= n // k
    assert machine.gpus * n == capacity.total(host).gpus * k


# ------------------------------------------------------------------------------- nothing makes `check` stumble

WORDS = st.sampled_from(
    """
    version grants feedstock repo resources reason request granted expires roles users count stack terms imported
    kind rights cloud donor name hosts vcpus memory_gib disk_gib gpus model iommu_group images offers slice via mode
    label openstack admin member cirun dedicated pool on-demand lab gpu-large 1/8 2026-01-01 2026-02-30 password
    """.split()
)
SCALARS = st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | WORDS | st.text(max_size=8)
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
VALID = {name: yaml12.load(raw, name)[0] for name, raw in FILES.items() if name.startswith("stacks/")}
VALID[GRANTS] = yaml12.load((SEVERAL / GRANTS).read_bytes(), GRANTS)[0]


def spoilt(value: Any, data: st.DataObject) -> Any:
    """The value with something else somewhere inside."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: spoilt(value[key], data)}
    if isinstance(value, dict) and data.draw(st.booleans()):
        return {**value, data.draw(WORDS | st.text(max_size=4)): data.draw(GARBAGE)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        index = data.draw(st.integers(0, len(value) - 1))
        return [*value[:index], spoilt(value[index], data), *value[index + 1 :]]
    return data.draw(GARBAGE)


def as_yaml(value: Any) -> bytes:
    """Flow style: JSON is YAML. What JSON cannot say is written as YAML says it."""
    import json

    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", "?", text.replace("NaN", ".nan").replace("Infinity", ".inf")).encode()


def assert_is_told_well(files: dict[str, bytes]) -> None:
    folder = project.from_files(HERE, files, TODAY)
    for d in folder.diagnostics:
        assert_is_in_its_file(d, files)
    text = render(folder.diagnostics)
    assert all(c.isprintable() or c in "\n\t" for c in text), "nothing steers the reader's terminal"
    render(folder.diagnostics, color=True)
    orjson.dumps([d.as_json() for d in folder.diagnostics])
    assert len(set(folder.diagnostics)) == len(folder.diagnostics)


def assert_is_in_its_file(d: Diagnostic, files: dict[str, bytes]) -> None:
    assert d.code in CODES and d.hint and d.detail
    assert d.file is not None
    if d.file not in files or d.code in ("bad-name", "too-large"):
        return
    lines = files[d.file].decode("utf-8-sig", "replace").split("\n")
    assert d.line is not None and d.column is not None
    assert 1 <= d.line <= len(lines)
    assert 1 <= d.column <= len(lines[d.line - 1]) + 1


@settings(max_examples=100)
@given(st.sampled_from(sorted(VALID)), st.data())
def test_spoilt_files_are_told_well(name: str, data: st.DataObject) -> None:
    files = {**FILES, GRANTS: (SEVERAL / GRANTS).read_bytes(), name: as_yaml(spoilt(VALID[name], data))}
    assert_is_told_well(files)


@settings(max_examples=100)
@given(
    st.binary(max_size=40) | st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace")),
    st.sampled_from([GRANTS, "stacks/first.yaml", "users/lab.json", "settings.yaml"]),
)
@example(b"\xef\xbb\xbf\xff", GRANTS)
@example(b"[", GRANTS)
@example(b"a: [\n  {", "stacks/first.yaml")
@example(b"version: 1\ngrants:\n- \x00", GRANTS)
@example("version: 1\ngrants: [\ufeff]".encode(), GRANTS)
@example(b"\xef\xbb\xbf\xef\xbb\xbfa: 1", GRANTS)
@example("version: 1\ngrants:\n - reason: '\ufffe'".encode(), GRANTS)
@example(b"? [a, b]\n: c\n", "stacks/first.yaml")
@example(b"version: 1\n? grants\n: []\n", GRANTS)
@example(b"\xef\xbb\xbf{}", "users/lab.json")
@example(b'{"users": [' + b"[" * 1000 + b"]" * 1000 + b"]}", "users/lab.json")
@example(b'{"users": [{"github": "\\ud83d\\ude00", "id": 1}]}', "users/lab.json")
@example(b"version: 1\ngrants: [" + b"{feedstock: a, resources: []}, " * 300 + b"{feedstok: a}]\n", GRANTS)
def test_any_bytes_are_told_well(raw: bytes, name: str) -> None:
    assert_is_told_well({**FILES, GRANTS: (SEVERAL / GRANTS).read_bytes(), name: raw})


@settings(max_examples=100)
@given(st.data())
def test_a_changed_character_is_told_well(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([GRANTS, "stacks/first.yaml", "users/lab.json"]))
    text = {**FILES, GRANTS: (SEVERAL / GRANTS).read_bytes()}[name].decode()
    at = data.draw(st.integers(0, len(text) - 1))
    cut = data.draw(st.integers(0, 3))
    put = data.draw(
        st.sampled_from(
            [
                "",
                "\t",
                "&a ",
                "*a",
                "!x ",
                "- ",
                ": ",
                "'",
                '"',
                "{",
                "]",
                "\n",
                "#",
                "\x07",
                "\u2028",
                "|",
                "%",
            ]
        )
    )
    assert_is_told_well(
        {
            **FILES,
            GRANTS: (SEVERAL / GRANTS).read_bytes(),
            name: (text[:at] + put + text[at + cut :]).encode(),
        }
    )


@given(
    st.lists(
        st.builds(
            Diagnostic,
            st.sampled_from(sorted(CODES)),
            *[st.text(max_size=20)] * 3,
            st.none(),
            st.none(),
            st.none(),
            st.text(max_size=5),
            st.text(max_size=150),
            st.integers(0, 200),
        ),
        max_size=4,
    )
)
def test_rendering_never_fails(found: list[Diagnostic]) -> None:
    text = render(found)
    assert all(c.isprintable() or c in "\n\t" for c in text)
