"""`revoke-now`: for a leak. Another credential is made, delivered and proven; then the old one is gone, with proof.

It can be stopped and run again at any moment: what is withdrawn is written down first, and a run that finds
something withdrawn and not gone yet goes on with that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from cf_infra import (
    credentials,
    deploy,
    kinds,
    ledger,
    openstack,
    project,
    reach,
    rotating,
    state_place,
    waves,
)
from cf_infra.canary_cloud import logged_in
from cf_infra.commands import Options, Outcome
from cf_infra.credentials import UNKNOWN
from cf_infra.deployment import Deployment, load_inventory, now
from cf_infra.diagnostics import Diagnostic, Failure, has_errors, nearest, some
from cf_infra.files import write
from cf_infra.journal_file import Journal
from cf_infra.material import Material
from cf_infra.model import CredentialKind, Kind
from cf_infra.project import Folder
from cf_infra.reach import Reach

Say = Callable[[str], None]
TOKEN_LASTS = 330.0
"""Seconds after which services must have forgotten a token: Keystone's middleware remembers one for 300 s."""


@dataclass(frozen=True)
class Asked:
    """What is to be revoked: a credential, all of a stack, or what a person can reach."""

    name: str | None = None
    stack: str | None = None
    person: str | None = None
    terminate: bool = False


@dataclass(frozen=True)
class Ended:
    """The receipt of one credential. `token_seconds`: how long a token of the old login went on working."""

    credential: str
    withdrawn: list[str]
    replaced_by: str
    delivered: list[str]
    login_refused_at: str | None = None
    token_seconds: float | None = None
    terminated: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    manual: list[str] = field(default_factory=list)


NOTHING_YET = "nothing yet"
"""What took the place of a login that only people can make anew."""


@dataclass(frozen=True)
class Job:
    """A machine that somebody else than we booted with one of the stack's logins; it may be running a job."""

    id: str
    name: str
    status: str
    since: str
    user: str


def revoke(options: Options, asked: Asked, agree: Callable[[str], None], say: Say) -> Outcome:
    """List what it ends, ask, do it. Raises Failure before anything is done."""
    folder = rotating.read(options, say)
    reached = reach.reach(folder.inventory, asked.person) if asked.person is not None else []
    names = _targets(folder, asked, reached)
    everything = replace(options, names=sorted({stack for stack, _ in names}))
    by_name = asked.person is None
    places = rotating.having_credentials(folder, everything, say, must=by_name) if names else {}
    never = sorted({stack for stack, _ in names} - places.keys())
    names = [pair for pair in names if pair[0] in places]
    jobs = {name: _jobs(folder, places[name], waves.prefixed(say, name)) for name in places}
    told = _listing(folder, asked, reached, names, places, jobs)
    told += "".join(f"nothing of {name} was ever applied, so there is nothing to replace\n" for name in never)
    if not names:
        return Outcome([], told, known=[])
    agree(told)
    by_stack = {stack: [n for s, n in names if s == stack] for stack in places}

    def one(stack: str) -> list[Ended]:
        its = waves.prefixed(say, stack)
        return _Revocation(folder, places[stack], by_stack[stack], asked.terminate, its).run()

    done, failed, interrupted = waves.in_parallel(places, one, options.jobs or folder.inventory.settings.jobs)
    found = [d for faults in failed.values() for d in faults]
    rows = [
        {
            "stack": stack,
            "failed": stack not in done,
            "receipts": [asdict(ended) for ended in done.get(stack, ())],
        }
        for stack in places
    ]
    text = "\n".join(_ended_text(ended) for ends in done.values() for ended in ends)
    return Outcome(rows, text, project.placed(folder, found), interrupted=interrupted)


# -------------------------------------------------------------------------------------------- what is meant


