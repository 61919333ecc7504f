"""`activate` and `deactivate`: the last mile of one feedstock, done at Cirun, with conda-smithy and at GitHub.

Each step looks first and does what is missing, so that a run that broke off is finished by the next one. A step that
fails does not keep the others from being done; it is told, and the command fails.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

import orjson

from cf_infra import lastmile, project
from cf_infra.answer import fenced
from cf_infra.chain import listed, quote
from cf_infra.cirun import Cirun
from cf_infra.deployment import STATE
from cf_infra.diagnostics import Diagnostic, Failure, has_errors, printable
from cf_infra.feedstock import BUILD_CONFIG, CONFIG
from cf_infra.files import read_regular, write
from cf_infra.github import Github, github
from cf_infra.journal_file import Journal
from cf_infra.keyprovider import command_environment
from cf_infra.lastmile import BRANCH, FileChange, State, Step, Wanted
from cf_infra.model import Settings
from cf_infra.resolve import at_cirun
from cf_infra.rest import Say
from cf_infra.selection import ENDING
from cf_infra.yaml12 import LIMIT_OTHER

LONGEST_COMMAND = 300.0
"""Seconds that one of conda-smithy's commands may take: it asks a few services and pushes one commit."""
RECORDS = ".state/feedstocks"
"""Where it is kept that a token was registered: nobody can be asked for that."""


@dataclass(frozen=True)
class Options:
    """What was asked for. `new_token`: make and register a token, although that was done before."""

    root: Path
    today: date
    name: str
    resource: str = ""
    dry_run: bool = False
    new_token: bool = False


@dataclass
class Outcome:
    """What was done, and what is left."""

    repository: str
    steps: list[Step] = field(default_factory=list)
    pull_request: str | None = None
    diff: str = ""
    checked_at: str = ""
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """The form that scripts read."""
        return {
            "repository": self.repository,
            "steps": [step.as_json() for step in self.steps],
            "pull_request": self.pull_request,
            "diff": self.diff,
            "checked_at": self.checked_at,
        }

    def text(self) -> str:
        """For people."""
        lines = [f"{self.repository}:"]
        for step in self.steps:
            lines.append(f"  {step.state:<7} {step.step:<10} {step.why}")
            lines += [f"{'':21}{printable(line)}".rstrip() for line in step.how.splitlines()]
        return "\n".join([*lines, *(["", self.diff.rstrip("\n")] if self.diff else [])]) + "\n"

    def markdown(self) -> str:
        """For an issue."""
        lines = [f"**{quote(self.repository)}**", ""]
        for step in self.steps:
            lines.append(f"- **{step.state}** {step.step}: {step.why}")
            lines += ["", *fenced(step.how, ""), ""] if step.how else []
        return "\n".join([*lines, *(["", *fenced(self.diff, "diff")] if self.diff else [])]) + "\n"


@dataclass(frozen=True)
class Mile:
    """One feedstock on its way. `on_cirun`: does anything that it was granted come from Cirun."""

    options: Options
    settings: Settings
    wanted: Wanted
    on_cirun: bool
    say: Say

    @property
    def full_name(self) -> str:
        """OWNER/NAME."""
        return f"{self.settings.organisation}/{self.wanted.repository}"


def activate(options: Options, say: Say) -> Outcome:
    """Have a feedstock's jobs run on what it was granted. Raises Failure, before anything is done."""
    mile = _mile(options, say)
    if not mile.wanted.grants:
        _refuse_without_grant(mile)
    _one_for_each_platform(mile)
    found = Outcome(mile.wanted.repository)
    if mile.on_cirun:
        _do(found, "cirun", lambda: _cirun(mile, active=True))
    if mile.wanted.repository.endswith(ENDING):
        _do(found, "token", lambda: _token(mile))
        _do(found, "feedstock", lambda: _feedstock(mile, found))
    _recorded_as("activated", mile, found)
    return _told(found)


