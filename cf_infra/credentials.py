"""Credentials by generation: which ones live on a day, what was delivered and proven, and what is to be done next.

Pure: the day is an argument, and so is what is known of the past. A generation is due by the calendar alone, so no
timer is needed: whoever applies on the right day turns it, and whoever comes a month late ends with the same ones.
The one before goes only when the due one is proven by a login and `overlap` is past since.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from cf_infra.model import Credential

EPOCH = date(1970, 1, 1)
_LABEL = re.compile(r"^(0|[1-9][0-9]*)(?:\.([1-9][0-9]*))?$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a credential.

    `label`: the number of its period, such as `218`, and `218.1` for its first replacement within the period;
    `expires`: the first day on which a cloud may end it by itself, for the case that nobody ever retires it;
    `key`: the fingerprint of the master key that its value comes from, None for the present one.
    """

    name: str
    label: str
    credential: Credential
    expires: date
    key: str | None = None

    @property
    def address(self) -> str:
        """Its key in OpenTofu."""
        return f"{self.name}/{self.label}"


# ------------------------------------------------------------------------------------- what is known of the past


@dataclass(frozen=True, slots=True)
class Proof:
    """A generation that a real login was made with: on which day, from which master key, and with what value.

    `fingerprint` is a keyed hash of the value: it tells two values apart and says nothing of either.
    """

    generation: str
    on: date
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Sent:
    """The receipt of a delivery: never the value."""

    sink: str
    place: str
    generation: str
    at: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The last word of a canary: what it saw, or why it failed."""

    generation: str
    at: str
    works: bool
    said: str


@dataclass(frozen=True, slots=True)
class History:
    """What is known of one credential. `withdrawn`: the generations that were revoked before their time."""

    proven: tuple[Proof, ...] = ()
    withdrawn: tuple[str, ...] = ()
    sent: tuple[Sent, ...] = ()
    seen: Seen | None = None

    def proof(self, label: str) -> Proof | None:
        """The proof of a generation, if there is one."""
        return next((proof for proof in self.proven if proof.generation == label), None)


Ledger: TypeAlias = Mapping[str, History]
"""By a credential's name what is known of it: the file `credentials.json` beside the state, without any secret."""
UNKNOWN = History()


# ------------------------------------------------------------------------------------------- which ones live


def order(label: str) -> tuple[int, int]:
    """The place of a generation among others of its credential."""
    number, _, again = label.partition(".")
    return int(number), int(again or 0)


def _days(period: str) -> int:
    return int(period[:-1])