def _targets(folder: Folder, asked: Asked, reached: Iterable[Reach]) -> list[tuple[str, str]]:
    """The credentials as (stack, name). Raises Failure."""
    known = [(stack, name) for stack, one in folder.inventory.stacks.items() for name in one.credentials]
    if asked.person is not None:
        wanted = {row.credential for row in reached}
        return [pair for pair in known if "/".join(pair) in wanted]
    if asked.stack is not None:
        project.chosen(folder.inventory.stacks, [asked.stack])
        found = [pair for pair in known if pair[0] == asked.stack]
        if not found:
            raise Failure(
                Diagnostic("unknown-credential", detail=f"`{asked.stack}` declares no credentials.")
            )
        return found
    return [_named(asked.name or "", known)]


def _named(text: str, known: list[tuple[str, str]]) -> tuple[str, str]:
    stack, sign, name = text.partition("/")
    found = [pair for pair in known if pair == (stack, name)] if sign else [p for p in known if p[1] == text]
    if len(found) == 1:
        return found[0]
    addresses = ["/".join(pair) for pair in known]
    if found:
        detail = f"Several stacks have a credential `{text}`."
        several = "\n".join(f"cf-infra revoke-now {'/'.join(pair)}" for pair in found)
        raise Failure(Diagnostic("unknown-credential", detail=detail, hint=f"name one of them:\n{several}"))
    near = nearest(text, addresses)
    detail = f"There is no credential `{text}`. There are: {some(addresses) or 'none'}."
    hint = f"cf-infra revoke-now {near}" if near else "name one of them"
    raise Failure(Diagnostic("unknown-credential", detail=detail, hint=hint))


def _jobs(folder: Folder, deployment: Deployment, say: Say) -> list[Job]:
    """What runs in the stack's project and is not ours: machines for jobs."""
    inventory = load_inventory(deployment.state)
    if folder.inventory.stacks[deployment.stack].kind is not Kind.OPENSTACK or inventory is None:
        return []
    say(f"asking {deployment.cloud} which jobs run there")
    stack = folder.resolved().stacks[deployment.stack]
    login = kinds.login(folder, deployment, stack)
    if not isinstance(login, openstack.Login):
        return []
    ours = {row.id for row in inventory.machines}
    with openstack.connected(login) as cloud:
        return [job for job in _others(cloud, inventory.project) if job.id not in ours]


def _others(cloud: Any, project_id: str | None) -> list[Job]:
    asked = {"all_projects": True, "project_id": project_id} if project_id is not None else {}
    return [
        Job(s.id, s.name, s.status, str(s.created_at), str(s.user_id))
        for s in cloud.compute.servers(details=True, **asked)
    ]


# --------------------------------------------------------------------------------------------- what is told


def _listing(
    folder: Folder,
    asked: Asked,
    reached: list[Reach],
    names: list[tuple[str, str]],
    places: Mapping[str, Deployment],
    jobs: Mapping[str, list[Job]],
) -> str:
    lines = []
    if asked.person is not None:
        lines.append(f"{asked.person} can reach:" if reached else f"{asked.person} can reach nothing here.")
        for row in reached:
            end = row.end.replace("\n", "\n      ")
            lines.append(f"  {row.what}   {row.file}\n      {end}")
    if names:
        lines.append("revoked now, each after another one was made, delivered and proven:")
    for stack, name in names:
        (now_there,) = [r for r in rotating.rows(folder, places[stack]) if r["credential"] == name]
        lines.append(f"  {stack}/{name}, generation {', '.join(now_there['live'])} ({now_there['kind']})")
        lines += [f"    replaced in {s['place']}" for s in now_there["delivered"]]
    for stack, found in jobs.items():
        lines += [
            f"  runs at {stack} now: {job.name} ({job.id}), {job.status} since {job.since}" for job in found
        ]
        if found:
            what = (
                "deleted"
                if asked.terminate
                else "left running; --terminate deletes what the old login booted"
            )
            lines.append(f"    {what}")
    return "\n".join(lines) + "\n"


