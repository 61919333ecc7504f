"""What lies beside a state, here and in the bucket: fetched, sent, never written over; and what a bucket may answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from roots import Runner, write_root
from s3_standin import BUCKET, REGION, S3, log_in, serving

from cf_infra import project, state_place
from cf_infra.bucket import LARGEST, Bucket, Store, bucket_of
from cf_infra.compile import store_of
from cf_infra.complaints import Complaints
from cf_infra.deployment import Deployment, InventoryFile, save_inventory
from cf_infra.diagnostics import Diagnostic, Failure
from cf_infra.events import Problem
from cf_infra.journal_file import Journal
from cf_infra.mask import Masker
from cf_infra.model import State, StateKind
from cf_infra.project import Folder
from cf_infra.state_place import fetch_all, is_shared

pytestmark = pytest.mark.programs

STACK = b"version: 1\nkind: openstack\nrights: member\ncloud: somewhere\ndonor: {name: Somebody}\n"
TODAY = datetime(2026, 6, 1, tzinfo=UTC).date()


class Machine:
    """Somebody's clone, and what is said there."""

    def __init__(self, root: Path, s3: S3) -> None:
        self.root, self.said = root, list[str]()
        files = {"grants.yaml": b"version: 1\ngrants: []\n", "stacks/lab.yaml": STACK}
        write_root(root, {**files, "settings.yaml": b"version: 1\n" + s3.settings()})

    @property
    def folder(self) -> Folder:
        return project.read(self.root, TODAY)

    def deployment(self, name: str = "lab", cloud: str = "somewhere", own: bool = True) -> Deployment:
        return Deployment(self.root, name, cloud, own)

    def fetch(self, send: bool = True) -> list[Diagnostic]:
        return fetch_all(self.folder, self.said.append, send=send)

    def send(self, deployment: Deployment | None = None) -> None:
        beside = state_place.beside(self.folder, deployment or self.deployment(), self.said.append)
        assert beside is not None
        beside.send()

    def apply(self, at: str, deployment: Deployment | None = None) -> None:
        """As if something had been applied."""
        found = deployment or self.deployment()
        save_inventory(found, InventoryFile(found.stack, found.cloud, "id", at, "2026-06-01", complete=True))

    def file(self, name: str) -> Path:
        return self.root / ".state" / "lab" / name

    def write(self, name: str, text: str) -> None:
        self.file(name).parent.mkdir(parents=True, exist_ok=True)
        self.file(name).write_text(text)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with serving() as made:
        log_in(monkeypatch, made.operator)
        yield made


@pytest.fixture
def two(tmp_path: Path, s3: S3) -> tuple[Machine, Machine]:
    return Machine(tmp_path / "first", s3), Machine(tmp_path / "second", s3)


# --- what is shared


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("inventory.json", True),
        ("credentials.json", True),
        ("receipts/20260601T120000Z-01234567.json", True),
        ("delivered/.access.yml", True),
        ("delivered/.cirun.global.yml", True),
        ("delivered/cirun.json", False),
        ("delivered/sub/x.json", False),
        ("terraform.tfstate", False),
        ("terraform.tfstate.tflock", False),
        ("terraform.tfstate.backup", False),
        ("inventory.json.unsent", False),
        ("journal.jsonl", True),
        ("journal.head.json", False),
        (".shared.json", False),
        ("../other/inventory.json", False),
        ("receipts/../../x", False),
        ("/etc/passwd", False),
        ("", False),
        ("a\nb", False),
    ],
)
def test_what_is_shared(name: str, shared: bool) -> None:
    assert is_shared("lab", name) is shared
    assert not is_shared("", name) or name == "journal.jsonl"


def test_at_the_top_only_the_sealed_key_and_the_journal_are_shared() -> None:
    assert is_shared("", "recovery.age") and is_shared("", "recovery.json") and is_shared("", "journal.jsonl")
    assert not is_shared("", "sandbox.key")


def test_the_sandbox_of_this_machine_is_nobody_elses() -> None:
    state = State(kind=StateKind.S3, bucket="some-bucket", region=REGION)
    root = Path("/root-folder")
    assert store_of(state, "sandbox") is store_of(state, "sandbox-2") is StateKind.LOCAL
    assert store_of(state, "somewhere") is store_of(state, None) is StateKind.S3
    local = state_place.backend(state, Deployment(root, "lab", "sandbox", own=False))
    assert local == root / ".state" / "lab@sandbox" / "terraform.tfstate"
    told = state_place.backend(state, Deployment(root, "lab", "other", own=False))
    assert isinstance(told, dict) and told["key"] == "lab@other/terraform.tfstate" and "endpoints" not in told
    environ = {
        "AWS_PROFILE": "team",
        "AWS_REGION": "elsewhere",
        "AWS_ENDPOINT_URL": "http://x",
        "SECRET": "s",
    }
    assert state_place.login(state, "somewhere", environ) == {"AWS_PROFILE": "team"}
    assert (
        state_place.login(state, "sandbox", environ) == state_place.login(State(), "somewhere", environ) == {}
    )


