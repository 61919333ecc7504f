"""The organisation's side of the API: people, teams, runner groups, secrets, variables, GitHub Apps."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

from tests.github.call import Answer, Call, Page, Refusal, missing, serves
from tests.github.state import Installation, Repository, RunnerGroup, Secret, Selection, Variable

ORG = "/orgs/{org}"
GROUPS = f"{ORG}/actions/runner-groups"
GROUP = f"{GROUPS}/{{runner_group_id}}"
SECRETS = f"{ORG}/actions/secrets"
SECRET = f"{SECRETS}/{{secret_name}}"
VARIABLES = f"{ORG}/actions/variables"
VARIABLE = f"{VARIABLES}/{{name}}"
INSTALLATION = "/user/installations/{installation_id}/repositories"

RUNNERS = {"scope": "admin:org", "permission": "organization_self_hosted_runners"}
OF_SECRETS = {"scope": "admin:org", "permission": "organization_secrets"}
OF_VARIABLES = {"scope": "admin:org", "permission": "organization_actions_variables"}
MEMBERS = {"scope": "read:org", "permission": "members"}
#: Documented: classic tokens need `repo`; fine-grained ones cannot ("User access tokens" only).
OF_APPS = {"scope": "repo", "classic_only": True}

#: A sealed box adds a public key and an authenticator to the value (libsodium's crypto_box_SEALBYTES).
SEAL_BYTES = 48
#: Documented: a secret has at most 48 KB, a variable too.
LARGEST_VALUE = 48 * 1024
NAME = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*", re.IGNORECASE)
#: Any 32 bytes are a public key of X25519; what is sealed for this one, nobody can open.
PUBLIC_KEY = base64.b64encode(bytes(range(32))).decode()
KEY_ID = "012345678912345678"


# ------------------------------------------------------------------------------------------------------ people


@serves("GET", "/user", scope="", permission="")
def viewer(call: Call) -> Answer:
    """Who the token is of."""
    if call.viewer is None:
        raise Refusal(401, "Requires authentication")
    return Answer(200, call.shapes.full_user(call.state.users[call.viewer]))


@serves("GET", "/user/{account_id}")
def user_by_id(call: Call) -> Answer:
    """Somebody by number, whatever the login is now."""
    user = call.state.users.get(int(call.path["account_id"]))
    if user is None:
        raise missing()
    return Answer(200, call.shapes.full_user(user))


@serves("GET", "/users/{username}")
def user_by_login(call: Call) -> Answer:
    """Somebody by login; GitHub does not forward a login that was given up."""
    return Answer(200, call.shapes.full_user(call.state.users[call.user()]))


@serves("GET", ORG)
def organization(call: Call) -> Answer:
    """The organisation."""
    call.organization()
    return Answer(200, call.shapes.full_organization())


@serves("GET", f"{ORG}/repos")
def repositories(call: Call) -> Page:
    """The organisation's repositories that the token may see."""
    call.organization()
    return Page(
        [one for one in call.state.owned() if call.sees(one)],
        lambda one: call.shapes.repository(one, call.viewer),
    )


@serves("GET", f"{ORG}/members/{{username}}", **MEMBERS)
def is_member(call: Call) -> Answer:
    """Whether somebody is a member: 204 or 404."""
    call.organization()
    if call.user() not in call.state.members:
        raise missing()
    return Answer(204)


@serves("GET", f"{ORG}/memberships/{{username}}", **MEMBERS)
def membership(call: Call) -> Answer:
    """Somebody's membership of the organisation."""
    call.organization()
    user = call.user()
    if user not in call.state.members:
        raise missing()
    url = call.shapes.organization()["url"]
    return Answer(
        200,
        {
            "url": f"{url}/memberships/{call.path['username']}",
            "state": "active",
            "role": "admin" if user in call.state.owners else "member",
            "organization_url": url,
            "organization": call.shapes.organization(),
            "user": call.shapes.user(user),
        },
    )


# ------------------------------------------------------------------------------------------------------- teams


@serves("GET", f"{ORG}/teams", **MEMBERS)
def teams(call: Call) -> Page:
    """The organisation's teams."""
    call.organization()
    return Page(list(call.state.teams.values()), call.shapes.team)


