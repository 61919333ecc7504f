"""`apply --reviewed` between git, a stand-in for GitHub and saved plans: what is covered, and who could forge it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from roots import Ran, Runner, read_folder, write_root
from test_reviewed import entry

from cf_infra import gate, project, record, review_record
from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Failure
from cf_infra.gate import Asked, Gate
from cf_infra.journal_file import Journal
from cf_infra.plan import Hash
from cf_infra.project import Folder
from cf_infra.record import Record
from cf_infra.reviewed import CLOUD, Verdict
from tests.github import Standin, State
from tests.github.state import Comment, Commit, Issue, Pull
from tests.leaks import KEY as KEY_KIND
from tests.leaks import WATCH

pytestmark = pytest.mark.programs

ORG, NAME = "conda-forge", "ci-access"
PLACE = f"{ORG}/{NAME}"
TOKEN = "ghp_NotARealTokenOfTheGatesOwnTests00001"
KEY = "5a17c3e9d2048bf6" * 4
DAY = date(2026, 6, 1)
BASE = {
    k: v for k, v in read_folder(Path(__file__).parent / "errors" / "_base").items() if k != "grants.yaml"
}
SERVER = 'module.machine.openstack_compute_instance_v2.this["{}"]'
OF_A_PLAN = {"cloud": "lab", "plan_digest": "1" * 64, "review_digest": "2" * 64, "grants": ""}


def grants(*entries: str) -> bytes:
    return ("version: 1\ngrants:\n" + "".join(entries) if entries else "version: 1\ngrants: []\n").encode()


def row(key: str, action: str = "create", value: str = "1") -> Hash:
    return SERVER.format(key), action, value * 64


ONE, TWO = entry("one", "gpu-large"), entry("two", "cpu-dedicated")
ROW_ONE, ROW_TWO = row("one-feedstock/gpu-large"), row("two-feedstock/cpu-dedicated")


class World:
    """A clone, its repository at GitHub, and saved plans that OpenTofu might have made."""

    def __init__(self, root: Path, github: Standin, run: Runner) -> None:
        self.root, self.github, self._run = root, github, run
        self.said: list[str] = []
        self.offline: dict[str, Mapping[str, Sequence[Hash]]] = {}
        self.state: State = github.state
        self.repository = github.state.add_repository(NAME)
        self.bot = github.state.user("cf-bot")
        self.settings()
        self.git("init", "-q", "-b", "main")
        self.morning = self.commit(grants(entry("old", "gpu-large")), "the morning")
        for stack in ("lab", "guest"):
            self.applied(stack, self.morning)

    def settings(self, approvals: str = "") -> None:
        api = f"github: {{api: '{self.github.url}', repository: {PLACE}}}\n"
        text = f"version: 1\norganisation: {ORG}\noperators: [olga, peter]\n{api}{approvals}"
        write_root(self.root, {**BASE, "settings.yaml": text.encode(), ".gitignore": b"/build/\n/.state/\n"})

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=A test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        quiet = {name: value for name, value in os.environ.items() if name != "GITHUB_TOKEN"}
        command = ["git", "-C", self.root, *who, *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)
        return done.stdout.strip()

    def commit(self, text: bytes | None, message: str, **files: bytes) -> str:
        """A commit on whatever is checked out; GitHub knows it."""
        named = {name.replace("__", "/").replace("_yaml", ".yaml"): value for name, value in files.items()}
        write_root(self.root, {**({"grants.yaml": text} if text is not None else {}), **named})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.known(self.git("rev-parse", "HEAD"))

    def known(self, sha: str) -> str:
        made = Commit(sha, {}, "", None, "", "", self.state.clock())
        self.repository.commits[sha] = made
        return sha

    def applied(self, stack: str, commit: str, result: str = "done", part: str = "whole") -> None:
        """The end of an apply in the stack's journal."""
        names = ("codes", "gained", "changed", "lost", "unsure", "receipts")
        lists: dict[str, Any] = {name: [] for name in names}
        fields = {**OF_A_PLAN, **lists, "commit": commit, "part": part, "result": result, "changes": 0}
        Journal(self.root / ".state" / stack, self.said.append).note("apply-ended", **fields)

    # ------------------------------------------------------------------------------------------ pull requests

    def pull(
        self,
        text: bytes,
        plans: Mapping[str, Sequence[Hash]],
        author: str = "somebody",
        now: bytes | None = None,
        merger: str | None = "olga",
        record: bool = True,
        **files: bytes,
    ) -> Pull:
        """A pull request from the morning: reviewed, commented, squashed onto main as `now` (default: `text`)."""
        number = len(self.repository.issues) + 1
        self.git("checkout", "-q", "-b", f"head-{number}", self.morning)
        head = self.commit(text, f"head {number}", **files)
        self.git("checkout", "-q", "main")
        user = self.state.user(author) or self.state.add_user(author)
        made = Pull(f"head-{number}", "main", head_sha=head)
        self.repository.branches[made.head] = head
        issue = Issue(
            self.state.number(), number, f"pull {number}", "", user.id, self.state.clock(), pull=made
        )
        self.repository.issues[number] = issue
        if record:
            self.comment(number, self.line(number, head, plans))
        if merger is not None:
            self.merged(number, now if now is not None else text, merger, **files)
        return made

    def line(self, number: int, head: str, plans: Mapping[str, Sequence[Hash]]) -> str:
        return self.line_of(PLACE, number, head, plans)

    def line_of(self, place: str, number: int, head: str, plans: Mapping[str, Sequence[Hash]]) -> str:
        rows = {name: ("d" * 64, found) for name, found in plans.items()}
        return gate.record_of(self.folder(), (place, number, head), gate.Compared(self.morning, head), rows)

    def comment(self, number: int, text: str, author: str = "cf-bot") -> Comment:
        user = self.state.user(author) or self.state.add_user(author)
        issue = self.repository.issues[number]
        made = Comment(self.state.number(), user.id, f"### What it does\n\n{text}\n", 0.0, 0.0)
        issue.comments[made.id] = made
        return made

    def merged(self, number: int, now: bytes, merger: str, **files: bytes) -> str:
        sha = self.commit(now, f"pull {number} (#{number})", **files)
        pull = self.repository.issues[number].pull
        assert pull is not None
        who = self.state.user(merger) or self.state.add_user(merger)
        pull.merged_at, pull.merge_sha, pull.merger = self.state.clock(), sha, who.id
        self.repository.issues[number].state = "closed"
        return sha

    # --------------------------------------------------------------------------------------------- the gate

    def folder(self) -> Folder:
        return project.read(self.root, DAY)

    def saved(self, stack: str, *rows: Hash, items: Sequence[Mapping[str, Any]] = ()) -> Record:
        found = [{"address": a, "action": b, "what": f"server {a[-30:]}", "grants": []} for a, b, _ in rows]
        summary = {"items": [*found, *items], "add": 0, "change": 0, "replace": 0, "destroy": 0, "total": 0}
        head = self.git("rev-parse", "HEAD")
        text = {"cloud": stack, "compiled": "", "review_digest": "2" * 64, "plan_digest": "1" * 64}
        return Record(
            stack=stack,
            own=True,
            today=str(DAY),
            clock=str(DAY),
            head=head,
            inputs={},
            summary=summary,
            hashes=[list(r) for r in rows],
            **text,
        )

    def gate(self, asked: Asked | None = None) -> Gate:
        return Gate(self.folder(), asked or Asked(), self.offline.get, self.said.append)

    def judge(self, *saved: Record, asked: Asked | None = None) -> dict[str, Verdict]:
        return self.gate(asked).judge({one.stack: one for one in saved})

    def why(self, saved: Record, **asked: Any) -> list[str]:
        return [w["why"] for w in self.judge(saved, asked=Asked(**asked))[saved.stack].waits]

    def save(self, saved: Record) -> None:
        """Where `apply` finds it."""
        place = Deployment(self.root, saved.stack, saved.cloud, own=True).record
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(orjson.dumps(asdict(saved)))
        place.with_name("tofu.plan").write_bytes(b"")

    def run(self, *words: str, code: int = 1) -> Ran:
        done = self._run("apply", "--reviewed", "--root", str(self.root), *words)
        assert done.code == code, done.err
        return done


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    key = tmp_path / "state.key"
    key.write_text(KEY)
    key.chmod(0o600)
    WATCH.knows("the master key of the gate's tests", KEY, KEY_KIND)
    monkeypatch.setenv("CF_INFRA_KEY_FILE", str(key))
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    for name in ("GITHUB_REPOSITORY", "GITHUB_ACTIONS", "CF_INFRA_PREVIOUS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    state = State(ORG)
    state.add_token(TOKEN, "cf-bot", scopes=["repo", "read:org"])
    root = tmp_path / "root"
    root.mkdir()
    with Standin(state) as github:
        yield World(root, github, Runner(capsys))


OLD = entry("old", "gpu-large")


# ----------------------------------------------------------------------------------------------- what is covered


def test_a_squash_of_a_reviewed_head_is_covered(world: World) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    assert pull.merge_sha != pull.head_sha
    found = world.judge(world.saved("lab", ROW_ONE))["lab"]
    assert not found.waits and found.by == (f"{PLACE}#1",)


def test_two_of_one_day_do_not_spoil_each_other(world: World) -> None:
    world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    world.pull(grants(OLD, TWO), {"guest": [ROW_TWO]}, now=grants(OLD, TWO, ONE))
    found = world.judge(world.saved("lab", ROW_ONE), world.saved("guest", ROW_TWO))
    assert [one.waits for one in found.values()] == [(), ()]
    assert (found["lab"].by, found["guest"].by) == ((f"{PLACE}#1",), (f"{PLACE}#2",))


def test_what_was_merged_before_the_last_whole_apply_covers_nothing_any_more(world: World) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    assert pull.merge_sha is not None
    world.applied("lab", pull.merge_sha)
    assert world.why(world.saved("lab", ROW_ONE)) == ["no review covers it"]
    assert not world.judge(world.saved("lab"))["lab"].waits, "nothing to do is done"


@pytest.mark.parametrize(
    ("result", "part"), [("failed", "whole"), ("interrupted", "whole"), ("done", "take-back")]
)
def test_an_apply_that_was_not_whole_is_no_beginning(world: World, result: str, part: str) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    assert pull.merge_sha is not None
    world.applied("lab", pull.merge_sha, result, part)
    assert not world.judge(world.saved("lab", ROW_ONE))["lab"].waits


def test_a_merge_commit_and_a_rebase_are_found_by_their_commits(world: World) -> None:
    world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]}, merger=None)
    world.git("merge", "-q", "--no-ff", "-m", "Merge", "head-1")
    sha = world.known(world.git("rev-parse", "HEAD"))
    pull = world.repository.issues[1].pull
    olga = world.state.add_user("olga")
    assert pull is not None
    pull.merged_at, pull.merge_sha, pull.merger = 1.0, sha, olga.id
    assert not world.judge(world.saved("lab", ROW_ONE))["lab"].waits


