"""Cirun's published client and ours ask the same stand-in and see the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from cirun import Cirun as Published
from cirun_standin import BRANCH, UNAUTHORIZED, CirunStandin, CirunState

from cf_infra.cirun import Change, Cirun
from cf_infra.diagnostics import Failure, render
from tests.github import State

ORG = "conda-forge"
ACCESS = """version: 1
policies:
- id: one
  repo: one-feedstock
  roles: [admin]
access_control:
- resource: cirun-gpu
  policies: [one]
"""


@pytest.fixture
def standin() -> Iterator[CirunStandin]:
    github = State(ORG)
    for name in ("one", "two"):
        github.add_repository(f"{name}-feedstock")
    github.add_repository(".cirun", files={".access.yml": ACCESS})
    with CirunStandin(CirunState(github=github, repositories={f"{ORG}/one-feedstock": True})) as made:
        yield made


@pytest.fixture
def published(standin: CirunStandin, monkeypatch: pytest.MonkeyPatch) -> Published:
    for name, value in standin.environment().items():
        monkeypatch.setenv(name, value)
    return Published()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(standin: CirunStandin, slept: list[float]) -> Iterator[Cirun]:
    made = Cirun(environ=standin.environment(), sleep=slept.append)
    yield made
    made.close()


def fault(standin: CirunStandin, call: Callable[[], Any]) -> str:
    with pytest.raises(Failure) as caught:
        call()
    text = render(caught.value.diagnostics)
    assert standin.state.key not in text
    return text


def proposed(standin: CirunStandin) -> bytes:
    """The access list in the pull request that Cirun opened."""
    assert standin.state.github is not None
    repository = standin.state.github.repository(ORG, ".cirun")
    assert repository is not None
    content = repository.commits[repository.branches[BRANCH]].files[".access.yml"]
    return bytes(content)


def test_both_see_the_same_repositories(published: Published, client: Cirun) -> None:
    published.set_repo(f"{ORG}/two-feedstock", active=True)
    client.activate(f"{ORG}/one-feedstock", active=False)
    theirs = {one["repository"]: one["active"] for one in published.get_repos()["repos"]}
    ours = {one.repository: one.active for one in client.repositories()}
    assert ours == theirs == {f"{ORG}/one-feedstock": False, f"{ORG}/two-feedstock": True}


def test_both_see_the_same_access_list(published: Published, client: Cirun) -> None:
    ours = client.access_list(ORG)
    assert ours == published.get_access_control(ORG)["access_yml"]
    assert published.get_repo_resources(ORG, "one-feedstock") == ["cirun-gpu"]
    assert client.access_list("elsewhere") is published.get_access_control("elsewhere") is None


def test_both_propose_the_same(standin: CirunStandin, published: Published, client: Cirun) -> None:
    published.add_repo_to_resources(
        ORG, "two-feedstock", ["cirun-gpu"], roles=["admin"], policy_args={"pull_request": True}
    )
    theirs = proposed(standin)
    client.propose(
        ORG,
        [
            Change(
                repository="two-feedstock",
                resources=["cirun-gpu"],
                roles=["admin"],
                policy_args={"pull_request": True},
            )
        ],
    )
    assert proposed(standin) == theirs
    assert b"two-feedstock" in theirs
    published.remove_repo_from_resources(ORG, "one-feedstock", ["cirun-gpu"])
    theirs = proposed(standin)
    client.propose(ORG, [Change(repository="one-feedstock", resources=["cirun-gpu"], action="remove")])
    assert proposed(standin) == theirs
    assert b"one-feedstock" not in theirs
    assert client.access_list(ORG) == published.get_access_control(ORG)["access_yml"], "only proposed"


def test_both_see_the_same_clouds(standin: CirunStandin, published: Published, client: Cirun) -> None:
    published.cloud_connect("openstack", {"username": "u", "password": "p"})
    assert client.clouds() == published.clouds() == {"clouds": [{"cloud": "openstack"}]}
    assert standin.state.clouds["openstack"]["password"] == "p"
    assert "password" not in repr(standin.state)


def test_a_wrong_key_is_told(standin: CirunStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {**standin.environment(), "CIRUN_API_KEY": "another-key-of-a-test"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(requests.HTTPError) as caught:
        Published().set_repo("a/b")
    assert caught.value.response.json() == {"message": UNAUTHORIZED}
    client = Cirun(environ=environ)
    text = fault(standin, client.repositories)
    client.close()
    assert "Cirun does not take the token that CIRUN_API_KEY gives" in text
    assert "another-key-of-a-test" not in text


def test_faults_of_the_service(standin: CirunStandin, client: Cirun, slept: list[float]) -> None:
    standin.state.faults = [(502, {}), (200, {"repos": []})]
    assert client.repositories() == []
    assert slept == [1.0]
    standin.state.faults = [(200, b"<html>")]
    assert "the answer is not JSON" in fault(standin, client.repositories)
    standin.state.faults = [(200, {"repos": [{"repository": "a b", "active": True}]})]
    assert "not in Cirun's form: repos.0.repository" in fault(standin, client.repositories)
    standin.state.faults = [(200, {"name": "a/c", "active": True})]
    assert "another repository" in fault(standin, lambda: client.activate("a/b"))
    standin.state.faults = [(418, {"message": "short and stout"})]
    text = fault(standin, lambda: client.access_list(ORG))
    assert "Cirun, GET /access-control: Cirun answers 418. It says: short and stout" in text


def test_a_proposal_is_not_sent_twice(standin: CirunStandin, client: Cirun) -> None:
    standin.state.faults = [(502, {})]
    change = Change(repository="two-feedstock", resources=["cirun-gpu"])
    assert "error[service-silent]" in fault(standin, lambda: client.propose(ORG, [change]))
    assert standin.log == ["PUT /access-control"]


@pytest.mark.parametrize("place", ["http://api.cirun.io", "https://u:p@x.example", "file:///etc/passwd"])
def test_the_key_is_not_sent_just_anywhere(place: str) -> None:
    with pytest.raises(Failure) as caught:
        Cirun(environ={"CIRUN_API_ENDPOINT": place, "CIRUN_API_KEY": "key-of-a-test"})
    assert caught.value.diagnostics[0].code == "usage"


def test_without_a_key_the_way_out_is_shown() -> None:
    with pytest.raises(Failure) as caught:
        Cirun(environ={})
    assert "read -rs CIRUN_API_KEY" in caught.value.diagnostics[0].hint