@serves("GET", f"{ORG}/teams/{{team_slug}}", **MEMBERS)
def team(call: Call) -> Answer:
    """A team."""
    return Answer(200, call.shapes.full_team(call.team()))


@serves("GET", f"{ORG}/teams/{{team_slug}}/members", **MEMBERS)
def team_members(call: Call) -> Page:
    """Who is in a team."""
    return Page(list(call.team().members), call.shapes.user)


@serves("GET", f"{ORG}/teams/{{team_slug}}/memberships/{{username}}", **MEMBERS)
def team_membership(call: Call) -> Answer:
    """Somebody's place in a team."""
    found = call.team()
    role = found.members.get(call.user())
    if role is None:
        raise missing()
    url = f"{call.shapes.team(found)['url']}/memberships/{call.path['username']}"
    return Answer(200, {"url": url, "role": role, "state": "active"})


@serves("GET", f"{ORG}/teams/{{team_slug}}/repos/{{owner}}/{{repo}}", **MEMBERS)
def team_repository(call: Call) -> Answer:
    """Whether a team has a repository: 204 or 404."""
    if call.repository().id not in call.team().repositories:
        raise missing()
    return Answer(204)


# ------------------------------------------------------------------------------------------------ runner groups


def _ids(call: Call, ids: Iterable[Any]) -> set[int]:
    """Return the numbers of repositories of the organisation; others are refused."""
    wanted = {int(one) for one in ids}
    ours = {one.id for one in call.state.owned()}
    if unknown := sorted(wanted - ours):
        raise Refusal(422, f"Repository {unknown[0]} is not a repository of the organization")
    return wanted


@serves("GET", GROUPS, **RUNNERS)
def groups(call: Call) -> Page:
    """The runner groups; with `visible_to_repository`, those that it may use."""
    call.organization()
    found: Iterable[RunnerGroup] = call.state.groups.values()
    if name := call.query.get("visible_to_repository"):
        repository = call.state.repository(call.state.organization, name)
        found = [one for one in found if repository and _reaches(one, repository)]
    return Page(list(found), call.shapes.group, "runner_groups")


def _reaches(group: RunnerGroup, repository: Repository) -> bool:
    if not repository.private and not group.allows_public:
        return False
    return group.visibility == "all" or repository.id in group.selected


@serves("POST", GROUPS, **RUNNERS)
def make_group(call: Call) -> Answer:
    """A new runner group."""
    call.organization()
    name = call.body["name"]
    if any(one.name == name for one in call.state.groups.values()):
        raise Refusal(409, f"Runner group name {name} is already taken")
    group = RunnerGroup(call.body.get("visibility", "all"), id=call.state.number(), name=name)
    if group.visibility == "selected":
        group.selected = _ids(call, call.body.get("selected_repository_ids", ()))
    _change_group(group, call.body)
    call.state.groups[group.id] = group
    return Answer(201, call.shapes.group(group))


def _change_group(group: RunnerGroup, body: dict[str, Any]) -> None:
    group.name = body.get("name", group.name)
    group.visibility = body.get("visibility", group.visibility)
    group.allows_public = body.get("allows_public_repositories", group.allows_public)
    group.restricted_to_workflows = body.get("restricted_to_workflows", group.restricted_to_workflows)
    group.workflows = body.get("selected_workflows", group.workflows)


@serves("GET", GROUP, **RUNNERS)
def group(call: Call) -> Answer:
    """A runner group."""
    return Answer(200, call.shapes.group(call.group()))


@serves("PATCH", GROUP, **RUNNERS)
def change_group(call: Call) -> Answer:
    """Change a runner group."""
    found = call.group()
    _change_group(found, call.body)
    return Answer(200, call.shapes.group(found))


@serves("DELETE", GROUP, **RUNNERS)
def remove_group(call: Call) -> Answer:
    """Remove a runner group; the default one stays."""
    found = call.group()
    if found.default:
        raise Refusal(422, "The default runner group cannot be deleted")
    del call.state.groups[found.id]
    return Answer(204)


# ----------------------------------------------------------------------- selections of groups, secrets, variables


def _selected(call: Call) -> Page:
    found = call.selection()
    chosen = [one for one in call.state.owned() if one.id in found.selected]
    return Page(chosen, call.shapes.repository, "repositories")


