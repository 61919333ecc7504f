"""What is built from the Go modules beside this file, and how.

Each tool has a folder with its own go.mod and go.sum, so that none moves another's dependencies. Its version
stands in that go.mod and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: Releases of OpenTofu that are taken from PATH: 1.11 brought write-only arguments and ephemeral values.
TOFU_AT_LEAST = (1, 11, 0)
TOFU_BELOW = (2, 0, 0)
TOFU_RANGE = ">= 1.11.0 and < 2.0.0"

#: What modules/ ask of each provider; written into its lock file as the constraint.
CONSTRAINTS = {"openstack": ">= 1.54.1, < 4.0.0", "github": ">= 6.11.1, < 7.0.0"}

#: Every provider stands in the mirror under both, so that OpenTofu and Terraform find it.
REGISTRY_HOSTS = ("registry.opentofu.org", "registry.terraform.io")

#: Part of every tool's digest: raise it when the way of building changes.
RECIPE = 1
#: Part of a set's digest: raise it when what is in one changes.
SET_RECIPE = 2

#: -trimpath: the same bytes wherever the cache lies; no VCS stamp: the clone's commit is not the tool's.
GO_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")


@dataclass(frozen=True)
class Tool:
    """One program, built from the folder of its name."""

    name: str
    title: str
    package: str
    module: str
    binary: str
    #: SOURCE of a provider (namespace/type); empty for other programs.
    provider: str = ""
    ldflags: str = ""
    tags: str = ""
    #: Needs a C compiler.
    cgo: bool = False

    @property
    def folder(self) -> Path:
        """Where go.mod and go.sum are."""
        return HERE / self.name

    @property
    def version(self) -> str:
        """The version that go.mod pins, without the `v`."""
        return _in_go_mod(self.folder, rf"^\s*(?:require\s+)?{re.escape(self.module)} v(\S+)")

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that go.mod allows."""
        return parse_version(_in_go_mod(self.folder, r"^go (\S+)"))

    @property
    def file_name(self) -> str:
        """The binary's name: OpenTofu finds a provider in an unpacked mirror by this form."""
        return (
            f"terraform-provider-{self.provider.split('/')[1]}_v{self.version}"
            if self.provider
            else self.binary
        )


def _in_go_mod(folder: Path, pattern: str) -> str:
    found = re.search(pattern, (folder / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{folder.name}/go.mod has no line like {pattern!r}. This is a bug in cf-infra.")
    return found[1]


def parse_version(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: `1.12.6-dev` is (1, 12, 6); ValueError if there are none."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    if found is None:
        raise ValueError(f"not a version: {text!r}")
    return tuple(int(part) for part in found[0].split("."))


TOOLS = {
    tool.name: tool
    for tool in (
        # dev=no: built as a module, OpenTofu calls itself 1.12.6-dev, and that would stand in every state.
        Tool(
            "tofu",
            "OpenTofu",
            "github.com/opentofu/opentofu/cmd/tofu",
            "github.com/opentofu/opentofu",
            "tofu",
            ldflags="-X github.com/opentofu/opentofu/version.dev=no",
        ),
        Tool(
            "openstack",
            "provider openstack",
            "github.com/terraform-provider-openstack/terraform-provider-openstack",
            "github.com/terraform-provider-openstack/terraform-provider-openstack",
            "terraform-provider-openstack",
            provider="terraform-provider-openstack/openstack",
        ),
        Tool(
            "github",
            "provider github",
            "github.com/integrations/terraform-provider-github/v6",
            "github.com/integrations/terraform-provider-github/v6",
            "terraform-provider-github",
            provider="integrations/github",
        ),
        Tool(
            "time",
            "provider time",
            "github.com/hashicorp/terraform-provider-time",
            "github.com/hashicorp/terraform-provider-time",
            "terraform-provider-time",
            provider="hashicorp/time",
        ),
        Tool(
            "act",
            "act",
            "github.com/nektos/act",
            "github.com/nektos/act",
            "act",
        ),
        Tool(
            "actionlint",
            "actionlint",
            "github.com/rhysd/actionlint/cmd/actionlint",
            "github.com/rhysd/actionlint",
            "actionlint",
        ),
        # SQLite is C. nolimit: without it the server counts builds and asks for a licence.
        Tool(
            "drone",
            "Drone server",
            "github.com/drone/drone/cmd/drone-server",
            "github.com/drone/drone",
            "drone-server",
            tags="nolimit",
            cgo=True,
        ),
    )
}

#: Built by `make setup`: what plan and apply need. The rest: `tools/build.py NAME`.
CORE = ("tofu", "openstack", "github")
