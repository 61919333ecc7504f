"""The text of a root folder's files to the model, with every fault that keeps a part from being read.

A faulty entry is left out and the rest goes on, so that all independent faults come out at once.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cf_infra import yaml12
from cf_infra.diagnostics import Diagnostic, Path, nearest, printable, some
from cf_infra.model import (
    FORMS,
    Frozen,
    Grant,
    GrantsFile,
    Inventory,
    Overrides,
    PartialStack,
    Settings,
    Stack,
    UsersFile,
)
from cf_infra.yaml12 import AS_WRITTEN, SECRET

GRANTS = "grants.yaml"
SETTINGS = "settings.yaml"
OVERRIDES = "overrides.yaml"
_STACK_FILE = re.compile(r"^stacks/([^/]+)\.(ya?ml)$")
_USERS_FILE = re.compile(r"^users/([^/]+)\.json$")
_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")
_GRANTS = TypeAdapter(list[Grant])
_SECRET = re.compile(
    r"passw|passphrase|secret|token|(?:api|access|private)[_-]?key|credential[_-]?value", re.IGNORECASE
)
_DAYS = ("granted", "expires", "until", "accepted", "grace_until")

M = TypeVar("M", bound=Frozen)


@dataclass(frozen=True)
class Parsed:
    """What could be read. `texts` are the YAML texts, to find lines in."""

    inventory: Inventory
    texts: dict[str, str]
    diagnostics: list[Diagnostic] = field(default_factory=list)


def parse(files: Mapping[str, bytes]) -> Parsed:
    """The model of a folder whose files are `files`: relative name -> content. Raises nothing."""
    faults: list[Diagnostic] = []
    grants, partial = _grants(files, faults)
    stacks: dict[str, Stack | PartialStack | None] = {}
    users: dict[str, UsersFile | None] = {}
    for name in sorted(files):
        if found := _STACK_FILE.match(name):
            stacks[found[1]] = _stack(found[1], found[2], name, files[name], faults)
        elif found := _USERS_FILE.match(name):
            users[found[1]] = _users(found[1], name, files[name], faults)
    settings = _settings(files, faults)
    overrides = _optional(files, OVERRIDES, Overrides, faults)
    inventory = Inventory.model_construct(
        grants=grants,
        partial=partial,
        stacks={name: stack for name, stack in stacks.items() if isinstance(stack, Stack)},
        partial_stacks={name: stack for name, stack in stacks.items() if isinstance(stack, PartialStack)},
        users={name: people for name, people in users.items() if people is not None},
        settings=settings or Settings(),
        overrides=overrides or Overrides(version=1),
        unread=frozenset(
            [f"stacks/{name}.yaml" for name, stack in stacks.items() if not isinstance(stack, Stack)]
            + [f"users/{name}.json" for name, people in users.items() if people is None]
            + [SETTINGS] * (SETTINGS in files and settings is None)
        ),
    )
    return Parsed(inventory, texts(files), faults)


def texts(files: Mapping[str, bytes]) -> dict[str, str]:
    """The files as text, for finding lines; JSON is YAML, too."""
    return {name: raw.decode("utf-8-sig", "replace") for name, raw in files.items()}


def place(diagnostics: Iterable[Diagnostic], texts: dict[str, str]) -> list[Diagnostic]:
    """The same diagnostics with lines and columns."""
    return yaml12.located(diagnostics, texts)


# ------------------------------------------------------------------------------------------------ each file


def _grants(
    files: Mapping[str, bytes], faults: list[Diagnostic]
) -> tuple[dict[int, Grant], dict[int, Grant]]:
    if GRANTS not in files:
        faults.append(
            Diagnostic(
                "not-found",
                file=GRANTS,
                detail="The folder has no grants.yaml.",
                hint="name the folder that has it:\ncf-infra --root DIR check",
            )
        )
        return {}, {}
    value, found = yaml12.load(files[GRANTS], GRANTS, yaml12.LIMIT_GRANTS)
    faults += found
    if found or not is_mapping(value, GRANTS, faults):
        return {}, {}
    entries = value.get("grants")
    if not isinstance(entries, list):
        validated({**value}, GrantsFile, GRANTS, faults)
        return {}, {}
    validated({**value, "grants": []}, GrantsFile, GRANTS, faults)
    try:
        return dict(enumerate(_GRANTS.validate_python(entries))), {}
    except ValidationError:
        return _one_by_one(entries, faults)


def _one_by_one(entries: list[Any], faults: list[Diagnostic]) -> tuple[dict[int, Grant], dict[int, Grant]]:
    """The entries without faults, and what is left of the others without their faulty keys."""
    good, partial = {}, {}
    for index, entry in enumerate(entries):
        found: list[Diagnostic] = []
        grant = validated(entry, Grant, GRANTS, found, ("grants", index))
        faults += found
        if grant is not None:
            good[index] = grant
        elif isinstance(entry, dict):
            bad = {d.path[2] for d in found if d.path and len(d.path) > 2}
            rest = {"resources": [], **{key: value for key, value in entry.items() if key not in bad}}
            left = validated(rest, Grant, GRANTS, [])
            if left is not None:
                partial[index] = left
    return good, partial


def _stack(
    name: str, ending: str, file: str, raw: bytes, faults: list[Diagnostic]
) -> Stack | PartialStack | None:
    if ending != "yaml" or not _NAME.match(name):
        faults.append(_bad_file_name(file, "stack", f"stacks/{_nearest_name(name)}.yaml"))
        return None
    value, found = yaml12.load(raw, file)
    faults += found
    if found or not is_mapping(value, file, faults):
        return None
    secrets = list(_secret_keys(value, file, ()))
    others: list[Diagnostic] = []
    stack = validated(value, Stack, file, others)
    others = [_without_a_source(d) for d in others]
    # A key that is refused as a secret is not told again as one that is unknown, nor what stands below it.
    places = [d.path or () for d in secrets]
    faults += [*secrets, *(d for d in others if not any((d.path or ())[: len(p)] == p for p in places))]
    return stack if stack is not None and not secrets else _partial_stack(value, file)


_PARTS = ("offers", "images", "credentials", "hosts")
"""Keys of a stack file under which things stand that can be left out one by one."""
_NEEDED = ("version", "kind", "rights", "donor")
"""Keys without which nothing can be said of the others."""


def _partial_stack(value: Mapping[str, Any], file: str) -> PartialStack | None:
    """What is left of a stack without the things that have a wrong value; None where too little is left."""
    rest = copy.deepcopy(dict(value))
    without: set[str] = set()
    for _ in range(3):  # pydantic tells some faults only when others are gone
        found: list[Diagnostic] = []
        stack = validated(rest, Stack, file, found)
        if stack is not None:
            return PartialStack(stack=stack, without=frozenset(without))
        for fault in found:
            path = _spoilt(fault, rest)
            if not fault.path or path[:1] in [(key,) for key in _NEEDED]:
                return None
            without.update(str(step) for step in path[:1])
            for place in (fault.path, path):
                if place:
                    _leave_out(rest, place)
    return None


def _spoilt(fault: Diagnostic, value: Any) -> Path:
    """The thing of which nothing can be said for a fault in it; () for a key that is simply too much."""
    path = fault.path or ()
    if fault.code == "unknown-key":
        near = fault.label.removeprefix("do you mean `").removesuffix("`?")
        if near == fault.label or _has(_value_at(value, path[:-1]), near):
            return ()
        path = (*path[:-1], near)  # what was meant is missing
    return path[: 2 if path and path[0] in _PARTS else 1]


def _leave_out(value: Any, path: Path) -> None:
    """Take away what stands at `path`; an item of a list takes its list with it, or others would change their place."""
    value, last = _value_at(value, path[:-1]), path[-1]
    if isinstance(value, dict):
        value.pop(last, None)
    elif isinstance(value, list):
        value.clear()


def _value_at(value: Any, path: Path) -> Any:
    """What stands at `path`; None if nothing does."""
    for step in path:
        value = value[step] if _has(value, step) else None
    return value


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, dict) and step in value


def _users(name: str, file: str, raw: bytes, faults: list[Diagnostic]) -> UsersFile | None:
    if not _NAME.match(name):
        faults.append(_bad_file_name(file, "users file", f"users/{_nearest_name(name)}.json"))
        return None
    if len(raw) > yaml12.LIMIT_OTHER:
        faults.append(yaml12.too_large(yaml12.LIMIT_OTHER, file))
        return None
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        faults.append(
            Diagnostic(
                "bad-users-file",
                file=file,
                line=error.lineno,
                column=error.colno,
                detail=f"It is not JSON: {error.msg}.",
                hint='the form is {"users": [{"github": "login", "id": 12345}]}',
            )
        )
        return None
    twice = yaml12.duplicate_keys(raw.decode(), file)
    faults += twice
    if twice or not is_mapping(value, file, faults, '{"users": [{"github": "login", "id": 12345}]}'):
        return None
    return validated(value, UsersFile, file, faults)


def _bad_file_name(file: str, what: str, better: str) -> Diagnostic:
    ending = better.rpartition(".")[2]
    return Diagnostic(
        "bad-name",
        file=file,
        detail=f"The {what} takes its name from the file: small letters, digits and dashes, at most 40, and .{ending}.",
        hint=f"git mv '{file}' {better}",
    )


def _nearest_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "name"


def _optional(files: Mapping[str, bytes], name: str, model: type[M], faults: list[Diagnostic]) -> M | None:
    if name not in files:
        return None
    value, found = yaml12.load(files[name], name)
    faults += found
    if found or not is_mapping(value, name, faults):
        return None
    return validated(value, model, name, faults)


def is_mapping(
    value: Any, file: str, faults: list[Diagnostic], example: str = "begin with `version: 1`"
) -> bool:
    """True if a file holds keys with values; else `faults` says what it holds."""
    strange = [key for key in value if not isinstance(key, str)] if isinstance(value, dict) else []
    if isinstance(value, dict) and not strange:
        return True
    detail = f"The file holds {_kind(value)}; it must be keys with values."
    if strange:
        detail = f"{_kind(strange[0]).capitalize()} stands as a key; keys are texts."
    path = (str(strange[0]),) if strange else ()
    faults.append(Diagnostic("wrong-type", file=file, path=path, on_key=True, detail=detail, hint=example))
    return False


def _is_secret(path: Path, value: Any) -> bool:
    """True where a secret may stand. `credentials` and `github.secrets` have names of those that are kept elsewhere."""
    if path[:2] == ("github", "secrets"):
        return not isinstance(value, dict) if len(path) < 4 else path[3] != "resources"
    return path[:-1] != ("credentials",) and bool(_SECRET.search(str(path[-1])))


def _settings(files: Mapping[str, bytes], faults: list[Diagnostic]) -> Settings | None:
    """The settings. What is wrong at a key such as `token` may be the token itself, and is not shown."""
    found: list[Diagnostic] = []
    settings = _optional(files, SETTINGS, Settings, found)
    faults += map(_without_a_secret, found)
    return settings


def _without_a_secret(d: Diagnostic) -> Diagnostic:
    path = d.path or ()
    if path[:2] == ("state", "recovery") and path[-1:] == ("recipient",):
        return _without_an_identity(d, path)
    # Operators name their sinks, and such a name may well be `github-secret`.
    keys = [i for i, key in enumerate(path) if _SECRET.search(str(key)) and path[:i] != ("sinks",)]
    if not keys:
        return d
    key = _show(str(path[keys[0]]))
    return Diagnostic(
        "secret-in-settings",
        file=d.file,
        path=path[: keys[0] + 1],
        on_key=True,
        label="looks like a secret",
        detail=f"What stands at {key} is none of the forms that it may have, and may be a secret: it is not shown.",
        hint="say where the secret is to be had, not the secret itself:\ntoken: env GITHUB_TOKEN\n"
        "if it was ever pushed, it is known: revoke it",
    )


def _without_an_identity(d: Diagnostic, path: Path) -> Diagnostic:
    """What is no public key of age may be the private one."""
    return Diagnostic(
        "secret-in-settings",
        file=d.file,
        path=path,
        on_key=True,
        label="is no public key",
        detail="What stands at `recipient` is no public key of age, and may be the private one: it is not shown.",
        hint="write the public key, which begins with age1:\nage-keygen -y FILE-WITH-THE-PRIVATE-KEY\n"
        "if the private one was ever pushed, it is known: make another pair",
    )


def _without_a_source(d: Diagnostic) -> Diagnostic:
    """What is wrong at `source` may be the secret itself, written where its variable's name should be."""
    path = d.path or ()
    if path[:1] != ("credentials",) or path[-1:] != ("source",) or len(path) != 3 or d.code == "unknown-key":
        return d
    return Diagnostic(
        SECRET,
        file=d.file,
        path=path,
        on_key=True,
        label="is not env NAME",
        detail="What stands at `source` is not the name of a variable, and may be a secret: it is not shown.",
        hint="say where the secret is to be had, not the secret itself:\nsource: env NAME\n"
        "if a value was ever pushed, it is known: replace it",
    )


