"""Requests as conda-forge's people write them: `action`, `feedstocks`, `resources`; read, and every fault told.

The format is that of conda-forge/admin-requests (docs/access.md has it). A file holds one request; a file that ends
in .jsonl holds history, one {"date", "file", "request"} in each line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

import orjson

from cf_infra import yaml12
from cf_infra.catalog import Catalog
from cf_infra.diagnostics import Diagnostic, Failure, Path, nearest, printable, some
from cf_infra.model import Day, Frozen, Line
from cf_infra.parse import is_mapping, place, validated

MOST_FEEDSTOCKS = 200
"""In one request, so that somebody can read it; on the busiest day of 33 months all requests together had 63."""
HOSTED_HOURS = 6
"""After so many hours GitHub ends a job on its hosted runners (docs.github.com, usage limits)."""
APPS = ("namespace", "blacksmith", "depot")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_SUFFIX = "-feedstock"


class _Cirun(Frozen):
    """A request for runners that Cirun starts."""

    action: Literal["cirun"]
    feedstocks: list[str]
    resources: list[str]
    pull_request: bool = False
    revoke: bool = False
    send_pr: bool = True


class _App(Frozen):
    """A request for a vendor's runners; the app itself is the resource."""

    action: Literal["namespace", "blacksmith", "depot"]
    feedstocks: list[str]
    revoke: bool = False


class _Travis(Frozen):
    """A request for Travis CI, which cannot be taken back by a request."""

    action: Literal["travis"]
    feedstocks: list[str]


_FORMS: dict[str, type[Frozen]] = {"cirun": _Cirun, **dict.fromkeys(APPS, _App), "travis": _Travis}