def test_an_incomplete_setting_names_no_bucket() -> None:
    assert bucket_of(State(kind=StateKind.S3, bucket="some-bucket")) is None
    assert (
        Bucket("b", REGION).key("lab", "x") == "lab/x"
        and Bucket("b", REGION, None, "p/q").key("x") == "p/q/x"
    )


# --- here and there


def test_one_writes_the_other_sees(two: tuple[Machine, Machine], s3: S3) -> None:
    first, second = two
    first.apply("2026-06-01T10:00:00+00:00")
    first.write("receipts/one.json", "{}")
    first.write("delivered/.access.yml", "version: 1\n")
    first.write("delivered/cirun.json", "a login")
    first.send()
    assert set(s3.objects) == {
        f"states/lab/{n}" for n in ("inventory.json", "receipts/one.json", "delivered/.access.yml")
    }
    assert second.fetch() == [] and any("fetching 3 files" in text for text in second.said)
    assert second.file("inventory.json").read_bytes() == first.file("inventory.json").read_bytes()
    assert not second.file("delivered/cirun.json").exists()
    second.said.clear()
    assert second.fetch() == [] and second.said == [], "nothing changed, nothing is fetched"

    second.apply("2026-06-02T10:00:00+00:00")
    second.file("delivered/.access.yml").unlink()
    second.send()
    assert first.fetch() == []
    assert b"2026-06-02" in first.file("inventory.json").read_bytes()
    assert not first.file("delivered/.access.yml").exists(), "what a run removed goes everywhere"
    assert first.file("delivered/cirun.json").read_text() == "a login"


def test_what_was_deleted_on_one_machine_comes_back(two: tuple[Machine, Machine], s3: S3) -> None:
    """Only what a run removes goes: a folder that somebody cleaned up is no such thing."""
    first, _ = two
    first.apply("2026-06-01T10:00:00+00:00")
    first.send()
    before = s3.objects
    first.file("inventory.json").unlink()
    first.fetch()
    assert s3.objects == before and first.file("inventory.json").exists()


def test_nothing_newer_is_written_over(two: tuple[Machine, Machine], s3: S3) -> None:
    first, second = two
    for machine in two:
        machine.fetch()
    first.apply("2026-06-01T10:00:00+00:00")
    second.apply("2026-06-01T11:00:00+00:00")
    second.send()
    with pytest.raises(Failure) as failure:
        first.send()
    (told,) = failure.value.diagnostics
    assert told.code == "state-conflict" and "inventory.json" in told.detail
    assert b"T11:00" in s3.objects["states/lab/inventory.json"]
    (aside,) = first.fetch()
    assert aside.code == "state-aside" and aside.hint.endswith("rm .state/lab/inventory.json.unsent")
    assert b"T11:00" in first.file("inventory.json").read_bytes()
    assert b"T10:00" in first.file("inventory.json.unsent").read_bytes()
    assert first.fetch() == [], "said once"


def test_what_a_killed_run_could_not_send_is_sent_by_the_next(two: tuple[Machine, Machine], s3: S3) -> None:
    first, second = two
    first.fetch()
    first.apply("2026-06-01T10:00:00+00:00")
    first.fetch(send=False)
    assert s3.objects == {}, "who only looks sends nothing"
    first.fetch()
    assert b"T10:00" in s3.objects["states/lab/inventory.json"]
    second.fetch()
    second.apply("2026-06-01T11:00:00+00:00")
    second.send()
    first.fetch()
    assert b"T11:00" in first.file("inventory.json").read_bytes()


def test_an_answer_that_was_lost_is_no_conflict(two: tuple[Machine, Machine], s3: S3) -> None:
    """The first try wrote it, the second is told that somebody did."""
    first, _ = two
    first.apply("2026-06-01T10:00:00+00:00")
    s3.put("states/lab/inventory.json", first.file("inventory.json").read_bytes())
    first.send()
    first.apply("2026-06-02T10:00:00+00:00")
    first.send()
    assert b"2026-06-02" in s3.objects["states/lab/inventory.json"]


