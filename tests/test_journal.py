"""The journal: a chain that only grows, whatever happens to the file and to those who write it."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from roots import PROJECT

from cf_infra import journal, journal_file
from cf_infra.diagnostics import Failure
from cf_infra.journal import FIRST, NOTHING, Head
from cf_infra.journal_file import ASIDE, HEAD, JOURNAL, Journal

AT = "2026-06-01T10:00:00+00:00"
WORDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.@+-]{0,20}\Z")


def proven(name: str = "cirun", generation: str = "7", at: str = AT) -> dict[str, Any]:
    return journal.event("proven", "lab", at, "alice", {"credential": name, "generation": generation})


EVENTS = st.lists(st.builds(proven, WORDS, WORDS), min_size=1, max_size=8)


def chain(events: list[dict[str, Any]]) -> tuple[bytes, Head]:
    return journal.chained(events, NOTHING)


# ------------------------------------------------------------------------------------------------- the chain


@given(EVENTS, EVENTS)
def test_a_chain_grows_and_is_read_back(some: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    raw, head = chain(some)
    rest, end = journal.chained(more, head)
    found = journal.read(raw + rest, head)
    assert (
        found.why == "" and found.torn == b"" and found.head == end == Head(len(some) + len(more), end.digest)
    )
    bare = [{k: v for k, v in e.items() if k not in ("previous", "hash")} for e in found.events]
    assert bare == some + more
    assert found.events[0]["previous"] == FIRST
    assert journal.verify(raw + rest) is None


@given(EVENTS, st.data())
def test_any_other_byte_anywhere_is_found(events: list[dict[str, Any]], data: st.DataObject) -> None:
    """Also without the head that is kept beside it: what is copied elsewhere proves itself."""
    raw, head = chain(events)
    place = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.integers(0, 255))
    assume(raw[place] != byte)
    changed = raw[:place] + bytes([byte]) + raw[place + 1 :]
    line = raw[:place].count(b"\n") + 1
    for known in (NOTHING, head):
        found = journal.verify(changed, known)
        assert found is not None and found[0] == line, "the first broken line is named"


@given(EVENTS, st.data())
def test_bytes_put_in_or_taken_out_are_found(events: list[dict[str, Any]], data: st.DataObject) -> None:
    raw, head = chain(events)
    place = data.draw(st.integers(0, len(raw)))
    more = data.draw(st.binary(max_size=3))
    gone = data.draw(st.integers(0, 40))
    changed = raw[:place] + more + raw[place + gone :]
    assume(changed != raw)
    assert journal.verify(changed, head) is not None


@given(st.lists(st.builds(proven, WORDS, WORDS), min_size=2, max_size=8), st.data())
def test_whole_lines_that_went_or_moved_are_found(events: list[dict[str, Any]], data: st.DataObject) -> None:
    raw, head = chain(events)
    lines = raw.splitlines(keepends=True)
    left = data.draw(st.one_of(st.permutations(lines), st.lists(st.sampled_from(lines), max_size=len(lines))))
    assume(left != lines)
    assert journal.verify(b"".join(left), head) is not None


def test_without_its_head_a_journal_that_was_cut_looks_like_a_younger_one() -> None:
    """What the chain alone cannot know, and why the head is kept."""
    raw, head = chain([proven(), proven("drone")])
    younger = raw.splitlines(keepends=True)[0]
    assert journal.verify(younger) is None
    assert journal.verify(younger, head) == (2, "it had 2 lines, and has 1")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("proven", {"credential": "cirun", "generation": "7", "value": "x"}),
        ("proven", {"credential": "cirun"}),
        ("proven", {"credential": "a word and another", "generation": "7"}),
        ("proven", {"credential": "cirun\n", "generation": "7"}),
        ("told", {}),
        ("override-used", {"destroy": True, "source": "terminal"}),
        ("override-used", {"destroy": 3, "source": "because I say so"}),
        ("taken-back", {"credential": "cirun", "sinks": ["file", "an other"]}),
    ],
)
def test_nothing_else_gets_into_a_journal(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no event of a journal"):
        journal.event(kind, "lab", AT, "alice", fields)


def test_a_line_that_is_chained_and_no_event_is_found() -> None:
    """Somebody who can make hashes, too."""
    raw, _ = journal.chained([{**proven(), "reason": "I wanted it"}], NOTHING)
    assert journal.verify(raw) == (1, "no journal has such an event")


@pytest.mark.parametrize("name", ["", "a b", "x" * 61, "someone\n", "<b>", "@org/team", "\u202eeve"])
def test_who_it_was_is_a_login_or_unknown(name: str) -> None:
    assert journal.somebody(name) == "unknown"
    assert journal.somebody("renovate[bot]") == "renovate[bot]"


def test_places_are_one_line_and_not_endless() -> None:
    assert journal.shortened("a\nb\u202ec") == "a b c"
    assert len(journal.shortened("x" * 1000)) == journal.LONGEST


# ------------------------------------------------------------------------------------- two that grew apart


@given(EVENTS, EVENTS, EVENTS)
def test_journals_that_grew_apart_become_one(
    both: list[dict[str, Any]], one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    start, head = chain(both)
    theirs, ours = start + journal.chained(one, head)[0], start + journal.chained(other, head)[0]
    whole = journal.joined(theirs, ours, "alice", AT, "lab")
    assert whole is not None and whole.startswith(theirs) and journal.verify(whole) is None
    told = [e for e in journal.read(whole).events if e["event"] == "proven"]
    bare = [{k: v for k, v in e.items() if k not in ("previous", "hash")} for e in told]
    pairs = zip(one, other, strict=False)
    same = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
    assert bare == both + one + other[same:], "nothing of either is lost, and what both have stands once"


def test_a_broken_one_is_not_joined() -> None:
    raw, _ = chain([proven()])
    assert journal.joined(raw, raw[:-2], "alice", AT, "lab") is None
    assert journal.joined(b"x\n", raw, "alice", AT, "lab") is None


# --------------------------------------------------------------------------------------------------- the file


@pytest.fixture
def own(tmp_path: Path) -> Journal:
    return Journal(tmp_path / ".state" / "lab", said.append)


said: list[str] = []


def note(own: Journal, generation: str = "7") -> None:
    own.note("proven", credential="cirun", generation=generation)


def code(own: Journal) -> str:
    with pytest.raises(Failure) as raised:
        note(own)
    (fault,) = raised.value.diagnostics
    assert "mv .state/lab/journal.* .state/lab/broken-journal/" in fault.hint
    return fault.code


def test_events_are_added_and_the_view_is_a_copy(own: Journal) -> None:
    for number in range(3):
        note(own, str(number))
    raw = (own.state / JOURNAL).read_bytes()
    assert [e["event"] for e in own.read().events] == ["begun", *["proven"] * 3]
    assert own.view is not None and own.view.read_bytes() == raw
    assert own.head() == own.read().head
    assert {e["by"] for e in own.read().events} == {journal_file.who(own.root)}
    assert own.view == own.root / "build" / "journal" / "lab.jsonl"


def test_the_view_comes_back_after_make_clean(own: Journal) -> None:
    note(own)
    assert own.view is not None
    own.view.unlink()
    note(own)
    assert own.view.read_bytes() == (own.state / JOURNAL).read_bytes()


def test_the_whole_folder_has_one_of_its_own(tmp_path: Path) -> None:
    whole = Journal(tmp_path / ".state", print)
    whole.note("activated", repository=".cirun", done=["cirun"], left=[])
    assert whole.view == tmp_path / "build" / "journal" / "_folder.jsonl" and whole.view.is_file()
    assert [one.name for one in journal_file.journals(tmp_path, print)] == ["_folder"]


@pytest.mark.parametrize("what", ["edited", "cut", "emptied", "gone", "foreign"])
def test_a_journal_that_was_cut_or_edited_takes_nothing_more(own: Journal, what: str) -> None:
    note(own)
    note(own)
    path = own.state / JOURNAL
    raw = path.read_bytes()
    lines = raw.splitlines(keepends=True)
    changed = {
        "edited": raw.replace(b"cirun", b"Cirun", 1),
        "cut": b"".join(lines[:-1]),
        "emptied": b"",
        "gone": None,
        "foreign": journal.chained([proven(), proven(), proven()], NOTHING)[0],
    }[what]
    path.unlink() if changed is None else path.write_bytes(changed)
    assert code(own) == "broken-journal"
    assert (path.read_bytes() if path.exists() else None) == changed, "it is left as it is"
    assert own.view is not None and own.view.read_bytes() == raw, (
        "and so is the copy that may show what it was"
    )


def test_the_way_out_keeps_the_old_one_and_names_it(own: Journal) -> None:
    note(own)
    path = own.state / JOURNAL
    path.write_bytes(path.read_bytes().replace(b"cirun", b"Cirun"))
    assert code(own) == "broken-journal"
    aside = own.state / ASIDE
    command = f"mkdir .state/lab/{ASIDE} && mv .state/lab/journal.* .state/lab/{ASIDE}/"
    subprocess.run(["sh", "-c", command], cwd=own.root, check=True)
    note(own)
    begun = own.read().events[0]
    assert begun["event"] == "begun" and begun["after"] == journal.digest((aside / JOURNAL).read_bytes())
    assert own.read().why == ""


def test_a_torn_last_line_is_told_and_set_aside(own: Journal) -> None:
    note(own)
    path = own.state / JOURNAL
    whole = path.read_bytes()
    line, _ = journal.chained([proven()], own.head())
    said.clear()
    path.write_bytes(whole + line[:40])
    note(own)
    (aside,) = own.state.glob("journal.torn-*")
    assert aside.read_bytes() == line[:40]
    assert "killed while it wrote the journal" in said[0] and aside.name in said[0]
    torn = own.read().events[-2]
    assert torn["event"] == "torn" and torn["bytes"] == 40 and torn["sha256"] == journal.digest(line[:40])
    assert path.read_bytes().startswith(whole) and own.read().why == ""


def test_killed_between_the_line_and_its_head(own: Journal) -> None:
    """The head is behind then, and that is no fault."""
    note(own)
    before = (own.state / HEAD).read_bytes()
    note(own)
    (own.state / HEAD).write_bytes(before)
    note(own)
    assert own.read().why == "" and own.read().head == own.head()


def test_a_head_that_says_nothing_is_none(own: Journal) -> None:
    note(own)
    for raw in (b"", b"[]", b'{"lines": 1}', b'{"lines": {}, "digest": 1}'):
        (own.state / HEAD).write_bytes(raw)
        assert own.head() == NOTHING


def test_a_full_disk_is_told(own: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    note(own)
    before = (own.state / JOURNAL).read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Failure) as raised:
        note(own)
    assert raised.value.diagnostics[0].code == "disk-full"
    monkeypatch.undo()
    note(own)
    assert (own.state / JOURNAL).read_bytes().startswith(before) and own.read().why == ""


def test_a_link_is_not_written_through(own: Journal, tmp_path: Path) -> None:
    own.state.mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(b"")
    (own.state / JOURNAL).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failure):
        note(own)
    assert (tmp_path / "elsewhere").read_bytes() == b""


# -------------------------------------------------------------------------------------------- several processes

WRITER = """
import sys
from pathlib import Path
from cf_infra.journal_file import Journal
own = Journal(Path(sys.argv[1]), lambda text: None)
for number in range(int(sys.argv[3])):
    own.note("proven", credential=sys.argv[2], generation=str(number))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def writer(own: Journal, name: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(own.state), name, str(count)], cwd=PROJECT, stdout=subprocess.PIPE
    )


