#!/usr/bin/env python3
"""Have the comments on pull requests that are due: which ones, GitHub's API says; what they hold, git's objects.

    tools/comment.py NUMBER [HEAD]    one pull request; HEAD: the commit that it must be about
    tools/comment.py --head HEAD      every open pull request whose newest commit this is: for a run at GitHub
    tools/comment.py --waiting        every open pull request

Heads are fetched as git objects (fetch.py); the rest is done by `cf-infra comment`, which looks again at who has which
head. The token and GitHub's address are those of settings.yaml; the repository is GITHUB_REPOSITORY, else that of the
remote `origin`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only this folder would be searched

from cf_infra.diagnostics import Failure, printable, render
from cf_infra.files import read_root
from cf_infra.github import Github, Pull, token_of
from cf_infra.parse import parse
from tools import fetch
from tools.talk import SetupError, say

COMMAND = str(ROOT / ".venv" / "bin" / "cf-infra")
MAINTAINERS = ("write", "maintain", "admin")
FULL_HASH = "[0-9a-f]{40}([0-9a-f]{24})?"
_REPOSITORY = re.compile(r"(?:^|[/:])([A-Za-z0-9-]{1,50})/([A-Za-z0-9._-]{1,120}?)(?:\.git)?/?$")


def one(number: str, head: str, root: Path, environ: Mapping[str, str], command: str = COMMAND) -> int:
    """Comment on one pull request; return the exit code. Raise SetupError for what cannot be meant, or had."""
    if not re.fullmatch("[1-9][0-9]{0,8}", number):
        raise _bad(f"`{printable(number)}` is no number of a pull request.")
    if head and not re.fullmatch(FULL_HASH, head):
        raise _bad(f"`{printable(head)}` is no full hash of a commit.")
    now = fetch.head_of(int(number), root)
    if head and now != head:
        say(
            f"pull request {number}: its head is {now[:12]} by now, and {head[:12]} needs no comment any more"
        )
        return 0
    approved = ["--stacks-approved"] if is_approved(int(number), now, root, environ) else []
    return _run([command, "comment", number, "--plan", *approved, "--head", now], root)


def by_head(head: str, root: Path, environ: Mapping[str, str], command: str = COMMAND) -> int:
    """Comment on the open pull requests that have this newest commit; return the exit code."""
    found = sorted(pull.number for pull in open_pulls(root, environ) if pull.head.sha == head)
    if not found:
        say(f"no open pull request has {printable(head[:12])} as its head: closed, or moved on")
    return max([one(str(number), head, root, environ, command) for number in found], default=0)


def waiting(root: Path, environ: Mapping[str, str], command: str = COMMAND) -> int:
    """Have a comment on every open pull request whose head has none; return the exit code."""
    faults = 0
    for pull in open_pulls(root, environ):
        try:
            fetch.head_of(pull.number, root)
        except SetupError as error:  # one that cannot be had keeps no other one from its comment
            say(str(error))
            faults = 1
    return max(faults, _run([command, "comment", "--waiting", "--plan"], root))


def open_pulls(root: Path, environ: Mapping[str, str]) -> list[Pull]:
    """The open pull requests into the default branch, from GitHub itself. Raise Failure or SetupError."""
    with at_github(root, environ) as (github, name):
        here = github.repository(name)
        return github.open_pulls(name, here.default_branch) if here else []


def is_approved(number: int, head: str, root: Path, environ: Mapping[str, str]) -> bool:
    """Tell whether somebody who may write to the repository approved just this head, and not their own.

    Of each person the last word counts, and a comment is none. Raise Failure or SetupError.
    """
    with at_github(root, environ) as (github, name):
        place = f"{github.organisation}/{name}"
        pull = github.whole_pull(place, number)
        last = {
            one.user.login: one
            for one in github.reviews(place, number)
            if one.user and one.user.type == "User" and one.state != "COMMENTED"
        }
        return any(
            one.state == "APPROVED" and one.commit_id == head and github.role(name, login) in MAINTAINERS
            for login, one in last.items()
            if pull and pull.user and login != pull.user.login
        )


@contextmanager
def at_github(root: Path, environ: Mapping[str, str]) -> Iterator[tuple[Github, str]]:
    """Yield GitHub as the settings of this clone say, and the repository's name. Raise Failure or SetupError."""
    owner, name = repository(root, environ)
    settings = parse(read_root(root)).inventory.settings
    github = Github(settings.github.api, owner, token_of(settings, environ), say=say)
    try:
        yield github, name
    finally:
        github.close()


def repository(root: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """Whose repository it is, and its name. Raise SetupError if nothing says so."""
    named = environ.get("GITHUB_REPOSITORY") or fetch.git("remote", "get-url", fetch.REMOTE, root=root).stdout
    found = _REPOSITORY.search(named.strip())
    if found is None:
        raise _bad("Neither GITHUB_REPOSITORY nor the remote `origin` says which repository it is.")
    return found[1], found[2]


def _run(command: Sequence[str], root: Path) -> int:
    return subprocess.run(command, cwd=root, check=False).returncode


def _bad(why: str) -> SetupError:
    return SetupError("bad-pull", "Not a pull request", why, "name it:\n    make comment PULL=12")


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; return the exit code."""
    words = [word for word in arguments if word]
    try:
        if words == ["--waiting"]:
            return waiting(Path(), os.environ)
        if words[:1] == ["--head"] and len(words) == 2:
            return by_head(words[1], Path(), os.environ)
        if len(words) in (1, 2):
            return one(words[0], "".join(words[1:]), Path(), os.environ)
        raise _bad("No pull request is named, and no head.")
    except SetupError as error:
        say(str(error))
    except Failure as failure:
        say(render(failure.diagnostics))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