def _secret_keys(value: Any, file: str, path: Path) -> Iterable[Diagnostic]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _secret_keys(item, file, (*path, index))
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        here = (*path, str(key))
        if _is_secret(here, item):
            yield Diagnostic(
                SECRET,
                file=file,
                path=here,
                on_key=True,
                label="looks like a secret",
                detail=f"{_show(str(key))} looks like a secret, and stack files are public.",
                hint="log in through clouds.yaml (`cloud: NAME`); let credentials be made (`credentials:`)\n"
                "if a value was ever pushed, it is known: replace it at the cloud",
            )
        else:
            yield from _secret_keys(item, file, here)


# ------------------------------------------------------------------------------------- pydantic's faults


def validated(value: Any, model: type[M], file: str, faults: list[Diagnostic], base: Path = ()) -> M | None:
    """`value` as a `model`; or None, and in `faults` why not. `base`: where the value stands in the file."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = [_fault(e, value, model, file, base) for e in error.errors(include_url=False)]
        # A key that is only misspelt is not told again as missing.
        misspelt = {(d.path[:-1], d.hint) for d in found if d.code == "unknown-key" and d.path}
        faults += [d for d in found if (d.path, d.label.replace("needs", "write")) not in misspelt]
        return None


def _fault(e: ErrorDetails, value: Any, model: type[Frozen], file: str, base: Path) -> Diagnostic:
    loc, on_key = _location(e["loc"], value)
    path = (*base, *loc)
    name = str(loc[-1]) if loc else ""
    kind = e["type"]
    if kind == "extra_forbidden":
        return _unknown_key(name, _keys_at(model, loc[:-1], e["loc"]), file, path)
    if kind == "missing":
        needs = f"`{name}` is missing."
        return Diagnostic(
            "missing-key",
            file=file,
            path=path[:-1],
            label=f"needs `{name}`",
            detail=needs,
            hint=_example(loc, file),
        )
    if kind.startswith("date_"):
        return Diagnostic(
            "impossible-date",
            file=file,
            path=path,
            label="not on the calendar",
            detail=f"{_show(e['input'])} is no day.",
            hint=_A_DAY,
        )
    if kind == "union_tag_not_found":
        needs = "`kind` is missing."
        return Diagnostic(
            "missing-key", file=file, path=path, label="needs `kind`", detail=needs, hint=_KINDS_OF_SINKS
        )
    if kind == "union_tag_invalid":
        got = _show(e["ctx"]["tag"])
        detail = f"{got} is no kind of sink."
        return Diagnostic(
            "bad-value",
            file=file,
            path=(*path, "kind"),
            label="not allowed",
            detail=detail,
            hint=_KINDS_OF_SINKS,
        )
    if name == "version" and kind == "literal_error":
        return Diagnostic(
            "unknown-version",
            file=file,
            path=path,
            label="must be 1",
            detail="This cf-infra reads version 1 only.",
            hint="write `version: 1`",
        )
    if kind in _WANTED:
        return _wrong_type(e, name, file, path, on_key or kind == "invalid_key")
    got = _show(e["input"])
    return Diagnostic(
        "bad-value",
        file=file,
        path=path,
        on_key=on_key,
        label="not allowed",
        detail=f"{got[:1].upper()}{got[1:]}: {_rule(e)}.",
        hint=_example(loc, file),
    )


_KINDS_OF_SINKS = "kind: cirun, github-secret, drone-secret, drone-env, file, command or age"
_A_DAY = "write YYYY-MM-DD, such as 2027-01-31"


def _location(loc: tuple[int | str, ...], value: Any) -> tuple[Path, bool]:
    """pydantic's place without the names of union members; and whether a key, not a value, is wrong."""
    path: list[int | str] = []
    for position, part in enumerate(loc):
        if part == "[key]":
            return tuple(path), True
        if position == 2 and loc[0] == "sinks":
            continue  # a sink's kind, which may be called like one of its keys
        try:
            value = value[part]
        except (LookupError, TypeError):
            if part != loc[-1] or not isinstance(value, dict):
                continue  # a union's member
            value = None  # a missing key
        path.append(part)
    return tuple(path), False


