"""What the make targets of workflows are made of: tools/job.py, job_files.py, fetch.py and comment.py."""

from __future__ import annotations

import os
import random
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.github import Standin, State
from tests.github.state import Pull
from tools import comment, fetch, job, job_files, parts
from tools.talk import SetupError

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "token-for-the-comments"
SHA = "1" * 40


# ------------------------------------------------------------------------------------------------- tools/job.py


def stepped(
    *arguments: str, environ: Mapping[str, str], cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "job.py"), *arguments]
    environ = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True)


HOSTILE = "printf '::set-output name=waiting::mine\\n::add-mask::a\\n'; exit 3"


def test_outside_of_github_a_command_is_just_run() -> None:
    ran = stepped("--summary", "sh", "-c", HOSTILE, environ={})
    assert (ran.returncode, ran.stdout) == (3, "::set-output name=waiting::mine\n::add-mask::a\n")


def test_at_github_nothing_that_is_printed_is_obeyed(tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    first, second = (stepped("--summary", "sh", "-c", HOSTILE, environ=environ) for _ in range(2))
    assert first.returncode == 3
    words = []
    for ran in (first, second):
        begin, *rest = ran.stdout.splitlines()
        assert re.fullmatch("::stop-commands::[0-9a-f]{32}", begin)
        words.append(begin.rpartition(":")[2])
        assert words[-1] not in "".join(rest)  # nothing makes the runner obey again
    assert words[0] != words[1]
    assert summary.read_text() == "::set-output name=waiting::mine\n::add-mask::a\n" * 2


def test_a_summary_that_is_too_long_is_cut_at_a_line(tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    script = "import sys\nfor n in range(200_000): print(f'line {n:09}')"
    ran = stepped("--summary", sys.executable, "-c", script, environ=environ)
    assert ran.returncode == 0 and ran.stdout.endswith("line 000199999\n")
    kept = summary.read_bytes()
    assert len(kept) <= 1_048_576 and kept.endswith(job.CUT)
    assert re.fullmatch(rb"line \d{9}", kept.removesuffix(job.CUT).splitlines()[-1])


def test_without_summary_nothing_is_kept_and_a_signal_is_an_exit_code(tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    assert stepped("sh", "-c", "echo told; kill -9 $$", environ=environ).returncode == 137
    assert not summary.exists()


@pytest.mark.parametrize(
    ("state", "environ", "code"),
    [
        ("{kind: s3, bucket: b-u-c, region: r}", {"GITHUB_ACTIONS": "true"}, 0),
        ("{kind: local}", {}, 0),  # a person's own machine
        ("{kind: local}", {"GITHUB_ACTIONS": "true"}, 1),
    ],
)
def test_no_job_applies_to_states_that_go_with_its_machine(
    state: str, environ: dict[str, str], code: int, tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_text(f"version: 1\nstate: {state}\n")
    ran = stepped("--kept", "--summary", "echo", "applied", environ=environ, cwd=tmp_path)
    assert ran.returncode == code
    assert ("applied" in ran.stdout) is not bool(code) and ("error[state-not-kept]" in ran.stderr) is bool(
        code
    )


@pytest.mark.parametrize("environ", [{}, {"GITHUB_ACTIONS": "true"}])
def test_wrong_use_and_a_missing_program_are_told(environ: dict[str, str]) -> None:
    nothing, missing = stepped(environ=environ), stepped("/no/such/program", environ=environ)
    assert nothing.returncode == 64 and "usage: tools/job.py" in nothing.stderr
    assert missing.returncode == 1 and "error[" in missing.stderr


# ------------------------------------------------------------------------------------------- tools/job_files.py


def test_secrets_become_files_for_us_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {
        "XDG_CONFIG_HOME": str(tmp_path / "c"),
        "CF_INFRA_STATE_KEY": "ab" * 32,
        "CF_INFRA_CLOUDS": "clouds: {}\n",
    }
    for _ in range(2):  # again: they are there already
        job_files.put(environ)
    key, clouds = tmp_path / "c/cf-infra/state.key", tmp_path / "c/openstack/clouds.yaml"
    assert key.read_text() == "ab" * 32 + "\n" and clouds.read_text() == "clouds: {}\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (key, clouds)} == {0o600}
    assert "abab" not in capsys.readouterr().err


def test_what_is_not_set_makes_no_file(tmp_path: Path) -> None:
    job_files.put({"XDG_CONFIG_HOME": str(tmp_path), "CF_INFRA_STATE_KEY": "", "CF_INFRA_CLOUDS": " "})
    assert list(tmp_path.iterdir()) == []


def test_a_named_key_file(tmp_path: Path) -> None:
    job_files.put({"CF_INFRA_KEY_FILE": str(tmp_path / "there"), "CF_INFRA_STATE_KEY": "cd" * 32})
    assert (tmp_path / "there").read_text() == "cd" * 32 + "\n"


@pytest.mark.parametrize("link", [False, True])
def test_no_file_of_somebody_is_written_over(tmp_path: Path, link: bool) -> None:
    place = tmp_path / "cf-infra" / "state.key"
    place.parent.mkdir()
    (tmp_path / "other").write_text("mine")
    if link:
        place.symlink_to(tmp_path / "other")
    else:
        place.write_text("mine")
    with pytest.raises(SetupError) as raised:
        job_files.put({"XDG_CONFIG_HOME": str(tmp_path), "CF_INFRA_STATE_KEY": "ab" * 32})
    assert raised.value.code == "file-in-the-way" and "abab" not in str(raised.value)
    assert place.read_text() == "mine"


# ----------------------------------------------------------------------------------------------- tools/fetch.py


class Hub:
    """A repository at GitHub, where heads of pull requests are reachable by their number, and a clone of it."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.work, self.clone = folder / "hub.git", folder / "work", folder / "clone"
        self.git(folder, "init", "-q", "--bare", "-b", "main", str(self.bare))
        self.git(self.bare, "config", "uploadpack.allowAnySHA1InWant", "true")
        self.git(folder, "init", "-q", "-b", "main", str(self.work))
        self.commit({"grants.yaml": "version: 1\ngrants: []\n"})
        self.git(self.work, "push", "-q", str(self.bare), "main")
        self.git(folder, "clone", "-q", str(self.bare), str(self.clone))

    def git(self, folder: Path, *words: str) -> str:
        who = {
            f"GIT_{role}_{part}": "a@example.org"
            for role in ("AUTHOR", "COMMITTER")
            for part in ("NAME", "EMAIL")
        }
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.bare.parent), **who}
        done = subprocess.run(["git", *words], cwd=folder, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str]) -> str:
        for name, text in files.items():
            (self.work / name).write_text(text)
        self.git(self.work, "add", "-A")
        self.git(self.work, "commit", "-q", "-m", "change")
        return self.git(self.work, "rev-parse", "HEAD")

    def pull(self, number: int, head: str) -> None:
        self.git(self.work, "push", "-q", "-f", str(self.bare), f"{head}:refs/pull/{number}/head")


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


def files_of(clone: Path) -> set[str]:
    return {path.name for path in clone.iterdir()}


def test_a_head_comes_as_objects_and_changes_no_file(hub: Hub) -> None:
    head = hub.commit({"Makefile": "all:\n\ttouch pwned\n", ".gitattributes": "* filter=evil\n"})
    hub.pull(7, head)
    before, here = files_of(hub.clone), hub.git(hub.clone, "rev-parse", "HEAD")
    assert fetch.head_of(7, hub.clone) == head
    assert "Makefile" in hub.git(hub.clone, "ls-tree", "--name-only", head)
    assert (files_of(hub.clone), hub.git(hub.clone, "rev-parse", "HEAD")) == (before, here)
    moved = hub.commit({"grants.yaml": "version: 1\n"})
    hub.git(hub.work, "reset", "-q", "--hard", "HEAD~2")
    hub.pull(7, moved)
    assert fetch.head_of(7, hub.clone) == moved


def test_a_commit_is_fetched_once_and_names_of_the_clone_are_left(hub: Hub) -> None:
    head = hub.commit({"a": "b"})
    hub.pull(7, head)
    fetch.have(head, hub.clone)
    hub.bare.rename(hub.bare.with_name("away"))
    fetch.have(head, hub.clone)
    fetch.have("main", hub.clone)
    fetch.have("--upload-pack=touch pwned", hub.clone)


def test_submodules_are_not_fetched_and_hooks_not_run(hub: Hub, tmp_path: Path) -> None:
    hook = hub.clone / ".git" / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    hook.chmod(0o755)
    hub.git(hub.clone, "config", "fetch.recurseSubmodules", "true")
    hub.git(hub.work, "update-index", "--add", "--cacheinfo", f"160000,{SHA},sub")
    modules = '[submodule "sub"]\n\tpath = sub\n\turl = ext::touch pwned\n'
    hub.pull(7, hub.commit({".gitmodules": modules}))
    fetch.head_of(7, hub.clone)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("limited", [False, True])
def test_what_cannot_be_had_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch, limited: bool) -> None:
    if limited:
        monkeypatch.setattr(fetch, "LARGEST", 100_000)
        hub.pull(7, hub.commit({"noise": random.Random(7).randbytes(400_000).hex()}))
    with pytest.raises(SetupError) as raised:
        fetch.head_of(7, hub.clone)
    assert raised.value.code == "not-fetched" and "pull request 7" in str(raised.value)


def test_git_gets_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    secrets = {
        "GITHUB_TOKEN": "of-a-job",
        "AWS_SECRET_ACCESS_KEY": "of-the-bucket",
        "CIRUN_API_KEY": "of-cirun",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    said = fetch.git("fetch", root=tmp_path).stdout
    assert "GIT_TERMINAL_PROMPT=0" in said and "PATH=" in said
    assert not [name for name, value in secrets.items() if name in said or value in said]


def test_a_git_that_does_not_end_is_ended(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.001)
    with pytest.raises(SetupError):
        fetch.head_of(7, hub.clone)


def test_the_command_line_of_fetch(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(hub.clone)
    assert fetch.main(["main"]) == 0
    assert fetch.main([SHA]) == 1
    assert "error[not-fetched]" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------- tools/comment.py


@pytest.fixture
def github() -> Iterator[Standin]:
    state = State("conda-forge")
    state.add_member("bot")
    state.add_token(TOKEN, "bot", scopes=["repo"])
    state.add_repository("access")
    with Standin(state) as serving:
        yield serving


@pytest.fixture
def called(hub: Hub) -> Path:
    """A command in the place of cf-infra that notes what it was called with; the note."""
    program = hub.clone / "command"
    program.write_text('#!/bin/sh\necho "$@" >> called\n')
    program.chmod(0o755)
    return hub.clone / "called"


def asked(hub: Hub, github: Standin) -> dict[str, str]:
    (hub.clone / "settings.yaml").write_text(f"version: 1\ngithub: {{api: '{github.url}'}}\n")
    return {"GITHUB_TOKEN": TOKEN, "GITHUB_REPOSITORY": "conda-forge/access"}


def opened(github: Standin, hub: Hub, head: str, base: str = "main") -> int:
    """A pull request from a fork, at the API and in git."""
    repository = github.state.repository("conda-forge", "access")
    assert repository is not None
    repository.branches[base] = hub.git(hub.work, "rev-parse", "main")
    issue = github.state.add_issue(repository, "stranger", "A change", "")
    issue.pull = Pull("change", base, head_sha=head)
    hub.pull(issue.number, head)
    return issue.number


def test_who_has_a_head_says_the_api(hub: Hub, github: Standin, called: Path) -> None:
    head, other = hub.commit({"a": "b"}), hub.commit({"a": "c"})
    one, _, three = (opened(github, hub, sha) for sha in (head, other, head))
    opened(github, hub, head, "another-branch")
    assert comment.by_head(head, hub.clone, asked(hub, github), "./command") == 0
    assert called.read_text() == "".join(f"comment {n} --plan --head {head}\n" for n in (one, three))
    assert comment.by_head(SHA, hub.clone, asked(hub, github), "./command") == 0


def test_one_head_that_cannot_be_had_keeps_no_other_from_its_comment(
    hub: Hub, github: Standin, called: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = opened(github, hub, hub.commit({"a": "b"}))
    hub.git(hub.bare, "update-ref", "-d", f"refs/pull/{gone}/head")
    there = hub.commit({"a": "c"})
    opened(github, hub, there)
    assert comment.waiting(hub.clone, asked(hub, github), "./command") == 1
    assert called.read_text() == "comment --waiting --plan\n"
    assert "error[not-fetched]" in capsys.readouterr().err
    assert hub.git(hub.clone, "cat-file", "-t", there) == "commit"


def test_a_token_that_is_missing_is_told(
    hub: Hub, github: Standin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(hub, github)
    monkeypatch.chdir(hub.clone)
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.setenv("GITHUB_REPOSITORY", "conda-forge/access")
    assert comment.main(["--waiting"]) == 1
    assert "error[no-token]" in capsys.readouterr().err


def test_one_pull_request(hub: Hub, github: Standin, called: Path) -> None:
    head = hub.commit({"a": "b"})
    number = str(opened(github, hub, head))
    assert comment.one(number, "", hub.clone, asked(hub, github), "./command") == 0
    assert comment.one(number, head, hub.clone, asked(hub, github), "./command") == 0
    assert called.read_text() == f"comment {number} --plan --head {head}\n" * 2


def test_a_head_that_moved_on_needs_no_comment(hub: Hub, called: Path) -> None:
    hub.pull(7, hub.commit({"a": "b"}))
    assert comment.one("7", SHA, hub.clone, {}, "./command") == 0
    assert not called.exists()


@pytest.mark.parametrize(
    ("words", "approved"),
    [
        ([("maria", "APPROVED", "head")], True),
        ([("maria", "CHANGES_REQUESTED", "head"), ("maria", "APPROVED", "head")], True),
        ([("maria", "APPROVED", "head"), ("maria", "COMMENTED", "head")], True),
        ([], False),
        ([("maria", "APPROVED", "another")], False),  # the head moved since
        ([("maria", "APPROVED", "head"), ("maria", "CHANGES_REQUESTED", "head")], False),
        ([("maria", "DISMISSED", "head")], False),
        ([("reader", "APPROVED", "head")], False),  # everybody may approve, and it means nothing
        ([("stranger", "APPROVED", "head")], False),  # their own
        ([("a-bot", "APPROVED", "head")], False),
    ],
)
def test_stack_files_are_planned_after_a_maintainer_approved_that_head(
    words: list[tuple[str, str, str]], approved: bool, hub: Hub, github: Standin, called: Path
) -> None:
    head = hub.commit({"a": "b"})
    number = opened(github, hub, head)
    repository = github.state.repository("conda-forge", "access")
    assert repository is not None and repository.issues[number].pull is not None
    for login in ("maria", "stranger", "a-bot"):
        user = github.state.user(login) or github.state.add_user(login, "Bot" if login == "a-bot" else "User")
        repository.collaborators[user.id] = "write"
    for login, state, commit in words:
        pull = repository.issues[number].pull
        assert pull is not None
        github.state.review(pull, login, state, head if commit == "head" else SHA)
    assert comment.one(str(number), head, hub.clone, asked(hub, github), "./command") == 0
    assert ("--stacks-approved" in called.read_text()) is approved


@pytest.mark.parametrize("number", ["", "0", "-1", "7;id", "$(id)", "x/y#7", "1" * 10, "\u0667"])
def test_what_is_no_number_is_refused(number: str, hub: Hub, called: Path) -> None:
    with pytest.raises(SetupError):
        comment.one(number, "", hub.clone, {}, "./command")
    with pytest.raises(SetupError):
        comment.one("7", f"{number}x", hub.clone, {}, "./command")
    assert not called.exists()


def test_whose_repository_it_is(hub: Hub) -> None:
    assert comment.repository(hub.clone, {"GITHUB_REPOSITORY": "an-owner/a.name"}) == ("an-owner", "a.name")
    for address in (
        "https://github.com/o/n.git",
        "git@github.com:o/n.git",
        "https://github.com/o/n/",
        "ssh://git@h/o/n",
    ):
        hub.git(hub.clone, "remote", "set-url", "origin", address)
        assert comment.repository(hub.clone, {}) == ("o", "n")
    hub.git(hub.clone, "remote", "remove", "origin")
    with pytest.raises(SetupError):
        comment.repository(hub.clone, {})


@pytest.mark.parametrize("arguments", [[], ["--head"], ["--head", ""], ["1", "2", "3"]])
def test_the_command_line_of_comment(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert comment.main(arguments) == 1
    assert "error[bad-pull]" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ parts of set-up


def test_only_named_parts_are_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(parts, "run", lambda some: ran.append(list(some)) or {})
    monkeypatch.setattr(parts, "end_on_sigterm", lambda: None)
    assert [parts.main(["environment", "tools"]), parts.main([])] == [0, 0]
    assert ran == [["environment", "tools"], ["environment", "tools", "sandbox"]]
    assert parts.main(["cloud"]) == 64
    assert "error[unknown-part]" in capsys.readouterr().err
