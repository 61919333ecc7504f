"""What an audit finds, case by case: a folder, what was seen, and what is said of it.

tests/audit/NAME/ is a root folder with observed.json (cf_infra/observed.py); expected.txt, expected.md and
expected.json are what `audit` says of it. A new case is a new folder; `ACCEPT=1` writes what is expected.
"""

from __future__ import annotations

import re
import shlex
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from accept import expect
from roots import TODAY, read_folder

from cf_infra import audit_report, github_many, observe_github, observe_openstack, project
from cf_infra.audit import audit
from cf_infra.audit_lists import labels_of
from cf_infra.declared import Declared, word
from cf_infra.deployment import InventoryFile, MachineRow
from cf_infra.diagnostics import Failure
from cf_infra.findings import KINDS
from cf_infra.github import Github
from cf_infra.github_many import Place
from cf_infra.observed import Observed
from cf_infra.rest import Answer, Token

CASES = Path(__file__).parent / "audit"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir())


def found_in(name: str) -> list[dict[str, Any]]:
    files = {n: raw for n, raw in read_folder(CASES / name).items() if not n.startswith("expected.")}
    seen = Observed.model_validate_json(files.pop("observed.json"))
    folder = project.from_files(CASES / name, files, date.fromisoformat(TODAY))
    assert [d for d in folder.diagnostics if d.severity == "error"] == []
    declared = Declared(folder.inventory, folder.resolved())
    return [one.as_json() for one in audit(declared, seen)]


@pytest.mark.parametrize("name", NAMES)
def test_findings(name: str) -> None:
    found = found_in(name)
    test = f"tests/test_audit.py -k 'test_findings and {name}'"
    text, page = audit_report.terminal(found, ["here"]), audit_report.markdown(found, ["here"])
    expect(CASES / name / "expected.txt", text, test)
    expect(CASES / name / "expected.md", page, test)
    data = orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    expect(CASES / name / "expected.json", data, test)
    for one in found:
        assert one["kind"] in KINDS and one["what"].endswith((".", "?"))
        assert all(shlex.split(line, comments=True) is not None for line in one["fix"].splitlines())
    assert not any(c for c in text + page if not c.isprintable() and c != "\n")


def test_nothing_is_found_in_the_case_that_is_as_declared() -> None:
    assert found_in("openstack-as-declared") == []


def test_markdown_of_strangers_is_only_text() -> None:
    page = (CASES / "hostile-texts" / "expected.md").read_text("utf-8")
    outside = re.sub(r"^```text$.*?^```$|`[^`\n]*`", "", page, flags=re.DOTALL | re.MULTILINE)
    assert "<script>" in page and "<script>" not in outside and "@all" not in outside


def test_a_word_of_a_fix_is_one_word_whatever_stands_in_it() -> None:
    for text in ("plain-name", "a b", "$(reboot)", "it's; reboot", "`x`", "", "-rf", "a\tb"):
        assert shlex.split(word(text)) == ["".join(c if c.isprintable() else "\ufffd" for c in text)]


@pytest.mark.parametrize(
    "text", ["runners: 5", "a: [", "- 1", "runners: [1]", "&a [*a]", "x: !!python/object:os.x"]
)
def test_what_is_no_list_of_runners_is_told_as_such(text: str) -> None:
    assert labels_of(text) is None


# ---------------------------------------------------------------------------------------- what is seen at GitHub


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://raw.githubusercontent.com/Q/open/main/a/p.json", Place("Q", "open", "a/p.json", "main")),
        (
            "https://raw.githubusercontent.com/Q/open/refs/heads/main/p.json",
            Place("Q", "open", "p.json", "main"),
        ),
        ("https://raw.githubusercontent.com.evil.example/Q/open/main/p.json", None),
        ("https://raw.githubusercontent.com/Q/open/main/p.json?token=1", None),
        ("https://example.org/p.json", None),
    ],
)
def test_only_addresses_of_github_are_asked_with_its_token(address: str, place: Place | None) -> None:
    assert observe_github.place_of(address) == place