def test_time_alone_goes_on_and_the_cloud_waits(world: World) -> None:
    gone = row("old-feedstock/gpu-large", "delete", "3")
    assert world.why(world.saved("lab", gone)) == ["no review covers it"], "nobody can tell"
    world.offline = {world.morning: {"lab": [gone]}}
    assert world.why(world.saved("lab", gone)) == []
    added = row("somebodys-server", "delete", "4")
    assert world.why(world.saved("lab", gone, added)) == [CLOUD]
    orphan = {"address": "orphan:7", "action": "delete", "what": "server x (in no state)", "grants": []}
    listed = {"address": "list:.access.yml", "action": "update", "what": "access list: 1 added", "grants": []}
    found = world.judge(world.saved("lab", gone, items=[orphan, listed]))["lab"]
    assert [(w["what"], w["why"]) for w in found.waits] == [("server x (in no state)", CLOUD)]


# ----------------------------------------------------------------------------------------------- what waits


def test_a_push_past_all_reviews_waits(world: World) -> None:
    world.commit(grants(OLD, ONE), "pushed")
    found = world.judge(world.saved("lab", ROW_ONE))["lab"]
    assert [w["what"] for w in found.waits][1:] == ["grant one-feedstock/gpu-large given"]
    assert {w["why"] for w in found.waits} == {"no review covers it"}
    hidden = world.judge(world.saved("lab"))["lab"]
    assert [w["address"] for w in hidden.waits] == ["grant:one-feedstock/gpu-large"], "no plan shows it"