def test_sandbox_deployments_and_strange_names_stay_out(two: tuple[Machine, Machine], s3: S3) -> None:
    first, second = two
    sandbox = first.deployment(cloud="sandbox", own=False)
    first.apply("2026-06-01T10:00:00+00:00", sandbox)
    assert state_place.beside(first.folder, sandbox, first.said.append) is None
    (first.root / ".state" / "_audit").mkdir()
    (first.root / ".state" / "_audit" / "people.json").write_text("{}")
    first.fetch()
    assert s3.objects == {}
    for key in ("states/../x", "states/lab/../../x", "states/LAB/x", "states//etc/x", "elsewhere/lab/x"):
        s3.put(key, b"hostile")
    second.fetch()
    assert not (second.root / ".state").exists()
    write_root(second.root, {"stacks/lab.yaml": STACK.replace(b"somewhere", b"sandbox")})
    s3.put("states/lab/inventory.json", b"of another time")
    second.fetch()
    assert not second.file("inventory.json").exists()


def test_damaged_notes_are_no_notes(two: tuple[Machine, Machine], s3: S3) -> None:
    first, _ = two
    first.apply("2026-06-01T10:00:00+00:00")
    first.send()
    for damaged in (
        b"",
        b"[]",
        b'{"files": 1}',
        orjson.dumps({"bucket": "another", "files": {"x": ["1", "2"]}}),
    ):
        first.file(".shared.json").write_bytes(damaged)
        assert first.fetch() == []
    assert set(s3.objects) == {"states/lab/inventory.json"}


