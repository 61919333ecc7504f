"""Turning a credential: delivered, proven, noted; and every way in which that can fail or be cut short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pytest

from cf_infra import credentials, ledger, turning
from cf_infra.credentials import UNKNOWN, History
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.journal_file import JOURNAL, Journal
from cf_infra.keys import Ring
from cf_infra.material import Material
from cf_infra.model import Credential, CredentialKind

DAY = date(2026, 6, 1)
DRONE = Credential.model_validate(
    {"kind": "application_credential", "rotate_every": "10d", "overlap": "3d", "deliver": ["vault"]}
)
NUMBER = credentials.period_of("lab", "drone", DRONE, DAY)
FIRST = credentials.begins("lab", "drone", DRONE, NUMBER)


class Killed(BaseException):
    """As SIGKILL: nothing after it is done, and nobody catches it."""


@dataclass
class Place:
    """Sinks, a cloud that takes logins, and where a run is killed."""

    state: Path
    has: dict[str, Material] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    takes_and_fails: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    kill: str = ""
    ring: Ring = field(default_factory=lambda: Ring(b"k" * 32))
    values: dict[str, str] = field(default_factory=dict)

    def sink(self, name: str) -> FakeSink:
        if name == "unknown":
            raise Failure(Diagnostic("undelivered", detail="There is no sink `unknown`."))
        return FakeSink(self, name)

    def canary(self, material: Material) -> str:
        self._die("prove")
        if material.generation in self.broken:
            raise Failure(Diagnostic("canary-failed", detail="The cloud refuses the login."))
        self._die("proven")
        return "5 flavors"

    def _die(self, step: str) -> None:
        if self.kill == step:
            raise Killed(step)

    def material(self, label: str, name: str = "drone") -> Material:
        value = self.values.get(label, f"secret of {label}")
        fields = {"id": label, "secret": value}
        return Material(
            "lab", name, label, CredentialKind.APPLICATION_CREDENTIAL, fields, frozenset({"secret"})
        )

    def turn(self, day: date, declared: dict[str, Credential] | None = None) -> list[str]:
        """A run of a day: what lives is made, then turned. The codes of what it says."""
        wanted = {"drone": DRONE} if declared is None else declared
        asked = turning.Turn(
            "lab", wanted, self.state, day, self.ring, self.sink, self.canary, self.said.append
        )
        made = [self.material(g, name) for name, one in wanted.items() for g in self.live(day, one, name)]
        found = turning.turn(asked, made)
        if not found:
            known = ledger.load(self.state)
            ledger.save(
                self.state, {n: credentials.forgotten(h, self.live(day, DRONE, n)) for n, h in known.items()}
            )
        return [d.code for d in found]

    def live(self, day: date, credential: Credential = DRONE, name: str = "drone") -> list[str]:
        return [g.label for g in credentials.live("lab", name, credential, day, None, self.history(name))]

    def history(self, name: str = "drone") -> History:
        return ledger.load(self.state).get(name, UNKNOWN)

    def proven(self) -> list[str]:
        return [proof.generation for proof in self.history().proven]


@dataclass
class FakeSink:
    """A sink that can refuse, or take something and say that it did not."""

    at: Place
    name: str

    @property
    def place(self) -> str:
        return f"the {self.name}"

    def deliver(self, material: Material) -> None:
        self.at._die("deliver")
        if self.name in self.at.refuse:
            raise Failure(Diagnostic("undelivered", detail=f"{self.name} refuses."))
        self.at.has[self.name] = material
        if self.name in self.at.takes_and_fails:
            raise Failure(Diagnostic("undelivered", detail=f"{self.name} answers 500."))
        self.at._die("delivered")

    def withdraw(self, owner: str, name: str) -> list[str]:
        del owner
        if self.name in self.at.refuse:
            raise Failure(Diagnostic("undelivered", detail=f"{self.name} refuses."))
        self.at.has.pop(self.name, None)
        return [f"ask {name} of the {self.name} back"] if self.name == "notebook" else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def day(n: int) -> date:
    return FIRST + timedelta(days=n)


def test_a_turn_and_its_overlap(place: Place) -> None:
    assert place.turn(day(0)) == []
    assert place.has["vault"].generation == str(NUMBER)
    assert place.said == [
        f"drone/{NUMBER}: delivering to the vault",
        f"drone/{NUMBER}: proven by a login (5 flavors)",
    ]
    place.said.clear()
    assert place.turn(day(1)) == [] and place.said == [], (
        "a day without a turn delivers nothing, and tries the login"
    )
    assert place.history().seen is not None
    assert place.turn(day(10)) == []
    assert place.has["vault"].generation == str(NUMBER + 1)
    assert place.live(day(12)) == [str(NUMBER), str(NUMBER + 1)]
    assert place.turn(day(13)) == []
    assert place.live(day(13)) == place.proven() == [str(NUMBER + 1)]


@pytest.mark.parametrize("step", ["deliver", "delivered", "prove", "proven"])
@pytest.mark.parametrize("when", [0, 10])
def test_killed_at_each_step_the_next_run_ends_as_if_nothing_had_happened(
    place: Place, step: str, when: int
) -> None:
    if when:
        place.turn(day(0))
    before = place.proven()
    place.kill = step
    with pytest.raises(Killed):
        place.turn(day(when))
    assert place.proven() == before, "what was not proven retires nothing"
    assert set(before) <= set(place.live(day(when)))
    place.kill = ""
    assert place.turn(day(when)) == []
    assert place.has["vault"].generation == place.live(day(when))[-1] == place.proven()[-1]


def test_the_journal_has_the_moments_and_no_value(place: Place) -> None:
    """Delivered and proven; then one that does not work, and the one before it delivered again."""
    place.turn(day(0))
    place.broken.add(str(NUMBER + 1))
    place.turn(day(10))
    first, second = str(NUMBER), str(NUMBER + 1)
    told = Journal(place.state, print).read().events[1:]
    assert [(e["event"], e["generation"]) for e in told] == [
        ("delivered", first),
        ("proven", first),
        ("delivered", second),
        ("not-working", second),
        ("delivered", first),
    ]
    assert {e["credential"] for e in told} == {"drone"} and told[0]["sink"] == "vault"
    assert b"secret" not in (place.state / JOURNAL).read_bytes()


def test_a_sink_that_refuses_leaves_the_old_one(place: Place) -> None:
    place.turn(day(0))
    place.refuse.add("vault")
    for n in (10, 11, 25):
        assert place.turn(day(n)) == ["undelivered"]
        assert place.live(day(n))[0] == str(NUMBER) and place.has["vault"].generation == str(NUMBER)
    place.refuse.clear()
    assert place.turn(day(26)) == []
    assert place.proven()[-1] == str(NUMBER + 2)


def test_a_sink_that_takes_it_and_says_no_gets_it_again(place: Place) -> None:
    place.turn(day(0))
    place.takes_and_fails.add("vault")
    assert place.turn(day(10)) == ["undelivered"]
    place.takes_and_fails.clear()
    assert place.turn(day(10)) == []
    assert place.has["vault"].generation == str(NUMBER + 1) == place.proven()[-1]


def test_a_new_one_that_does_not_work_is_rolled_back(place: Place) -> None:
    place.turn(day(0))
    place.broken.add(str(NUMBER + 1))
    assert place.turn(day(10)) == ["canary-failed"]
    assert place.has["vault"].generation == str(NUMBER), "the consumer has the one that works"
    assert place.history().seen is not None and not place.history().seen.works  # type: ignore[union-attr]
    assert [(s.sink, s.generation) for s in place.history().sent] == [("vault", str(NUMBER))]
    assert place.live(day(19)) == [str(NUMBER), str(NUMBER + 1)]
    place.broken.clear()
    assert place.turn(day(11)) == []
    assert place.has["vault"].generation == str(NUMBER + 1)


def test_the_very_first_one_that_does_not_work(place: Place) -> None:
    place.broken.add(str(NUMBER))
    assert place.turn(day(0)) == ["canary-failed"]
    assert place.proven() == []


def test_one_that_stops_working_is_told_and_stays(place: Place) -> None:
    place.turn(day(0))
    place.broken.add(str(NUMBER))
    assert place.turn(day(1)) == ["canary-failed"]
    assert place.proven() == [str(NUMBER)] == place.live(day(1))


def test_a_value_that_was_made_anew_at_the_cloud_is_delivered_and_proven_again(place: Place) -> None:
    place.turn(day(0))
    place.values[str(NUMBER)] = "made again, after somebody deleted it"
    assert place.turn(day(2)) == []
    assert place.has["vault"].fields["secret"].startswith("made again")
    (proof,) = place.history().proven
    assert proof.on == day(2)


def test_a_sink_that_is_added_gets_what_is_proven_and_one_that_goes_loses_it(place: Place) -> None:
    place.turn(day(0))
    both = {"drone": DRONE.model_copy(update={"deliver": ["vault", "shelf"]})}
    assert place.turn(day(1), both) == []
    assert place.has["shelf"].generation == str(NUMBER)
    only = {"drone": DRONE.model_copy(update={"deliver": ["shelf"]})}
    assert place.turn(day(2), only) == []
    assert set(place.has) == {"shelf"}


def test_a_credential_that_is_declared_no_more_is_taken_away(place: Place) -> None:
    both = {"drone": DRONE.model_copy(update={"deliver": ["vault", "notebook"]})}
    place.turn(day(0), both)
    assert place.turn(day(1), {}) == ["take-away-by-hand"]
    assert place.has == {} and ledger.load(place.state) == {}


def test_a_sink_that_refuses_to_give_back_is_asked_again(place: Place) -> None:
    place.turn(day(0))
    place.refuse.add("vault")
    gone = {"drone": DRONE.model_copy(update={"deliver": []})}
    assert place.turn(day(1), gone) == ["undelivered"]
    assert place.history().sent != ()
    place.refuse.clear()
    assert place.turn(day(1), gone) == [] and place.has == {}


def test_several_fail_alone(place: Place) -> None:
    """What fails for one is told of that one; the others are turned."""
    wanted = {"drone": DRONE, "other": DRONE.model_copy(update={"deliver": ["unknown"]}), "third": DRONE}
    assert place.turn(day(0), wanted) == ["undelivered"]
    assert sorted(name for name, history in ledger.load(place.state).items() if history.proven) == [
        "drone",
        "third",
    ]


def test_values_of_others_turn_when_they_change(place: Place) -> None:
    theirs = {"drone": DRONE.model_copy(update={"source": "env DONOR"})}
    number = NUMBER

    def turn(value: str, n: int) -> list[str]:
        asked = turning.Turn(
            "lab", theirs, place.state, day(n), Ring(b"k" * 32), place.sink, place.canary, place.said.append
        )
        given = Material(
            "lab", "drone", "?", CredentialKind.USER, {"password": value}, frozenset({"password"})
        )
        return [d.code for d in turning.turn(asked, [given])]

    assert turn("one", 0) == [] and place.proven() == [str(number)]
    assert turn("one", 25) == [] and place.proven() == [str(number)]
    assert turn("two", 25) == [] and place.proven() == [str(number), str(number + 2)]
    ledger.note(place.state, "drone", lambda h: credentials.withdraw(h, [str(number + 2)]))
    assert turn("two", 25) == ["rotation-due"], "what was revoked is not delivered again"
    assert turn("three", 25) == []


USER = Credential.model_validate(
    {"kind": "user", "rotate_every": "10d", "overlap": "3d", "deliver": ["vault"]}
)


def test_a_change_of_the_master_key_ends_no_login(place: Place) -> None:
    """A value that comes from the key before stays until it is retired; without that key nothing is guessed."""
    old, new = b"k" * 32, b"n" * 32
    derived = {"drone": USER}
    place.turn(day(0), derived)
    (before,) = place.history().proven
    place.said.clear()
    place.ring = Ring(new, old)
    assert place.turn(day(1), derived) == [] and place.said == [], "nothing is delivered or proven anew"
    assert place.history().proven == (before,)
    place.ring = Ring(new)
    assert place.turn(day(2), derived) == ["no-key"] and place.history().proven == (before,)
    place.ring = Ring(new, old)
    assert place.turn(day(10), derived) == [] and place.history().proven[-1].key == place.ring.fingerprint
    assert place.turn(day(13), derived) == []
    place.ring = Ring(new)
    assert place.turn(day(14), derived) == []


def test_what_a_cloud_made_is_only_marked_by_the_master_key(place: Place) -> None:
    place.turn(day(0))
    place.ring = Ring(b"n" * 32)
    assert place.turn(day(1)) == [], "it is proven anew, and nothing is missing for a moment"
    assert [p.key for p in place.history().proven] == [place.ring.fingerprint]


def test_a_ledger_that_is_damaged_stops_everything(place: Place) -> None:
    (place.state / ledger.NAME).write_text('{"version": 1, "credentials": {"drone": {}}}')
    with pytest.raises(Failure) as caught:
        place.turn(day(0))
    assert caught.value.diagnostics[0].code == "unreadable"


def test_a_ledger_of_another_stack_is_not_taken(place: Place, tmp_path: Path) -> None:
    place.turn(day(0))
    other = tmp_path / "other"
    other.mkdir()
    (other / ledger.NAME).write_bytes((place.state / ledger.NAME).read_bytes())
    with pytest.raises(Failure) as caught:
        ledger.load(other)
    (fault,) = caught.value.diagnostics
    assert fault.code == "foreign-state" and f"`{place.state.name}`" in (fault.detail or "")


def test_nothing_of_a_value_is_in_its_name_or_its_mark(place: Place) -> None:
    material = place.material("7")
    assert "secret of" not in repr(material) and material.hidden() == ["secret of 7"]
    mark: Callable[[bytes], str] = lambda key: turning.fingerprint(key, material)  # noqa: E731
    assert mark(b"a" * 32) != mark(b"b" * 32) and len(mark(b"a" * 32)) == 16