def test_a_head_that_was_pushed_after_the_review_waits(world: World) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    reviewed_head, pull.head_sha = str(pull.head_sha), world.known("e" * 40)
    told = f"its review was of another head: {reviewed_head[:12]}, and eeeeeeeeeeee was merged"
    assert world.why(world.saved("lab", ROW_ONE)) == [f"{PLACE}#1 shows it, but {told}"] * 2


def test_a_stack_waits_alone(world: World) -> None:
    world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    world.commit(grants(OLD, ONE, TWO), "pushed")
    found = world.judge(world.saved("lab", ROW_ONE), world.saved("guest", ROW_TWO))
    assert not found["lab"].waits and len(found["guest"].waits) == 2


def test_an_operators_file_that_nobody_reviewed_holds_back_everything(world: World) -> None:
    world.settings("jobs: 9\n")
    world.commit(None, "settings")
    found = world.judge(world.saved("lab"), world.saved("guest"))
    assert [[w["what"] for w in one.waits] for one in found.values()] == [["settings.yaml changed"]] * 2


def test_changes_that_are_in_no_commit_wait(world: World) -> None:
    world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    (world.root / "grants.yaml").write_bytes(grants(OLD, ONE) + b"\n")
    assert world.why(world.saved("lab", ROW_ONE)) == ["the root folder has changes that are in no commit"]
    world.git("checkout", "-q", "grants.yaml")
    (world.root / "modules").mkdir()
    (world.root / "modules" / "mine.tf").write_text("")
    assert world.why(world.saved("lab", ROW_ONE)) == ["the root folder has changes that are in no commit"]


