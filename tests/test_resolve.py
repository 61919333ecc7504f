"""Grants x stacks x a day: who has access, which machines there are, which generations live."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from cf_infra.capacity import Shape
from cf_infra.catalog import catalog, machines_of_its_own
from cf_infra.model import Grant, Inventory
from cf_infra.parse import parse
from cf_infra.resolve import demands, has_access, hostname, resolve

DAY = date(2026, 6, 1)
LAB = """
version: 1
kind: openstack
cloud: lab
donor: {name: Lab}
hosts:
  - {name: h, vcpus: 48, memory_gib: 480, disk_gib: 2000, gpus: [{model: t4}, {model: t4}, {model: t4}, {model: t4}]}
images: {u: {name: ubuntu}}
credentials: {cirun: {kind: user}, drone: {kind: application_credential, rotate_every: 10d, overlap: 3d}}
offers:
  dedicated: {slice: 1/4, image: u, via: direct, mode: dedicated, max_hours: 30, label: lab-dedicated}
  pool: {slice: 1/48, image: u, via: drone, mode: pool, size: 2}
  large: {slice: {vcpus: 1, memory_gib: 1, disk_gib: 1}, image: u, via: cirun, mode: on-demand, label: lab-large}
"""
LAB = LAB.replace("1/48", "{vcpus: 1, memory_gib: 1, disk_gib: 1}")
OTHER = """
version: 1
kind: openstack
rights: member
cloud: other
donor: {name: Other}
images: {u: {name: ubuntu}}
offers:
  large: {flavor: m1, image: u, via: cirun, mode: on-demand, label: other-large}
"""


def grant(**values: Any) -> Grant:
    base: dict[str, Any] = {
        "feedstock": "a",
        "resources": ["dedicated"],
        "granted": "2026-01-01",
        "roles": ["admin"],
    }
    return Grant.model_validate({**base, **values})


def inventory(*grants: Grant) -> Inventory:
    files = {
        "grants.yaml": b"version: 1\ngrants: []\n",
        "stacks/lab.yaml": LAB.encode(),
        "stacks/other.yaml": OTHER.encode(),
    }
    parsed = parse(files)
    assert parsed.diagnostics == []
    return parsed.inventory.model_copy(update={"grants": dict(enumerate(grants))})


@pytest.mark.parametrize(
    ("day", "has"),
    [
        ("2025-12-31", False),
        ("2026-01-01", True),
        ("2026-05-31", True),
        ("2026-06-01", False),
        ("2026-06-02", False),
    ],
)
def test_expires_is_the_first_day_without(day: str, has: bool) -> None:
    assert has_access(grant(expires="2026-06-01"), date.fromisoformat(day)) is has


@pytest.mark.parametrize(
    ("day", "there"), [("2026-06-01", True), ("2026-06-02", True), ("2026-06-03", False)]
)
def test_machines_stay_for_max_hours(day: str, there: bool) -> None:
    """30 hours, in whole days rounded up: two."""
    found = resolve(inventory(grant(expires="2026-06-01")), date.fromisoformat(day))
    assert bool(found.stacks["lab"].machines) is there
    assert bool(found.stacks["lab"].uses) is there
    assert found.access == ()
    assert found.stacks["lab"].access == {}


def test_on_demand_ends_at_once() -> None:
    found = resolve(inventory(grant(resources=["large"], expires="2026-06-01")), DAY)
    assert found.stacks["lab"].uses == {}


def test_several_stacks_offer_it() -> None:
    found = resolve(
        inventory(grant(resources=["large"]), grant(feedstock="b", resources=["large"], stack="other")), DAY
    )
    assert found.stacks["lab"].uses["large"].grants == ("a-feedstock/large",)
    assert found.stacks["other"].uses["large"].grants == ("a-feedstock/large", "b-feedstock/large")
    assert found.stacks["other"].uses["large"].shape is None


def test_a_label_is_its_class() -> None:
    named = resolve(inventory(grant(resources=["lab-dedicated"])), DAY)
    assert list(named.stacks["lab"].machines) == ["a-feedstock/dedicated"]
    assert named.access[0].key == "a-feedstock/dedicated"


def test_a_pair_is_alive_while_any_entry_is() -> None:
    found = resolve(
        inventory(
            grant(expires="2026-02-01"),
            grant(roles=["write"], expires="2026-07-01", count=2),
            grant(users=["x"], expires="2026-08-01"),
        ),
        DAY,
    )
    lab = found.stacks["lab"]
    assert list(lab.machines) == ["a-feedstock/dedicated", "a-feedstock/dedicated/2"]
    assert lab.access == {"a-feedstock/dedicated": date(2026, 8, 1)}
    assert lab.uses["dedicated"].grants == ("a-feedstock/dedicated",)
    assert lab.uses["dedicated"].shape == Shape(1, 12, 122_880, 500)
    assert lab.uses["dedicated"].gpu_model == "t4"


def test_access_that_never_ends() -> None:
    for grants in (
        [grant(), grant(users=["x"], expires="2027-01-01")],
        [grant(users=["x"], expires="2027-01-01"), grant()],
    ):
        assert resolve(inventory(*grants), DAY).stacks["lab"].access == {"a-feedstock/dedicated": None}


def test_a_pool_is_shared() -> None:
    found = resolve(
        inventory(grant(resources=["pool"]), grant(feedstock=None, repo="b", resources=["pool"])), DAY
    )
    machines = found.stacks["lab"].machines
    assert list(machines) == ["pool:pool/1", "pool:pool/2"]
    assert {m.grants for m in machines.values()} == {("a-feedstock/pool", "b/pool")}


def test_nobody_asks_for_it() -> None:
    found = resolve(inventory(grant(granted="2026-06-02"), grant(resources=["gone"], imported="x")), DAY)
    assert found.stacks["lab"].machines == {} and found.stacks["lab"].uses == {}
    assert [a.key for a in found.access] == ["a-feedstock/gone"]


def test_what_hosts_must_hold() -> None:
    """Pools first; several entries of a pair together; what begins later counts, what has ended does not."""
    made = inventory(
        grant(count=2),
        grant(roles=["write"]),
        grant(feedstock="later", granted="2027-01-01"),
        grant(feedstock="ended", expires="2026-05-01"),
        grant(feedstock="ends", expires="2026-06-01"),
        grant(feedstock="else", resources=["large"]),
    )
    found = demands(made, catalog(made.stacks), DAY)
    assert [(d.runner_class, d.grant, d.count) for d in found["lab"]] == [
        ("pool", None, 2),
        ("dedicated", 0, 2),
        ("dedicated", 2, 1),
        ("dedicated", 4, 1),
    ]
    assert found["other"] == []


def test_hostname() -> None:
    assert (
        hostname("llama.cpp-feedstock/gpu-large")
        == "llama-cpp-feedstock-gpu-large-" + hostname("llama.cpp-feedstock/gpu-large")[-6:]
    )
    assert len(hostname("x" * 200)) == 63
    assert hostname("___") == "cf-" + hostname("___")[-6:]


def test_machines_of_its_own() -> None:
    found = catalog(inventory().stacks)
    assert [o.runner_class for o in machines_of_its_own(found.offers("dedicated"))] == ["dedicated"]
    assert machines_of_its_own(found.offers("large")) == ()
    assert found.names() == ["dedicated", "lab-dedicated", "lab-large", "large", "other-large", "pool"]
    assert found.offers("large", "nowhere") == ()
    assert found.canonical("lab-large") == "large" and found.canonical("unknown") == "unknown"
