"""The issue form by which a maintainer asks for a machine: made from what the stacks offer, and its answers read.

GitHub writes an answered form into the issue as `### Heading`, an empty line and the answer; a box as `- [X] text`
(docs.github.com, "Syntax for GitHub's form schema"). The one answer of several lines comes last, so that no line of
it is taken for another answer. Whoever wrote the text is a stranger: nothing here believes who they say they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cf_infra import capacity, yaml12
from cf_infra.model import Inventory, Mode, Offer, Stack
from cf_infra.people import terms_of

PATH = ".github/ISSUE_TEMPLATE/access.yml"
FEEDSTOCK, MACHINE, TERMS, REASON = "Feedstock", "Machine", "Terms", "What fails today?"
HEADINGS = (FEEDSTOCK, MACHINE, TERMS, REASON)
UNDECIDED = "I do not know yet: help me to choose"
NO_ANSWER = "_No response_"
LONGEST_BODY = 65_536
"""Characters of an issue's text that GitHub takes; what goes on beyond is not read."""
LONGEST_REASON = 500
"""So many characters of the reason stand in grants.yaml; the issue has all of it."""
SYSTEMS = {"linux": "Linux", "windows": "Windows", "macos": "macOS"}


@dataclass(frozen=True)
class Answers:
    """What an issue's text says. Empty texts: not answered. `ticked`: the texts of all boxes that are ticked.

    `is_form`: the text has the form's headings. `request`: a request as admin-requests has it, if one is in it.
    """

    feedstock: str = ""
    machine: str = ""
    reason: str = ""
    ticked: frozenset[str] = frozenset()
    is_form: bool = False
    request: str = ""


# -------------------------------------------------------------------------------------------------- reading


def read(body: str | None) -> Answers:
    """The answers in an issue's text, whatever it is."""
    text = _plain((body or "")[:LONGEST_BODY])
    lines = text.split("\n")
    found = _sections(lines)
    return Answers(
        feedstock=_line(found.get(FEEDSTOCK, [])),
        machine=_line(found.get(MACHINE, [])),
        reason=reason_of("\n".join(found.get(REASON, []))),
        ticked=frozenset(_ticked(lines)),
        is_form=FEEDSTOCK in found and MACHINE in found,
        request=_request(lines),
    )


def _plain(text: str) -> str:
    """The text with one kind of line end, and without what GitHub does not show."""
    ends = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
    return re.sub(r"<!--.*?(?:-->|\Z)", "", ends.sub("\n", text), flags=re.DOTALL)


def _sections(lines: list[str]) -> dict[str, list[str]]:
    """The lines below each heading of the form; a heading counts once, and none after the last one of the form."""
    found: dict[str, list[str]] = {}
    own: list[str] | None = None
    for line in lines:
        heading = line[4:].strip() if line.startswith("### ") else ""
        if heading in HEADINGS and heading not in found and REASON not in found:
            own = found.setdefault(heading, [])
        elif own is not None:
            own.append(line)
    return found


def _line(lines: list[str]) -> str:
    """The first line with something in it."""
    first = next((line.strip() for line in lines if line.strip()), "")
    return "" if first == NO_ANSWER else first.strip("`").strip()


def reason_of(text: str) -> str:
    """A text of people as one line without control characters, at most LONGEST_REASON of it."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    line = " ".join(words)
    if line == NO_ANSWER:
        return ""
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3].rstrip() + "..."


def _ticked(lines: list[str]) -> Iterator[str]:
    for line, fence in _with_fences(lines):
        found = re.fullmatch(r"\s{0,3}[-*+] \[[xX]\] (.{1,1000})", line) if not fence else None
        if found is not None:
            yield found[1].strip()


def _request(lines: list[str]) -> str:
    """The first fenced block that begins as a request of admin-requests does."""
    block: list[str] = []
    before = ""
    for line, fence in _with_fences(lines):
        if fence and fence == before:
            block.append(line)
            continue
        if re.search(r"^action:", "\n".join(block), re.MULTILINE):
            break
        block, before = [], fence
    text = "\n".join(block)
    return f"{text}\n" if re.search(r"^action:", text, re.MULTILINE) else ""


def _with_fences(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each line with the fence that it stands in, that fence itself among it; empty outside of fences."""
    fence, number = "", 0
    for line in lines:
        mark = re.match(r" {0,3}(`{3,}|~{3,})(.*)", line)
        if not fence and mark is not None:
            number += 1
            fence = f"{mark[1]} {number}"
            yield "", fence
        elif fence and mark is not None and _closes(mark, fence):
            fence = ""
            yield "", ""
        else:
            yield line, fence


