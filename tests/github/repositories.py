"""The repositories' side of the API: files, commits, branches, collaborators, issues, pull requests."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from tests.github.call import Answer, Call, Page, Refusal, missing, serves
from tests.github.shapes import PERMISSIONS
from tests.github.state import ROLES, Comment, Issue, Pull, Repository, digest

REPO = "/repos/{owner}/{repo}"
CONTENTS = f"{REPO}/contents/{{path}}"
READ = {"permission": "contents"}
WRITE = {"scope": "repo", "permission": "contents"}
PULLS = {"scope": "repo", "permission": "pull_requests"}
ISSUES = {"scope": "repo", "permission": "issues"}
#: Documented with "Create an issue comment" only as 422; the number is that of GitHub's database column.
LONGEST_COMMENT = 65_536


@serves("GET", REPO)
def repository(call: Call) -> Answer:
    """A repository."""
    return Answer(200, call.shapes.repository(call.repository(), call.viewer))


@serves("GET", f"{REPO}/collaborators", scope="repo", permission="metadata")
def collaborators(call: Call) -> Page:
    """Who has a role in a repository, other than by its being public."""
    found = call.repository("write")
    users = [
        user.id
        for user in call.state.users.values()
        if user.kind != "Organization" and _is_more_than_public(call, found, user.id)
    ]
    return Page(users, lambda user: call.shapes.collaborator(found, user))


def _is_more_than_public(call: Call, found: Repository, user: int) -> bool:
    least = "read" if found.private else "triage"
    return ROLES.index(call.state.role(found, user)) >= ROLES.index(least)


@serves("GET", f"{REPO}/collaborators/{{username}}/permission", permission="metadata")
def permission(call: Call) -> Answer:
    """Somebody's role in a repository."""
    found, user = call.repository(), call.user()
    role = call.state.role(found, user)
    return Answer(
        200,
        {
            "permission": PERMISSIONS.get(role, role),
            "role_name": role,
            "user": call.shapes.collaborator(found, user),
        },
    )


@serves("GET", f"{REPO}/teams", scope="repo", permission="metadata")
def teams(call: Call) -> Page:
    """The teams that have a repository."""
    found = call.repository("write")
    names = {"read": "pull", "write": "push"}
    having = [one for one in call.state.teams.values() if found.id in one.repositories]
    return Page(
        having,
        lambda one: call.shapes.team(one, names.get(one.repositories[found.id], one.repositories[found.id])),
    )


# ------------------------------------------------------------------------------------------------------- files


@serves("GET", CONTENTS, **READ)
def contents(call: Call) -> Answer:
    """A file, or what is in a folder."""
    found, path = call.repository(), call.path["path"].strip("/")
    ref = call.query.get("ref") or found.default_branch
    commit = found.commit_at(ref)
    if commit is None:
        raise Refusal(404, f"No commit found for the ref {ref}")
    if path in commit.files:
        return Answer(200, call.shapes.file(found, path, ref, commit.files[path]))
    inside = f"{path}/" if path else ""
    names = {file[len(inside) :].split("/")[0] for file in commit.files if file.startswith(inside)}
    if not names:
        raise missing()
    shown = [
        call.shapes.entry(found, inside + name, ref, commit.files.get(inside + name))
        for name in sorted(names)
    ]
    return Answer(200, shown)


@serves("PUT", CONTENTS, **WRITE)
def put_contents(call: Call) -> Answer:
    """Make a file or change it; `sha` must be that of the file as it is."""
    found, path = call.repository("write"), call.path["path"]
    try:
        content = base64.b64decode("".join(call.body["content"].split()), validate=True)
    except binascii.Error:
        raise Refusal(422, "content is not valid Base64") from None
    return _write(call, found, path, content)


@serves("DELETE", CONTENTS, **WRITE)
def remove_contents(call: Call) -> Answer:
    """Remove a file."""
    return _write(call, call.repository("write"), call.path["path"], None)


