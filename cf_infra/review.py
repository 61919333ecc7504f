"""What a reviewer has to know of a change, as one value: terminal, Markdown and JSON are rendered from it.

Pure: a difference of files and the plans of stacks in, a value out. `verdict` is made of our own words and of numbers
alone, so that no text of a stranger stands in a comment's first line. docs/review.md has the keys.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from cf_infra import difference_report, report
from cf_infra.difference import NEVER
from cf_infra.side import GIVEN

JSON: TypeAlias = Mapping[str, Any]
KINDS = (
    "error", "refused", "unknown", "forget", "destroy", "replace",
    "entry", "grants", "people", "budget", "full", "capacity",
)  # fmt: skip
"""Kinds of danger, the worst first; `capacity` tells what is left where less is left, and is no danger by itself."""
TAKES = {"forget": "forget", "delete": "destroy", "replace": "replace"}
COUNTED = {"add": "create", "change": "update", "replace": "replace", "destroy": "delete", "forget": "forget"}
GIFTS = {"GPU": "a GPU", "machine": "machines without a GPU", "app": "an app"}
"""What a grant gives, in words; see side.GIVEN."""
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
CURRENCY = re.compile("[A-Z]{3}")
"""What of the files may stand in the verdict."""
LONGEST = 500
"""Characters of a single text that the value keeps of a stranger's."""


def review(
    diff: JSON | None,
    *,
    plans: Sequence[JSON] = (),
    unplanned: Sequence[JSON] = (),
    asked: bool = False,
    diagnostics: Sequence[JSON] = (),
    overrides: Sequence[str] = (),
    approvals: Sequence[JSON] | None = None,
    pull: JSON | None = None,
) -> dict[str, Any]:
    """The value.

    `diff`: what `cf-infra diff` prints, without its diagnostics; None where faults keep the two sides from being
    compared. `plans`: rows of what `cf-infra plan` prints; `unplanned`: `{stack, why}`, and
    `provisions: False` where a plan could tell nothing. `asked`: was any cloud asked?
    `approvals`: rows of approvals.py; None: no rule was looked at.
    """
    stacks = [*map(_planned, plans), *map(_not_planned, unplanned)]
    stacks.sort(key=lambda row: str(row["stack"]))
    danger = [row for rows in (_of_files(diff, diagnostics), _of_plans(stacks)) for row in rows]
    danger.sort(key=lambda row: (KINDS.index(row["kind"]), row["stack"] or ""))
    value = {
        "pull": dict(pull) if pull else None,
        "verdict": "",
        "danger": danger,
        "stacks": stacks,
        "asked": asked,
        "diff": dict(diff) if diff is not None else None,
        "approvals": None if approvals is None else list(approvals),
        "overrides": list(overrides),
        "diagnostics": list(diagnostics),
    }
    value["verdict"] = verdict(value)
    return value


# ---------------------------------------------------------------------------------------------------- the stacks


def _planned(row: JSON) -> dict[str, Any]:
    """A stack's plan with what is counted for people: what is only a note in the state counts as `records`."""
    items = [{**item, "what": str(item["what"])[:LONGEST]} for item in row.get("items") or ()]
    shown = Counter(_action(item) for item in items if not report.is_internal(item))
    counts = {name: shown[action] for name, action in COUNTED.items()}
    refusals = [dict(one) for one in row.get("refusals") or ()]
    return {
        "stack": row["stack"],
        "planned": True,
        "provisions": True,
        "why": "",
        **counts,
        "unknown": shown["unknown"],
        "import": sum(str(item["what"]).startswith("adopt ") for item in items),
        "records": sum(map(report.is_internal, items)),
        "refused": bool(row.get("refused") or refusals),
        "refusals": refusals,
        "lost": list(row.get("lost") or ()),
        "credentials": list(row.get("credentials") or ()),
        "manual": list(row.get("manual") or ()),
        "review_digest": row.get("review_digest", ""),
        "items": items,
    }


