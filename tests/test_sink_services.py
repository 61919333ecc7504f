"""Credentials arrive at services, and what services do wrong is told: each fault that a service can have."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cirun_standin import CirunStandin, CirunState
from drone_standin import DroneStandin
from nacl.public import PrivateKey, SealedBox
from test_sinks import LOGIN, VALUE, fault, login, made

from cf_infra import rest
from cf_infra.material import Material, Sink
from cf_infra.model import CredentialKind, Settings
from cf_infra.sinks import sink
from tests.github import Standin, State, organization

ORG = "conda-forge"
TOKEN = "ghp_token-of-a-test-of-sinks"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a service that fails."""
    monkeypatch.setattr(rest, "BACKOFF", (0.0, 0.0, 0.0))
    monkeypatch.setattr(rest, "TIMEOUT", (0.3, 0.3))


# ------------------------------------------------------------------------------------------------------- Cirun


@pytest.fixture
def cirun() -> Iterator[CirunStandin]:
    with CirunStandin(CirunState()) as standin:
        yield standin


def to_cirun(cirun: CirunStandin, tmp_path: Path) -> Sink:
    return sink("cirun", "lab", Settings(), tmp_path, cirun.environment(), sandbox=False)


def test_cirun_has_the_login_and_one_for_each_kind_of_cloud(cirun: CirunStandin, tmp_path: Path) -> None:
    target = to_cirun(cirun, tmp_path)
    target.deliver(login())
    assert cirun.state.clouds == {"openstack": LOGIN}
    target.deliver(login())
    assert cirun.state.clouds == {"openstack": LOGIN}, "twice is as once"
    target.deliver(login("219", "another-value-of-a-test"))
    assert cirun.state.clouds["openstack"]["password"] == "another-value-of-a-test"
    assert target.withdraw("lab", "cirun") == [
        "Disconnect the cloud openstack in Cirun's settings: `lab/cirun` is declared no more."
    ]
    assert VALUE not in repr(target)
    assert cirun.state.key not in repr(target)


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ([(502, {})] * 4, "status 502. Whether it arrived is not known"),
        ([(0, None)] * 4, "the connection was lost. Whether it arrived is not known"),
        ([(422, {"message": f"bad password {VALUE}"})], "Cirun answers 422. It says: bad password (secret)"),
        ([(401, {"message": "no"})], "Cirun does not take the token that CIRUN_API_KEY gives"),
        ([(200, b"<html>")], "the answer is not JSON but application/json"),
    ],
)
def test_cirun_refuses(faults: list[tuple[int, Any]], why: str, cirun: CirunStandin, tmp_path: Path) -> None:
    cirun.state.faults = faults
    assert why in fault(to_cirun(cirun, tmp_path), login())
    assert cirun.state.clouds == {}
    assert cirun.state.faults == []


def test_cirun_fails_once_and_is_asked_again(cirun: CirunStandin, tmp_path: Path) -> None:
    cirun.state.faults = [(503, {})]
    to_cirun(cirun, tmp_path).deliver(login())
    assert cirun.state.clouds == {"openstack": LOGIN}


def test_cirun_takes_it_and_answers_500(cirun: CirunStandin, tmp_path: Path) -> None:
    cirun.state.late = [(500, {"message": "oops"})] * 4
    assert "Whether it arrived is not known" in fault(to_cirun(cirun, tmp_path), login())
    assert cirun.state.clouds == {"openstack": LOGIN}
    to_cirun(cirun, tmp_path).deliver(login())
    assert cirun.state.clouds == {"openstack": LOGIN}, "handing it over again did no harm"


def test_cirun_answers_too_late(cirun: CirunStandin, tmp_path: Path) -> None:
    cirun.state.delay = 1.0
    assert "no answer in time" in fault(to_cirun(cirun, tmp_path), login())


def test_cirun_takes_users_with_all_they_need(cirun: CirunStandin, tmp_path: Path) -> None:
    target = to_cirun(cirun, tmp_path)
    assert "users with a password, and no secret" in fault(target, made(CredentialKind.SECRET))
    without = {name: value for name, value in LOGIN.items() if name not in ("network", "domain_id")}
    given = Material("lab", "cirun", "1", CredentialKind.USER, without, frozenset({"password"}))
    assert "Cirun needs domain_id, network as well" in fault(target, given)
    assert cirun.log == []


def test_cirun_without_a_key(tmp_path: Path) -> None:
    target = sink("cirun", "lab", Settings(), tmp_path, {}, sandbox=False)
    assert "read -rs CIRUN_API_KEY" in fault(target, login())


# ------------------------------------------------------------------------------------------------------ GitHub

BOX = PrivateKey.generate()


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    public = base64.b64encode(bytes(BOX.public_key)).decode()
    monkeypatch.setattr(organization, "PUBLIC_KEY", public)
    state = State(ORG)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    with Standin(state) as standin:
        yield standin


def to_github(github: Standin, tmp_path: Path, **more: Any) -> Sink:
    described = {"github": {"api": github.url}, "sinks": {"upload": {"kind": "github-secret", **more}}}
    environ = {"GITHUB_TOKEN": TOKEN}
    return sink("upload", "lab", Settings.model_validate(described), tmp_path, environ, sandbox=True)


def opened(github: Standin, name: str) -> str:
    return SealedBox(BOX).decrypt(base64.b64decode(github.state.secrets[name].encrypted_value)).decode()