def deactivate(options: Options, say: Say) -> Outcome:
    """Take back what no grant asks for any more: access first, then what is left in the feedstock's files."""
    mile = _mile(replace(options, resource=""), say)
    found = Outcome(mile.wanted.repository)
    if mile.on_cirun:
        found.steps.append(_stays_on(mile))
    else:
        _do(found, "cirun", lambda: _cirun(mile, active=False))
    if mile.wanted.repository.endswith(ENDING):
        _do(found, "feedstock", lambda: _feedstock(mile, found))
        if not mile.wanted.grants:
            _do(found, "token", lambda: _token_stays(mile))
    _recorded_as("deactivated", mile, found)
    return _told(found)


def _recorded_as(kind: str, mile: Mile, found: Outcome) -> None:
    """Have in the journal of the whole folder which steps are done, and which are left."""
    if mile.options.dry_run:
        return
    left = sorted({step.step for step in found.steps if step.state is not State.DONE})
    done = sorted({step.step for step in found.steps} - set(left))
    own = Journal(mile.options.root / STATE, mile.say)
    own.note(kind, repository=found.repository, done=done, left=left)


def _mile(options: Options, say: Say) -> Mile:
    folder = project.read(options.root, options.today)
    if has_errors(folder.diagnostics):
        raise Failure(*[d for d in folder.diagnostics if d.severity == "error"])
    _is_name(options.name)
    resolved = folder.resolved()
    spelled = {access.grant.repository.lower(): access.grant.repository for access in resolved.access}
    low = options.name.lower()
    feedstock = low if low.endswith(ENDING) else f"{low}{ENDING}"
    names = [spelled[name] for name in (feedstock, low) if name in spelled]
    repository = (names or [options.name if low.endswith(ENDING) else f"{options.name}{ENDING}"])[0]
    own = [(a.grant, a.resource) for a in resolved.access if a.grant.repository == repository]
    asked = lastmile.wanted(
        repository, own, folder.inventory.stacks, options.today, _known(folder, options.resource)
    )
    on_cirun = repository.lower() in at_cirun(resolved)
    return Mile(options, folder.inventory.settings, asked, on_cirun, say)


def _is_name(text: str) -> None:
    from cf_infra.asked import Question
    from cf_infra.explain import question_faults

    faults = [f for f in question_faults(Question(text, "x", date.min)) if f.code == "usage"]
    if faults:
        raise Failure(*[replace(fault, hint=fault.hint.replace("explain", "activate")) for fault in faults])


def _known(folder: project.Folder, resource: str) -> str:
    from cf_infra.catalog import catalog

    offers = catalog(folder.inventory.stacks)
    if resource and not offers.offers(resource):
        detail = f"No stack offers {quote(resource)}. Offered are: {listed(offers.names()) or 'none'}."
        raise Failure(Diagnostic("usage", detail=detail, hint="name one of these, or none"))
    return resource


def _refuse_without_grant(mile: Mile) -> None:
    name = mile.wanted.repository.removesuffix(ENDING)
    what = mile.options.resource or "RESOURCE"
    detail = f"No entry of grants.yaml holds for {quote(mile.wanted.repository)} on {mile.options.today}."
    raise Failure(
        Diagnostic(
            "no-grant", detail=detail, hint=f"see why, and what to do:\ncf-infra explain {name} {what}"
        )
    )


def _one_for_each_platform(mile: Mile) -> None:
    """Ensure there is no choice that a person has to make; which labels do is known only after a look at the files."""
    asked = mile.wanted
    if asked.chosen and not asked.chosen & asked.granted:
        detail = f"{quote(asked.repository)} has no grant for {quote(mile.options.resource)}; it may use "
        detail += f"{listed(sorted(asked.granted)) or 'nothing that has a label'}."
        hint = "see why:\ncf-infra explain "
        hint += f"{asked.repository.removesuffix(ENDING)} {mile.options.resource}"
        raise Failure(Diagnostic("no-grant", detail=detail, hint=hint))


