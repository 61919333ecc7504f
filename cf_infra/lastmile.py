"""The last mile: what a feedstock's own files must say so that its jobs run on what was granted, and nowhere else.

Pure: grants, offers and the feedstock's files in; changed files, the pull request's text and steps out. The same
function serves both directions: without a grant it takes out what an earlier one brought.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from cf_infra.catalog import Offered, catalog
from cf_infra.chain import listed, quote
from cf_infra.feedstock import (
    BUILD_CONFIG,
    CONFIG,
    HOSTED,
    LABELS_KEY,
    System,
    feedstock_lines,
    label_lines,
    minutes,
    platform,
    system_of,
)
from cf_infra.feedstock_yaml import CannotEdit, Document, plain
from cf_infra.model import Grant, Stack

BRANCH = "cf-infra/runners"
"""The branch of the pull request: one for each feedstock, so that a second run finds the first one's."""
PROVIDER, ACTIONS = "provider", "github_actions"
DEFAULT_MINUTES = 360
"""conda-smithy's own `timeout_minutes`."""
_PLAIN_LINE = re.compile(
    rf"(?:{LABELS_KEY}:|[ ]*-[ ]+[\w.-]+)[ ]*(?:#[ ]*\[[^\]\n]*\][ ]*)?\r?|[ ]*# or: [\w.-]+\r?"
)
_TRUE = ("true", "True", "TRUE")


class State(StrEnum):
    """Where a step stands. manual: a person has to do it; unknown: nobody could be asked."""

    DONE = "done"
    TODO = "todo"
    MANUAL = "manual"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Step:
    """One step on the way: why it stands where it does, and how to do it, as text to copy."""

    step: str
    state: State
    why: str
    how: str = ""

    def as_json(self) -> dict[str, str]:
        """The form that scripts read."""
        return {"step": self.step, "state": str(self.state), "why": self.why, "how": self.how}


@dataclass(frozen=True)
class Wanted:
    """What a repository was granted. `known`: all labels that stacks offer, with their systems.

    `chosen`: labels that were asked for by name; others that are granted too do not do then.
    """

    repository: str
    grants: tuple[Grant, ...]
    offers: tuple[Offered, ...]
    pull_requests: bool
    known: Mapping[str, System]
    chosen: frozenset[str] = frozenset()

    @property
    def labels(self) -> dict[System, list[str]]:
        """The labels that do, by system, in the order of the grants."""
        found: dict[System, list[str]] = {}
        for o in self.offers:
            if o.offer.label is not None:
                found.setdefault(system_of(o.offer), []).append(o.offer.label)
        return {system: list(dict.fromkeys(self._chosen(names))) for system, names in found.items()}

    def _chosen(self, names: list[str]) -> list[str]:
        return [name for name in names if name in self.chosen] or names

    @property
    def granted(self) -> frozenset[str]:
        """All labels that the repository may use."""
        return frozenset(o.offer.label for o in self.offers if o.offer.label is not None)


@dataclass(frozen=True)
class FileChange:
    """A file that is not as it should be. `after`: its new content, None to remove it; `refused`: why it is left alone.

    `lines`: what a person writes there then, or takes out.
    """

    file: str
    before: bytes | None
    after: bytes | None
    what: tuple[str, ...]
    refused: str = ""
    lines: str = ""


def wanted(
    repository: str,
    granted: Iterable[tuple[Grant, str]],
    stacks: Mapping[str, Stack],
    today: date,
    resource: str = "",
) -> Wanted:
    """What the entries that hold (each with one of its resources) give a repository; `resource`: the one that is meant.

    A donor who gives no longer has no offers, but their labels are known all the same.
    """
    pairs, everything = list(granted), catalog(stacks)
    rules: dict[tuple[str, str], bool] = {}
    found: dict[tuple[str, str], Offered] = {}
    for grant, name in pairs:
        for o in everything.offers(name, grant.stack):
            until = stacks[o.stack].donor.until
            if o.offer.label is not None and (until is None or today <= until):
                key = (o.stack, o.runner_class)
                found[key] = o
                rules[key] = rules.get(key, False) or grant.pull_requests
    chosen = {o.offer.label for o in everything.offers(resource) if o.offer.label is not None}
    every = [offer for stack in stacks.values() for offer in stack.offers.values()]
    return Wanted(
        repository,
        tuple({id(grant): grant for grant, _ in pairs}.values()),
        tuple(found.values()),
        bool(rules) and all(rules.values()),
        {offer.label: system_of(offer) for offer in every if offer.label is not None},
        frozenset(chosen),
    )


