"""What `explain` is asked, and what it looks at: the question, the folder around the entries, one entry."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property

from cf_infra import parse, yaml12
from cf_infra.catalog import Catalog, Offered, catalog
from cf_infra.diagnostics import Diagnostic, Failure, Path, has_errors, some
from cf_infra.model import Grant, Inventory, Stack, Terms, UsersFile
from cf_infra.parse import GRANTS
from cf_infra.people import Maintainers, terms_of
from cf_infra.selection import ENDING, Entries, Found

A_YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Question:
    """May `name` (a feedstock without its ending, or a repository) use `resource` on `today`; and may `user` there."""

    name: str
    resource: str
    today: date
    user: str | None = None
    maintainers: Maintainers | None = None


@dataclass(frozen=True)
class Surroundings:
    """Everything but the entries: what is offered, by whom, to which people; and what of it cannot be read."""

    entries: Entries
    inventory: Inventory
    texts: Mapping[str, str]
    faults: list[Diagnostic]
    _lines: dict[str, Callable[[Path], int]] = field(default_factory=dict)

    @cached_property
    def catalog(self) -> Catalog:
        """What all stacks that can be read offer."""
        return catalog(self.inventory.stacks)

    def line(self, file: str, *path: str | int) -> int:
        """The line of a key or value in a stack or users file."""
        if file not in self._lines:
            self._lines[file] = yaml12.line_of(self.texts[file])
        return self._lines[file](path)

    def needs(self, prefix: str) -> None:
        """Raise Failure if a file that begins with `prefix` cannot be read: the answer may stand in it."""
        faults = [d for d in self.faults if d.file is not None and d.file.startswith(prefix)]
        if any(name.startswith(prefix) for name in self.inventory.unread) and has_errors(faults):
            raise Failure(*faults)

    def stack(self, offered: Offered) -> Stack:
        """The stack of an offer."""
        return self.inventory.stacks[offered.stack]

    def terms_names(self, offers: tuple[Offered, ...]) -> list[str]:
        """The names of the users files that the donors of some offers have."""
        return sorted({t for o in offers if (t := self.stack(o).donor.terms.users) is not None})

    def people(self, name: str, line: int | None) -> tuple[str, UsersFile, Terms]:
        """The file of a donor's people, what it holds, and their terms. Raises Failure if there is none.

        `line`: where grants.yaml names it, if an entry does.
        """
        file = f"users/{name}.json"
        self.needs(file)
        if name not in self.inventory.users:
            known = sorted(self.inventory.users)
            detail = f"{file} is not there. There are: {some(known, name)}."
            hint = "see all faults:\ncf-infra check"
            raise Failure(Diagnostic("unknown-terms", file=GRANTS, line=line, detail=detail, hint=hint))
        return file, self.inventory.users[name], terms_of(self.inventory.stacks, name)


def stack_file(name: str) -> str:
    """The file of a stack."""
    return f"stacks/{name}.yaml"


def surroundings(entries: Entries, files: Mapping[str, bytes]) -> Surroundings:
    """What the other files of a root folder say."""
    others = {name: raw for name, raw in files.items() if name not in (GRANTS, parse.OVERRIDES)}
    parsed = parse.parse({**others, GRANTS: b"version: 1\ngrants: []\n"})
    texts = {name: text for name, text in parsed.texts.items() if name != GRANTS}
    return Surroundings(entries, parsed.inventory, texts, parse.place(parsed.diagnostics, texts))


@dataclass(frozen=True)
class Case:
    """A question about a repository in its surroundings; `offers` are those that its resource means."""

    around: Surroundings
    question: Question
    repository: str
    offers: tuple[Offered, ...]

    @property
    def is_feedstock(self) -> bool:
        """True for NAME-feedstock."""
        return self.repository.endswith(ENDING)

    @property
    def short(self) -> str:
        """The name without the ending of feedstocks."""
        return self.repository.removesuffix(ENDING)

    def giving(self, offers: tuple[Offered, ...]) -> tuple[Offered, ...]:
        """Those of some offers whose donors still give."""
        ends = ((o, self.around.stack(o).donor.until) for o in offers)
        return tuple(o for o, until in ends if until is None or self.question.today <= until)

    @property
    def in_a_year(self) -> date:
        """What is proposed for an end."""
        return self.question.today + A_YEAR

    @property
    def maintainers(self) -> frozenset[str] | None:
        """The feedstock's maintainers in small letters; None if nobody gave a list that has it."""
        known = self.question.maintainers
        return known.get(self.short.lower()) if known is not None and self.is_feedstock else None

    def command(self, name: str | None = None, resource: str | None = None, user: str | None = None) -> str:
        """The same question about another repository, resource or user, as one types it."""
        asked = user or self.question.user
        words = ["--user", asked] if asked is not None else []
        resource = resource or self.question.resource
        return shlex.join(["cf-infra", "explain", *words, name or self.short, resource])


@dataclass(frozen=True)
class Entry:
    """An entry of the repository that grants the resource, and the offers that it opens."""

    found: Found
    grant: Grant
    offers: tuple[Offered, ...]

    def line(self, *keys: str) -> int:
        """The line of the first of the keys that the entry has; else its own."""
        there = next((key for key in keys if key in self.found.value), None)
        return self.found.line(there) if there is not None else self.found.line()
