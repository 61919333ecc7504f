"""From a fork's pull request to the machine: the comment in one go, the merge, and an apply of just what was reviewed.

OpenStack, git and OpenTofu are real; GitHub is the stand-in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from pull_requests import PullRequests
from scene import JSON, Done, Scene, playing

from tests.github import Standin, State
from tests.leaks import WATCH

STACK, NAME = "reviewed", "ci-access"
PLACE = f"conda-forge/{NAME}"
TOKEN = "ghp_NotARealTokenOfTheScenesOwnTests0001"
OLD: JSON = {"feedstock": "old", "resources": ["gpu-own"], "stack": STACK}
NEW: JSON = {"feedstock": "new", "resources": ["gpu-own"], "stack": STACK}
OLD_KEY, NEW_KEY = "old-feedstock/gpu-own", "new-feedstock/gpu-own"
NOWHERE = {"OS_CLIENT_CONFIG_FILE": "/dev/null/none", "CF_INFRA_SANDBOX_DIR": "/dev/null/none"}
"""For what runs beside strangers' heads: no cloud can be reached from there."""


@playing(minutes=2)
def test_from_a_pull_request_to_the_machine(scene: Scene) -> None:
    WATCH.knows("the token of the scene of reviews", TOKEN)
    state = State("conda-forge")
    state.add_token(TOKEN, "cf-bot", scopes=["repo", "read:org"])
    with Standin(state) as github:
        world = World(scene, state)
        world.begin(github.url)
        began = time.monotonic()
        gives_a_machine(world)
        scene.log.append(f"the way of a pull request, commands alone: {time.monotonic() - began:.1f} s")
        a_head_that_moves_is_not_commented(world)
        what_somebody_did_at_the_cloud_waits_for_a_person(world)
        a_comment_that_was_edited_covers_nothing(world)
        a_merge_that_says_more_than_its_head_covers_only_what_was_seen(world)


def gives_a_machine(world: World) -> None:
    """One comment says it, and after the merge just that is done."""
    world.pulls.open(1, "stranger", world.grants(OLD, NEW))
    done = world.comment(1)
    assert done.code == 0
    (text,) = world.pulls.comments(1)
    first = text.splitlines()[0]
    assert "Gives 1 feedstock a GPU until 2041-01-01" in text and "makes 1 machine" in text, text
    assert "destroys nothing" in text and "no cloud was asked" in text, first
    assert f"server cf-{STACK}-new-feedstock-gpu-own" in text
    assert set(world.scene.ids(STACK)) == {OLD_KEY}, "a review makes nothing"
    world.pulls.merge(1, "peter", world.grants(OLD, NEW))
    world.scene.plan(STACK)
    waiting = world.apply(code=1)
    assert waiting.codes == ["waits-for-review"] and "approval" in waiting.detail("waits-for-review")
    assert set(world.scene.ids(STACK)) == {OLD_KEY}, "nobody approved it"
    world.pulls.approve(1, "olga")
    world.scene.plan(STACK)
    row = world.apply().stack(STACK)
    assert row["applied"] > 0 and row["waits"] == []
    assert set(world.scene.ids(STACK)) == {OLD_KEY, NEW_KEY}
    world.scene.nothing_to_do(STACK)
    assert "nothing was changed behind our back" in world.scene.run("drift", STACK, "--detailed-exitcode").out


def a_head_that_moves_is_not_commented(world: World) -> None:
    seen = world.pulls.open(2, "stranger", world.grants(OLD))
    world.pulls.push(2, world.grants(OLD, {**NEW, "feedstock": "greedy"}))
    done = world.comment(2, "--head", seen, code=1)
    assert done.codes == ["head-moved"] and world.pulls.comments(2) == []