def _not_planned(row: JSON) -> dict[str, Any]:
    empty = _planned({"stack": row["stack"]})
    provisions = row.get("provisions", True)
    return {
        **empty,
        "planned": False,
        "provisions": provisions,
        "why": str(row.get("why") or "nobody said why")[:LONGEST],
    }


def is_missing(row: JSON) -> bool:
    """Has the stack something to plan, and no plan?"""
    return not row["planned"] and bool(row["provisions"])


def _action(item: JSON) -> str:
    return item["action"] if item["action"] in report.SYMBOLS else "unknown"


# ------------------------------------------------------------------------------------------------------- danger


def _danger(kind: str, stack: str | None, things: Iterable[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """One row; none without things. A thing has a name, which is never left out, and words."""
    found = [{"name": name, "words": words} for name, words in things]
    if found:
        yield {"kind": kind, "stack": stack, "count": len(found), "things": found}


def _of_plans(stacks: Sequence[JSON]) -> Iterator[dict[str, Any]]:
    for row in stacks:
        visible = [item for item in row["items"] if not report.is_internal(item)]
        for action, kind in (*TAKES.items(), ("unknown", "unknown")):
            hit = [item for item in visible if _action(item) == action]
            whole = [item for item in hit if kind != "destroy" or not _is_entry(item)]
            yield from _danger(kind, row["stack"], ((i["address"], _said(i)) for i in whole))
        gone = [item for item in visible if _action(item) == "delete" and _is_entry(item)]
        yield from _danger("entry", row["stack"], ((i["address"], _said(i)) for i in gone))
        told = [(one.get("code", "refused"), str(one.get("detail", ""))[:LONGEST]) for one in row["refusals"]]
        yield from _danger("refused", row["stack"], told or [("refused", "")] * row["refused"])


def _is_entry(item: JSON) -> bool:
    """Is it one entry of a list, which goes while the list stays? See plan.Part."""
    return "#" in item["address"]


def _said(item: JSON) -> str:
    whose = report.whose(item)
    return f"{item['what']} {whose}".rstrip()


def _of_files(diff: JSON | None, diagnostics: Sequence[JSON]) -> Iterator[dict[str, Any]]:
    errors = [d for d in diagnostics if d["severity"] == "error"]
    yield from _danger("error", None, ((_place(d), f"{d['code']}: {d['summary']}") for d in errors))
    if diff is None:
        return
    effects = diff["effects"]
    lost = {key: None for row in _losing(effects) for key in row["grants"]}
    alive = {key for row in effects["access"] if row["after"] is not None for key in row["grants"]}
    gone = [key for key in lost if key not in alive or key in diff["grants"]["removed"]]
    yield from _danger("grants", None, ((key, "") for key in sorted(gone)))
    losing = difference_report.together((row for row in effects["people"] if row["loses"]), ("loses",))
    yield from _danger("people", None, ((difference_report.who(row), _some(row["loses"])) for row in losing))
    yield from _danger("budget", None, map(_line, filter(_over_budget, effects["money"])))
    full = [row for row in effects["capacity"] if _is_full(row)]
    less = [row for row in effects["capacity"] if _shrinks(row) and row not in full]
    yield from _danger("full", None, map(_room, full))
    yield from _danger("capacity", None, map(_room, less))


def _place(diagnostic: JSON) -> str:
    parts = (diagnostic.get(name) for name in ("file", "line"))
    return ":".join(str(part) for part in parts if part is not None) or "everywhere"


def _losing(effects: JSON) -> Iterator[JSON]:
    """Places that somebody had access to and has not any more."""
    for rows in (effects["access"], effects["machines"]):
        yield from (row for row in rows if row["after"] is None)


def _over_budget(row: JSON) -> bool:
    after = row["after"]
    return after is not None and after["left"] is not None and after["left"] < 0


def _line(row: JSON) -> tuple[str, str]:
    line = difference_report.money(row)
    return line.what, line.words


def _room(row: JSON) -> tuple[str, str]:
    line = difference_report.host(row)
    return line.what, line.words


SHAPE = ("gpus", "vcpus", "memory_mib", "disk_gib")


def _is_full(row: JSON) -> bool:
    """Is nothing left of something that the host has, and was there before?"""
    before, after = row["before"], row["after"]
    if after is None:
        return False
    had = before["free"] if before else after["total"]
    return any(after["free"][name] <= 0 < had[name] for name in SHAPE)


def _shrinks(row: JSON) -> bool:
    before, after = row["before"], row["after"]
    return bool(before and after and any(after["free"][n] < before["free"][n] for n in SHAPE))


def _some(names: Sequence[str]) -> str:
    return difference_report.some(names)


# ------------------------------------------------------------------------------------------------------ verdict


def verdict(value: JSON) -> str:
    """What will happen, in one sentence of our own words and of numbers."""
    if errors := _count(value, "error"):
        return f"Cannot be applied: the files have {_number(errors, 'error')}."
    diff = value["diff"]
    parts = [part for tell in (_gifts, _renewals, _others) for part in tell(diff)] if diff else []
    if not parts and not _acts(value):
        return "Changes nothing."
    parts = [*(parts or ["gives nobody anything new"]), *_machines(value), *_taking(value), _money(diff)]
    parts += _warnings(value)
    sentence = ", ".join(filter(None, parts))
    return f"{sentence[0].upper()}{sentence[1:]}."


def _count(value: JSON, kind: str) -> int:
    return sum(row["count"] for row in value["danger"] if row["kind"] == kind)


def _acts(value: JSON) -> bool:
    """Does any plan do anything, or is anything not known?"""
    acting = (*COUNTED, "unknown", "import")
    return any(is_missing(row) or any(row[name] for name in acting) for row in value["stacks"]) or bool(
        value["diff"] and any(value["diff"]["effects"].values())
    )


def _gifts(diff: JSON) -> Iterator[str]:
    """Who gets what that they had not, by kind and with its end; `gives 2 feedstocks a GPU until 2027-01-10`."""
    ends = {row["grant"]: row["after"] for row in diff["effects"]["ends"]}
    rows = [row for row in diff["effects"]["grants"] if row["change"] == "added"]
    active = _active(diff, "before")
    for kind in GIVEN:
        keys = [row["key"] for row in rows if row["gives"]["after"] == kind and row["key"] in active]
        if keys:
            yield f"gives {_repositories(keys)} {GIFTS[kind]}{_until([ends.get(key) for key in keys])}"
    idle = [row["key"] for row in rows if row["key"] not in active or row["gives"]["after"] not in GIVEN]
    if idle:
        yield f"adds {_number(len(idle), 'grant')} that {_verb(len(idle), 'gives', 'give')} nothing on this day"


def _active(diff: JSON, empty: str) -> set[str]:
    """Pairs that get (`empty` before) or lose (after) access, a machine, or people who may start jobs."""
    effects = diff["effects"]
    found = {
        key
        for name in ("access", "machines")
        for row in effects[name]
        if row[empty] is None
        for key in row["grants"]
    }
    word = "gains" if empty == "before" else "loses"
    return found | {key for row in effects["people"] for key in row[word]}


def _until(ends: Sequence[str | None]) -> str:
    days = sorted({end for end in ends if end is not None and DAY.fullmatch(end)})
    never = any(end is None or end == NEVER for end in ends)
    if never:
        return " without an end" if not days else " partly without an end"
    if not days:
        return ""
    return f" until {days[0]}" if len(days) == 1 else f" until {days[0]} to {days[-1]}"


def _repositories(keys: Iterable[str]) -> str:
    names = {key.partition("/")[0] for key in keys}
    if all(name.endswith("-feedstock") for name in names):
        return _number(len(names), "feedstock")
    return _number(len(names), "repository", "repositories")


def _renewals(diff: JSON) -> Iterator[str]:
    changed = set(diff["grants"]["changed"])
    ends = [row for row in diff["effects"]["ends"] if row["grant"] in changed]
    later = [row["after"] for row in ends if _is_later(row)]
    if later:
        yield f"renews {_number(len(later), 'grant')}{_until(later)}"
    if sooner := len(ends) - len(later):
        yield f"lets {_number(sooner, 'grant')} end sooner"
    if others := len(changed - {row["grant"] for row in ends}):
        yield f"changes {_number(others, 'grant')}"


def _is_later(row: JSON) -> bool:
    return bool(row["after"] == NEVER or (row["before"] != NEVER and row["after"] > row["before"]))


def _others(diff: JSON) -> Iterator[str]:
    effects, removed = diff["effects"], set(diff["grants"]["removed"])
    losing = removed & _active(diff, "after")
    if losing:
        yield f"takes access from {_repositories(losing)}"
    if ended := len(removed - losing):
        yield f"removes {_number(ended, 'grant')} that gave nothing any more"
    people = [len(row[how]) for row in effects["lists"] for how in ("added", "removed")]
    come, gone = sum(people[::2]), sum(people[1::2])
    if come:
        yield f"adds {_number(come, 'person', 'people')} to lists of people"
    if gone:
        yield f"takes {_number(gone, 'person', 'people')} off lists of people"
    if effects["stacks"]:
        yield f"changes {_number(len(effects['stacks']), 'stack file')}"
    said = ("grants", "people", "machines", "access", "lists", "stacks", "ends")
    if not any(effects[name] for name in said) and any(effects[name] for name in ("credentials", "capacity")):
        yield "changes credentials or room on hosts"


def _machines(value: JSON) -> Iterator[str]:
    """Machines that are made, as the files say: a plan says it resource by resource."""
    rows = value["diff"]["effects"]["machines"] if value["diff"] else ()
    if made := sum(row["before"] is None for row in rows):
        yield f"makes {_number(made, 'machine')}"


def _taking(value: JSON) -> Iterator[str]:
    """What is destroyed, as plans tell it; as the files do where nothing was planned."""
    if not any(row["planned"] for row in value["stacks"]):
        rows = value["diff"]["effects"]["machines"] if value["diff"] else ()
        gone = sum(row["after"] is None for row in rows)
        yield f"takes away {_number(gone, 'machine')}" if gone else "takes away no machine"
        return
    destroyed = _count(value, "destroy")
    yield f"DESTROYS {_number(destroyed, 'thing')}" if destroyed else "destroys nothing"
    for kind, word in (("replace", "REPLACES"), ("forget", "FORGETS")):
        if count := _count(value, kind):
            yield f"{word} {_number(count, 'thing')}"
    if count := _count(value, "entry"):
        yield f"takes {_number(count, 'entry', 'entries')} out of lists"


def _money(diff: JSON | None) -> str:
    if diff is None:
        return ""
    rows = [row for row in diff["effects"]["money"] if CURRENCY.fullmatch(row["currency"])]
    more = list(filter(None, map(difference_report.more, rows)))
    if not more:
        known = [name for name in diff.get("currencies", ()) if CURRENCY.fullmatch(name)]
        more = [f"+0.00 {' and '.join(known)}"] if known else []
    told = f"{' and '.join(more)} a month" if more else "costs are not known"
    unknown = len(diff["effects"]["unknown_prices"])
    return told + (f" and {_number(unknown, 'unknown price')}" if unknown and more else "")


def _warnings(value: JSON) -> Iterator[str]:
    if over := _count(value, "budget"):
        yield f"OVER {_number(over, 'BUDGET')}"
    if count := _count(value, "full"):
        yield f"leaves {_number(count, 'host')} FULL"
    if count := _count(value, "unknown"):
        yield f"does {_number(count, 'thing')} of a kind NOT KNOWN here"
    if count := sum(row["refused"] for row in value["stacks"]):
        yield f"LIMITS REFUSE {_number(count, 'stack')}"
    if count := sum(is_missing(row) for row in value["stacks"]):
        yield f"{_number(count, 'stack')} NOT PLANNED"


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _verb(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
