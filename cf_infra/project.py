"""A root folder as commands use it: read and checked at once, compiled, written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from cf_infra import access, edit, ledger, recovery, yaml12
from cf_infra.catalog import catalog
from cf_infra.check import check
from cf_infra.compile import compile_all, provider_of
from cf_infra.credentials import Ledger
from cf_infra.deployment import STATE
from cf_infra.diagnostics import Diagnostic, Failure, has_errors, in_order
from cf_infra.files import project_folder, read_regular, read_root, read_tree, write, write_tree
from cf_infra.model import Inventory, Stack
from cf_infra.parse import GRANTS, parse, place, texts
from cf_infra.people import Maintainers
from cf_infra.resolve import Resolved, resolve

BUILD = "build"


@dataclass(frozen=True)
class Folder:
    """A root folder: its files, what they say, and everything that is wrong with them.

    `whole`: the folder as it is, where this one was made to destroy a stack that is in it no more.
    """

    root: Path
    today: date
    files: dict[str, bytes]
    inventory: Inventory
    diagnostics: list[Diagnostic] = field(default_factory=list)
    clock: date | None = None
    ledgers: Mapping[str, Ledger] = field(default_factory=dict)
    whole: Folder | None = None

    def resolved(self) -> Resolved:
        """What it means on its day. Only for folders without errors."""
        return resolve(self.inventory, self.today, self.clock, self.ledgers)

    def modules(self) -> dict[str, bytes]:
        """The OpenTofu modules: the root's own, else those of the project."""
        own = self.root / "modules"
        return read_tree(own if own.is_dir() else project_folder("modules"))

    def compiled(self) -> dict[str, bytes]:
        """All files below build/, by relative name. Raises Failure if the folder has errors."""
        if has_errors(self.diagnostics):
            raise Failure(*self.diagnostics)
        files = compile_all(self.resolved(), self.inventory, self.modules())
        locks = read_tree(project_folder("locks"))
        for name, stack in self.inventory.stacks.items():
            lock = locks.get(f"{provider_of(stack.kind)}.lock.hcl")
            if lock is not None and f"{name}/main.tf.json" in files:
                files[f"{name}/.terraform.lock.hcl"] = lock
        return files


def read(root: Path, today: date, maintainers: Maintainers | None = None) -> Folder:
    """Read, parse and check a folder. Raises Failure only for files that cannot be read at all."""
    return from_files(root, read_root(root), today, maintainers)


def with_ledgers(folder: Folder) -> Folder:
    """The folder with what lies beside the states now. Raises Failure."""
    known = {name: ledger.load(folder.root / STATE / name) for name in folder.inventory.stacks}
    return replace(folder, ledgers=known)


def from_files(
    root: Path, files: dict[str, bytes], today: date, maintainers: Maintainers | None = None
) -> Folder:
    """As `read`, of files that somebody has read already."""
    parsed = parse(files)
    line = yaml12.first_line(parsed.texts.get(GRANTS, ""))
    found = parsed.diagnostics + check(parsed.inventory, today, line, maintainers)
    return Folder(root, today, files, parsed.inventory, in_order(place(found, parsed.texts)))


def write_build(folder: Folder) -> list[str]:
    """Write build/: what OpenTofu left there stays, what no stack needs any more goes. The names written."""
    compiled = folder.compiled()
    by_top: dict[str, dict[str, bytes]] = {}
    for name, content in compiled.items():
        top, rest = name.split("/", 1)
        by_top.setdefault(top, {})[rest] = content
    for top, files in by_top.items():
        write_tree(folder.root / BUILD / top, files, keep=KEPT)
    return sorted(compiled)


CLOUD_VALUES = "cloud.auto.tfvars.json"
KEPT = (".terraform", ".terraform.lock.hcl", "plan", CLOUD_VALUES, recovery.LEFT)
"""What compile does not make in build/<stack>/: OpenTofu's own, the saved plan, what plan learned from the cloud."""


@dataclass(frozen=True)
class ImportDone:
    """Ids that were added, ids that change nothing, and what check says of the result."""

    added: list[str]
    known: list[str]
    diagnostics: list[Diagnostic]


def import_access(root: Path, file: Path, source: str, classes: bool, today: date) -> ImportDone:
    """Add the entries of a .access.yml to grants.yaml. Raises Failure, and writes nothing, if the result is faulty."""
    files = read_root(root)
    try:
        raw = read_regular(file, yaml12.LIMIT_GRANTS, str(file))
    except FileNotFoundError:
        raise Failure(
            Diagnostic(
                "not-found", file=str(file), detail="It is not there.", hint="name Cirun's .access.yml"
            )
        ) from None
    listed = access.read_access(raw, str(file))
    files.setdefault(GRANTS, edit.NEW.encode())
    before = from_files(root, files, today)
    if has_errors(before.diagnostics):
        raise Failure(*before.diagnostics)
    try:
        done = access.import_access(
            listed, source, before.inventory, catalog(before.inventory.stacks), classes
        )
        text = edit.with_entries(files[GRANTS].decode(), done.entries)
    except Failure as failure:
        raise Failure(*place(failure.diagnostics, texts(files))) from None
    after = as_it_would_be(root, {**files, GRANTS: text.encode()}, today, "after the import")
    if done.added:
        write(root / GRANTS, text.encode())
    return ImportDone(done.added, done.known, after.diagnostics)


def as_it_would_be(root: Path, files: dict[str, bytes], today: date, when: str) -> Folder:
    """The folder with a grants.yaml that is not written yet. Raises Failure if it has errors."""
    after = from_files(root, files, today)
    if has_errors(after.diagnostics):
        note = f"grants.yaml would be so {when}; nothing was written.\n"
        raise Failure(
            *(replace(d, detail=note + d.detail) for d in after.diagnostics if d.severity == "error")
        )
    return after


def chosen(stacks: dict[str, Stack], names: list[str] | None) -> dict[str, Stack]:
    """The stacks that are named, all if none is. Raises Failure("unknown-stack")."""
    strange = [name for name in names or () if name not in stacks]
    if strange:
        known = ", ".join(sorted(stacks)) or "none"
        raise Failure(
            *(
                Diagnostic(
                    "unknown-stack",
                    detail=f"There is no stacks/{n}.yaml. There are: {known}.",
                    hint="name one of them",
                )
                for n in strange
            )
        )
    return {name: stack for name, stack in stacks.items() if not names or name in names}


def placed(folder: Folder, found: list[Diagnostic]) -> list[Diagnostic]:
    """The diagnostics with lines and columns of the folder's files."""
    return place(found, texts(folder.files))