def what_somebody_did_at_the_cloud_waits_for_a_person(world: World) -> None:
    """A server that was deleted by hand comes back only if somebody says so."""
    scene = world.scene
    server = scene.ids(STACK)[NEW_KEY]
    scene.cloud.compute.delete_server(server)
    # Nova shows DELETED for a while, and the provider takes that for a server that is there.
    scene.wait("Nova forgets it", lambda: not scene.is_there(lambda: scene.cloud.compute.get_server(server)))
    drift = scene.run("drift", STACK, "--detailed-exitcode", "--format", "json", code=2).stack(STACK)["drift"]
    assert [(row["action"], row["grants"]) for row in drift] == [("create", [NEW_KEY])], drift
    digest = scene.plan(STACK).stack(STACK)["review_digest"]
    told = world.apply(code=1).detail("waits-for-review")
    assert "since the review: it comes of what is at the cloud" in told and digest in told
    assert set(scene.ids(STACK)) == {OLD_KEY}
    other = world.apply("--accept", f"{STACK}={'0' * 64}", code=1)
    assert other.codes == ["other-digest"] and set(scene.ids(STACK)) == {OLD_KEY}
    world.apply("--accept", f"{STACK}={digest}")
    assert set(scene.ids(STACK)) == {OLD_KEY, NEW_KEY}


def a_comment_that_was_edited_covers_nothing(world: World) -> None:
    world.pulls.open(3, "stranger", world.grants(OLD))
    world.comment(3)
    world.pulls.approve(3, "olga")
    (comment,) = world.pulls.repository.issues[3].comments.values()
    head, _, mac = comment.body.rpartition(" ")[0].rpartition(" ")
    comment.body = f"{head} {'0' * len(mac)} -->"
    world.pulls.merge(3, "peter", world.grants(OLD))
    world.scene.plan(STACK)
    told = world.apply(code=1).detail("waits-for-review")
    assert "was edited" in told and set(world.scene.ids(STACK)) == {OLD_KEY, NEW_KEY}


def a_merge_that_says_more_than_its_head_covers_only_what_was_seen(world: World) -> None:
    """What pull request 3 took away is given again; another one puts more into its merge than its review saw."""
    world.pulls.commit("main", world.grants(OLD, NEW))
    later = {**NEW, "expires": "2041-06-01"}
    world.pulls.open(4, "stranger", world.grants(OLD, later))
    world.comment(4)
    world.pulls.approve(4, "olga")
    world.pulls.merge(4, "peter", world.grants({**OLD, "users": ["mallory"]}, later))
    world.scene.plan(STACK)
    told = world.apply(code=1).detail("waits-for-review")
    assert "grant old-feedstock/gpu-own changed: no review covers it" in told
    assert "new-feedstock" not in told
    assert set(world.scene.ids(STACK)) == {OLD_KEY, NEW_KEY}


# ------------------------------------------------------------------------------------------------- the world


@dataclass
class World:
    """The clone, and its repository at GitHub."""

    scene: Scene
    state: State

    def begin(self, url: str) -> None:
        """A stack that was applied from the default branch, as a person did it before there were reviews."""
        self.scene.stack(STACK)
        github = {"api": url, "repository": PLACE}
        settings = {
            "version": 1,
            "organisation": "conda-forge",
            "operators": ["olga", "peter"],
            "github": github,
        }
        self.scene.write("settings.yaml", json.dumps({**settings, "approvals": {"required": 2}}))
        self.scene.write(".gitignore", "/build/\n/.state/\n")
        self.pulls = PullRequests(self.scene.root, self.state, NAME)
        self.pulls.commit("main", self.grants(OLD))
        self.scene.converge(STACK)

    def grants(self, *entries: JSON) -> Callable[[], None]:
        return lambda: self.scene.grants(*entries)

    def comment(self, number: int, *words: str, code: int = 0) -> Done:
        """What the workflow runs: a clone with the head's objects, the state's key, and no cloud."""
        arguments = (
            "comment",
            f"{PLACE}#{number}",
            "--plan",
            "--today",
            self.scene.today,
            "--format",
            "json",
        )
        return self.scene.run(*arguments, *words, code=code, env={"GITHUB_TOKEN": TOKEN, **NOWHERE})

    def apply(self, *words: str, code: int = 0) -> Done:
        arguments = ("apply", "--format", "json", STACK, "--reviewed", *words)
        return self.scene.run(*arguments, code=code, env={"GITHUB_TOKEN": TOKEN})
