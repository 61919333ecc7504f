"""`explain --live`: what only GitHub and Cirun know, as steps of the same chain.

Each question stands alone: without a login or an answer its step is `unknown`, with the reason, and the others are
asked all the same. Nothing is changed anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import orjson

from cf_infra import lastmile, project
from cf_infra.access import AccessList, Policy, export_access, read_access
from cf_infra.activation import files_of
from cf_infra.asked import stack_file
from cf_infra.chain import Explanation, Outcome, Remedy, Step, listed, quote
from cf_infra.cirun import Cirun
from cf_infra.diagnostics import Diagnostic, Failure, has_errors
from cf_infra.feedstock import BUILD_CONFIG, CONFIG
from cf_infra.github import Github, Pull, github
from cf_infra.github_files import ACCESS
from cf_infra.lastmile import BRANCH, FileChange
from cf_infra.model import Grant, Kind, Stack, Via
from cf_infra.rest import Say
from cf_infra.selection import ENDING

PLACE = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]{0,49})/([A-Za-z0-9._-]{1,100})#([1-9][0-9]{0,9})")
"""OWNER/REPOSITORY#NUMBER, as GitHub writes an issue's place."""


def live(root: Path, files: Mapping[str, bytes], found: Explanation, say: Say) -> Explanation:
    """The same answer with what GitHub and Cirun say today. Raises nothing: what cannot be asked stays unknown."""
    asking = _Asking(project.from_files(root, dict(files), found.today), found, say)
    try:
        chain = [step for old in found.chain for step in asking.instead_of(old)]
        return replace(found, chain=(*chain, *asking.more()), live=True)
    finally:
        asking.close()