class _Historic(Frozen):
    """One line of history."""

    date: Day
    file: Line
    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for: `resources` are classes, labels or the app's name.

    `day`: when, if the file knows; `source`: the file's name as it was made; `line`: where it stands.
    """

    feedstocks: tuple[str, ...]
    resources: tuple[str, ...]
    pull_request: bool
    revoke: bool
    send_pr: bool
    source: str
    day: date | None = None
    line: int | None = None


# -------------------------------------------------------------------------------------------------- reading


def read_request(raw: bytes, file: str, offers: Catalog, history: bool = False) -> Request:
    """The request in a YAML file. Raises Failure with everything that is wrong with it.

    With `history`, names of resources are taken as they are: what is not offered any more may have been then.
    """
    value, faults = yaml12.load(raw, file)
    if faults:
        raise Failure(*faults)
    request = _request(value, file, None if history else offers, faults)
    if request is None or faults:
        raise Failure(*place(_with_own_hints(faults), {file: raw.decode("utf-8-sig")}))
    return request


def read_history(raw: bytes, file: str) -> list[Request]:
    """The requests in a file of lines, in the order of their days. Raises Failure with all faults of all lines.

    Names of resources are taken as they are: what is not offered any more may have been then.
    """
    found: list[Request] = []
    faults: list[Diagnostic] = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            in_line: list[Diagnostic] = []
            request = _of_line(line, file, number, in_line)
            text = {file: line.decode("utf-8", "replace")}
            faults += [replace(d, line=number) for d in place(_with_own_hints(in_line), text)]
            found += [] if request is None else [request]
    if faults:
        raise Failure(*faults)
    return sorted(found, key=lambda request: request.day or date.min)


def _with_own_hints(faults: Iterable[Diagnostic]) -> list[Diagnostic]:
    other = re.compile(r"see docs/\w+\.md for the form")
    own = "docs/access.md has the form"
    return [replace(d, hint=own) if other.match(d.hint) else d for d in faults]


def _of_line(raw: bytes, file: str, number: int, faults: list[Diagnostic]) -> Request | None:
    try:
        value = orjson.loads(raw)
        twice = yaml12.duplicate_keys(raw.decode(), file)
    except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
        faults.append(
            Diagnostic(
                "bad-history",
                file=file,
                line=number,
                column=getattr(error, "colno", 1),
                detail=f"Line {number} is not JSON: {getattr(error, 'msg', 'it is not UTF-8')}.",
                hint='one request in each line: {"date": "2026-01-31", "file": NAME, "request": {...}}',
            )
        )
        return None
    faults += twice
    if twice or not is_mapping(value, file, faults, '{"date": "2026-01-31", "file": NAME, "request": {...}}'):
        return None
    historic = validated(value, _Historic, file, faults)
    if historic is None:
        return None
    request = _request(historic.request, file, None, faults, ("request",))
    return None if request is None else replace(request, day=historic.date, source=historic.file, line=number)


def _request(
    value: Any, file: str, offers: Catalog | None, faults: list[Diagnostic], base: Path = ()
) -> Request | None:
    if not base and not is_mapping(
        value, file, faults, "action: cirun\nfeedstocks: [NAME]\nresources: [NAME]"
    ):
        return None
    form = _form(value, file, faults, base)
    if form is None:
        return None
    read = validated(value, form, file, faults, base)
    if read is None:
        return None
    written = read.model_dump()
    resources = written.get("resources", [written["action"]])
    faults += _feedstock_faults(written["feedstocks"], file, base)
    faults += _resource_faults(resources, "resources" in written, file, offers, base)
    return Request(
        tuple({name.lower(): name for name in written["feedstocks"]}.values()),
        tuple(dict.fromkeys(resources)),
        written.get("pull_request", False),
        written.get("revoke", False),
        written.get("send_pr", False),
        file,
    )


def _form(value: Mapping[str, Any], file: str, faults: list[Diagnostic], base: Path) -> type[Frozen] | None:
    action = value.get("action")
    if isinstance(action, str) and action in _FORMS:
        return _FORMS[action]
    if not isinstance(action, str):
        validated({"action": action} if "action" in value else {}, _Action, file, faults, base)
        return None
    near = nearest(action, _FORMS)
    faults.append(
        Diagnostic(
            "unknown-action",
            file=file,
            path=(*base, "action"),
            label=f"do you mean `{near}`?" if near else "not about access",
            detail=f"`{printable(action)[:60]}` is no request for access. Those are: {', '.join(_FORMS)}.",
            hint=f"action: {near}" if near else "leave it to the repository whose request it is",
        )
    )
    return None


class _Action(Frozen):
    """What every request begins with."""

    action: str


# ------------------------------------------------------------------------------------------------ its names


def _feedstock_faults(names: list[str], file: str, base: Path) -> Iterator[Diagnostic]:
    path = (*base, "feedstocks")
    if not names:
        yield Diagnostic(
            "bad-value",
            file=file,
            path=path,
            label="empty",
            detail="The request names no feedstock.",
            hint="feedstocks: [pytorch-cpu]",
        )
    if len(names) > MOST_FEEDSTOCKS:
        yield Diagnostic(
            "too-many-feedstocks",
            file=file,
            path=path,
            on_key=True,
            label=f"{len(names):,} of them",
            detail=f"The request names {len(names):,} feedstocks; one may have {MOST_FEEDSTOCKS}, "
            "so that somebody can read them.",
            hint="ask for those that need it, in several requests",
        )
        return
    for index, name in enumerate(names):
        fault = feedstock_fault(name)
        if fault is not None:
            yield replace(fault, file=file, path=(*path, index))


def feedstock_fault(name: str) -> Diagnostic | None:
    """What is wrong with a name of a feedstock, if anything is; without a place."""
    if _NAME.fullmatch(name) and name not in (".", "..") and not name.endswith(_SUFFIX):
        return None
    shown = printable(name)[:60] + ("..." if len(name) > 60 else "")
    last = name.rstrip("/").removesuffix(".git").rpartition("/")[2].removesuffix(_SUFFIX)
    better = last if _NAME.fullmatch(last) and last not in (".", "..") else "pytorch-cpu"
    label, why = "not a name", "names have letters, digits, dots, dashes and underscores, at most 100"
    if "://" in name or name.lower().startswith(("github.com/", "www.", "git@")):
        label, why = "an address", "a feedstock is named, not linked to"
    elif "/" in name or "\\" in name:
        label, why = "a path", "the organisation and folders are left out"
    elif name.endswith(_SUFFIX):
        label, why = f"without `{_SUFFIX}`", "a feedstock is named without its ending"
    elif not name.strip():
        label, why = "empty", "there is no name"
    return Diagnostic(
        "bad-feedstock",
        label=label,
        detail=f"`{shown}` is no feedstock's name: {why}.",
        hint=f"write {better}",
    )


def _resource_faults(
    names: list[str], are_named: bool, file: str, offers: Catalog | None, base: Path
) -> Iterator[Diagnostic]:
    path = (*base, "resources")
    if not names:
        yield Diagnostic(
            "bad-value",
            file=file,
            path=path,
            label="empty",
            detail="The request names no resource.",
            hint=f"one of: {some(offers.names()) if offers else 'cirun-openstack-cpu-large'}",
        )
    for index, name in enumerate(names):
        fault = resource_fault(name, offers)
        if fault is not None:
            yield replace(fault, file=file, path=(*path, index) if are_named else (*base, "action"))


def resource_fault(name: str, offers: Catalog | None) -> Diagnostic | None:
    """What is wrong with a name of a resource, if anything is; without a place. No `offers`: any form of a name."""
    if offers is None and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}", name):
        return None
    shown = printable(name)[:60]
    if offers is None:
        return Diagnostic(
            "bad-value",
            label="not a name",
            detail=f"`{shown}`: names have letters, digits, dots, dashes and underscores.",
            hint="write it as Cirun's list had it",
        )
    known = offers.names()
    if name in known:
        return None
    near = nearest(name, known)
    return Diagnostic(
        "unknown-resource",
        label="nobody offers this",
        detail=f"No stack offers `{shown}`. Offered are: {some(known, name)}.",
        hint=f"do you mean `{near}`?" if near else "name one of them, or have it offered by a stack first",
    )


# --------------------------------------------------------------------------------------- who asks, and for what


def read_maintainers(raw: bytes, file: str) -> dict[str, list[str]]:
    """Feedstock, in small letters -> its maintainers' logins. Raises Failure("bad-lookup-file")."""
    example = '{"pytorch-cpu": ["login", "other-login"]}'
    value = _json(raw, file, example)
    for name, logins in value.items():
        if not isinstance(logins, list) or not all(isinstance(login, str) for login in logins):
            raise _bad_lookup(file, f"`{printable(name)[:60]}` has no list of logins.", example)
    return {name.lower().removesuffix(_SUFFIX): logins for name, logins in value.items()}


