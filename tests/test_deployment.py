"""Where a stack on a cloud keeps what belongs to it."""

from __future__ import annotations

from pathlib import Path

from cf_infra.deployment import Deployment


def test_a_trial_on_another_cloud_shares_nothing_that_lasts_with_the_real_one(tmp_path: Path) -> None:
    real = Deployment(tmp_path, "lab", "donor", own=True)
    trial = Deployment(tmp_path, "lab", "sandbox", own=False)
    assert real.state != trial.state and real.delivered != trial.delivered
    assert real.state not in trial.state.parents and trial.state not in real.state.parents
