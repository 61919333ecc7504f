"""Jobs on demand, as Cirun runs them, on the repository's own stack file: the V100 server with its four GPU groups."""

from __future__ import annotations

import json
import shutil

from scene import JSON, PROJECT, Scene, actions, playing

V100 = "quansight-v100"
CLOUD = ("--cloud", f"{V100}=sandbox")
DEPLOYED = f"{V100}@sandbox"
DEDICATED: JSON = {"feedstock": "pytorch-cpu", "resources": ["gpu-dedicated"]}
BY_CLASS: JSON = {"feedstock": "conda-smithy", "resources": ["gpu-large"], "terms": "open-gpu-server"}
BY_LABEL: JSON = {"feedstock": "tiledb", "resources": ["cirun-openstack-cpu-medium"], "pull_requests": True}


@playing(minutes=2.5)
def test_jobs_of_granted_feedstocks_and_of_no_others(scene: Scene) -> None:
    scene.write(f"stacks/{V100}.yaml", (PROJECT / "stacks" / f"{V100}.yaml").read_text())
    shutil.copytree(PROJECT / "users", scene.root / "users")
    scene.grants({**DEDICATED, "count": 3}, BY_CLASS, BY_LABEL)
    scene.plan(*CLOUD)
    scene.apply()
    scene.nothing_to_do(*CLOUD)
    assert scene.state(DEPLOYED).is_dir() and not scene.state(V100).exists(), (
        "the donor's own state is not touched"
    )
    (router,) = scene.cloud.network.routers(name=f"cf-{V100}-net")
    outside = scene.cloud.network.find_network("public", ignore_missing=False)
    assert router.external_gateway_info["network_id"] == outside.id

    granted_jobs_run_on_the_last_gpu(scene)
    others_are_refused(scene)
    revoked(scene)


def granted_jobs_run_on_the_last_gpu(scene: Scene) -> None:
    taken = {gpu for server in scene.ids(V100).values() for gpu in scene.gpus(server)}
    assert len(taken) == 3
    job = ran(scene, "conda-smithy", "gpu-large")
    assert (job["flavor"], job["image"]) == ("gpu_large", "ubuntu-2204-nvidia-20230914")
    assert job["label"] == "cirun-openstack-gpu-large" and job["host"] == "gpu-01"
    (gpu,) = (name.replace(" ", "_", 1) for name in job["gpus"])
    assert gpu.startswith("gpu-01_0000:") and gpu not in taken, "Nova attached the fourth"
    assert not scene.is_there(lambda: scene.cloud.compute.get_server(job["server_id"])), (
        "deleted after the job"
    )
    assert ran(scene, "conda-smithy", "cirun-openstack-gpu-large")["gpus"] == job["gpus"]
    job = ran(scene, "tiledb", "cpu-medium")
    assert (job["flavor"], job["gpus"]) == ("ci_medium", [])


def ran(scene: Scene, feedstock: str, resource: str) -> JSON:
    return dict(scene.run("sandbox", "job", feedstock, resource, "--format", "json").json["job"])


def others_are_refused(scene: Scene) -> None:
    for feedstock, resource, why in (
        (
            "numpy",
            "gpu-large",
            "No policy of the access list lets `numpy-feedstock` use `cirun-openstack-gpu-large`.",
        ),
        ("tiledb", "gpu-large", "No policy of the access list lets `tiledb-feedstock` use"),
        ("conda-smithy", "cpu-medium", "No policy of the access list lets `conda-smithy-feedstock` use"),
        ("pytorch-cpu", "gpu-dedicated", "takes no jobs by label"),
        ("conda-smithy", "gpu-of-nobody", "offers `gpu-of-nobody`"),
    ):
        done = scene.run("sandbox", "job", feedstock, resource, "--format", "json", code=1)
        assert done.codes == ["job-refused"] and why in done.detail("job-refused")


def revoked(scene: Scene) -> None:
    """The flavor goes where nobody is left to use it, the access list loses the feedstock, and its jobs are refused."""
    before = scene.ids(V100)
    assert "gpu_large" in flavors(scene)
    scene.grants({**DEDICATED, "count": 2}, BY_LABEL)
    row = scene.plan(*CLOUD).stack(V100)
    assert {a for address, a in actions(row).items() if "flavor" in address} == {"delete"}
    assert row["lost"] == ["conda-smithy-feedstock/gpu-large"]
    (receipt,) = (
        r for r in scene.apply().stack(V100)["receipts"] if r["grant"] == "conda-smithy-feedstock/gpu-large"
    )
    places = [place["place"] for place in receipt["gone_from"]]
    assert "access list, cirun-openstack-gpu-large" in places and "flavor gpu_large (gpu-large)" in places
    assert "gpu_large" not in flavors(scene) and "ci_medium" in flavors(scene)
    listed = (scene.state(DEPLOYED) / "delivered" / ".access.yml").read_text()
    assert "conda-smithy" not in listed and "tiledb-feedstock" in listed
    done = scene.run("sandbox", "job", "conda-smithy", "gpu-large", "--format", "json", code=1)
    assert done.codes == ["job-refused"]
    ran(scene, "tiledb", "cpu-medium")
    assert scene.ids(V100) == {k: v for k, v in before.items() if not k.endswith("/3")}, (
        "the first ones are kept"
    )
    login = json.loads((scene.state(DEPLOYED) / "delivered" / "cirun.json").read_text())
    assert scene.cloud.identity.find_user(login["username"]) is not None, (
        "the login is shared by all that are left"
    )


def flavors(scene: Scene) -> set[str]:
    return {flavor.name for flavor in scene.cloud.compute.flavors(is_public=None)}
