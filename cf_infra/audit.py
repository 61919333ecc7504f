"""Declared = real, both ways: what the files mean today against what an audit saw, as findings.

Pure: what was seen comes in (observed.py), differences go out (findings.py). One file for each place.
"""

from __future__ import annotations

from collections.abc import Iterator

from cf_infra.audit_cirun import cirun
from cf_infra.audit_credentials import credentials
from cf_infra.audit_github import github
from cf_infra.audit_lists import lists
from cf_infra.audit_openstack import openstack
from cf_infra.declared import Declared
from cf_infra.findings import Finding, in_order
from cf_infra.observed import Left, Observed


def audit(declared: Declared, seen: Observed) -> list[Finding]:
    """All findings, by place, kind and subject."""
    return in_order(_all(declared, seen))


def _all(declared: Declared, seen: Observed) -> Iterator[Finding]:
    if seen.lists is not None:
        yield from lists(declared, seen.lists)
    if seen.github is not None:
        yield from github(declared, seen.github)
    if seen.cirun is not None:
        there = seen.github.repositories if seen.github is not None else {}
        owner = f"{declared.organisation}/".lower()
        moved = {
            name.lower() for name, found in there.items() if found.full_name.lower() != owner + name.lower()
        }
        yield from cirun(declared, seen.cirun, seen.lists, moved)
    for name, cloud in sorted(seen.clouds.items()):
        yield from openstack(declared, declared.resolved.stacks[name], cloud, seen.left.get(name, Left()))
    for name, rows in sorted(seen.credentials.items()):
        yield from credentials(name, rows, declared.resolved.today, seen.clock)
    for one in seen.not_asked:
        yield Finding("not-audited", one.place, "everything there", one.why, fix=one.fix)
