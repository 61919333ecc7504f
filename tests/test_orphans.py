"""Servers that are in no state: adopted only if one would be made just like them, else removed, with the reason."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from cf_infra.openstack import Server
from cf_infra.orphans import decide

KEY = "webkit2gtk4.1-feedstock/gpu-own"
TEXT = "#cloud-config\nhostname: here\n"
WANTED: dict[str, Any] = {
    "machines": {
        KEY: {
            "name": "cf-lab-here",
            "hostname": "here",
            "flavor": "gpu-own",
            "image": "ubuntu",
            "user_data": "gpu-own",
        }
    },
    "flavors": {"gpu-own": {"name": "gpu_own"}},
    "images": {"ubuntu": {"name": "ubuntu-24.04"}},
    "user_data": {"gpu-own": "#cloud-config\nhostname: @HOSTNAME@\n"},
}
SAME = Server(
    id="one",
    name="cf-lab-here",
    status="ACTIVE",
    grant=KEY,
    project_id="p",
    flavor="gpu_own",
    image="ubuntu-24.04",
    host=None,
    metadata={"user_data_sha256": hashlib.sha256(TEXT.encode()).hexdigest()},
)


def test_one_that_would_be_made_now_is_adopted() -> None:
    found = decide([SAME], {}, WANTED)
    assert found.adopt == {KEY: "one"} and found.remove == []


def test_one_that_the_state_knows_is_no_orphan() -> None:
    found = decide([SAME], {"one": KEY}, WANTED)
    assert found.adopt == {} and found.remove == []


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (replace(SAME, grant="numpy-feedstock/gpu-own"), "nobody is granted it"),
        (replace(SAME, status="ERROR"), "it is in ERROR"),
        (replace(SAME, name="cf-lab-there"), "another machine"),
        (replace(SAME, flavor="gpu_two"), "another machine"),
        (replace(SAME, image="ubuntu-22.04"), "another image"),
        (replace(SAME, image=None), "another image"),
        (replace(SAME, metadata={}), "other user data"),
    ],
    ids=["revoked", "broken", "renamed", "flavor", "image", "image-gone", "user-data"],
)
def test_any_other_is_removed_and_told_why(other: Server, why: str) -> None:
    found = decide([other], {}, WANTED)
    assert found.adopt == {}
    ((server, reason),) = found.remove
    assert server is other and why in reason


def test_a_place_is_given_once() -> None:
    twin = replace(SAME, id="two")
    found = decide([SAME, twin], {}, WANTED)
    assert found.adopt == {KEY: "one"} and [(s.id, why) for s, why in found.remove] == [
        ("two", "its place is taken")
    ]
    found = decide([SAME], {"three": KEY}, WANTED)
    assert found.adopt == {} and [why for _, why in found.remove] == ["its place is taken"]


def test_servers_go_with_what_they_stand_on() -> None:
    found = decide([SAME], {}, WANTED, lost="network")
    assert found.adopt == {} and "network" in found.remove[0][1]