def _write(call: Call, found: Repository, path: str, content: bytes | None) -> Answer:
    branch = (call.body.get("branch") or found.default_branch).removeprefix("refs/heads/")
    commit = found.commit_at(branch)
    if commit is None or branch not in found.branches:
        raise Refusal(404, f"Branch {branch} not found")
    before, sha = commit.files.get(path), call.body.get("sha")
    if before is None and (content is None or sha):
        raise missing() if content is None else Refusal(409, f"{path} does not match {sha}")
    if before is not None and not sha:
        raise Refusal(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if before is not None and digest("blob", before) != sha:
        raise Refusal(409, f"{path} does not match {sha}")
    signature = call.body.get("author") or call.body.get("committer")
    made = call.state.commit(
        found,
        {path: content},
        call.body["message"],
        branch,
        call.viewer,
        (signature["name"], signature["email"]) if signature else None,
    )
    return Answer(201 if before is None else 200, call.shapes.file_commit(found, path, branch, made))


@serves("GET", f"{REPO}/git/blobs/{{file_sha}}", **READ)
def blob(call: Call) -> Answer:
    """A file's content by its hash: the way to those above 1 MB, up to 100 MB."""
    found, sha = call.repository(), call.path["file_sha"]
    for commit in found.commits.values():
        for content in commit.files.values():
            if digest("blob", content) == sha:
                return Answer(200, call.shapes.blob(found, content))
    raise missing()


@serves("GET", f"{REPO}/commits", **READ)
def commits(call: Call) -> Page:
    """The history, newest first; with `path`, of one file or folder."""
    found = call.repository()
    history = found.history(call.query.get("sha") or found.default_branch)
    if not history:
        raise missing()
    if path := call.query.get("path", "").strip("/"):
        history = [one for one in history if _touches(found, one.sha, path)]
    return Page(history, lambda one: call.shapes.commit(found, one))


def _touches(found: Repository, sha: str, path: str) -> bool:
    commit = found.commits[sha]
    before = found.commits[commit.parents[0]].files if commit.parents else {}
    changed = (file for file in {*before, *commit.files} if before.get(file) != commit.files.get(file))
    return any(file == path or file.startswith(f"{path}/") for file in changed)


@serves("GET", f"{REPO}/commits/{{ref}}", **READ)
def commit(call: Call) -> Answer:
    """One commit with what it changed."""
    found = call.repository()
    made = found.commit_at(call.path["ref"])
    if made is None:
        raise Refusal(422, f"No commit found for SHA: {call.path['ref']}")
    return Answer(200, call.shapes.commit_with_files(found, made))


# ---------------------------------------------------------------------------------------------------- branches


@serves("GET", f"{REPO}/branches/{{branch}}", **READ)
def branch(call: Call) -> Answer:
    """A branch."""
    found = call.repository()
    if call.path["branch"] not in found.branches:
        raise Refusal(404, "Branch not found")
    return Answer(200, call.shapes.branch(found, call.path["branch"]))


def _branch(call: Call, found: Repository) -> str:
    name = call.path["ref"].removeprefix("heads/")
    if not call.path["ref"].startswith("heads/") or name not in found.branches:
        raise missing()
    return name


@serves("GET", f"{REPO}/git/ref/{{ref}}", **READ)
def ref(call: Call) -> Answer:
    """A branch as a git reference."""
    found = call.repository()
    return Answer(200, call.shapes.ref(found, _branch(call, found)))


@serves("POST", f"{REPO}/git/refs", **WRITE)
def make_ref(call: Call) -> Answer:
    """A new branch."""
    found, name = call.repository("write"), call.body["ref"]
    short = name.removeprefix("refs/heads/")
    if not name.startswith("refs/heads/") or not short:
        raise Refusal(422, "Reference name must start with 'refs/'.")
    if short in found.branches:
        raise Refusal(422, "Reference already exists")
    if call.body["sha"] not in found.commits:
        raise Refusal(422, "Object does not exist")
    found.branches[short] = call.body["sha"]
    return Answer(201, call.shapes.ref(found, short))


@serves("PATCH", f"{REPO}/git/refs/{{ref}}", **WRITE)
def move_ref(call: Call) -> Answer:
    """Let a branch name another commit; without `force`, only one that follows."""
    found = call.repository("write")
    name, sha = _branch(call, found), call.body["sha"]
    if sha not in found.commits:
        raise Refusal(422, "Object does not exist")
    forward = any(one.sha == found.branches[name] for one in found.history(sha))
    if not forward and not call.body.get("force"):
        raise Refusal(422, "Update is not a fast forward")
    found.branches[name] = sha
    return Answer(200, call.shapes.ref(found, name))


@serves("DELETE", f"{REPO}/git/refs/{{ref}}", **WRITE)
def remove_ref(call: Call) -> Answer:
    """Remove a branch; open pull requests from it are closed."""
    found = call.repository("write")
    if not call.path["ref"].startswith("heads/") or (name := call.path["ref"][6:]) not in found.branches:
        raise Refusal(422, "Reference does not exist")
    del found.branches[name]
    for one in found.issues.values():
        if one.pull and one.pull.head == name:
            one.state = "closed"
    return Answer(204)


# --------------------------------------------------------------------------------------- issues, pull requests


@serves("GET", f"{REPO}/issues/{{issue_number}}", permission="issues")
def issue(call: Call) -> Answer:
    """An issue."""
    return Answer(200, call.shapes.issue(*call.issue()))


@serves("GET", f"{REPO}/issues/{{issue_number}}/comments", permission="issues")
def comments(call: Call) -> Page:
    """The comments, oldest first."""
    found, one = call.issue()
    return Page(list(one.comments.values()), lambda each: call.shapes.comment(found, one, each))


@serves("POST", f"{REPO}/issues/{{issue_number}}/comments", **ISSUES)
def make_comment(call: Call) -> Answer:
    """A new comment."""
    found, one = call.issue()
    _check_length(call.body["body"])
    now = call.state.clock()
    assert call.viewer is not None
    made = Comment(call.state.number(), call.viewer, call.body["body"], now, now)
    one.comments[made.id] = made
    return Answer(201, call.shapes.comment(found, one, made))


def _check_length(text: str) -> None:
    if len(text) > LONGEST_COMMENT:
        raise Refusal(422, f"Body is too long (maximum is {LONGEST_COMMENT} characters)")


def _comment(call: Call) -> tuple[Repository, Issue, Comment]:
    found, wanted = call.repository(), int(call.path["comment_id"])
    for one in found.issues.values():
        if wanted in one.comments:
            return found, one, one.comments[wanted]
    raise missing()


@serves("GET", f"{REPO}/issues/comments/{{comment_id}}", permission="issues")
def comment(call: Call) -> Answer:
    """A comment."""
    return Answer(200, call.shapes.comment(*_comment(call)))


@serves("PATCH", f"{REPO}/issues/comments/{{comment_id}}", **ISSUES)
def change_comment(call: Call) -> Answer:
    """Change a comment: its author may, and who may write."""
    found, one, made = _comment(call)
    if made.author != call.viewer:
        call.repository("write")
    _check_length(call.body["body"])
    made.body, made.updated = call.body["body"], call.state.clock()
    return Answer(200, call.shapes.comment(found, one, made))


@serves("GET", f"{REPO}/pulls", permission="pull_requests")
def pulls(call: Call) -> Page:
    """Pull requests; open ones unless `state` says otherwise, by `head` (OWNER:BRANCH) and `base`."""
    found = call.repository()
    state = call.query.get("state", "open")
    head = call.query.get("head", "").partition(":")[2]
    chosen = [
        one
        for one in found.issues.values()
        if one.pull
        and state in ("all", one.state)
        and (not head or one.pull.head == head)
        and call.query.get("base", one.pull.base) == one.pull.base
    ]
    return Page(chosen[::-1], lambda one: call.shapes.pull(found, one))


@serves("POST", f"{REPO}/pulls", **PULLS)
def make_pull(call: Call) -> Answer:
    """A new pull request between two branches of the repository."""
    found, body = call.repository("write"), call.body
    head, base = body["head"].rpartition(":")[2], body["base"]
    for name, where in ((head, "head"), (base, "base")):
        if name not in found.branches:
            raise _invalid(where)
    if any(
        one.pull and one.state == "open" and (one.pull.head, one.pull.base) == (head, base)
        for one in found.issues.values()
    ):
        owner = call.state.users[found.owner].login
        raise _invalid("", f"A pull request already exists for {owner}:{head}.")
    if found.branches[head] == found.branches[base]:
        raise _invalid("", f"No commits between {base} and {head}")
    assert call.viewer is not None
    made = Issue(
        call.state.number(),
        len(found.issues) + 1,
        body.get("title") or head,
        body.get("body"),
        call.viewer,
        call.state.clock(),
        pull=Pull(head, base),
    )
    found.issues[made.number] = made
    return Answer(201, call.shapes.pull(found, made))


def _invalid(field: str, message: str = "") -> Refusal:
    refusal = Refusal(422, "Validation Failed")
    fault: dict[str, Any] = {"resource": "PullRequest", "code": "custom" if message else "invalid"}
    fault |= {"message": message} if message else {"field": field}
    refusal.answer.value["errors"] = [fault]
    return refusal


@serves("GET", f"{REPO}/pulls/{{pull_number}}", permission="pull_requests")
def pull(call: Call) -> Answer:
    """A pull request."""
    return Answer(200, call.shapes.pull(*call.issue("pull_number")))


@serves("PATCH", f"{REPO}/pulls/{{pull_number}}", **PULLS)
def change_pull(call: Call) -> Answer:
    """Change its title or text, close it, open it again."""
    found, one = call.issue("pull_number", "write")
    one.title = call.body.get("title", one.title)
    one.body = call.body.get("body", one.body)
    one.state = call.body.get("state", one.state)
    return Answer(200, call.shapes.pull(found, one))


@serves("PUT", f"{REPO}/pulls/{{pull_number}}/merge", **WRITE)
def merge(call: Call) -> Answer:
    """Merge: the base gets the files that the head has."""
    found, one = call.issue("pull_number", "write")
    assert one.pull is not None
    if one.state != "open":
        raise Refusal(405, "Pull Request is not mergeable")
    head = found.commits[found.branches[one.pull.head]]
    if (call.body or {}).get("sha", head.sha) != head.sha:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")
    before = found.commits[found.branches[one.pull.base]].files
    files: dict[str, str | bytes | None] = {**dict.fromkeys(before), **head.files}
    message = f"Merge pull request #{one.number}"
    made = call.state.commit(found, files, message, one.pull.base, call.viewer)
    one.state, one.pull.merged_at, one.pull.merge_sha = "closed", call.state.clock(), made.sha
    one.pull.head_sha, one.pull.merger = head.sha, call.viewer
    return Answer(200, {"sha": made.sha, "merged": True, "message": "Pull Request successfully merged"})