def _closes(mark: re.Match[str], fence: str) -> bool:
    return mark[1].startswith(fence.partition(" ")[0]) and not mark[2].strip()


# -------------------------------------------------------------------------------------------------- writing


def tick(inventory: Inventory, name: str) -> str:
    """The text of the box by which somebody accepts the terms of users/`name`.json, in the version of today's files."""
    terms = terms_of(inventory.stacks, name)
    version = f", version {terms.version}" if terms.version is not None else ""
    where = f" ({terms.url})" if terms.url is not None else ""
    return f"I accept the terms {name}{version}{where}"


def terms_names(inventory: Inventory) -> list[str]:
    """The names of all terms of donors."""
    return sorted({s.donor.terms.users for s in inventory.stacks.values() if s.donor.terms.users})


def machines(inventory: Inventory) -> dict[str, str]:
    """What can be asked for by the form, by class: what it is, in words; smaller ones first within a system.

    Machines of one's own are not in it: people agree on them.
    """
    found: dict[str, tuple[tuple[object, ...], str]] = {}
    for _, stack in sorted(inventory.stacks.items()):
        for name, offer in stack.offers.items():
            if offer.mode is not Mode.DEDICATED:
                found.setdefault(name, _row(name, stack, offer))
    return {name: words for name, (_, words) in sorted(found.items(), key=lambda item: item[1][0])}


def _row(name: str, stack: Stack, offer: Offer) -> tuple[tuple[object, ...], str]:
    """What a class is sorted by, and its words."""
    size = capacity.shape(stack, offer) or capacity.NOTHING
    parts = [f"{SYSTEMS[offer.os]} {offer.arch}"]
    parts += [f"{size.gpus} GPU{'s' * (size.gpus != 1)}"] if size.gpus else []
    if size.vcpus:
        parts += [f"{size.vcpus} vCPUs", f"{size.memory_mib // 1024} GiB of memory"]
    words = ", ".join([*parts, f"jobs of up to {offer.max_hours} hours"])
    order = (list(SYSTEMS).index(offer.os), offer.arch, size.gpus, size.vcpus, size.memory_mib, name)
    return order, f"{name}: {words}"


_FORM = """\
# Made by `cf-infra export issue-form` from stacks/; do not edit.
name: Ask for a machine
description: For maintainers of a feedstock whose builds or tests do not fit the hosted runners
title: "Access: "
body:
  - type: input
    id: feedstock
    attributes:
      label: {feedstock}
      description: Its name without -feedstock. You have to be one of its maintainers.
      placeholder: pytorch-cpu
    validations:
      required: true
  - type: dropdown
    id: machine
    attributes:
      label: {machine}
      description: The smallest one that helps.
      options:
{options}
    validations:
      required: true
{terms}  - type: textarea
    id: reason
    attributes:
      label: {reason}
      description: One sentence, and the address of a build that shows it. It will be public.
      placeholder: The build is killed after six hours; https://github.com/conda-forge/pytorch-cpu-feedstock/actions/...
    validations:
      required: true
"""
_TERMS = """\
  - type: checkboxes
    id: terms
    attributes:
      label: {terms}
      description: {description}
      options:
{options}
"""


def form(inventory: Inventory) -> str:
    """The form's file. Deterministic."""
    choices = [UNDECIDED, *machines(inventory).values()]
    return _FORM.format(
        feedstock=yaml12.quoted(FEEDSTOCK),
        machine=yaml12.quoted(MACHINE),
        options="\n".join(f"        - {yaml12.quoted(choice)}" for choice in choices),
        terms=_boxes(inventory),
        reason=yaml12.quoted(REASON),
    )


def _boxes(inventory: Inventory) -> str:
    """One box for each donor's terms; a single one has to be ticked, of several only that of the machine's donor."""
    names = terms_names(inventory)
    if not names:
        return ""
    required = "\n          required: true" if len(names) == 1 else ""
    options = "\n".join(
        f"        - label: {yaml12.quoted(tick(inventory, name))}{required}" for name in names
    )
    description = "Who gives the machine asks this of whoever starts jobs on it."
    if len(names) > 1:
        description += " Tick those of the machine's donor; if you are not sure, you will be asked."
    return _TERMS.format(terms=yaml12.quoted(TERMS), options=options, description=yaml12.quoted(description))