def changes(asked: Wanted, files: Mapping[str, bytes | None]) -> list[FileChange]:
    """What is to be changed in a feedstock's two files; nothing if they are right."""
    build, config = files.get(BUILD_CONFIG), files.get(CONFIG)
    if not asked.offers and not _named(asked, build):
        return []  # nothing of ours is there, whatever else the files hold
    used: Used | None
    labels: FileChange | None
    settings: FileChange | None
    try:
        _look_for_the_recipe(config)
        used = _used(asked, build)
    except CannotEdit as why:
        used, labels = None, _refusal(asked, BUILD_CONFIG, build, str(why))
    else:
        labels = _labels(asked, build, used)
    try:
        settings = _settings(asked, config, used)
    except CannotEdit as why:
        settings = _refusal(asked, CONFIG, config, str(why))
    return [change for change in (labels, settings) if change is not None]


def choices(asked: Wanted, files: Mapping[str, bytes | None]) -> list[list[str]]:
    """The labels of each platform that has none in use and several that would do: a person has to say which."""
    try:
        lacking = _used(asked, files.get(BUILD_CONFIG)).lacking
    except CannotEdit:
        return []
    return [asked.labels[system] for system in lacking if len(asked.labels[system]) > 1]


def _refusal(asked: Wanted, file: str, before: bytes | None, why: str) -> FileChange:
    lines = {part.file: part.text for part in feedstock_lines(_in_use(asked), asked.pull_requests)}
    text = lines.get(file, f"# nothing that names {listed(_named(asked, before)) or 'self-hosted runners'}")
    return FileChange(file, before, before, (), why, text)


def _named(asked: Wanted, raw: bytes | None) -> list[str]:
    """The labels of stacks that stand in a file, in whatever form."""
    return [label for label in asked.known if label.encode() in (raw or b"")]


def _in_use(asked: Wanted) -> list[Offered]:
    return [o for o in asked.offers if not asked.chosen or o.offer.label in asked.chosen] or list(
        asked.offers
    )


# ------------------------------------------------------------------------------ recipe/conda_build_config.yaml


@dataclass(frozen=True)
class Used:
    """The labels of a feedstock: in which order, which ones no grant allows any more, which systems lack one."""

    document: Document
    items: list[list[str]]
    stale: list[str]
    lacking: list[System]

    @property
    def names(self) -> list[str]:
        """All labels."""
        return [name for item in self.items for name in item]


def _used(asked: Wanted, raw: bytes | None) -> Used:
    document = Document(raw or b"", BUILD_CONFIG, twice=True)
    count = document.keys().count(LABELS_KEY)
    if count > 1:
        raise CannotEdit(f"`{LABELS_KEY}` stands {count} times in it")
    node = document.node(LABELS_KEY)
    value = [] if node is None else plain(node)
    rows = value if isinstance(value, list) else [value] if value else []
    items = [[item] if isinstance(item, str) else item for item in rows]
    if any(not isinstance(name, str) for item in items for name in item):
        raise CannotEdit(f"`{LABELS_KEY}` is no list of labels")
    names = {name for item in items for name in item}
    stale = [name for name in asked.known if name in names and name not in asked.granted]
    lacking = [system for system, labels in asked.labels.items() if not names & set(labels)]
    return Used(document, items, stale, lacking)


def _labels(asked: Wanted, raw: bytes | None, used: Used) -> FileChange | None:
    if not used.stale and not used.lacking:
        return None
    try:
        _change_labels(asked, used)
    except CannotEdit as why:
        return _refusal(asked, BUILD_CONFIG, raw, str(why))
    what = [f"names {listed(used.stale)} no more"] if used.stale else []
    added = [labels[0] for system, labels in asked.labels.items() if system in used.lacking]
    what += [f"has jobs run on {listed(added)}"] if added else []
    text = used.document.text
    return FileChange(BUILD_CONFIG, raw, text.encode() if text.strip() else None, tuple(what))


