"""What an audit can find: the kinds with their stable names, and one finding as a value.

docs/audit.md has the table of kinds, made from this one. A kind is never reused for something else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

KINDS: dict[str, str] = {
    "undeclared-access": "Something has access, and no grant of `grants.yaml` names it.",
    "missing-access": "A grant is alive, and what it gives is not there.",
    "expired-but-alive": "A grant has ended, and what it gave is still there; `since` is the day of its end.",
    "wrong-pull-requests": "Jobs of pull requests may run and should not, or the other way round.",
    "wrong-conditions": "Others than the grant says may trigger: roles, teams, users or the list of people differ.",
    "wrong-runner": "A runner of `.cirun.global.yml` is on another machine, cloud or image than we write there.",
    "wrong-value": "A variable shows other labels than the grant has, or a runner group shuts public repositories out.",
    "unreadable-list": "A list at GitHub breaks the rules of its format, so nobody can say what it allows.",
    "undeclared-label": "A runner of `.cirun.global.yml` has a label that no stack offers and no grant names.",
    "own-runners": "A repository that Cirun is active for has a `.cirun.yml` of its own.",
    "people-without-terms": "Somebody may trigger on a donor's machines and is not in the donor's list of people.",
    "people-changed": "A list of people that lets them trigger was changed elsewhere, or has people unknown here.",
    "renamed-repository": "A grant names a repository that is called otherwise now, or belongs to somebody else.",
    "missing-repository": "A grant names a repository that is not there, or that the token may not see.",
    "archived-repository": "An archived repository has access.",
    "group-for-all": "A runner group is open to all repositories.",
    "secret-for-all": "A secret or variable that follows grants is shown to more than chosen repositories.",
    "app-for-all": "A vendor's app has all repositories, or is not installed.",
    "activation-without-grant": "Cirun makes runners for a repository that has no grant.",
    "grant-without-activation": "A repository has a grant of a label, and Cirun is not active for it.",
    "broken-credential": "The last login with a credential failed, or the cloud has ended it.",
    "late-credential": "A credential ends before two more daily runs, or should have been replaced already.",
    "untried-credential": "Nobody has tried a credential for more than two days, so nobody knows whether it works.",
    "orphan": "A server, a login or a flavor carries our marks and is in no inventory.",
    "not-audited": "A place could not be asked, so nothing is known of it.",
}
"""Kind -> what it means, in the order in which they are counted."""


@dataclass(frozen=True)
class Finding:
    """One difference. `since`: ISO 8601, empty where nobody knows; `fix`: commands; `what`: one sentence or more."""

    kind: str
    where: str
    subject: str
    what: str
    since: str = ""
    fix: str = ""

    def as_json(self) -> dict[str, str | None]:
        """The form of the contract; `what` is ours."""
        return {
            "kind": self.kind,
            "where": self.where,
            "subject": self.subject,
            "since": self.since or None,
            "fix": self.fix,
            "what": self.what,
        }


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """Each one once, by place, then kind, then subject."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(
        dict.fromkeys(found), key=lambda f: (f.where, rank[f.kind], f.subject.lower(), f.subject, f.what)
    )
