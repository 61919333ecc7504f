"""Plans to summaries, digests, limits and reports. A case is a file of tests/plans/ (make.py makes them).

After a change of the words, look at the difference and accept it: CF_INFRA_ACCEPT=1 pytest tests/test_plan.py
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_tofu import tool_or_skip

from cf_infra import plan, report
from cf_infra.diagnostics import Failure, render
from cf_infra.model import Thresholds

PLANS = Path(__file__).parent / "plans"
CASES = sorted(p.stem for p in PLANS.glob("*.json") if not p.stem.endswith(".summary"))
VERSIONS = {"tofu": "1.12.6", "openstack": "1.54.1"}
OWNERS = {"gpu-large": ("pytorch-cpu-feedstock/gpu-large", "llama.cpp-feedstock/gpu-large")}
SERVER = 'module.machine.openstack_compute_instance_v2.this["{}"]'


def load(name: str) -> dict[str, Any]:
    return dict(json.loads((PLANS / f"{name}.json").read_text()))


def summary(shown: dict[str, Any], **more: Any) -> plan.PlanSummary:
    return plan.summarise(shown, "lab", more.get("owners", OWNERS), more.get("versions", VERSIONS))


def golden(name: str, text: str) -> None:
    path = PLANS / name
    if os.environ.get("CF_INFRA_ACCEPT"):
        path.write_text(text)
    assert path.read_text() == text, "accept with: CF_INFRA_ACCEPT=1 pytest tests/test_plan.py"


# --- words


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    found = summary(load(name))
    data = found.as_json()
    data["diagnostics"] = [d.as_json() for d in found.diagnostics]
    refusals = [("too-many-deletes", "`lab` would lose too much.", "think:\n--allow-destroy lab=3")] * (
        name == "openstack-gone"
    )
    lost = ["llama.cpp-feedstock/gpu-large"] * (name == "openstack-day")
    golden(f"{name}.summary.json", json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    golden(f"{name}.txt", report.terminal(data, refusals, lost))
    golden(f"{name}.md", report.markdown(data, refusals, lost))


@pytest.mark.parametrize("name", CASES)
def test_no_secret_and_no_control_character_gets_out(name: str) -> None:
    shown = load(name)
    data = summary(shown).as_json()
    for text in (json.dumps(data), report.terminal(data, [], []), report.markdown(data, [], [])):
        assert "HUNTER2" not in text
        assert all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("name", CASES)
def test_a_terminal_of_80_columns_is_enough(name: str) -> None:
    for line in report.terminal(summary(load(name)).as_json(), [], []).splitlines():
        assert len(line) <= 80 or "review digest" in line


def test_each_action_has_its_name() -> None:
    def actions(name: str) -> dict[str, str]:
        return {i.address: i.action for i in summary(load(name)).items}

    assert actions("nothing") == {}
    assert actions("create-update-delete") == {
        "terraform_data.new": "create",
        "terraform_data.changed": "update",
        "terraform_data.gone": "delete",
    }
    assert actions("replace") == {"terraform_data.a": "replace", "terraform_data.b": "replace"}
    assert actions("tainted") == {"terraform_data.a": "replace"}
    assert actions("moved") == {"terraform_data.y": "update"}
    assert actions("forget") == {"terraform_data.a": "forget", "terraform_data.b": "forget"}
    assert actions("import")["terraform_data.a"] in ("read", "update")
    assert actions("read")["data.terraform_remote_state.r"] == "read"


def test_replace_counts_only_as_replace() -> None:
    data = summary(load("replace")).as_json()
    assert (data["add"], data["change"], data["replace"], data["destroy"], data["total"]) == (0, 0, 2, 0, 2)
    data = summary(load("openstack-day")).as_json()
    assert (data["add"], data["change"], data["replace"], data["destroy"]) == (0, 1, 1, 4)
    assert data["import"] == 1 and data["total"] == 7


def test_an_adoption_is_seen_though_nothing_changes() -> None:
    found = {i.address: i for i in summary(load("openstack-day")).items}
    item = found[SERVER.format("pytorch-cpu-feedstock/gpu-large/2")]
    assert item.action == "read" and item.what.startswith(
        "adopt server cf-lab-pytorch-cpu-feedstock-gpu-large-2-"
    )
    shown = load("openstack-day")
    shown["resource_changes"] = [c for c in shown["resource_changes"] if "importing" in c["change"]]
    assert summary(shown).as_json()["total"] == 1
    assert "adopt server" in report.terminal(summary(shown).as_json(), [], [])


def test_forget_is_an_error() -> None:
    found = summary(load("forget"))
    assert [d.code for d in found.diagnostics] == ["forget"]
    assert found.diagnostics[0].severity == "error"
    assert "  terraform_data.a\n  terraform_data.b" in found.diagnostics[0].detail
    many = load("forget")
    many["resource_changes"] = [{**many["resource_changes"][0], "address": f"x.a{n:02}"} for n in range(10)]
    assert summary(many).diagnostics[0].detail.endswith("  x.a07\n  and 2 more")


@pytest.mark.parametrize("version", ["", "2.0", "0.2", "1", None, "1.2.3"])
def test_a_format_that_is_not_known(version: str | None) -> None:
    with pytest.raises(Failure) as failure:
        summary({**load("nothing"), "format_version": version})
    assert failure.value.diagnostics[0].code == "tool-too-old"


def test_later_formats_of_one_kind_are_read() -> None:
    assert summary({**load("nothing"), "format_version": "1.17"}).items == ()


def test_a_plan_that_is_not_whole() -> None:
    with pytest.raises(Failure) as failure:
        summary({**load("nothing"), "errored": True})
    assert render(failure.value.diagnostics) == (
        "error[tofu-failed]: OpenTofu failed\nThe plan ended with an error and is not whole.\nhint: make a new one\n"
    )


def test_an_action_that_is_not_known() -> None:
    shown = load("destroy")
    shown["resource_changes"][0]["change"]["actions"] = ["update", "delete"]
    with pytest.raises(Failure) as failure:
        summary(shown)
    assert "update+delete" in failure.value.diagnostics[0].detail


# --- whom it concerns


def test_grants_of_items() -> None:
    found = {i.address: i.grants for i in summary(load("openstack")).items}
    assert found[SERVER.format("llama.cpp-feedstock/gpu-large")] == ("llama.cpp-feedstock/gpu-large",)
    assert found[SERVER.format("pytorch-cpu-feedstock/gpu-large/2")] == ("pytorch-cpu-feedstock/gpu-large",)
    assert found['module.machine.terraform_data.boot["pytorch-cpu-feedstock/gpu-large/2"]'] == (
        "pytorch-cpu-feedstock/gpu-large",
    )
    assert found['module.flavor.openstack_compute_flavor_v2.this["gpu-large"]'] == tuple(
        sorted(OWNERS["gpu-large"])
    )
    assert found['module.flavor.openstack_compute_flavor_v2.this["cpu-large"]'] == ()
    assert found["module.network.openstack_networking_network_v2.this"] == ()
    assert found['module.user.openstack_identity_user_v3.this["cirun/230"]'] == (), "a generation is no grant"


def test_a_revoked_server_still_says_whose_it_was() -> None:
    found = {i.address: i for i in summary(load("openstack-day")).items}
    assert found[SERVER.format("llama.cpp-feedstock/gpu-large")].grants == ("llama.cpp-feedstock/gpu-large",)
    assert found[SERVER.format("pool:cpu-large/1")].grants == (), "a pool's machine is nobody's alone"
    owners = {SERVER.format("pool:cpu-large/1"): ("b-feedstock/cpu-large", "a-feedstock/cpu-large")}
    found = {i.address: i for i in summary(load("openstack-day"), owners=owners).items}
    assert found[SERVER.format("pool:cpu-large/1")].grants == (
        "a-feedstock/cpu-large",
        "b-feedstock/cpu-large",
    )


# --- digests


def test_plan_digest_tells_every_part() -> None:
    base = plan.plan_digest(b"plan", {"a": b"1", "b": b"2"}, "head")
    assert base == plan.plan_digest(b"plan", {"b": b"2", "a": b"1"}, "head")
    others = [
        plan.plan_digest(b"plan2", {"a": b"1", "b": b"2"}, "head"),
        plan.plan_digest(b"plan", {"a": b"1", "b": b"3"}, "head"),
        plan.plan_digest(b"plan", {"a": b"1", "c": b"2"}, "head"),
        plan.plan_digest(b"plan", {"a": b"1"}, "head"),
        plan.plan_digest(b"plan", {"a": b"1", "b": b"2"}, "other"),
        plan.plan_digest(b"planh", {"a": b"1", "b": b"2"}, "ead"),
    ]
    assert len({base, *others}) == 1 + len(others)


@given(st.randoms(use_true_random=False), st.sampled_from(CASES))
def test_review_digest_knows_no_order(random: Any, name: str) -> None:
    shown = load(name)
    random.shuffle(shown["resource_changes"])
    mixed = _mixed(shown, random)
    versions = dict(sorted(VERSIONS.items(), key=lambda _: random.random()))
    assert summary(mixed, versions=versions).review_digest == summary(load(name)).review_digest


def _mixed(value: Any, random: Any) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: _mixed(value[key], random) for key in keys}
    return [_mixed(item, random) for item in value] if isinstance(value, list) else value


def server(shown: dict[str, Any], key: str = "pytorch-cpu-feedstock/gpu-large") -> dict[str, Any]:
    return next(c for c in shown["resource_changes"] if c["address"] == SERVER.format(key))


SAME = {
    "an id that the cloud made": ("openstack-day", lambda c: c["before"].update(id="another")),
    "an id in what does not change": (
        "openstack-day",
        lambda c: c["before"].update(security_groups=["other"]),
    ),
    "a value known only later": ("openstack", lambda c: c["after_unknown"].pop("all_metadata")),
    "a secret": ("openstack-day", lambda c: c["after"].update(user_data="HUNTER3")),
}


@pytest.mark.parametrize("what", SAME)
def test_review_digest_does_not_depend_on(what: str) -> None:
    name, change = SAME[what]
    shown = load(name)
    change(server(shown)["change"])
    assert shown != load(name)
    assert summary(shown).review_digest == summary(load(name)).review_digest


def test_review_digest_does_not_depend_on_the_adopted_id() -> None:
    shown = load("openstack-day")
    told = server(shown, "pytorch-cpu-feedstock/gpu-large/2")["change"]
    told["importing"]["id"] = "another"
    assert summary(shown).review_digest == summary(load("openstack-day")).review_digest
    del told["importing"]
    assert summary(shown).review_digest != summary(load("openstack-day")).review_digest


def test_an_update_counts_by_what_it_changes() -> None:
    base = load("openstack-day")
    other = copy.deepcopy(base)
    network = next(c for c in other["resource_changes"] if c["change"]["actions"] == ["update"])["change"]
    for values in (network["before"], network["after"]):
        values["id"] = values["tenant_id"] = "of another cloud"
    assert summary(other).review_digest == summary(base).review_digest
    network["after"]["description"] = "something else"
    assert summary(other).review_digest != summary(base).review_digest


def test_review_digest_depends_on_everything_else() -> None:
    base = load("openstack")
    digests = [summary(base).review_digest]
    digests.append(summary(base, versions={**VERSIONS, "openstack": "3.4.0"}).review_digest)
    digests.append(summary(base, owners={}).review_digest)
    for change in (
        lambda c: c["change"]["after"].update(name="other"),
        lambda c: c["change"].update(actions=["delete", "create"]),
        lambda c: c.update(address="module.machine.x.y"),
        lambda c: c["change"]["after"]["metadata"].update(grant="other-feedstock/gpu-large"),
        lambda c: c.update(deposed="1a2b3c4d"),
    ):
        shown = copy.deepcopy(base)
        change(server(shown))
        digests.append(summary(shown).review_digest)
    shown = copy.deepcopy(base)
    shown["resource_changes"].remove(server(shown))
    digests.append(summary(shown).review_digest)
    assert len(set(digests)) == len(digests)


def test_two_real_runs_have_one_digest() -> None:
    """The same configuration, twice from nothing: all ids differ, the digest does not."""
    tool = tool_or_skip()
    sys.path.insert(0, str(PLANS))
    import make

    first, second = (
        make.trimmed(make.real_plan(tool, *make.CASES["create-update-delete"])) for _ in range(2)
    )
    ids = [
        {c["address"]: (c["change"]["before"] or {}).get("id") for c in p["resource_changes"]}
        for p in (first, second)
    ]
    assert ids[0]["terraform_data.gone"] != ids[1]["terraform_data.gone"]
    kept = load("create-update-delete")
    assert summary(first).review_digest == summary(second).review_digest == summary(kept).review_digest
    assert summary(first).items == summary(kept).items


# --- limits

LIMITS = Thresholds()


def check(**given: Any) -> list[Any]:
    values: dict[str, Any] = {
        "stack": "lab",
        "servers": 10,
        "taken": 0,
        "pairs": 100,
        "lost": 0,
        "whole_stack": False,
    }
    return plan.limits(**{**values, "thresholds": LIMITS, "allowances": {}, **given})


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"servers": 9, "taken": 3}, True),
        ({"servers": 10, "taken": 3}, False),  # 30 % is not over 30 %
        ({"servers": 2, "taken": 2}, False),  # two are below three
        ({"servers": 3, "taken": 3}, True),
        ({"pairs": 24, "lost": 5}, True),
        ({"pairs": 25, "lost": 5}, False),  # 20 % is not over 20 %
        ({"pairs": 4, "lost": 4}, False),
        ({"pairs": 66, "lost": 13}, False),
        ({"pairs": 66, "lost": 14}, True),
        ({"servers": 1, "taken": 1, "whole_stack": True}, True),
        ({"servers": 0, "pairs": 66, "lost": 1, "whole_stack": True}, True),
    ],
)
def test_the_limits_of_the_contract(given: dict[str, Any], refused: bool) -> None:
    assert [d.code for d in check(**given)] == ["too-many-deletes"] * refused


def test_the_words_of_a_refusal() -> None:
    assert render(check(servers=9, taken=4, pairs=20, lost=5)) == (
        "error[too-many-deletes]: Too much would be taken away\n"
        "`lab` would lose too much at once:\n"
        "- 4 of 9 servers, 44.4 %, is over 30 % (from 3 on)\n"
        "- 5 of 20 grants, 25.0 %, is over 20 % (from 5 on)\n"
        "hint: if that is meant, allow just this number: at a terminal with\n"
        "    --allow-destroy lab=5\n"
        "    or, for a reviewed run, with an entry of overrides.yaml:\n"
        "    - {stack: lab, destroy: 5, reason: WHY, until: YYYY-MM-DD}\n"
    )
    assert (
        "the whole stack: 1 of 1 server and 2 of 100 grants"
        in check(servers=1, taken=1, lost=2, whole_stack=True)[0].detail
    )


def test_an_allowance_must_be_the_number() -> None:
    given = {"servers": 5, "taken": 3}
    assert check(**given, allowances={"lab": 3}) == []
    assert check(**given, allowances={"other": 3})[0].code == "too-many-deletes"
    for wrong in (2, 4, 0, 99):
        (told,) = check(**given, allowances={"lab": wrong})
        assert told.code == "wrong-allowance"
        assert f"an allowance of {wrong}, and the plan takes away 3" in told.detail
        assert "--allow-destroy lab=3" in told.hint
    assert check(servers=5, taken=1, allowances={"lab": 3}) == [], "nothing to allow"
    assert check(servers=2, taken=2, lost=2, whole_stack=True, allowances={"lab": 2}) == []
    assert check(servers=0, taken=0, lost=0, whole_stack=True, allowances={"lab": 1}) == []


@st.composite
def situations(draw: st.DrawFn) -> dict[str, Any]:
    servers, pairs = draw(st.integers(0, 200)), draw(st.integers(0, 400))
    return {
        "servers": servers,
        "taken": draw(st.integers(0, servers)),
        "pairs": pairs,
        "lost": draw(st.integers(0, pairs)),
        "thresholds": Thresholds(
            servers=draw(st.integers(1, 10)),
            servers_percent=draw(st.integers(1, 100)),
            grants=draw(st.integers(1, 10)),
            grants_percent=draw(st.integers(1, 100)),
        ),
    }


@given(situations())
def test_refused_is_just_what_is_over_both_bounds(case: dict[str, Any]) -> None:
    limit = case["thresholds"]
    over = [
        case["taken"] >= limit.servers
        and case["taken"] / max(1, case["servers"]) > limit.servers_percent / 100,
        case["lost"] >= limit.grants and case["lost"] / max(1, case["pairs"]) > limit.grants_percent / 100,
    ]
    assert bool(check(**case)) == any(over)


@given(situations())
def test_taking_more_is_never_more_allowed(case: dict[str, Any]) -> None:
    if check(**case):
        for more in (
            {"taken": min(case["taken"] + 1, case["servers"])},
            {"lost": min(case["lost"] + 1, case["pairs"])},
        ):
            assert check(**{**case, **more})
        assert check(**case, whole_stack=True) if "whole_stack" not in case else True


@given(situations(), st.integers(0, 500))
def test_one_number_alone_opens_it(case: dict[str, Any], number: int) -> None:
    told = check(**case)
    if told:
        needed = int(told[0].hint.splitlines()[1].partition("=")[2])
        assert check(**case, allowances={"lab": needed}) == []
        assert bool(check(**case, allowances={"lab": number})) == (number != needed)


# --- reports


def test_markdown_is_only_text() -> None:
    """Names of a cloud, which lets in anything, can neither mention anybody nor draw a picture nor end a row."""
    shown = load("openstack")
    server(shown)["change"]["after"]["name"] = "@org/team ![x](http://x) `</td> | <img src=x> #1\n# y"
    data = summary(shown).as_json()
    data["items"][0]["grants"] = ["a`b|c\nd"]
    text = report.markdown(data, [("too-many-deletes", "a ``` b ```` c", "d")], ["k`|\ny"])
    row = next(line for line in text.splitlines() if "@org" in line)
    assert row.count("`") == 6 and row.count("|") == 4
    assert text.count("`````") == 0 or "```````text" in text
    assert "- `k y`" in text
    outside = "".join(part for n, part in enumerate(row.split("`")) if n % 2 == 0)
    assert set(outside.replace(" make ", " ")) <= set("| ,")


def test_a_long_plan_is_cut_in_markdown_only() -> None:
    shown = load("openstack")
    one = server(shown)
    shown["resource_changes"] = [{**one, "address": f"{one['address']}{n}"} for n in range(150)]
    data = summary(shown).as_json()
    text = report.markdown(data, [], [])
    assert "and 50 more" in text and text.count("| `+` make |") == 100 and len(text) < 65536
    assert report.terminal(data, [], []).count("  + server") == 150


def test_taken_away_comes_first() -> None:
    text = report.terminal(summary(load("openstack-day")).as_json(), [], [])
    symbols = re.findall(r"^ {2,4}(-/\+|-|~|\+|<=) ", text, re.MULTILINE)
    assert symbols == sorted(symbols, key=["-", "-/+", "~", "+", "<="].index) and len(symbols) == 7