@dataclass
class _Asking:
    folder: project.Folder
    found: Explanation
    say: Say
    opened: list[Github | Cirun] = field(default_factory=list)

    @cached_property
    def github(self) -> Github:
        """GitHub. Raises Failure: no-token."""
        made = github(self.folder.inventory.settings, self.say)
        self.opened.append(made)
        return made

    @cached_property
    def cirun(self) -> Cirun:
        """Cirun. Raises Failure: no-token, usage."""
        made = Cirun(say=self.say)
        self.opened.append(made)
        return made

    def close(self) -> None:
        """End the connections."""
        for one in self.opened:
            one.close()

    @property
    def organisation(self) -> str:
        return self.folder.inventory.settings.organisation

    @property
    def repository(self) -> str:
        return self.found.repository

    @property
    def full_name(self) -> str:
        return f"{self.organisation}/{self.repository}"

    @property
    def short(self) -> str:
        return self.repository.removesuffix(ENDING)

    # ------------------------------------------------------------------------------------------- the chain

    def instead_of(self, old: Step) -> Iterator[Step]:
        """A step of the files, or what is known now instead of it."""
        grant, user = self.found.grant, self.found.user
        if old.step == "who" and old.outcome is Outcome.UNKNOWN and grant is not None and user is not None:
            yield self._step(old, lambda: self._who(old, grant, user))
        elif old.step == "runner-group":
            yield self._step(old, lambda: self._runner_group(old))
        else:
            yield old

    def more(self) -> Iterator[Step]:
        """Steps that the files know nothing of."""
        self.say(f"asking GitHub about {self.full_name}")
        there = self._step(Step("repository", Outcome.UNKNOWN, ""), self._repository)
        yield there
        on_cirun = any(o.offer.via is Via.CIRUN and o.offer.label is not None for o in self.found.offers)
        if not on_cirun:
            return
        if self.found.grant is None:
            left = [self._step(Step("access-list", Outcome.UNKNOWN, ""), self._list_at_github)]
            left.append(self._step(Step("cirun-list", Outcome.UNKNOWN, ""), self._list_at_cirun))
            yield from (step for step in left if step.outcome is not Outcome.YES)
            return
        yield self._step(Step("access-list", Outcome.UNKNOWN, ""), self._list_at_github)
        self.say(f"asking Cirun about {self.full_name}")
        yield self._step(Step("cirun-list", Outcome.UNKNOWN, ""), self._list_at_cirun)
        yield self._step(Step("cirun", Outcome.UNKNOWN, ""), self._active)
        if self.repository.endswith(ENDING) and there.outcome is not Outcome.NO:
            yield from self._feedstock()

    def _step(self, old: Step, ask: Callable[[], Step]) -> Step:
        try:
            return ask()
        except Failure as failure:
            return replace(old, outcome=Outcome.UNKNOWN, why=f"{old.why} {_reason(failure)}".strip())

    # ---------------------------------------------------------------------------------------------- GitHub

    def _who(self, old: Step, grant: Grant, user: str) -> Step:
        self.say(f"asking GitHub about {user}")
        role = None
        if grant.roles:
            role = self.github.role(self.repository, user)
            if role in grant.roles:
                return replace(
                    old, outcome=Outcome.YES, why=f"{quote(user)} has the role {quote(role)}.", remedies=()
                )
        for team in grant.teams:
            if self.github.is_in_team(team, user):
                why = f"{quote(user)} is in the team {quote(team)}."
                return replace(old, outcome=Outcome.YES, why=why, remedies=())
        has = f"has the role {quote(role)}" if role else "is not known to it by this login"
        needed = [f"the role {listed(grant.roles, ' or ')}"] if grant.roles else []
        needed += [f"a place in the team {listed(grant.teams, ' or ')}"] if grant.teams else []
        why = f"GitHub says that {quote(user)} {has}; needed is {' or '.join(needed)}."
        fix = Remedy("make them a maintainer in the recipe, and merge that", f"    - {user}", "yaml")
        return replace(old, outcome=Outcome.NO, why=why, remedies=(fix,))

    def _runner_group(self, old: Step) -> Step:
        groups = self._own_groups()
        if not groups:
            return replace(old, outcome=Outcome.YES, why="No runner group is kept for this resource.")
        there = {group.name: group for group in self.github.runner_groups()}
        for name in groups:
            group = there.get(name)
            if group is None:
                return self._outside(old, f"The organisation has no runner group {quote(name)}.")
            if group.visibility == "selected":
                names = {one.name.lower() for one in self.github.group_repositories(group.id)}
                if self.repository.lower() not in names:
                    return self._outside(
                        old, f"The runner group {quote(name)} is not for {quote(self.repository)}."
                    )
        return replace(
            old, outcome=Outcome.YES, why=f"The runner group {listed(groups)} is for this repository."
        )

    def _own_groups(self) -> list[str]:
        names = {self.found.resource, *(o.runner_class for o in self.found.offers)}
        names |= {o.offer.label for o in self.found.offers if o.offer.label is not None}
        stacks = (s.github for s in self.folder.inventory.stacks.values() if s.github is not None)
        return sorted(
            name for s in stacks for name, group in s.runner_groups.items() if names & set(group.resources)
        )

    def _outside(self, old: Step, why: str) -> Step:
        """Not in a group: that keeps no job from Cirun's runners, which go to the repository."""
        fix = (Remedy("bring GitHub to what grants.yaml says", "cf-infra plan && cf-infra apply"),)
        if any(o.offer.via is Via.CIRUN for o in self.found.offers):
            return replace(
                old, outcome=Outcome.UNKNOWN, why=f"{why} For Cirun it is no boundary.", remedies=fix
            )
        return replace(old, outcome=Outcome.NO, why=why, remedies=fix)

    def _repository(self) -> Step:
        there = self.github.repository(self.repository)
        name = quote(self.full_name)
        if there is None:
            why = f"{name} is not at GitHub, or the token may not see it."
            return Step("repository", Outcome.NO, why)
        if there.full_name.lower() != self.full_name.lower():
            why = f"{name} is called {quote(there.full_name)} now; access lists go by the name."
            fix = Remedy("write the name of today into grants.yaml", there.name, "text")
            return Step("repository", Outcome.NO, why, remedies=(fix,))
        if there.archived:
            return Step("repository", Outcome.NO, f"{name} is archived: none of its jobs run.")
        return Step("repository", Outcome.YES, f"{name} is at GitHub under this name.")

    # ------------------------------------------------------------------------------------------- the lists

    @cached_property
    def _expected(self) -> dict[str, list[Policy]]:
        if has_errors(self.folder.diagnostics):
            detail = "the folder has faults elsewhere, so that the lists cannot be compiled: cf-infra check"
            raise Failure(Diagnostic("bad-value", detail=detail))
        return self._own(export_access(self.folder.resolved(), self.folder.inventory))

    def _own(self, listed_access: AccessList) -> dict[str, list[Policy]]:
        """The conditions under which this repository has each of the labels, whatever their policies are called."""
        labels = {o.offer.label for o in self.found.offers if o.offer.label is not None}
        policies = {policy.id: policy for policy in listed_access.policies}
        found: dict[str, list[Policy]] = {}
        for control in listed_access.access_control:
            for name in control.policies if control.resource in labels else ():
                policy = policies.get(name)
                if policy is not None and policy.repo.lower() == self.repository.lower():
                    found.setdefault(control.resource, []).append(policy.model_copy(update={"id": ""}))
        return found

    def _list_at_github(self) -> Step:
        stacks = [(n, s) for n, s in self.folder.inventory.stacks.items() if s.kind is Kind.GITHUB]
        where = _repository_of(stacks[0][1]) if stacks else ".cirun"
        read = self.github.file(where, ACCESS)
        if read is None and self.found.grant is None:
            return Step("access-list", Outcome.YES, "There is no list.")
        if read is None:
            why = f"{quote(where)} has no {ACCESS} at GitHub."
            return Step("access-list", Outcome.NO, why, remedies=(_APPLY,))
        place = f"{ACCESS} of {quote(where)} at GitHub"
        step = self._compared("access-list", read_access(read.content, ACCESS), place)
        return replace(step, file=stack_file(stacks[0][0]), line=1) if stacks else step

    def _list_at_cirun(self) -> Step:
        data = self.cirun.access_list(self.organisation)
        if data is None and self.found.grant is None:
            return Step("cirun-list", Outcome.YES, "There is no list.")
        if data is None:
            return Step(
                "cirun-list",
                Outcome.NO,
                f"Cirun reads no list of {quote(self.organisation)}.",
                remedies=(_APPLY,),
            )
        return self._compared(
            "cirun-list", read_access(orjson.dumps(data), ACCESS), "The list that Cirun reads"
        )

    def _compared(self, step: str, real: AccessList, place: str) -> Step:
        there, expected = self._own(real), self._expected
        labels = sorted(o.offer.label for o in self.found.offers if o.offer.label is not None)
        missing = [label for label in labels if label in expected and label not in there]
        if missing:
            why = f"{place} does not have {quote(self.repository)} at {listed(missing)}."
            return Step(step, Outcome.NO, why, remedies=(_APPLY,))
        left = [label for label in labels if label in there and label not in expected]
        if left:
            why = f"{place} has {quote(self.repository)} at {listed(left)}, although no entry of grants.yaml holds."
            return Step(step, Outcome.NO, why, remedies=(_APPLY,))
        if any(not _same(there.get(label, []), expected.get(label, [])) for label in labels):
            why = f"{place} has {quote(self.repository)} under other conditions than grants.yaml."
            return Step(step, Outcome.NO, why, remedies=(_APPLY,))
        return Step(step, Outcome.YES, f"{place} has {quote(self.repository)} as grants.yaml means it.")

    # ---------------------------------------------------------------------------------- Cirun, the feedstock

    def _active(self) -> Step:
        active = {one.repository.lower() for one in self.cirun.repositories() if one.active}
        name = quote(self.full_name)
        if self.full_name.lower() in active:
            return Step("cirun", Outcome.YES, f"Cirun is active for {name}.")
        return Step(
            "cirun",
            Outcome.NO,
            f"Cirun is not active for {name}: it makes no runners.",
            remedies=(self._fix,),
        )

    @property
    def _fix(self) -> Remedy:
        return Remedy("have it done", f"cf-infra activate {self.short} {self.found.resource}")

    def _feedstock(self) -> Iterator[Step]:
        steps = [Step("feedstock", Outcome.UNKNOWN, ""), Step("labels", Outcome.UNKNOWN, "")]
        try:
            found = {change.file: change for change in self._changes()}
            pull = self.github.pull(self.repository, BRANCH) if found else None
        except Failure as failure:
            yield from (replace(step, why=_reason(failure)) for step in steps)
            return
        for step, file in zip(steps, (CONFIG, BUILD_CONFIG), strict=True):
            yield self._file(step, file, found.get(file), pull)

    def _changes(self) -> list[FileChange]:
        """What the feedstock's files lack for this resource."""
        if has_errors(self.folder.diagnostics):
            detail = "the folder has faults elsewhere, so that what holds is not known: cf-infra check"
            raise Failure(Diagnostic("bad-value", detail=detail))
        own = [
            (a.grant, a.resource)
            for a in self.folder.resolved().access
            if a.grant.repository == self.repository
        ]
        asked = lastmile.wanted(
            self.repository, own, self.folder.inventory.stacks, self.found.today, self.found.resource
        )
        return lastmile.changes(asked, files_of(self.github, self.repository))

    def _file(self, step: Step, file: str, change: FileChange | None, pull: Pull | None) -> Step:
        name = quote(file)
        if change is None:
            return replace(step, outcome=Outcome.YES, why=f"The feedstock's {name} says what it must.")
        if change.refused:
            fix = Remedy("what it must say", change.lines, "yaml")
            why = f"The feedstock's {name} is not looked through: {change.refused}."
            return replace(step, why=why, remedies=(fix,))
        why = f"The feedstock's {name} must change, so that it {_and(change.what)}."
        if pull is not None:
            fix = Remedy("merge what is open, and rerender by hand", pull.html_url, "text")
            return replace(step, outcome=Outcome.NO, why=f"{why} A pull request is open.", remedies=(fix,))
        return replace(step, outcome=Outcome.NO, why=why, remedies=(self._fix,))


