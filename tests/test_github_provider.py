"""The real provider integrations/github, run by the real OpenTofu against the stand-in for GitHub."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_tofu import Place, tool_with_github

from cf_infra.tofu import TofuFailure
from tests.github import Repository, Standin, State
from tests.github.state import Secret

ORG = "conda-forge"
TOKEN = "ghp_ThisIsNoTokenButItLooksLikeOne0001"
PROVIDER = "integrations/github"
pytestmark = pytest.mark.sandbox  # no OpenStack, but some twenty runs of OpenTofu
SEALED = base64.b64encode(bytes(range(64))).decode()


@pytest.fixture
def github() -> Iterator[Standin]:
    state = State(ORG)
    state.add_member("operator", owner=True)
    state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
    state.add_repository(".cirun", files={"README.md": "# Access\n"})
    with Standin(state) as standin:
        yield standin


@pytest.fixture
def place(tmp_path: Path, github: Standin) -> Iterator[Place]:
    tool = tool_with_github()
    made = Place(tmp_path, tool)
    made.tool = tool.with_provider("github")
    yield made
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert TOKEN.encode() not in path.read_bytes(), path


def configuration(github: Standin, **resources: Any) -> dict[str, Any]:
    """A provider block for the stand-in, and resources by type."""
    return {
        "terraform": {
            "backend": {"local": {}},
            "required_providers": {"github": {"source": PROVIDER, "version": ">= 6.11.1, < 7.0.0"}},
        },
        "provider": {
            "github": {
                "base_url": f"{github.url}/",
                "owner": ORG,
                "write_delay_ms": 1,
            }
        },
        **({"resource": resources} if resources else {}),
    }


class Run:
    """One place, planned and applied again and again."""

    def __init__(self, place: Place, github: Standin) -> None:
        self.place, self.github = place, github
        self.tofu = place.tofu(env={"GITHUB_TOKEN": TOKEN})

    def plan(self, **resources: Any) -> dict[str, list[str]]:
        """What a plan would do, by address."""
        self.place.write({}, **configuration(self.github, **resources))
        self.tofu.init(self.place.state)
        self.tofu.plan(self.place.saved)
        shown = self.tofu.show_plan(self.place.saved)
        changes = {one["address"]: one["change"]["actions"] for one in shown.get("resource_changes", ())}
        return {address: actions for address, actions in changes.items() if actions != ["no-op"]}

    def apply(self, **resources: Any) -> dict[str, list[str]]:
        """Plan and apply; afterwards a second plan has to be empty."""
        done = self.plan(**resources)
        self.tofu.apply(self.place.saved)
        assert self.plan(**resources) == {}, "the second plan is empty"
        return done


@pytest.fixture
def run(place: Place, github: Standin) -> Run:
    return Run(place, github)


def file(content: str) -> dict[str, Any]:
    return {
        "repository": ".cirun",
        "branch": "main",
        "file": ".access.yml",
        "content": content,
        "commit_message": "Update access",
        "overwrite_on_create": True,
    }


def at(repository: Repository, path: str) -> bytes | None:
    return repository.commits[repository.branches["main"]].files.get(path)


def test_a_file_is_made_changed_and_removed(run: Run, github: Standin) -> None:
    cirun = github.state.repository(ORG, ".cirun")
    assert cirun is not None
    assert run.apply(github_repository_file={"access": file("version: 1\n")}) == {
        "github_repository_file.access": ["create"]
    }
    assert at(cirun, ".access.yml") == b"version: 1\n"
    changed = file("version: 1\npolicies: []\n")
    assert run.apply(github_repository_file={"access": changed}) == {
        "github_repository_file.access": ["update"]
    }
    assert at(cirun, ".access.yml") == b"version: 1\npolicies: []\n"
    github.state.commit(cirun, {".access.yml": "by hand\n"}, "Edited by somebody")
    assert run.plan(github_repository_file={"access": changed}) == {
        "github_repository_file.access": ["update"]
    }, "a change by hand is seen"
    assert run.apply() == {"github_repository_file.access": ["delete"]}
    assert at(cirun, ".access.yml") is None
    assert at(cirun, "README.md") == b"# Access\n"


def group(*repositories: Repository) -> dict[str, Any]:
    return {
        "name": "gpu",
        "visibility": "selected",
        "allows_public_repositories": True,
        "selected_repository_ids": [one.id for one in repositories],
    }


def test_a_runner_group_follows_its_list(run: Run, github: Standin) -> None:
    one, two = (github.state.add_repository(f"{name}-feedstock") for name in ("one", "two"))
    run.apply(github_actions_runner_group={"gpu": group(one)})
    made = next(each for each in github.state.groups.values() if each.name == "gpu")
    assert (made.selected, made.allows_public) == ({one.id}, True)
    assert run.apply(github_actions_runner_group={"gpu": group(one, two)}) == {
        "github_actions_runner_group.gpu": ["update"]
    }
    assert made.selected == {one.id, two.id}
    assert run.apply() == {"github_actions_runner_group.gpu": ["delete"]}
    assert [each.name for each in github.state.groups.values()] == ["Default"]


def test_what_is_done_to_a_runner_group_by_hand_is_seen_by_no_plan(run: Run, github: Standin) -> None:
    """Why audit has to ask GitHub itself (docs/traps.md)."""
    one, two = (github.state.add_repository(f"{name}-feedstock") for name in ("one", "two"))
    run.apply(github_actions_runner_group={"gpu": group(one)})
    made = next(each for each in github.state.groups.values() if each.name == "gpu")
    made.selected.add(two.id)
    assert run.plan(github_actions_runner_group={"gpu": group(one)}) == {}
    made.allows_public = False
    assert run.plan(github_actions_runner_group={"gpu": group(one)}) != {}
    del github.state.groups[made.id]
    assert run.plan(github_actions_runner_group={"gpu": group(one)}) == {}


def test_a_file_above_a_megabyte_cannot_be_kept_by_the_provider(run: Run, github: Standin) -> None:
    """Why a list of that size has to be delivered by pull request (docs/traps.md)."""
    with pytest.raises(TofuFailure) as failure:
        run.apply(github_repository_file={"access": file(f"# {'x' * 100_000}\n" * 11)})
    assert "unsupported content encoding" in str(failure.value)


def test_a_secret_that_is_gone_stops_every_plan(run: Run, github: Standin) -> None:
    one = github.state.add_repository("one-feedstock")
    github.state.secrets["TOKEN"] = Secret("selected", name="TOKEN", encrypted_value=SEALED)
    wanted = {"it": {"secret_name": "TOKEN", "selected_repository_ids": [one.id]}}
    run.apply(github_actions_organization_secret_repositories=wanted)
    del github.state.secrets["TOKEN"]
    with pytest.raises(TofuFailure, match="404"):
        run.plan(github_actions_organization_secret_repositories=wanted)


def test_an_app_that_lost_its_repository_by_hand_gets_it_back(run: Run, github: Standin) -> None:
    kept, granted = (github.state.add_repository(f"{name}-feedstock") for name in ("kept", "granted"))
    app = github.state.add_installation("namespace", kept)
    wanted = {"it": {"installation_id": str(app.id), "repository": "granted-feedstock"}}
    run.apply(github_app_installation_repository=wanted)
    app.repositories.discard(granted.id)
    assert run.apply(github_app_installation_repository=wanted) == {
        "github_app_installation_repository.it": ["create"]
    }
    github.state.move(granted, "renamed-feedstock")
    assert run.plan(github_app_installation_repository=wanted) == {
        "github_app_installation_repository.it": ["create"]
    }, "it is known by name: a rename looks like a loss"


def test_the_last_repository_of_an_app_stays(run: Run, github: Standin) -> None:
    github.state.add_repository("granted-feedstock")
    app = github.state.add_installation("namespace")
    wanted = {"it": {"installation_id": str(app.id), "repository": "granted-feedstock"}}
    run.apply(github_app_installation_repository=wanted)
    with pytest.raises(TofuFailure, match="last repository"):
        run.apply()
    assert len(app.repositories) == 1


def test_secrets_and_variables_are_seen_by_those_selected(run: Run, github: Standin) -> None:
    one, two = (github.state.add_repository(f"{name}-feedstock") for name in ("one", "two"))
    secret = github.state.secrets["TOKEN"] = Secret("selected", name="TOKEN", encrypted_value=SEALED)

    def wanted(*chosen: Repository) -> dict[str, Any]:
        ids = [each.id for each in chosen]
        return {
            "github_actions_organization_secret_repositories": {
                "it": {"secret_name": "TOKEN", "selected_repository_ids": ids}
            },
            "github_actions_organization_variable": {
                "it": {
                    "variable_name": "RUNNERS",
                    "value": "gpu",
                    "visibility": "selected",
                    "selected_repository_ids": ids,
                }
            },
        }

    run.apply(**wanted(one))
    variable = github.state.variables["RUNNERS"]
    assert secret.selected == variable.selected == {one.id}
    run.apply(**wanted(one, two))
    assert secret.selected == variable.selected == {one.id, two.id}
    run.apply()
    assert secret.selected == set()
    assert (secret.encrypted_value, github.state.variables) == (SEALED, {})


def test_an_app_gets_and_loses_a_repository(run: Run, github: Standin) -> None:
    kept, granted = (github.state.add_repository(f"{name}-feedstock") for name in ("kept", "granted"))
    app = github.state.add_installation("namespace", kept)
    run.apply(
        github_app_installation_repository={
            "it": {"installation_id": str(app.id), "repository": "granted-feedstock"}
        }
    )
    assert app.repositories == {kept.id, granted.id}
    run.apply()
    assert app.repositories == {kept.id}
