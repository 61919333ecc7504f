"""docs/history.md tells of every entry of the real list where it came from, and nothing that is not so."""

from __future__ import annotations

import orjson
import yaml
from roots import PROJECT

from tools import history


def test_every_entry_of_the_list_is_there_once() -> None:
    """Against the list as another reader has it."""
    listed = yaml.safe_load((PROJECT / history.LIST).read_bytes())
    repos = {p["id"]: p["repo"].removesuffix("-feedstock") for p in listed["policies"]}
    wanted = sorted((repos[p], c["resource"]) for c in listed["access_control"] for p in c["policies"])
    found = history.read()
    assert sorted((e.feedstock, e.resource) for e in found.entries) == wanted
    assert len(wanted) == 63
    for feedstock, resource in wanted:
        assert f"| {feedstock} | `{resource}` |" in history.page()


def test_a_request_that_is_named_asked_for_it() -> None:
    lines = [orjson.loads(line) for line in (PROJECT / history.REQUESTS).read_bytes().splitlines()]
    asked = {
        (f, r, line["date"], line["file"])
        for line in lines
        for f in line["request"]["feedstocks"]
        for r in line["request"].get("resources", [line["request"]["action"]])
    }
    found = history.read()
    assert found.requests == len(lines) == 42
    for entry in found.entries:
        for request in entry.asked:
            assert (entry.feedstock, entry.resource, str(request.day), request.source) in asked
            assert str(request.day) <= "2025-09-30"
        for request in entry.since:
            assert (entry.feedstock, entry.resource, str(request.day), request.source) in asked
        others = {a for a in asked if a[:2] == (entry.feedstock, entry.resource) and a[2] <= "2025-09-30"}
        assert bool(entry.asked) == bool(others)
    told = {(e.feedstock, e.resource) for e in found.entries} | found.not_listed.keys() | found.later.keys()
    assert {a[:2] for a in asked} <= told, "no request is passed over"


def test_what_has_no_request_is_said() -> None:
    page = history.page()
    assert page.count("| no request |") == sum(not e.asked for e in history.read().entries) > 0
    assert "| libmagma | `cirun-openstack-gpu-large` | no request |" in page
    assert "| pytorch-cpu | `cirun-openstack-gpu-large` | 2023-12-01 `pytorch-gpu.yml` |" in page
