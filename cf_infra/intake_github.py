"""`intake`: an issue becomes at most one pull request, and gets one answer. Runs nothing of what the issue says.

What there is to change is read at the default branch's last commit, never from a clone that may be older; whoever
runs this twice, or after it was killed half-way, ends where one run ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from cf_infra import intake, intake_report, issue_form, live, project, touched
from cf_infra.approvals import Need, needs
from cf_infra.asked import Question
from cf_infra.chain import Step
from cf_infra.diagnostics import Diagnostic, Failure, has_errors
from cf_infra.explain import explain
from cf_infra.files import read_root
from cf_infra.github import Pull
from cf_infra.github_issues import Desk, desk, own_repository, web_of
from cf_infra.github_issues import Issue as Raw
from cf_infra.intake import Author, Decision, Feedstock, Issue, Outcome, Wanted
from cf_infra.intake_report import Around
from cf_infra.model import Settings
from cf_infra.parse import GRANTS
from cf_infra.project import Folder
from cf_infra.rest import Refused, Say

BRANCHES = "cf-infra/request-"
MARKER = "cf-infra intake"
REQUESTS = re.compile(r"(?:[^/]+/)*[^/]+\.ya?ml")
MOST_FILES = 20
"""So many request files of one pull request are read."""
SHOWN_WAYS = 3
STILL_NEW = timedelta(days=30)
"""So long after its first day a grant's issue is still told what is next in the feedstock."""


@dataclass(frozen=True)
class Options:
    """What the command line said. `issue`: OWNER/REPOSITORY#NUMBER, or the number alone in the own repository."""

    root: Path
    issue: str
    today: date
    dry_run: bool = False


@dataclass
class Told:
    """What became of the issue: the decision, the answer, the pull request's address."""

    place: str
    decision: Decision
    answer: str = ""
    pull_request: str | None = None
    title: str = ""
    diff: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        made = self.decision
        return {
            "issue": self.place,
            "outcome": str(made.outcome),
            "feedstocks": list(made.names),
            "resources": list(made.wanted.resources),
            "grants": list(made.keys),
            "terms": list(made.terms),
            "missing": list(made.missing),
            "files": sorted(made.files),
            "pull_request": self.pull_request,
            "answer": self.answer,
        }

    def text(self) -> str:
        """For a terminal: the outcome and the answer as it stands in the issue."""
        head = f"{self.place}: {self.decision.outcome}"
        told = [head, *([f"pull request: {self.pull_request}"] if self.pull_request else [])]
        return "\n".join([*told, "", self.answer]) if self.answer else "\n".join(told)


def take_in(options: Options, say: Say, connect: Any = desk) -> Told:
    """Look at one issue, and do about it what it asks for. Raises Failure for what is not the asker's fault."""
    folder = _sound(options.root, options.today)
    repository, number = place_of(options.issue, folder.inventory.settings)
    with closing(connect(folder.inventory.settings, say)) as service:
        return _Request(options, folder, repository, number, service, say).run()


def waiting(
    root: Path, today: date, dry_run: bool, say: Say, connect: Any = desk
) -> tuple[list[Told], list[Diagnostic]]:
    """Look at every open issue of the own repository, and at those whose grant is new: a lost event loses nothing.

    What goes wrong with one of them keeps none of the others from its answer. Raises Failure for what cannot begin.
    """
    folder = _sound(root, today)
    settings = folder.inventory.settings
    repository = own_repository(settings)
    if not repository:
        detail = "Which repository's issues are meant is not known here."
        hint = "name it in settings.yaml:\ngithub: {repository: ORGANISATION/NAME}"
        raise Failure(Diagnostic("usage", detail=detail, hint=hint))
    told: list[Told] = []
    faults: list[Diagnostic] = []
    with closing(connect(settings, say)) as service:
        numbers = {one.number for one in service.open_issues(repository)}
        for number in sorted(numbers | _new(folder, repository, today)):
            options = Options(root, f"{settings.organisation}/{repository}#{number}", today, dry_run)
            try:
                told.append(_Request(options, folder, repository, number, service, say).run())
            except Refused as refused:
                faults += refused.diagnostics
    return told, faults


def _new(folder: Folder, repository: str, today: date) -> set[int]:
    """The issues of grants that are so new that their feedstocks may not build there yet."""
    settings = folder.inventory.settings
    begin = f"{web_of(settings.github.api)}/{settings.organisation}/{repository}/issues/"
    return {
        int(grant.request.removeprefix(begin))
        for grant in folder.inventory.grants.values()
        if grant.request is not None
        and re.fullmatch(r"[1-9][0-9]{0,9}", grant.request.removeprefix(begin))
        and grant.granted is not None
        and today - STILL_NEW <= grant.granted <= today
    }


def _sound(root: Path, today: date) -> Folder:
    folder = project.read(root, today)
    if has_errors(folder.diagnostics):
        raise Failure(*[one for one in folder.diagnostics if one.severity == "error"])
    return folder