def _do(found: Outcome, step: str, run: Callable[[], Sequence[Step]]) -> None:
    """Run one step; what keeps it from being done is kept, and the next step is tried all the same."""
    try:
        found.steps += run()
    except Failure as failure:
        first = failure.diagnostics[0]
        why = " ".join((first.detail or first.summary).split())
        if first.code == "no-token":
            found.steps.append(Step(step, State.MANUAL, f"Nobody could be asked: {why}", first.hint))
        else:
            found.steps.append(Step(step, State.TODO, f"It failed: {why}"))
            found.diagnostics += failure.diagnostics


def _told(found: Outcome) -> Outcome:
    found.checked_at = datetime.now(UTC).isoformat(timespec="seconds")
    manual = [step.step for step in found.steps if step.state is State.MANUAL]
    if manual:
        detail = f"For {quote(found.repository)}: {', '.join(manual)}."
        found.diagnostics.append(Diagnostic("by-hand", detail=detail, hint="the list of steps says how"))
    return found


# -------------------------------------------------------------------------------------------------------- Cirun


def _cirun(mile: Mile, active: bool) -> list[Step]:
    cirun = Cirun(say=mile.say)
    try:
        mile.say(f"asking Cirun about {mile.full_name}")
        is_active = mile.full_name.lower() in cirun.active()
        return [(_switched_on if active else _switched_off)(mile, cirun, is_active)]
    finally:
        cirun.close()


def _stays_on(mile: Mile) -> Step:
    names = listed(dict.fromkeys(name for grant in mile.wanted.grants for name in grant.resources))
    return Step(
        "cirun", State.DONE, f"Cirun stays as it is for {quote(mile.full_name)}: it still has {names}."
    )


def _switched_on(mile: Mile, cirun: Cirun, is_active: bool) -> Step:
    name = quote(mile.full_name)
    if is_active:
        return Step("cirun", State.DONE, f"Cirun is active for {name}.")
    if mile.options.dry_run:
        return Step("cirun", State.TODO, f"Cirun is not active for {name}.", _again(mile, "activate"))
    mile.say(f"switching Cirun on for {mile.full_name}")
    cirun.activate(mile.full_name)
    return Step("cirun", State.DONE, f"Cirun is active for {name} from now on.")


def _switched_off(mile: Mile, cirun: Cirun, is_active: bool) -> Step:
    name = quote(mile.full_name)
    if not is_active:
        return Step("cirun", State.DONE, f"Cirun is not active for {name}.")
    if mile.options.dry_run:
        return Step(
            "cirun",
            State.TODO,
            f"Cirun is active for {name}, without any grant.",
            _again(mile, "deactivate"),
        )
    mile.say(f"switching Cirun off for {mile.full_name}: it has no grant any more")
    cirun.switch_off(mile.full_name)
    return Step("cirun", State.DONE, f"Cirun is not active for {name} any more; it was its last grant.")


def _again(mile: Mile, command: str) -> str:
    return f"cf-infra {command} {mile.wanted.repository.removesuffix(ENDING)}"


# ---------------------------------------------------------------------------------------------------- the token


def _token(mile: Mile) -> list[Step]:
    commands = _commands(mile)
    how = "\n".join(_shown(command) for command in commands or _commands(mile, _USUAL))
    if not commands:
        why = (
            "Whether it has a feedstock token is not known here: settings.yaml names no commands for that in "
        )
        why += "`feedstock_token`. These are conda-forge's:"
        return [Step("token", State.MANUAL, why, how)]
    record = mile.options.root / RECORDS / f"{mile.wanted.repository}.json"
    known = None if mile.options.new_token else _recorded(record)
    if known is not None:
        return [Step("token", State.DONE, f"A feedstock token was registered on {known}.")]
    if mile.options.dry_run:
        return [Step("token", State.TODO, "A feedstock token would be made and registered.", how)]
    with tempfile.TemporaryDirectory(prefix="cf-infra-") as folder:
        # conda-smithy takes a feedstock's name from its folder's, and reads nothing in it.
        (Path(folder) / mile.wanted.repository).mkdir()
        for command in commands:
            mile.say(f"running {_shown(command[:3])}")
            _run(command, folder, mile.settings.command_variables)
    write(record, orjson.dumps({"token_registered": mile.options.today.isoformat()}) + b"\n")
    return [Step("token", State.DONE, "A feedstock token was made and registered.")]


