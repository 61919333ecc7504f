"""Stacks of kind github and app to the files that OpenTofu reads, and Cirun's list as single entries.

As for every kind, main.tf.json is structure only: it is the same for all stacks of a kind. Names of repositories,
groups, secrets and the lists themselves are values of grants.auto.tfvars.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cf_infra.access import (
    AccessList,
    Control,
    Policy,
    access_text,
    export_access,
    read_access,
    runners_text,
)
from cf_infra.model import GithubAccess, Inventory, Kind, Stack, StateKind
from cf_infra.resolve import Resolved, ResolvedStack, followers

JSON = dict[str, Any]
PROVIDER = {"source": "integrations/github", "version": ">= 6.11.1, < 7.0.0"}
ACCESS = ".access.yml"
RUNNERS = ".cirun.global.yml"
MODULES = {
    Kind.GITHUB: ("github-file", "github-runner-group", "github-secret-access", "github-variable"),
    Kind.APP: ("github-app-access",),
}
LARGEST = 1_000_000
"""Bytes of a file that GitHub's contents API still tells: the provider cannot read a larger one (1 MB)."""

# ---------------------------------------------------------------------------------------------- structure


def configuration(kind: Kind, store: StateKind = StateKind.LOCAL) -> JSON:
    """main.tf.json of a stack of kind github or app: one text for each kind."""
    variables, modules, imports = (
        (_GITHUB_VARIABLES, _GITHUB_MODULES, _GITHUB_ADOPTED)
        if kind is Kind.GITHUB
        else (_APP_VARIABLES, _APP_MODULES, _APP_ADOPTED)
    )
    return {
        "terraform": {
            "required_version": ">= 1.7",
            "required_providers": {"github": PROVIDER},
            "backend": {store.value: {}},
        },
        # The token and another address of GitHub's API come from the environment of the run.
        "provider": {"github": {"owner": "${var.organisation}", "write_delay_ms": "${var.write_delay_ms}"}},
        "variable": {**_FROM_THE_SHELL, **variables},
        "import": [
            {"for_each": f"${{var.adopt.{sort}}}", "id": "${each.value}", "to": to}
            for sort, to in imports.items()
        ],
        "module": {name: {"source": f"./modules/github-{name}", **args} for name, args in modules.items()},
    }


def without_organisation(found: JSON) -> JSON:
    """main.tf.json for a plan that does not ask GitHub: without an owner the provider asks nothing by itself."""
    return {**found, "provider": {"github": {"base_url": "http://127.0.0.1:1/", "write_delay_ms": 1}}}


_FROM_THE_SHELL: dict[str, JSON] = {
    "organisation": {"type": "string"},
    "write_delay_ms": {"type": "number", "default": 1000},
}
# What is there already and in no state: by our key the provider's import id.
_GITHUB_ADOPTED = {
    "files": "module.file.github_repository_file.this[each.key]",
    "runner_groups": "module.runner-group.github_actions_runner_group.this[each.key]",
    "secrets": "module.secret-access.github_actions_organization_secret_repositories.this[each.key]",
    "variables": "module.variable.github_actions_organization_variable.this[each.key]",
}
_APP_ADOPTED = {"repositories": "module.app-access.github_app_installation_repository.this[each.key]"}


def _adopt(sorts: Iterable[str]) -> JSON:
    fields = ", ".join(f"{sort} = optional(map(string), {{}})" for sort in sorts)
    return {"type": f"object({{{fields}}})", "default": {}}


