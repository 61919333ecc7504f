"""Plans that are not as they should be: cut off, malformed, too large, with secrets in the wrong place."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan import load, summary

from cf_infra import plan, review, review_report
from cf_infra.diagnostics import Failure

SECRET = "correct-horse-battery"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in rows:
        found += places(item, (*path, key))
    return found


BASE = {**load("openstack-day"), "checks": [{"address": {"to_display": "check.x"}, "status": "fail",
                                            "instances": [{"problems": [{"message": "no"}]}]}]}  # fmt: skip
PLACES = [path for path in places(BASE) if path]


@settings(settings.get_profile("any-machine"), max_examples=80)
@given(st.sampled_from(PLACES), JSON)
def test_any_value_in_any_place_is_read_or_refused(path: tuple[Any, ...], value: Any) -> None:
    """A plan that OpenTofu would not write is a message, and never a fault of ours."""
    shown = copy.deepcopy(BASE)
    place: Any = shown
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    try:
        found = summary(shown).as_json()
    except Failure as failure:
        assert {d.code for d in failure.diagnostics} <= {"tofu-failed", "tool-too-old"}
        assert all(d.hint or "not known" in d.detail for d in failure.diagnostics)
    else:
        data = review.review(None, plans=[found])
        assert review_report.markdown(data) and review_report.terminal(data)


@pytest.mark.parametrize("version", ["2.0", "", "1", "x", None, 1.2])
def test_another_format_is_refused(version: object) -> None:
    with pytest.raises(Failure) as failure:
        summary({**load("replace"), "format_version": version})
    (told,) = failure.value.diagnostics
    assert told.code == "tool-too-old" and "make setup" in told.hint


def test_an_action_that_is_not_known_is_refused_and_named() -> None:
    shown = load("replace")
    shown["resource_changes"][0]["change"]["actions"] = ["explode"]
    with pytest.raises(Failure) as failure:
        summary(shown)
    assert "has the action explode, not known here" in failure.value.diagnostics[0].detail


def test_a_plan_that_ended_with_an_error_is_refused() -> None:
    with pytest.raises(Failure, match="not whole"):
        summary({**load("replace"), "errored": True})


# ---------------------------------------------------------------------------------------------- what does not hold


def test_checks_that_fail_are_told_and_others_are_not() -> None:
    checks = [
        {"address": {"kind": "check", "to_display": f"check.{status}"}, "status": status,
         "instances": [{"status": status, "problems": [{"message": f"It is {status}.\x1b[31m"}]}]}
        for status in ("pass", "unknown", "fail", "error")
    ]  # fmt: skip
    found = summary({**load("nothing"), "checks": checks})
    assert [d.code for d in found.diagnostics] == ["check-fails", "check-fails"]
    assert [d.severity for d in found.diagnostics] == ["warning", "warning"]
    assert "check.fail does not hold.\n  It is fail.\ufffd[31m" in found.diagnostics[0].detail
    assert "check.error" in found.diagnostics[1].detail


def test_forget_and_deposed_and_moved_are_danger_or_told() -> None:
    forget = review.review(None, plans=[summary(load("forget")).as_json()])
    assert [row["kind"] for row in forget["danger"]] == ["forget"] and "FORGETS 2 things" in forget["verdict"]
    assert "Forgets, and leaves running" in review_report.markdown(forget)
    deposed = review_report.markdown(review.review(None, plans=[summary(load("openstack-day")).as_json()]))
    assert "left from a replacement that failed" in deposed and "(deposed 1a2b3c4d)" in deposed
    shown = load("openstack-day")
    shown["resource_changes"][3]["previous_address"] = "module.old.x"
    moved = review_report.markdown(review.review(None, plans=[summary(shown).as_json()]))
    assert "was module.old.x" in moved


# ------------------------------------------------------------------------------------------------- secrets, size


def marked(shown: dict[str, Any], number: int, key: str, value: object) -> None:
    change = shown["resource_changes"][number]["change"]
    for side in ("before", "after"):
        if isinstance(change.get(side), dict):
            change[side][key] = value
            marks = change.get(f"{side}_sensitive") or {}
            change[f"{side}_sensitive"] = {**marks, key: True}


def test_what_is_sensitive_at_one_place_is_masked_at_every_other() -> None:
    """A password by OpenTofu's mark is also part of a name, which has no mark."""
    shown = load("openstack-day")
    marked(shown, 5, "password", SECRET)
    server = shown["resource_changes"][0]["change"]["before"]
    server["name"] = f"cf-lab-{SECRET}-005df0"
    text = json.dumps(summary(shown).as_json())
    assert SECRET not in text and "cf-lab-(secret)-005df0" in text


@pytest.mark.parametrize("nested", [{"a": [SECRET]}, [[SECRET]], {"x": {"y": SECRET}}])
def test_secrets_inside_of_sensitive_values_are_found(nested: object) -> None:
    shown = load("openstack-day")
    marked(shown, 5, "anything", nested)
    shown["resource_changes"][0]["change"]["before"]["name"] = SECRET
    assert SECRET not in json.dumps(summary(shown).as_json())


def test_a_secret_that_the_limit_would_cut_in_two_is_masked_whole() -> None:
    shown = load("openstack-day")
    marked(shown, 5, "password", SECRET)
    shown["resource_changes"][0]["change"]["before"]["name"] = "x" * 280 + SECRET
    assert SECRET[:6] not in json.dumps(summary(shown).as_json())


def test_values_that_are_sensitive_count_for_no_digest() -> None:
    digests = set()
    for value in ("one-password", "another-password"):
        shown = load("openstack")
        for number in range(len(shown["resource_changes"])):
            marked(shown, number, "password", value)
        digests.add(summary(shown).review_digest)
    assert len(digests) == 1


def test_strings_of_ten_megabytes_take_no_time_and_no_room() -> None:
    shown = load("openstack-day")
    huge = "\x1b|`<é" * 2_000_000
    change = shown["resource_changes"][0]
    change["change"]["before"]["name"] = huge
    marked(shown, 1, "password", huge)
    shown["resource_changes"][3]["previous_address"] = huge
    began = time.process_time()
    found = summary(shown).as_json()
    text = review_report.markdown(review.review(None, plans=[found]))
    assert time.process_time() - began < 10
    assert len(orjson.dumps(found)) < 50_000 and len(text.encode()) < 65_536


# ------------------------------------------------------------------------------------------------------ digests


def test_an_object_without_marks_is_given_back_as_it_is() -> None:
    value = {"a": [1, {"b": 2}]}
    assert plan._visible(value, {}, {}, set()) is value
    assert plan._visible(value, False, None, set()) is value


MARKS = st.sampled_from([True, False, {}, [], {"x": True}, [True], [False]])
BY_KEY = st.dictionaries(st.sampled_from("abc"), MARKS)


@given(BY_KEY, BY_KEY)
def test_marks_hide_what_they_mark_and_nothing_else(
    sensitive: dict[str, Any], unknown: dict[str, Any]
) -> None:
    value = {"a": {"x": "1", "y": "2"}, "b": ["3", "4"], "c": "5"}
    found = plan._visible(value, sensitive, unknown, set())
    for key, item in value.items():
        if unknown.get(key) is True:
            assert key not in found
        elif sensitive.get(key) is True:
            assert found[key] == plan.HIDDEN
        elif not sensitive.get(key) and not unknown.get(key):
            assert found[key] == item
    assert value == {"a": {"x": "1", "y": "2"}, "b": ["3", "4"], "c": "5"}, "what was given is as it was"
