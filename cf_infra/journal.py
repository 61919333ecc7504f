"""What was done and by whom, as a chain of lines that can only grow: events, their form, and what breaks a chain.

A line is one event as canonical JSON (keys sorted, nothing between). `previous` is the SHA-256 of the whole line
before, `hash` that of the line's own JSON without `hash`. So every line depends on all before it, and a change of any
byte is found. An event has days, numbers, digests and names; what people write freely (reasons) stays in grants.yaml.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

Event = Mapping[str, Any]

FIRST = "0" * 64
"""What the first line has for `previous`."""
LONGEST = 300
"""Characters of a place in a receipt; longer ones are cut, with a mark."""

_BY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,58}[A-Za-z0-9])?(?:\[bot\])?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def _matches(pattern: str) -> Callable[[object], bool]:
    form = re.compile(pattern)
    return lambda value: isinstance(value, str) and form.fullmatch(value) is not None


def _list_of(one: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(one(row) for row in value)


def _row(**forms: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == forms.keys()
        and all(forms[k](v) for k, v in value.items())
    )


def _number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _line(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and _NO_TEXT.search(value) is None


def _or_none(one: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or one(value)


_digest = _matches(r"[0-9a-f]{64}")
_day = _matches(r"\d{4}-\d\d-\d\d")
_time = _matches(_TIME.pattern)
_word = _matches(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")
_grant = _matches(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_repository = _matches(r"[A-Za-z0-9_.-]{1,100}")
_had = _row(grant=_grant, ends=_or_none(_day))

_commit = _matches(r"(?:[0-9a-f]{40}|[0-9a-f]{64})?")

_OF_A_PLAN: dict[str, Callable[[object], bool]] = {
    "cloud": _line,
    "plan_digest": _digest,
    "review_digest": _digest,
    "commit": _commit,
    "grants": _matches(r"(?:[0-9a-f]{64})?"),
}
_OF_A_LOGIN: dict[str, Callable[[object], bool]] = {"credential": _word, "generation": _word}

KINDS: dict[str, dict[str, Callable[[object], bool]]] = {
    "begun": {"after": _or_none(_digest)},
    "torn": {"bytes": _number, "sha256": _digest},
    "joined": {"lines": _number},
    "planned": {
        **_OF_A_PLAN,
        **dict.fromkeys(("add", "change", "replace", "destroy"), _number),
        "refused": _truth,
    },
    "approved": {
        "pull": _line,
        "head": _commit,
        "plan_digest": _digest,
        "grants": _list_of(_grant),
        "approvers": _list_of(_line),
        "merger": _or_none(_line),
        "rules": _list_of(_line),
    },
    "accepted": {"plan_digest": _digest, "digest": _digest, "rows": _number},
    "apply-begun": {**_OF_A_PLAN, "part": _matches("whole|take-back")},
    "override-used": {"destroy": _number, "source": _matches(r"overrides\.yaml|terminal")},
    "apply-ended": {
        **_OF_A_PLAN,
        "part": _matches("whole|take-back"),
        "result": _matches("done|failed|interrupted"),
        "codes": _list_of(_word),
        "changes": _number,
        "gained": _list_of(_had),
        "changed": _list_of(_had),
        "lost": _list_of(_grant),
        "unsure": _list_of(_grant),
        "receipts": _list_of(
            _row(
                grant=_line,
                gone_from=_list_of(_row(place=_line, checked_at=_time)),
                left=_number,
                by_hand=_number,
            )
        ),
    },
    "forgotten": {},
    "delivered": {**_OF_A_LOGIN, "sink": _word},
    "proven": _OF_A_LOGIN,
    "not-working": _OF_A_LOGIN,
    "taken-back": {"credential": _word, "sinks": _list_of(_word)},
    "revoking": {"credential": _word, "generations": _list_of(_word)},
    "revoked": {"credential": _word, "generations": _list_of(_word), "replaced_by": _or_none(_word)},
    "activated": {"repository": _repository, "done": _list_of(_word), "left": _list_of(_word)},
    "deactivated": {"repository": _repository, "done": _list_of(_word), "left": _list_of(_word)},
}
"""Every kind of event, and the form of each of its fields: nothing else gets into a journal."""
_ALWAYS = frozenset({"at", "by", "event", "stack", "previous", "hash"})


def event(kind: str, stack: str, at: str, by: str, fields: Event) -> dict[str, Any]:
    """An event. Raises ValueError for a kind or a field that no journal has: that is a fault of the caller."""
    forms = KINDS.get(kind, {"": _truth})
    wrong = sorted(forms.keys() ^ fields.keys()) or [n for n, form in forms.items() if not form(fields[n])]
    if wrong or _TIME.fullmatch(at) is None or somebody(by) != by:
        raise ValueError(f"no event of a journal: {kind} ({', '.join(wrong)})")
    return {"at": at, "by": by, "event": kind, "stack": stack, **fields}


def somebody(name: str) -> str:
    """Who did it, in a form that a journal has: a login; `unknown` if it is none."""
    return name if _BY.fullmatch(name) else "unknown"


def shortened(place: str) -> str:
    """A place as a journal has it: one line, not endless."""
    one = _NO_TEXT.sub(" ", place)
    return one if len(one) <= LONGEST else one[: LONGEST - 1] + "…"


# ------------------------------------------------------------------------------------------------- the chain


@dataclass(frozen=True)
class Head:
    """How long a journal was when it was last written here, and the SHA-256 of its last line then."""

    lines: int
    digest: str


NOTHING = Head(0, FIRST)


@dataclass(frozen=True)
class Read:
    """A journal as it was read: the events up to the first fault, and what is wrong with it.

    `line`: the number of the first broken line, from one; `why` in words, empty if nothing is broken. `torn`: bytes
    after the last whole line, as a run leaves them that is killed while it writes.
    """

    events: list[dict[str, Any]]
    head: Head
    torn: bytes = b""
    line: int = 0
    why: str = ""


def digest(raw: bytes) -> str:
    """The SHA-256 of some bytes."""
    return hashlib.sha256(raw).hexdigest()


def canonical(value: Event) -> bytes:
    """The one way in which a value is written."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def chained(events: Iterable[Event], head: Head) -> tuple[bytes, Head]:
    """The lines of events that follow `head`, and the head after them."""
    lines, previous, count = [], head.digest, head.lines
    for one in events:
        body = {**one, "previous": previous}
        line = canonical({**body, "hash": digest(canonical(body))})
        lines.append(line + b"\n")
        previous, count = digest(line), count + 1
    return b"".join(lines), Head(count, previous)


