"""What OpenTofu complains of, as our diagnostics: its own words, our code where they mean one thing only."""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cf_infra import keyprovider, locks
from cf_infra.diagnostics import Diagnostic
from cf_infra.events import Problem
from cf_infra.mask import Masker

KEY_HINTS = {
    "wrong-key": "use the key that the state was made with; no other one can read it",
    "foreign-state": "give each stack on each cloud a state of its own",
    "no-key": "see `state.key` in settings.yaml",
    "bad-key": "see `state.key` in settings.yaml",
}


@dataclass(frozen=True, slots=True)
class Sign:
    """Words that mean one thing only. `cloud`: only if a provider says them, not a registry or a state's store."""

    code: str
    words: re.Pattern[str]
    hint: str
    cloud: bool = False


_S3 = r"operation error S3: [^\n]*"
SIGNS = (
    Sign(
        "bucket-refused",
        re.compile(
            _S3
            + r"(AccessDenied|Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|get identity)"
        ),
        "log in as your team does; docs/state.md says what the login has to be allowed",
    ),
    Sign("no-bucket", re.compile(_S3 + r"NoSuchBucket"), "correct `state.bucket` in settings.yaml"),
    Sign(
        "clock-wrong",
        re.compile(_S3 + r"RequestTimeTooSkewed"),
        "set the clock of this machine:\ntimedatectl",
    ),
    Sign(
        "bucket-silent",
        re.compile(_S3 + r"(dial tcp|request send failed|exceeded maximum number of attempts)"),
        "see whether it can be reached, then plan again: a state that could not be saved there is kept in build/",
    ),
    Sign(
        "wrong-key",
        re.compile(r"decryption failed|encountered unencrypted payload"),
        KEY_HINTS["wrong-key"],
    ),
    Sign(
        "disk-full",
        re.compile(r"no space left on device|disk quota exceeded"),
        "make room, then run the command again",
    ),
    Sign(
        "no-cloud",
        re.compile(r"cloud \S+ does not exist in clouds\.yaml"),
        "add it to clouds.yaml, or name another one:\ncf-infra plan --cloud STACK=NAME",
        cloud=True,
    ),
    Sign(
        "login-refused",
        # gophercloud 1 says only this of a 401, gophercloud 2 names address and status. A deleted application
        # credential is a 404 at that address, in both.
        re.compile(r"Authentication failed|/auth/tokens\](, but got 40[134] instead|, error message)"),
        "check the cloud's entry in clouds.yaml",
        cloud=True,
    ),
    Sign(
        "cloud-silent",
        re.compile(
            r"dial tcp[^\n]*(connection refused|no such host|no route to host|i/o timeout|is unreachable)"
            r"|TLS handshake timeout|Client\.Timeout exceeded"
        ),
        "check that the cloud's address in clouds.yaml is right and can be reached from here",
        cloud=True,
    ),
)
"""The first that fits counts."""

NOISE = ("Users not using loadbalancer resources can ignore this message.",)
"""Beginnings of warnings that nobody can do anything about: openstack 1.54.1 gives this one in every run."""


def is_noise(problem: Problem) -> bool:
    """Return whether a warning says nothing about this configuration."""
    return problem.severity == "warning" and problem.detail.startswith(NOISE)


@dataclass(frozen=True, slots=True)
class Complaints:
    """Turns problems of OpenTofu in one folder into diagnostics, whose places are relative to `root`."""

    folder: Path
    root: Path
    masker: Masker

    def diagnose(self, problem: Problem) -> Diagnostic:
        """One diagnostic of OpenTofu in our form."""
        if problem.severity == "warning":
            return self._plain("tofu-warning", problem)
        text = f"{problem.summary}\n{problem.detail}"
        if mark := re.search(re.escape(keyprovider.MARK) + r"(\[.*\])", text):
            code, detail = json.loads(mark[1])
            return Diagnostic(code, detail=detail, hint=KEY_HINTS.get(code, ""))
        for sign in SIGNS:
            if sign.words.search(text) and (problem.address or not sign.cloud):
                return Diagnostic(sign.code, detail=_words(problem, address=not sign.cloud), hint=sign.hint)
        if problem.summary == "Error acquiring the state lock":
            return self._locked(problem)
        return self._plain("tofu-failed", problem)

    def _plain(self, code: str, problem: Problem) -> Diagnostic:
        return Diagnostic(
            code,
            detail=_words(problem),
            file=self._place(problem.file),
            line=problem.line,
            column=problem.column,
            excerpt=problem.excerpt,
            width=problem.width,
        )

    def _place(self, file: str | None) -> str | None:
        if file is None or not (self.folder / file).exists():  # no file: TF_ENCRYPTION, <value for var.name>
            return None
        return os.path.relpath(self.folder / file, self.root)

    def _locked(self, problem: Problem) -> Diagnostic:
        state = local_state(self.folder)
        pid = locks.holder(state) if state is not None else None
        lock = locks.lock_in(problem.detail)
        if pid is None and lock is None:
            return self._plain("tofu-failed", problem)
        who = f" of {lock.who}" if lock and lock.who else ""
        what = f"`{lock.operation}`" if lock and lock.operation else "A run"
        held = f"{what}{who} holds it{_age(lock)}."
        if pid is not None:
            command = self.masker.text(locks.command_of(pid))[:300]
            detail = f"{held}\nIt is process {pid} on this machine: {command}"
            return Diagnostic(
                "state-locked", detail, f"wait until it has ended, or stop it:\nkill -INT {pid}"
            )
        unlock = f"tofu -chdir={shlex.quote(str(self.folder))} force-unlock {lock.id if lock else ''}"
        hint = f"wait until it has ended. Only if it is dead for certain, break its lock:\n{unlock}"
        return Diagnostic("state-locked", held, hint)


def _words(problem: Problem, *, address: bool = True) -> str:
    words = problem.summary + (f"\n{problem.detail}" if problem.detail else "")
    told = problem.address is None or problem.address in words
    return words if told or not address else f"{words}\nat {problem.address}"


def local_state(folder: Path) -> Path | None:
    """The state file that the initialised `folder` uses; None if its backend is another than `local`."""
    try:
        known = json.loads((folder / ".terraform" / "terraform.tfstate").read_text(encoding="utf-8"))
        backend = known["backend"]
        return folder / backend["config"]["path"] if backend["type"] == "local" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _age(lock: locks.Lock | None) -> str:
    if lock is None or lock.created is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - lock.created).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f" since {seconds // size} {unit}"
    return f" since {seconds} s"