_GITHUB_VARIABLES: dict[str, JSON] = {
    "adopt": _adopt(_GITHUB_ADOPTED),
    "repository_ids": {"type": "map(number)"},
    "repository": {"type": "string"},
    "files": {"type": "map(string)"},
    # Files of an earlier way of delivery: they stay as they are there, and pull requests change them.
    "kept_files": {"type": "map(string)", "default": {}},
    "runner_groups": {"type": "map(object({public = bool, repositories = set(string)}))"},
    "secrets": {"type": "map(set(string))"},
    "variables": {"type": "map(object({value = string, repositories = set(string)}))"},
}
_APP_VARIABLES: dict[str, JSON] = {
    "adopt": _adopt(_APP_ADOPTED),
    "installation": {"type": "string"},
    "repositories": {"type": "set(string)"},
    "absent": {"type": "set(string)", "default": []},
}
_IDS = {"repository_ids": "${var.repository_ids}"}
_GITHUB_MODULES: dict[str, JSON] = {
    "file": {"repository": "${var.repository}", "files": "${merge(var.files, var.kept_files)}"},
    "runner-group": {"groups": "${var.runner_groups}", **_IDS},
    "secret-access": {"secrets": "${var.secrets}", **_IDS},
    "variable": {"variables": "${var.variables}", **_IDS},
}
_APP_MODULES: dict[str, JSON] = {
    "app-access": {
        "installation": "${var.installation}",
        "repositories": "${setsubtract(var.repositories, var.absent)}",
    }
}

# ------------------------------------------------------------------------------------------------- values


def values(stack: ResolvedStack, resolved: Resolved, inventory: Inventory, files: bool = True) -> JSON:
    """grants.auto.tfvars.json. `files`: False where the lists go by pull request, and are no resources.

    Groups, secrets and variables follow `stack.access`, the lists follow `resolved`.
    """
    if stack.stack.kind is Kind.APP:
        return _app_values(stack)
    github = stack.stack.github or GithubAccess()
    followed = {(sort, name): have for sort, name, have in _followed(stack, resolved)}
    return {
        "repository": github.repository,
        "files": {n: raw.decode() for n, raw in lists(resolved, inventory).items()} if files else {},
        "runner_groups": {
            name: {"public": group.public, "repositories": followed["runner group", name]}
            for name, group in github.runner_groups.items()
        },
        "secrets": {name: followed["secret", name] for name in github.secrets},
        "variables": {
            name: {
                "value": variable.value or ",".join(_labels(variable.resources, resolved)),
                "repositories": followed["variable", name],
            }
            for name, variable in github.variables.items()
        },
    }


def _app_values(stack: ResolvedStack) -> JSON:
    app = stack.stack.app
    if app is None:
        raise ValueError("a stack of kind app without `app`: check refuses it. This is a bug in cf-infra.")
    granted = {key.partition("/")[0] for use in stack.uses.values() for key in use.grants}
    return {"installation": str(app.installation), "repositories": sorted({app.keep, *granted})}


def lists(resolved: Resolved, inventory: Inventory) -> dict[str, bytes]:
    """Cirun's two lists of all stacks together: file name -> content."""
    return {
        ACCESS: access_text(export_access(resolved, inventory)).encode(),
        RUNNERS: runners_text(resolved).encode(),
    }


def _followed(stack: ResolvedStack, resolved: Resolved) -> Iterable[tuple[str, str, list[str]]]:
    """(sort, name, repositories) of what follows grants."""
    for sort, name, resources in followers(stack.stack):
        meant = {resolved.catalog.canonical(resource) for resource in resources}
        found = {key.partition("/")[0] for key in stack.access if key.partition("/")[2] in meant}
        yield sort, name, sorted(found)


def _labels(resources: Iterable[str], resolved: Resolved) -> list[str]:
    offers = [o.offer for resource in resources for o in resolved.catalog.offers(resource)]
    return sorted({offer.label for offer in offers if offer.label is not None})


def grants_of(stack: ResolvedStack, resolved: Resolved, sort: str, name: str, repository: str) -> list[str]:
    """The grants for which `repository` has `name` (of this sort: `runner group`, `secret`, `variable`)."""
    for its_sort, its_name, resources in followers(stack.stack):
        if (its_sort, its_name) == (sort, name):
            meant = sorted({resolved.catalog.canonical(r) for r in resources})
            return [f"{repository}/{resource}" for resource in meant]
    return []


# ---------------------------------------------------------------------------------------- single entries

Row = tuple[str, str, str]
"""(repository, label, policy id): one line of who may start what, by which conditions."""


