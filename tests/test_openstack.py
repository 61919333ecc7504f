"""What is asked of OpenStack itself, where its answers come late."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from openstack import exceptions as sdk

from cf_infra import openstack
from cf_infra.diagnostics import Failure


class Nova:
    """A Nova that shows a deleted server for some more looks, as the real one does before it forgets it."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.deleted = False

    def delete_server(self, _server_id: str, ignore_missing: bool) -> None:
        self.deleted = ignore_missing

    def get_server(self, server_id: str) -> Any:
        assert self.deleted
        if self.looks == 0:
            raise sdk.NotFoundException
        self.looks -= 1
        names = ("addresses", "flavor", "image", "metadata")
        return SimpleNamespace(
            id=server_id, name="x", status="DELETED", project_id="p", hypervisor_hostname="h", fault=None,
            **{name: {} for name in names},
        )  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


def test_a_server_is_gone_when_nova_forgets_it_and_not_when_it_says_deleted() -> None:
    nova = Nova(looks=3)
    openstack.delete_server(SimpleNamespace(compute=nova), "1")  # type: ignore[arg-type]
    assert nova.looks == 0


def test_a_server_that_stays_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openstack, "DELETED_WITHIN", -1.0)
    with pytest.raises(Failure) as raised:
        openstack.delete_server(SimpleNamespace(compute=Nova(looks=9)), "1f")  # type: ignore[arg-type]
    (fault,) = raised.value.diagnostics
    assert fault.code == "still-there" and "1f" in fault.detail