def test_processes_at_once_lose_nothing(own: Journal) -> None:
    children = [writer(own, name, 20) for name in ("one", "two", "three")]
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0
    found = own.read()
    assert found.why == "" and found.head == own.head()
    for name in ("one", "two", "three"):
        own_events = [e["generation"] for e in found.events if e.get("credential") == name]
        assert own_events == [str(number) for number in range(20)], "each one's in its order"


def test_a_killed_process_loses_nothing_that_it_was_told_is_kept(own: Journal) -> None:
    """SIGKILL at any moment: the chain stays whole, and what `note` returned for is in it."""
    for turn in range(6):
        child = writer(own, f"turn{turn}", 10_000)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.013 * turn)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        rest = child.communicate()[0].splitlines()
        kept = 1 + len(rest)
        note(own, str(turn))
        found = own.read()
        assert found.why == "" and found.torn == b""
        there = [e["generation"] for e in found.events if e.get("credential") == f"turn{turn}"]
        assert len(there) >= kept, "what was told to be kept is kept"
        assert there == [str(number) for number in range(len(there))]


# ------------------------------------------------------------------------------------------------------- who


def test_who_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> str:
        journal_file.who.cache_clear()
        return journal_file.who(tmp_path)

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("LOGNAME", "of-the-system")
    assert asked() == "of-the-system"
    (tmp_path / ".gitconfig").write_text("[github]\n\tuser = of-git\n")
    assert asked() == "of-git"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_ACTOR", "of-github[bot]")
    assert asked() == "of-github[bot]"
    monkeypatch.setenv("GITHUB_ACTOR", "<script>")
    assert asked() == "unknown"
    journal_file.who.cache_clear()


def test_ten_thousand_lines_are_verified_in_a_moment(own: Journal) -> None:
    events = [proven(generation=str(number)) for number in range(10_000)]
    raw, head = chain(events)
    own.state.mkdir(parents=True)
    (own.state / JOURNAL).write_bytes(raw)
    (own.state / HEAD).write_bytes(orjson.dumps({"lines": head.lines, "digest": head.digest}))
    begin = time.process_time()
    note(own)
    assert time.process_time() - begin < 2.0
    assert own.read().head.lines == 10_001


@example(b"")
@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    found = journal.read(raw)
    assert found.why or found.torn == raw or raw == b""