_APPLY = Remedy("bring GitHub to what grants.yaml says", "cf-infra plan && cf-infra apply")


def _repository_of(stack: Stack) -> str:
    return stack.github.repository if stack.github is not None else ".cirun"


def _same(one: list[Policy], other: list[Policy]) -> bool:
    return sorted(p.model_dump_json() for p in one) == sorted(p.model_dump_json() for p in other)


def _and(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]


def _reason(failure: Failure) -> str:
    """Why a question has no answer. A service's own words may be in it, so it stands in backticks."""
    first = failure.diagnostics[0]
    return f"It is not known: {quote((first.detail or first.summary).removesuffix('.'))}."


# ----------------------------------------------------------------------------------------------------- a comment


def place_of(text: str) -> tuple[str, str, int]:
    """Owner, repository and number of an issue. Raises Failure("usage")."""
    found = PLACE.fullmatch(text)
    if found is None:
        detail = f"--comment must be an issue's place, OWNER/REPOSITORY#NUMBER, not {text[:100]!r}."
        raise Failure(
            Diagnostic("usage", detail=detail, hint="--comment conda-forge/pytorch-cpu-feedstock#123")
        )
    return found[1], found[2], int(found[3])


def comment(root: Path, place: tuple[str, str, int], found: Explanation, text: str, say: Say) -> int:
    """Have one comment with this answer at an issue, the same one each time; its id. Raises Failure."""
    from cf_infra.files import read_root

    owner, repository, number = place
    settings = project.from_files(root, read_root(root), found.today).inventory.settings
    if owner.lower() != settings.organisation.lower():
        detail = f"--comment names {owner}, and the login of settings.yaml is for {settings.organisation}."
        raise Failure(Diagnostic("usage", detail=detail, hint="name an issue of that organisation"))
    service = github(settings, say)
    try:
        marker = f"cf-infra explain {found.repository} {found.resource}"
        return service.comment(repository, number, marker, text)
    finally:
        service.close()