@cache
def _schema(model: type[Frozen]) -> Any:
    return model.model_json_schema()


def _keys_at(model: type[Frozen], path: Path, members: tuple[int | str, ...]) -> list[str]:
    """The keys that are known at `path` below `model`; `members`: the union members that were meant are in it."""
    schema = _schema(model)
    here: Any = schema
    for part in path:
        here = _resolved(here, schema)
        if isinstance(part, int):
            here = here.get("items", {})
        elif part in here.get("properties", {}):
            here = here["properties"][part]
        else:  # keys that people name: any that fits a pattern
            here = next(iter(here.get("patternProperties", {}).values()), {})
        options = here.get("discriminator", {}).get("mapping", {}) if isinstance(here, dict) else {}
        here = next(({"$ref": options[member]} for member in members if member in options), here)
    here = _resolved(here, schema)
    return sorted(here.get("properties", {})) if isinstance(here, dict) else []


def _resolved(node: Any, schema: Any) -> Any:
    """The node that has keys, behind references and forms to choose from; the node itself if there is none."""
    if "$ref" in node:
        return _resolved(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    options = [option for key in ("allOf", "anyOf", "oneOf") for option in node.get(key, ())]
    found = (_resolved(option, schema) for option in options)
    return next((option for option in found if "properties" in option), node)


def _unknown_key(name: str, known: list[str], file: str, path: Path) -> Diagnostic:
    near = nearest(name, known)
    return Diagnostic(
        "unknown-key",
        file=file,
        path=path,
        on_key=True,
        label=f"do you mean `{near}`?" if near else "not known here",
        detail=f"{_show(name)} is not known here. Known are: {some(known, name)}.",
        hint=f"write `{near}`" if near else "delete it; a remark is a comment, behind a #",
    )


_SUCH_AS = " such as [one, two]"
_WANTED = {
    "string_type": "a text",
    "invalid_key": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": f"a list{_SUCH_AS}",
    "dict_type": "keys with values",
    "model_type": "keys with values",
}


def _wrong_type(e: ErrorDetails, name: str, file: str, path: Path, on_key: bool) -> Diagnostic:
    is_day = name in _DAYS or (name == "terms" and file.startswith("users/"))
    wanted = "a day" if is_day else _WANTED.get(e["type"], "something else")
    value = e["input"]
    hint = _example(path, file)
    if name == "slice":
        wanted = "a share or keys with values"
    elif wanted == "a day":
        hint = _A_DAY
    elif wanted == "a text" and isinstance(value, (int, float)):
        what = "a truth value" if isinstance(value, bool) else "a number"
        hint = f'this is read as {what}; put it in quotes: "{AS_WRITTEN}"'
    elif (wanted == "a whole number" and isinstance(value, str) and value.isdecimal()) or (
        wanted == "true or false" and value in ("true", "false")
    ):
        hint = f"write {value}, without quotes"
    elif wanted == "true or false" and value in ("yes", "on", "y"):
        hint = "write true"
    elif wanted == "true or false" and value in ("no", "off", "n"):
        hint = "write false"
    elif wanted.startswith("a list") and isinstance(value, str):
        hint = f"write [{printable(value)}]"
    return Diagnostic(
        "wrong-type",
        file=file,
        path=path,
        on_key=on_key,
        label=f"must be {wanted.removesuffix(_SUCH_AS)}",
        detail=f"It must be {wanted}, "
        + ("but nothing is there." if value is None else f"not {_show(value)}."),
        hint=hint,
    )


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "keys with values"


def _show(value: Any) -> str:
    if not isinstance(value, str):
        return _kind(value)
    clean = printable(value)
    return f"`{clean if len(clean) <= 60 else clean[:57] + '...'}`"


def _rule(e: ErrorDetails) -> str:
    context = e.get("ctx", {})
    if "pattern" in context:
        return FORMS[context["pattern"]]
    words = _RULES.get(e["type"])
    return words.format(**context) if words else e["msg"]


_RULES = {
    "enum": "it must be one of {expected}",
    "literal_error": "it must be one of {expected}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "string_too_short": "it must not be empty",
    "too_short": "it must not be empty",
    "string_too_long": "it may have at most {max_length} characters",
    "finite_number": "it must be a number",
}


def _example(path: Path, file: str) -> str:
    stack = file.startswith("stacks/")
    examples = _IN_STACKS if stack else _IN_USERS if file.startswith("users/") else _IN_OTHERS
    # Some keys mean something at the top of a stack file only.
    found = examples.get(path[-1]) if path and (len(path) == 1 or path[-1] != "kind") else None
    return found or f"see docs/{'stacks' if stack else 'files'}.md for the form"


_IN_OTHERS: dict[str | int, str] = {
    "grants": "grants: []   (or one entry under another)",
    "feedstock": "feedstock: pytorch-cpu   (without the organisation and -feedstock)",
    "repo": "repo: admin-requests   (without the organisation)",
    "resources": "resources: [gpu-large]",
    "granted": "granted: 2026-01-31",
    "expires": "expires: 2027-01-31",
    "until": "until: 2027-01-31",
    "request": "request: https://github.com/conda-forge/admin-requests/pull/1234",
    "version": "version: 1",
    "action": "action: cirun   (or namespace, blacksmith, depot, travis)",
    "feedstocks": "feedstocks: [pytorch-cpu]   (without the organisation and -feedstock)",
    "pull_request": "pull_request: true   (or false)",
    "revoke": "revoke: true   (or false)",
    "send_pr": "send_pr: true   (or false)",
    "requested_by": "a login as GitHub writes it, without @",
}
_IN_USERS: dict[str | int, str] = {
    "id": "it is the account's number at GitHub, which does not change with the login:\ngh api users/LOGIN --jq .id",
    "users": '{"users": [{"github": "login", "id": 12345}]}',
    "bot": '"bot": {"owner": "login", "until": "2027-01-31"}',
    "owner": '"owner": "login"   (of the person who answers for the bot)',
    "until": '"until": "2027-01-31"   (the first day on which the bot may do nothing more)',
    "terms": '"terms": "2026-01-31"   (the version that was accepted)',
    "accepted": '"accepted": "2026-01-31"',
}
_IN_STACKS: dict[str | int, str] = {
    "version": "version: 1",
    "kind": "kind: openstack",
    "donor": "donor: {name: Example University, contacts: [login]}",
    "offers": "offers: {gpu-large: {slice: 1/8, image: ubuntu, via: cirun, mode: on-demand, label: NAME}}",
    "via": "via: cirun",
    "mode": "mode: on-demand",
    "slice": "slice: 1/8   or   slice: {gpus: 1, vcpus: 6, memory_gib: 60, disk_gib: 100}",
    "cidr": "cidr: 10.42.0.0/24",
    "until": "until: 2027-01-31",
}
