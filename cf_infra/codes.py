"""Every code that a diagnostic can have: its severity, its constant summary, and what it means.

docs/diagnostics.md is made from this table. A code is never reused for something else.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Code(NamedTuple):
    """severity, the constant first line, and one sentence for the documentation."""

    severity: Literal["error", "warning"]
    summary: str
    meaning: str


def _error(summary: str, meaning: str) -> Code:
    return Code("error", summary, meaning)


def _warning(summary: str, meaning: str) -> Code:
    return Code("warning", summary, meaning)


CODES: dict[str, Code] = {
    # reading a file
    "not-found": _error("File not found", "A file that the command needs is not there."),
    "unreadable": _error(
        "File cannot be read", "The file exists, but the system refuses to open or write it."
    ),
    "too-large": _error("File is too large", "grants.yaml may have 45 MB, every other file 1 MB."),
    "not-utf8": _error("File is not UTF-8", "YAML files are read as UTF-8 and nothing else."),
    "broken-yaml": _error("YAML cannot be read", "The text is not YAML 1.2."),
    "yaml-feature": _error(
        "YAML feature is not allowed",
        "Anchors, aliases, tags, merge keys, directives and several documents hide what a reader would see.",
    ),
    "duplicate-key": _error("Key stands twice", "A mapping has the same key more than once."),
    "unknown-key": _error("Key is not known", "The key is none of those that this file may have here."),
    "missing-key": _error("Key is missing", "A required key is not there."),
    "wrong-type": _error(
        "Value has the wrong type", "The value is a number, a list, ... where something else is needed."
    ),
    "bad-value": _error("Value is not allowed", "The value has the right type, but not a legal form."),
    "impossible-date": _error(
        "Date does not exist", "Dates are written YYYY-MM-DD and must be on the calendar."
    ),
    "unknown-version": _error("Version of the file is not known", "Only `version: 1` exists."),
    # grants
    "granted-twice": _error(
        "Granted twice", "Two entries give one repository one resource under the same conditions."
    ),
    "id-twice": _error(
        "Id stands twice", "Two entries have the same `id`, which names one policy in Cirun's list."
    ),
    "count-twice": _error(
        "Count stands twice", "At most one entry of a pair may say how many machines it has."
    ),
    "expires-before-granted": _error(
        "Grant ends before it begins", "`expires` is the first day without access and comes after `granted`."
    ),
    "self-approved": _error(
        "Approved by the requester alone", "Somebody else than the requester must approve."
    ),
    "nobody-may-trigger": _error("Nobody may trigger", "roles, teams, users and terms are all empty."),
    "unknown-terms": _error("Terms file is not there", "`terms: NAME` needs users/NAME.json."),
    "unknown-resource": _error("Resource is not offered", "No stack offers a class or label of this name."),
    "unknown-stack": _error("Stack is not there", "`stack: NAME` needs stacks/NAME.yaml."),
    "ambiguous-offer": _error(
        "Several stacks offer this", "Machines are made for this grant, so it must say at which donor."
    ),
    "count-without-machines": _error(
        "Count on an offer without own machines", "`count` is for offers of mode dedicated."
    ),
    "donor-gone": _error(
        "Donor ends before the grant begins", "The grant was made after the donor's `until`."
    ),
    "donor-ends": _warning(
        "Donor has an end", "The donor's `until` is near or past; its grants need another home."
    ),
    "imported": _warning(
        "Imported without reason or end",
        "Entries came from a list that does not know reason, request, approver or end.",
    ),
    "no-expiry": _warning("Grant never ends", "An entry has no `expires`."),
    "not-offered": _warning(
        "Label is offered by no stack",
        "An imported entry names a label that no stack has; it is exported as it is.",
    ),
    # stacks
    "bad-name": _error(
        "Name is not allowed",
        "Files of stacks and of people are named in small letters, digits and dashes.",
    ),
    "via-and-mode": _error(
        "Via and mode do not go together", "See the table of `via` and `mode` in docs/stacks.md."
    ),
    "slice-not-whole": _error(
        "Slice does not come out whole",
        "A fraction of a host must give whole GPUs and be the same on all its hosts.",
    ),
    "over-capacity": _error(
        "Host is over capacity", "More GPU groups, cores, memory or disk are promised than the hosts have."
    ),
    "label-at-two-classes": _error(
        "Label stands at two classes", "A label may be offered several times, but for one class only."
    ),
    "unknown-host": _error("Host is not there", "An offer names a host that the stack does not have."),
    "unknown-image": _error("Image is not there", "An offer names an image that the stack does not have."),
    "not-offered-here": _error(
        "Nobody offers this resource",
        "A runner group, secret or variable follows grants of what no stack offers.",
    ),
    "unknown-sink": _error(
        "Sink is not there", "`deliver` names a sink that settings.yaml does not describe."
    ),
    "sink-does-not-fit": _error(
        "Sink cannot take this", "The sink takes other kinds of credentials, or one credential only."
    ),
    "credential-does-not-fit": _error(
        "Credential does not fit", "The kind of credential is none of this kind of stack, or lacks a key."
    ),
    "secret-in-stack": _error(
        "Secret in a stack file", "Stack files are public; secrets come from a sink or a source outside."
    ),
    "secret-in-settings": _error(
        "Secret in settings.yaml",
        "settings.yaml is public; it names the variable or the command that has a secret.",
    ),
    "incomplete-offer": _error("Offer is incomplete", "The offer lacks what its kind of stack needs."),
    "bad-users-file": _error(
        "Users file cannot be used", 'users/NAME.json is {"users": [{"github": login, "id": number}]}.'
    ),
    # people
    "user-twice": _error("Person stands twice", "One users file has the same id or the same login twice."),
    "login-taken-over": _error(
        "Login belongs to two ids",
        "The same login stands with two ids, or belonged to another id before: one of them is somebody else.",
    ),
    "login-changed": _warning(
        "Login has changed", "An id stands with two logins, or an entry names a login that its owner gave up."
    ),
    "login-spelling": _warning(
        "Login is written in other letters", "grants.yaml writes a login otherwise than the users file."
    ),
    "bad-bot": _error(
        "Bot belongs to nobody", "A bot needs an owner who is a person of the same users file."
    ),
    "bot-without-owner": _warning(
        "Bot has no owner", "A login that ends with [bot] stands in a users file like a person's."
    ),
    "delegation-ended": _warning(
        "Delegation of a bot has ended", "The bot's `until` is past; it is left out of what is compiled."
    ),
    "terms-unrecorded": _warning(
        "Accepted version is not recorded",
        "The donor's terms have a version, and people's entries do not say which one they accepted.",
    ),
    "terms-grace": _warning(
        "Older terms were accepted", "People keep their access until `grace_until`, then they lose it."
    ),
    "terms-lapsed": _warning(
        "Terms are not accepted", "`grace_until` is past; these people are left out of what is compiled."
    ),
    "former-maintainer": _warning(
        "No maintainer of the feedstock",
        "An entry names somebody whom the list of maintainers does not have.",
    ),
    "maintainers-unknown": _warning(
        "Maintainers are not known", "Feedstocks of grants.yaml are not in the file given by --maintainers."
    ),
    "bad-maintainers-file": _error(
        "File of maintainers cannot be used", 'The file is {"feedstock": ["login", ...], ...}.'
    ),
    # lists of other programs
    "bad-access-list": _error(
        "Access list cannot be used", "The .access.yml breaks a rule of its own format."
    ),
    # requests, and changes of single grants
    "unknown-action": _error("Request is not about access", "`action` is none of those that ask for access."),
    "bad-feedstock": _error(
        "Feedstock's name is not one", "A feedstock is named alone: no address, no path, no `-feedstock`."
    ),
    "too-many-feedstocks": _error(
        "Request names too many feedstocks", "A request names at most 200, so that somebody can read it."
    ),
    "bad-history": _error(
        "History cannot be read",
        "A file of history has one JSON object with date, file and request per line.",
    ),
    "bad-lookup-file": _error("List cannot be used", "The file of durations has another form than it must."),
    "not-a-maintainer": _error(
        "Requester is no maintainer",
        "Only a feedstock's maintainers and the operators ask for access for it.",
    ),
    "not-granted": _error(
        "There is no such grant", "What should be renewed or revoked is not granted to this repository."
    ),
    "nothing-to-revoke": _warning(
        "Revoked what is not granted", "A request takes back access that grants.yaml does not give."
    ),
    "revoked-in-part": _error(
        "Only a part would be revoked",
        "The grant names a class of several donors; one donor's label cannot be taken out of it.",
    ),
    "not-renewed": _error("Grant would not last longer", "The new end is not behind the one that it has."),
    "not-needed": _warning(
        "Hosted agents may be enough", "The builds are short enough for hosted agents, which need no grant."
    ),
    "label-is-a-class": _error(
        "Label is the name of a class",
        "A label of an imported list is the name of a class here, and that would be exported as another label.",
    ),
    "cannot-edit": _error(
        "File cannot be edited in place",
        "grants.yaml is written in a form in which single entries cannot be changed without touching others.",
    ),
    # comparing
    "bad-revision": _error(
        "Revision cannot be read",
        "It is no folder and no commit of this clone, or its objects are not here; nothing is fetched.",
    ),
    "not-an-ancestor": _warning(
        "Head does not come from the base", "What the base got since they parted counts as taken away."
    ),
    "not-from-head": _warning(
        "File is never taken from a head",
        "settings.yaml, overrides.yaml and modules/ are operators' own: a head's are not looked at.",
    ),
    "not-looked-up": _warning(
        "Id is not known without the cloud",
        "A plan that asks no cloud takes ids from the last apply, and this one was never looked up.",
    ),
    "not-learned": _error(
        "Last apply noted no ids",
        "A plan that asks nobody works with what the last apply noted, and that was one of an earlier version.",
    ),
    "stacks-first": _error(
        "Data fits changed stacks only",
        "A head's stacks/ are used only after a maintainer approved that head.",
    ),
    # commenting
    "head-moved": _error(
        "Pull request has another head",
        "What was looked at is not the newest commit of the pull request any more; nothing is said about it.",
    ),
    "pull-refused": _error(
        "Pull request is not commented",
        "It is closed, or goes into another branch than the default one, whose rules are the ones that hold.",
    ),
    # running
    "usage": _error("Wrong usage", "The command line does not fit; see --help."),
    "tool-missing": _error("Tool is missing", "A program that cf-infra runs is not installed."),
    "tool-too-old": _error(
        "Tool has the wrong version", "OpenTofu is older or newer than what the configuration needs."
    ),
    "tofu-failed": _error("OpenTofu failed", "OpenTofu stopped with an error; its own words follow."),
    "check-fails": _warning(
        "Condition does not hold", "A check block or a condition of the modules says so when it is planned."
    ),
    "tofu-warning": _warning("OpenTofu warns", "OpenTofu's own words follow."),
    "no-cloud": _error(
        "Cloud is not in clouds.yaml", "The stack names a cloud that openstacksdk does not find."
    ),
    "login-refused": _error(
        "Cloud refuses the login", "The credentials in clouds.yaml are wrong, expired or for another project."
    ),
    "cloud-silent": _error("Cloud does not answer", "The cloud's address does not answer in time."),
    "cloud-refused": _error("Cloud refuses the request", "The cloud answered, but said no."),
    "server-fault": _error("Server did not start", "Nova put the server into ERROR; its own words follow."),
    "no-key": _error("State key is missing", "State and plans are encrypted; the key was not found."),
    "bad-key": _error(
        "State key cannot be used",
        "The key file must be readable by its owner only and hold 32 bytes in hexadecimal.",
    ),
    "wrong-key": _error("State cannot be decrypted", "The state was encrypted with another key."),
    "foreign-state": _error(
        "State belongs to another stack", "The state file was made for another stack or cloud."
    ),
    "state-locked": _error("State is locked", "Another run works on this stack."),
    "no-bucket": _error(
        "State's bucket is not there",
        "settings.yaml names no bucket, one that does not exist, or one in another region.",
    ),
    "bucket-refused": _error(
        "State's bucket refuses the login",
        "The login of the environment is missing, wrong or expired, or may not do what is needed there.",
    ),
    "bucket-silent": _error(
        "State's bucket does not answer", "Its address cannot be reached, or fails again and again."
    ),
    "clock-wrong": _error(
        "Clock of this machine is wrong", "S3 refuses requests whose time is more than 15 minutes off."
    ),
    "state-conflict": _error(
        "State was changed elsewhere",
        "What lies beside the state was changed by somebody else since it was read.",
    ),
    "state-aside": _warning(
        "Unsent file was overtaken",
        "A run could not send what lies beside the state, and somebody else wrote it since.",
    ),
    "state-not-moved": _error(
        "State is not in the bucket yet", "settings.yaml says S3, and a state lies on this machine."
    ),
    "state-lost": _warning(
        "State is lost",
        "There is no state, but what the last run left beside it says that something is deployed.",
    ),
    "no-seal": _error("There is no sealed key", "`state seal` has not been run, or its file is elsewhere."),
    "wrong-identity": _error(
        "Sealed key cannot be opened", "The private key is none of those that the state's key was sealed for."
    ),
    "other-key": _error("Another key is there", "A key is never overwritten by another one."),
    "old-seal": _warning(
        "Sealed key is out of date", "The key or those who may recover it changed since it was sealed."
    ),
    "few-recovery-keys": _warning(
        "Too few can recover the key", "Fewer than two keys, or fewer than two people who hold one."
    ),
    "disk-full": _error("Disk is full", "The system has no room to write a file."),
    "no-plan": _error("There is no saved plan", "apply takes what plan saved."),
    "stale-plan": _error("Plan does not match", "What the plan was made from has changed since."),
    "forget": _error(
        "Plan would forget resources", "OpenTofu would drop resources from its state and leave them running."
    ),
    "too-many-deletes": _error(
        "Too much would be taken away", "The plan takes more away than the limits allow."
    ),
    "waits-for-review": _error(
        "Waits for a person",
        "Neither a merged review covers what this plan does, nor is it time's alone; the stack is not applied.",
    ),
    "other-digest": _error(
        "Accepted is another plan",
        "--accept names a digest that is not that of what waits; nothing is applied.",
    ),
    "bad-review": _error(
        "File holds no review", "--review takes a saved comment of ours with its record, as it was signed."
    ),
    "few-approvers": _error(
        "Nobody could approve it", "A rule asks for more people than it names; no merge would ever be enough."
    ),
    "one-approver": _warning(
        "Only one person can approve",
        "A rule names just as few as it asks for: what they ask for nobody approves.",
    ),
    "wrong-allowance": _error(
        "Allowance does not fit", "--allow-destroy or overrides.yaml names another number than the plan has."
    ),
    "override-ended": _warning(
        "Override has ended", "A permission of overrides.yaml is over; it allows nothing, and may go."
    ),
    "override-stack": _warning(
        "Override of a stack that is not there",
        "It helps only if that stack's file was taken away, so that the stack is destroyed.",
    ),
    "override-unused": _warning(
        "Override is not needed", "No plan needs this permission; left there, it would allow something later."
    ),
    "no-owners": _error(
        "Nobody would own these files", "A file without an owner may be changed by any review."
    ),
    "broken-journal": _error(
        "Journal was cut or edited", "A line does not follow from those before it; nothing is added to it."
    ),
    "still-there": _error(
        "Revoked, but still there", "After a revocation the cloud still shows what should be gone."
    ),
    "not-proven": _error(
        "Revoked, but not proven",
        "After a revocation a place refused or did not answer; the next plan and apply do the rest and prove it.",
    ),
    "no-repository": _warning(
        "GitHub has no such repository",
        "A grant names a repository that is not there, or is called otherwise now.",
    ),
    "changed-by-others": _warning(
        "Changed by somebody else",
        "What we keep at GitHub is not as our last apply left it; the plan shows both.",
    ),
    "undeclared": _warning(
        "Undeclared access", "Something has access that grants.yaml does not name, and that we did not give."
    ),
    "pull-request-open": _warning(
        "A pull request waits to be merged",
        "Cirun's lists go by pull request; until it is merged the old ones hold.",
    ),
    "withheld": _warning(
        "New access is withheld", "A stack failed, so its new labels are not opened; the next apply does it."
    ),
    "access-first": _error(
        "Access could not be taken back first",
        "Machines go after the access to them; that failed, so this stack was not begun.",
    ),
    "single-holder": _warning(
        "Fewer than two people can do it",
        "`status --keys`: a key, login, sink or contact hangs on one person, or on nobody who is written down.",
    ),
    "undelivered": _error(
        "Credential is not delivered",
        "A sink refused it, was silent, or took it with an error; the credential before it stays.",
    ),
    "canary-failed": _error(
        "Credential does not work",
        "A real login with the delivered credential failed; the credential before it stays.",
    ),
    "no-source": _error(
        "Credential of people is missing", "People make it, and the variable that should have it is empty."
    ),
    "bad-source": _error(
        "Credential of people cannot be used", "The variable that should have it holds something else."
    ),
    "not-tried": _warning(
        "Credential was not tried",
        "A credential that others make is read from a variable; without it, nothing says whether it still works.",
    ),
    "rotation-due": _warning(
        "Credential is due for rotation",
        "Somebody else makes this credential, and its period is over, or nearly.",
    ),
    "take-away-by-hand": _warning(
        "Credential must be taken away by hand",
        "A credential is declared no more, and what holds it cannot be made to forget it by us.",
    ),
    "not-only-credentials": _error(
        "More than credentials would change",
        "`rotate` and `revoke-now` change credentials and nothing else; the rest wants a plan that people read.",
    ),
    "not-applied": _error(
        "Stack was never applied",
        "`rotate` and `revoke-now` turn what an apply has made; there is nothing yet.",
    ),
    "unknown-credential": _error(
        "Credential does not exist", "No stack file declares a credential of this name."
    ),
    "old-inventory": _warning(
        "Inventory is old", "`status` shows what the last apply saw; use --live to ask the cloud."
    ),
    "interrupted": _error("Interrupted", "The run was stopped; state is safe."),
    # GitHub, Cirun
    "no-token": _error(
        "Token is missing",
        "GitHub and Cirun are asked with a token; where settings.yaml says, there is none.",
    ),
    "token-refused": _error("Token is refused", "The service does not know the token, or no longer."),
    "token-lacks-scope": _error(
        "Token lacks a scope", "The token may not do what the command needs; the message names the scope."
    ),
    "not-at-github": _error(
        "GitHub does not have it", "It is not there, or the token may not see it: GitHub does not say which."
    ),
    "rate-limited": _error(
        "Limit of requests is used up",
        "The service wants us to wait longer than a run may; it says until when.",
    ),
    "service-silent": _error(
        "Service does not answer", "It cannot be reached, or fails again and again; what was done is said."
    ),
    "service-refused": _error("Service refuses the request", "The service answered, but said no."),
    "service-answer": _error(
        "Answer cannot be used",
        "What came back is not what this service gives: not JSON, too large, elsewhere.",
    ),
    "changed-meanwhile": _error(
        "Changed by somebody meanwhile", "Between reading and writing somebody else wrote; theirs is kept."
    ),
    "not-audited": _error(
        "Place could not be audited",
        "What is there is not known; a silent place is no proof that all is well.",
    ),
    # the last mile
    "no-grant": _error(
        "Nothing is granted", "A feedstock is prepared for runners only while an entry of grants.yaml holds."
    ),
    "which-resource": _error(
        "Several resources are granted",
        "They are for one platform, and a feedstock's jobs of a platform go to one of them.",
    ),
    "command-failed": _error(
        "Command failed", "A command of settings.yaml ended with another exit status than 0; it is not shown."
    ),
    "by-hand": _warning(
        "Something is left for people", "A step needs a hand; the list of steps says which, and how."
    ),
    # issues
    "cannot-ask": _warning(
        "Nobody can be asked there",
        "A repository is archived, moved, or takes no issues; its maintainers hear nothing from `renewals`.",
    ),
    "own-repository-unknown": _warning(
        "Own repository is not known",
        "`daily` opens its issue in the own repository: GITHUB_REPOSITORY, or `github.repository` of settings.yaml.",
    ),
    # sandbox
    "sandbox": _error("Sandbox failed", "The OpenStack on this machine could not be started or used."),
    "job-refused": _error("Job is refused", "No access list entry lets this repository use this label."),
    "bug": _error("Impossible state", "This is a bug in cf-infra."),
}
