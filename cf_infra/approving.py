"""How approvals stand at GitHub: reviews and teams are asked for there, what changed is read from git's objects."""

from __future__ import annotations

from functools import lru_cache

from cf_infra import approvals
from cf_infra.diagnostics import Failure
from cf_infra.github import Github, WholePull
from cf_infra.model import Inventory
from cf_infra.parse import parse
from cf_infra.revision import Repository
from cf_infra.touched import Folder as Data
from cf_infra.touched import Touched, touched

KEPT = 4
"""Commits whose data is kept: neighbours are asked for one after the other, and large files are not kept for all."""


class Changes:
    """What commits hold, and what lies between two of them. Raises Failure for what cannot be read."""

    def __init__(self, git: Repository) -> None:
        self.git = git
        self.at = lru_cache(maxsize=KEPT)(self._at)

    def _at(self, commit: str) -> Data:
        """The data of a commit, as far as it can be read."""
        found = self.git.read(commit)
        return Data(parse(found.files).inventory, found.files, found.modules)

    def between(self, one: str, other: str) -> Touched:
        """What a change touches, with the names of all files that it changes."""
        return touched(self.at(one), self.at(other), frozenset(self.git.changed(one, other)))


class Approving:
    """Asks GitHub who approved; each team once. Raises Failure if it cannot be asked."""

    def __init__(self, client: Github, place: str) -> None:
        self._client, self._place = client, place
        self._teams: dict[str, list[str] | None] = {}

    def rows(
        self, pull: WholePull, change: Touched, rules: Inventory, takes_away: bool
    ) -> list[dict[str, object]]:
        """The rows of approvals.py for a pull request, open or merged. `rules`: the files from before it."""
        merger = pull.merged_by
        said = approvals.Said(
            author=pull.user.login if pull.user is not None else "",
            head=pull.head.sha,
            reviews=tuple(self._reviews(pull.number)),
            merger=merger.login if merger is not None else None,
            merger_is_bot=merger is not None and merger.type == "Bot",
        )
        return approvals.rows(rules, change, said, self._members(rules), takes_away)

    def _reviews(self, number: int) -> list[approvals.Review]:
        return [
            approvals.Review(one.user.login, one.state, one.commit_id or "", one.user.type == "Bot")
            for one in self._client.reviews(self._place, number)
            if one.user is not None
        ]

    def _members(self, rules: Inventory) -> dict[str, list[str] | None]:
        """Who is in the teams that the rules name; None where GitHub does not say it, as of other organisations."""
        for team in approvals.teams_of(rules):
            if team not in self._teams:
                self._teams[team] = self._team(*team.split("/", 1))
        return self._teams

    def _team(self, organisation: str, slug: str) -> list[str] | None:
        if organisation != self._client.organisation.lower():
            return None
        try:
            return [one.login for one in self._client.team_members(slug)]
        except Failure:
            return None
