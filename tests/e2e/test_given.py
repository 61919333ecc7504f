"""A donor that gives one project and nothing else: nothing is asked of it that a plain member may not do."""

from __future__ import annotations

import json
import stat
from typing import Any

from scene import Scene, actions, connection, playing, server_actions

GIVEN = "given"
KEY = "tenant-feedstock/gpu-own"


@playing(minutes=2)
def test_one_project_and_nothing_else(scene: Scene) -> None:
    scene.stack(GIVEN)
    scene.grants({"feedstock": "tenant", "resources": ["gpu-own"]})
    with connection(scene.lab.clouds_yaml, "sandbox-member") as member:
        before = seen_by(member)
        row = scene.plan().stack(GIVEN)
        kinds = {address.split(".")[2] for address in actions(row)}
        assert not {
            k for k in kinds if "project" in k or "quota" in k or "user" in k or "flavor" in k or "role" in k
        }
        scene.apply()
        scene.nothing_to_do()

        server = scene.servers(GIVEN)[KEY]
        assert (server["status"], server["tenant_id"]) == ("ACTIVE", member.current_project_id)
        assert server["flavor"]["original_name"] == "donors_gpu" and len(scene.gpus(server["id"])) == 1
        (network,) = member.network.networks(name="cf-given-net")
        assert network.tags == ["cf-infra", "stack=given"]
        assert (
            scene.run("status", "--live", "--format", "json").stack(GIVEN)["servers"][0]["status"] == "ACTIVE"
        )
        application_credential_is_the_members_own(scene, member)

        override(scene)
        assert server_actions(scene.run("destroy", GIVEN, "--format", "json").stack(GIVEN)) == {KEY: "delete"}
        done = scene.apply()
        assert (
            {KEY, "login watcher/283", f"stack {GIVEN}"}
            >= {r["grant"] for r in done.stack(GIVEN)["receipts"]}
            >= {KEY}
        )
        assert scene.left_of(GIVEN) == []
        assert seen_by(member) == before, "what is the donor's is as it was"


def seen_by(cloud: Any) -> dict[str, set[str]]:
    """What the donor's project sees: everything that is there with and without us."""
    return {
        "flavors": {flavor.name for flavor in cloud.compute.flavors() if flavor.name == "donors_gpu"},
        "images": {image.name for image in cloud.image.images() if not image.name.startswith("cf-")},
        "networks": {network.name for network in cloud.network.networks(project_id=cloud.current_project_id)},
        "routers": {router.name for router in cloud.network.routers()},
        "groups": {
            group.name for group in cloud.network.security_groups(project_id=cloud.current_project_id)
        },
        "servers": {server.name for server in cloud.compute.servers()},
        "credentials": {c.name for c in cloud.identity.application_credentials(cloud.current_user_id)},
    }


def application_credential_is_the_members_own(scene: Scene, member: Any) -> None:
    (credential,) = member.identity.application_credentials(member.current_user_id)
    assert credential.name == "cf-given-watcher-283"
    path = scene.state(GIVEN) / "delivered" / "watcher.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    value = json.loads(path.read_text())
    assert value["application_credential_id"] == credential.id
    secret = {"id": credential.id, "secret": value["application_credential_secret"]}
    body = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": secret}}}
    token = member.session.post(f"{value['auth_url']}/auth/tokens", json=body, authenticated=False).json()[
        "token"
    ]
    assert token["project"]["id"] == member.current_project_id
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}


def override(scene: Scene) -> None:
    entry = f"{{stack: {GIVEN}, destroy: 1, reason: The donor leaves, until: 2040-12-31}}"
    scene.write("overrides.yaml", f"version: 1\noverrides:\n  - {entry}\n")
