"""A stack's cloud compared with what grants say and with what the last apply left: servers, logins, flavors."""

from __future__ import annotations

from collections.abc import Iterator

from cf_infra.declared import Declared, word
from cf_infra.findings import Finding
from cf_infra.observed import Left, SeenCloud, SeenServer
from cf_infra.resolve import ResolvedStack


def openstack(declared: Declared, stack: ResolvedStack, seen: SeenCloud, left: Left) -> Iterator[Finding]:
    """Everything that differs at the cloud of one stack."""
    where, fix = f"{stack.name} ({seen.cloud})", declared.apply(stack.name)
    for server in seen.servers:
        yield from _server(declared, stack, where, server, left)
    there = {server.grant for server in seen.servers}
    for key in sorted(stack.machines.keys() - there):
        yield Finding(
            "missing-access",
            where,
            key,
            "A grant says so, and there is no server for it.",
            left.applied_at,
            fix,
        )
    for login in seen.logins:
        if login.id not in left.logins:
            text = f"The {login.sort} {login.name} carries our marks and is in no inventory: it may log in."
            command = f"{login.sort} delete {login.id}"
            yield Finding("orphan", where, login.name, text, login.since, _by_hand(seen, command))
    for flavor in seen.flavors:
        strange = [p for p in flavor.projects or () if p != left.project]
        if flavor.projects is None:
            text = "The flavor is open to every project of the cloud."
            yield Finding("undeclared-access", where, flavor.name, text, left.applied_at, fix)
        for project in strange:
            text = f"The project {project} may use the flavor, and it is not the stack's."
            command = f"flavor unset --project {word(project)} {flavor.id}"
            yield Finding("undeclared-access", where, flavor.name, text, "", _by_hand(seen, command))
        if flavor.runner_class not in stack.uses and left.project in (flavor.projects or ()):
            text = f"No grant of `{flavor.runner_class}` is alive, and its flavor can still be used."
            yield Finding("expired-but-alive", where, flavor.name, text, left.applied_at, fix)


def _server(
    declared: Declared, stack: ResolvedStack, where: str, server: SeenServer, left: Left
) -> Iterator[Finding]:
    fix = declared.apply(stack.name)
    if server.id not in left.servers:
        text = f"The server {server.name} ({server.status}) carries our marks and is in no inventory."
        yield Finding("orphan", where, server.grant or server.name, text, server.created, fix)
    elif server.grant not in stack.machines:
        repository, _, rest = server.grant.partition("/")
        grant = declared.ended(repository, rest.partition("/")[0])
        end = grant.expires.isoformat() if grant is not None and grant.expires is not None else ""
        kind = "expired-but-alive" if end else "undeclared-access"
        text = f"Its grant ended on {end}" if end else "No grant names it"
        yield Finding(
            kind,
            where,
            server.grant,
            f"{text}, and its server {server.name} runs.",
            end or server.created,
            fix,
        )


def _by_hand(seen: SeenCloud, command: str) -> str:
    return f"openstack --os-cloud {word(seen.cloud)} {command}"