@pytest.mark.parametrize(
    ("base", "address"),
    [
        ("https://api.github.com", "https://api.github.com/graphql"),
        ("https://api.sub.ghe.com", "https://api.sub.ghe.com/graphql"),
        ("https://github.example.org/api/v3", "https://github.example.org/api/graphql"),
    ],
)
def test_graphql_is_where_github_documents_it(base: str, address: str) -> None:
    assert github_many.address(base) == address


@pytest.mark.parametrize(
    "value",
    [
        [], {"data": 5}, {"data": {"r0": 5}}, {"data": {"r0": {"databaseId": "1", "nameWithOwner": "a/b"}}},
        {"data": {"r0": {"databaseId": 1, "nameWithOwner": "a"}}}, {"errors": ["x"]}, {"errors": 5, "data": None},
    ],
)  # fmt: skip
def test_an_answer_that_is_not_githubs_is_a_message(value: Any) -> None:
    client = Github("https://api.github.com", "o", Token("ghp_no_token", "GITHUB_TOKEN"))
    client.service.ask = lambda *_, **__: Answer(200, {}, value)  # type: ignore[method-assign, assignment]
    with pytest.raises(Failure) as raised:
        github_many.files(client, [Place("o", "n", "p")])
    assert raised.value.diagnostics[0].code == "service-answer"


@pytest.mark.parametrize(
    "nodes", [[5], [{}], [{"oid": "1"}], 5, [{"oid": "1", "committedDate": "x", "author": 5}]]
)
def test_a_history_that_is_not_githubs_is_a_message(nodes: Any) -> None:
    client = Github("https://api.github.com", "o", Token("ghp_no_token", "GITHUB_TOKEN"))
    value = {"data": {"r0": {"object": {"history": {"nodes": nodes}}}}}
    client.service.ask = lambda *_, **__: Answer(200, {}, value)  # type: ignore[method-assign, assignment]
    with pytest.raises(Failure) as raised:
        github_many.changes(client, [Place("o", "n", "p")])
    assert raised.value.diagnostics[0].code == "service-answer"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"users": 5}', '{"users": [1]}', '{"users": [{"id": 1}]}'])
def test_what_is_no_list_of_people_is_told_as_such(text: str) -> None:
    assert observe_github.people_of(text) is None


def test_people_without_a_number_are_nobody_that_is_known() -> None:
    [one] = observe_github.people_of('{"users": [{"github": "eve"}]}') or []
    assert (one.github, one.id) == ("eve", 0)


# -------------------------------------------------------------------------------------- what is seen at OpenStack


def server(number: str, grant: str, **marks: str) -> SimpleNamespace:
    metadata = {"managed_by": "cf-infra", "stack": "lab", "grant": grant, **marks}
    return SimpleNamespace(
        id=number, name=f"cf-lab-{number}", status="ACTIVE", metadata=metadata, image=None, addresses=None,
        flavor=None, project_id="p", hypervisor_hostname="h", fault=None, created_at="2026-05-01T00:00:00Z",
    )  # fmt: skip