def _need_selected(found: Selection) -> None:
    # Documented for secrets and variables: "Conflict when visibility type is not set to selected". For runner
    # groups only the condition is documented; the same status is assumed.
    if found.visibility != "selected":
        raise Refusal(409, "Visibility must be set to selected")


def _select(call: Call) -> Answer:
    found = call.selection()
    if "runner_group_id" in call.path and found.visibility != "selected":
        # The provider sets the list of a group that is for all, too, at each change: so GitHub must take it.
        return Answer(204)
    _need_selected(found)
    found.selected = _ids(call, call.body["selected_repository_ids"])
    return Answer(204)


def _add(call: Call) -> Answer:
    found = call.selection()
    _need_selected(found)
    found.selected |= _ids(call, [call.path["repository_id"]])
    return Answer(204)


def _drop(call: Call) -> Answer:
    found = call.selection()
    _need_selected(found)
    found.selected.discard(int(call.path["repository_id"]))
    return Answer(204)


for _path, _need in ((GROUP, RUNNERS), (SECRET, OF_SECRETS), (VARIABLE, OF_VARIABLES)):
    serves("GET", f"{_path}/repositories", **_need)(_selected)
    serves("PUT", f"{_path}/repositories", **_need)(_select)
    serves("PUT", f"{_path}/repositories/{{repository_id}}", **_need)(_add)
    serves("DELETE", f"{_path}/repositories/{{repository_id}}", **_need)(_drop)


# ----------------------------------------------------------------------------------------------------- secrets


@serves("GET", SECRETS, **OF_SECRETS)
def secrets(call: Call) -> Page:
    """The secrets, without their values."""
    call.organization()
    found = list(call.state.secrets.values())
    return Page(found, lambda one: call.shapes.selection("secrets", one), "secrets")


@serves("GET", f"{SECRETS}/public-key", **OF_SECRETS)
def public_key(call: Call) -> Answer:
    """What values are sealed with."""
    call.organization()
    return Answer(200, {"key_id": KEY_ID, "key": PUBLIC_KEY})


@serves("GET", SECRET, **OF_SECRETS)
def secret(call: Call) -> Answer:
    """A secret, without its value."""
    return Answer(200, call.shapes.selection("secrets", call.secret()))


@serves("PUT", SECRET, **OF_SECRETS)
def put_secret(call: Call) -> Answer:
    """Make a secret, or give it another value."""
    call.organization()
    name, body, now = call.path["secret_name"].upper(), call.body, call.state.clock()
    _check_name("Secret", name)
    known = name in call.state.secrets
    if not known and "encrypted_value" not in body:
        raise Refusal(422, "encrypted_value is required")
    found = call.state.secrets.get(name) or Secret(name=name, created=now)
    if "encrypted_value" in body:
        if body.get("key_id") != KEY_ID:
            raise Refusal(422, "The key_id does not match the public key")
        length = len(base64.b64decode(body["encrypted_value"])) - SEAL_BYTES
        if length < 0:
            raise Refusal(422, "Improperly encrypted secret")
        if length > LARGEST_VALUE:
            raise Refusal(422, "Secret value must be 48KB or less")
        found.encrypted_value, found.key_id = body["encrypted_value"], body["key_id"]
    found.visibility, found.updated = body["visibility"], now
    if "selected_repository_ids" in body:
        found.selected = _ids(call, body["selected_repository_ids"])
    call.state.secrets[name] = found
    return Answer(204) if known else Answer(201, {})