def test_a_stack_that_was_never_applied_waits_unless_somebody_says_since_when(world: World) -> None:
    world.pull(grants(OLD, ONE), {"new": [ROW_ONE], "lab": []})
    fresh = replace(world.saved("lab", ROW_ONE), cloud="elsewhere", own=False)
    assert world.why(fresh) == [
        "nothing of this stack was applied from a commit yet, so nobody knows what is new"
    ]
    pull = world.pull(grants(OLD, ONE, TWO), {"guest": [ROW_TWO], "lab": [ROW_ONE]})
    assert pull.merge_sha is not None
    fresh = replace(world.saved("lab", ROW_ONE), cloud="elsewhere", own=False)
    assert world.why(fresh, since=world.morning) == []
    assert "not in this clone" in world.why(fresh, since="f" * 40)[0]
    assert (
        "none that this one comes from"
        in world.why(fresh, since=str(world.repository.issues[1].pull.head_sha))[0]
    )  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------- who could forge a review


def lone(world: World, why: str) -> None:
    """The reviewed stack waits, and for this reason."""
    found = world.why(world.saved("lab", ROW_ONE))
    assert found and all(why in one for one in found), found


def test_a_pull_request_without_our_comment_waits(world: World) -> None:
    world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]}, record=False)
    lone(world, "it has no comment of ours")


def test_a_maintainer_who_edits_our_comment_gains_nothing(world: World) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": []})
    (comment,) = world.repository.issues[1].comments.values()
    good = world.line(1, str(pull.head_sha), {"lab": [ROW_ONE]})
    version, body = good.split()[3], good.split()[5]
    comment.body = comment.body.replace(comment.body.split(" ")[-3], body)
    assert version == "1"
    lone(world, "signature does not fit")
    comment.body = comment.body[:-40]
    lone(world, "cut off")
    comment.body = "deleted"
    lone(world, "it has no comment of ours")


def test_somebody_elses_comment_with_a_record_is_not_looked_at(world: World) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": []})
    line = world.line(1, str(pull.head_sha), {"lab": [ROW_ONE]})
    world.comment(1, line, author="mallory")
    assert world.why(world.saved("lab", ROW_ONE)) == ["no review covers it"], (
        "files were reviewed, and not this row"
    )


def test_two_records_in_our_comment_are_refused(world: World) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": []})
    (comment,) = world.repository.issues[1].comments.values()
    comment.body += world.line(1, str(pull.head_sha), {"lab": [ROW_ONE]})
    lone(world, "two records")


