"""A review for people: text for a terminal of 80 columns without colour, and Markdown for a pull request.

Both are made from the one value of review.py. Whatever comes from files, plans or clouds stands in code: there it is
neither markup nor HTML, links nothing and calls nobody. Markdown gives up detail, then tables, until it fits a comment;
what is dangerous is named at every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cf_infra import compact, difference_report, report
from cf_infra.diagnostics import MOST_NAMED, printable
from cf_infra.difference import NEVER
from cf_infra.report import block
from cf_infra.review import GIFTS, is_missing
from cf_infra.terminal import WIDTH, wrapped

JSON: TypeAlias = Mapping[str, Any]
LIMIT = 65_536
"""A comment of GitHub has fewer characters; we hold bytes to it as well."""
LONGEST = 300
"""Characters of one text that are shown; JSON has more."""
COLUMNS = ("add", "change", "replace", "destroy", "forget")
WORDS = {
    "error": "Errors in the files",
    "refused": "Refused by a limit",
    "unknown": "Does what is not known here",
    "forget": "Forgets, and leaves running",
    "destroy": "Destroys",
    "replace": "Replaces (destroys, then makes anew)",
    "entry": "Takes out of lists",
    "grants": "Lose access",
    "people": "People who lose something",
    "budget": "Over the donor's budget",
    "full": "Hosts without room",
    "capacity": "Room left on hosts",
}
PLANNED = ("unknown", "forget", "destroy", "replace", "entry")
"""Kinds whose names are addresses of OpenTofu."""


@dataclass(frozen=True)
class Step:
    """How much is shown. `naming`: how things in danger are told; `rows` of each detail; `table`: how stacks are."""

    naming: str
    table: str
    rows: int | None
    left_out: str = ""


FULL = Step("words", "table", None)
STEPS = (
    FULL,
    Step("words", "table", 100, "details after 100 rows of each part"),
    Step("names", "table", 100, "details after 100 rows of each part"),
    Step("names", "table", 20, "details after 20 rows of each part"),
    Step("names", "table", 0, "the details"),
    Step("dense", "table", 0, "the details"),
    Step("dense", "lines", 0, "the details and the table"),
    Step("dense", "counts", 0, "the details and the table; stacks are counted by kind"),
)
"""From rich to poor. Below the last one names themselves are left out, which is said in capitals."""


def code(text: object) -> str:
    """A stranger's text as Markdown: in code, and not too long."""
    return report.code(_short(text).replace("`", "'"))


def _short(text: object) -> str:
    """One line, cut before it is looked at: it may be very long."""
    whole = str(text)
    cut = whole[:LONGEST] + ("..." if len(whole) > LONGEST else "")
    return printable(" ".join(cut.split()))


# ----------------------------------------------------------------------------------------------------- Markdown


def markdown(data: JSON, limit: int = LIMIT, footer: str = "") -> str:
    """The review as a comment of fewer than `limit` characters and bytes; `footer` is put behind it as it is.

    Raises ValueError if the footer leaves no room for a review.
    """
    room = limit - 1 - len(footer.encode()) - (1 if footer else 0)
    if room < LEAST:
        raise ValueError(f"a footer of {len(footer)} characters leaves no room for a review")
    texts = (_markdown(data, step) for step in STEPS)
    text = next((one for one in texts if len(one.encode()) <= room), None)
    if text is None:
        text = _shortest(data, room)
    return f"{text}{footer}\n" if footer else text


LEAST = 8_000
"""Bytes that even the poorest form may need."""
CUT = (
    "**NOT EVERYTHING THAT IS IN DANGER IS NAMED HERE: there is too much of it for a comment. "
    "Split the change, or read all of it with `cf-infra review`. "
    "Left out as well: the details, the table, approvals, warnings and overrides.**"
)


def _markdown(data: JSON, step: Step) -> str:
    lines = [f"### {data['verdict']}", "", *_facts(data), ""]
    lines += [
        *_danger(data, step),
        *_grants(data, step),
        *_approvals(data, step),
        *_table(data, step),
        *_diagnostics(data, step),
    ]
    if step.rows != 0:
        lines += _details(data, step)
    if step.left_out:
        lines += [
            f"Left out, so that this fits a comment: {step.left_out}. `cf-infra review` shows all of it.",
            "",
        ]
    return "\n".join(lines)


