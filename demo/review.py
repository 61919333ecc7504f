"""The part of `make demo` about reviews: what a pull request's comment says, and that nothing else is applied.

OpenTofu and its provider for GitHub are the real ones; GitHub is the one of tests/, on this machine. Alone:
`.venv/bin/python demo/review.py`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from access import access_list, command, show
from feedstock_world import ORG, World, between_stand_ins
from pull_requests import PullRequests
from roots import write_root
from stage import expect

from cf_infra import tofu

NAME = "ci-access"
SETTINGS = """\
version: 1
organisation: {org}
access_delivery: direct
operators: [olga, peter]
github: {{api: '{api}', repository: {org}/{name}}}
"""
ENTRY = """\
  - feedstock: {name}
    resources: [gpu-large]
    reason: CUDA tests
    request: https://example.org/1
    requested_by: alice
    granted: 2026-01-01
    expires: {until}
    roles: [admin, maintain, write]
"""
COMMENT = ("comment", f"{ORG}/{NAME}#1", "--plan")


def main() -> int:
    """The demo; 0 if everything that it claims was seen."""
    if "github" not in tofu.find(ROOT).locks:
        print("Left out: OpenTofu's provider for GitHub is not here. `make setup` builds it.")
        return 0
    with tempfile.TemporaryDirectory(prefix="cf-infra-demo-") as folder:
        root = Path(folder) / "root"
        with between_stand_ins(root, command) as world:
            os.environ |= {**world.environment(), "CF_INFRA_KEY_FILE": world.key()}
            settings = SETTINGS.format(org=ORG, api=world.github.url, name=NAME)
            write_root(root, {"settings.yaml": settings.encode(), ".gitignore": b"/build/\n/.state/\n"})
            pulls = PullRequests(root, world.github.state, NAME)
            pulls.commit("begin", lambda: granted(world, "numpy"))
            for word in ("plan", "apply"):
                expect(
                    command(word, "--root", str(root)).code == 0, f"the first {word} ends well", quiet=True
                )
            proposed(world, pulls)
            merged(world, pulls)
            meddled(world)
    return 0


def granted(world: World, *names: str) -> None:
    """grants.yaml with these feedstocks on a GPU."""
    until = (datetime.now(UTC).date() + timedelta(days=365)).isoformat()
    world.grants(*(ENTRY.format(name=name, until=until) for name in names))


def proposed(world: World, pulls: PullRequests) -> None:
    """A stranger's pull request, and what is said there."""
    print(
        "A stranger's pull request from a fork gives `cupy` a GPU. Its files are read, and nothing of it is run:\n"
    )
    pulls.open(1, "alice", lambda: granted(world, "numpy", "cupy"))
    show(world, *COMMENT, "--dry-run", lines=20)
    show(world, *COMMENT)
    expect(len(pulls.comments(1)) == 1, "the pull request has one comment")
    expect("cupy" not in access_list(world), "the access list does not name cupy yet")


def merged(world: World, pulls: PullRequests) -> None:
    """After the merge just that is applied."""
    print("An operator squashes it onto the default branch. Then:\n")
    pulls.merge(1, "olga", lambda: granted(world, "numpy", "cupy"))
    show(world, "plan", lines=4)
    show(world, "apply", "--reviewed")
    expect("cupy" in access_list(world), "the access list names cupy")
    told = show(world, "history", "cupy")
    expect("olga" in told, "the journal knows who approved it")


def meddled(world: World) -> None:
    """What nobody reviewed waits."""
    print("Somebody writes a line into the access list by hand, at GitHub:\n")
    cirun = world.github.state.repository(ORG, ".cirun")
    assert cirun is not None
    text = access_list(world).replace("cupy-feedstock", "mallory-feedstock")
    world.github.state.commit(cirun, {".access.yml": text.encode()}, "By hand")
    show(world, "drift", code=0)
    show(world, "plan", lines=6)
    show(world, "apply", "--reviewed", code=1)
    expect("mallory" in access_list(world), "nothing was written over before a person decides")


if __name__ == "__main__":
    sys.exit(main())