def test_a_new_secret_is_for_no_repository_yet(github: Standin, tmp_path: Path) -> None:
    material = made(CredentialKind.SECRET, name="staging-upload")
    to_github(github, tmp_path).deliver(material)
    assert opened(github, "STAGING_UPLOAD") == material.fields["value"]
    found = github.state.secrets["STAGING_UPLOAD"]
    assert (found.visibility, found.selected) == ("selected", set())


def test_who_sees_a_secret_stays_as_it_is(github: Standin, tmp_path: Path) -> None:
    one = github.state.add_repository("one-feedstock")
    target = to_github(github, tmp_path, name="UPLOAD")
    target.deliver(made(CredentialKind.SECRET))
    found = github.state.secrets["UPLOAD"]
    for visibility, selected in (("selected", {one.id}), ("all", set()), ("private", set())):
        found.visibility, found.selected = visibility, selected
        material = made(CredentialKind.SECRET, generation=visibility)
        for _ in range(2):
            target.deliver(material)
            found = github.state.secrets["UPLOAD"]
            assert (found.visibility, found.selected) == (visibility, selected)
            assert opened(github, "UPLOAD") == material.fields["value"]
    assert target.withdraw("lab", "one") == []
    assert github.state.secrets == {}
    assert target.withdraw("lab", "one") == []


def test_several_fields_go_as_json_or_one_of_them_alone(github: Standin, tmp_path: Path) -> None:
    to_github(github, tmp_path).deliver(login())
    assert json.loads(opened(github, "CIRUN")) == LOGIN
    to_github(github, tmp_path, field="password").deliver(login())
    assert opened(github, "CIRUN") == VALUE
    assert "no field `token`" in fault(to_github(github, tmp_path, field="token"), login())


def test_github_takes_48_kb(github: Standin, tmp_path: Path) -> None:
    def sized(size: int) -> Material:
        return Material("lab", "big", "1", CredentialKind.SECRET, {"value": "x" * size}, frozenset({"value"}))

    to_github(github, tmp_path).deliver(sized(48 << 10))
    assert "has 49,153 bytes, and GitHub takes 49,152 (48 KB)" in fault(
        to_github(github, tmp_path), sized((48 << 10) + 1)
    )


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"status": 502, "times": 4}, "status 502. Whether it arrived is not known"),
        ({"status": 502, "times": 4, "late": True}, "Whether it arrived is not known"),
        ({"status": 0, "times": 4}, "the connection was lost"),
        ({"status": 200, "times": 4, "delay": 1.0}, "no answer in time"),
        ({"status": 422, "body": {"message": f"not {VALUE}"}}, "It says: not (secret)"),
    ],
)
def test_github_refuses(wrong: dict[str, Any], why: str, github: Standin, tmp_path: Path) -> None:
    github.fail_next(matching="PUT", **wrong)
    assert why in fault(to_github(github, tmp_path), login())
    to_github(github, tmp_path).deliver(login())
    assert json.loads(opened(github, "CIRUN")) == LOGIN


def test_a_token_that_may_not_and_a_key_that_is_none(
    github: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organization, "PUBLIC_KEY", base64.b64encode(b"short").decode())
    assert "no usable key" in fault(to_github(github, tmp_path), login())
    github.state.tokens.clear()
    github.state.add_token(TOKEN, "operator", scopes=["repo"])
    text = fault(to_github(github, tmp_path), login())
    assert "lacks what this needs admin:org" in text
    assert TOKEN not in text


# ------------------------------------------------------------------------------------------------------- Drone


@pytest.fixture
def drone() -> Iterator[DroneStandin]:
    with DroneStandin() as standin:
        yield standin


def to_drone(drone: DroneStandin, tmp_path: Path, **more: Any) -> Sink:
    described = {"kind": "drone-secret", "server": drone.url, "namespace": ORG, **more}
    settings = Settings.model_validate({"sinks": {"org": described}})
    return sink("org", "lab", settings, tmp_path, {"DRONE_TOKEN": drone.token}, sandbox=True)


def test_drone_has_the_secret(drone: DroneStandin, tmp_path: Path) -> None:
    target = to_drone(drone, tmp_path, pull_requests=True)
    material = made(CredentialKind.SECRET, name="staging-upload")
    for _ in range(2):
        target.deliver(material)
        assert drone.secrets == {(ORG, "staging_upload"): (material.fields["value"], True)}
    assert drone.log.count(f"POST /api/secrets/{ORG}") == 1
    to_drone(drone, tmp_path, name="BINSTAR_TOKEN").deliver(material)
    assert drone.secrets.pop((ORG, "BINSTAR_TOKEN")) == (material.fields["value"], False)
    assert target.withdraw("lab", "staging-upload") == []
    assert drone.secrets == {}
    assert target.withdraw("lab", "staging-upload") == []


def test_drone_takes_it_and_answers_500(drone: DroneStandin, tmp_path: Path) -> None:
    """A secret is made once: a second POST would be refused for ever, so it is changed instead."""
    drone.late = [500]
    material = made(CredentialKind.SECRET)
    to_drone(drone, tmp_path).deliver(material)
    assert drone.secrets == {(ORG, "one"): (material.fields["value"], False)}


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ([500] * 9, "status 500. Whether it arrived is not known"),
        ([401], "Drone does not take the token that DRONE_TOKEN gives"),
        ([400], "Drone answers 400. It says: refused"),
        ([0] * 9, "the connection was lost"),
    ],
)
def test_drone_refuses(faults: list[int], why: str, drone: DroneStandin, tmp_path: Path) -> None:
    drone.faults = list(faults)
    assert why in fault(to_drone(drone, tmp_path), made(CredentialKind.SECRET))
    assert drone.secrets == {}
