"""Rules of stacks/: what each must have, what its parts name, what all stacks share.

Each rule is one small "Ensure ..." function; they are listed in check.py.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from cf_infra import capacity
from cf_infra.capacity import SliceFault
from cf_infra.diagnostics import Diagnostic, Path, some
from cf_infra.model import VIA_AND_MODE, CredentialKind, Kind, Mode, Offer, Rights, Stack, Via
from cf_infra.names import flavor_name
from cf_infra.parse import SETTINGS
from cf_infra.rule import View, meant, stack_fault

# --------------------------------------------------------------------------------------------- the stack


def stacks_are_complete(view: View) -> Iterator[Diagnostic]:
    """Ensure a cloud stack names its cloud, and one with rights admin its hosts."""
    for name, stack in view.inventory.stacks.items():
        if stack.kind is Kind.OPENSTACK and stack.cloud is None:
            yield stack_fault(
                "missing-key",
                name,
                (),
                "needs `cloud`",
                "`cloud` is missing.",
                "cloud: NAME   (an entry of clouds.yaml)",
            )
        if stack.kind is Kind.OPENSTACK and stack.rights is Rights.ADMIN and not stack.hosts:
            yield stack_fault(
                "missing-key",
                name,
                (),
                "needs `hosts`",
                "`hosts` is missing: quotas and capacity are reckoned from them.",
                "hosts: [{name: gpu-01, vcpus: 48, memory_gib: 500, disk_gib: 2000}]",
            )


def hosts_have_names(view: View) -> Iterator[Diagnostic]:
    """Ensure no two hosts of a stack have one name."""
    for name, stack in view.inventory.stacks.items():
        seen: set[str] = set()
        for position, host in enumerate(stack.hosts):
            if host.name in seen:
                yield stack_fault(
                    "bad-value",
                    name,
                    ("hosts", position, "name"),
                    "again",
                    f"Two hosts are called {host.name}.",
                    "name each host differently",
                )
            seen.add(host.name)


def donors_terms_are_there(view: View) -> Iterator[Diagnostic]:
    """Ensure the people who accepted a donor's terms are in a users file."""
    known = sorted(view.inventory.users)
    for name, stack in view.inventory.stacks.items():
        users = stack.donor.terms.users
        if users is None or users in view.inventory.users or f"users/{users}.json" in view.inventory.unread:
            continue
        yield stack_fault(
            "unknown-terms",
            name,
            ("donor", "terms", "users"),
            "no such file",
            f"users/{users}.json is not there. There are: {some(known, users)}.",
            meant(users, known, "add the file"),
        )


def terms_have_one_address(view: View) -> Iterator[Diagnostic]:
    """Ensure stacks with the same terms name the same address of the list: export can write one only."""
    first: dict[str, tuple[str, str]] = {}
    for name, stack in view.inventory.stacks.items():
        terms = stack.donor.terms
        if terms.users is None or terms.url is None:
            continue
        other, url = first.setdefault(terms.users, (name, terms.url))
        if url != terms.url:
            yield stack_fault(
                "bad-value",
                name,
                ("donor", "terms", "url"),
                f"not as in stacks/{other}.yaml",
                f"stacks/{other}.yaml has another address for the same terms, `{terms.users}`.",
                "write the same address in both, or name the terms differently",
            )


def images_have_one_source(view: View) -> Iterator[Diagnostic]:
    """Ensure an image is a file, or an address with its digest, or a name at the cloud."""
    for name, stack in view.inventory.stacks.items():
        for image_name, image in stack.images.items():
            sources = [image.file, image.url, image.name]
            if sources.count(None) != 2 or (image.url is None) != (image.sha256 is None):
                yield stack_fault(
                    "bad-value",
                    name,
                    ("images", image_name),
                    "needs one source",
                    "An image is a `file`, or a `url` with its `sha256`, or a `name` at the cloud.",
                    f"{image_name}: {{name: ubuntu-24.04}}",
                    on_key=True,
                )


def images_stay_inside(view: View) -> Iterator[Diagnostic]:
    """Ensure an image's file is under the root, and its address on a host that the settings allow."""
    allowed = view.inventory.settings.image_hosts
    for name, stack in view.inventory.stacks.items():
        for image_name, image in stack.images.items():
            here = ("images", image_name)
            if image.file is not None and _leaves(image.file):
                yield stack_fault(
                    "bad-value",
                    name,
                    (*here, "file"),
                    "outside the folder",
                    "An image's file is named from the root of the folder and stays below it.",
                    "file: images/ubuntu.qcow2",
                )
            known = image.url is None or SETTINGS in view.inventory.unread
            if not known and urlsplit(image.url or "").netloc not in allowed:
                yield stack_fault(
                    "bad-value",
                    name,
                    (*here, "url"),
                    "host is not allowed",
                    f"settings.yaml allows images from: {some(allowed)}.",
                    "ask an operator to add the host to `image_hosts` in settings.yaml",
                )


