"""A stack's credentials after an apply: delivered, proven by a real login, and written down; then others may go.

Every step is noted at once, so a run that is killed goes on where it was. What fails leaves the generation before
in its place: it is delivered again where the new one was, and nothing retires it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

from cf_infra import credentials, ledger
from cf_infra.canaries import SKIPPED, Tried, prove_all
from cf_infra.credentials import UNKNOWN, History, Proof, Seen, Sent
from cf_infra.deployment import now
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.journal_file import Journal
from cf_infra.keyprovider import derive
from cf_infra.keyprovider import fingerprint as fingerprint_of
from cf_infra.keys import Ring
from cf_infra.material import Canary, Material, Sink
from cf_infra.model import Credential, CredentialKind

AT_ONCE = 16
"""Credentials that are delivered at the same time."""
FEW = 5
"""So many logins take a moment; of more, each is told as it ends."""


@dataclass(frozen=True)
class Turn:
    """What a turn needs. `sinks`: by name; `canary`: a login with a value, in words what it saw."""

    stack: str
    declared: Mapping[str, Credential]
    state: Path
    today: date
    ring: Ring
    sinks: Callable[[str], Sink]
    canary: Canary
    say: Callable[[str], None]
    lock: Lock = field(default_factory=Lock, repr=False)

    def tell(self, kind: str, **fields: Any) -> None:
        """Have it in the journal: names and generations, no value."""
        Journal(self.state, self.say).note(kind, **fields)


def fingerprint(key: bytes, material: Material) -> str:
    """Tells two values apart and says nothing of either: keyed with the stack's key, 16 hexadecimal digits."""
    text = orjson.dumps(dict(material.fields), option=orjson.OPT_SORT_KEYS).decode()
    return derive(key, f"cf-infra fingerprint 1\0{text}").hex()[:16]