def _check_name(kind: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise Refusal(
            422, f"{kind} names can only contain alphanumeric characters or underscores, {name!r} not"
        )


@serves("DELETE", SECRET, **OF_SECRETS)
def remove_secret(call: Call) -> Answer:
    """Remove a secret."""
    del call.state.secrets[call.secret().name]
    return Answer(204)


# --------------------------------------------------------------------------------------------------- variables


@serves("GET", VARIABLES, **OF_VARIABLES)
def variables(call: Call) -> Page:
    """The variables."""
    call.organization()
    found = list(call.state.variables.values())
    return Page(found, lambda one: call.shapes.selection("variables", one), "variables")


@serves("POST", VARIABLES, **OF_VARIABLES)
def make_variable(call: Call) -> Answer:
    """A new variable."""
    call.organization()
    name = call.body["name"].upper()
    _check_name("Variable", name)
    if name in call.state.variables:
        raise Refusal(409, "Already exists - Variable already exists")
    found = Variable(name=name, created=call.state.clock())
    _change_variable(call, found)
    call.state.variables[name] = found
    return Answer(201, {})


def _change_variable(call: Call, found: Variable) -> None:
    value = call.body.get("value", found.value)
    if len(value.encode()) > LARGEST_VALUE:
        raise Refusal(422, "Variable value must be 48KB or less")
    visibility = call.body.get("visibility", found.visibility)
    if "selected_repository_ids" in call.body and visibility == "selected":
        found.selected = _ids(call, call.body["selected_repository_ids"])
    found.value, found.visibility, found.updated = value, visibility, call.state.clock()


@serves("GET", VARIABLE, **OF_VARIABLES)
def variable(call: Call) -> Answer:
    """A variable."""
    return Answer(200, call.shapes.selection("variables", call.variable()))


@serves("PATCH", VARIABLE, **OF_VARIABLES)
def change_variable(call: Call) -> Answer:
    """Change a variable."""
    found = call.variable()
    _change_variable(call, found)
    if (name := call.body.get("name", found.name).upper()) != found.name:
        del call.state.variables[found.name]
        found.name = name
        call.state.variables[name] = found
    return Answer(204)


@serves("DELETE", VARIABLE, **OF_VARIABLES)
def remove_variable(call: Call) -> Answer:
    """Remove a variable."""
    del call.state.variables[call.variable().name]
    return Answer(204)


# --------------------------------------------------------------------------------------------------------- apps


@serves("GET", f"{ORG}/installations", scope="admin:org", permission="organization_administration")
def installations(call: Call) -> Page:
    """The GitHub Apps in the organisation."""
    call.organization()
    return Page(list(call.state.installations.values()), call.shapes.installation, "installations")


@serves("GET", "/user/installations", **OF_APPS)
def own_installations(call: Call) -> Page:
    """The GitHub Apps that whose token it is may look at."""
    return Page(list(call.state.installations.values()), call.shapes.installation, "installations")


def _installation(call: Call) -> Installation:
    found = call.state.installations.get(int(call.path["installation_id"]))
    if found is None:
        raise missing()
    return found


def _repositories(call: Call, found: Installation) -> list[Repository]:
    return [one for one in call.state.owned() if found.selection == "all" or one.id in found.repositories]


@serves("GET", INSTALLATION, **OF_APPS)
def installation_repositories(call: Call) -> Page:
    """The repositories that an app has."""
    found = _installation(call)
    more = {"repository_selection": found.selection}
    return Page(_repositories(call, found), call.shapes.repository, "repositories", more)


@serves("PUT", f"{INSTALLATION}/{{repository_id}}", **OF_APPS)
def add_to_installation(call: Call) -> Answer:
    """Give an app a repository; 304 if it has it."""
    found = _installation(call)
    wanted = _apps_repository(call)
    if found.selection == "all" or wanted in found.repositories:
        return Answer(304)
    found.repositories.add(wanted)
    return Answer(204)


def _apps_repository(call: Call) -> int:
    repository = call.state.repositories.get(int(call.path["repository_id"]))
    if repository is None or repository.owner != call.state.organization_id:
        raise missing()
    role = call.state.role(repository, call.viewer) if call.viewer is not None else "none"
    if role != "admin":  # documented: the user must be an administrator of the repository
        raise Refusal(403, "You must have admin access to the repository")
    return repository.id


@serves("DELETE", f"{INSTALLATION}/{{repository_id}}", **OF_APPS)
def drop_from_installation(call: Call) -> Answer:
    """Take a repository from an app; documented: not from an app that has all, and never the last one."""
    found = _installation(call)
    wanted = _apps_repository(call)
    if found.selection == "all":
        raise Refusal(422, "The application is installed on all repositories in the organization")
    if wanted not in found.repositories:
        return Answer(304)
    if len(found.repositories) == 1:
        raise Refusal(422, "This would remove the last repository that the application has access to")
    found.repositories.discard(wanted)
    return Answer(204)
