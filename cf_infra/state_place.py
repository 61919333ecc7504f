"""Where states lie: a folder of this machine, or a bucket that a team shares; and the small files beside them.

In a bucket each deployment has `PREFIX/NAME/terraform.tfstate`, which OpenTofu alone reads and writes, and beside it
what `.state/NAME/` has on a machine: inventory, receipts, lists. A command fetches them before it reads them, and sends
them after it wrote them. `.shared.json` in each folder notes what was the same in both places (ETag and digest), so
that nothing newer is written over: a change on one side goes to the other; of two changes the bucket's stays, and ours
is kept beside it. Delivered logins never leave the machine.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from cf_infra import kinds, locks, recovery
from cf_infra.bucket import LOGIN, Bucket, Store, bucket_of
from cf_infra.compile import store_of
from cf_infra.deployment import LEARNED, STATE, Deployment, load_inventory
from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.files import write
from cf_infra.github_files import ACCESS, RUNNERS
from cf_infra.journal_file import JOURNAL, Journal
from cf_infra.model import State, StateKind
from cf_infra.names import is_sandbox
from cf_infra.process import Interrupted
from cf_infra.project import Folder, with_ledgers

Say = Callable[[str], None]

STATE_FILE = "terraform.tfstate"
NOTES = ".shared.json"
"""In each folder: what was the same here and in the bucket."""
SEALED = "recovery.age"
SEAL = "recovery.json"
"""Below .state/ itself: the state's key, encrypted for those who may recover it; and what it was sealed from."""
UNSENT = ".unsent"
"""How a file of ours ends whose place in the bucket somebody else wrote meanwhile."""
MANY = 20
"""Files that take long enough to say so."""
TOP = ""
"""The name of what belongs to no deployment."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*(@[A-Za-z0-9][A-Za-z0-9_.+-]*)?")
_RECEIPT = re.compile(r"receipts/[A-Za-z0-9][A-Za-z0-9_-]*\.json")
_SHARED = frozenset(
    {
        *("inventory.json", "proven.json", "begun.json", "pull.json", "credentials.json", LEARNED, JOURNAL),
        *(f"delivered/{name}" for name in (ACCESS, RUNNERS)),
    }
)
"""All that is shared besides receipts: what is not named here stays on the machine, logins above all."""


def _bucket_for(state: State, deployment: Deployment) -> Bucket | None:
    """Where a deployment's state and what lies beside it are; None if that is on this machine."""
    return None if store_of(state, deployment.cloud) is StateKind.LOCAL else bucket_of(state)


def backend(state: State, deployment: Deployment) -> Path | dict[str, str]:
    """What `tofu init` is told: the file of a local state, or the settings of backend `s3`. None of it is secret."""
    bucket = _bucket_for(state, deployment)
    if bucket is None:
        return deployment.state / STATE_FILE
    settings = {
        "bucket": bucket.name,
        "key": bucket.key(deployment.name, STATE_FILE),
        "region": bucket.region,
        "use_lockfile": "true",
        "max_retries": "3",
    }
    if (
        bucket.endpoint is not None
    ):  # a store that is not AWS's has neither its accounts nor its list of regions
        skipped = (
            "credentials_validation",
            "requesting_account_id",
            "metadata_api_check",
            "region_validation",
            "s3_checksum",
        )
        settings |= {f"skip_{what}": "true" for what in skipped}
        settings |= {"endpoints": f'{{s3="{bucket.endpoint}"}}', "use_path_style": "true"}
    return settings