@pytest.mark.parametrize("of", ["repository", "pull"])
def test_a_record_of_another_pull_request_is_refused(world: World, of: str) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": []}, record=False)
    place, number = ("mallory/fork", 1) if of == "repository" else (PLACE, 7)
    world.comment(1, world.line_of(place, number, str(pull.head_sha), {"lab": [ROW_ONE]}))
    lone(world, f"it was made for {place}#{number}")


def test_a_record_by_another_key_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own.key"
    own.write_text("7741d8a2930b5fce" * 4)
    own.chmod(0o600)
    WATCH.knows("another master key of the gate's tests", "7741d8a2930b5fce" * 4, KEY_KIND)
    before = str(tmp_path / "state.key")
    monkeypatch.setenv("CF_INFRA_KEY_FILE", str(own))
    world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    monkeypatch.setenv("CF_INFRA_KEY_FILE", before)
    lone(world, "is not at hand")
    monkeypatch.setenv("CF_INFRA_PREVIOUS_KEY_FILE", str(own))
    assert world.why(world.saved("lab", ROW_ONE)) == [], "while a change of the key lasts, both count"


def test_a_pull_request_that_names_the_commit_and_was_not_merged_covers_nothing(world: World) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    pull.merged_at = None
    assert world.why(world.saved("lab", ROW_ONE)) == ["no review covers it"] * 2


# ------------------------------------------------------------------------------------------------ approvals

RULES = "approvals: {default: [zoe, ann], stacks: {lab: [conda-forge/gpu, dave]}}\n"


@pytest.fixture
def strict(world: World) -> World:
    """The same with rules, in force since the morning."""
    world.settings(RULES)
    world.morning = world.commit(grants(OLD), "rules")
    for stack in ("lab", "guest"):
        world.applied(stack, world.morning)
    world.state.add_team("gpu", "gina")
    return world


def test_a_merge_over_missing_approvals_waits_and_says_whose(strict: World) -> None:
    pull = strict.pull(grants(OLD, ONE), {"lab": [ROW_ONE]}, merger="olga")
    told = strict.why(strict.saved("lab", ROW_ONE))
    assert len(told) == 2 and all(
        "an approval is missing: grants.yaml: still needs 1 of ann, zoe" in one for one in told
    )
    assert (
        "olga, who merged it, is none of them" in told[0]
        and "stack lab: still needs 1 of conda-forge/gpu, dave" in told[0]
    )
    strict.state.review(pull, "zoe", "APPROVED", str(pull.head_sha))
    strict.state.review(pull, "gina", "APPROVED", str(pull.head_sha))
    assert strict.why(strict.saved("lab", ROW_ONE)) == []


def test_an_approval_of_another_head_or_by_who_asked_is_none(strict: World) -> None:
    pull = strict.pull(grants(OLD, ONE), {"lab": [ROW_ONE]}, author="zoe", merger="zoe")
    strict.state.review(pull, "gina", "APPROVED", "a" * 40)
    (told, _) = strict.why(strict.saved("lab", ROW_ONE))
    assert "zoe, who merged it, asked for it" in told and "gina approved the head aaaaaaaaaaaa" in told


def test_a_donors_objection_waits_for_their_stack_alone(strict: World) -> None:
    pull = strict.pull(grants(OLD, ONE, TWO), {"lab": [ROW_ONE], "guest": [ROW_TWO]}, merger="ann")
    strict.state.review(pull, "dave", "APPROVED", str(pull.head_sha))
    strict.state.review(pull, "carol", "CHANGES_REQUESTED", str(pull.head_sha))
    found = strict.judge(strict.saved("lab", ROW_ONE), strict.saved("guest", ROW_TWO))
    assert not found["guest"].waits
    assert "no objection of the donor of lab: carol asked for changes" in found["lab"].waits[0]["why"]


