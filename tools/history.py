"""docs/history.md: which request each entry of the access list of September 2025 came from, or that none did.

Both sides are data of the tests; tools/docs.py writes the page, tests/test_history.py looks at what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from cf_infra import access, admin_requests
from cf_infra.admin_requests import Request

ROOT = Path(__file__).resolve().parents[1]
LIST = "tests/data/conda-forge-access-2025-09.yml"
REQUESTS = "tests/data/access-requests-2023-2025.jsonl"
LAST_DAY = date(2025, 9, 30)
"""The list is of September 2025; its day is not known."""

Pair = tuple[str, str]
"""A feedstock and a resource."""

HEAD = """\
# From requests to the list of September 2025

conda-forge's [access list](../{list}) of September 2025 does not say who asked for what, when and why. The
[{count} requests](../{requests}) of conda-forge/admin-requests from December 2023 to December 2025 do. This page
brings the two together: {known} of the list's {entries} entries were asked for by then; for {none} there is no request
in the data, and how they came onto the list is not known.

To do it again, from a folder with the `stacks/` and `users/` of this repository and no `grants.yaml`, in which the
requests lie as `history.jsonl`:

```sh
cf-infra import requests history.jsonl
```

That gives a sound `grants.yaml` with an entry for each request that granted something. What requests do not say
(approver, reason, end) is marked by `imported:`, and `check` warns once until somebody fills it in.

## Entries of the list

*again*: a later request that asked for what was granted already. *since*: a request that is younger than the list.
*differs*: the list says otherwise than the request whether jobs of pull requests may run.
"""


@dataclass(frozen=True)
class Entry:
    """One entry of the list: a policy and a resource, and the requests that asked for it, the first one first."""

    feedstock: str
    resource: str
    pull_request: bool
    asked: tuple[Request, ...]
    since: tuple[Request, ...] = ()


@dataclass(frozen=True)
class History:
    """The list's entries, and the pairs that were asked for and are not on it: before its day, and after."""

    entries: list[Entry]
    not_listed: Mapping[Pair, list[Request]] = field(default_factory=dict)
    later: Mapping[Pair, list[Request]] = field(default_factory=dict)
    requests: int = 0


def read() -> History:
    """Bring the list and the requests together."""
    listed = access.read_access((ROOT / LIST).read_bytes(), LIST)
    requests = admin_requests.read_history((ROOT / REQUESTS).read_bytes(), REQUESTS)
    asked: dict[Pair, list[Request]] = {}
    for request in requests:
        for feedstock in request.feedstocks if not request.revoke else ():
            for resource in request.resources:
                asked.setdefault((feedstock, resource), []).append(request)
    resources = listed.resources_of()
    entries = []
    for policy in listed.policies:
        feedstock = policy.repo.removesuffix("-feedstock")
        for resource in resources[policy.id]:
            found = asked.get((feedstock, resource), [])
            then = tuple(request for request in found if _by_then(request))
            since = tuple(request for request in found if not _by_then(request))
            entries.append(Entry(feedstock, resource, policy.pull_request, then, since))
    pairs = {(entry.feedstock, entry.resource) for entry in entries}
    rest = {pair: found for pair, found in asked.items() if pair not in pairs}
    return History(
        entries,
        {pair: found for pair, found in rest.items() if _by_then(found[0])},
        {pair: found for pair, found in rest.items() if not _by_then(found[0])},
        len(requests),
    )


def _by_then(request: Request) -> bool:
    return request.day is not None and request.day <= LAST_DAY


def page() -> str:
    """Return docs/history.md."""
    found = read()
    known = sum(bool(entry.asked) for entry in found.entries)
    head = HEAD.format(
        list=LIST,
        requests=REQUESTS,
        count=found.requests,
        known=known,
        entries=len(found.entries),
        none=len(found.entries) - known,
    )
    blocks = [
        head,
        "| feedstock | resource | came from | |\n|---|---|---|---|",
        *(_row(entry) for entry in found.entries),
        "\n## Asked for by then, and not on the list\n",
        "Refused, taken back by hand, or granted elsewhere: the data does not say.\n",
        *_pairs(found.not_listed),
        "\n## Asked for since, and not on the list\n",
        *_pairs(found.later),
    ]
    return "\n".join(blocks) + "\n"


def _row(entry: Entry) -> str:
    remarks = []
    if entry.asked and not any(request.pull_request == entry.pull_request for request in entry.asked):
        remarks.append(
            f"differs: {'only the list' if entry.pull_request else 'only the request'} has pull requests"
        )
    for word, requests in (("again", entry.asked[1:]), ("since", entry.since)):
        if requests:
            remarks.append(f"{word}: {', '.join(_named(request) for request in requests)}")
    origin = _named(entry.asked[0]) if entry.asked else "no request"
    return f"| {entry.feedstock} | `{entry.resource}` | {origin} | {'; '.join(remarks)} |"


def _named(request: Request) -> str:
    return f"{request.day} `{request.source}`"


def _pairs(found: Mapping[Pair, list[Request]]) -> Iterable[str]:
    yield "| feedstock | resource | asked for |\n|---|---|---|"
    for (feedstock, resource), requests in found.items():
        yield f"| {feedstock} | `{resource}` | {', '.join(_named(r) for r in requests)} |"
