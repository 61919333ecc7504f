"""The real OpenTofu with the resource it has built in (terraform_data): no cloud, no provider, no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cf_infra import keys
from cf_infra.diagnostics import Failure
from cf_infra.mask import Masker
from cf_infra.tofu import Event, Tofu, Tool, find

PROJECT = Path(__file__).resolve().parent.parent


def tool_or_skip() -> Tool:
    """The OpenTofu of this clone, else of PATH; the reason is shown where there is none."""
    try:
        return find(PROJECT)
    except Failure as failure:
        pytest.skip(f"OpenTofu is not there: {failure}. Run `make setup`.")


def tool_with_github() -> Tool:
    """The same, where the provider integrations/github was built as well."""
    tool = tool_or_skip()
    if "github" not in tool.locks:
        pytest.skip("NOT TESTED: the provider integrations/github was not built. Run `make setup`.")
    return tool


class Place:
    """A root with one stack `s`: build/s, .state/s and a key outside of it."""

    def __init__(self, base: Path, tool: Tool, stack: str = "s") -> None:
        self.base = base
        # The lock names our providers; read only, it must name just those that a configuration has.
        self.tool = Tool(tool.tofu, tool.tofurc, None, tool.versions)
        self.stack = stack
        self.events: list[Event] = []
        self.times: list[float] = []
        self.folder.mkdir(parents=True)
        self.state.parent.mkdir(parents=True)

    @property
    def root(self) -> Path:
        return self.base / "root"

    @property
    def folder(self) -> Path:
        return self.root / "build" / self.stack

    @property
    def state(self) -> Path:
        return self.root / ".state" / self.stack / "terraform.tfstate"

    @property
    def saved(self) -> Path:
        return self.state.parent / "plan"

    def write(self, resources: Mapping[str, Any], **more: Any) -> None:
        """A configuration of terraform_data resources, and whatever blocks come with it."""
        document: dict[str, Any] = {"terraform": {"backend": {"local": {}}}, **more}
        if resources:
            document["resource"] = {"terraform_data": resources}
        (self.folder / "main.tf.json").write_text(json.dumps(document, indent=2) + "\n")

    def key(self, name: str = "key") -> keys.KeyFile:
        source = keys.KeyFile(self.base / name)
        keys.state_key(source, self.root, create=True)
        return source

    def tofu(
        self,
        env: Mapping[str, str] | None = None,
        on_event: Callable[[Event], None] | None = None,
        source: keys.KeySource | None = None,
        masker: Masker | None = None,
    ) -> Tofu:
        encryption = keys.encryption_environment(source or self.key(), self.stack, os.environ)
        return Tofu(
            self.tool,
            self.folder,
            {**encryption, **(env or {})},
            on_event or self.note,
            masker=masker,
            root=self.root,
        )

    def note(self, event: Event) -> None:
        self.events.append(event)
        self.times.append(time.monotonic())

    def planned(self, tofu: Tofu | None = None, **options: Any) -> Tofu:
        """Initialised, and with a plan saved."""
        tofu = tofu or self.tofu()
        tofu.init(self.state)
        tofu.plan(self.saved, **options)
        return tofu

    def applied(self, tofu: Tofu | None = None) -> Tofu:
        tofu = self.planned(tofu)
        tofu.apply(self.saved)
        return tofu

    def addresses(self) -> list[str]:
        """What the state holds."""
        values = self.tofu().show_state().get("values") or {}
        return sorted(r["address"] for r in (values.get("root_module") or {}).get("resources", []))

    def _tool(self) -> str:
        return f"Tool(Path({str(self.tool.tofu)!r}))"

    def driver(self, body: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Another process of cf-infra that works in this place; `body` sees `place` and `tofu`."""
        program = (
            "import sys\n"
            f"sys.path[:0] = [{str(PROJECT)!r}, {str(Path(__file__).parent)!r}]\n"
            "from pathlib import Path\n"
            "from cf_infra.tofu import *\n"
            "from real_tofu import Place, PROJECT, find\n"
            "place = Place.__new__(Place)\n"
            f"place.base, place.tool, place.stack = Path({str(self.base)!r}), {self._tool()}, {self.stack!r}\n"
            "tofu = place.tofu(on_event=lambda e: print(e.kind, e.message, flush=True))\n"
            "try:\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
            "except Interrupted as stopped:\n"
            "    print('INTERRUPTED', stopped.operation, stopped.completed, flush=True)\n"
            "    sys.exit(130)\n"
        )
        return subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )


def until(there: Callable[[], Any], seconds: float = 20) -> Any:
    """What `there` gives as soon as it gives something; fails the test after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := there():
            return found
        time.sleep(0.02)
    pytest.fail(f"not there after {seconds} s")


def line_with(stream: Any, text: str) -> str:
    """Read lines until one has `text`."""
    for line in stream:
        if text in line:
            return str(line)
    pytest.fail(f"{text!r} was never printed")