def read(raw: bytes, known: Head = NOTHING) -> Read:
    """Read and verify a journal. `known`: where it stood when it was last seen; it may have grown since, no more."""
    *lines, torn = raw.split(b"\n")
    events: list[dict[str, Any]] = []
    head = NOTHING
    for number, line in enumerate(lines, 1):
        found = _event_of(line, head.digest)
        if isinstance(found, str):
            return Read(events, head, b"", number, found)
        events.append(found)
        head = Head(number, digest(line))
        if number == known.lines and head.digest != known.digest:
            return Read(events, head, b"", number, "it is not the line that was written here")
    if head.lines < known.lines:
        why = f"it had {known.lines} lines, and has {head.lines}"
        return Read(events, head, torn, head.lines + 1, why)
    return Read(events, head, torn)


def _event_of(line: bytes, previous: str) -> dict[str, Any] | str:
    """The event of a line, or what is wrong with it."""
    try:
        found = orjson.loads(line)
    except ValueError:
        return "it is no JSON"
    if not isinstance(found, dict) or canonical(found) != line:
        return "it is not written as a line of a journal is"
    body = {name: value for name, value in found.items() if name != "hash"}
    if found.get("hash") != digest(canonical(body)):
        return "its hash does not fit what it says"
    if found.get("previous") != previous:
        return "it does not follow the line before it"
    fields = {name: value for name, value in found.items() if name not in _ALWAYS}
    try:
        event(str(found["event"]), str(found["stack"]), str(found["at"]), str(found["by"]), fields)
    except (ValueError, KeyError):
        return "no journal has such an event"
    return found


def verify(raw: bytes, known: Head = NOTHING) -> tuple[int, str] | None:
    """The number of the first broken line and why, a torn last one among them; None if all is well."""
    found = read(raw, known)
    if found.why:
        return found.line, found.why
    return (found.head.lines + 1, "it is cut off") if found.torn else None


def joined(theirs: bytes, ours: bytes, by: str, at: str, stack: str) -> bytes | None:
    """Two journals that grew apart from one beginning, as one: theirs, then what only ours has, and a note of it.

    None if one of them is broken: then nothing is joined.
    """
    one, other = read(theirs), read(ours)
    if one.why or one.torn or other.why or other.torn:
        return None
    same = 0
    while same < min(len(one.events), len(other.events)) and one.events[same] == other.events[same]:
        same += 1
    rest = [{k: v for k, v in e.items() if k not in ("previous", "hash")} for e in other.events[same:]]
    if not rest:
        return theirs
    if len(one.events) == same:
        return ours
    note = event("joined", stack, at, by, {"lines": len(rest)})
    return theirs + chained([note, *rest], one.head)[0]
