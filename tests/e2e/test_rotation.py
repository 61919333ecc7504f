"""Credentials on a real Keystone: made, delivered, proven, retired; a job runs on through all of it."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date, timedelta
from functools import partial
from typing import Any

from keystoneauth1 import exceptions as keystone
from openstack.config import OpenStackConfig
from openstack.connection import Connection
from scene import JSON, Done, Process, Scene, playing

from cf_infra import credentials
from cf_infra.model import Credential
from tests.cirun_standin import CirunStandin

TURNING = "turning"
KEY = "pytorch-cpu-feedstock/cpu-job"


def turning_days(name: str, first: date) -> tuple[int, Callable[[int], str]]:
    """The number of a period that has begun well before `first`, and the n-th day of it as --today wants it."""
    credential = Credential.model_validate({"kind": "user", "rotate_every": "30d", "overlap": "2d"})
    number = credentials.period_of(TURNING, name, credential, first) + 1
    begin = credentials.begins(TURNING, name, credential, number)
    return number, lambda n: (begin + timedelta(days=n)).isoformat()


def login(value: JSON) -> Connection:
    """A connection with a delivered login, as its user makes it."""
    auth: dict[str, Any] = {"auth_url": value["auth_url"]}
    kind = "v3applicationcredential" if "application_credential_id" in value else "password"
    if kind == "password":
        auth |= {key: value[key] for key in ("username", "password", "project_id")}
        auth["user_domain_id"] = value["domain_id"]
    else:
        auth |= {key: value[key] for key in ("application_credential_id", "application_credential_secret")}
    config = OpenStackConfig(load_yaml_config=False, load_envvars=False)
    return Connection(config=config.get_one(auth_type=kind, auth=auth, region_name="RegionOne"))


def works(value: JSON) -> bool:
    """Does a new login with it work?"""
    with login(value) as connection:
        try:
            connection.session.get_token()
        except (keystone.Unauthorized, keystone.NotFound):
            return False
    return True


class Play:
    """The scene with its stand-in for Cirun, and the days on which `cirun` turns."""

    def __init__(self, scene: Scene, cirun: CirunStandin) -> None:
        self.scene, self.cirun = scene, cirun
        self.number, self.day = turning_days("cirun", date.fromisoformat(scene.today))

    def run(self, *words: str, code: int | None = 0, during: Callable[[Process], None] | None = None) -> Done:
        """A command that finds Cirun."""
        told = partial(self.scene.run, *words, code=code, env=self.cirun.environment())
        return told(during=during) if during is not None else told()

    def rotate(self, day: str, code: int | None = 0, during: Callable[[Process], None] | None = None) -> Done:
        """`rotate` on a day."""
        return self.run("rotate", TURNING, "--today", day, "--format", "json", code=code, during=during)

    def row(self, done: Done, name: str = "cirun") -> JSON:
        """What a command says of one credential."""
        (row,) = (row for row in done.stack(TURNING)["credentials"] if row["credential"] == name)
        return dict(row)

    def at_cirun(self) -> JSON:
        """The login that Cirun has."""
        return dict(self.cirun.state.clouds["openstack"])

    def users(self) -> set[str]:
        """The users of the stack that Keystone has, without the one who provisions."""
        begins = f"cf-{TURNING}-"
        names = {user.name for user in self.scene.cloud.identity.users()}
        return {n.removeprefix(begins) for n in names if n.startswith(f"{begins}cirun")}


@playing(minutes=5)
def test_credentials_turn_while_a_job_runs(scene: Scene) -> None:
    scene.stack(TURNING)
    scene.grants({"feedstock": "pytorch-cpu", "resources": ["cpu-job"]})
    with ExitStack() as stack:
        play = Play(scene, stack.enter_context(CirunStandin()))
        first = begin(play)
        job = stack.enter_context(login(first))
        server = boot(scene, job)
        second = turn_with_overlap(play, first)
        a_user_of_that_name(play)
        killed_at_each_step(play)
        deleted_at_the_cloud(play)
        assert scene.cloud.compute.get_server(server).status == "ACTIVE", "no rotation ended the job"
        revoked_now(play, server, second)
        the_master_key_changes(play)
        what_is_offered_works(play)


def begin(play: Play) -> JSON:
    """The plan says what will be delivered and proven; the apply does it."""
    done = play.run("plan", "--today", play.day(0), "--format", "json")
    label = str(play.number)
    steps = [(s["credential"], s["what"]) for s in done.stack(TURNING)["credentials"]]
    assert steps == [
        ("cirun", "deliver to cirun"),
        ("cirun", "prove by a login"),
        ("watcher", "deliver to file"),
        ("watcher", "prove by a login"),
    ]
    play.run("apply", "--format", "json")
    again = play.run("plan", "--today", play.day(1), "--format", "json", "--detailed-exitcode")
    assert again.stack(TURNING)["credentials"] == [], "a day later nothing is left to do"
    assert play.at_cirun()["username"] == f"cf-{TURNING}-cirun-{label}" and works(play.at_cirun())
    watcher = json.loads((play.scene.state(TURNING) / "delivered" / "watcher.json").read_text())
    assert works(watcher)
    return play.at_cirun()


def boot(scene: Scene, job: Connection) -> str:
    """A machine for a job, booted with the login as Cirun does."""
    (flavor,) = (f for f in job.compute.flavors() if f.name == f"cf-{TURNING}-cpu-job")
    (image,) = job.image.images(name="ubuntu-e2e")
    (network,) = job.network.networks(name=f"cf-{TURNING}-net")
    made = job.compute.create_server(
        name="cirun-job", flavor_id=flavor.id, image_id=image.id, networks=[{"uuid": network.id}]
    )
    scene.wait("the job", lambda: job.compute.get_server(made.id).status == "ACTIVE")
    return str(made.id)


def turn_with_overlap(play: Play, first: JSON) -> JSON:
    """Cirun refuses at first, and the old one stays; then both live until the overlap is past."""
    play.cirun.state.faults.append((500, {"message": "no"}))
    play.cirun.state.faults += [(500, {"message": "no"})] * 9  # the client asks again
    refused = play.rotate(play.day(30), code=1)
    play.cirun.state.faults.clear()
    assert "undelivered" in refused.codes
    assert play.row(refused)["live"] == [str(play.number), str(play.number + 1)]
    assert works(first) and play.at_cirun() == first
    done = play.rotate(play.day(30))
    second = play.at_cirun()
    assert second["username"].endswith(str(play.number + 1))
    assert works(first) and works(second), "both log in during the overlap"
    assert play.row(done)["proven"] == play.day(30)
    assert play.row(play.rotate(play.day(31)))["live"] == [str(play.number), str(play.number + 1)]
    done = play.rotate(play.day(32))
    assert not works(first) and works(second), "only the new one after it"
    places = [place["place"] for r in done.stack(TURNING)["receipts"] for place in r["gone_from"]]
    assert any(f"user {first['username']}" in place for place in places), places
    return second


def a_user_of_that_name(play: Play) -> None:
    """Somebody else has made a user of the name that the next generation needs: nothing is lost by it."""
    cloud = play.scene.cloud
    other = cloud.identity.create_user(name=f"cf-{TURNING}-cirun-{play.number + 2}", password="x" * 20)
    before = play.at_cirun()
    refused = play.rotate(play.day(60), code=1)
    assert refused.codes, refused.err
    assert play.at_cirun() == before and works(before)
    cloud.identity.delete_user(other)
    play.rotate(play.day(60))
    assert play.at_cirun()["username"].endswith(str(play.number + 2)) and works(play.at_cirun())


def killed_at_each_step(play: Play) -> None:
    """SIGKILL to all of it while it makes, delivers, proves and retires: the next run ends as if nothing had been."""
    number = play.number + 3
    play.rotate(play.day(62))
    for step in ("creating user", f"cirun/{number}: delivering", f"cirun/{number}: proven", "deleting user"):
        day = play.day(92 if step == "deleting user" else 90)

        def kill(process: Process, step: str = step) -> None:
            play.scene.wait(step, lambda: step in process.err or process.ended, limit=60, pause=0.02)
            assert not process.ended, f"ended before {step}:\n{process.err}"
            process.kill(whole=True)

        play.rotate(day, code=-signal.SIGKILL, during=kill)
        assert works(play.at_cirun()), f"killed while {step}"
    done = play.rotate(play.day(92))
    assert play.users() == {f"cirun-{number}"} and play.row(done)["live"] == [str(number)]
    assert works(play.at_cirun()) and play.at_cirun()["username"].endswith(str(number))
    assert play.scene.audit() == []


def deleted_at_the_cloud(play: Play) -> None:
    """Somebody deletes an application credential: it is made again, delivered again, and proven."""
    path = play.scene.state(TURNING) / "delivered" / "watcher.json"
    before = json.loads(path.read_text())
    with login(before) as own:
        owner = own.current_user_id
    admin = play.scene.cloud
    made = admin.identity.get_application_credential(owner, before["application_credential_id"])
    admin.identity.delete_application_credential(owner, made.id)
    assert not works(before)
    done = play.rotate(play.day(93))
    after = json.loads(path.read_text())
    assert after["application_credential_id"] != before["application_credential_id"] and works(after)
    assert play.row(done, "watcher")["works"] is True


def revoked_now(play: Play, server: str, second: JSON) -> None:
    """For a leak: another one takes its place, the old one and its token are refused, and what it booted goes."""
    assert not works(second)
    leaked = play.at_cirun()
    with login(leaked) as thief:
        mine = boot(play.scene, thief)
        token = thief.session.get_token()
        done = play.run(
            "revoke-now",
            f"{TURNING}/cirun",
            "--terminate",
            "--yes",
            "--today",
            play.day(93),
            "--format",
            "json",
        )
        (receipt,) = done.stack(TURNING)["receipts"]
        assert receipt["withdrawn"] == [str(play.number + 3)]
        assert receipt["replaced_by"] == f"{play.number + 3}.1"
        assert receipt["login_refused_at"] and receipt["token_seconds"] < 60
        assert [mine in name for name in receipt["terminated"]] == [True]
        assert token and thief.session.get_token() == token
    assert "cirun-job" in done.err, "what runs there is listed first"
    assert not works(leaked) and works(play.at_cirun())
    assert not play.scene.is_there(lambda: play.scene.cloud.compute.get_server(mine))
    assert play.scene.cloud.compute.get_server(server).status == "ACTIVE", "it was booted by an older login"
    play.scene.cloud.compute.delete_server(server)
    again = play.run("status", "--today", play.day(93), "--format", "json")
    assert play.row(again)["works"] is True and play.row(again)["generation"] == f"{play.number + 3}.1"


def the_master_key_changes(play: Play) -> None:
    """What lives goes on with the key before; the next generation comes from the new one, and then it is not needed."""
    key, before = play.scene.key, play.scene.key.with_name("sandbox.previous.key")
    number, leaked = play.number + 3, play.at_cirun()
    key.rename(before)
    key.write_text(secrets.token_hex(32) + "\n")
    key.chmod(0o600)
    play.rotate(play.day(94))
    assert play.at_cirun() == leaked and works(leaked), "a change of the key ends nobody's login"
    play.run("state", "rekey", TURNING)
    aside = before.with_name("aside")
    before.rename(aside)
    refused = play.rotate(play.day(94), code=1)
    assert refused.codes == ["no-key"] and "state.previous" in refused.err + refused.out
    aside.rename(before)
    play.rotate(play.day(120))
    play.rotate(play.day(122))
    before.unlink()
    done = play.rotate(play.day(122))
    assert play.row(done)["live"] == [str(number + 1)]
    assert not works(leaked) and works(play.at_cirun())
    play.scene.nothing_to_do("--today", play.day(122))


def what_is_offered_works(play: Play) -> None:
    """A server of what is offered, booted with the delivered login; and the reason, where none can be."""
    done = play.run("rotate", TURNING, "--boot", "--today", play.day(122), "--format", "json")
    (said,) = done.stack(TURNING)["booted"]
    assert f"cf-{TURNING}-cpu-job" in said
    with login(play.at_cirun()) as tenant:
        jobs = [boot(play.scene, tenant) for _ in range(4)]  # all the cores of its host
        full = play.run("rotate", TURNING, "--boot", "--today", play.day(122), "--format", "json", code=1)
        assert full.codes == ["canary-failed"] and "uota" in full.detail("canary-failed")
        for job in jobs:
            tenant.compute.delete_server(job)
    assert [s for s in play.scene.cloud.compute.servers(all_projects=True) if "canary" in s.name] == []