def login(state: State, cloud: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What OpenTofu needs of the environment to log in to the bucket; nothing for a local state."""
    if store_of(state, cloud) is StateKind.LOCAL:
        return {}
    return {name: environ[name] for name in LOGIN if environ.get(name)}


def is_shared(deployment: str, name: str) -> bool:
    """Does a file below .state/DEPLOYMENT/ lie in the bucket, too? The state itself is OpenTofu's."""
    if deployment == TOP:
        return name in (SEALED, SEAL, JOURNAL)
    return name in _SHARED or _RECEIPT.fullmatch(name) is not None


# ------------------------------------------------------------------------------------------------ one folder


@dataclass(frozen=True)
class Beside:
    """The small files of one deployment, here and in the bucket.

    Everything that asks the bucket raises Failure: no-bucket, bucket-refused, bucket-silent, clock-wrong.
    """

    root: Path
    bucket: Bucket
    name: str
    say: Say

    @property
    def folder(self) -> Path:
        """Where they are on this machine."""
        return self.root / STATE / self.name

    def fetch(self, there: Mapping[str, str], send: bool) -> list[Diagnostic]:
        """Have here what is there (ETags by name); `send`: have there what was written here and never sent.

        Returns what has to be said.
        """
        notes, here, told = self._notes(), self._here(), []
        there = {name: tag for name, tag in there.items() if is_shared(self.name, name)}
        missing = [n for n, tag in there.items() if n not in here or notes.get(n, ("", ""))[0] != tag]
        if missing:
            self.say(f"fetching {len(missing)} files from {self.bucket.where}")
        for name in missing:
            told += self._take(name, here.get(name), notes)
        for name in [name for name in notes if name not in there]:
            # Gone there: whoever destroyed the stack removed it. What was changed here since is new.
            if notes.pop(name)[1] == here.get(name):
                (self.folder / name).unlink()
        self._keep(notes)
        if send:
            self.send(later=(JOURNAL,) if self.name != TOP else ())
        return told

    def _take(self, name: str, digest: str | None, notes: dict[str, tuple[str, str]]) -> list[Diagnostic]:
        content, tag = Store(self.bucket).get(self._key(name))
        path, told = self.folder / name, []
        overtaken = digest not in (None, _digest(content), notes.get(name, ("", ""))[1])
        if overtaken and name == JOURNAL and Journal(self.folder, self.say).join(content) is not None:
            notes[name] = (tag, _digest(content))
            return []
        if overtaken:
            aside = path.with_name(path.name + UNSENT)
            path.replace(aside)
            told.append(_overtaken(self.name, name, aside.relative_to(self.root)))
        write(path, content)
        if name == JOURNAL:
            Journal(self.folder, self.say).seen()
        notes[name] = (tag, _digest(content))
        return told

    def send(self, later: Sequence[str] = ()) -> None:
        """Have there what is here. Raises Failure("state-conflict") where somebody else wrote since it was fetched.

        `later`: what waits for an apply, for a plan with a login that only reads writes a line, too.
        """
        notes, here, conflicts = self._notes(), self._here(), []
        changed = [name for name, digest in here.items() if notes.get(name, ("", ""))[1] != digest]
        changed = [name for name in changed if name not in later]
        if len(changed) > MANY:
            self.say(f"sending {len(changed)} files to {self.bucket.where}")
        for name in changed:
            tag = notes.get(name, (None, ""))[0]
            content = (self.folder / name).read_bytes()
            written = Store(self.bucket).put(self._key(name), content, tag)
            if written is None:
                conflicts.append(name)
                continue
            notes[name] = (written, _digest(content))
            self._keep(notes)
        for name in [name for name in notes if name not in here]:
            Store(self.bucket).delete(self._key(name))
            del notes[name]
        self._keep(notes)
        if conflicts:
            raise Failure(_conflict(self.name, conflicts))

    def _key(self, name: str) -> str:
        return self.bucket.key(*([self.name] if self.name else []), name)

    def _here(self) -> dict[str, str]:
        """The digests of what is shared, by name."""
        folders = (self.folder, self.folder / "receipts", self.folder / "delivered")
        found = {}
        for folder in folders if self.name != TOP else folders[:1]:
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                name = path.relative_to(self.folder).as_posix()
                if path.is_file() and not path.is_symlink() and is_shared(self.name, name):
                    found[name] = _digest(path.read_bytes())
        return found

    def _notes(self) -> dict[str, tuple[str, str]]:
        try:
            told = orjson.loads((self.folder / NOTES).read_bytes())
            same = told["bucket"] == self._bucket
            return {
                str(name): (str(tag), str(digest)) for name, (tag, digest) in told["files"].items() if same
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _keep(self, notes: Mapping[str, tuple[str, str]]) -> None:
        told = {"bucket": self._bucket, "files": notes}
        raw = orjson.dumps(
            told, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        )
        path = self.folder / NOTES
        if (path.read_bytes() if path.is_file() else None) != raw and (notes or path.is_file()):
            write(path, raw)

    @property
    def _bucket(self) -> str:
        """What tells one bucket from another: what was the same there is not the same elsewhere."""
        return f"{self.bucket.endpoint or self.bucket.region} {self.bucket.where}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _overtaken(deployment: str, name: str, aside: Path) -> Diagnostic:
    detail = f"A run wrote {name} of `{deployment}` here and could not send it; somebody else wrote it since."
    hint = f"theirs is used; when nothing of ours is missed, remove it:\nrm {aside}"
    return Diagnostic("state-aside", detail=detail, hint=hint)


def _conflict(deployment: str, names: Iterable[str]) -> Diagnostic:
    detail = f"While this run worked on `{deployment}`, somebody else wrote {some(names)} in the bucket. Theirs stays."
    hint = "see what is deployed now, and plan again:\ncf-infra status\ncf-infra plan"
    return Diagnostic("state-conflict", detail=detail, hint=hint)


# ---------------------------------------------------------------------------------------------- whole folder


def copied(folder: Folder, to: Path, say: Say) -> list[Diagnostic]:
    """Have a copy of all states, encrypted as they are, and of what lies beside them, below another root.

    Nothing is written where they lie, and no lock is taken. What has to be said. Raises Failure.
    """
    for name in sorted(_local_names(folder.root)):
        _copy(folder.root / STATE / name, to / STATE / name)
    told = fetch_all(replace(folder, root=to), say, send=False)
    bucket = bucket_of(folder.inventory.settings.state)
    if bucket is None:
        return told
    for name, found in _listed(bucket).items():
        if name != TOP and STATE_FILE in found:
            content, _ = Store(bucket).get(bucket.key(name, STATE_FILE))
            write(to / STATE / name / STATE_FILE, content)
    return told


def _copy(here: Path, there: Path) -> None:
    """What a plan reads of one deployment; delivered logins are not among it."""
    for path in sorted(here.rglob("*")):
        name = path.relative_to(here).as_posix()
        wanted = name in (STATE_FILE, f"{STATE_FILE}.backup", NOTES) or is_shared(here.name, name)
        if wanted and path.is_file() and not path.is_symlink():
            write(there / name, path.read_bytes())


def beside(folder: Folder, deployment: Deployment, say: Say) -> Beside | None:
    """The small files of a deployment; None where they lie on this machine only."""
    state = folder.inventory.settings.state
    bucket = _bucket_for(state, deployment)
    if bucket is None:
        return None
    return Beside(folder.root, bucket, deployment.name, say)


def fetch_all(folder: Folder, say: Say, *, send: bool = True) -> list[Diagnostic]:
    """Have here what the bucket has of all deployments: one request if nothing changed. What has to be said.

    Does nothing for local states. Raises Failure: see Beside; state-not-moved if a state lies here that should be
    there.
    """
    bucket = bucket_of(folder.inventory.settings.state)
    if bucket is None:
        return []
    there = _listed(bucket)
    ours = {*there, *_local_names(folder.root), TOP} - _kept_here(folder)
    if send:
        _ensure_moved(folder.root, ours)
    told = []
    for name in sorted(ours):
        told += Beside(folder.root, bucket, name, say).fetch(there.get(name, {}), send)
    return told


def opened(folder: Folder, say: Say) -> tuple[Folder, list[Diagnostic]]:
    """As `fetch_all`, for commands that change something: the folder with what was fetched, and what has to be said."""
    told = fetch_all(folder, say)
    return with_ledgers(folder), told


def looked_at(folder: Folder, say: Say) -> tuple[Folder, list[Diagnostic]]:
    """For commands that only look: where the bucket cannot be asked, what this machine knows is better than nothing."""
    try:
        told = fetch_all(folder, say, send=False)
    except Failure as failure:
        told = failure.diagnostics
    return with_ledgers(folder), told


def share(folder: Folder, deployment: Deployment, say: Say) -> None:
    """Have what lies beside a state where the state is. Call it after each file that must not be lost."""
    found = beside(folder, deployment, say)
    if found is not None:
        found.send()


@contextmanager
def sharing(folder: Folder, deployment: Deployment, say: Say) -> Iterator[None]:
    """As `share`, at the end and however it ends; what keeps it from being sent is told besides what failed."""
    try:
        yield
    except (Failure, Interrupted) as stopped:
        try:
            share(folder, deployment, say)
        except Failure as failure:
            stopped.diagnostics.extend(failure.diagnostics)
        raise
    share(folder, deployment, say)


def with_state(folder: Folder) -> list[Deployment]:
    """All deployments that have a state, wherever it lies. Raises Failure."""
    names = {
        name for name in _local_names(folder.root) if (folder.root / STATE / name / STATE_FILE).is_file()
    }
    bucket = bucket_of(folder.inventory.settings.state)
    if bucket is not None:
        names |= {name for name, found in _listed(bucket).items() if STATE_FILE in found}
    return [_deployment(folder, name) for name in sorted(names)]


def _deployment(folder: Folder, name: str) -> Deployment:
    stack, _, other = name.partition("@")
    inventory = load_inventory(folder.root / STATE / name)
    cloud = other or kinds.clouds(folder.inventory).get(stack) or (inventory.cloud if inventory else "")
    return Deployment(folder.root, stack, cloud, own=not other)


def read_state(folder: Folder, deployment: Deployment) -> bytes:
    """A state as it lies there, encrypted. Raises Failure, OSError."""
    bucket = _bucket_for(folder.inventory.settings.state, deployment)
    if bucket is None:
        return (deployment.state / STATE_FILE).read_bytes()
    content, _ = Store(bucket).get(bucket.key(deployment.name, STATE_FILE))
    return content


def made_with(state: bytes) -> str | None:
    """The fingerprint of the key that a state is encrypted with; None if it does not tell.

    It stands outside the encrypted part, as what our key provider said of itself (`meta` of OpenTofu's encrypted form).
    """
    try:
        told = orjson.loads(b64decode(orjson.loads(state)["meta"]["key_provider.external.stack"]))
        return str(told["external_data"]["key"])
    except (ValueError, KeyError, TypeError):
        return None


def move(folder: Folder, say: Say) -> list[str]:
    """Bring local states into the bucket of settings.yaml, with what lies beside them; the names of those moved.

    The encrypted bytes go as they are. Nothing that is there is written over. Raises Failure.
    """
    bucket = bucket_of(folder.inventory.settings.state)
    if bucket is None:
        detail = "settings.yaml names none: states are kept on this machine."
        raise Failure(Diagnostic("no-bucket", detail=detail, hint="name a bucket there first: docs/state.md"))
    moved = []
    for name in sorted(_local_names(folder.root) - _kept_here(folder)):
        if (folder.root / STATE / name / STATE_FILE).is_file():
            say(f"{name}: moving its state to {bucket.where}")
            _move(folder.root, bucket, name)
            Beside(folder.root, bucket, name, say).send()
            moved.append(name)
    return moved


def _move(root: Path, bucket: Bucket, name: str) -> None:
    path = root / STATE / name / STATE_FILE
    recovery.restore(path)
    if recovery.is_cut_off(path):
        raise Failure(recovery.cut_off(path))
    pid = locks.holder(path)
    if pid is not None:
        detail = f"Process {pid} on this machine works on the state of `{name}`."
        raise Failure(Diagnostic("state-locked", detail=detail, hint="wait until it has ended, then move it"))
    key = bucket.key(name, STATE_FILE)
    if Store(bucket).put(key, path.read_bytes(), None) is None:
        detail = f"The bucket has another state of `{name}` already, at {key}."
        hint = "find out which of them is deployed, and put the other one aside"
        raise Failure(Diagnostic("state-conflict", detail=detail, hint=hint))
    path.rename(path.with_name(STATE_FILE + ".moved"))
    path.with_name(STATE_FILE + ".backup").unlink(missing_ok=True)


def _listed(bucket: Bucket) -> dict[str, dict[str, str]]:
    """All objects below the prefix: deployment -> name -> ETag."""
    below = bucket.key("")
    found: dict[str, dict[str, str]] = {}
    for key, tag in Store(bucket).listed(below):
        name, slash, rest = key.removeprefix(below).partition("/")
        if not slash:
            found.setdefault(TOP, {})[name] = tag
        elif _NAME.fullmatch(name):
            found.setdefault(name, {})[rest] = tag
    return found


def _local_names(root: Path) -> set[str]:
    """Folders of .state/ that are of a deployment."""
    folder = root / STATE
    marks = (STATE_FILE, NOTES, *_SHARED)
    return {
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if _NAME.fullmatch(path.name) and any((path / mark).is_file() for mark in marks)
    }


def _kept_here(folder: Folder) -> set[str]:
    """Deployments on the sandbox of this machine, which is nobody else's."""
    own = {name for name, cloud in kinds.clouds(folder.inventory).items() if cloud and is_sandbox(cloud)}
    for name in _local_names(folder.root):
        _, _, other = name.partition("@")
        inventory = load_inventory(folder.root / STATE / name)
        if is_sandbox(other) or (inventory is not None and is_sandbox(inventory.cloud)):
            own.add(name)
    return own


def _ensure_moved(root: Path, names: Iterable[str]) -> None:
    left = sorted(name for name in names if name and (root / STATE / name / STATE_FILE).is_file())
    if left:
        detail = f"settings.yaml says that states are in a bucket, and here is a state of {some(left)}."
        hint = "move it, with what lies beside it:\ncf-infra state move"
        raise Failure(Diagnostic("state-not-moved", detail=detail, hint=hint))