def test_status_shows_what_is_deployed_in_a_bare_clone(
    two: tuple[Machine, Machine], s3: S3, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    first.apply("2026-06-01T10:00:00+00:00")
    first.send()
    run = Runner(capsys)
    ran = run("status", "--root", str(second.root), "--format", "json")
    assert ran.code == 0 and ran.json()["stacks"][0]["stack"] == "lab"  # type: ignore[index]
    log_in(monkeypatch, s3.stranger)
    ran = run("status", "--root", str(second.root), "--format", "json")
    assert ran.code == 1 and ran.json()["stacks"][0]["stack"] == "lab"  # type: ignore[index]
    assert "bucket-refused" in ran.out, "what this machine knows is shown, and that it may be old"


# --- what a bucket may answer


def asked(bucket: Bucket) -> Diagnostic:
    with pytest.raises(Failure) as failure:
        list(Store(bucket).listed(""))
    (told,) = failure.value.diagnostics
    assert told.hint and told.detail
    return told


def here(s3: S3, **more: Any) -> Bucket:
    return Bucket(**{"name": BUCKET, "region": REGION, "endpoint": s3.url, **more})


def test_a_bucket_that_is_not_there(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, s3.operator)
    told = asked(here(s3, name="another-bucket"))
    assert told.code == "no-bucket" and "put-bucket-versioning --bucket another-bucket" in told.hint


@pytest.mark.parametrize("who", ["stranger", "wrong secret", "unknown key", "nobody"])
def test_a_login_that_is_refused(s3: S3, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    logins = {
        "stranger": s3.stranger,
        "wrong secret": (s3.operator[0], "WrongSecretOfNobody"),
        "unknown key": ("AKIAUNKNOWN", "WrongSecretOfNobody"),
        "nobody": None,
    }
    log_in(monkeypatch, logins[who])
    told = asked(here(s3))
    assert told.code == "bucket-refused" and "WrongSecret" not in told.detail + told.hint
    assert "get-caller-identity" in told.hint


def test_who_may_only_read_cannot_send(
    two: tuple[Machine, Machine], s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = two
    log_in(monkeypatch, s3.reader)
    first.apply("2026-06-01T10:00:00+00:00")
    with pytest.raises(Failure) as failure:
        first.send()
    assert failure.value.diagnostics[0].code == "bucket-refused"
    assert first.file("inventory.json").exists() and s3.objects == {}


def test_a_bucket_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, ("AKIA", "s"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    told = asked(Bucket(BUCKET, REGION, address))
    assert told.code == "bucket-silent" and address in told.detail


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (301, "PermanentRedirect", "no-bucket"),
        (400, "AuthorizationHeaderMalformed", "no-bucket"),
        (403, "RequestTimeTooSkewed", "clock-wrong"),
        (403, "ExpiredToken", "bucket-refused"),
        (503, "SlowDown", "bucket-silent"),
        (501, "NotImplemented", "bucket-refused"),
    ],
)
def test_other_answers_are_told(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, expected: str
) -> None:
    """Those that the stand-in cannot give, in the form in which S3 gives them."""
    from botocore.exceptions import ClientError

    from cf_infra import bucket

    answer = {
        "Error": {"Code": code, "Message": "words of the store"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    with pytest.raises(Failure) as failure, bucket._explained(Bucket(BUCKET, REGION)):
        raise ClientError(answer, "ListObjectsV2")  # type: ignore[arg-type]
    (told,) = failure.value.diagnostics
    assert told.code == expected and told.hint and "words of the store" in told.detail


def test_an_object_that_is_too_large_is_not_taken(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    from cf_infra import bucket

    monkeypatch.setattr(bucket, "LARGEST", 10)
    s3.put("x", b"x" * 11)
    with pytest.raises(Failure) as failure:
        Store(here(s3)).get("x")
    assert failure.value.diagnostics[0].code == "unreadable" and LARGEST > 10


# --- what OpenTofu says of a bucket


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (
            "ListObjectsV2, https response error StatusCode: 404, RequestID: x, HostID: y, NoSuchBucket: ",
            "no-bucket",
        ),
        (
            "PutObject, https response error StatusCode: 403, RequestID: , api error AccessDenied: ",
            "bucket-refused",
        ),
        (
            "HeadObject, https response error StatusCode: 403, RequestID: , api error Forbidden: ",
            "bucket-refused",
        ),
        ("GetObject, get identity: get credentials: failed to refresh cached credentials", "bucket-refused"),
        ("PutObject, https response error StatusCode: 403, api error RequestTimeTooSkewed: ", "clock-wrong"),
        (
            'PutObject, exceeded maximum number of attempts, 3, request send failed, Put "http://127.0.0.1:9/b"',
            "bucket-silent",
        ),
        ("PutObject, something that nobody knows", "tofu-failed"),
    ],
)
def test_what_opentofu_says_of_a_bucket_is_told(tmp_path: Path, words: str, code: str) -> None:
    """In the middle of a run, in its own words (OpenTofu 1.12.6 and aws-sdk-go-v2)."""
    problem = Problem("error", "Failed to save state", f"failed to upload state: operation error S3: {words}")
    told = Complaints(tmp_path, tmp_path, Masker()).diagnose(problem)
    assert told.code == code and words[:20] in told.detail and (told.hint or code == "tofu-failed")


# --- the journal


def journal_of(machine: Machine) -> Journal:
    return Journal(machine.root / ".state" / "lab", machine.said.append)


def note(machine: Machine, generation: str) -> None:
    journal_of(machine).note("proven", credential="cirun", generation=generation)


def generations(machine: Machine) -> list[str]:
    found = journal_of(machine).read()
    assert found.why == "" and found.torn == b""
    return [event["generation"] for event in found.events if event["event"] == "proven"]


def test_journals_that_two_machines_wrote_at_once_become_one(two: tuple[Machine, Machine], s3: S3) -> None:
    first, second = two
    note(first, "1")
    first.send()
    assert second.fetch() == [] and generations(second) == ["1"]
    note(first, "2")
    note(second, "3")
    first.send()
    with pytest.raises(Failure) as raised:
        second.send()
    assert raised.value.diagnostics[0].code == "state-conflict"
    assert second.fetch() == [], "nothing is put aside"
    assert generations(second) == ["1", "2", "3"]
    second.send()
    assert first.fetch() == [] and generations(first) == ["1", "2", "3"]
    note(first, "4")
    assert generations(first) == ["1", "2", "3", "4"]


def test_a_plan_sends_no_journal_and_an_apply_does(two: tuple[Machine, Machine], s3: S3) -> None:
    """A plan with a login that only reads writes a line here, and the next fetch must not try to send it."""
    first, second = two
    note(first, "1")
    first.fetch()
    assert second.fetch() == [] and not journal_of(second).read().events
    first.send()
    assert second.fetch() == [] and generations(second) == ["1"]


def test_a_journal_that_was_cut_in_the_bucket_is_found_here(two: tuple[Machine, Machine], s3: S3) -> None:
    first, second = two
    note(first, "1")
    first.send()
    second.fetch()
    short = first.file("journal.jsonl").read_bytes()
    note(first, "2")
    first.send()
    second.fetch()
    first.file("journal.jsonl").write_bytes(short)
    first.send()
    second.fetch()
    assert "it had 3 lines, and has 2" in journal_of(second).read().why
    with pytest.raises(Failure) as raised:
        note(second, "3")
    assert raised.value.diagnostics[0].code == "broken-journal"


def test_a_broken_one_is_not_joined_but_put_aside(two: tuple[Machine, Machine], s3: S3) -> None:
    first, second = two
    note(first, "1")
    first.send()
    second.fetch()
    note(first, "2")
    first.send()
    own = second.file("journal.jsonl")
    own.write_bytes(own.read_bytes().replace(b"cirun", b"Cirun"))
    assert [d.code for d in second.fetch()] == ["state-aside"]
    assert b"Cirun" in second.file("journal.jsonl.unsent").read_bytes()
    assert generations(second) == ["1", "2"]