def rows(listed: AccessList) -> dict[Row, Policy]:
    """The list as single entries; two lists with the same entries mean the same."""
    policies = {policy.id: policy for policy in listed.policies}
    return {
        (policies[name].repo, control.resource, name): policies[name]
        for control in listed.access_control
        for name in control.policies
    }


def key_of_row(row: Row, classes: Mapping[str, str]) -> str:
    """The grant that an entry stands for: `repository/class`, or the label where no class is known."""
    return f"{row[0]}/{classes.get(row[1], row[1])}"


def without(listed: AccessList, withheld: Iterable[Row]) -> AccessList:
    """The list without some of its entries; policies and resources that nothing names any more go as well."""
    gone = set(withheld)
    repos = {policy.id: policy.repo for policy in listed.policies}
    controls = [
        control.model_copy(
            update={"policies": [p for p in control.policies if (repos[p], control.resource, p) not in gone]}
        )
        for control in listed.access_control
    ]
    lost = {row[2] for row in gone} - {p for control in controls for p in control.policies}
    return AccessList(
        policies=[policy for policy in listed.policies if policy.id not in lost],
        access_control=[control for control in controls if control.policies],
    )


def is_ours(stack: Stack) -> bool:
    """Do we keep something for this stack at GitHub? Of an app without an installation nobody knows where."""
    return stack.kind is Kind.GITHUB or (stack.kind is Kind.APP and stack.app is not None)


def narrowed(wanted: JSON, now: JSON) -> JSON:
    """The values with nothing in them that is not there now: what takes away, and gives nobody anything new."""
    if "installation" in wanted:
        return {**wanted, "repositories": _both(wanted["repositories"], now["repositories"])}
    result: JSON = {**wanted, "files": {}, "secrets": {}, "variables": {}, "runner_groups": {}}
    for name, content in now["files"].items():
        if name in wanted["files"]:
            result["files"][name] = (
                _common_text(content, wanted["files"][name]) if name == ACCESS else content
            )
    for name in wanted["secrets"].keys() & now["secrets"].keys():
        result["secrets"][name] = _both(wanted["secrets"][name], now["secrets"][name])
    for part in ("variables", "runner_groups"):
        for name in wanted[part].keys() & now[part].keys():
            both = _both(wanted[part][name]["repositories"], now[part][name]["repositories"])
            result[part][name] = {**now[part][name], "repositories": both}
    return result


def _both(one: Iterable[str], other: Iterable[str]) -> list[str]:
    return sorted(set(one) & set(other))


def _common_text(old: str, new: str) -> str:
    before, after = read_access(old.encode(), ACCESS), read_access(new.encode(), ACCESS)
    left = common(before, after)
    return old if rows(left) == rows(before) else access_text(left)


def common(old: AccessList, new: AccessList) -> AccessList:
    """What both give: the list that stands while machines are changed, when nobody may get more yet."""
    policies = {p.id: p for p in old.policies}
    kept = {p.id for p in new.policies if policies.get(p.id) == p}
    opened = {c.resource: set(c.policies) for c in old.access_control}
    controls = [
        Control(
            resource=c.resource, policies=[p for p in c.policies if p in kept & opened.get(c.resource, set())]
        )
        for c in new.access_control
    ]
    return AccessList(policies=[p for p in new.policies if p.id in kept], access_control=controls)


def withheld_files(
    files: Mapping[str, str], now: Mapping[str, str], keys: set[str], classes: Mapping[str, str]
) -> JSON:
    """The lists without the entries of `keys`; the runners' list stays as it is, or waits if there is none."""
    if not files:
        return {}
    listed = read_access(files[ACCESS].encode(), ACCESS)
    left = without(listed, [row for row in rows(listed) if key_of_row(row, classes) in keys])
    runners = {RUNNERS: now[RUNNERS]} if RUNNERS in now else {}
    return {ACCESS: access_text(left), **runners}


def keeps_lists(stacks: Mapping[str, Stack]) -> bool:
    """Is there a stack that has Cirun's lists for its files?"""
    return any(stack.kind is Kind.GITHUB for stack in stacks.values())
