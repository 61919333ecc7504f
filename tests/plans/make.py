"""Makes the plans of this folder: real ones of OpenTofu (terraform_data only), and those derived from openstack.json.

    python tests/plans/make.py          # needs OpenTofu; then accept: CF_INFRA_ACCEPT=1 pytest tests/test_plan.py

openstack.json is the plan of a small stack (rights admin) before its first apply, made with OpenTofu 1.12.6 and
provider 1.54.1 against the sandbox; all its passwords are HUNTER2, so that a test sees whether one leaks.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from cf_infra.diagnostics import Failure  # noqa: E402
from cf_infra.tofu import Tofu, Tool, find  # noqa: E402

Json = dict[str, Any]
KEPT = ("format_version", "terraform_version", "planned_values", "prior_state", "resource_changes", "errored")
SECRET = {"variable": {"pw": {"default": "HUNTER2-old", "sensitive": True}}}


def data(resources: Json, **more: Any) -> Json:
    return {"resource": {"terraform_data": resources}, **more}


CASES: Mapping[str, tuple[Json, Json]] = {
    "nothing": (data({"a": {"input": 1}}), data({"a": {"input": 1}})),
    "create-update-delete": (
        data({"kept": {"input": 1}, "changed": {"input": {"x": 1, "y": 1}}, "gone": {"input": 1}}),
        data({"kept": {"input": 1}, "changed": {"input": {"x": 2, "y": 1}}, "new": {"input": 1}}),
    ),
    "replace": (
        data({"a": {"triggers_replace": 1}, "b": {"input": 1}}),
        data(
            {
                "a": {"triggers_replace": 2},
                "b": {
                    "input": 1,
                    "lifecycle": {
                        "replace_triggered_by": ["terraform_data.a"],
                        "create_before_destroy": True,
                    },
                },
            }
        ),
    ),
    "tainted": (
        data({"a": {"input": 1, "provisioner": [{"local-exec": {"command": "exit 1"}}]}}),
        data({"a": {"input": 1}}),
    ),
    "sensitive": (
        data({"a": {"input": "${var.pw}"}, "b": {"input": {"user": "u", "pw": "${var.pw}"}}}, **SECRET),
        data(
            {"a": {"input": "${var.pw}"}, "b": {"input": {"user": "v", "pw": "${var.pw}"}}},
            variable={"pw": {"default": "HUNTER2-new", "sensitive": True}},
        ),
    ),
    "moved": (
        data({"a": {"input": 1}, "b": {"input": 1}}),
        data(
            {"x": {"input": 1}, "y": {"input": 2}},
            moved=[
                {"from": "terraform_data.a", "to": "terraform_data.x"},
                {"from": "terraform_data.b", "to": "terraform_data.y"},
            ],
        ),
    ),
    "forget": (
        data({"a": {"input": 1}, "b": {"triggers_replace": 1, "lifecycle": {"destroy": False}}}),
        data(
            {"b": {"triggers_replace": 2, "lifecycle": {"destroy": False}}},
            removed=[{"from": "terraform_data.a", "lifecycle": {"destroy": False}}],
        ),
    ),
    "import": (
        data({}),
        data({"a": {"input": 1}}, **{"import": [{"to": "terraform_data.a", "id": "made-elsewhere"}]}),
    ),
    "read": (
        data({"a": {"input": "x"}}),
        data(
            {"a": {"input": "y"}},
            data={
                "terraform_remote_state": {
                    "r": {
                        "backend": "local",
                        "config": {"path": "${terraform_data.a.id}/${terraform_data.a.output}"},
                    }
                }
            },
        ),
    ),
    "destroy": (data({"a": {"input": 1}, "b": {"input": 1}}), data({})),
}


def real_plan(tool: Tool, before: Json, after: Json) -> Json:
    """Apply `before`, plan `after`."""
    with tempfile.TemporaryDirectory() as folder:
        tofu = Tofu(Tool(tool.tofu), Path(folder), {})
        _planned(tofu, before)
        with contextlib.suppress(Failure):  # the case `tainted` is made by a failure
            tofu.apply(tofu.folder / "plan")
        _planned(tofu, after)
        return tofu.show_plan(tofu.folder / "plan")


def _planned(tofu: Tofu, configuration: Json) -> None:
    blocks = {key: value for key, value in configuration.items() if value != {"terraform_data": {}}}
    document = {"terraform": {"backend": {"local": {}}}, **blocks}
    (tofu.folder / "main.tf.json").write_text(json.dumps(document))
    tofu.init(tofu.folder / "t.tfstate")
    tofu.plan(tofu.folder / "plan")


def trimmed(plan: Json) -> Json:
    """Without the configuration and the variables, which nothing here reads."""
    return {key: plan[key] for key in KEPT if key in plan}


# --- derived from openstack.json


def change_of(plan: Json, address: str) -> Json:
    return next(c for c in plan["resource_changes"] if c["address"] == address)


def as_applied(change: Json, **more: Any) -> Json:
    """The change of a resource that is there and stays."""
    found = copy.deepcopy(change)
    told = found["change"]
    values = {**told["after"], "id": f"id-of-{found['name']}-{found.get('index', '')}", **more}
    told.update(
        actions=["no-op"],
        before=values,
        after=copy.deepcopy(values),
        after_unknown={},
        before_sensitive=told["after_sensitive"],
    )
    return found


def deleted(change: Json, **more: Any) -> Json:
    found = as_applied(change)
    found["change"].update(actions=["delete"], after=None, after_sensitive=False)
    return {**found, "action_reason": "delete_because_each_key", **more}


def updated(change: Json, **values: Any) -> Json:
    found = as_applied(change)
    found["change"]["actions"] = ["update"]
    found["change"]["after"].update(values)
    return found


def replaced(change: Json, path: list[str], **values: Any) -> Json:
    found = updated(change, **values)
    found["change"].update(actions=["delete", "create"], replace_paths=[path], after_unknown={"id": True})
    del found["change"]["after"]["id"]
    return {**found, "action_reason": "replace_because_cannot_update"}


def derived(first: Json) -> dict[str, Json]:
    """A day in the life of the stack, a revocation of everything, and an adoption."""
    server = 'module.machine.openstack_compute_instance_v2.this["{}"]'
    llama = change_of(first, server.format("llama.cpp-feedstock/gpu-large"))
    torch = change_of(first, server.format("pytorch-cpu-feedstock/gpu-large"))
    second = change_of(first, server.format("pytorch-cpu-feedstock/gpu-large/2"))
    user = next(
        c for c in first["resource_changes"] if c["type"] == "openstack_identity_user_v3" and c.get("index")
    )
    network = change_of(first, "module.network.openstack_networking_network_v2.this")
    adopted = as_applied(second)
    adopted["change"]["importing"] = {"id": "0b5f7a3e-server"}
    pool = {**deleted(torch), "index": "pool:cpu-large/1", "address": server.format("pool:cpu-large/1")}
    pool["change"]["before"]["metadata"]["grant"] = "pool:cpu-large/1"
    credential = deleted(user)
    day = [
        deleted(llama),
        replaced(torch, ["image_id"], image_id="new-image", user_data="HUNTER2"),
        adopted,
        updated(network, description="\x1b[31mred\x1b[0m", tags=["a"], admin_state_up=False),
        {**deleted(network), "deposed": "1a2b3c4d"},
        {**credential, "index": "cirun/229", "address": credential["address"].replace("230", "229")},
        pool,
        *(as_applied(c) for c in first["resource_changes"] if c["type"] == "openstack_compute_flavor_v2"),
    ]
    for sensitive in (c["change"] for c in day if c["type"].endswith("instance_v2")):
        sensitive["after_sensitive"] = {"user_data": True} if sensitive["after"] else False
        sensitive["before_sensitive"] = {"user_data": True}
    gone = [deleted(c) for c in first["resource_changes"] if c["mode"] == "managed"]
    head = {k: first[k] for k in ("format_version", "terraform_version", "planned_values", "errored")}
    return {
        "openstack-day": {**head, "resource_changes": day},
        "openstack-gone": {**head, "resource_changes": gone},
    }


def write(name: str, plan: Json) -> None:
    (HERE / f"{name}.json").write_text(json.dumps(plan, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def main() -> None:
    """Write all of them."""
    tool = find(HERE.parent.parent)
    for name, (before, after) in CASES.items():
        write(name, trimmed(real_plan(tool, before, after)))
    for name, plan in derived(json.loads((HERE / "openstack.json").read_text())).items():
        write(name, plan)


if __name__ == "__main__":
    main()
