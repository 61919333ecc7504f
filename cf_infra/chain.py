"""The answer of `explain` as values: a chain of steps, each with its outcome, its reason and its place.

Texts of people stand in backticks (`quote`), so that whoever writes the chain down can tell them from our own words.
What only GitHub or Cirun knows is `unknown`, with the reason; an answer from there takes the place of that step.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from cf_infra.catalog import Offered
from cf_infra.diagnostics import MOST_NAMED, printable
from cf_infra.model import Grant
from cf_infra.parse import GRANTS

INFERRED = (
    "Who may start jobs: (one of the roles or teams) and (one of the users or of the terms' people), where any is "
    "given. That is inferred from refusals that Cirun's users reported; Cirun documents teams only."
)
MOST_TEXT = 200
"""So many characters of a text of people are shown."""
NEAR = 0.5
"""How much two names must have in common for one to be proposed for the other."""


class Outcome(StrEnum):
    """yes and no as far as the files tell; unknown: somebody else has to be asked, or it depends."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Remedy:
    """The shortest way from a no to a yes: what to do, and the text to copy. `language` is for Markdown."""

    do: str
    text: str
    language: str = "sh"


@dataclass(frozen=True, slots=True)
class Step:
    """One link of the chain. `file` and `line` are where it stands, if it stands anywhere."""

    step: str
    outcome: Outcome
    why: str
    file: str | None = None
    line: int | None = None
    remedies: tuple[Remedy, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The form that scripts read."""
        return {
            "step": self.step,
            "outcome": str(self.outcome),
            "why": self.why,
            "file": self.file,
            "line": self.line,
            "fix": [{"do": remedy.do, "text": remedy.text} for remedy in self.remedies],
        }


@dataclass(frozen=True)
class Lines:
    """What the feedstock itself needs: the text for one of its files."""

    file: str
    text: str


@dataclass(frozen=True)
class Explanation:
    """The answer. `others`: lines of grants.yaml with entries under other conditions, and whether they allow it.

    `unread`: files that have faults, and that the answer did not need. `grant`, `offers`: the entry that the chain is
    about (None: there is none), and what it opens. `live`: were GitHub and Cirun asked as well.
    """

    repository: str
    resource: str
    user: str | None
    today: date
    chain: tuple[Step, ...]
    lines: tuple[Lines, ...] = ()
    others: tuple[tuple[int, bool], ...] = ()
    unread: tuple[str, ...] = ()
    grant: Grant | None = None
    offers: tuple[Offered, ...] = ()
    live: bool = False

    @property
    def allowed(self) -> bool:
        """True if no step says no: what is unknown may still refuse."""
        return all(step.outcome is not Outcome.NO for step in self.chain)

    @property
    def unknown(self) -> list[str]:
        """The steps that the files cannot tell."""
        return [step.step for step in self.chain if step.outcome is Outcome.UNKNOWN]

    def as_json(self) -> dict[str, object]:
        """The form that scripts read."""
        return {
            "allowed": self.allowed,
            "repository": self.repository,
            "resource": self.resource,
            "user": self.user,
            "today": self.today.isoformat(),
            "unknown": self.unknown,
            "chain": [step.as_json() for step in self.chain],
            "lines": [{"file": lines.file, "text": lines.text} for lines in self.lines],
            "others": [{"file": GRANTS, "line": line, "allowed": allowed} for line, allowed in self.others],
            "unread": list(self.unread),
            "inferred": INFERRED,
            **({"live": True} if self.live else {}),
        }


def quote(text: str) -> str:
    """A text of people among our own words: one line in backticks, and no backtick in it."""
    clean = printable(" ".join(text.replace("`", "'").split()))
    return (
        f"`{clean if len(clean) <= MOST_TEXT else clean[: MOST_TEXT - 3] + '...'}`" if clean else "(nothing)"
    )


def listed(names: Iterable[str], last: str = ", ") -> str:
    """Names, each in backticks, `last` before the last one; at most MOST_NAMED, and how many more there are."""
    known = list(names)
    shown = [quote(name) for name in known[:MOST_NAMED]]
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    if last != ", " and len(shown) > 1 and not more:
        return f"{', '.join(shown[:-1])}{last}{shown[-1]}"
    return ", ".join(shown) + more


def likest_first(names: Iterable[str], asked: str) -> list[str]:
    """The names, those first that somebody may have meant who wrote `asked`; letters' case is no matter."""
    spelled = {name.lower(): name for name in names}
    near = difflib.get_close_matches(asked.lower(), list(spelled), n=MOST_NAMED, cutoff=NEAR)
    return [*(spelled[n] for n in near), *(name for n, name in spelled.items() if n not in near)]


def is_like(name: str, asked: str) -> bool:
    """True if somebody may have meant `name` who wrote `asked`."""
    return bool(difflib.get_close_matches(asked.lower(), [name.lower()], cutoff=NEAR))