def turn(asked: Turn, materials: Iterable[Material]) -> list[Diagnostic]:
    """Deliver and prove what is due, take away what is declared no more. Returns what failed and what needs a hand."""
    values: dict[str, dict[str, Material]] = {}
    for material in materials:
        values.setdefault(material.name, {})[material.generation] = material
    told: list[Diagnostic] = []

    def deliver(name: str) -> Ready | None:
        try:
            return _ready(asked, name, values[name], told)
        except Failure as failure:
            told.extend(failure.diagnostics)
            return None

    names = [name for name in asked.declared if values.get(name)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ready = [one for one in pool.map(deliver, names) if one is not None]
    say = asked.say if len(ready) > FEW else lambda _text: None
    tried = prove_all([(one.material, asked.canary) for one in ready], say)
    for one, result in zip(ready, tried, strict=True):
        told += _noted(asked, one, result, values[one.material.name])
    for name in sorted(ledger.load(asked.state).keys() - asked.declared.keys()):
        told += _drop(asked, name)
    return told


def end(asked: Turn) -> list[Diagnostic]:
    """After a stack was destroyed: no sink keeps what opens nothing any more. Returns what needs a hand."""
    return [told for name in sorted(ledger.load(asked.state)) for told in _drop(asked, name)]


@dataclass(frozen=True)
class Ready:
    """A generation that its sinks have, to be tried. `proven`: it was before, with this very value."""

    material: Material
    key: bytes
    mark: str
    proven: bool


def _ready(asked: Turn, name: str, values: Mapping[str, Material], told: list[Diagnostic]) -> Ready | None:
    """Deliver what is due; None if that is a value which was revoked. Raises Failure, and then the old one is back."""
    credential = asked.declared[name]
    history = _known(asked, name)
    material = _due(asked, name, credential, history, values)
    if credential.source is not None and material.generation in history.withdrawn:
        told.append(_revoked(asked.stack, name, credential))
        return None
    proof = history.proof(material.generation)
    key = _key(asked, credential, proof)
    mark = fingerprint(key, material)
    ready = Ready(material, key, mark, proof is not None and proof.fingerprint == mark)
    try:
        _deliver(asked, credential, ready, history)
    except Failure:
        if not ready.proven:
            _back(asked, credential, history, values)
        raise
    return ready


def _noted(asked: Turn, ready: Ready, tried: Tried, values: Mapping[str, Material]) -> list[Diagnostic]:
    """Write down how a login ended; what did not work gives way to the one before."""
    material = ready.material
    name, label = material.name, material.generation
    history, credential = _known(asked, name), asked.declared[name]
    if tried.diagnostics:
        seen = Seen(label, _at(), works=False, said=tried.diagnostics[0].detail)
        _note(asked, name, lambda h: replace(h, seen=seen))
        asked.tell("not-working", credential=name, generation=label)
        if not ready.proven:
            _back(asked, credential, history, values)
        return list(tried.diagnostics)
    done = Proof(label, asked.today, fingerprint_of(ready.key), ready.mark)
    seen = Seen(label, _at(), works=True, said=tried.said)
    _note(asked, name, lambda h: credentials.proved(h, done, seen))
    if not ready.proven:
        asked.say(f"{name}/{label}: proven by a login ({tried.said})")
        asked.tell("proven", credential=name, generation=label)
    told = [_not_tried(asked.stack, name, tried.said)] if tried.skipped else []
    return told + _leave(asked, name, [s.sink for s in history.sent if s.sink not in credential.deliver])


def _not_tried(stack: str, name: str, said: str) -> Diagnostic:
    detail = f"`{name}` of `{stack}` was delivered, and not tried: {said.removeprefix(SKIPPED)}."
    return Diagnostic(
        "not-tried",
        file=f"stacks/{stack}.yaml",
        path=("credentials", name),
        label="not tried",
        detail=detail,
    )


def _key(asked: Turn, credential: Credential, proof: Proof | None) -> bytes:
    """The key that a value comes from, or was marked with: what was proven keeps it when the master key changes.

    Raises Failure("no-key") if the value comes from a key that is not at hand.
    """
    try:
        return asked.ring.of(proof.key if proof is not None else None)
    except Failure:
        if credential.source is None and credential.kind is not CredentialKind.APPLICATION_CREDENTIAL:
            raise
        return asked.ring.current  # only its mark came from the other key: it is proven anew


def _revoked(stack: str, name: str, credential: Credential) -> Diagnostic:
    variable = (credential.source or "").removeprefix("env ")
    return Diagnostic(
        "rotation-due",
        file=f"stacks/{stack}.yaml",
        path=("credentials", name, "source"),
        label="still has what was revoked",
        detail=f"`{name}` of `{stack}` was revoked, and {variable} still has the revoked value. It is not delivered.",
        hint=f"ask who makes it for another one, put that into {variable}, and run the same again",
    )


def _due(
    asked: Turn, name: str, credential: Credential, history: History, values: Mapping[str, Material]
) -> Material:
    if credential.source is None:
        return values[credentials.due(asked.stack, name, credential, asked.today, history)]
    (given,) = values.values()
    newest = max(history.proven, key=lambda proof: credentials.order(proof.generation), default=None)
    mark = fingerprint(_key(asked, credential, newest), given)
    label = credentials.of_others(asked.stack, name, credential, asked.today, history, mark)
    return replace(given, generation=label)


def _deliver(asked: Turn, credential: Credential, ready: Ready, history: History) -> None:
    material, mark = ready.material, ready.mark
    has = {s.sink for s in history.sent if (s.generation, s.fingerprint) == (material.generation, mark)}
    for name in credential.deliver:
        if ready.proven and name in has:
            continue
        sink = asked.sinks(name)
        asked.say(f"{material.name}/{material.generation}: delivering to {sink.place}")
        sink.deliver(material)
        sent = Sent(name, sink.place, material.generation, _at(), mark)
        _note(asked, material.name, partial(credentials.delivered, sent=sent))
        asked.tell("delivered", credential=material.name, generation=material.generation, sink=name)


def _back(asked: Turn, credential: Credential, history: History, values: Mapping[str, Material]) -> None:
    """Where the new generation was delivered and does not work, the proven one before it is delivered again."""
    proven = [p.generation for p in history.proven if p.generation in values]
    if not proven:
        return
    old = values[max(proven, key=credentials.order)]
    mark = fingerprint(_key(asked, credential, history.proof(old.generation)), old)
    for name in credential.deliver:
        sink = asked.sinks(name)
        asked.say(f"{old.name}/{old.generation}: delivering again to {sink.place}, the new one did not work")
        try:
            sink.deliver(old)
        except Failure:
            continue  # the sink's own fault is told already, or the next apply tells it
        sent = Sent(name, sink.place, old.generation, _at(), mark)
        _note(asked, old.name, partial(credentials.delivered, sent=sent))
        asked.tell("delivered", credential=old.name, generation=old.generation, sink=name)


def _leave(asked: Turn, name: str, sinks: Iterable[str]) -> list[Diagnostic]:
    """Take a credential out of sinks that it does not go to any more."""
    told = []
    for sink in sinks:
        try:
            left = asked.sinks(sink).withdraw(asked.stack, name)
        except Failure as failure:
            told += failure.diagnostics
            continue
        told += [_by_hand(asked.stack, name, step) for step in left]
        _note(asked, name, partial(credentials.taken_back, sinks=[sink]))
        asked.tell("taken-back", credential=name, sinks=[sink])
    return told


def _by_hand(stack: str, name: str, step: str) -> Diagnostic:
    detail = f"`{name}` of `{stack}` is declared no more, and cf-infra cannot take it away there."
    return Diagnostic("take-away-by-hand", detail=detail, hint=step)


def _drop(asked: Turn, name: str) -> list[Diagnostic]:
    """A credential that is declared no more: its sinks lose it, and nothing is kept of it."""
    told = _leave(asked, name, [sent.sink for sent in _known(asked, name).sent])
    with asked.lock:
        known = ledger.load(asked.state)
        known.pop(name, None)
        ledger.save(asked.state, known)
    return told


def _known(asked: Turn, name: str) -> History:
    with asked.lock:
        return ledger.load(asked.state).get(name, UNKNOWN)


def _note(asked: Turn, name: str, change: Callable[[History], History]) -> None:
    with asked.lock:
        ledger.note(asked.state, name, change)


def _at() -> str:
    return now().isoformat()