def _facts(data: JSON) -> list[str]:
    """Between what it was made, and what was looked at."""
    return [" ".join(_looked(data, code))]


def _looked(data: JSON, quoted: Any) -> Iterator[str]:
    diff = data["diff"]
    if diff is not None:
        yield f"{quoted(_side(diff['base']))} to {quoted(_side(diff['head']))}, on {quoted(diff['today'])}."
    if diff is None and not data["stacks"]:
        yield "The files have errors, so nothing was compared and nothing was planned."
    elif not any(row["planned"] for row in data["stacks"]):
        yield "This is what the files say; nothing was planned, so what is deployed was not looked at."
    elif data["asked"]:
        yield "Planned with the clouds' answers."
    else:
        yield "Planned from the files and from what the last apply left: no cloud was asked."


def _side(row: JSON) -> str:
    return difference_report.side_name(row)


def _danger(data: JSON, step: Step) -> list[str]:
    rows = [row for row in data["danger"] if row["kind"] != "capacity"]
    lines = ["#### Danger", ""] if rows else [f"**{_harmless(data)}**", ""]
    for row in rows:
        lines += _one_danger(row, step)
    for row in data["danger"]:
        lines += _one_danger(row, step) if row["kind"] == "capacity" else []
    return [*lines, ""]


def _harmless(data: JSON) -> str:
    if not any(row["planned"] for row in data["stacks"]):
        return "No danger by the files: no machine is taken away, nobody loses access, no budget is exceeded."
    nothing = "nothing is destroyed, replaced or forgotten"
    return f"No danger: {nothing}, nobody loses access, no limit or budget is exceeded."


def _title(row: JSON, quoted: Any) -> str:
    where = f" at {quoted(row['stack'])}" if row["stack"] else ""
    return f"{WORDS[row['kind']]}{where}: {row['count']:,}"


def _one_danger(row: JSON, step: Step) -> list[str]:
    """A kind of danger at a stack, with everything that it hits."""
    title = f"- **{_title(row, code)}**"
    if step.naming == "words":
        return [title, *(f"  - {_thing(row, one)}" for one in row["things"])]
    names = [_name(one["name"]) for one in row["things"]]
    told = compact.lines(names) if step.naming == "names" else compact.dense(names)
    return [title, "", *_block(_folded(told)), ""]


def _thing(row: JSON, one: JSON, quoted: Any = code) -> str:
    """What is hit: things of a plan by what they are, then by their address; everything else by its name."""
    if not one["words"]:
        return str(quoted(one["name"]))
    if row["kind"] in PLANNED:
        return f"{quoted(one['words'])}, {quoted(one['name'])}"
    return f"{quoted(one['name'])}: {quoted(one['words'])}"


def _block(lines: Iterable[str]) -> list[str]:
    """A block inside of a list's entry: every line of it stands below the entry's words, or it would end there."""
    return [f"  {line}" for text in block("\n".join(lines)) for line in text.split("\n")]


def _folded(lines: Iterable[str]) -> Iterator[str]:
    """Long lines broken after a comma: a block has no other way to be read."""
    for line in lines:
        while len(line) > 2 * WIDTH and ", " in line[WIDTH:]:
            at = line.index(", ", WIDTH) + 1
            yield line[:at]
            line = line[at + 1 :]
        yield line


def _grants(data: JSON, step: Step) -> list[str]:
    """Who gets or loses what, in a line each; all that comes of it stands in the details."""
    rows = data["diff"]["effects"]["grants"] if data["diff"] is not None and step.rows != 0 else []
    if not rows:
        return []
    ends = {row["grant"]: row["after"] for row in data["diff"]["effects"]["ends"]}
    shown = _first(rows, step)
    lines = [f"| {row['change']} | {code(row['key'])} | {code(_became(row, ends))} |" for row in shown]
    return ["#### Grants", "", "| | grant | |", "|---|---|---|", *lines, "", *_more(rows, shown), ""]


