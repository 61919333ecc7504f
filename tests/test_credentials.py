"""Generations of credentials: which ones live on a day, whatever happened before."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_infra import credentials
from cf_infra.credentials import EPOCH, UNKNOWN, History, Proof, Seen, Sent, order
from cf_infra.model import Credential

DAY = date(2026, 6, 1)
DRONE = Credential.model_validate({"kind": "application_credential", "rotate_every": "10d", "overlap": "3d"})
THEIRS = Credential.model_validate(
    {"kind": "user", "rotate_every": "30d", "overlap": "2d", "source": "env DONOR"}
)


def labels(day: date, history: History = UNKNOWN, clock: date | None = None) -> list[str]:
    return [g.label for g in credentials.live("lab", "drone", DRONE, day, clock, history)]


def proved(history: History, label: str, day: date, mark: str = "f") -> History:
    return credentials.proved(history, Proof(label, day, "key", mark), Seen(label, "now", True, "5 flavors"))


def first_day(number: int) -> date:
    return credentials.begins("lab", "drone", DRONE, number)


NUMBER = credentials.period_of("lab", "drone", DRONE, DAY)
FIRST = first_day(NUMBER)


def test_a_year_of_daily_applies() -> None:
    """One lives, and two from a turn until its overlap is past; nothing that was proven is missing for a day."""
    history, seen = UNKNOWN, {}
    for n in range(365):
        day = FIRST + timedelta(days=n)
        here = labels(day, history)
        assert len(here) == (2 if n >= 10 and n % 10 < 3 else 1), (n, here)
        seen |= dict.fromkeys(here, day)
        history = credentials.forgotten(proved(history, here[-1], day), here)
    assert [order(label)[0] for label in seen] == [*range(NUMBER, NUMBER + 37)]


def test_a_new_one_that_does_not_work_retires_nothing() -> None:
    history = proved(UNKNOWN, str(NUMBER), FIRST)
    for n in range(10, 200, 7):
        day = FIRST + timedelta(days=n)
        assert labels(day, history) == [str(NUMBER), str(NUMBER + n // 10)]


def test_a_missed_month_ends_as_if_nobody_had_missed_it() -> None:
    history = proved(UNKNOWN, str(NUMBER), FIRST)
    back = first_day(NUMBER + 4) + timedelta(days=2)
    assert labels(back, history) == [str(NUMBER), str(NUMBER + 4)]
    history = proved(history, str(NUMBER + 4), back)
    # its overlap begins when it was proven, not when it was due: jobs run with the old one until then
    assert labels(back + timedelta(days=2), history) == [str(NUMBER), str(NUMBER + 4)]
    assert labels(back + timedelta(days=3), history) == [str(NUMBER + 4)]


def test_a_clock_that_goes_back_brings_nothing_old_to_life() -> None:
    history = proved(UNKNOWN, str(NUMBER), FIRST)
    assert labels(FIRST - timedelta(days=365), history) == [str(NUMBER)]


def test_a_clock_that_was_ahead_for_a_day_costs_no_proven_one() -> None:
    """A year ahead: another is made and proven; back again, both live until the overlap ends, and then the newest."""
    history = proved(UNKNOWN, str(NUMBER), FIRST)
    ahead = FIRST + timedelta(days=365)
    newest = labels(ahead, history)[-1]
    history = proved(history, newest, ahead)
    assert labels(FIRST + timedelta(days=1), history) == [str(NUMBER), newest]
    assert labels(ahead + timedelta(days=3), history) == [newest]


def test_what_was_withdrawn_is_replaced_within_its_period_and_goes_without_overlap() -> None:
    history = proved(UNKNOWN, str(NUMBER), FIRST)
    history = credentials.withdraw(history, [str(NUMBER)])
    assert labels(FIRST, history) == [str(NUMBER), f"{NUMBER}.1"], "not before another works"
    history = proved(history, f"{NUMBER}.1", FIRST)
    assert labels(FIRST, history) == [f"{NUMBER}.1"]
    again = credentials.withdraw(history, [f"{NUMBER}.1"])
    assert labels(FIRST, again)[-1] == f"{NUMBER}.2"
    history = credentials.forgotten(history, labels(FIRST, history))
    assert labels(FIRST, history) == [f"{NUMBER}.1"], "what is forgotten does not come back"
    assert labels(first_day(NUMBER + 1), history) == [f"{NUMBER}.1", str(NUMBER + 1)]


def test_what_was_withdrawn_before_it_was_ever_proven() -> None:
    history = credentials.withdraw(UNKNOWN, [str(NUMBER)])
    assert labels(FIRST, history) == [f"{NUMBER}.1"]


def test_each_turns_on_its_own_day() -> None:
    days = {credentials.begins("lab", f"c{n}", DRONE, 500) for n in range(40)}
    assert len(days) > 5


def test_an_end_at_the_cloud_is_a_whole_period_after_the_turn_and_never_past() -> None:
    (only,) = credentials.live("lab", "drone", DRONE, FIRST)
    assert only.expires == first_day(NUMBER + 2) + timedelta(days=3)
    then = FIRST - timedelta(days=1000)
    plain = credentials.live("lab", "drone", DRONE, then)[-1]
    moved = credentials.live("lab", "drone", DRONE, then, FIRST)[-1]
    assert plain.address == moved.address and moved.expires > FIRST
    assert (moved.expires - plain.expires).days % 10 == 0


@given(st.data())
def test_never_fewer_than_one_proven_generation(data: st.DataObject) -> None:
    """Days that jump, logins that fail, revocations in between: the last proven one is always among those that live."""
    history, day = UNKNOWN, DAY
    for _ in range(data.draw(st.integers(1, 25))):
        day += timedelta(days=data.draw(st.integers(-400, 400)))
        here = labels(day, history)
        assert here[-1] == credentials.due("lab", "drone", DRONE, day, history)
        assert len(here) == len(set(here))
        if history.proven:
            newest = max((p.generation for p in history.proven), key=order)
            assert newest in here
        event = data.draw(st.sampled_from(["works", "fails", "leaks", "works and is forgotten"]))
        if event.startswith("works"):
            history = proved(history, here[-1], day)
            if "forgotten" in event:
                before = labels(day, history)
                history = credentials.forgotten(history, before)
                assert labels(day, history) == before
        elif event == "leaks":
            history = credentials.withdraw(history, here)
            assert labels(day, history)[-1] not in here


def test_steps_of_a_turn() -> None:
    credential = DRONE.model_copy(update={"deliver": ["file", "vault"]})
    label = str(NUMBER)

    def said(history: History, day: date = FIRST) -> list[tuple[str, str, str]]:
        found = credentials.steps("lab", "drone", credential, day, history)
        return [(step.generation, step.action, step.what) for step in found]

    both = [(label, "deliver", "deliver to file"), (label, "deliver", "deliver to vault")]
    assert said(UNKNOWN) == [*both, (label, "prove", "prove by a login")]
    sent = [Sent(sink, sink, label, "now", "f") for sink in ("file", "vault")]
    one = credentials.delivered(UNKNOWN, sent[0])
    assert said(one) == said(UNKNOWN), "without a proof everything is done again"
    assert said(proved(one, label, FIRST)) == [both[1]]
    whole = proved(credentials.delivered(one, sent[1]), label, FIRST)
    assert said(whole) == []
    turned = credentials.withdraw(whole, [label])
    turned = proved(turned, f"{label}.1", FIRST)
    assert (label, "retire", "no longer valid") in said(turned)


def test_what_others_make_is_asked_for_by_name_and_day() -> None:
    number = credentials.period_of("lab", "cirun", THEIRS, DAY)
    first = credentials.begins("lab", "cirun", THEIRS, number)

    def said(history: History, day: date) -> list[tuple[str, str]]:
        found = credentials.steps("lab", "cirun", THEIRS, day, history, ["alice", "bob"])
        return [(step.action, step.what) for step in found]

    assert said(UNKNOWN, first) == [("prove", "prove by a login")]
    history = proved(UNKNOWN, str(number), first)
    assert said(history, first + timedelta(days=15)) == []
    end = first + timedelta(days=30)
    wish = f"alice or bob makes a new one, due on {end}; put it into DONOR and apply"
    assert said(history, first + timedelta(days=16)) == [("by-hand", wish)]
    assert said(history, end) == [("by-hand", wish.replace("due on", "due since"))]
    assert credentials.overdue("lab", "cirun", THEIRS, end, history) == end
    assert credentials.overdue("lab", "cirun", THEIRS, first, history) is None
    assert credentials.overdue("lab", "cirun", THEIRS, end, UNKNOWN) is None


def test_another_value_of_others_is_another_generation() -> None:
    number = credentials.period_of("lab", "cirun", THEIRS, DAY)

    def label(mark: str, history: History, day: date = DAY) -> str:
        return credentials.of_others("lab", "cirun", THEIRS, day, history, mark)

    history = proved(UNKNOWN, label("a", UNKNOWN), DAY, "a")
    assert label("a", history, DAY + timedelta(days=300)) == str(number), "the same value is no rotation"
    assert label("b", history) == f"{number}.1"
    assert label("b", history, DAY + timedelta(days=30)) == str(number + 1)


def test_a_value_that_changed_is_proven_anew() -> None:
    """A credential that somebody deleted at the cloud is made again under its name, with another secret."""
    history = proved(UNKNOWN, "7", DAY, "a")
    assert proved(history, "7", DAY + timedelta(days=1), "a").proven == history.proven
    (proof,) = proved(history, "7", DAY + timedelta(days=1), "b").proven
    assert (proof.fingerprint, proof.on) == ("b", DAY + timedelta(days=1))


def test_a_sink_holds_what_it_got_last() -> None:
    history = credentials.delivered(UNKNOWN, Sent("file", "f", "7", "now", "a"))
    history = credentials.delivered(history, Sent("vault", "v", "7", "now", "a"))
    history = credentials.delivered(history, Sent("file", "f", "8", "now", "b"))
    assert [(s.sink, s.generation) for s in history.sent] == [("vault", "7"), ("file", "8")]
    assert credentials.taken_back(history, ["vault"]).sent == history.sent[1:]


def test_a_ledger_comes_back_as_it_was_written() -> None:
    whole = History(
        (Proof("7", DAY, "k", "f"), Proof("7.1", DAY, "k", "g")),
        ("7",),
        (Sent("file", "a file", "7.1", "2026-06-01T00:00:00+00:00", "g"),),
        Seen("7.1", "2026-06-01T00:00:00+00:00", False, "refused"),
    )
    ledger = {"drone": whole, "never": UNKNOWN}
    assert credentials.from_json(orjson.loads(orjson.dumps(credentials.as_json(ledger)))) == ledger


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 2},
        {"credentials": []},
        {"credentials": {"a": {}}},
        {"credentials": {"a": {"proven": [], "withdrawn": ["../7"], "sent": [], "seen": None}}},
        {"credentials": {"a": {"proven": [{"generation": "7"}], "withdrawn": [], "sent": [], "seen": None}}},
    ],
)
def test_a_damaged_ledger_is_not_guessed_at(damage: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        credentials.from_json({**credentials.as_json({"drone": UNKNOWN}), **damage})


def test_numbers_have_an_order() -> None:
    assert sorted(["10", "9.2", "9", "9.10"], key=order) == ["9", "9.2", "9.10", "10"]
    assert credentials.period_of("lab", "drone", DRONE, EPOCH) in (0, -1)
    assert replace(UNKNOWN, proven=()) == UNKNOWN
