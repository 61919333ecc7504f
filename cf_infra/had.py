"""Who had what when: the periods in which a repository had access, as the journals of all stacks tell them.

A period begins with the apply that gave access, and ends with the one that took it back and proved it. What an apply
may have given or taken that was not proven is said as such.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cf_infra.chain import quote
from cf_infra.diagnostics import printable
from cf_infra.journal import Event
from cf_infra.terminal import WIDTH


@dataclass(frozen=True)
class Change:
    """The apply that began or ended a period: when, by whom, of which commit, and the digest of its grants.yaml."""

    at: str
    by: str
    commit: str
    grants: str


@dataclass(frozen=True)
class Asked:
    """What grants.yaml said of it at that commit. Empty where git does not have that file any more."""

    request: str = ""
    requested_by: str = ""
    approved_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merge:
    """A pull request by which it came: who approved it at GitHub, and who merged it, as the apply found it."""

    pull: str
    approvers: tuple[str, ...]
    merger: str | None


@dataclass(frozen=True)
class Period:
    """Access of one pair at one stack. `ends` is the day that was written in grants.yaml; `gone` are the places asked.

    `perhaps`: when an apply that was not proven may have given it before `begun`, or taken it after.
    """

    stack: str
    grant: str
    begun: Change
    ends: str | None = None
    ended: Change | None = None
    gone: tuple[Mapping[str, str], ...] = ()
    perhaps: tuple[str, ...] = ()
    asked: Asked = field(default_factory=Asked)
    merged: tuple[Merge, ...] = ()

    def approvers(self) -> list[str]:
        """Who approved: by the reviews at GitHub, or as the file says it."""
        names = [*self.asked.approved_by, *(login for one in self.merged for login in one.approvers)]
        return list(dict.fromkeys(names))

    def as_json(self) -> dict[str, Any]:
        """The form that scripts read."""
        end = self.ended
        return {
            "stack": self.stack,
            "grant": self.grant,
            "from": self.begun.at,
            "to": end.at if end is not None else None,
            "expires": self.ends,
            "commit": self.begun.commit,
            "applied_by": self.begun.by,
            "request": self.asked.request or None,
            "requested_by": self.asked.requested_by or None,
            "approved_by": self.approvers(),
            "pulls": [{"pull": one.pull, "merged_by": one.merger} for one in self.merged],
            "ended_by": end.by if end is not None else None,
            "ended_commit": end.commit if end is not None else None,
            "gone_from": [dict(place) for place in self.gone],
            "unproven": list(self.perhaps),
        }


def _approvals(events: Sequence[Event]) -> dict[tuple[str, str, str], list[Merge]]:
    """By stack, plan and grant the pull requests that an apply was covered by."""
    found: dict[tuple[str, str, str], list[Merge]] = {}
    for one in events:
        for grant in one["grants"] if one["event"] == "approved" else ():
            merge = Merge(one["pull"], tuple(one["approvers"]), one["merger"])
            found.setdefault((str(one["stack"]), one["plan_digest"], grant), []).append(merge)
    return found


def periods(
    events: Iterable[Event], repositories: Iterable[str], resources: Collection[str] = ()
) -> list[Period]:
    """The periods of a repository (all spellings of it), by stack, pair and time. `resources`: of these alone."""
    names = {name.lower() for name in repositories}

    def meant(grant: str) -> bool:
        repository, _, name = grant.partition("/")
        return repository.lower() in names and (not resources or name in resources)

    done: list[Period] = []
    running: dict[tuple[str, str], Period] = {}
    doubts: dict[tuple[str, str], list[str]] = {}
    told = list(events)
    merges = _approvals(told)
    for one in told:
        if one["event"] == "apply-ended":
            _applied(one, meant, running, done, doubts)
            _merged(one, running, merges)
        elif one["event"] == "forgotten":
            gone = [pair for pair in running if pair[0] == one["stack"]]
            end = Change(one["at"], one["by"], "", "")
            done += [replace(running.pop(pair), ended=end) for pair in gone]
    found = [*done, *running.values()]
    return sorted(found, key=lambda p: (p.stack, p.grant, p.begun.at))


def _merged(
    one: Event, running: dict[tuple[str, str], Period], merges: Mapping[tuple[str, str, str], list[Merge]]
) -> None:
    """What the reviews of an apply say of the access that it gave or changed."""
    for row in (*one["gained"], *one["changed"]):
        pair = (str(one["stack"]), row["grant"])
        found = merges.get((*pair[:1], one["plan_digest"], row["grant"]), ())
        if pair in running:
            both = (*running[pair].merged, *found)
            running[pair] = replace(running[pair], merged=tuple(dict.fromkeys(both)))


def _applied(
    one: Event,
    meant: Any,
    running: dict[tuple[str, str], Period],
    done: list[Period],
    doubts: dict[tuple[str, str], list[str]],
) -> None:
    stack = str(one["stack"])
    change = Change(one["at"], one["by"], one["commit"], one["grants"])
    for grant in one["unsure"]:
        if meant(grant):
            doubts.setdefault((stack, grant), []).append(change.at)
    for row in (*one["gained"], *one["changed"]):
        pair = (stack, row["grant"])
        if not meant(row["grant"]):
            continue
        before = running.get(pair)
        if before is None:
            before = Period(stack, row["grant"], change, perhaps=tuple(doubts.pop(pair, ())))
        running[pair] = replace(before, ends=row["ends"])
    for grant in one["lost"]:
        pair = (stack, grant)
        if pair in running:
            gone = tuple(p for r in one["receipts"] if r["grant"] == grant for p in r["gone_from"])
            before = running.pop(pair)
            unsure = (*before.perhaps, *doubts.pop(pair, ()))
            done.append(replace(before, ended=change, gone=gone, perhaps=unsure))


# ------------------------------------------------------------------------------------------------ for people


def terminal(name: str, found: Iterable[Period]) -> str:
    """The periods as text of 80 columns."""
    lines: list[str] = []
    last = ""
    for one in found:
        head = f"{one.grant} at {one.stack}"
        lines += ["", head] if head != last and lines else [head] if head != last else []
        last = head
        first, *rest = _told(one)
        lines += _wrapped("  ", first)
        lines += [line for part in rest for line in _wrapped("    ", part)]
    return "\n".join(lines or [f"No journal says that {name} had access to anything."]) + "\n"


def markdown(name: str, found: Iterable[Period]) -> str:
    """The periods as Markdown."""
    lines: list[str] = []
    for one in found:
        first, *rest = _told(one)
        lines.append(f"- {quote(f'{one.grant} at {one.stack}')}: {first}")
        lines += [f"  - {quote(line)}" for line in rest]
    return "\n".join(lines or [f"No journal says that {quote(name)} had access to anything."]) + "\n"


def _told(one: Period) -> list[str]:
    end = f"until {one.ended.at[:16]}" if one.ended is not None else "until now"
    known = f", by its entry until {one.ends}" if one.ends is not None else ""
    lines = [f"from {one.begun.at[:16]} {end}{known}", f"given: {_by(one.begun)}"]
    if one.asked.request:
        lines.append(f"asked for in {one.asked.request}")
    people = [("requested by", (one.asked.requested_by,)), ("approved by", one.asked.approved_by)]
    lines += [f"{what} {', '.join(names)}" for what, names in people if any(names)]
    for merge in one.merged:
        by = f", approved by {', '.join(merge.approvers)}" if merge.approvers else ""
        lines.append(f"came by {merge.pull}{by}{f', merged by {merge.merger}' if merge.merger else ''}")
    if one.begun.commit and one.asked == Asked():
        lines.append("its entry of grants.yaml is not in git here")
    if one.ended is not None:
        forgotten = not one.ended.grants
        lines.append("its place was made anew" if forgotten else f"taken back: {_by(one.ended)}")
    lines += [f"gone from {p['place']}, asked {p['checked_at'][:16]}" for p in one.gone]
    lines += [f"an apply of {at[:16]} was not proven; it may have changed this" for at in one.perhaps]
    return lines


def _by(change: Change) -> str:
    commit = f"of commit {change.commit[:12]}" if change.commit else "of no commit"
    return f"applied by {change.by}, {commit}"


def _wrapped(margin: str, text: str) -> list[str]:
    """Lines of a terminal; what has no spaces is cut rather than let run over."""
    lines, rest, first = [], printable(text), True
    while rest:
        begin = margin if first else f"{margin}    "
        room = WIDTH - len(begin)
        cut = len(rest) if len(rest) <= room else rest.rfind(" ", 1, room + 1)
        cut = cut if cut > 0 else room
        lines.append(begin + rest[:cut].rstrip())
        rest, first = rest[cut:].lstrip(), False
    return lines
