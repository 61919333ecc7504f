"""Steps of `explain` about people: terms, roles, teams and logins, and whether pull requests count."""

from __future__ import annotations

import shlex

from cf_infra.access import scalar
from cf_infra.asked import Case, Entry
from cf_infra.chain import Outcome, Remedy, Step, listed, quote
from cf_infra.diagnostics import nearest
from cf_infra.model import Grant, Terms, User, UsersFile
from cf_infra.parse import GRANTS
from cf_infra.people import HAS_ACCESS, Standing, formerly, person, standing

_STANDS = {
    Standing.GOOD: "accepted the donor's terms",
    Standing.UNRECORDED: "accepted the donor's terms; whether in the version of {version} is not recorded",
    Standing.GRACE: "accepted an older version of the donor's terms than that of {version}, which is still enough",
}


def terms(case: Case, entry: Entry) -> list[Step]:
    """Is the person on the list of those who accepted the donor's terms, if the entry asks for that."""
    grant, user = entry.grant, case.question.user
    if grant.terms is None and grant.terms_url is None:
        lists = case.around.terms_names(entry.offers)
        why = f"The entry asks for no terms, although the donor has some: {listed(lists)}."
        return [Step("terms", Outcome.YES, why, GRANTS, entry.line())] if lists else []
    if user is not None and _is_in(user, grant.users):
        why = f"{quote(user)} is named in `users`, and need not be on the list of the terms."
        return [Step("terms", Outcome.YES, why, GRANTS, entry.line("users"))]
    if grant.terms_url is not None:
        why = f"Who accepted the terms is listed at {quote(grant.terms_url)}, which is not read here."
        return [Step("terms", Outcome.UNKNOWN, why, GRANTS, entry.line("terms_url"))]
    return [_on_the_list(case, str(grant.terms), entry.line("terms"), named=bool(grant.users))]


def terms_to_come(case: Case) -> list[Step]:
    """What the terms would say of the user, where there is no entry yet."""
    names = case.around.terms_names(case.offers)
    return [_on_the_list(case, names[0], None)] if names and case.question.user is not None else []


def _on_the_list(case: Case, name: str, line: int | None, named: bool = False) -> Step:
    file, people, of_donor = case.around.people(name, line)
    if case.question.user is not None:
        return _one_person(case, case.question.user, file, people, of_donor)
    count = sum(standing(u, people, of_donor, case.question.today) in HAS_ACCESS for u in people.users)
    if not count and not named:
        fixes = _acceptance(case, "LOGIN", file, of_donor)
        return Step("terms", Outcome.NO, f"Nobody of {quote(file)} has access.", GRANTS, line, fixes)
    accounts = "one account" if count == 1 else f"{count or 'no'} accounts"
    why = f"The donor's terms must be accepted; {accounts} of {quote(file)} may start jobs."
    return Step("terms", Outcome.YES, why, GRANTS, line)


def _one_person(case: Case, user: str, file: str, people: UsersFile, of_donor: Terms) -> Step:
    found = person(people, user)
    if found is None:
        return _stranger(case, user, file, people, of_donor)
    line = case.around.line(file, "users", people.users.index(found))
    stands = standing(found, people, of_donor, case.question.today)
    if stands in HAS_ACCESS:
        words = _STANDS[stands].format(version=of_donor.version)
        return Step("terms", Outcome.YES, f"{_subject(found)} {words}.", file, line)
    if stands is Standing.LAPSED:
        why = f"{_subject(found)} had until {of_donor.grace_until} to accept the version of {of_donor.version}, "
        why += "and nobody wrote down that they did."
        fix = Remedy("accept it, and write to the person's entry", f'"terms": "{of_donor.version}"', "json")
        return Step("terms", Outcome.NO, why, file, line, (fix,))
    return _bot_alone(case, found, file, line)


def _bot_alone(case: Case, user: User, file: str, line: int) -> Step:
    """A bot whose delegation is over, or whose owner is no person of the list."""
    assert user.bot is not None
    name, owner = quote(user.github), quote(user.bot.owner)
    if case.question.today >= user.bot.until:
        why = f"{name} is a bot, and acted for {owner} until {user.bot.until} only."
        fix = Remedy(f"have {owner} set a later day there", f'"until": "{case.in_a_year}"', "json")
    else:
        why = f"{name} is a bot of {owner}, and {owner} is no person of {quote(file)}."
        fix = Remedy("name the person who answers for it", '"owner": "LOGIN"', "json")
    return Step("terms", Outcome.NO, why, file, line, (fix,))


def _subject(user: User) -> str:
    name = quote(user.github)
    return name if user.bot is None else f"{name} is a bot of {quote(user.bot.owner)}, who"


