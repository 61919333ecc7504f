"""What a feedstock's own files need, so that its jobs run on what was granted."""

from __future__ import annotations

from collections.abc import Iterable

from cf_infra.access import scalar
from cf_infra.catalog import Offered
from cf_infra.chain import Lines
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


def feedstock_lines(offers: Iterable[Offered], pull_requests: bool) -> tuple[Lines, ...]:
    """What a feedstock needs to run its jobs there; nothing for machines that have no label.

    conda-smithy 3.28 and later: `github_actions_labels` is read from recipe/conda_build_config.yaml; a self-hosted
    runner is triggered by pushes only unless `triggers` says more, and a job ends after `timeout_minutes`, 360 if not
    set (https://conda-forge.org/docs/how-to/advanced/self-hosted-runners/).
    """
    by_system: dict[tuple[str, str], list[Offer]] = {}
    for found in offers:
        if found.offer.label is not None:
            by_system.setdefault((found.offer.os, found.offer.arch), []).append(found.offer)
    if not by_system:
        return ()
    labels, providers = [], []
    for system, same in by_system.items():
        platform, selector = _PLATFORMS.get(system, ("", ""))
        first, *others = dict.fromkeys(scalar(offer.label or "") for offer in same)
        labels += [f"  - {first}" + (f"  # [{selector}]" if selector else "")]
        # A second value would have each package built twice.
        labels += [f"  # or: {other}" for other in others]
        providers += [f"  {platform}: github_actions"] if platform else []
    minutes = min(offer.max_hours for same in by_system.values() for offer in same) * 60
    settings = [
        *(["provider:", *providers] if providers else []),
        "github_actions:",
        "  self_hosted: true",
        f"  triggers: {'[push, pull_request]' if pull_requests else '[push]'}",
        f"  timeout_minutes: {minutes}",
    ]
    return (
        Lines("recipe/conda_build_config.yaml", "\n".join(["github_actions_labels:", *labels])),
        Lines("conda-forge.yml", "\n".join(settings)),
    )
