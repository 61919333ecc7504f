"""Rules of settings.yaml and overrides.yaml: where the state is, who else gets at its key, what is allowed.

Each rule is one small "Ensure ..." function; they are listed in check.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from cf_infra import holders
from cf_infra.diagnostics import Diagnostic, Path, nearest, some
from cf_infra.model import Approvals, KeySource, State, StateKind
from cf_infra.parse import OVERRIDES, SETTINGS
from cf_infra.rule import View

ENOUGH = 2
"""Recovery keys, and people who hold one: with fewer, one loss is the loss of all."""
_OF_A_BUCKET = ("bucket", "region", "endpoint", "prefix")


def _fault(code: str, path: Path, label: str, detail: str, hint: str, on_key: bool = False) -> Diagnostic:
    return Diagnostic(code, file=SETTINGS, path=path, label=label, detail=detail, hint=hint, on_key=on_key)


def states_have_their_place(view: View) -> Iterator[Diagnostic]:
    """Ensure a state in S3 has bucket and region, and a local one has neither."""
    state = view.inventory.settings.state
    if state.kind is StateKind.S3:
        yield from _incomplete(state)
        return
    for name in _OF_A_BUCKET:
        if getattr(state, name) is not None:
            detail = f"`state.{name}` is for a state in S3, and this one is local."
            hint = f"kind: s3, or take `{name}` away"
            yield _fault("bad-value", ("state", name), "not with kind local", detail, hint, on_key=True)


def _incomplete(state: State) -> Iterator[Diagnostic]:
    for name, example in (("bucket", "cf-infra-states"), ("region", "eu-central-1")):
        if getattr(state, name) is None:
            detail = f"A state in S3 needs `{name}`."
            yield _fault("missing-key", ("state", "kind"), f"without `{name}`", detail, f"{name}: {example}")
    if state.bucket is not None and len(state.bucket) < 3:
        detail = f"{state.bucket!r} has {len(state.bucket)} characters; names of buckets have 3 to 63."
        yield _fault("bad-value", ("state", "bucket"), "too short", detail, "write the bucket's whole name")


def keys_have_one_source(view: View) -> Iterator[Diagnostic]:
    """Ensure a key comes from a file or from a command, and that the previous one is not the current one."""
    state = view.inventory.settings.state
    for name, source in (("key", state.key), ("previous", state.previous or KeySource())):
        if source.file is not None and source.command is not None:
            detail = f"`state.{name}` has a file and a command; the key comes from one of them."
            yield _fault("bad-value", ("state", name), "two sources", detail, "take one of them away")
        if source.command is not None and not source.command:
            detail = f"`state.{name}.command` is empty."
            yield _fault(
                "bad-value", ("state", name, "command"), "empty", detail, "command: [pass, show, NAME]"
            )
    if state.previous is not None and state.previous == state.key != KeySource():
        detail = "`state.previous` is what `state.key` is; it is for the key before the last change of it."
        hint = "name the old key there, or take `previous` away"
        yield _fault("bad-value", ("state", "previous"), "the same key", detail, hint)


def recovery_keys_differ(view: View) -> Iterator[Diagnostic]:
    """Ensure no recovery key stands twice: two that are the same are one."""
    names: dict[str, int] = {}
    recipients: dict[str, int] = {}
    for index, key in enumerate(view.inventory.settings.state.recovery):
        for what, value, seen in (("name", key.name, names), ("recipient", key.recipient, recipients)):
            first = seen.setdefault(value, index)
            if first != index:
                detail = f"Recovery key {index + 1} has the same {what} as recovery key {first + 1}."
                path: Path = ("state", "recovery", index, what)
                hint = (
                    "give each its own, and make each pair of keys on its holder's own machine:\nage-keygen"
                )
                yield _fault("bad-value", path, "stands twice", detail, hint)


def recovery_has_enough_keys(view: View) -> Iterator[Diagnostic]:
    """Ensure that one loss is not the loss of all: two recovery keys at least, held by two people.

    A local state without any says nothing: whoever tries things has no second person.
    """
    state = view.inventory.settings.state
    if not state.recovery and state.kind is StateKind.LOCAL:
        return
    holders = {login.lower() for key in state.recovery for login in key.holders}
    if len(state.recovery) < ENOUGH or len(holders) < ENOUGH:
        keys, people = len(state.recovery), len(holders)
        detail = (
            f"The key of the state can be recovered with {keys} key{'s' * (keys != 1)} of "
            f"{people} {'people' if people != 1 else 'person'}; if it is lost with them, no state can be read again."
        )
        hint = "let another person make a pair of keys, and add the public one:\nage-keygen -o recovery.key"
        path: Path = ("state", "recovery") if state.recovery else ("state",)
        yield _fault("few-recovery-keys", path, "fewer than two", detail, hint, on_key=True)


def approvals_name_stacks(view: View) -> Iterator[Diagnostic]:
    """Ensure approvals are for stacks that are there."""
    known = view.inventory.stacks
    for name in view.inventory.settings.approvals.stacks:
        if name not in known and not view.misses("stacks"):
            near = nearest(name, known)
            detail = f"There is no stacks/{name}.yaml. There are: {some(sorted(known)) or 'none'}."
            hint = f"write {near}" if near else "take it away, or add the stack's file"
            yield _fault(
                "unknown-stack", ("approvals", "stacks", name), "no such file", detail, hint, on_key=True
            )


def approvals_can_be_given(view: View) -> Iterator[Diagnostic]:
    """Ensure each rule names as many people as it asks for, and one more, for one of them may be who asks.

    A team counts for as many as are needed: who is in it is known at GitHub alone.
    """
    settings = view.inventory.settings
    rules = settings.approvals
    asked: list[tuple[Path, list[str], int]] = [
        (("default",), rules.default or settings.operators, rules.required)
    ]
    asked += [(("stacks", name), named, rules.required) for name, named in rules.stacks.items()]
    extra = (("gpu", rules.extra.gpu), ("destroy", rules.extra.destroy), ("org_wide", rules.extra.org_wide))
    asked += [
        (("extra", name), eyes.by, eyes.required) for name, eyes in extra if eyes is not None and eyes.by
    ]
    for path, named, needed in asked:
        if any("/" in one for one in named):
            continue
        there, own = len(holders.people(named)), path != ("default",) or bool(rules.default)
        if there < needed and (own or needed > 1):
            yield _too_few(rules, path, there, needed)
        elif there == needed and own:
            detail = f"The rule asks for {_people(needed)} and names just as many: "
            detail += "what one of them asks for stays unapproved."
            hint = "name one more, or a team:\n[their-login, another-login, organisation/team]"
            yield _fault("one-approver", ("approvals", *path), "no one to spare", detail, hint, on_key=True)


def _too_few(rules: Approvals, path: Path, there: int, needed: int) -> Diagnostic:
    own = path[0] == "extra"
    place: Path = ("approvals", *path, "required") if own else ("approvals", "required")
    whose = (
        "`operators`"
        if path == ("default",) and not rules.default
        else f"`approvals.{'.'.join(map(str, path))}`"
    )
    detail = f"The rule asks for {_people(needed)}, and {whose} has {there}. Bots approve nothing."
    hint = "ask for fewer, or name more people, or a team"
    on_key = rules.required == 1 and not own
    return _fault(
        "few-approvers",
        ("approvals", *path) if on_key else place,
        "more than there are",
        detail,
        hint,
        on_key,
    )


def _people(count: int) -> str:
    return f"{count} {'person' if count == 1 else 'people'}"


# ------------------------------------------------------------------------------------------- overrides.yaml


def overrides_last(view: View) -> Iterator[Diagnostic]:
    """Ensure no permission stays that has ended."""
    for index, one in enumerate(view.inventory.overrides.overrides):
        if one.until < view.today:
            detail = f"The permission to take away {one.destroy} of `{one.stack}` ended on {one.until}."
            yield Diagnostic(
                "override-ended",
                file=OVERRIDES,
                path=("overrides", index, "until"),
                label="over",
                detail=detail,
                hint="take the entry away; what it allowed is in the journal, if it was used",
            )


def overrides_name_stacks(view: View) -> Iterator[Diagnostic]:
    """Ensure a permission is for a stack that is there; for one whose file is gone it may still be meant."""
    known = view.inventory.stacks
    for index, one in enumerate(view.inventory.overrides.overrides):
        if one.stack in known or view.misses("stacks"):
            continue
        near = nearest(one.stack, known)
        yield Diagnostic(
            "override-stack",
            file=OVERRIDES,
            path=("overrides", index, "stack"),
            label="no such stack file",
            detail=f"There is no stacks/{one.stack}.yaml. There are: {some(sorted(known)) or 'none'}.",
            hint=f"write {near}" if near else "keep it only if that stack is to be destroyed",
        )
