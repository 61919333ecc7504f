"""The sandbox for a root folder: which hosts and which things of the donor it has, by the folder's stacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cf_infra import capacity, sandbox
from cf_infra.capacity import NOTHING
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.model import Host, Kind, Rights, Stack

Progress = Callable[[str], None]
BASE_PORT = 15000


def state_dir(root: Path) -> Path:
    """Where the sandbox of a root folder lives."""
    return Path(os.environ.get("CF_INFRA_SANDBOX_DIR") or root / ".state" / "sandbox").absolute()


def base_port() -> int:
    """The first of its ports. Raises Failure("usage") for a setting that is no port."""
    text = os.environ.get("CF_INFRA_SANDBOX_PORT", str(BASE_PORT))
    if not text.isdecimal() or not 1024 <= int(text) <= 65000:
        raise Failure(Diagnostic("usage", detail=f"CF_INFRA_SANDBOX_PORT is {text!r}.",
                                 hint="set it to a port between 1024 and 65000, or unset it"))  # fmt: skip
    return int(text)


def up(root: Path, stacks: dict[str, Stack], progress: Progress) -> sandbox.Endpoints:
    """Start the sandbox with the hosts of `stacks` (those of kind openstack). Raises Failure."""
    clouds = {name: stack for name, stack in stacks.items() if stack.kind is Kind.OPENSTACK}
    if not clouds:
        raise Failure(Diagnostic("sandbox", detail="The folder has no stack of kind openstack.",
                                 hint="name a folder that has one:\ncf-infra --root DIR sandbox up"))  # fmt: skip
    hosts = [_host(host) for stack in clouds.values() for host in stack.hosts]
    with told():
        return sandbox.up(state_dir(root), base_port(), hosts, _seed(clouds.values()), progress)


def down(root: Path, progress: Progress) -> None:
    """Stop it. Raises Failure."""
    with told():
        sandbox.down(state_dir(root), progress)


def reset(root: Path, progress: Progress) -> None:
    """Empty it. Raises Failure."""
    with told():
        sandbox.reset(state_dir(root), progress)


def environment(root: Path) -> dict[str, str]:
    """The variables with which OpenStack's own clients find it. Raises Failure."""
    with told():
        return sandbox.env(state_dir(root))


@contextmanager
def told() -> Iterator[None]:
    """The sandbox's errors as ours."""
    try:
        yield
    except sandbox.SandboxError as error:
        raise Failure(Diagnostic("sandbox", detail=error.detail, hint=error.hint)) from None


def _host(host: Host) -> sandbox.Host:
    gpus = tuple(
        sandbox.Gpu(gpu.model, gpu.pci or f"{16 + index:02x}:00.0")
        for index, gpu in enumerate(capacity.usable_gpus(host))
    )
    return sandbox.Host(host.name, host.vcpus, host.memory_gib * 1024, host.disk_gib, gpus)


def _seed(stacks: Iterable[Stack]) -> sandbox.Seed:
    images: dict[str, None] = {}
    flavors: dict[str, sandbox.Flavor] = {}
    external = None
    for stack in stacks:
        images.update(dict.fromkeys(i.name for i in stack.images.values() if i.name is not None))
        external = stack.network.external or external
        if stack.rights is Rights.MEMBER:
            for offer in stack.offers.values():
                size = capacity.shape(stack, offer) or NOTHING
                model = capacity.gpu_model(stack, offer) if size.gpus else None
                if offer.flavor is not None:
                    flavors[offer.flavor] = sandbox.Flavor(
                        offer.flavor,
                        size.vcpus or 1,
                        size.memory_mib or 512,
                        size.disk_gib or 1,
                        model,
                        size.gpus,
                    )
    return sandbox.Seed(tuple(images), tuple(flavors.values()), external)