def _leaves(file: str) -> bool:
    return file.startswith(("/", "~")) or ".." in file.split("/")


def networks_are_exact(view: View) -> Iterator[Diagnostic]:
    """Ensure a network is written by its first address: clouds write it so, and each plan would change it."""
    for name, stack in view.inventory.stacks.items():
        network = stack.network
        places: list[tuple[Path, str]] = [(("network", "cidr"), network.cidr)]
        places += [(("network", "ssh_from", i), source) for i, source in enumerate(network.ssh_from)]
        for path, written in places:
            exact = str(ipaddress.ip_network(written, strict=False))
            if exact != written:
                yield stack_fault(
                    "bad-value",
                    name,
                    path,
                    f"begins at {exact}",
                    f"`{written}` is an address inside of a network, not the network.",
                    f"write {exact}",
                )


def credentials_can_be_made(view: View) -> Iterator[Diagnostic]:
    """Ensure users are only asked for where users can be made, and periods leave room for their overlap."""
    for name, stack in view.inventory.stacks.items():
        for credential_name, credential in stack.credentials.items():
            here = ("credentials", credential_name)
            made = credential.kind is CredentialKind.USER and credential.source is None
            if made and stack.rights is Rights.MEMBER:
                yield stack_fault(
                    "bad-value",
                    name,
                    (*here, "kind"),
                    "needs rights admin",
                    "A member of a project cannot make users.",
                    "kind: application_credential, or source: env NAME for one that the donor made",
                )
            if int(credential.rotate_every[:-1]) < 2 * int(credential.overlap[:-1]):
                yield stack_fault(
                    "bad-value",
                    name,
                    (*here, "rotate_every"),
                    "shorter than twice `overlap`",
                    f"The period of {credential.rotate_every} must be at least twice the overlap of "
                    f"{credential.overlap}.",
                    "make the period longer or the overlap shorter",
                )


def overlaps_outlast_jobs(view: View) -> Iterator[Diagnostic]:
    """Ensure a login outlives the jobs whose machines were booted with it: they end before it is retired."""
    for name, stack in view.inventory.stacks.items():
        hours = {c: o.max_hours for c, o in stack.offers.items() if o.mode is Mode.ON_DEMAND}
        longest = max(hours, key=lambda runner_class: hours[runner_class], default=None)
        if longest is None or stack.kind is not Kind.OPENSTACK:
            continue
        for credential_name, credential in stack.credentials.items():
            boots = credential.kind in (CredentialKind.USER, CredentialKind.APPLICATION_CREDENTIAL)
            if boots and int(credential.overlap[:-1]) * 24 < hours[longest]:
                yield stack_fault(
                    "bad-value",
                    name,
                    ("credentials", credential_name, "overlap"),
                    "shorter than a job",
                    f"Jobs of `{longest}` run up to {hours[longest]} hours, and a job that began with the login before "
                    f"would lose it after {credential.overlap}.",
                    f"overlap: {-(-hours[longest] // 24)}d",
                )


# -------------------------------------------------------------------------------------------- its offers


def via_and_mode_go_together(view: View) -> Iterator[Diagnostic]:
    """Ensure machines of this mode can be reached in this way, on this kind of stack."""
    pairs = "; ".join(f"{via}: {', '.join(modes)}" for via, modes in VIA_AND_MODE.items())
    for name, stack, runner_class, offer in view.offers():
        modes = VIA_AND_MODE[offer.via]
        only = _ONLY_VIA.get(stack.kind)
        if offer.via is not only and (only is not None or offer.via is Via.APP):
            why = f"We make no machines for a stack of kind {stack.kind}; jobs reach them via {only}."
            yield stack_fault(
                "via-and-mode",
                name,
                ("offers", runner_class, "via"),
                f"not on a stack of kind {stack.kind}",
                why if only else "`via: app` is for stacks of kind app, where the vendor has the machines.",
                f"via: {only}" if only else "via: cirun, drone or direct",
            )
        elif offer.mode not in modes:
            yield stack_fault(
                "via-and-mode",
                name,
                ("offers", runner_class, "mode"),
                f"not with via {offer.via}",
                f"Offers via {offer.via} are {' or '.join(modes)}. All pairs: {pairs}.",
                f"mode: {modes[0]}" if len(modes) == 1 else "change one of the two",
            )


_ONLY_VIA = {Kind.APP: Via.APP, Kind.CIRUN: Via.CIRUN}


def offers_are_complete(view: View) -> Iterator[Diagnostic]:
    """Ensure an offer has what its kind of stack needs to make or to name a machine."""
    for name, stack, runner_class, offer in view.offers():
        for key, why in _needs(stack, offer).items():
            if getattr(offer, key) is None:
                yield stack_fault(
                    "incomplete-offer",
                    name,
                    ("offers", runner_class),
                    f"needs `{key}`",
                    why,
                    _OFFER_EXAMPLES[key],
                    on_key=True,
                )