class Cloud:
    """OpenStack's SDK as far as an audit asks it."""

    current_user_id = "me"

    def __init__(self) -> None:
        ours, mark = server("1", "a/b"), "managed by cf-infra, stack lab"
        self.compute = SimpleNamespace(
            servers=lambda **_: [ours, server("2", "c/d", stack="other"), server("3", "", managed_by="x")],
            flavors=lambda **_: [
                SimpleNamespace(id="f1", name="own", is_public=False),
                SimpleNamespace(id="f2", name="all", is_public=True),
            ],
            get_flavor_access=lambda _: [{"tenant_id": "p"}, {"tenant_id": "q"}],
        )  # fmt: skip
        users = [
            {"id": "u1", "name": "cf-lab-cirun-1", "description": mark},
            {"id": "u2", "name": "cf-lab-provisioner", "description": mark},
            {"id": "u3", "name": "cf-laboratory", "description": "somebody else's"},
        ]
        self.identity = SimpleNamespace(
            get=lambda *_, **__: SimpleNamespace(json=lambda: {"users": users}),
            application_credentials=self._credentials,
        )

    def _credentials(self, user: str) -> list[SimpleNamespace]:
        from openstack import exceptions as sdk

        if user != self.current_user_id:
            raise sdk.ForbiddenException
        mine = SimpleNamespace(id="c1", name="cf-lab-watch-1", description="managed by cf-infra, stack lab")
        return [mine, SimpleNamespace(id="c2", name="other", description=None)]


INVENTORY = InventoryFile(
    stack="lab", cloud="lab", cloud_id="x", applied_at="2026-05-01T00:00:00+00:00", today="2026-05-01", complete=True,
    machines=[MachineRow("a/b", "1", "cf-lab-1", "", "b", ["a/b"])], project="p",
    flavors={"b": {"id": "f1", "name": "own"}, "z": {"id": "f2", "name": "all"}, "gone": {"id": "f3", "name": "no"}},
    users={"cirun/1": {"id": "u1", "name": "cf-lab-cirun-1"}},
)  # fmt: skip


def test_what_carries_our_marks_is_seen_and_nothing_else() -> None:
    seen, silent = observe_openstack.look(Cloud(), "lab", "lab", admin=True, inventory=INVENTORY)
    assert [(s.id, s.created) for s in seen.servers] == [("1", "2026-05-01T00:00:00Z")]
    assert [(one.id, one.sort) for one in seen.logins] == [("u1", "user"), ("c1", "application credential")]
    assert [(f.id, f.projects) for f in seen.flavors] == [("f1", ["p", "q"]), ("f2", None)]
    [one] = silent
    assert "u1" in one.place, "credentials that the cloud does not show are told, not passed over"


def test_a_member_sees_less_and_says_so() -> None:
    seen, silent = observe_openstack.look(Cloud(), "lab", "lab", admin=False, inventory=None)
    assert [one.sort for one in seen.logins] == ["application credential"] and seen.flavors == []
    assert "rights `member`" in silent[0].why


def test_the_inventory_counts_as_known() -> None:
    left = observe_openstack.left(INVENTORY)
    assert (left.servers, left.logins, left.project) == (["1"], ["u1"], "p")
    assert observe_openstack.left(None).servers == []


def test_a_fix_names_the_cloud_that_was_asked() -> None:
    folder = project.read(CASES / "openstack-drift", date.fromisoformat(TODAY))
    declared = Declared(folder.inventory, folder.resolved(), {"lab": "sand box"})
    assert declared.apply("lab") == "cf-infra plan lab --cloud 'lab=sand box' && cf-infra apply lab"
    assert declared.apply("other") == "cf-infra plan other && cf-infra apply other"


@pytest.mark.parametrize("delivery", ["direct", "pull-request"])
def test_the_way_back_of_a_list_is_by_the_stack_that_has_it(delivery: str) -> None:
    golden = read_folder(CASES.parent / "golden" / "github")
    settings = f"version: 1\naccess_delivery: {delivery}\n".encode()
    files = {n: raw for n, raw in golden.items() if not n.startswith("_expected")} | {
        "settings.yaml": settings
    }
    folder = project.from_files(CASES, files, date.fromisoformat(TODAY))
    declared = Declared(folder.inventory, folder.resolved())
    assert (declared.github_stack, declared.repository) == ("access", ".cirun")
    way = declared.mend_runners()
    if delivery == "direct":
        assert way == "cf-infra plan access && cf-infra apply access"
    else:
        assert "cp build/access/.cirun.global.yml ." in way and "conda-forge/.cirun" in way