def _ended_text(ended: Ended) -> str:
    lines = [
        f"{ended.credential}: {', '.join(ended.withdrawn)} is revoked, {ended.replaced_by} took its place"
    ]
    lines += [f"  delivered to {place}" for place in ended.delivered]
    if ended.login_refused_at is not None:
        lines.append(f"  a login with the old one is refused   {ended.login_refused_at}")
    if ended.token_seconds is not None:
        lines.append(f"  a token of it that was there before was refused within {ended.token_seconds:.1f} s")
    lines += [f"  deleted: {name}" for name in ended.terminated]
    lines += [f"  still running: {name}" for name in ended.running]
    lines += [f"  by hand: {step}" for step in ended.manual]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------------------------------------- what is done


@dataclass
class _Revocation:
    """The credentials of one stack that are revoked together."""

    folder: Folder
    deployment: Deployment
    names: list[str]
    terminate: bool
    say: Say

    def run(self) -> list[Ended]:
        """Withdraw, turn, turn again, prove. Raises Failure; running it again goes on, on any machine."""
        with state_place.sharing(self.folder, self.deployment, self.say):
            return self._run()

    def _run(self) -> list[Ended]:
        gone = {name: self._withdraw(name) for name in self.names}
        own = Journal(self.deployment.state, self.say)
        for name, labels in gone.items():
            own.note("revoking", credential=name, generations=labels)
        state_place.share(self.folder, self.deployment, self.say)
        with ExitStack() as stack:
            olds = [_Old(material, login, stack) for material, login in self._values(gone)]
            self.say("making, delivering and proving the new one")
            self._turn()
            for old in olds:
                old.use()
            self.say("retiring the old one")
            self._turn()
            since = time.monotonic()
            ended = [self._ended(name, gone[name], olds, since) for name in self.names]
        self._save(ended)
        for one in ended:
            replaced = None if one.replaced_by == NOTHING_YET else one.replaced_by
            name = one.credential.partition("/")[2]
            own.note("revoked", credential=name, generations=one.withdrawn, replaced_by=replaced)
        return ended

    def _turn(self) -> None:
        turned = rotating.turn(self.folder, self.deployment, self.say)
        if has_errors(turned.diagnostics):
            raise Failure(*turned.diagnostics)

    def _withdraw(self, name: str) -> list[str]:
        """Write down first what must go. What an earlier run wrote down and did not finish is gone on with."""
        declared = self.folder.inventory.stacks[self.deployment.stack].credentials[name]
        history = ledger.load(self.deployment.state).get(name, UNKNOWN)
        unfinished = [p.generation for p in history.proven if p.generation in history.withdrawn]
        if unfinished:
            self.say(f"{name}: going on with the revocation of {', '.join(unfinished)}")
            return unfinished
        if declared.source is not None:
            labels = [p.generation for p in history.proven]
        else:
            here = credentials.live(self.deployment.stack, name, declared, self.folder.today, None, history)
            labels = [g.label for g in here]
        ledger.note(self.deployment.state, name, lambda h: credentials.withdraw(h, labels))
        return labels

    def _values(self, gone: Mapping[str, list[str]]) -> Iterator[tuple[Material, openstack.Login | None]]:
        """The values that are revoked, to see later that they open nothing any more."""
        stack = self.folder.inventory.stacks[self.deployment.stack]
        if stack.kind is not Kind.OPENSTACK:
            return
        run = deploy.prepare(self.folder, self.deployment, self.say)
        for material in deploy.values(run):
            logs_in = material.kind in (CredentialKind.USER, CredentialKind.APPLICATION_CREDENTIAL)
            if logs_in and material.generation in gone.get(material.name, ()):
                yield material, run.login

    def _ended(self, name: str, withdrawn: list[str], olds: list[_Old], since: float) -> Ended:
        history = ledger.load(self.deployment.state).get(name, UNKNOWN)
        declared = self.folder.inventory.stacks[self.deployment.stack].credentials[name]
        mine = [old for old in olds if old.material.name == name]
        waited = [old.until_refused(self.say, since) for old in mine]
        seconds = [s for s in waited if s is not None]
        users = {old.user for old in mine}
        jobs = [j for j in _jobs(self.folder, self.deployment, self.say) if j.user in users]
        if self.terminate:
            self._delete(jobs)
        label = max((p.generation for p in history.proven), key=credentials.order, default="none")
        by_hand = declared.source is not None and label in withdrawn
        contacts = (
            " or ".join(self.folder.inventory.stacks[self.deployment.stack].donor.contacts) or "its donor"
        )
        return Ended(
            credential=f"{self.deployment.stack}/{name}",
            withdrawn=withdrawn,
            replaced_by=label if not by_hand else NOTHING_YET,
            delivered=[s.place for s in history.sent if s.generation == label],
            login_refused_at=now().isoformat() if mine else None,
            token_seconds=max(seconds, default=None),
            terminated=[f"{j.name} ({j.id})" for j in jobs] if self.terminate else [],
            running=[] if self.terminate else [f"{j.name} ({j.id})" for j in jobs],
            manual=[f"{contacts} ends the old one and makes another: {declared.source}"] if by_hand else [],
        )

    def _delete(self, jobs: list[Job]) -> None:
        stack = self.folder.resolved().stacks[self.deployment.stack]
        login = kinds.login(self.folder, self.deployment, stack)
        if jobs and isinstance(login, openstack.Login):
            with openstack.connected(login) as cloud:
                for job in jobs:
                    self.say(f"deleting {job.name} ({job.id}), which the old login booted")
                    openstack.delete_server(cloud, job.id)

    def _save(self, ended: list[Ended]) -> None:
        written = now()
        data = {
            "stack": self.deployment.stack,
            "written_at": written.isoformat(),
            "revoked": [asdict(e) for e in ended],
        }
        raw = orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        write(self.deployment.state / "receipts" / f"{written:%Y%m%dT%H%M%SZ}-revoked.json", raw)