@lru_cache(maxsize=1 << 16)
def _offset(stack: str, name: str, period: int) -> int:
    digest = hashlib.sha256(f"{stack}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % period


def period_of(stack: str, name: str, credential: Credential, today: date) -> int:
    """The number of the period that `today` is in. Each credential turns on a day of its own, by its name."""
    period = _days(credential.rotate_every)
    return ((today - EPOCH).days - _offset(stack, name, period)) // period


def begins(stack: str, name: str, credential: Credential, number: int) -> date:
    """The first day of a period."""
    period = _days(credential.rotate_every)
    return EPOCH + timedelta(days=_offset(stack, name, period) + number * period)


def due(stack: str, name: str, credential: Credential, today: date, history: History = UNKNOWN) -> str:
    """The generation that must work today.

    Never one before the last proven one: a clock that was put back brings no old credential to life. What was
    withdrawn is replaced within its period.
    """
    number = period_of(stack, name, credential, today)
    past = [*(p.generation for p in history.proven), *history.withdrawn]
    newest = max((order(label) for label in past), default=(number, 0))
    if newest[0] > number:
        number = newest[0]
    again = max((a for n, a in map(order, past) if n == number), default=0)
    label = _label(number, again)
    return _label(number, again + 1) if label in history.withdrawn else label


def _label(number: int, again: int) -> str:
    return f"{number}.{again}" if again else str(number)


def live(
    stack: str,
    name: str,
    credential: Credential,
    today: date,
    clock: date | None = None,
    history: History = UNKNOWN,
) -> list[Generation]:
    """The generations that exist on `today`, oldest first: the due one, and those before it that are still needed.

    That is the last proven one until the due one is proven, and each proven one until `overlap` is past since its
    successor was. What was withdrawn goes as soon as another is proven. `clock`: the real day if `today` is pretended.
    """
    wanted = due(stack, name, credential, today, history)
    overlap = timedelta(days=_days(credential.overlap))
    proven = sorted(history.proven, key=lambda proof: order(proof.generation))
    kept: list[Proof] = []
    for index, proof in enumerate(proven):
        if proof.generation == wanted:
            continue
        newest = index == len(proven) - 1
        in_overlap = not newest and today < proven[index + 1].on + overlap
        if newest or (in_overlap and proof.generation not in history.withdrawn):
            kept.append(proof)
    now = history.proof(wanted)
    end = _ends(stack, name, credential, clock or today)
    return [
        *(Generation(name, p.generation, credential, end(p.generation), p.key) for p in kept),
        Generation(name, wanted, credential, end(wanted), now.key if now is not None else None),
    ]


def _ends(stack: str, name: str, credential: Credential, clock: date) -> Any:
    """When a cloud ends a generation by itself: a whole period after the next one is due, and never in the past."""
    period, overlap = _days(credential.rotate_every), _days(credential.overlap)

    def end(label: str) -> date:
        last = begins(stack, name, credential, order(label)[0] + 2) + timedelta(days=overlap)
        behind = (clock - last).days
        return last if behind < 0 else last + timedelta(days=(behind // period + 1) * period)

    return end


# ------------------------------------------------------------------------------------------- what is to be done

Action: TypeAlias = Literal["deliver", "prove", "retire", "by-hand"]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that an apply does about a credential beside OpenTofu, or that is left to a person."""

    credential: str
    generation: str
    action: Action
    what: str


def steps(
    stack: str, name: str, credential: Credential, today: date, history: History, contacts: Iterable[str] = ()
) -> list[Step]:
    """What is to be done about a credential today, in order. What OpenTofu makes and removes stands in its plan."""
    theirs = credential.source is not None
    label = due(stack, name, credential, today, history)
    if theirs and history.proven:
        label = max((proof.generation for proof in history.proven), key=order)
    proven = history.proof(label) is not None
    reached = {sent.sink for sent in history.sent if proven and sent.generation == label}
    found = [Step(name, label, "deliver", f"deliver to {s}") for s in credential.deliver if s not in reached]
    if not proven:
        found.append(Step(name, label, "prove", "prove by a login"))
    if theirs:
        return found + by_hand(stack, name, credential, today, history, contacts)
    if len(history.proven) < 2:
        return found
    here = {g.label for g in live(stack, name, credential, today, None, history)}
    gone = [p.generation for p in history.proven if p.generation not in here]
    return found + [Step(name, old, "retire", "no longer valid") for old in gone]


TOLD_BEFORE = timedelta(days=14)


def by_hand(
    stack: str, name: str, credential: Credential, today: date, history: History, contacts: Iterable[str]
) -> list[Step]:
    """Of a credential that others make: who has to make the next one, and by when. Told from 14 days before."""
    if not history.proven:
        return []
    last = max((proof.generation for proof in history.proven), key=order)
    end = begins(stack, name, credential, order(last)[0] + 1)
    if today < end - TOLD_BEFORE:
        return []
    variable = (credential.source or "").removeprefix("env ")
    who = " or ".join(contacts) or "its donor"
    since = f"due on {end}" if today < end else f"due since {end}"
    return [Step(name, last, "by-hand", f"{who} makes a new one, {since}; put it into {variable} and apply")]


def of_others(stack: str, name: str, credential: Credential, today: date, history: History, mark: str) -> str:
    """The generation of a value that somebody else made: a new one for every value that was not proven before.

    `mark`: the value's fingerprint.
    """
    known = next((p.generation for p in history.proven if p.fingerprint == mark), None)
    if known is not None:
        return known
    wanted = due(stack, name, credential, today, history)
    number, again = order(wanted)
    return _label(number, again + 1) if history.proof(wanted) is not None else wanted


def overdue(stack: str, name: str, credential: Credential, today: date, history: History) -> date | None:
    """The day since which a proven generation should have had a successor; None if all is well."""
    if not history.proven:
        return None
    last = max(history.proven, key=lambda proof: order(proof.generation))
    end = begins(stack, name, credential, order(last.generation)[0] + 1)
    return end if today >= end else None


# ------------------------------------------------------------------------------------------- what an apply notes


def delivered(history: History, sent: Sent) -> History:
    """After a sink took a generation: what it had before counts no more."""
    return replace(history, sent=(*(s for s in history.sent if s.sink != sent.sink), sent))


def taken_back(history: History, sinks: Iterable[str]) -> History:
    """After these sinks have nothing of it any more."""
    gone = set(sinks)
    return replace(history, sent=tuple(s for s in history.sent if s.sink not in gone))


def proved(history: History, proof: Proof, seen: Seen) -> History:
    """After a login with a generation worked. The first proof of a value counts: its overlap begins there."""
    known = history.proof(proof.generation)
    if known is not None and known.fingerprint == proof.fingerprint:
        return replace(history, seen=seen)
    others = tuple(p for p in history.proven if p is not known)
    return replace(history, proven=(*others, proof), seen=seen)


def withdraw(history: History, labels: Iterable[str]) -> History:
    """After a person said that these generations must go before their time."""
    return replace(
        history, withdrawn=(*history.withdrawn, *(x for x in labels if x not in history.withdrawn))
    )


def forgotten(history: History, labels: Iterable[str]) -> History:
    """After an apply that was proven: of what is gone nothing is kept but that it was withdrawn in this period."""
    here = set(labels)
    proven = tuple(p for p in history.proven if p.generation in here)
    newest = max((order(x) for x in here), default=(0, 0))[0]
    return replace(
        history, proven=proven, withdrawn=tuple(x for x in history.withdrawn if order(x)[0] >= newest)
    )


# ------------------------------------------------------------------------------------------- as JSON

VERSION = 1


def as_json(ledger: Ledger) -> dict[str, Any]:
    """A ledger in the form of its file."""
    return {
        "version": VERSION,
        "credentials": {name: _row(history) for name, history in sorted(ledger.items())},
    }


def _row(history: History) -> dict[str, Any]:
    return {
        "proven": [{**asdict(p), "on": p.on.isoformat()} for p in history.proven],
        "withdrawn": list(history.withdrawn),
        "sent": [asdict(s) for s in history.sent],
        "seen": asdict(history.seen) if history.seen is not None else None,
    }


def from_json(data: Any) -> dict[str, History]:
    """A ledger from its file. Raises ValueError, KeyError or TypeError if it is none."""
    if data["version"] != VERSION:
        raise ValueError(f"version {data['version']}")
    return {str(name): _history(row) for name, row in data["credentials"].items()}


def _history(row: Any) -> History:
    found = History(
        proven=tuple(
            Proof(p["generation"], date.fromisoformat(p["on"]), p["key"], p["fingerprint"])
            for p in row["proven"]
        ),
        withdrawn=tuple(row["withdrawn"]),
        sent=tuple(Sent(**s) for s in row["sent"]),
        seen=Seen(**row["seen"]) if row["seen"] is not None else None,
    )
    labels = [*(p.generation for p in found.proven), *found.withdrawn, *(s.generation for s in found.sent)]
    if not all(_LABEL.match(label) for label in labels):
        raise ValueError("a generation is written 218 or 218.1")
    return found