def _became(row: JSON, ends: Mapping[str, str]) -> str:
    """What becomes of one grant, in words."""
    kind = row["gives"]["after" if row["change"] == "added" else "before"]
    if row["change"] == "added":
        end = ends.get(row["key"])
        until = f", until {end}" if end is not None and end != NEVER else ", without an end"
        return f"gets {GIFTS.get(kind, 'nothing that anybody offers')}{until}"
    if row["change"] == "removed":
        return f"had {GIFTS.get(kind, 'nothing that anybody offers')}"
    return "; ".join(map(difference_report.field, row["fields"])) or "entries come or go, see the details"


def _approvals(data: JSON, step: Step) -> list[str]:
    rows = data["approvals"]
    if not rows:
        return []
    told = [_approval(row, code) for row in _first(rows, step)]
    return ["#### Approvals", "", *(f"- {text}" for text in told), *_more(rows, told), ""]


def _approval(row: JSON, quoted: Any) -> str:
    """What must be approved, who did, and what is missing; see approvals.py."""
    names = list(row["approvers"])[:MOST_NAMED]
    who = f", by {', '.join(map(quoted, names))}" if names else ""
    given = f"{row['given']} of {row['needed']} approvals{who}" if row["needed"] else "held back"
    return f"{quoted(row['what'])}: {given}" + (f"; {quoted(row['why'])}" if row["why"] else "")


def _first(rows: Sequence[Any], step: Step) -> Sequence[Any]:
    return rows if step.rows is None else rows[: max(step.rows, 5)]


def _more(rows: Sequence[Any], shown: Sequence[Any]) -> list[str]:
    return [f"- and {len(rows) - len(shown):,} more"] if len(rows) > len(shown) else []


def _table(data: JSON, step: Step) -> list[str]:
    rows = data["stacks"]
    if not rows:
        return []
    if step.table == "counts":
        return [f"{len(rows):,} stacks together: {_counts(_sum(rows))}; {_how_many(rows)}.", ""]
    if step.table == "lines":
        return [
            "#### Stacks: what is done at each donor",
            "",
            *(f"- {code(row['stack'])}: {_stack_words(row, code)}" for row in rows),
            "",
        ]
    head = [
        "#### Stacks: what is done at each donor",
        "",
        "| stack | " + " | ".join(COLUMNS) + " | |",
        "|---|" + "--:|" * len(COLUMNS) + "---|",
    ]
    return [*head, *(_table_row(row) for row in rows), ""]


def _table_row(row: JSON) -> str:
    counts = [_cell(row, name) for name in COLUMNS]
    return f"| {code(row['stack'])} | {' | '.join(counts)} | {_remark(row, code)} |"


def _cell(row: JSON, name: str) -> str:
    return f"{row[name]:,}" if row["planned"] else "?" if is_missing(row) else "-"


def _remark(row: JSON, quoted: Any) -> str:
    if not row["planned"]:
        return f"{'NOT PLANNED' if is_missing(row) else 'nothing to plan'}: {quoted(row['why'])}"
    told = ["REFUSED"] if row["refused"] else []
    told += [f"{row['import']:,} adopted"] if row["import"] else []
    told += [f"{row['unknown']:,} not known"] if row["unknown"] else []
    told += [f"{len(row['credentials']):,} steps of credentials"] if row["credentials"] else []
    return ", ".join(told)


def _stack_words(row: JSON, quoted: Any) -> str:
    remark = _remark(row, quoted)
    return ", ".join(filter(None, (_counts(row) if row["planned"] else "", remark)))


def _counts(row: JSON) -> str:
    return ", ".join(f"{row[name]:,} {name}" for name in COLUMNS if row[name]) or "nothing to do"


def _sum(rows: Sequence[JSON]) -> dict[str, int]:
    return {name: sum(row[name] for row in rows) for name in COLUMNS}


def _how_many(rows: Sequence[JSON]) -> str:
    refused, left = sum(row["refused"] for row in rows), sum(map(is_missing, rows))
    return f"{refused:,} refused, {left:,} not planned"