def _needs(stack: Stack, offer: Offer) -> dict[str, str]:
    """The keys that this offer must have, each with the reason."""
    needs = {}
    if stack.kind is Kind.OPENSTACK:
        needs["image"] = "Machines of an OpenStack cloud boot from an image."
        if stack.rights is Rights.MEMBER:
            needs["flavor"] = "With rights member, machines have a flavor that the donor's cloud has already."
        else:
            needs["slice"] = "With rights admin we make the flavor, and need its size."
    if offer.via is Via.CIRUN:
        needs["label"] = "Jobs reach machines of Cirun by a label."
    if offer.mode is Mode.POOL and offer.mode in VIA_AND_MODE[offer.via]:
        needs["size"] = "A pool has a fixed number of machines."
    return needs


_OFFER_EXAMPLES = {
    "image": "image: ubuntu   (a name of `images:`)",
    "flavor": "flavor: NAME   (as the donor's cloud calls it)",
    "slice": "slice: 1/8   or   slice: {gpus: 1, vcpus: 6, memory_gib: 60, disk_gib: 100}",
    "label": "label: cirun-openstack-gpu-large",
    "size": "size: 2",
}


def offers_name_what_is_there(view: View) -> Iterator[Diagnostic]:
    """Ensure hosts and images that an offer names are in the stack."""
    for name, stack, runner_class, offer in view.offers():
        hosts = sorted(host.name for host in stack.hosts)
        for position, host in enumerate(offer.hosts):
            if host != "all" and host not in hosts:
                yield stack_fault(
                    "unknown-host",
                    name,
                    ("offers", runner_class, "hosts", position),
                    "no such host",
                    f"The stack has: {some(hosts, host)}.",
                    meant(host, hosts, "name one of them"),
                )
        if offer.image is not None and stack.kind is Kind.OPENSTACK and offer.image not in stack.images:
            images = sorted(stack.images)
            yield stack_fault(
                "unknown-image",
                name,
                ("offers", runner_class, "image"),
                "no such image",
                f"The stack has: {some(images, offer.image)}.",
                meant(offer.image, images, "add it to `images:`"),
            )


def flavors_are_made_once(view: View) -> Iterator[Diagnostic]:
    """Ensure no two offers make one flavor: a cloud takes each name once."""
    for name, stack in view.inventory.stacks.items():
        first: dict[str, str] = {}
        for runner_class, offer in stack.offers.items():
            if stack.kind is not Kind.OPENSTACK or stack.rights is not Rights.ADMIN:
                continue
            flavor = flavor_name(name, runner_class, offer)
            other = first.setdefault(flavor, runner_class)
            if other != runner_class:
                yield stack_fault(
                    "bad-value",
                    name,
                    ("offers", runner_class, "flavor"),
                    f"also `{other}`",
                    f"`{other}` makes the flavor `{flavor}` already, and a cloud has each name once.",
                    "give it another name, or leave `flavor` out",
                )


def labels_are_of_one_class(view: View) -> Iterator[Diagnostic]:
    """Ensure a label means one runner class, at all stacks."""
    first: dict[str, tuple[str, str]] = {}
    for name, _, runner_class, offer in view.offers():
        if offer.label is None:
            continue
        other_stack, other_class = first.setdefault(offer.label, (name, runner_class))
        if other_class != runner_class:
            yield stack_fault(
                "label-at-two-classes",
                name,
                ("offers", runner_class, "label"),
                f"also `{other_class}`",
                f"`{offer.label}` is the label of `{other_class}` in stacks/{other_stack}.yaml.",
                "give each class its own label",
            )


def slices_come_out_whole(view: View) -> Iterator[Diagnostic]:
    """Ensure a fraction of a host is whole GPUs, the same on all its hosts, of one model."""
    for name, stack, runner_class, offer in view.offers():
        fault = slice_fault(stack, offer)
        if fault:
            yield stack_fault(
                "slice-not-whole",
                name,
                ("offers", runner_class, "slice"),
                "cannot be cut",
                fault,
                "slice: {gpus: 1, vcpus: 6, memory_gib: 60, disk_gib: 100}, or hosts: [those that are alike]",
            )


def slice_fault(stack: Stack, offer: Offer) -> str | None:
    """Why the offer's machine cannot be cut from its hosts; None if it can, or if a host that it names is missing."""
    if offer.hosts and not capacity.hosts_of(stack, offer):
        return None
    try:
        size = capacity.shape(stack, offer)
        if size is not None and size.gpus:
            capacity.gpu_model(stack, offer)
    except SliceFault as fault:
        return str(fault)
    return None
