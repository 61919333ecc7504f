"""The text of users/*.json changed in place: one person's entry put in or changed, everything else as people wrote it.

Whatever was done is proven in the end: the text is read again and must say what was meant, else nothing comes out.
"""

from __future__ import annotations

import json
import re
from typing import Any

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.model import User

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
NEW = '{\n  "users": []\n}\n'
"""A list of people with nobody on it."""


def with_person(text: str, user: User, file: str) -> str:
    """The file's text with this person, by id: a new entry at the end, or what differs of the one that is there.

    Raises Failure("cannot-edit") for a file whose entries do not stand in a list under `users`.
    """
    wanted = user.model_dump(mode="json", exclude_defaults=True)
    try:
        before = json.loads(text)
        begin, spans, end = _entries(text)
        people = before["users"]
        known = next((i for i, one in enumerate(people) if one["id"] == user.id), None)
        if known is None:
            people.append(wanted)
            changed = _appended(text, begin, spans, end, wanted)
        elif people[known] == wanted:
            return text
        else:
            people[known] = wanted
            first, last = spans[known]
            old = text[first:last]
            changed = text[:first] + _like(old, _indent(text, first), wanted) + text[last:]
        if json.loads(changed) == before:
            return changed
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    detail = f"{file} is not written so that an entry can be put into it."
    hint = 'write it as {"users": [{"github": "login", "id": 12345}]}'
    raise Failure(Diagnostic("cannot-edit", file=file, detail=detail, hint=hint))


def _entries(text: str) -> tuple[int, list[tuple[int, int]], int]:
    """Where the list under `users` begins, where each entry stands, and where the list ends. Raises ValueError."""
    place = _past(text, 0, "{")
    while True:
        key, place = _DECODER.raw_decode(text, _blank(text, place))
        place = _blank(text, _past(text, place, ":"))
        if key == "users":
            return _listed(text, place)
        _, place = _DECODER.raw_decode(text, place)
        place = _past(text, place, ",")


def _listed(text: str, begin: int) -> tuple[int, list[tuple[int, int]], int]:
    spans: list[tuple[int, int]] = []
    place = _blank(text, _past(text, begin, "["))
    while text[place] != "]":
        _, end = _DECODER.raw_decode(text, place)
        spans.append((place, end))
        place = _blank(text, end)
        if text[place] == ",":
            place = _blank(text, place + 1)
    return begin + 1, spans, place


def _blank(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found is not None else place


def _past(text: str, place: int, sign: str) -> int:
    place = _blank(text, place)
    if text[place] != sign:
        raise ValueError(sign)
    return place + 1


def _indent(text: str, place: int) -> str:
    """The blanks before an entry, if it is the first in its line."""
    before = text[text.rfind("\n", 0, place) + 1 : place]
    return before if not before.strip() else ""


def _appended(text: str, begin: int, spans: list[tuple[int, int]], end: int, wanted: dict[str, Any]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    if not spans:
        outer = _indent(text, text.rfind('"users"', 0, begin))
        inner = outer + (outer or "  ")
        return f"{text[:begin]}{newline}{inner}{json.dumps(wanted, ensure_ascii=False)}{newline}{outer}{text[end:]}"
    first, last = spans[-1]
    gap = text[spans[-2][1] : first] if len(spans) > 1 else f",{text[begin:first]}"
    gap = gap if gap.count(",") == 1 and not gap.strip(" \t\r\n,") else ", "
    return text[:last] + gap + _like(text[first:last], _indent(text, first), wanted) + text[last:]


def _like(old: str, indent: str, wanted: dict[str, Any]) -> str:
    """An entry written as another one is: on one line, or with a line for each key."""
    if "\n" not in old:
        tight = '":"' in old.replace(" ", "") and ": " not in old
        return json.dumps(wanted, ensure_ascii=False, separators=(",", ":") if tight else None)
    newline = "\r\n" if "\r\n" in old else "\n"
    second = re.search(r"\n([ \t]*)\"", old)
    inner = second[1] if second is not None else f"{indent}  "
    rows = [
        f"{inner}{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in wanted.items()
    ]
    return "{" + newline + f",{newline}".join(rows) + newline + indent + "}"
