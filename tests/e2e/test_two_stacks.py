"""Two stacks in one run: side by side, and the fault of one does not stop the other."""

from __future__ import annotations

import re

from scene import Scene, playing, server_actions

LEFT, RIGHT = "left", "right"


@playing(minutes=1.5)
def test_one_of_two_fails(scene: Scene) -> None:
    """The hosts of `right` are declared and do not exist: Nova knows no such GPU."""
    scene.stack(LEFT)
    scene.stack(RIGHT)
    scene.grants(
        {"feedstock": "one", "resources": ["gpu-own"], "stack": LEFT},
        {"feedstock": "two", "resources": ["gpu-own"], "stack": RIGHT},
    )
    planned = scene.plan("--jobs", "2")
    assert [row["stack"] for row in planned.json["stacks"]] == [LEFT, RIGHT]
    done = scene.apply("--jobs", "2", code=1)
    assert done.stack(LEFT)["failed"] is False and done.stack(LEFT)["applied"] > 10
    assert done.stack(RIGHT) == {"stack": RIGHT, "applied": 0, "failed": True, "receipts": []}
    assert scene.servers(LEFT)["one-feedstock/gpu-own"]["status"] == "ACTIVE" and scene.servers(RIGHT) == {}
    assert side_by_side(done.err)

    scene.nothing_to_do(LEFT)
    scene.grants({"feedstock": "one", "resources": ["gpu-own"], "stack": LEFT})
    scene.converge(RIGHT)
    assert server_actions(scene.plan().stack(LEFT)) == {}
    a_revocation_that_leaves_something_fails(scene)


def a_revocation_that_leaves_something_fails(scene: Scene) -> None:
    """After the plan a second server with the grant's marks turns up: apply owes a proof, and cannot give it."""
    key = "one-feedstock/gpu-own"
    first = scene.ids(LEFT)[key]
    scene.grants()
    scene.plan(LEFT)
    second = impostor(scene, key)
    done = scene.apply(LEFT, code=1)
    assert done.codes == ["still-there"] and done.stack(LEFT)["failed"] is True
    told = done.detail("still-there")
    assert f"`{key}` was revoked, and the cloud still has servers marked {key}" in told
    assert not scene.is_there(lambda: scene.cloud.compute.get_server(first))
    assert "(nobody is granted it): apply removes it" in scene.plan(LEFT).err
    (receipt,) = (r for r in scene.apply(LEFT).stack(LEFT)["receipts"] if r["grant"] == key)
    assert f"servers marked {key}" in [place["place"] for place in receipt["gone_from"]]
    assert any(first in place["place"] for place in receipt["gone_from"]), "the proof says of both"
    assert not scene.is_there(lambda: scene.cloud.compute.get_server(second))
    scene.nothing_to_do(LEFT)


def impostor(scene: Scene, key: str) -> str:
    """A server that somebody else made with the marks of a grant."""
    compute = scene.cloud.compute
    image = scene.cloud.image.find_image("ubuntu-e2e", ignore_missing=False)
    flavor = compute.create_flavor(name="impostor", vcpus=1, ram=64, disk=1)
    marks = {"managed_by": "cf-infra", "stack": LEFT, "grant": key}
    server = compute.create_server(
        name="impostor", image_id=image.id, flavor_id=flavor.id, networks="none", metadata=marks
    )
    compute.delete_flavor(flavor)
    compute.wait_for_server(server)
    return str(server.id)


def side_by_side(said: str) -> bool:
    """The second stack begins before the first one ends."""
    times = {
        name: [float(t) for t in re.findall(rf"^ *([0-9.]+)s  {name}: ", said, re.M)]
        for name in (LEFT, RIGHT)
    }
    return max(min(times[LEFT]), min(times[RIGHT])) < min(max(times[LEFT]), max(times[RIGHT]))
