"""`audit`: asks every place what is there, and says where that is not what the files mean. Changes nothing.

A place that cannot be asked is an error and a finding: nobody may take silence for all being well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from cf_infra import (
    audit_report,
    credential_report,
    kinds,
    lab,
    ledger,
    observe_github,
    observe_openstack,
    openstack,
    project,
    state_place,
    yaml12,
)
from cf_infra.access import AccessList, access_text, read_access
from cf_infra.audit import audit
from cf_infra.cirun import Cirun
from cf_infra.declared import Declared
from cf_infra.deployment import STATE, load_inventory, now
from cf_infra.diagnostics import Diagnostic, Failure, has_errors, nearest, some
from cf_infra.files import read_regular, write
from cf_infra.findings import KINDS, Finding
from cf_infra.github import Github, github
from cf_infra.model import Kind, Rights, Settings
from cf_infra.observed import (
    Left,
    NotAsked,
    Observed,
    SeenCirun,
    SeenCloud,
    SeenFile,
    SeenGithub,
    SeenLists,
    Somebody,
    Version,
)
from cf_infra.project import Folder

Say = Callable[[str], None]
PLACES = ("openstack", "github", "cirun")
KNOWN = "_audit/github.json"
"""Below .state/: what GitHub said, with its marks; unchanged lists are then answered with 304, which costs nothing."""
SEEN = "_audit/people.json"
"""Below .state/: the lists of people as the last audit saw them. No stack's name begins with an underscore."""


@dataclass(frozen=True)
class Options:
    """What the command line said. `access`, `runners`: local copies of the lists; `clouds`: as plan takes them."""

    root: Path
    today: date
    stacks: Sequence[str] = ()
    only: Sequence[str] = ()
    fail_on: Sequence[str] = ()
    access: Path | None = None
    runners: Path | None = None
    clouds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The findings, what was asked with how many requests, and what could not be asked."""

    findings: list[Finding]
    asked: dict[str, int]
    diagnostics: list[Diagnostic] = field(default_factory=list)
    known: list[Diagnostic] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The form of the contract, and `asked`: place -> requests."""
        return {"findings": [one.as_json() for one in self.findings], "asked": self.asked}

    def text(self, markdown: bool) -> str:
        """For people."""
        rows = [one.as_json() for one in self.findings]
        silent = {one.where for one in self.findings if one.kind == "not-audited"}
        asked = [place for place in self.asked if place not in silent]
        return (audit_report.markdown if markdown else audit_report.terminal)(rows, asked)

    def fails(self, kinds_: Iterable[str]) -> bool:
        """Is there a finding of one of these kinds?"""
        return not {one.kind for one in self.findings}.isdisjoint(kinds_)


def run(
    options: Options,
    say: Say,
    connect: Callable[[Settings, Say], Github] = github,
    cirun: Callable[..., Cirun] = Cirun,
) -> Outcome:
    """Look everywhere, compare, and remember the lists of people for the next audit. Raises Failure."""
    _checked(options)
    folder = project.read(options.root, options.today)
    if has_errors(folder.diagnostics):
        raise Failure(*folder.diagnostics)
    project.chosen(folder.inventory.stacks, [*options.stacks, *options.clouds])
    folder, beside = state_place.looked_at(folder, say)
    declared = Declared(folder.inventory, folder.resolved(), options.clouds)
    look = _Look(options, folder, declared, say)
    look.everywhere(connect, cirun)
    seen = look.seen()
    found = _of_stacks(audit(declared, seen), declared, options.stacks)
    look.remember()
    told = [*beside, *(_not_audited(one) for one in found if one.kind == "not-audited")]
    told += project.placed(folder, look.broken())
    return Outcome(found, look.asked, told, [d for d in folder.diagnostics if d.severity == "warning"])


def _checked(options: Options) -> None:
    for value, known, option in (
        *((one, PLACES, "--only") for one in options.only),
        *((one, tuple(KINDS), "--fail-on") for one in options.fail_on),
    ):
        if value not in known:
            meant = nearest(value, known)
            hint = f"do you mean `{meant}`?" if meant else f"{option} {known[0]}"
            detail = f"{option} {value!r} is none of: {some(known, value)}."
            raise Failure(Diagnostic("usage", detail=detail, hint=hint))
    if (options.access or options.runners) and options.only:
        detail = (
            "--access and --runners compare local copies and ask no place, so --only has nothing to choose."
        )
        raise Failure(Diagnostic("usage", detail=detail, hint="leave --only out"))