def _diagnostics(data: JSON, step: Step) -> list[str]:
    """Warnings, and what overrides are used; errors stand under danger as well, and here with their way out."""
    rows = sorted(data["diagnostics"], key=lambda d: d["severity"] != "error")
    lines: list[str] = []
    if rows:
        shown = _first(rows, step)
        lines += [
            "#### What `cf-infra check` says",
            "",
            *(f"- {_diagnostic(d)}" for d in shown),
            *_more(rows, shown),
            "",
        ]
    if data["overrides"]:
        shown = _first(data["overrides"], step)
        told = [f"- {code(text)}" for text in shown]
        lines += ["#### Overrides", "", *told, *_more(data["overrides"], shown), ""]
    return lines


def _diagnostic(d: JSON) -> str:
    place = ":".join(str(d[n]) for n in ("file", "line") if d.get(n) is not None)
    where = f" {code(place)}" if place else ""
    words = [f"**{d['severity']}** {code(d['code'])}{where}: {code(d['summary'])}"]
    words += [code(d["detail"])] if d.get("detail") else []
    words += [f"way out: {code(d['hint'])}"] if d.get("hint") else []
    return " ".join(words)


# -------------------------------------------------------------------------------------------------- the details


def _details(data: JSON, step: Step) -> list[str]:
    lines: list[str] = []
    for row in data["stacks"]:
        inside = _stack_details(row, step)
        if inside and (row["items"] or row["manual"] or row["credentials"]):
            title = f"#### What is done at {code(row['stack'])}"
            lines += [title, "", *_fold(f"{_counts(row)}", inside)]
    if data["diff"] is not None:
        inside = difference_report.sections(data["diff"], step.rows)
        lines += (
            ["#### What the files change", "", *_fold("grants, access, people, hosts, money", inside)]
            if inside
            else []
        )
    return lines


def _fold(summary: str, inside: Sequence[str]) -> list[str]:
    """Folded; the summary is our own words. The empty lines let Markdown begin again inside."""
    return ["<details>", f"<summary>{summary}</summary>", "", *inside, "", "</details>", ""]


def _stack_details(row: JSON, step: Step) -> list[str]:
    lines = report.table(row, step.rows)
    for name, title in (("manual", "By hand afterwards"), ("credentials", "Credentials")):
        if row[name]:
            shown = _first(row[name], step)
            lines += [
                f"{title}:",
                "",
                *(f"- {code(_step(one))}" for one in shown),
                *_more(row[name], shown),
                "",
            ]
    if row["review_digest"]:
        lines += [f"Review digest: {code(row['review_digest'])}", ""]
    return lines


def _step(one: Any) -> str:
    if isinstance(one, Mapping):
        return f"{one.get('credential')}/{one.get('generation')}: {one.get('what')}"
    return str(one)


# ------------------------------------------------------------------------------------ when not even names fit


def _shortest(data: JSON, room: int) -> str:
    """Counts of every kind, and as many names as fit; how many do not is said for each kind."""
    head = [f"### {data['verdict']}", "", *_facts(data), ""]
    tail = [*_table(data, STEPS[-1]), CUT, ""]
    left = room - len("\n".join([*head, *tail]).encode()) - 100
    rows = _by_kind(data["danger"])
    each = left // max(1, len(rows))
    lines = ["#### Danger", ""]
    for kind, found in rows.items():
        lines += _named_as_far(kind, found, each)
    return "\n".join([*head, *lines, "", *tail])


def _by_kind(danger: Sequence[JSON]) -> dict[str, list[JSON]]:
    found: dict[str, list[JSON]] = {}
    for row in danger:
        found.setdefault(row["kind"], []).append(row)
    return found


