"""A stack's credentials as the last run left them: which do not work, which are late, which nobody has tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from cf_infra import credential_report
from cf_infra.findings import Finding

UNTRIED = timedelta(days=2)


def credentials(
    stack: str, rows: Sequence[Mapping[str, Any]], today: date, clock: date | None
) -> Iterator[Finding]:
    """Everything that is wrong with them on a day. `clock`: the real one, by which logins are dated."""
    where = f"{stack} (credentials)"
    for row in rows:
        subject, since = f"{row['credential']}/{row['generation']}", row["seen_at"] or ""
        replace = f"cf-infra revoke-now {stack}/{row['credential']}"
        broken, late = credential_report.broken(row, today), credential_report.late(row, today)
        if broken:
            yield Finding("broken-credential", where, subject, broken, since, replace)
        elif late:
            fix = f"cf-infra rotate {stack}" if row["by"] == "us" else "# ask who makes it for another one"
            yield Finding("late-credential", where, subject, late, "", fix)
        if not broken and row["proven"] is not None and _untried(since, clock):
            text = f"The last login with it was on {since[:10] or 'no day that is known'}."
            yield Finding("untried-credential", where, subject, text, since, f"cf-infra rotate {stack}")


def _untried(since: str, clock: date | None) -> bool:
    return not since or (clock is not None and date.fromisoformat(since[:10]) + UNTRIED < clock)
