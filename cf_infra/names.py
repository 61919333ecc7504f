"""The names that we give to what we make; each begins `cf-<stack>-` unless the stack file says otherwise."""

from __future__ import annotations

from cf_infra.model import Offer, Stack

SANDBOX = "sandbox"
"""What the OpenStack on this machine is called; clouds.yaml needs no entry for it."""


def is_sandbox(cloud: str) -> bool:
    """True for the clouds that are on this machine."""
    return cloud == SANDBOX or cloud.startswith(f"{SANDBOX}-")


def prefix(stack: str) -> str:
    """What the names of everything of a stack begin with."""
    return f"cf-{stack}"


def flavor_name(stack: str, runner_class: str, offer: Offer) -> str:
    """The flavor of an offer: the one that the stack file names, else our own."""
    return offer.flavor or f"{prefix(stack)}-{runner_class}"


def image_name(name: str, stack: Stack, offer: Offer) -> str | None:
    """How the cloud calls the image of an offer; None where the offer has none."""
    return None if offer.image is None else address_of_image(name, stack, offer.image)


def address_of_image(name: str, stack: Stack, image: str) -> str:
    """How the cloud calls an image of the stack."""
    return stack.images[image].name or f"{prefix(name)}-{image}"
