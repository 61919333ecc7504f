"""Where one stack on one cloud keeps what belongs to it, and what the last apply left there.

build/<stack>/             what OpenTofu reads; plan/ below it is the saved plan
.state/<stack>/            state, inventory, receipts and delivered lists on the stack's own cloud
.state/<stack>@<cloud>/    the same for `--cloud STACK=NAME`, so that trying never touches the real state
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.files import write
from cf_infra.model import Key

STATE = ".state"
INVENTORY = "inventory.json"
PROVEN = "proven.json"
BEGUN = "begun.json"
LEARNED = "learned.json"
"""What the plan of the last apply learned of its place: ids by names, for plans that ask nobody. No secret."""


@dataclass(frozen=True)
class Deployment:
    """A stack on a cloud."""

    root: Path
    stack: str
    cloud: str
    own: bool

    @property
    def name(self) -> str:
        """`stack`, or `stack@cloud` if it is not the stack's own cloud."""
        return self.stack if self.own else f"{self.stack}@{self.cloud}"

    @property
    def build(self) -> Path:
        """The folder that OpenTofu runs in."""
        return self.root / "build" / self.stack

    @property
    def state(self) -> Path:
        """The folder of its state."""
        return self.root / STATE / self.name

    @property
    def plan(self) -> Path:
        """The saved plan, encrypted."""
        return self.build / "plan" / "tofu.plan"

    @property
    def record(self) -> Path:
        """What the saved plan was made from, without secrets."""
        return self.build / "plan" / "record.json"

    @property
    def delivered(self) -> Path:
        """What was handed to those who use the stack: lists, and credentials with mode 600."""
        return self.state / "delivered"


@dataclass(frozen=True)
class MachineRow:
    """One server as the state knows it."""

    key: str
    id: str
    name: str
    ip: str
    runner_class: str
    grants: list[Key]


@dataclass(frozen=True)
class InventoryFile:
    """What the last apply left: no secret, so that `status` needs neither key nor cloud."""

    stack: str
    cloud: str
    cloud_id: str
    applied_at: str
    today: str
    complete: bool
    machines: list[MachineRow] = field(default_factory=list)
    flavors: dict[str, dict[str, str]] = field(default_factory=dict)
    users: dict[str, dict[str, str]] = field(default_factory=dict)
    credentials: dict[str, dict[str, str]] = field(default_factory=dict)
    project: str | None = None
    access: dict[Key, str | None] = field(default_factory=dict)
    stack_file: str = ""
    holds: list[dict[str, Any]] = field(default_factory=list)

    def age(self, now: datetime) -> str:
        """How long ago it was written, in words."""
        seconds = int((now - datetime.fromisoformat(self.applied_at)).total_seconds())
        for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
            if seconds >= length:
                count = seconds // length
                return f"{count} {unit}{'s' if count != 1 else ''} ago"
        return "just now"

    def lost(self, now_alive: Iterable[Key], today: date) -> list[Key]:
        """The pairs that had access and have none now, without those whose known end has come."""
        alive = set(now_alive)
        day = today.isoformat()
        return sorted(k for k, ends in self.access.items() if k not in alive and (ends is None or day < ends))


def now() -> datetime:
    """The clock, UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def save_inventory(deployment: Deployment, inventory: InventoryFile) -> None:
    """Write the inventory."""
    raw = orjson.dumps(asdict(inventory), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write(deployment.state / INVENTORY, raw)


def save_proven(deployment: Deployment, inventory: InventoryFile) -> None:
    """Write what stands after an apply whose removals were all proven; the next proof starts from it."""
    raw = orjson.dumps(asdict(inventory), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write(deployment.state / PROVEN, raw)


def save_learned(deployment: Deployment, learned: Mapping[str, Any]) -> None:
    """Write what a plan learned of its place, once it is applied."""
    raw = orjson.dumps(learned, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    write(deployment.state / LEARNED, raw)


def load_learned(deployment: Deployment) -> dict[str, Any]:
    """What the plan of the last apply learned of its place; empty where nobody wrote it down."""
    try:
        found = orjson.loads((deployment.state / LEARNED).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def note_begun(deployment: Deployment, cloud_id: str) -> None:
    """Write down, before anything is made, that this folder applies the stack at this cloud."""
    write(deployment.state / BEGUN, orjson.dumps({"cloud_id": cloud_id, "at": now().isoformat()}))


def begun_at(deployment: Deployment) -> str | None:
    """The cloud where an apply was ever begun from this folder; None if it never was."""
    try:
        return str(orjson.loads((deployment.state / BEGUN).read_bytes())["cloud_id"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def load_proven(folder: Path) -> InventoryFile | None:
    """The last inventory that was proven. A failed run leaves it, so that what it took away is proven later."""
    return load_inventory(folder, PROVEN)


def load_inventory(folder: Path, name: str = INVENTORY) -> InventoryFile | None:
    """The inventory of a deployment's state folder, or None before the first apply. Raises Failure."""
    path = folder / name
    if not path.is_file():
        return None
    try:
        data = orjson.loads(path.read_bytes())
        rows = [MachineRow(**row) for row in data.pop("machines")]
        return InventoryFile(machines=rows, **data)
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        hint = "run a plan and an apply, which write it anew; or delete it"
        raise Failure(
            Diagnostic("unreadable", file=str(path), detail="It is no inventory of cf-infra.", hint=hint)
        ) from None


def deployments(root: Path, clouds: Mapping[str, str | None]) -> list[Deployment]:
    """All that ever were applied from this folder, by their names. `clouds`: the own cloud of each stack."""
    folder = root / STATE
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (path / INVENTORY).is_file():
            stack, _, other = path.name.partition("@")
            found.append(Deployment(root, stack, other or clouds.get(stack) or "", own=not other))
    return found


def resources(values: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """All resources of a `show -json`, of all modules."""
    stack = [values.get("root_module", {})]
    while stack:
        module = stack.pop()
        yield from module.get("resources", ())
        stack += module.get("child_modules", ())
