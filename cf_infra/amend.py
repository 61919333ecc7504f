"""Changes of grants.yaml from the command line: read, change, check, show the difference, write, and how to propose it.

Nothing is written if anything is wrong with the request, the file before, or the file after.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

from cf_infra import admin_requests, changes, edit, project
from cf_infra.admin_requests import Request
from cf_infra.catalog import Catalog, catalog
from cf_infra.changes import Draft
from cf_infra.diagnostics import Diagnostic, Failure, has_errors, printable, some
from cf_infra.files import read_regular, read_root, write
from cf_infra.model import Grant, Inventory, Key
from cf_infra.parse import GRANTS, place, texts, validated
from cf_infra.yaml12 import AS_WRITTEN, LIMIT_GRANTS, LIMIT_OTHER, too_large


@dataclass(frozen=True)
class Proposal:
    """What a command makes of grants.yaml: the difference, the pairs that it is about, and how to propose it.

    `notes`: what a reviewer should know; `diagnostics`: what `check` says that it did not say before; `known`: the
    rest of it.
    """

    diff: str
    added: list[Key]
    changed: list[Key]
    removed: list[Key]
    unchanged: list[Key]
    notes: list[str]
    commands: list[str]
    diagnostics: list[Diagnostic] = field(default_factory=list)
    known: list[Diagnostic] = field(default_factory=list)


@dataclass(frozen=True)
class Known:
    """What is known of requests beside their files."""

    source: str | None = None
    day: date | None = None
    reason: str | None = None
    request: str | None = None
    requested_by: str | None = None
    expires: date | None = None
    maintainers: Path | None = None
    durations: Path | None = None
    history: bool = False


def import_requests(root: Path, paths: Sequence[Path], known: Known, today: date, dry_run: bool) -> Proposal:
    """Do what request files say, in the order of their days. Raises Failure, with all that is wrong with all files."""

    def change(draft: Draft) -> None:
        asked = _asked(paths, draft.offers, known)
        _ensure_maintainers(asked, known, draft.inventory)
        _look_for_need(asked, known, draft)
        for path, request in asked:
            day = request.day or known.day or today
            changes.apply_request(draft, request, _template(known, request), day, str(path))

    return _propose(root, today, change, dry_run)


def add(root: Path, wanted: Grant, donors_terms: bool, today: date, dry_run: bool) -> Proposal:
    """Grant something. Raises Failure if the result has errors."""

    def change(draft: Draft) -> None:
        faults = [
            fault
            for name in wanted.resources
            if (fault := admin_requests.resource_fault(name, draft.offers)) is not None
        ]
        if faults:
            raise Failure(*faults)
        draft.give(wanted, wanted.granted or today, donors_terms)

    return _propose(root, today, change, dry_run)


def revoke(root: Path, name: str, resources: Sequence[str] | None, today: date, dry_run: bool) -> Proposal:
    """Take access away. Raises Failure("not-granted")."""

    def change(draft: Draft) -> None:
        draft.take(changes.entries_of(draft, name, resources), resources)

    return _propose(root, today, change, dry_run, "Revoke")


def renew(
    root: Path,
    name: str,
    resources: Sequence[str] | None,
    until: date | timedelta,
    today: date,
    dry_run: bool,
) -> Proposal:
    """Let grants last until a day, or so much longer. Raises Failure("not-granted" or "not-renewed")."""

    def change(draft: Draft) -> None:
        for index in changes.entries_of(draft, name, resources):
            own = draft.named(index, resources, set())
            if own:
                draft.renew(index, own, until, today)

    return _propose(root, today, change, dry_run, "Renew")


def renew_expiring(root: Path, days: int, longer: timedelta, today: date, dry_run: bool) -> Proposal:
    """Let all grants that end within so many days last longer."""

    def change(draft: Draft) -> None:
        found = draft.expiring(today, days)
        if not found:
            draft.notes.append(f"No grant ends until {today + timedelta(days=days)}.")
        for index in found:
            draft.renew(index, draft.grants[index].resources, longer, today)

    return _propose(root, today, change, dry_run, "Renew")


# ------------------------------------------------------------------------------------------------- requests


def _asked(paths: Sequence[Path], offers: Catalog, known: Known) -> list[tuple[Path, Request]]:
    """The requests of all files, in the order of their days; those without a day as they were named."""
    found: list[tuple[Path, Request]] = []
    faults: list[Diagnostic] = []
    for path in paths:
        try:
            raw = _read(path, "name a file with a request; docs/access.md has the form")
            if path.suffix == ".jsonl":
                read = admin_requests.read_history(raw, str(path))
            else:
                one = admin_requests.read_request(raw, str(path), offers, known.history)
                read = [replace(one, source=path.name, day=known.day)]
            found += [(path, request) for request in read]
        except Failure as failure:
            faults += failure.diagnostics
    if faults:
        raise Failure(*faults)
    return sorted(found, key=lambda item: item[1].day or date.max)


def _read(path: Path, hint: str, limit: int = LIMIT_OTHER) -> bytes:
    try:
        raw = read_regular(path, limit, str(path))
    except FileNotFoundError:
        raise Failure(Diagnostic("not-found", file=str(path), detail="It is not there.", hint=hint)) from None
    if len(raw) > limit:
        raise Failure(too_large(limit, str(path)))
    return raw


def _template(known: Known, request: Request) -> Grant:
    """An entry with what is known; without a reason or a request it is marked as imported."""
    complete = known.reason is not None and known.request is not None
    grant = Grant(
        resources=[],
        reason=known.reason,
        request=known.request,
        requested_by=known.requested_by,
        imported=None if complete else known.source or request.source,
    )
    return grant.model_copy(update={"expires": known.expires})


def _ensure_maintainers(asked: Iterable[tuple[Path, Request]], known: Known, inventory: Inventory) -> None:
    if known.maintainers is None or known.requested_by is None:
        return
    raw = _read(known.maintainers, 'the form is {"pytorch-cpu": ["login"]}', LIMIT_GRANTS)
    maintainers = admin_requests.read_maintainers(raw, str(known.maintainers))
    faults = [
        fault
        for path, request in asked
        for fault in admin_requests.strangers(
            request, known.requested_by, maintainers, inventory.settings.operators, str(path)
        )
    ]
    if faults:
        raise Failure(*faults)


def _look_for_need(asked: Iterable[tuple[Path, Request]], known: Known, draft: Draft) -> None:
    if known.durations is None:
        return
    raw = _read(
        known.durations, 'the form is {"pytorch-cpu": 5.5}, or lines such as pytorch-cpu,5.5', LIMIT_GRANTS
    )
    hours = admin_requests.read_durations(raw, str(known.durations))
    gpus = changes.gpu_classes(draft.inventory.stacks)
    for path, request in asked:
        draft.diagnostics += admin_requests.without_need(request, draft.offers, gpus, hours, str(path))


def grant_of(values: dict[str, object]) -> Grant:
    """The entry that options describe. Raises Failure("usage") with everything that is wrong with them."""
    faults: list[Diagnostic] = []
    grant = validated({k: v for k, v in values.items() if v is not None}, Grant, GRANTS, faults)
    if grant is None:
        raise Failure(
            *(
                Diagnostic("usage", detail=f"{_option(d)}: {d.detail.replace(AS_WRITTEN, '')}", hint=d.hint)
                for d in faults
            )
        )
    return grant


def _option(fault: Diagnostic) -> str:
    name = str((fault.path or ("?",))[0])
    return {"resources": "RESOURCE", "feedstock": "FEEDSTOCK", "repo": "FEEDSTOCK"}.get(
        name, "--" + name.replace("_", "-")
    )


# ------------------------------------------------------------------------------------------------- the way of all


def _propose(
    root: Path, today: date, change: Callable[[Draft], None], dry_run: bool, verb: str | None = None
) -> Proposal:
    files = read_root(root)
    is_new = GRANTS not in files
    files.setdefault(GRANTS, edit.NEW.encode())
    before = project.from_files(root, files, today)
    if has_errors(before.diagnostics):
        raise Failure(*before.diagnostics)
    try:
        draft = Draft(files[GRANTS].decode(), before.inventory, catalog(before.inventory.stacks))
        change(draft)
        draft.settle()
        text = draft.editor.text()
        diff = draft.editor.diff(is_new=is_new)
    except Failure as failure:
        raise Failure(*place(failure.diagnostics, texts(files))) from None
    found = before.diagnostics
    if diff:
        after = project.as_it_would_be(root, {**files, GRANTS: text.encode()}, today, "after this change")
        found = after.diagnostics
        if not dry_run:
            write(root / GRANTS, text.encode())
    said = {(d.code, d.file, d.detail) for d in before.diagnostics}
    return Proposal(
        diff,
        draft.added,
        draft.changed,
        draft.removed,
        draft.unchanged,
        notes=draft.notes,
        commands=_commands(root, draft, today, verb) if diff else [],
        diagnostics=draft.diagnostics + [d for d in found if (d.code, d.file, d.detail) not in said],
        known=[d for d in found if (d.code, d.file, d.detail) in said],
    )


def _commands(root: Path, draft: Draft, today: date, verb: str | None) -> list[str]:
    """What a person types to propose the change; every word is quoted, as names and addresses come from strangers."""
    only = {(True, False, False): "Grant", (False, False, True): "Revoke"}
    verb = verb or only.get((bool(draft.added), bool(draft.changed), bool(draft.removed)), "Change")
    keys = [*draft.added, *draft.changed, *draft.removed]
    names = list(dict.fromkeys(key.partition("/")[0].removesuffix("-feedstock") for key in keys))
    named = ", ".join(names[:3]) or "entries without resources"
    title = printable(f"{verb} access: {named}" + f" and {len(names) - 3} more" * (len(names) > 3))
    slug = re.sub(r"[^a-z0-9]+", "-", f"{verb} {' '.join(names[:2])}".lower()).strip("-")[:50].strip("-")
    branch = f"{slug}-{today.isoformat()}"
    words = [
        *([["cd", str(root)]] if root != Path() else []),
        ["git", "switch", "--create", branch],
        ["git", "add", GRANTS],
        ["git", "commit", "--message", title],
        ["git", "push", "--set-upstream", "origin", branch],
        ["gh", "pr", "create", "--title", title, "--body", _body(draft) or title],
    ]
    return [shlex.join(line) for line in words]


def _body(draft: Draft) -> str:
    """What the pull request is about, in one line."""
    parts = {"added": draft.added, "changed": draft.changed, "removed": draft.removed}
    said = [f"{what}: {some(keys)}" for what, keys in parts.items() if keys]
    new = (g.request for i, g in draft.grants.items() if i not in draft.inventory.grants and g.request)
    requests = some(dict.fromkeys(new))
    return printable("; ".join(said) + ("" if requests == "none" else f"; request: {requests}"))