def test_rules_are_those_from_before_the_merge(strict: World) -> None:
    """A pull request that loosens the rules is held against those that it found."""
    loose = f"version: 1\norganisation: {ORG}\noperators: [olga, peter, mallory]\n".encode()
    api = f"github: {{api: '{strict.github.url}', repository: {PLACE}}}\n".encode()
    strict.pull(grants(OLD, ONE), {"lab": [ROW_ONE]}, merger="mallory", settings_yaml=loose + api)
    told = strict.why(strict.saved("lab", ROW_ONE))
    assert told and all("grants.yaml: still needs 1 of ann, zoe" in one for one in told)


def test_a_team_that_github_does_not_tell_of_is_said(strict: World) -> None:
    del strict.state.teams["gpu"]
    pull = strict.pull(grants(OLD, ONE), {"lab": [ROW_ONE]}, merger="ann")
    strict.state.review(pull, "gina", "APPROVED", str(pull.head_sha))
    assert "who is in conda-forge/gpu could not be asked" in strict.why(strict.saved("lab", ROW_ONE))[0]


def test_extra_eyes_for_what_a_plan_takes_away(strict: World) -> None:
    strict.settings(RULES.replace("}}", "}, extra: {destroy: {by: [dora, erin]}}}"))
    strict.morning = strict.commit(None, "eyes")
    strict.applied("guest", strict.morning)
    replaced = row("two-feedstock/cpu-dedicated", "replace")
    pull = strict.pull(grants(OLD, TWO), {"guest": [replaced]}, merger="ann")
    assert "taking away: still needs 1 of dora, erin" in strict.why(strict.saved("guest", replaced))[0]
    strict.state.review(pull, "erin", "APPROVED", str(pull.head_sha))
    assert strict.why(strict.saved("guest", replaced)) == []


def test_the_journal_has_who_approved_and_by_which_rules(strict: World) -> None:
    pull = strict.pull(grants(OLD, ONE), {"lab": [ROW_ONE]}, merger="ann")
    strict.state.review(pull, "gina", "APPROVED", str(pull.head_sha))
    own, saved = strict.gate(), strict.saved("lab", ROW_ONE)
    assert not own.judge({"lab": saved})["lab"].waits
    own.approved(saved)
    last = Journal(strict.root / ".state" / "lab", strict.said.append).read().events[-1]
    kept = {k: last[k] for k in ("event", "pull", "head", "grants", "approvers", "merger", "rules")}
    assert kept == {
        "event": "approved",
        "pull": f"{PLACE}#1",
        "head": pull.head_sha,
        "grants": ["one-feedstock/gpu-large"],
        "approvers": ["ann", "gina"],
        "merger": "ann",
        "rules": ["grants.yaml: 1 of 1", "stack lab: 1 of 1"],
    }


# -------------------------------------------------------------------------------------- a person, and no GitHub


def test_a_person_accepts_exactly_what_waits(world: World) -> None:
    world.commit(grants(OLD, ONE), "pushed")
    saved = world.saved("lab", ROW_ONE)
    digest = world.judge(saved)["lab"].digest
    own = world.gate(Asked(accept={"lab": digest}))
    assert not own.judge({"lab": saved})["lab"].waits
    own.approved(saved)
    last = Journal(world.root / ".state" / "lab", world.said.append).read().events[-1]
    assert (last["event"], last["digest"], last["rows"]) == ("accepted", digest, 2)
    with pytest.raises(Failure) as failed:
        world.judge(
            world.saved("lab", row("one-feedstock/gpu-large", "create", "9")),
            asked=Asked(accept={"lab": "e" * 64}),
        )
    assert [d.code for d in failed.value.diagnostics] == ["other-digest"]
    with pytest.raises(Failure) as failed:
        world.judge(saved, asked=Asked(accept={"guest": digest}))
    assert [d.code for d in failed.value.diagnostics] == ["no-plan"]


def test_without_github_saved_comments_do(world: World, tmp_path: Path) -> None:
    pull = world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    saved, file = world.saved("lab", ROW_ONE), tmp_path / "comment.md"
    (comment,) = world.repository.issues[1].comments.values()
    file.write_text(comment.body)
    asked = len(world.github.log)
    found = world.judge(saved, asked=Asked(reviews=[file]))["lab"]
    assert not found.waits and found.by == (f"{PLACE}#1",) and len(world.github.log) == asked
    assert pull.head_sha is not None
    file.write_text(comment.body[:-30])
    for path in (file, tmp_path / "not-there.md"):
        with pytest.raises(Failure) as failed:
            world.judge(saved, asked=Asked(reviews=[path]))
        assert [d.code for d in failed.value.diagnostics] == ["bad-review"]