def _named_as_far(kind: str, rows: Sequence[JSON], room: int) -> list[str]:
    """One kind: how many there are of each stack, and names until there is no room."""
    total = sum(row["count"] for row in rows)
    title = f"- **{WORDS[kind]}: {total:,}**"
    left = room - len(title.encode()) - 150
    counts = _fitting((f"{_name(row['stack'])} {row['count']:,}" for row in rows if row["stack"]), left // 4)
    told = [*_folded([", ".join(counts)] if counts else [])]
    names, named = _densely(rows, left - len("\n".join(told).encode()) - 3 * len(told))
    told += names
    rest = [f"  **AND {total - named:,} MORE, not named here**"] if named < total else []
    return [title, "", *_block(told), "", *rest, ""]


def _densely(rows: Sequence[JSON], room: int) -> tuple[list[str], int]:
    """As many of the things as fit in so many bytes, in the dense form, and how many these are."""
    whole = [(row["stack"], _name(one["name"])) for row in rows for one in row["things"]]
    fewest, most, best = 0, len(whole), [""]
    for _ in range(TRIES):
        number = (fewest + most + 1) // 2
        lines = _by_stack(whole[:number])
        if sum(len(line.encode()) + 3 for line in lines) <= room:
            fewest, best = number, lines
        else:
            most = number - 1
    return best if fewest else [], fewest


TRIES = 8
"""So often the room is halved: what is found is within half a percent of what would fit."""


def _by_stack(things: Sequence[tuple[str | None, str]]) -> list[str]:
    found: dict[str | None, list[str]] = {}
    for stack, name in things:
        found.setdefault(stack, []).append(name)
    lines: list[str] = []
    for stack, names in found.items():
        told = compact.dense(names)
        lines += [f"{_name(stack)}: {told[0]}", *told[1:]] if stack else told
    return list(_folded(lines))


def _fitting(texts: Iterable[str], room: int) -> list[str]:
    """The first of them, as many as so many bytes take."""
    found = []
    for text in texts:
        room -= len(text.encode()) + 4
        if room < 0:
            break
        found.append(text)
    return found


def _name(text: object) -> str:
    """A name for a block: no row of backticks ends that, so that its fence stays short."""
    return _short(text).replace("`", "'") or "-"


# ----------------------------------------------------------------------------------------------------- terminal


def terminal(data: JSON) -> str:
    """The review as text; nothing is left out."""
    lines = [*wrapped(data["verdict"], "", "  "), "", *wrapped(" ".join(_looked(data, _short)), "", "")]
    lines += _terminal_danger(data)
    for title, rows in (
        ("Approvals", [_approval(row, _short) for row in data["approvals"] or ()]),
        ("Overrides", [_short(text) for text in data["overrides"]]),
    ):
        lines += (
            ["", title, *(line for text in rows for line in wrapped(text, "  ", "      "))] if rows else []
        )
    lines += _terminal_table(data)
    for row in data["stacks"]:
        if row["planned"] and row["items"]:
            lines += ["", *_terminal_stack(row)]
    if data["diff"] is not None:
        lines += difference_report.text_lines(data["diff"])
    return "\n".join(lines) + "\n"


def _terminal_danger(data: JSON) -> list[str]:
    rows = data["danger"]
    lines = [] if any(row["kind"] != "capacity" for row in rows) else ["", *wrapped(_harmless(data), "", "")]
    if rows:
        lines += ["", "Danger"] if any(row["kind"] != "capacity" for row in rows) else [""]
    for row in rows:
        lines += wrapped(_title(row, _short), "  ", "      ")
        for one in row["things"]:
            lines += wrapped(_thing(row, one, _short), "    ", "        ")
    return lines


def _terminal_table(data: JSON) -> list[str]:
    if not data["stacks"]:
        return []
    wide = max(5, *(len(_short(row["stack"])) for row in data["stacks"]))
    lines = ["", f"  {'stack':<{wide}} " + " ".join(f"{name:>7}" for name in COLUMNS)]
    for row in data["stacks"]:
        counts = [_cell(row, name) for name in COLUMNS]
        lines.append(f"  {_short(row['stack']):<{wide}} " + " ".join(f"{count:>7}" for count in counts))
        lines += wrapped(_remark(row, _short), "      ", "        ")
    return lines


def _terminal_stack(row: JSON) -> list[str]:
    refusals = [[_short(one.get(name, "")) for name in ("code", "detail", "hint")] for one in row["refusals"]]
    clean = {**row, "stack": _short(row["stack"]), "review_digest": _short(row["review_digest"])}
    return [printable(line) for line in report.terminal(clean, refusals, row["lost"]).rstrip().splitlines()]