_NAMES = "--unique-token-per-provider --feedstock_directory {repository} --organization {organisation}"
_USUAL = [
    f"conda smithy generate-feedstock-token {_NAMES}".split(),
    f"conda smithy register-feedstock-token {_NAMES} --without-all --with-github-actions".split(),
]
"""As conda-forge/admin-requests calls them; `--token_repo` is the operators' own."""


def _commands(mile: Mile, given: Sequence[Sequence[str]] | None = None) -> list[list[str]]:
    """The commands with this feedstock's names in place: each stays one argument, and no shell sees it."""
    names = {"{repository}": mile.wanted.repository, "{organisation}": mile.settings.organisation}
    names["{feedstock}"] = mile.wanted.repository.removesuffix(ENDING)
    commands = mile.settings.feedstock_token if given is None else given
    return [[_filled(word, names) for word in command] for command in commands]


def _filled(word: str, names: Mapping[str, str]) -> str:
    for sign, name in names.items():
        word = word.replace(sign, name)
    return word


def _shown(command: Sequence[str]) -> str:
    import shlex

    return shlex.join(command)


def _run(command: Sequence[str], folder: str, variables: Sequence[str]) -> None:
    """Run one command, without a shell. What it prints is not shown: it may be a token."""
    named = _shown(command[:3])
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=command_environment(os.environ, variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST_COMMAND,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"did not end within {LONGEST_COMMAND:.0f} s"
    except OSError as error:
        why = f"cannot be started: {error.strerror}"
    else:
        if done.returncode == 0:
            return
        why = f"ended with exit status {done.returncode}"
    hint = "run it by hand in an empty folder, to see what it says; settings.yaml has the command"
    raise Failure(Diagnostic("command-failed", detail=f"`{named}` {why}.", hint=hint))


def _recorded(record: Path) -> str | None:
    try:
        value = orjson.loads(read_regular(record, LIMIT_OTHER, str(record)))
        return date.fromisoformat(value["token_registered"]).isoformat()
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _token_stays(mile: Mile) -> list[Step]:
    """The token publishes packages and opens no runner; hosted jobs on GitHub Actions need it, too."""
    if not mile.options.dry_run:
        (mile.options.root / RECORDS / f"{mile.wanted.repository}.json").unlink(missing_ok=True)
    why = "The feedstock token stays: only if nothing is built on GitHub Actions any more, remove it."
    how = f"gh secret delete FEEDSTOCK_TOKEN --repo {mile.full_name}"
    return [Step("token", State.MANUAL, why, how)]


# ---------------------------------------------------------------------------------------- the feedstock's files


def _feedstock(mile: Mile, found: Outcome) -> list[Step]:
    service = github(mile.settings, mile.say)
    try:
        mile.say(f"reading the files of {mile.full_name}")
        if gone := _not_there(mile, service):
            return gone
        name = mile.wanted.repository
        files = files_of(service, name)
        changed = lastmile.changes(mile.wanted, files)
        _no_choice_left(mile, files)
        found.diff = "".join(_diff(change) for change in changed if not change.refused)
        steps = [_by_hand(change) for change in changed if change.refused]
        return [*_proposed(mile, service, files, changed, found), *steps]
    finally:
        service.close()


def files_of(service: Github, name: str) -> dict[str, bytes | None]:
    """The two files of a feedstock, as its default branch has them."""
    read = {file: service.file(name, file) for file in (CONFIG, BUILD_CONFIG)}
    return {file: one.content if one else None for file, one in read.items()}


def _not_there(mile: Mile, service: Github) -> list[Step]:
    there = service.repository(mile.wanted.repository)
    name = quote(mile.full_name)
    if there is None and not mile.wanted.grants:
        return [
            Step("feedstock", State.DONE, f"{name} is not at GitHub, or cannot be seen: nothing to undo.")
        ]
    if there is None:
        detail = f"{name} is not at GitHub, or the token may not see it."
        hint = "mend the name in grants.yaml, or look at the token's permissions"
        raise Failure(Diagnostic("not-at-github", detail=detail, hint=hint))
    if there.full_name.lower() != mile.full_name.lower():
        detail = (
            f"{name} is called {quote(there.full_name)} now. Nothing is changed there under the old name."
        )
        hint = "write its new name into grants.yaml, if that is meant"
        raise Failure(Diagnostic("not-at-github", detail=detail, hint=hint))
    if there.archived:
        why = f"{name} is archived, so nothing in it can be changed, and none of its jobs run."
        return [Step("feedstock", State.MANUAL, why, f"gh repo unarchive {mile.full_name}")]
    return []


def _no_choice_left(mile: Mile, files: Mapping[str, bytes | None]) -> None:
    """Ensure that nobody is given one of several labels for a platform without having been asked."""
    for labels in lastmile.choices(mile.wanted, files):
        detail = f"{quote(mile.wanted.repository)} may use {listed(labels)} for one platform, "
        detail += "and its jobs go to one of them."
        hint = f"name it:\n{_again(mile, 'activate')} {labels[0]}"
        raise Failure(Diagnostic("which-resource", detail=detail, hint=hint))


def _diff(change: FileChange) -> str:
    before, after = ((raw or b"").decode().splitlines() for raw in (change.before, change.after))
    lines = difflib.unified_diff(before, after, f"a/{change.file}", f"b/{change.file}", lineterm="")
    return "".join(f"{printable(line.rstrip())}\n" for line in lines)


def _by_hand(change: FileChange) -> Step:
    why = f"{change.file} is left alone: {change.refused}. It has to say:"
    return Step("feedstock", State.MANUAL, why, change.lines)


def _proposed(
    mile: Mile,
    service: Github,
    files: Mapping[str, bytes | None],
    changed: Sequence[FileChange],
    found: Outcome,
) -> list[Step]:
    name = mile.wanted.repository
    made = [change for change in changed if not change.refused]
    if not made:
        return _nothing_to_propose(mile, service, bool(changed))
    if mile.options.dry_run:
        why = "A pull request would change " + listed(change.file for change in made) + "."
        return [Step("feedstock", State.TODO, why)]
    pull = lastmile.proposal(mile.wanted, changed)
    mile.say(f"opening a pull request in {mile.full_name}")
    # Both files, so that nothing of an earlier pull request stays on the branch.
    opened = service.propose(name, pull.branch, {**files, **pull.files}, pull.title, pull.body)
    found.pull_request = opened.html_url if opened else None
    why = "A pull request is open; what it changes holds when it is merged, and the feedstock rerendered:"
    return [Step("feedstock", State.TODO, why, found.pull_request or "")]


def _nothing_to_propose(mile: Mile, service: Github, refused: bool) -> list[Step]:
    name = mile.wanted.repository
    left = service.pull(name, BRANCH)
    if left is not None and not mile.options.dry_run:
        mile.say(f"closing {left.html_url}: what it asks for does not hold any more")
        service.close_pull(name, left.number)
    if refused:
        return []
    why = (
        "The feedstock's files are as they should be."
        if mile.wanted.offers
        else "The feedstock's files name no runner without a grant."
    )
    closed = " A pull request that is not needed any more was closed." if left else ""
    return [Step("feedstock", State.DONE, why + ("" if mile.options.dry_run else closed))]