def test_nobody_knows_where_the_folder_is_at_github(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (world.root / "settings.yaml").read_text().replace(f", repository: {PLACE}", "")
    (world.root / "settings.yaml").write_text(text)
    with pytest.raises(Failure) as failed:
        world.judge(world.saved("lab"))
    assert "--review FILE" in failed.value.diagnostics[0].hint
    world.commit(None, "settings")
    monkeypatch.setenv("GITHUB_REPOSITORY", PLACE)
    assert world.judge(world.saved("lab"))["lab"].waits, "the workflow says it"
    monkeypatch.setenv("GITHUB_REPOSITORY", "../evil")
    with pytest.raises(Failure):
        world.judge(world.saved("lab"))


def test_github_that_does_not_answer_applies_nothing(world: World) -> None:
    world.pull(grants(OLD, ONE), {"lab": [ROW_ONE]})
    world.github.fail_next(status=404, times=9, matching="/pulls")
    with pytest.raises(Failure):
        world.judge(world.saved("lab", ROW_ONE))


def test_each_pull_request_is_asked_for_once(world: World) -> None:
    world.pull(grants(OLD, ONE, TWO), {"lab": [ROW_ONE], "guest": [ROW_TWO]})
    world.judge(world.saved("lab", ROW_ONE), world.saved("guest", ROW_TWO))
    paths = [one.path for one in world.github.log if "/pulls/1" in one.path]
    assert len(paths) == len(set(paths)) == 2


def test_what_is_judged_is_what_was_planned(world: World) -> None:
    """Who takes rows out of a plan's record, so that they wait for nobody, has a plan that does not hold."""
    key = bytes(32)
    world.save(record.signed(world.saved("lab", ROW_ONE), key))
    loaded = record.load(world.root / "build", "lab")
    assert record.is_signed(loaded, key) and not record.is_signed(loaded, bytes(31) + b"x")
    for changed in ({"hashes": []}, {"refusals": [["a", "b", "c"]]}, {"head": "f" * 40}, {"mac": ""}):
        assert not record.is_signed(replace(loaded, **changed), key), changed  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- the command


def test_the_command_applies_nothing_that_waits_and_says_what_to_do(world: World) -> None:
    world.commit(grants(OLD, ONE), "pushed")
    world.save(world.saved("lab", ROW_ONE))
    done = world.run("--format", "json")
    (stack,) = done.json()["stacks"]  # type: ignore[misc]
    assert (stack["applied"], stack["failed"], len(stack["waits"])) == (0, False, 2)
    (told,) = done.json()["diagnostics"]  # type: ignore[misc]
    assert told["code"] == "waits-for-review" and f"--accept lab={stack['digest']}" in told["hint"]
    assert (world.root / "build" / "lab" / "plan" / "tofu.plan").exists(), (
        "the plan is still there to be accepted"
    )
    text = world.run().err
    assert (
        "error[waits-for-review]" in text
        and "grant one-feedstock/gpu-large given: no review covers it" in text
    )


def test_the_command_refuses_another_digest_and_words_without_reviewed(world: World) -> None:
    world.commit(grants(OLD, ONE), "pushed")
    world.save(world.saved("lab", ROW_ONE))
    assert "error[other-digest]" in world.run("--accept", f"lab={'e' * 64}").err
    done = world._run("apply", "--root", str(world.root), "--accept", "lab=x")
    assert done.code == 64 and "--accept says how --reviewed decides" in done.err


def test_the_record_names_the_files_rows_of_stacks_that_were_not_planned(world: World) -> None:
    world.git("checkout", "-q", "-b", "head", world.morning)
    head = world.commit(grants(OLD, TWO), "two")
    text = world.line_of(PLACE, 3, head, {})
    found = review_record.opened(text, gate.review_keys(world.folder(), ["lab"]).by_fingerprint())
    assert isinstance(found, review_record.ReviewRecord)
    assert list(found.stacks) == ["guest"] and found.today == str(DAY)
