"""The last mile, without the network: what a feedstock's files become, and which files are left alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from roots import read_folder
from test_explain import inert

from cf_infra.feedstock import BUILD_CONFIG, CONFIG
from cf_infra.feedstock_yaml import CannotEdit, Document
from cf_infra.lastmile import Wanted, changes, choices, proposal, wanted
from cf_infra.model import Grant
from cf_infra.parse import parse

BASE = read_folder(Path(__file__).parent / "explain" / "_base")
STACKS = parse(BASE).inventory.stacks
DAY = date(2026, 6, 1)
GPU = "cirun-lab-gpu-large"


def grant(*resources: str, pull_requests: bool = False, stack: str | None = "lab", **more: object) -> Grant:
    return Grant.model_validate(
        {
            "feedstock": "numpy",
            "resources": list(resources),
            "pull_requests": pull_requests,
            "stack": stack,
            **more,
        }
    )


def asked(*grants: Grant, resource: str = "") -> Wanted:
    pairs = [(one, name) for one in grants for name in one.resources]
    return wanted("numpy-feedstock", pairs, STACKS, DAY, resource)


NOBODY = asked()
ONE = asked(grant("gpu-large"))


def edited(of: Wanted, files: Mapping[str, str]) -> dict[str, str | None]:
    """The files after the change; none may be refused, and a second time nothing changes."""
    raw: dict[str, bytes | None] = {name: text.encode() for name, text in files.items()}
    found = changes(of, raw)
    assert not [change.refused for change in found if change.refused]
    after = {**raw, **{change.file: change.after for change in found}}
    assert changes(of, after) == [], "a second time nothing changes"
    return {name: content.decode() if content is not None else None for name, content in after.items()}


def config(of: Wanted, text: str) -> str:
    return str(edited(of, {CONFIG: text})[CONFIG])


def build(of: Wanted, text: str) -> str | None:
    return edited(of, {CONFIG: config(of, ""), BUILD_CONFIG: text})[BUILD_CONFIG]


NEW = """\
provider:
  linux_64: github_actions
github_actions:
  self_hosted: true
  triggers: [push]
  timeout_minutes: 720
"""
LABELS = f"""\
github_actions_labels:
  - {GPU}  # [linux and x86_64]
  - hosted  # [not (linux and x86_64)]