def _change_labels(asked: Wanted, used: Used) -> None:
    document = used.document
    if _is_zipped(document):
        raise CannotEdit(f"`zip_keys` ties `{LABELS_KEY}` to other keys")
    lines = document.lines_of(LABELS_KEY) if LABELS_KEY in document.keys() else []  # noqa: SIM118
    own = set(asked.known) | {HOSTED}
    if all(name in own for name in used.names) and all(map(_PLAIN_LINE.fullmatch, lines)):
        labels = _kept(asked, used)
        new = label_lines(labels) if labels else []
        meant = [names[0] for names in labels.values()]
        document.rewrite(LABELS_KEY, new, [*meant, *([HOSTED] if f"- {HOSTED}" in " ".join(new) else [])])
        return
    if used.lacking or any(len(item) > 1 and set(item) & set(used.stale) for item in used.items):
        raise CannotEdit("it has labels of others already, and their selectors say which jobs they are for")
    kept = [line for line in lines if not _is_item(line, used.stale)]
    rest = [item[0] if len(item) == 1 else item for item in used.items if item[0] not in used.stale]
    document.rewrite(LABELS_KEY, kept, rest)


def _kept(asked: Wanted, used: Used) -> dict[System, list[str]]:
    """For each system the label that is in use already, if it does; else the first of the grants."""
    return {
        system: [next((name for name in used.names if name in labels), labels[0])]
        for system, labels in asked.labels.items()
    }


def _is_zipped(document: Document) -> bool:
    return any(LABELS_KEY in str(plain(v)) for k, v in document.pairs() if k.value == "zip_keys")


def _is_item(line: str, names: list[str]) -> bool:
    return any(re.match(rf"[ ]*-[ ]+[\"']?{re.escape(name)}[\"']?[ ]*(?:#.*)?\r?$", line) for name in names)


# --------------------------------------------------------------------------------------------- conda-forge.yml


def _settings(asked: Wanted, raw: bytes | None, used: Used | None) -> FileChange | None:
    _look_for_the_recipe(raw)
    document = Document(raw or b"", CONFIG)
    before = document.text
    what = _open(asked, document) if asked.offers else _shut(asked, document, used)
    return FileChange(CONFIG, raw, document.text.encode(), tuple(what)) if document.text != before else None


def _look_for_the_recipe(raw: bytes | None) -> None:
    """Ensure the recipe is where everybody has it, as far as conda-forge.yml can be read."""
    try:
        folder = Document(raw or b"", CONFIG).node("recipe_dir")
    except CannotEdit:
        return
    if folder is not None and plain(folder) != "recipe":
        raise CannotEdit("`recipe_dir` says that the recipe is in another folder, where nothing is looked at")


def _open(asked: Wanted, document: Document) -> list[str]:
    what = []
    for system in asked.labels:
        name = platform(system)
        if name and document.word(name, PROVIDER) != ACTIONS:
            document.put(PROVIDER, name, ACTIONS, ACTIONS)
            what.append(f"builds {quote(name)} on GitHub Actions")
    hosted = document.word("self_hosted", ACTIONS) in _TRUE
    triggers, limit = _triggers(asked, document), _limit(asked, document)
    if hosted and triggers is None and limit is None:
        return what
    if not hosted:
        document.put(ACTIONS, "self_hosted", "true", "true")
        triggers = triggers or document.words("triggers", ACTIONS) or ["push"]
        what.append("has jobs run on self-hosted runners")
    if triggers is not None and document.words("triggers", ACTIONS) != triggers:
        document.put(ACTIONS, "triggers", f"[{', '.join(triggers)}]", triggers)
        what.append(f"starts jobs by {listed(triggers, ' and ')}")
    if limit is not None:
        document.put(ACTIONS, "timeout_minutes", str(limit), str(limit))
        what.append(f"lets them run for {limit} minutes")
    return what


def _triggers(asked: Wanted, document: Document) -> list[str] | None:
    """What `triggers` should be; None if it is right. Not to be triggered by pull requests is a feedstock's choice."""
    there = document.words("triggers", ACTIONS)
    if there is None and document.node("triggers", ACTIONS) is not None:
        raise CannotEdit("`github_actions: triggers` is no list of words")
    if not there:
        return ["push", "pull_request"] if asked.pull_requests else None
    allowed = [name for name in there if asked.pull_requests or not name.startswith("pull_request")]
    if any(not re.fullmatch(r"[a-z_]{1,40}", name) for name in allowed):
        raise CannotEdit("`github_actions: triggers` has other words than names of events")
    right = allowed if "push" in allowed else ["push", *allowed]
    return None if right == there else right