def _of_stacks(found: list[Finding], declared: Declared, names: Sequence[str]) -> list[Finding]:
    """The findings of the places of the named stacks; all of them where none is named."""
    if not names:
        return found
    stacks = declared.inventory.stacks
    shared = any(stacks[name].kind is not Kind.OPENSTACK for name in names)
    own = {one for one in names if stacks[one].kind is Kind.OPENSTACK}
    clouds = {name for name, stack in stacks.items() if stack.kind is Kind.OPENSTACK}
    return [
        one
        for one in found
        if (stack := one.where.partition(" ")[0]) in own or (shared and stack not in clouds)
    ]


def _not_audited(one: Finding) -> Diagnostic:
    hint = one.fix.removeprefix("# ") or "see docs/audit.md"
    return Diagnostic("not-audited", detail=f"{one.where}: {one.what}", hint=hint)


class _Look:
    """One look at all places; what each gives, or why it gives nothing."""

    def __init__(self, options: Options, folder: Folder, declared: Declared, say: Say) -> None:
        self.options, self.folder, self.declared, self.say = options, folder, declared, say
        self.asked: dict[str, int] = {}
        self.not_asked: list[NotAsked] = []
        self.lists: SeenLists | None = None
        self.github: SeenGithub | None = None
        self.cirun: SeenCirun | None = None
        self.clouds: dict[str, SeenCloud] = {}
        self.left: dict[str, Left] = {}
        self.credentials: dict[str, list[dict[str, Any]]] = {}

    def seen(self) -> Observed:
        """All of it."""
        return Observed(
            lists=self.lists,
            github=self.github,
            cirun=self.cirun,
            clouds=self.clouds,
            left=self.left,
            credentials=self.credentials,
            clock=now().date(),
            not_asked=self.not_asked,
        )

    def everywhere(self, connect: Callable[[Settings, Say], Github], cirun: Callable[..., Cirun]) -> None:
        """Look at local copies, or else at every place that was not left out."""
        options = self.options
        if options.access is not None or options.runners is not None:
            self.lists = SeenLists(where="", access=_copy(options.access), runners=_copy(options.runners))
            self.asked = {str(path): 0 for path in (options.access, options.runners) if path is not None}
            return
        self._read_ledgers()
        # Cirun comes first: it knows which repositories are to be looked at.
        shared = self._wants(Kind.GITHUB, Kind.APP, Kind.CIRUN)
        if self._wanted("cirun") and shared:
            self._ask("cirun", lambda: self._ask_cirun(cirun))
        if self._wanted("github") and shared:
            self._ask(f"github:{self.declared.organisation}", lambda: self._ask_github(connect))
        for name, stack in self.folder.inventory.stacks.items():
            named = not options.stacks or name in options.stacks
            if self._wanted("openstack") and stack.kind is Kind.OPENSTACK and named:
                self._ask(f"{name} ({stack.cloud or 'no cloud'})", lambda name=name: self._ask_cloud(name))  # type: ignore[misc]

    def _read_ledgers(self) -> None:
        """What the last runs left of the stacks' credentials: nobody is asked, every run tries them."""
        folder, options = self.folder, self.options
        for name, stack in folder.inventory.stacks.items():
            if stack.credentials and (not options.stacks or name in options.stacks):
                settings = folder.inventory.settings
                deployment = kinds.deployment(options.root, name, stack, settings, options.clouds)
                known = ledger.load(deployment.state)
                self.credentials[name] = credential_report.rows(name, stack, folder.today, known)

    def _wanted(self, place: str) -> bool:
        return not self.options.only or place in self.options.only

    def _wants(self, *of: Kind) -> bool:
        """Without names everything; else what the named stacks have beside clouds of their own."""
        stacks = self.folder.inventory.stacks
        return not self.options.stacks or any(stacks[name].kind in of for name in self.options.stacks)

    def _ask(self, place: str, ask: Callable[[], None]) -> None:
        """Ask, or note why that was not possible; what only a bug would raise goes on."""
        try:
            ask()
        except Failure as failure:
            first = failure.diagnostics[0]
            if first.code == "no-cloud":
                first = replace(
                    first, hint="add it there, or leave OpenStack out with --only github --only cirun"
                )
            self.not_asked.append(
                NotAsked(
                    place=place,
                    why=" ".join((first.detail or first.summary).split()),
                    fix=_commented(first.hint),
                )
            )

    def _ask_cirun(self, make: Callable[..., Cirun]) -> None:
        client = make(say=self.say)
        with closing(client):
            self.say("cirun: which repositories it is active for")
            active = [one.repository for one in client.repositories() if one.active]
            listed = client.access_list(self.declared.organisation)
            self.cirun = SeenCirun(activated=active, access=_as_text(listed))
            self.asked["cirun"] = client.service.requests

    def _ask_github(self, connect: Callable[[Settings, Say], Github]) -> None:
        client = connect(self.declared.inventory.settings, self.say)
        place = f"github:{self.declared.organisation}"
        with closing(client):
            look = observe_github.Look(
                client, self.declared, lambda text: self.say(f"github: {text}"), self.not_asked
            )
            client.service.recall(self.options.root / STATE / KNOWN)
            try:
                self.lists = look.lists()
                self.github = look.organisation(self._names(), self._addresses(), self._before())
            finally:
                self.asked[place] = client.service.requests
            client.service.keep(self.options.root / STATE / KNOWN)

    def _names(self) -> set[str]:
        """Repositories to be looked at: those with a grant, those that lists name, those that Cirun is active for."""
        owner = f"{self.declared.organisation.lower()}/"
        named = {*self.declared.repositories.values(), *(p.repo for p in self._live().policies)}
        active = self.cirun.activated if self.cirun is not None else []
        named |= {name.partition("/")[2] for name in active if name.lower().startswith(owner)}
        by_small = {name.lower(): name for name in sorted(named)}
        return set(by_small.values())

    def _live(self) -> AccessList:
        """The list that stands in the organisation; empty where it cannot be read: that is a finding of its own."""
        file = self.lists.access if self.lists is not None else None
        try:
            return (
                read_access((file.content or "version: 1\n").encode(), "")
                if file is not None
                else AccessList()
            )
        except Failure:
            return AccessList()

    def _addresses(self) -> set[str]:
        policies = [*self._live().policies, *self.declared.access.policies]
        return {policy.users_from_json for policy in policies if policy.users_from_json is not None}

    def _before(self) -> dict[str, list[Somebody]]:
        try:
            raw = orjson.loads((self.options.root / STATE / SEEN).read_bytes())
            return {address: [Somebody(**row) for row in rows] for address, rows in raw.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _ask_cloud(self, name: str) -> None:
        stack = self.folder.inventory.stacks[name]
        root, settings = self.options.root, self.folder.inventory.settings
        deployment = kinds.deployment(root, name, stack, settings, self.options.clouds)
        cloud = deployment.cloud
        self.say(f"{name}: asking {cloud}")
        login = openstack.login(cloud, lab.state_dir(root))
        inventory = load_inventory(deployment.state)
        with openstack.connected(login) as connection:
            seen, missing = observe_openstack.look(
                connection, name, cloud, stack.rights is Rights.ADMIN, inventory
            )
        self.clouds[name], self.left[name] = seen, observe_openstack.left(inventory)
        self.not_asked += missing
        self.asked[f"{name} ({cloud})"] = 0

    def broken(self) -> list[Diagnostic]:
        """The credentials that do not work, as errors."""
        faults = [
            fault
            for name, rows in self.credentials.items()
            for fault in credential_report.faults(name, rows, self.folder.today)
        ]
        return [fault for fault in faults if fault.severity == "error"]

    def remember(self) -> None:
        """Keep the lists of people, so that the next audit can tell what changed; those not read now stay."""
        people = self.github.people if self.github is not None else {}
        read = {address: one.people for address, one in people.items() if one.people is not None}
        if not read:
            return
        kept = {**self._before(), **read}
        rows: Mapping[str, Any] = {
            a: [one.model_dump() for one in people] for a, people in sorted(kept.items())
        }
        raw = orjson.dumps(rows, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        write(self.options.root / STATE / SEEN, raw)


def _commented(hint: str) -> str:
    """A hint as a fix: what is talk stands behind a #, commands as they are."""
    first, *rest = hint.splitlines() or [""]
    return "\n".join([f"# {first}", *rest]) if first else ""


def _as_text(listed: Mapping[str, Any] | None) -> str | None:
    """What Cirun reads, as .access.yml: JSON is YAML 1.2, so the same reader judges both."""
    if listed is None:
        return None
    try:
        return access_text(AccessList.model_validate(dict(listed)))
    except ValueError:
        return json.dumps(listed, ensure_ascii=False, default=str)


def _copy(path: Path | None) -> SeenFile | None:
    if path is None:
        return None
    try:
        raw = read_regular(path, yaml12.LIMIT_GRANTS, str(path))
    except FileNotFoundError:
        hint = "give the file that you got from the organisation's repository"
        raise Failure(Diagnostic("not-found", file=str(path), detail="It is not there.", hint=hint)) from None
    return SeenFile(versions=[Version(content=raw.decode("utf-8", "replace"))])
