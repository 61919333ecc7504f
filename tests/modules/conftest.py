"""The programs that the modules are tested with, and the cloud, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from module_root import PROJECT, Program
from testlab import Lab, start

from cf_infra.diagnostics import Failure
from cf_infra.tofu import find


@pytest.fixture(scope="session")
def tofu() -> Program:
    try:
        tool = find(PROJECT)
    except Failure as failure:
        pytest.skip(f"OpenTofu is not there: {failure}. Run `make setup`.")
    settings = os.environ.get("CF_INFRA_TEST_TOFURC")  # to test with another version of the provider
    return Program(tool.tofu, Path(settings) if settings else tool.tofurc)


@pytest.fixture(scope="session")
def terraform(tofu: Program) -> Program:
    path = shutil.which("terraform")
    if path is None:
        pytest.skip("Terraform is not on PATH: that the modules are valid Terraform too was NOT tested.")
    return Program(Path(path), tofu.settings)


@pytest.fixture(scope="session")
def modules_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A sandbox of their own: the scenes of tests/e2e, which play at the same time, count what is on their hosts."""
    with start(tmp_path_factory, "modules") as made:
        yield made


@pytest.fixture(scope="session")
def clouds_yaml(request: pytest.FixtureRequest) -> Path:
    """A clouds.yaml with the clouds `sandbox` (administrator) and `sandbox-member` (one project, no more)."""
    other = os.environ.get(
        "CF_INFRA_TEST_CLOUDS_YAML"
    )  # to test in another cloud than this machine's sandbox
    return Path(other or request.getfixturevalue("modules_lab").clouds_yaml)
