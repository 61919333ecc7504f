"""The answer of `explain` for people: text for a terminal of 80 columns, and Markdown for an issue.

Texts of people stand in backticks already (chain.quote), where Markdown knows neither markup nor HTML nor mentions;
what is to be copied stands in fenced blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cf_infra.chain import INFERRED, Explanation, Outcome, Remedy, Step, quote
from cf_infra.diagnostics import printable
from cf_infra.parse import GRANTS
from cf_infra.terminal import wrapped

_SIGNS = {Outcome.YES: "yes", Outcome.NO: "NO", Outcome.UNKNOWN: "?"}
_MARGIN = " " * 21


def terminal(found: Explanation) -> str:
    """The answer as text."""
    lines = [*wrapped(_verdict(found), "", ""), ""]
    for step in found.chain:
        head = f"  {_SIGNS[step.outcome]:<4} {step.step:<13} "
        lines += wrapped(step.why, head, " " * len(head))
        lines += [f"{_MARGIN}{_place(step)}"] if step.file is not None else []
    for title, steps in _to_do(found):
        lines += ["", title]
        for step, remedy in steps:
            lines += wrapped(f"{_head(step)}: {remedy.do}:", "  ", "  ")
            lines += [f"      {printable(line)}" for line in remedy.text.splitlines()]
    if found.lines:
        lines += ["", _for_the_feedstock(found)]
    for part in found.lines:
        lines += [f"  {part.file}", *(f"      {printable(line)}" for line in part.text.splitlines())]
    for remark in (*_remarks(found), INFERRED):
        lines += ["", *wrapped(remark, "", "")]
    return "\n".join(lines) + "\n"


def markdown(found: Explanation) -> str:
    """The answer as Markdown."""
    lines = [f"**{_verdict(found)}**", ""]
    for step in found.chain:
        place = f" ({quote(_place(step))})" if step.file is not None else ""
        lines.append(f"- **{_SIGNS[step.outcome]}** {step.step}: {step.why}{place}")
    for title, steps in _to_do(found):
        lines += ["", f"#### {title}"]
        for step, remedy in steps:
            lines += [
                "",
                f"{_head(step, quoted=True)}: {remedy.do}:",
                "",
                *fenced(remedy.text, remedy.language),
            ]
    if found.lines:
        lines += ["", f"#### {_for_the_feedstock(found)}"]
    for part in found.lines:
        lines += ["", quote(part.file), "", *fenced(part.text, "yaml")]
    for remark in (*_remarks(found), INFERRED):
        lines += ["", remark]
    return "\n".join(lines) + "\n"


def _verdict(found: Explanation) -> str:
    what = f"{quote(found.repository)} may{'' if found.allowed else ' not'} use {quote(found.resource)}"
    whom = f" for {quote(found.user)}" if found.user is not None else ""
    if not found.allowed:
        refusing = [step.step for step in found.chain if step.outcome is Outcome.NO]
        return f"No: {what}{whom} on {found.today} (see {', '.join(refusing)})."
    told = "could be asked" if found.live else "the files tell"
    rest = f", as far as {told} (see {', '.join(found.unknown)})" if found.unknown else ""
    return f"Yes: {what}{whom} on {found.today}{rest}."


def _place(step: Step) -> str:
    return f"{step.file}:{step.line}" if step.line is not None else str(step.file)


def _head(step: Step, quoted: bool = False) -> str:
    """The step with its place, if that is a line: `there` in a remedy is this line."""
    if step.line is None:
        return step.step
    return f"{step.step} ({quote(_place(step)) if quoted else _place(step)})"


def _to_do(found: Explanation) -> Iterator[tuple[str, list[tuple[Step, Remedy]]]]:
    """What changes a no, then what answers the rest."""
    titles = {Outcome.NO: "What would make it a yes", Outcome.UNKNOWN: "More about what is open"}
    for outcome, title in titles.items():
        steps = [(step, fix) for step in found.chain if step.outcome is outcome for fix in step.remedies]
        if steps and (found.allowed or outcome is Outcome.NO):
            yield title, steps


def _for_the_feedstock(found: Explanation) -> str:
    return "What the feedstock needs" if found.allowed else "What the feedstock needs then"


def _remarks(found: Explanation) -> Iterator[str]:
    for line, allowed in found.others:
        yield f"{GRANTS}:{line} is about the same under other conditions, and says {'yes' if allowed else 'no'}."
    if found.unread:
        names = ", ".join(map(quote, found.unread))
        yield f"Not read, because of faults that this answer does not depend on: {names}."


def fenced(text: str, language: str) -> list[str]:
    """The lines of a block whose text stays text, whatever stands in it."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 3)
    return [fence + language, *(printable(line) for line in text.splitlines()), fence]