def _stranger(case: Case, user: str, file: str, people: UsersFile, of_donor: Terms) -> Step:
    renamed = formerly(people, user)
    if renamed is not None:
        now = quote(renamed.github)
        why = f"{quote(user)} is nobody's login in {quote(file)} any more: the id {renamed.id} is {now} now."
        line = case.around.line(file, "users", people.users.index(renamed))
        fix = Remedy("ask for the login of today", case.command(user=renamed.github))
        return Step("terms", Outcome.NO, why, file, line, (fix,))
    near = nearest(user, [u.github for u in people.users])
    meant = f" Do you mean {quote(near)}?" if near else ""
    why = f"{quote(user)} is not in {quote(file)}, the list of those who accepted the donor's terms.{meant}"
    return Step(
        "terms",
        Outcome.NO,
        why,
        file,
        case.around.line(file, "users"),
        _acceptance(case, user, file, of_donor),
    )


def _acceptance(case: Case, user: str, file: str, of_donor: Terms) -> tuple[Remedy, ...]:
    """The entry of somebody who accepts on this day; GitHub knows the id."""
    version = f', terms: "{of_donor.version}"' if of_donor.version else ""
    form = f'{{github: .login, id: .id{version}, accepted: "{case.question.today}"}}'
    also = f", and to the list that Cirun reads ({quote(of_donor.url)})," if of_donor.url else ""
    command = f"gh api {shlex.quote(f'users/{user}')} \\\n  --jq '{form}'"
    return (Remedy(f"accept the donor's terms; add to {quote(file)}{also} what this prints", command),)


# ------------------------------------------------------------------------------------------------ who, and when


def who(case: Case, entry: Entry) -> Step:
    """Which role, team or login may start jobs."""
    grant, user = entry.grant, case.question.user
    line = entry.line("roles", "teams", "users", "terms", "terms_url")
    on_a_list = grant.terms is not None or grant.terms_url is not None
    if not (grant.roles or grant.teams or grant.users or on_a_list):
        fix = Remedy("say there who may", "    roles: [admin, maintain, write]", "yaml")
        why = "The entry does not say who may start jobs, so nobody may."
        return Step("who", Outcome.NO, why, GRANTS, entry.line(), (fix,))
    if user is not None and grant.users and not on_a_list and not _is_in(user, grant.users):
        named = ", ".join(scalar(login) for login in [*grant.users, user])
        fix = Remedy("write there", f"    users: [{named}]", "yaml")
        why = f"{quote(user)} is none of those who may start jobs: {listed(grant.users)}."
        return Step("who", Outcome.NO, why, GRANTS, entry.line("users"), (fix,))
    if user is not None and (grant.roles or grant.teams):
        return _by_role(case, grant, user, line)
    return Step("who", Outcome.YES, f"Jobs may be started by those who {_those(grant)}.", GRANTS, line)


def _by_role(case: Case, grant: Grant, user: str, line: int) -> Step:
    organisation = case.around.inventory.settings.organisation
    why = f"{quote(user)} must have {_roles_and_teams(grant)}, which GitHub alone knows."
    known = case.maintainers
    if known is not None:
        what = "a maintainer" if user.lower() in known else "no maintainer"
        why += f" They are {what} of the feedstock, as the list of maintainers has it."
    elif case.question.maintainers is not None:
        why += " The list of maintainers does not have this repository."
    asks = []
    if grant.roles:
        path = f"repos/{organisation}/{case.repository}/collaborators/{user}/permission"
        asks.append(Remedy("ask GitHub for the role", f"gh api {shlex.quote(path)} --jq .role_name"))
    for team in grant.teams:
        path = f"orgs/{organisation}/teams/{team}/memberships/{user}"
        asks.append(
            Remedy(f"ask GitHub for the team {quote(team)}", f"gh api {shlex.quote(path)} --jq .state")
        )
    return Step("who", Outcome.UNKNOWN, why, GRANTS, line, tuple(asks))


def _those(grant: Grant) -> str:
    people = [f"are {listed(grant.users, ' or ')}"] if grant.users else []
    people += ["accepted the terms"] if grant.terms or grant.terms_url else []
    roles = f"have {_roles_and_teams(grant)}" if grant.roles or grant.teams else ""
    return ", and who ".join(part for part in (roles, " or ".join(people)) if part)


def _roles_and_teams(grant: Grant) -> str:
    parts = [f"the role {listed(grant.roles, ' or ')}"] if grant.roles else []
    parts += [f"a place in the team {listed(grant.teams, ' or ')}"] if grant.teams else []
    return " or ".join(parts)


def _is_in(login: str, logins: list[str]) -> bool:
    return login.lower() in (other.lower() for other in logins)


def pull_request(entry: Entry) -> Step:
    """May jobs of pull requests run."""
    line = entry.line("pull_requests")
    if entry.grant.pull_requests:
        return Step("pull-request", Outcome.YES, "Jobs of pull requests may run, too.", GRANTS, line)
    why = "It depends on the job: one of a push may run, one of a pull request may not."
    fix = Remedy("to let pull requests run jobs, write to the entry", "    pull_requests: true", "yaml")
    return Step("pull-request", Outcome.UNKNOWN, why, GRANTS, line, (fix,))
