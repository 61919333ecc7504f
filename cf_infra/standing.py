"""What a comment at a pull request carries beside the review: how approvals stand, and the signed record of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from cf_infra import gate, kinds, project
from cf_infra.approving import Approving, Changes
from cf_infra.diagnostics import Failure
from cf_infra.github import Github, Pull
from cf_infra.reviewing import Reviewed, Sides
from cf_infra.revision import Repository


@dataclass(frozen=True)
class Standing:
    """For the comments of one run, in the folder of the trusted side."""

    root: Path
    today: date
    clouds: Mapping[str, str]
    say: Callable[[str], None]

    def approvals(self, client: Github, place: str, pull: Pull, sides: Sides) -> list[dict[str, Any]] | None:
        """Who must still approve, by the rules of the trusted side; None if GitHub or git cannot tell."""
        git = Repository(self.root)
        try:
            whole = client.whole_pull(place, pull.number)
            if whole is None:
                return None
            changes = Changes(git)
            rules, change = changes.at(sides.base).inventory, changes.between(sides.base, sides.head)
            return Approving(client, place).rows(whole, change, rules, takes_away=False)
        except Failure as failure:
            self.say(f"nobody can tell who approved: {failure.diagnostics[0].code}")
            return None

    def record(self, place: str, pull: Pull, sides: Sides, reviewed: Reviewed) -> str:
        """The hidden line; empty where there is no key to sign it with: then this review covers nothing."""
        folder = project.read(self.root, self.today)
        inventory = folder.inventory
        stacks = {name: one for name, one in inventory.stacks.items() if kinds.is_deployed(one)}
        clouds = [
            kinds.deployment(self.root, name, one, inventory.settings, self.clouds).cloud
            for name, one in stacks.items()
        ]
        digests = {row["stack"]: row.get("review_digest") or "" for row in reviewed.value["stacks"]}
        plans = {
            name: (digests.get(name, ""), [(a, b, c) for a, b, c in rows])
            for name, rows in reviewed.hashes.items()
        }
        about = (place, pull.number, pull.head.sha)
        try:
            return gate.record_of(folder, about, gate.Compared(sides.base, sides.head), plans, clouds)
        except Failure as failure:
            self.say(f"this review is not signed, so an apply will wait: {failure.diagnostics[0].code}")
            return ""