def place_of(text: str, settings: Settings, environ: Mapping[str, str] | None = None) -> tuple[str, int]:
    """The repository and the number of an issue of the organisation. Raises Failure("usage")."""
    own = own_repository(settings, environ)
    whole = f"{settings.organisation}/{own}#{text}" if text.isdecimal() and own else text
    found = live.PLACE.fullmatch(whole)
    if found is None:
        detail = f"An issue's place is OWNER/REPOSITORY#NUMBER, not {text[:100]!r}."
        hint = f"cf-infra intake {settings.organisation}/REPOSITORY#123"
        if text.isdecimal():
            hint += "\nor name the own repository in settings.yaml:\ngithub: {repository: ORGANISATION/NAME}"
        raise Failure(Diagnostic("usage", detail=detail, hint=hint))
    if found[1].lower() != settings.organisation.lower():
        detail = f"{text[:100]} is not of {settings.organisation}, for which settings.yaml is."
        raise Failure(Diagnostic("usage", detail=detail, hint="name an issue of that organisation"))
    return found[2], int(found[3])


@dataclass
class _Request:
    options: Options
    folder: Folder
    repository: str
    number: int
    service: Desk
    say: Say

    @property
    def organisation(self) -> str:
        return self.folder.inventory.settings.organisation

    @property
    def place(self) -> str:
        return f"{self.organisation}/{self.repository}#{self.number}"

    @property
    def branch(self) -> str:
        return f"{BRANCHES}{self.number}"

    @property
    def trailer(self) -> str:
        return f"Request: #{self.number}"

    def run(self) -> Told:
        self.say(f"reading {self.place}")
        raw = self.service.issue(self.repository, self.number)
        if raw is None:
            detail = f"{self.place} is not at GitHub, or the token may not see it."
            raise Failure(Diagnostic("not-at-github", detail=detail, hint="look at its number"))
        issue = self._issue(raw)
        asked = intake.wanted(issue, self.folder.inventory)
        if not asked.asks:
            return Told(self.place, Decision(Outcome.SILENT, asked))
        base = self.service.tip(self.repository)
        files = self._files(base[1])
        feedstocks = [] if asked.missing else [self._feedstock(name, issue) for name in asked.feedstocks]
        decision = intake.decide(issue, asked, feedstocks, files, self.options.today)
        decision = self._as_it_stands(decision, issue, asked)
        return self._done(decision, issue, files, base)

    # ------------------------------------------------------------------------------------------------- looking

    def _issue(self, raw: Raw) -> Issue:
        user = raw.user
        author = (
            Author(user.login, user.id, user.type == "User")
            if user is not None
            else Author("ghost", 0, is_person=False)
        )
        web = web_of(self.folder.inventory.settings.github.api)
        kind = "pull" if raw.pull_request is not None else "issues"
        return Issue(
            self.number,
            author,
            raw.body or "",
            date.fromisoformat(raw.created_at[:10]),
            f"{web}/{self.organisation}/{self.repository}/{kind}/{self.number}",
            raw.state == "open",
            self._requests() if raw.pull_request is not None else {},
        )

    def _requests(self) -> dict[str, bytes]:
        """The request files that a pull request brings, read at its head; none of them is run."""
        changed = self.service.changed_files(self.repository, self.number)
        names = [
            one.filename
            for one in changed
            if one.status in ("added", "modified") and _is_request(one.filename)
        ]
        pull = self.service.pull_at(self.repository, self.number)
        found = {}
        for name in names[:MOST_FILES] if pull is not None else ():
            read = self.service.file(self.repository, name, pull.head.sha)  # type: ignore[union-attr]
            if read is not None:
                found[name] = read.content
        return found

    def _files(self, commit: str) -> dict[str, bytes]:
        """The root's files, with what can change as the default branch has it now."""
        files = read_root(self.options.root)
        names = {*issue_form.terms_names(self.folder.inventory), *self.folder.inventory.users}
        for path in (GRANTS, *(f"users/{name}.json" for name in sorted(names))):
            found = self.service.file(self.repository, path, commit)
            if found is not None:
                files[path] = found.content
            else:
                files.pop(path, None)
        if GRANTS not in files:
            detail = f"{self.organisation}/{self.repository} has no {GRANTS} at its default branch."
            raise Failure(
                Diagnostic("not-at-github", detail=detail, hint="name the repository with the grants")
            )
        now = project.from_files(self.options.root, files, self.options.today)
        if has_errors(now.diagnostics):
            raise Failure(*[one for one in now.diagnostics if one.severity == "error"])
        return files

    def _feedstock(self, name: str, issue: Issue) -> Feedstock:
        for spelled in dict.fromkeys((name, name.lower(), name.replace("_", "-"), name.replace("-", "_"))):
            full = f"{spelled}{intake.SUFFIX}"
            there = self.service.place(full)
            is_own = there is not None and there.full_name.lower().startswith(f"{self.organisation.lower()}/")
            if there is not None and is_own and there.name.lower().endswith(intake.SUFFIX):
                own = there.name[: -len(intake.SUFFIX)]
                if there.archived or not issue.author.is_person:
                    return Feedstock(name, own, there.archived)
                return self._with_role(Feedstock(name, own), there.name, issue.author.login)
        return Feedstock(name, None)

    def _with_role(self, found: Feedstock, full: str, login: str) -> Feedstock:
        role = self.service.role(full, login)
        if role in intake.MAY_ASK:
            return replace(found, role=role)
        # conda-forge has a team for each feedstock, called as it is.
        return replace(found, role=role, in_team=self.service.is_in_team(str(found.name).lower(), login))

    def _as_it_stands(self, decision: Decision, issue: Issue, asked: Wanted) -> Decision:
        """The decision, beside what else is open: a closed issue, or another request for the same."""
        if not issue.is_open and decision.outcome is not Outcome.GRANTED:
            return intake.withdrawn(asked)
        if decision.outcome is not Outcome.PROPOSED:
            return decision
        wanted = {*decision.keys, *(f"terms:{name}:{issue.author.id}" for name in decision.terms)}
        for pull in self.service.own_pulls(self.repository, BRANCHES):
            told = re.match(r"<!-- cf-infra request ([0-9]{1,10}): ([^<>\n]*) -->", pull.body or "")
            if told is not None and int(told[1]) < self.number and wanted <= set(told[2].split()):
                return intake.elsewhere(decision, int(told[1]))
        return decision

    # -------------------------------------------------------------------------------------------------- doing

    def _done(
        self, decision: Decision, issue: Issue, files: Mapping[str, bytes], base: tuple[str, str]
    ) -> Told:
        told = Told(self.place, decision)
        inventory = self.folder.inventory
        pull, kept = self._pulled(decision, issue, base, told)
        told.pull_request = pull.html_url if pull is not None else None
        around = Around(
            self.organisation,
            pull.number if pull is not None else None,
            self._is_ours(files, issue),
            kept,
            self._way(decision) if decision.outcome is Outcome.GRANTED else (),
            self._needs(files, decision),
        )
        told.answer = intake_report.comment(decision, issue, inventory, around)
        if told.answer and not self.options.dry_run:
            self.say(f"answering in {self.place}")
            self.service.comment(self.repository, self.number, MARKER, told.answer)
        return told

    def _pulled(
        self, decision: Decision, issue: Issue, base: tuple[str, str], told: Told
    ) -> tuple[Pull | None, str]:
        """The request's pull request as it should be: open with these files, or closed."""
        there = self.service.pull(self.repository, self.branch)
        if decision.outcome is not Outcome.PROPOSED:
            if there is not None and not self.options.dry_run:
                self.say(f"closing {there.html_url}")
                self.service.close_pull(self.repository, there.number)
            return there, ""
        told.title = intake_report.title(decision)
        if self.options.dry_run:
            return there, ""
        terms = [f"terms:{name}:{issue.author.id}" for name in decision.terms]
        hidden = f"<!-- cf-infra request {self.number}: {' '.join([*decision.keys, *terms])} -->"
        words = told.title, intake_report.body(decision, issue, hidden)
        self.say(f"proposing it from {self.branch}")
        made = self.service.propose_commit(
            self.repository, self.branch, base, decision.files, words, self.trailer
        )
        return made.pull, made.kept

    def _needs(self, files: Mapping[str, bytes], decision: Decision) -> Sequence[Need]:
        """Who must approve the change, by the rules of settings.yaml."""
        if decision.outcome is not Outcome.PROPOSED:
            return ()
        before, after = (
            touched.Folder(
                project.from_files(self.options.root, dict(one), self.options.today).inventory, one
            )
            for one in (files, {**files, **decision.files})
        )
        return needs(before.inventory, touched.touched(before, after))

    def _is_ours(self, files: Mapping[str, bytes], issue: Issue) -> bool:
        read = project.from_files(self.options.root, dict(files), self.options.today)
        return any(grant.request == issue.url for grant in read.inventory.grants.values())

    def _way(self, decision: Decision) -> Sequence[tuple[str, Sequence[Step]]]:
        """For each feedstock the steps from the grant to a running job; what cannot be asked is not known."""
        if decision.wanted.revoke:
            return ()
        files = read_root(self.options.root)
        found = []
        for name in decision.names[:SHOWN_WAYS]:
            repository = f"{name}{intake.SUFFIX}"
            question = Question(name, decision.wanted.resources[0], self.options.today, None, None)
            answered = live.live(self.options.root, files, explain(files, question), self.say)
            steps = [step for step in answered.chain if step.step in intake_report.NAMES]
            found.append((repository, steps))
        return found


def _is_request(path: str) -> bool:
    """Requests of admin-requests lie in a folder of their own, and none of ours is one."""
    return path.startswith("requests/") and REQUESTS.fullmatch(path) is not None and ".." not in path
