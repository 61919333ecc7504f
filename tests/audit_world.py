"""An organisation at GitHub's and Cirun's stand-ins, just as a root folder says: to plant drift in, and to mend it.

A fix is run as a person would run it: `gh api` and `cirun` against the stand-ins, `sed` on the file, `cf-infra` in this
process. OpenTofu is not started here (tests/test_github_kind.py does that): for `cf-infra plan && apply` the
stand-in gets what the compiled values say.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import requests
from roots import Ran, Runner, write_root

from cf_infra import github_files, project
from cf_infra.console import today_utc
from tests.cirun_standin import CirunStandin
from tests.github import Repository, Standin
from tests.github.state import Installation, RunnerGroup, Secret, Selection, State, Variable

ORG = "conda-forge"
TOKEN = "ghp_ThisIsNoTokenButItLooksLikeOne0003"
KEY = "cirun-key-of-a-test-0003"
URL = "https://raw.githubusercontent.com/donor/terms/main/people.json"
PEOPLE = b'{"users": [{"github": "ada", "id": 11}, {"github": "Bob", "id": 12}]}\n'
STARTED = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
ACCOUNT = f"""\
version: 1
kind: cirun
donor: {{name: Somebody, terms: {{users: donor, url: {URL}}}}}
offers:
  gpu-large: {{via: cirun, mode: on-demand, label: cirun-gpu-large, cirun: {{cloud: aws, instance_type: g4dn}}}}
  cpu-large: {{via: cirun, mode: on-demand, label: cirun-cpu-large, cirun: {{cloud: aws, instance_type: m6}}}}
""".encode()
ACCESS = b"""\
version: 1
kind: github
donor: {name: conda-forge}
github:
  runner_groups: {cf-gpu: {resources: [gpu-large]}}
  secrets: {STAGING: {resources: [gpu-large]}}
  variables: {CF_GPU_RUNNER: {resources: [cirun-gpu-large]}}
"""
VENDOR = """\
version: 1
kind: app
donor: {{name: Namespace}}
app: {{vendor: Namespace, installation: {number}, keep: admin-requests}}
offers:
  namespace: {{via: app, mode: on-demand}}