def _limit(asked: Wanted, document: Document) -> int | None:
    """What `timeout_minutes` should be; None if it is right. Less than the donor's is a feedstock's choice."""
    most = minutes(o.offer for o in _in_use(asked))
    there = document.word("timeout_minutes", ACTIONS)
    if there is None or not there.isdecimal():
        return most
    return most if int(there[:9]) > most or int(there[:9]) == DEFAULT_MINUTES != most else None


def _shut(asked: Wanted, document: Document, used: Used | None) -> list[str]:
    """Take out what only self-hosted runners need; nothing, where runners of others are in use or nothing was ours."""
    if used is None or not used.stale or {*used.names} - {*asked.known, HOSTED}:
        return []
    what = []
    for name in dict.fromkeys(platform(asked.known[label]) for label in used.stale):
        if name and document.word(name, PROVIDER) == ACTIONS:
            document.drop(PROVIDER, name)
            what.append(f"builds {quote(name)} where conda-forge builds it by default")
    if document.word("self_hosted", ACTIONS) in _TRUE:
        for key in ("self_hosted", "triggers", "timeout_minutes"):
            document.drop(ACTIONS, key)
        what.append("has no jobs run on self-hosted runners")
    return what


# ------------------------------------------------------------------------------------------- the pull request


@dataclass(frozen=True)
class Proposal:
    """A pull request: only texts of ours, and names and texts of others in backticks."""

    branch: str
    title: str
    body: str
    files: Mapping[str, bytes | None]


def proposal(asked: Wanted, found: Iterable[FileChange]) -> Proposal:
    """The pull request that brings the changes which can be made."""
    all_of_them = list(found)
    made = [change for change in all_of_them if not change.refused]
    title = "Run jobs on the runners that were granted" if asked.offers else "Leave runners without a grant"
    text = _welcome(asked) if asked.offers else _farewell()
    text += ["", "What changes:", ""]
    text += [f"- {quote(change.file)} {what}." for change in made for what in change.what]
    by_hand = [change for change in all_of_them if change.refused]
    if by_hand:
        text += [
            "",
            "**Not to be merged yet**: this could not be changed surely, and has to be written by hand on this",
        ]
        text += ["branch first. One file without the other has jobs wait for runners that nobody has."]
    for change in by_hand:
        text += ["", f"- {quote(change.file)}: {change.refused}.", "", *_block(change.lines)]
    text += ["", *(_after(asked) if asked.offers else _after_all())]
    return Proposal(BRANCH, title, "\n".join(text) + "\n", {c.file: c.after for c in made})


def _welcome(asked: Wanted) -> list[str]:
    text = [f"This feedstock may use {listed(sorted(asked.granted))}. These lines have its jobs run there."]
    for grant in asked.grants:
        about = [f"for {listed(grant.resources)}"]
        about += [f"because of {quote(grant.reason)}"] if grant.reason else []
        about += [f"asked for at {quote(grant.request)}"] if grant.request else []
        about += [f"until the day before {grant.expires}"] if grant.expires else []
        text += ["", f"- A grant {', '.join(about)}."]
    return text


def _farewell() -> list[str]:
    return [
        "This feedstock has no grant for these runners any more, so that jobs which ask for them wait in vain.",
        "What is taken out leaves conda-forge's defaults; who had something else there before writes it again.",
    ]


def _after(asked: Wanted) -> list[str]:
    rule = (
        "Pushes and pull requests start jobs, if those who push have access."
        if asked.pull_requests
        else "Only pushes start jobs: a pull request is built when it is merged, or from a branch of this repository."
    )
    return [
        "What to know before this is merged:",
        "",
        f"- {rule}",
        "- **Rerender by hand**: conda-forge's bots may not change workflows of GitHub Actions, so",
        "  `please rerender` does not work here. In a clone, on this branch or after the merge:",
        "",
        "  ```sh",
        "  conda smithy rerender -c auto && git push",
        "  ```",
        "",
        "- **Automerge does not work** as usual on such feedstocks, and pull requests of bots may start no jobs: merge",
        "  or push them with an account that has access.",
        "- Only those start jobs who have the role, team or terms that the grant asks for.",
    ]


def _after_all() -> list[str]:
    return [
        "What to do then: rerender by hand, since bots may not change workflows of GitHub Actions:",
        "",
        "```sh",
        "conda smithy rerender -c auto && git push",
        "```",
        "",
        "If no self-hosted runners are left, bots and automerge work as on other feedstocks after that.",
    ]


def _block(text: str) -> list[str]:
    return ["```yaml", *text.splitlines(), "```"]
