"""`sandbox job`: what Cirun does for one job, and nothing more.

It takes what was delivered (access list, runner entry, login), asks whether the repository may use the label, boots
the offered flavor and image in the tenant project with the delivered login, and deletes the machine. Only the
report of which GPUs Nova attached is asked for by the sandbox's administrator: a tenant cannot see that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from cf_infra import openstack, yaml12
from cf_infra.access import AccessList, read_access
from cf_infra.deployment import Deployment, deployments
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github_files import ACCESS, RUNNERS
from cf_infra.model import CredentialKind, Grant, Stack
from cf_infra.names import is_sandbox

if TYPE_CHECKING:
    from openstack.connection import Connection

Say = Callable[[str], None]
LIMIT = 120.0
"""Seconds that a machine may take to become ACTIVE."""


@dataclass(frozen=True)
class Job:
    """What a job got."""

    repository: str
    label: str
    policy: str
    server: str
    server_id: str
    flavor: str
    image: str
    host: str
    gpus: list[str]


def run(root: Path, stacks: dict[str, Stack], feedstock: str, resource: str, sandbox: Path, say: Say) -> Job:
    """One job of a feedstock on a runner class or label. Raises Failure("job-refused") without a grant."""
    repository = Grant(feedstock=feedstock, resources=[]).repository
    deployment = _deployment(root, stacks, resource)
    label = (
        stacks[deployment.stack].offers[resource].label
        if resource in stacks[deployment.stack].offers
        else resource
    )
    if label is None:
        detail = f"`{resource}` has machines of its own and takes no jobs by label."
        hint = "log in to the machine itself; see its address:\ncf-infra status"
        raise Failure(Diagnostic("job-refused", detail=detail, hint=hint))
    listed = read_access((deployment.delivered / ACCESS).read_bytes(), ACCESS)
    policy = _policy(listed, repository, label)
    say(f"{repository} may use {label} ({policy})")
    runner = _runner(deployment, label)
    value = orjson.loads((deployment.delivered / _credential(deployment, stacks)).read_bytes())
    admin_login = openstack.login(deployment.cloud, sandbox)
    with openstack.connected(admin_login) as admin, _tenant(value, admin_login) as tenant:
        return _boot(tenant, admin, value, runner, repository, label, policy, say)


def _deployment(root: Path, stacks: dict[str, Stack], resource: str) -> Deployment:
    found = [d for d in deployments(root, {}) if is_sandbox(d.cloud) and (d.delivered / ACCESS).is_file()]
    for deployment in found:
        stack = stacks.get(deployment.stack)
        if stack is not None and any(resource in (c, o.label) for c, o in stack.offers.items()):
            return deployment
    detail = f"No stack that is applied to the sandbox offers `{resource}`."
    hint = "apply one first:\ncf-infra plan STACK --cloud STACK=sandbox && cf-infra apply"
    raise Failure(Diagnostic("job-refused", detail=detail, hint=hint))


def _policy(listed: AccessList, repository: str, label: str) -> str:
    repos = {policy.id: policy.repo for policy in listed.policies}
    for control in listed.access_control:
        if control.resource == label:
            for policy in control.policies:
                if repos[policy].lower() == repository.lower():
                    return policy
    detail = f"No policy of the access list lets `{repository}` use `{label}`."
    hint = "ask for it: add a grant to grants.yaml, then\ncf-infra plan && cf-infra apply"
    raise Failure(Diagnostic("job-refused", detail=detail, hint=hint))


def _runner(deployment: Deployment, label: str) -> dict[str, Any]:
    value, faults = yaml12.load((deployment.delivered / RUNNERS).read_bytes(), RUNNERS)
    if faults:
        raise Failure(*faults)
    for runner in value["runners"]:
        if label in runner["labels"]:
            return dict(runner)
    raise Failure(Diagnostic("job-refused", detail=f"No runner entry has the label `{label}`."))


def _credential(deployment: Deployment, stacks: dict[str, Stack]) -> str:
    for name, credential in stacks[deployment.stack].credentials.items():
        takes = credential.kind is CredentialKind.USER and "cirun" in credential.deliver
        if takes and (deployment.delivered / f"{name}.json").is_file():
            return f"{name}.json"
    detail = f"No login of `{deployment.stack}` was delivered to Cirun."
    hint = "add one to the stack file, then plan and apply:\ncredentials: {cirun: {kind: user, deliver: [cirun]}}"
    raise Failure(Diagnostic("job-refused", detail=detail, hint=hint))


@contextmanager
def _tenant(value: dict[str, str], admin: openstack.Login) -> Iterator[Connection]:
    """A connection with the delivered login, in the form that Cirun's cloud-connect takes."""
    user = {"username": value["username"], "project_id": value["project_id"]}
    login = replace(admin, cloud="the delivered login", auth_url=value["auth_url"])
    tenant = openstack.as_user(login, user, value["password"])
    try:
        with openstack.explained(login.cloud, login.auth_url, [value["password"]]):
            tenant.session.get_token()  # authorize() would hide the kind of a fault
        yield tenant
    finally:
        tenant.close()


def _boot(
    tenant: Connection,
    admin: Connection,
    value: dict[str, str],
    runner: dict[str, Any],
    repository: str,
    label: str,
    policy: str,
    say: Say,
) -> Job:
    with openstack.explained("the sandbox"):
        flavor = _seen(
            tenant.compute.find_flavor(runner["instance_type"], ignore_missing=True), "flavor", label
        )
        image = _seen(tenant.image.find_image(runner["machine_image"], ignore_missing=True), "image", label)
        network = _seen(tenant.network.find_network(value["network"], ignore_missing=True), "network", label)
    name = f"cirun-{label}-{int(time.time())}"
    say(f"booting {name} ({flavor.name}, {image.name})")
    with openstack.explained("the sandbox"):
        server = tenant.compute.create_server(
            name=name, flavor_id=flavor.id, image_id=image.id, networks=[{"uuid": network.id}]
        )
    try:
        free = "see what is free:\ncf-infra status"
        openstack.wait_until_active(tenant, server.id, "machine", LIMIT, free)
        seen = openstack.server_by_id(admin, server.id)
        gpus = openstack.gpus_of(admin, server.id)
        say(f"ACTIVE; Nova attached {', '.join(gpus) if gpus else 'no GPU'}")
    finally:
        openstack.delete_server(tenant, server.id)
        say("deleted")
    host = seen.host if seen is not None else None
    return Job(repository, label, policy, name, server.id, flavor.name, image.name, host or "", gpus)


def _seen(found: Any, what: str, label: str) -> Any:
    if found is None:
        raise Failure(Diagnostic("cloud-refused", detail=f"The tenant does not see the {what} of `{label}`.",
                                 hint="see what an apply would mend:\ncf-infra plan"))  # fmt: skip
    return found