class _Old:
    """A login that is to go, with a token that it got while it still worked."""

    def __init__(self, material: Material, login: openstack.Login | None, stack: ExitStack) -> None:
        self.material, self.login = material, login
        self.user = ""
        self._connection: Any = None
        try:
            self._connection = stack.enter_context(logged_in(material, login))
            self.user = str(self._connection.current_user_id)
        except Failure as failure:
            if not _refused(failure):
                raise

    def use(self) -> None:
        """Have the services see its token once more: they remember it from now on, as they would a thief's."""
        if self._connection is not None:
            openstack.token_works(self._connection)

    def until_refused(self, say: Say, since: float) -> float | None:
        """Seconds from `since` until its token was seen to be refused; None if it did not work at the beginning.

        Raises Failure("still-there") if a new login works, or the token never ends.
        """
        try:
            with logged_in(self.material, self.login):
                pass
        except Failure as failure:
            if not _refused(failure):
                raise
        else:
            raise Failure(self._still("a login with it works"))
        return self._token_ends(say, since) if self._connection is not None else None

    def _token_ends(self, say: Say, since: float) -> float:
        while openstack.token_works(self._connection):
            waited = time.monotonic() - since
            if waited > TOKEN_LASTS:
                raise Failure(self._still(f"a token of it works after {waited:.0f} s"))
            say(
                f"a token of {self.material.name}/{self.material.generation} still works, waiting for its end"
            )
            time.sleep(1.0 if waited < 10 else 5.0)
        return time.monotonic() - since

    def _still(self, what: str) -> Diagnostic:
        name = f"{self.material.owner}/{self.material.name}"
        detail = f"`{name}`, generation {self.material.generation}, was revoked, and {what}."
        hint = f"run it again; if it stays, ask the cloud's operators:\ncf-infra revoke-now {name}"
        return Diagnostic("still-there", detail=detail, hint=hint)


def _refused(failure: Failure) -> bool:
    return {d.code for d in failure.diagnostics} == {"login-refused"}
