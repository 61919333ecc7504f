"""What a feedstock's own files need, so that its jobs run on what was granted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cf_infra.catalog import Offered
from cf_infra.chain import Lines
from cf_infra.edit import scalar
from cf_infra.model import Offer

_PLATFORMS = {
    ("linux", "x86_64"): ("linux_64", "linux and x86_64"),
    ("linux", "aarch64"): ("linux_aarch64", "linux and aarch64"),
    ("linux", "ppc64le"): ("linux_ppc64le", "linux and ppc64le"),
    ("macos", "x86_64"): ("osx_64", "osx and x86_64"),
    ("macos", "aarch64"): ("osx_arm64", "osx and arm64"),
    ("windows", "x86_64"): ("win_64", "win"),
    ("windows", "aarch64"): ("win_arm64", "win and arm64"),
}
"""System and processor: conda-smithy's name of the platform, and the selector of its jobs."""


LABELS_KEY = "github_actions_labels"
CONFIG = "conda-forge.yml"
BUILD_CONFIG = "recipe/conda_build_config.yaml"
HOSTED = "hosted"
"""conda-smithy's label for GitHub's own runners; without it, other platforms of a self-hosted feedstock would wait for
runners that nobody has."""
System = tuple[str, str]
"""System and processor of an offer."""


def platform(system: System) -> str:
    """conda-smithy's name of a platform; empty if it has none."""
    return _PLATFORMS.get(system, ("", ""))[0]


def system_of(offer: Offer) -> System:
    """System and processor of an offer."""
    return offer.os, offer.arch


def minutes(offers: Iterable[Offer]) -> int:
    """`timeout_minutes` for jobs that may run on any of the offers."""
    return min(offer.max_hours for offer in offers) * 60


def label_lines(labels: Mapping[System, Sequence[str]]) -> list[str]:
    """`github_actions_labels` with the first label of each system; further ones as comments.

    A second value for a platform would have each package built twice. What is built elsewhere stays on hosted runners.
    """
    lines, selectors = [f"{LABELS_KEY}:"], []
    for system, (first, *others) in labels.items():
        selector = _PLATFORMS.get(system, ("", ""))[1]
        selectors += [selector] if selector else []
        lines += [f"  - {scalar(first)}" + (f"  # [{selector}]" if selector else "")]
        lines += [f"  # or: {scalar(other)}" for other in others]
    rest = " and ".join(f"not ({s})" if " and " in s else f"not {s}" for s in selectors)
    return [*lines, *([f"  - {HOSTED}  # [{rest}]"] if rest else [])]


def feedstock_lines(offers: Iterable[Offered], pull_requests: bool) -> tuple[Lines, ...]:
    """What a feedstock needs to run its jobs there; nothing for machines that have no label.

    conda-smithy 3.28 and later: `github_actions_labels` is read from recipe/conda_build_config.yaml; a self-hosted
    runner is triggered by pushes only unless `triggers` says more, and a job ends after `timeout_minutes`, 360 if not
    set (https://conda-forge.org/docs/how-to/advanced/self-hosted-runners/).
    """
    by_system: dict[System, list[Offer]] = {}
    for found in offers:
        if found.offer.label is not None:
            by_system.setdefault(system_of(found.offer), []).append(found.offer)
    if not by_system:
        return ()
    labels = {s: list(dict.fromkeys(o.label or "" for o in same)) for s, same in by_system.items()}
    providers = [f"  {platform(system)}: github_actions" for system in by_system if platform(system)]
    settings = [
        *(["provider:", *providers] if providers else []),
        "github_actions:",
        "  self_hosted: true",
        f"  triggers: {'[push, pull_request]' if pull_requests else '[push]'}",
        f"  timeout_minutes: {minutes(o for same in by_system.values() for o in same)}",
    ]
    return (
        Lines(BUILD_CONFIG, "\n".join(label_lines(labels))),
        Lines(CONFIG, "\n".join(settings)),
    )