"""
SETTINGS = "version: 1\norganisation: conda-forge\naccess_delivery: {delivery}\ngithub: {{api: {url}}}\n"


def entry(feedstock: str, *resources: str, **more: str) -> str:
    """An entry of grants.yaml, in one line a key."""
    values = {
        "resources": f"[{', '.join(resources)}]",
        "reason": "Builds take long",
        "request": "https://example.org/1",
        "requested_by": "somebody",
        "granted": "2026-01-01",
        "expires": "2027-12-01",
        "roles": "[admin, maintain]",
        "terms": "donor",
        **more,
    }
    lines = [f"feedstock: {feedstock}", *(f"{key}: {value}" for key, value in values.items())]
    return "".join(f"  {'- ' if not number else '  '}{line}\n" for number, line in enumerate(lines))


GRANTS = "version: 1\ngrants:\n" + "".join(
    [
        entry("alpha", "gpu-large"),
        entry("beta", "cpu-large"),
        entry("beta", "namespace"),
        entry("gamma", "gpu-large"),
    ]
)


@dataclass
class World:
    """One organisation, one folder."""

    root: Path
    github: Standin
    cirun: CirunStandin
    command: Runner
    now: float = STARTED
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state.clock = lambda: self.now
        self.state.add_member("operator", owner=True)
        self.state.add_token(TOKEN, "operator", scopes=["repo", "admin:org"])
        for name in ("alpha-feedstock", "beta-feedstock", "gamma-feedstock", "admin-requests", ".cirun"):
            self.state.add_repository(name)
        self.state.add_repository("terms", owner="donor", files={"people.json": PEOPLE})
        self.installation = self.state.add_installation("namespace")
        self.write(GRANTS)
        self.settle()
        for name in ("alpha", "beta", "gamma"):
            self.cirun.state.repositories[f"{ORG}/{name}-feedstock"] = True

    @property
    def state(self) -> State:
        return self.github.state

    def repository(self, name: str) -> Repository:
        found = self.state.repository(ORG, name)
        assert found is not None
        return found

    def write(self, grants: str, delivery: str = "pull-request") -> None:
        """The root folder."""
        files = {
            "grants.yaml": grants.encode(),
            "settings.yaml": SETTINGS.format(url=self.github.url, delivery=delivery).encode(),
            "stacks/account.yaml": ACCOUNT,
            "stacks/access.yaml": ACCESS,
            "stacks/vendor.yaml": VENDOR.format(number=self.installation.id).encode(),
            "users/donor.json": PEOPLE,
        }
        write_root(self.root, files)

    # -------------------------------------------------------------------------------------------- commands

    def audit(self, *more: str) -> Ran:
        """`audit` as JSON, of what has no OpenStack."""
        ran = self.command("audit", "--root", str(self.root), "--format", "json", *more)
        self.asked.append(ran.out + ran.err)
        return ran

    def findings(self, *more: str) -> list[dict[str, Any]]:
        """What it found; any other fault fails."""
        ran = self.audit(*more)
        assert [d for d in orjson.loads(ran.out)["diagnostics"] if d["severity"] == "error"] == []
        found = orjson.loads(ran.out)["findings"]
        assert isinstance(found, list)
        return found

    def settle(self) -> None:
        """The organisation as the files say, all of it."""
        self._lists("export access", ".access.yml")
        self._lists("compile", ".cirun.global.yml")
        self._apply("access")
        self._apply("vendor")

    def edit(self, path: str, old: str, new: str, author: str = "somebody") -> None:
        """Somebody edits a list by hand."""
        self.now += 3600
        commit = self.repository(".cirun").commit_at("main")
        assert commit is not None
        text = commit.files[path].decode()
        assert old in text
        self.commit(".cirun", {path: text.replace(old, new)}, author)

    def commit(
        self, name: str, files: dict[str, str | None], author: str = "somebody", owner: str = ORG
    ) -> None:
        """Somebody commits."""
        repository = self.state.repository(owner, name)
        assert repository is not None
        user = self.state.user(author) or self.state.add_user(author)
        self.state.commit(repository, files, "By hand", author=user.id)

    # ------------------------------------------------------------------------------------------------ fixes

    def mend(self, fix: str) -> None:
        """Run a fix as a person would."""
        self.now += 60
        for line in fix.splitlines():
            for part in line.split(" && "):
                words = shlex.split(part, comments=True)
                if words:
                    self._run(words, part)

    def _run(self, words: list[str], part: str) -> None:
        if words[:2] == ["gh", "api"]:
            self._gh(words[2:])
        elif words[:2] == ["cirun", "repo"]:
            self._cirun(words[2], words[3])
        elif words[0] == "sed":
            subprocess.run(words, cwd=self.root, check=True)
        elif words[:3] == ["cf-infra", "export", "access"]:
            self._lists("export access", ".access.yml")
        elif words[:2] == ["cf-infra", "compile"]:
            self._lists("compile", ".cirun.global.yml")
        elif words[:2] == ["cf-infra", "apply"]:
            self._apply(words[2])
        elif words[:3] == ["cf-infra", "grant", "revoke"]:
            self._revoke(words[3])
        else:
            assert words[0] in ("cp", "cf-infra"), f"nobody can run this: {part}"

    def _gh(self, words: list[str]) -> None:
        assert words[0] == "-X"
        body = dict(
            value.split("=", 1) for flag, value in zip(words[3::2], words[4::2], strict=True) if flag == "-f"
        )
        answer = requests.request(
            words[1],
            self.github.url + words[2],
            json=body or None,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        )
        assert answer.status_code < 300, answer.text

    def _cirun(self, verb: str, name: str) -> None:
        answer = requests.post(
            f"{self.cirun.url}/repo",
            json={"repository": name, "active": verb == "add"},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=10,
        )
        assert answer.status_code == 200, answer.text

    def _lists(self, made_by: str, path: str) -> None:
        """What the command makes, merged as a pull request would be."""
        ran = self.command(*made_by.split(), "--root", str(self.root))
        assert ran.code == 0, ran.err
        text = ran.out if path == ".access.yml" else (self.root / "build" / "access" / path).read_text()
        self.commit(".cirun", {path: text}, "operator")

    def _apply(self, stack: str) -> None:
        folder = project.read(self.root, today_utc())
        resolved = folder.resolved()
        values = github_files.values(resolved.stacks[stack], resolved, folder.inventory, files=False)
        ids = lambda names: {self.repository(name).id for name in names}  # noqa: E731
        if stack == "vendor":
            self.installation.repositories |= ids(values["repositories"])
            return
        for name, row in values["runner_groups"].items():
            known = next((g.id for g in self.state.groups.values() if g.name == name), self.state.number())
            public, chosen = row["public"], ids(row["repositories"])
            self.state.groups[known] = RunnerGroup(
                "selected", chosen, id=known, name=name, allows_public=public
            )
        for name, repositories in values["secrets"].items():
            self.state.secrets[name] = Secret("selected", ids(repositories), name=name, updated=self.now)
        for name, row in values["variables"].items():
            self.state.variables[name] = Variable(
                "selected", ids(row["repositories"]), name=name, value=row["value"], updated=self.now
            )

    def _revoke(self, feedstock: str) -> None:
        text = (self.root / "grants.yaml").read_text()
        entries = re.split(r"(?=^  - )", text, flags=re.MULTILINE)
        left = [one for one in entries if not one.startswith(f"  - feedstock: {feedstock}\n")]
        assert len(left) < len(entries)
        (self.root / "grants.yaml").write_text("".join(left))

    def group(self, name: str) -> Selection:
        return next(one for one in self.state.groups.values() if one.name == name)

    def app(self) -> Installation:
        return self.installation