"""


HOSTILE = {
    "anchor": "provider: &p {win: azure}\nosx: *p\n",
    "alias bomb": "a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
    "merge key": "base: &b {x: 1}\ngithub_actions:\n  <<: *b\n",
    "tag": "provider: !!python/object/apply:os.system [id]\n",
    "list": "- provider\n- linux\n",
    "text": "just words\n",
    "in braces": "{provider: {linux_64: azure}}\n",
    "tabs": "provider:\n\tlinux_64: azure\n",
    "twice": "provider: {a: b}\nprovider: {c: d}\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "not closed": "provider: {linux_64: azure\n",
    "huge": "# " + "x" * 1_100_000 + "\n",
    "deep": "a: " + "[" * 5000 + "]" * 5000 + "\n",
    "section is a list": "provider: [linux_64]\n",
    "section is a text": "github_actions: yes please\n",
    "value is a mapping": "github_actions:\n  self_hosted:\n    really: true\n",
    "comment inside": "github_actions:\n  triggers:\n    - pull_request  # keep\n    - push\n",
    "trigger with a line": 'github_actions:\n  triggers: ["push]\\nevil: [x"]\n',
    "recipe elsewhere": "recipe_dir: ../../etc\n",
    "bidi": "provider:  # \u202e\n  linux_64: azure\n",
    "byte order mark": "\ufeffbot: 1\n",
    "a list as a key": "? [a]\n: b\n",
    "null written out": "provider: null\n",
    "trigger is a mapping": "github_actions:\n  triggers: {push: true}\n",
}


def test_files_that_are_not_there_are_made() -> None:
    assert edited(ONE, {}) == {CONFIG: NEW, BUILD_CONFIG: LABELS}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "# ours\nbot: {automerge: true}\nprovider:\n  win: azure  # slow\n  linux_64: azure # here\nosx: 1\n",
            "# ours\nbot: {automerge: true}\nprovider:\n  win: azure  # slow\n"
            "  linux_64: github_actions # here\nosx: 1\n" + NEW.partition("actions\n")[2],
        ),
        (
            "provider: {win: azure}\n",
            NEW.replace("provider:\n  linux_64", "provider: {win: azure, linux_64").replace(
                "_actions\n", "_actions}\n", 1
            ),
        ),
        (
            "provider: {}\n",
            NEW.replace("provider:\n  linux_64: github_actions", "provider: {linux_64: github_actions}"),
        ),
        (
            "provider:\nbot: 1\n",
            "provider:\n  linux_64: github_actions\nbot: 1\n" + NEW.partition("actions\n")[2],
        ),
        ("bot: 1", "bot: 1\n" + NEW),
        ("# nothing yet\n", "# nothing yet\n" + NEW),
        (
            "github_actions:\n    # why\n    timeout_minutes: 360\n    triggers:\n      - push\n      - pull_request\n",
            "github_actions:\n    # why\n    "
            "timeout_minutes: 720\n    triggers: [push]\n    self_hosted: true\n"
            + NEW.partition("github_actions:")[0],
        ),
        (
            NEW.replace("[push]", "[push, workflow_dispatch]").replace("720", "500").replace("true", "True"),
            None,
        ),
        (
            NEW.replace("[push]", "[workflow_dispatch, pull_request_target]"),
            NEW.replace("[push]", "[push, workflow_dispatch]"),
        ),
        (NEW.replace("720", "1440"), NEW),
        (NEW.replace("720", '"soon"'), NEW),
        (NEW.replace("  triggers: [push]\n", ""), None),
        (
            "bot: 1\r\nprovider:\r\n  win: azure\r\n",
            "bot: 1\r\nprovider:\r\n  win: azure\r\n" + NEW.partition("provider:\n")[2].replace("\n", "\r\n"),
        ),
    ],
)
def test_conda_forge_yml_is_edited_in_place(before: str, after: str | None) -> None:
    assert config(ONE, before) == (before if after is None else after)


def test_what_is_added_to_a_line_without_an_end() -> None:
    assert config(ONE, "provider:").startswith("provider:\n  linux_64: github_actions\ngithub_actions:\n")


def test_settings_in_braces_are_left_again() -> None:
    """First, middle and last of a mapping in braces."""
    text = "provider: {win: azure}\ngithub_actions: {max_parallel: 4, store_build_artifacts: true}\n"
    there = edited(ONE, {CONFIG: text, BUILD_CONFIG: "a:\n  - 1\n"})
    assert "store_build_artifacts: true, self_hosted: true, triggers: [push], timeout_minutes: 720}" in str(
        there[CONFIG]
    )
    back = edited(NOBODY, {name: str(content) for name, content in there.items()})
    assert back == {CONFIG: text, BUILD_CONFIG: "a:\n  - 1\n"}
    first = "github_actions: {self_hosted: true, triggers: [push], timeout_minutes: 9, max_parallel: 4}\n"
    assert (
        edited(NOBODY, {CONFIG: first, BUILD_CONFIG: LABELS})[CONFIG] == "github_actions: {max_parallel: 4}\n"
    )


def test_a_comment_inside_of_braces_is_not_lost() -> None:
    text = "github_actions: {self_hosted: true, # why\n  max_parallel: 4}\n"
    found = changes(NOBODY, {CONFIG: text.encode(), BUILD_CONFIG: LABELS.encode()})
    assert [change.refused for change in found if change.file == CONFIG] == [
        "a comment stands inside of `self_hosted`"
    ]


def test_a_label_in_a_text_of_several_lines_or_nested_lists() -> None:
    nested = f"github_actions_labels:\n  - - self-hosted\n    - {GPU}\n"
    assert changes(ONE, {CONFIG: NEW.encode(), BUILD_CONFIG: nested.encode()}) == [], "it has its label"
    [refused] = changes(NOBODY, {CONFIG: NEW.encode(), BUILD_CONFIG: nested.encode()})
    assert "labels of others" in refused.refused
    for odd in ("github_actions_labels: |\n  a\n  b\n", "github_actions_labels:\n  - [[a]]\n"):
        [change] = changes(ONE, {CONFIG: NEW.encode(), BUILD_CONFIG: odd.encode()})
        assert change.refused


def test_a_recipe_in_another_folder_is_not_looked_for() -> None:
    found = changes(ONE, {CONFIG: b"recipe_dir: other\n", BUILD_CONFIG: None})
    assert [change.file for change in found if change.refused] == [BUILD_CONFIG, CONFIG]
    assert changes(ONE, {CONFIG: b"recipe_dir: recipe\n" + NEW.encode(), BUILD_CONFIG: LABELS.encode()}) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_files_without_a_label_of_ours_are_nobodys_business(name: str) -> None:
    raw = HOSTILE[name].encode()
    assert changes(NOBODY, {CONFIG: raw, BUILD_CONFIG: raw}) == []
    found = changes(NOBODY, {CONFIG: raw, BUILD_CONFIG: raw + f"# {GPU}".encode()})
    assert all(change.refused or change.after is not None for change in found)
    with_label = {CONFIG: raw, BUILD_CONFIG: b"a: &x 1\n" + LABELS.encode()}
    [build_config, *_] = changes(NOBODY, with_label)
    assert build_config.refused and f"nothing that names `{GPU}`" in build_config.lines


def test_a_choice_is_a_persons() -> None:
    two = asked(grant("gpu-large", "cpu-large", stack="guest"))
    assert choices(two, {}) == [["cirun-guest-gpu-large", "cirun-guest-cpu-large"]]
    assert choices(two, {BUILD_CONFIG: b"github_actions_labels: [cirun-guest-cpu-large]\n"}) == []
    assert choices(two, {BUILD_CONFIG: b"\t"}) == []


def test_pull_requests_are_triggers_only_where_every_grant_allows_them() -> None:
    allowed = asked(grant("gpu-large", pull_requests=True))
    assert "triggers: [push, pull_request]" in config(allowed, "")
    assert config(allowed, NEW) == NEW, "that they start nothing is the feedstock's own choice"
    both = asked(grant("gpu-large", pull_requests=True), grant("win-large", stack="guest"))
    assert "triggers: [push]" in config(both, "")
    twice = asked(grant("gpu-large", pull_requests=True), grant("gpu-large", users=["bob"]))
    assert "triggers: [push, pull_request]" in config(twice, "")


def test_the_shortest_time_of_the_donors_ends_a_job() -> None:
    both = asked(grant("gpu-large"), grant("win-large", stack="guest"))
    assert "timeout_minutes: 360" in config(both, "")
    assert "  win_64: github_actions" in config(both, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", LABELS),
        (
            "python:  # [win]\n  - 3\npython:  # [not win]\n  - 4\n",
            "python:  # [win]\n  - 3\npython:  # [not win]\n  - 4\n" + LABELS,
        ),
        (LABELS, LABELS),
        (f"github_actions_labels: [{GPU}]\n", None),
        (f"github_actions_labels:\n- {GPU}  # [cuda_compiler_version != 'None']\n- hosted\n", None),
        ("github_actions_labels:\n- hosted\n", LABELS),
        ("a: 1\ngithub_actions_labels:  # [linux]\n- cirun-lab-gone # [x]\n# b\nb:\n  - 1\n", None),
        (
            "github_actions_labels:\n- cirun-guest-cpu-large # [linux]\n- hosted # [win]\n# b\nb:\n- 1\n",
            LABELS + "# b\nb:\n- 1\n",
        ),
    ],
)
def test_labels_are_edited_in_place(before: str, after: str | None) -> None:
    if "cirun-lab-gone" in before:
        [change] = changes(ONE, {CONFIG: NEW.encode(), BUILD_CONFIG: before.encode()})
        assert "labels of others" in change.refused and change.after == change.before
        return
    assert build(ONE, before) == (before if after is None else after)


def test_a_label_that_is_asked_for_by_name_takes_the_place_of_another() -> None:
    two = grant("gpu-large", "cpu-large", stack=None)
    first = edited(asked(two), {})[BUILD_CONFIG]
    assert first is not None and "cirun-guest-gpu-large  #" in first
    other = edited(asked(two, resource="cpu-large"), {BUILD_CONFIG: first})[BUILD_CONFIG]
    assert other is not None and "cirun-guest-cpu-large  #" in other and "gpu" not in other


def test_another_system_gets_a_line_of_its_own() -> None:
    both = asked(grant("gpu-large"), grant("win-large", stack="guest"))
    assert edited(both, {CONFIG: NEW, BUILD_CONFIG: LABELS})[BUILD_CONFIG] == (
        f"github_actions_labels:\n  - {GPU}  # [linux and x86_64]\n  - cirun-guest-win-large  # [win]\n"
        "  - hosted  # [not (linux and x86_64) and not win]\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# ours\nbot: {automerge: true} # yes\n",
        "provider:\n  win: azure\n",
        "github_actions:\n  max_parallel: 2\n",
    ],
)
def test_there_and_back_leaves_what_was_there(text: str) -> None:
    there = edited(ONE, {CONFIG: text, BUILD_CONFIG: "python:\n  - 3\n"})
    back = edited(NOBODY, {name: str(content) for name, content in there.items()})
    assert back == {CONFIG: text, BUILD_CONFIG: "python:\n  - 3\n"}


def test_a_file_that_holds_nothing_any_more_is_removed() -> None:
    assert edited(NOBODY, {CONFIG: NEW, BUILD_CONFIG: LABELS})[BUILD_CONFIG] is None


def test_runners_of_others_stay() -> None:
    """A label of a vendor that no stack offers is none of our business, and neither is what it needs."""
    labels = f"github_actions_labels:\n  - vendor-8cpu  # [osx]\n  # ours\n  - {GPU}  # [linux and x86_64]\n"
    after = edited(NOBODY, {CONFIG: NEW, BUILD_CONFIG: labels})
    assert after == {
        CONFIG: NEW,
        BUILD_CONFIG: "github_actions_labels:\n  - vendor-8cpu  # [osx]\n  # ours\n",
    }
    assert changes(NOBODY, {CONFIG: NEW.encode(), BUILD_CONFIG: b"github_actions_labels: [vendor]\n"}) == []


def test_a_feedstock_that_never_had_a_label_of_ours_is_left_alone() -> None:
    assert changes(NOBODY, {CONFIG: NEW.encode(), BUILD_CONFIG: None}) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_edited_surely_is_left_alone_and_told(name: str) -> None:
    raw = HOSTILE[name].encode()
    found = {change.file: change for change in changes(ONE, {CONFIG: raw, BUILD_CONFIG: None})}
    change = found[CONFIG]
    assert change.refused and change.after == raw
    assert "self_hosted: true" in change.lines, "a person is told what to write"
    assert change.refused.isprintable() and len(change.refused) < 400
    assert not inert(proposal(ONE, found.values()).body).count("evil")


@pytest.mark.parametrize(
    "text",
    [
        "zip_keys:\n  - [python, github_actions_labels]\n",
        "github_actions_labels:\n- a\ngithub_actions_labels:\n- b\n",
        "github_actions_labels: {a: b}\n",
        "github_actions_labels:\n  - hosted  # why not\n",
        "github_actions_labels: [vendor]\n",
        "\tx: 1\n",
        "\xff",
        "a: &x 1\n",
        '? "github_actions_labels"\n: - hosted\n',
    ],
)
def test_labels_that_cannot_be_edited_surely_are_left_alone(text: str) -> None:
    raw = text.encode("latin1")
    [change] = changes(ONE, {CONFIG: NEW.encode(), BUILD_CONFIG: raw})
    assert change.refused and change.after == raw and GPU in change.lines


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\r"), max_size=30
) | st.sampled_from(
    ["a: 1", "provider:", "  linux_64: azure", "github_actions:", "  self_hosted: false", "# x", ""]
)


@given(st.lists(TEXTS, max_size=8))
def test_whatever_a_feedstock_has_either_it_is_left_alone_or_nothing_else_changes(lines: list[str]) -> None:
    raw = "\n".join(lines).encode()
    for change in changes(ONE, {CONFIG: raw, BUILD_CONFIG: raw}):
        if change.refused or change.after is None:
            continue
        old, new = yaml.safe_load(raw) or {}, yaml.safe_load(change.after)
        ours = {"provider", "github_actions", "github_actions_labels"}
        assert {k: v for k, v in old.items() if k not in ours} == {
            k: v for k, v in new.items() if k not in ours
        }
        kept = [line for line in raw.decode().split("\n") if line.startswith("#")]
        assert [line for line in change.after.decode().split("\n") if line in kept] == kept


def test_hostile_texts_are_inert_in_the_pull_request() -> None:
    evil = grant(
        "gpu-large",
        reason="`</code><img src=x onerror=evil()> @conda-forge/core\n# evil\n[evil](http://evil)",
        request="https://example.org/?a=@evil&b=[evil](evil)",
    )
    body = proposal(asked(evil), changes(asked(evil), {})).body
    outside = inert(body)
    assert "onerror" in body, "it is shown"
    for sign in ("evil", "@", "<"):
        assert sign not in outside


def test_the_pull_request_says_what_bots_cannot_do() -> None:
    found = proposal(ONE, changes(ONE, {}))
    for words in (
        "Rerender by hand",
        "Automerge does not work",
        "conda smithy rerender",
        "Only pushes start jobs",
    ):
        assert words in found.body
    back = proposal(NOBODY, changes(NOBODY, {CONFIG: NEW.encode(), BUILD_CONFIG: LABELS.encode()}))
    assert "no grant" in back.body and back.branch == found.branch and back.title != found.title


def test_a_change_that_would_touch_more_is_refused() -> None:
    """The guard behind all edits: what is read afterwards must be what was meant."""
    document = Document(b"a:\n  b: 1\n", CONFIG)
    with pytest.raises(CannotEdit, match="touch more"):
        document.put("a", "b", "2\nc: 3", "2")
