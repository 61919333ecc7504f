"""Canaries at a real OpenStack: a delivered login works, a deleted one does not, and what is booted is gone after."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import yaml
from test_sandbox import FOUR_GPUS, SEED, Sandbox, free_base_port, network

from cf_infra import openstack
from cf_infra.canaries import boot_canary, canary, canary_of, prove_all
from cf_infra.diagnostics import Failure, render
from cf_infra.material import Material
from cf_infra.model import CredentialKind, Settings

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
LOGINS = 50
IMAGE = SEED.images[0]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path_factory.mktemp("sandbox") / "state", free_base_port())
    made.up(FOUR_GPUS)
    yield made
    made.down()


def user(box: Sandbox) -> Material:
    """The tenant's own login, as it would be delivered to Cirun."""
    known = yaml.safe_load((box.state / "clouds.yaml").read_text())["clouds"]["sandbox-member"]["auth"]
    with box.cloud() as tenant:
        project = tenant.current_project_id
    fields = {
        "username": known["username"],
        "password": known["password"],
        "project_id": str(project),
        "domain_id": "default",
        "auth_url": known["auth_url"],
        "network": "ci",
    }
    return Material("lab", "cirun", "218", CredentialKind.USER, fields, frozenset({"password"}))


def application(box: Sandbox, count: int) -> list[Material]:
    found = []
    with box.cloud() as tenant:
        owner, auth_url = tenant.current_user_id, tenant.config.auth["auth_url"]
        for number in range(count):
            made = tenant.identity.create_application_credential(owner, f"cf-lab-drone-{number}")
            fields = {
                "auth_url": auth_url,
                "application_credential_id": made.id,
                "application_credential_secret": made.secret,
            }
            kind = CredentialKind.APPLICATION_CREDENTIAL
            found.append(
                Material(
                    "lab", f"c{number}", "218", kind, fields, frozenset({"application_credential_secret"})
                )
            )
    return found


def test_logins_work_until_they_are_deleted(box: Sandbox) -> None:
    [one] = application(box, 1)
    login = openstack.login("sandbox", box.state)
    for given in (user(box), one):
        assert canary(given, Settings(), {}) == canary(given, Settings(), {}, login)
        assert canary(given, Settings(), {}).startswith("logged in, sees ")
    with box.cloud() as tenant:
        tenant.identity.delete_application_credential(
            tenant.current_user_id, one.fields["application_credential_id"]
        )
    with pytest.raises(Failure) as caught:
        canary(one, Settings(), {})
    text = render(caught.value.diagnostics)
    assert "The cloud refuses the login" in text
    assert one.hidden()[0] not in text


def test_fifty_logins_in_time(box: Sandbox) -> None:
    given = application(box, LOGINS)
    begun = time.monotonic()
    proofs = prove_all([(one, canary_of(Settings(), {})) for one in given])
    seconds = time.monotonic() - begun
    assert [proof.diagnostics for proof in proofs] == [()] * LOGINS
    assert seconds < 15, f"{LOGINS} logins took {seconds:.1f} s"
    print(f"{LOGINS} logins took {seconds:.1f} s")


def test_what_is_booted_is_deleted_whatever_happens(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with box.cloud() as tenant:
        network(tenant)
    told: list[str] = []
    said = boot_canary(user(box), "ci_16", IMAGE, "ci", told.append)
    assert said.startswith(f"booted and deleted a server of ci_16 with {IMAGE} in ")
    assert [line.split()[0] for line in told] == ["booting", "deleted"]
    for wanted, why in (
        (("ada", IMAGE, "ci"), "The server did not start: No valid host was found"),
        (("gone", IMAGE, "ci"), "does not see the flavor `gone`"),
        (("ci_16", "gone", "ci"), "does not see the image `gone`"),
        (("ci_16", IMAGE, "gone"), "does not see the network `gone`"),
    ):
        with pytest.raises(Failure) as caught:
            boot_canary(user(box), *wanted, told.append)
        assert why in caught.value.diagnostics[0].detail

    def interrupted(tenant: object, server_id: str, what: str, within: float) -> None:
        made.append(server_id)
        raise KeyboardInterrupt

    made: list[str] = []
    monkeypatch.setattr(openstack, "wait_until_active", interrupted)
    with pytest.raises(KeyboardInterrupt):
        boot_canary(user(box), "ci_16", IMAGE, "ci", told.append)
    assert len(made) == 1
    with box.cloud() as tenant:
        assert list(tenant.compute.servers()) == []
