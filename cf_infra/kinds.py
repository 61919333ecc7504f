"""Which kinds of stacks are deployed, and what is around each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cf_infra import github_files, lab, openstack
from cf_infra.at_github import AtGithub
from cf_infra.at_openstack import AtOpenstack
from cf_infra.compile import provider_of
from cf_infra.deployment import Deployment
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.github_login import GithubLogin, github_login
from cf_infra.keys import Ring
from cf_infra.model import Inventory, Kind, Settings, Stack
from cf_infra.openstack import Login
from cf_infra.project import Folder
from cf_infra.resolve import ResolvedStack
from cf_infra.surroundings import Surroundings
from cf_infra.tofu import Tool

Say = Callable[[str], None]


GITHUB = "github:"
"""What the places of stacks of kind github and app begin with; no cloud of clouds.yaml is called so."""


def is_deployed(stack: Stack) -> bool:
    """Is there something of ours to provision?"""
    return stack.kind is Kind.OPENSTACK or github_files.is_ours(stack)


def own_cloud(stack: Stack, settings: Settings) -> str:
    """Where a stack is deployed: an entry of clouds.yaml, or the organisation at GitHub."""
    at_github = stack.kind in (Kind.GITHUB, Kind.APP)
    return f"{GITHUB}{settings.organisation}" if at_github else stack.cloud or ""


def deployment(
    root: Path, name: str, stack: Stack, settings: Settings, others: Mapping[str, str]
) -> Deployment:
    """A stack on its own cloud, or on the one that `others` names for it; one that provisions nothing is nowhere.

    Raises Failure("usage").
    """
    if not is_deployed(stack):
        return Deployment(root, name, "", own=True)
    own = own_cloud(stack, settings)
    cloud = others.get(name, own)
    if cloud != own and stack.kind is not Kind.OPENSTACK:
        detail = f"`{name}` is of kind {stack.kind}; its place is the organisation of settings.yaml."
        raise Failure(Diagnostic("usage", detail=detail, hint=f"leave --cloud {name}={cloud} out"))
    return Deployment(root, name, cloud, own=cloud == own)


def clouds(inventory: Inventory) -> Mapping[str, str | None]:
    """The own cloud of each stack."""
    return {name: own_cloud(stack, inventory.settings) for name, stack in inventory.stacks.items()}


def tool_for(kind: Kind, tool: Tool) -> Tool:
    """OpenTofu with the dependency lock that fits the kind: it must name just the providers that are used."""
    return tool.with_provider(provider_of(kind))


def login(folder: Folder, deployment: Deployment, stack: ResolvedStack) -> Login | GithubLogin:
    """How the place of a stack is reached. Raises Failure."""
    if stack.stack.kind is Kind.OPENSTACK:
        return openstack.login(deployment.cloud, lab.state_dir(folder.root))
    return github_login(folder.inventory.settings)


def surroundings(
    folder: Folder, deployment: Deployment, stack: ResolvedStack, login: Any, ring: Ring, say: Say
) -> Surroundings:
    """What is around OpenTofu for a stack."""
    if stack.stack.kind is Kind.OPENSTACK:
        return AtOpenstack(folder, deployment, stack, login, ring, say)
    return AtGithub(folder, deployment, stack, login, say)