def read_durations(raw: bytes, file: str) -> dict[str, float]:
    """Feedstock, in small letters -> hours of its longest build on hosted agents. Raises Failure("bad-lookup-file").

    JSON (feedstock: hours), or CSV with the columns feedstock and hours.
    """
    example = '{"pytorch-cpu": 5.5}, or lines such as pytorch-cpu,5.5'
    is_json = raw.lstrip()[:1] == b"{"
    rows: Iterable[tuple[str, Any]] = (
        _json(raw, file, example).items() if is_json else _csv(raw, file, example)
    )
    found = {}
    for name, hours in rows:
        try:
            found[name.lower().removesuffix(_SUFFIX)] = _hours(hours)
        except (TypeError, ValueError):
            raise _bad_lookup(file, f"`{printable(name)[:60]}` has no number of hours.", example) from None
    return found


def _hours(value: Any) -> float:
    hours = float(value)
    if isinstance(value, bool) or not 0 <= hours < 10_000:
        raise ValueError(value)
    return hours


def _csv(raw: bytes, file: str, example: str) -> Iterator[tuple[str, str]]:
    try:
        rows = [row for row in csv.reader(raw.decode("utf-8-sig").splitlines(), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _bad_lookup(file, f"It is neither JSON nor CSV: {error}.", example) from None
    for number, row in enumerate(rows):
        if len(row) != 2:
            raise _bad_lookup(file, f"Row {number + 1} has {len(row)} columns instead of two.", example)
        if number or row[1].strip().lower() != "hours":
            yield row[0].strip(), row[1].strip()


def _json(raw: bytes, file: str, example: str) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        fault = _bad_lookup(file, f"It is not JSON: {error.msg}.", example).diagnostics[0]
        raise Failure(replace(fault, line=error.lineno, column=error.colno)) from None
    if not isinstance(value, dict):
        raise _bad_lookup(file, "It holds no keys with values.", example)
    return value


def _bad_lookup(file: str, detail: str, example: str) -> Failure:
    return Failure(Diagnostic("bad-lookup-file", file=file, detail=detail, hint=f"the form is {example}"))


def strangers(
    request: Request, login: str, maintainers: Mapping[str, list[str]], operators: Iterable[str], file: str
) -> Iterator[Diagnostic]:
    """A fault for each feedstock of the request that `login` does not maintain; operators may ask for all."""
    me = login.lower()
    if me in {operator.lower() for operator in operators}:
        return
    for name in request.feedstocks:
        known = maintainers.get(name.lower())
        if known is not None and me in {other.lower() for other in known}:
            continue
        who = (
            "it is not in the list of maintainers" if known is None else f"its maintainers are {some(known)}"
        )
        yield Diagnostic(
            "not-a-maintainer",
            file=file,
            line=request.line,
            detail=f"`{printable(login)}` asks for `{name}`, but does not maintain it: {who}.",
            hint="let one of them ask, or one of the operators (settings.yaml)",
        )


def without_need(
    request: Request, offers: Catalog, gpus: Iterable[str], hours: Mapping[str, float], file: str
) -> Iterator[Diagnostic]:
    """A warning for each feedstock that asks for what hosted agents give, and has builds that fit there.

    `gpus`: the classes that come with a GPU.
    """
    with_gpu = set(gpus)
    plain = [
        name
        for name in request.resources
        if (found := offers.offers(name))
        and all(o.offer.os == "linux" and o.offer.arch == "x86_64" for o in found)
        and not any(f"{o.stack}/{o.runner_class}" in with_gpu for o in found)
    ]
    for name in request.feedstocks if plain and not request.revoke else ():
        longest = hours.get(name.lower())
        if longest is not None and longest < HOSTED_HOURS:
            yield Diagnostic(
                "not-needed",
                file=file,
                line=request.line,
                detail=f"The longest build of `{name}` takes {longest:g} h; hosted agents allow {HOSTED_HOURS} h, and "
                f"{some(plain)} has neither a GPU nor another processor.",
                hint="leave it on hosted agents; if it is short of memory or disk, say so in --reason",
            )
