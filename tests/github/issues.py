"""Issues as lists, made and changed; and commits that are put together without a checkout."""

from __future__ import annotations

from typing import Any

from tests.github.call import Answer, Call, Page, Refusal, missing, serves
from tests.github.repositories import ISSUES, PULLS, READ, REPO, WRITE
from tests.github.shapes import stamp
from tests.github.state import Repository, digest

#: Documented with the operations as 422 only; the number is that of GitHub's database column.
LONGEST_BODY = 65_536
LONGEST_TITLE = 256


def _with_issues(call: Call) -> Repository:
    """The repository of the path, if its issues are not switched off (documented: 410)."""
    found = call.repository()
    if not found.has_issues:
        raise Refusal(410, "Issues has been disabled in this repository.")
    return found


@serves("GET", f"{REPO}/issues", permission="issues")
def issues(call: Call) -> Page:
    """Issues and pull requests, newest first; open ones unless `state` says otherwise, by who made them."""
    found = call.repository()  # switched off is documented for changes only: pull requests are issues, too
    state, creator = call.query.get("state", "open"), call.query.get("creator", "").lower()
    chosen = [
        one
        for one in found.issues.values()
        if state in ("all", one.state)
        and (not creator or call.state.users[one.author].login.lower() == creator)
        and stamp(one.updated or one.created) >= call.query.get("since", "")
    ]
    return Page(chosen[::-1], lambda one: call.shapes.issue(found, one))


@serves("POST", f"{REPO}/issues", **ISSUES)
def make_issue(call: Call) -> Answer:
    """A new issue."""
    found, body = _with_issues(call), call.body
    if found.archived:
        raise Refusal(403, "Repository was archived so is read-only.")
    _check(body.get("title"), body.get("body"))
    assert call.viewer is not None
    login = call.state.users[call.viewer].login
    made = call.state.add_issue(found, login, str(body["title"]), body.get("body"))
    return Answer(201, call.shapes.issue(found, made))


@serves("PATCH", f"{REPO}/issues/{{issue_number}}", **ISSUES)
def change_issue(call: Call) -> Answer:
    """Change an issue: its author may, and who may write."""
    found, one = call.issue()
    if one.author != call.viewer:
        call.repository("write")
    if found.archived:
        raise Refusal(403, "Repository was archived so is read-only.")
    _check(call.body.get("title"), call.body.get("body"))
    one.title = call.body.get("title", one.title)
    one.body = call.body.get("body", one.body)
    one.state = call.body.get("state", one.state)
    one.updated = call.state.clock()
    return Answer(200, call.shapes.issue(found, one))


def _check(title: Any, body: Any) -> None:
    if title is not None and len(str(title)) > LONGEST_TITLE:
        raise Refusal(422, "title is too long (maximum is 256 characters)")
    if body is not None and len(body) > LONGEST_BODY:
        raise Refusal(422, f"body is too long (maximum is {LONGEST_BODY} characters)")


@serves("GET", f"{REPO}/pulls/{{pull_number}}/files", **PULLS)
def pull_files(call: Call) -> Page:
    """What a pull request changes, file by file."""
    found, one = call.issue("pull_number")
    assert one.pull is not None
    head, base = found.commit_at(one.pull.head), found.commit_at(one.pull.base)
    assert head is not None and base is not None
    return Page(_changed(found, base, head), lambda each: call.shapes.changed_file(found, head, *each))


def _changed(found: Repository, base: Any, head: Any) -> list[tuple[str, str, bytes]]:
    """(path, status, content) of what the head changed since it left the base."""
    behind = {one.sha for one in found.history(base.sha)}
    start = next((one for one in found.history(head.sha) if one.sha in behind), base)
    rows = []
    for path in sorted({*start.files, *head.files}):
        before, after = start.files.get(path), head.files.get(path)
        if before != after:
            status = "added" if before is None else "removed" if after is None else "modified"
            rows.append((path, status, after if after is not None else before or b""))
    return rows


# ------------------------------------------------------------------------------------------------- commits


@serves("GET", f"{REPO}/git/commits/{{commit_sha}}", **READ)
def git_commit(call: Call) -> Answer:
    """A commit as git has it."""
    found = call.repository()
    commit = found.commits.get(call.path["commit_sha"])
    if commit is None:
        raise missing()
    return Answer(200, call.shapes.git_commit(found, commit))


@serves("POST", f"{REPO}/git/trees", **WRITE)
def make_tree(call: Call) -> Answer:
    """A tree over another one: files by their text, `sha: null` takes one out."""
    found = call.repository("write")
    files = dict(_tree(found, call.body["base_tree"])) if "base_tree" in call.body else {}
    for entry in call.body["tree"]:
        if "content" in entry:
            files[entry["path"]] = entry["content"].encode()
        elif entry.get("sha") is None and entry["path"] in files:
            del files[entry["path"]]
        else:
            raise Refusal(422, "tree.sha is not a valid blob")
    listed = "".join(f"{path} {digest('blob', data)}\n" for path, data in sorted(files.items()))
    sha = digest("tree", listed.encode())
    found.trees[sha] = files
    return Answer(201, call.shapes.tree(found, sha, files))


def _tree(found: Repository, sha: str) -> Any:
    own = (commit.files for commit in found.commits.values() if digest("tree", commit.sha.encode()) == sha)
    files = found.trees.get(sha) or next(own, None)
    if files is None:
        raise Refusal(422, f"base_tree is not a valid tree: {sha}")
    return files


@serves("POST", f"{REPO}/git/commits", **WRITE)
def make_commit(call: Call) -> Answer:
    """A commit of a tree that is there; no branch names it yet."""
    found = call.repository("write")
    files, parents = _tree(found, call.body["tree"]), call.body.get("parents", [])
    if any(parent not in found.commits for parent in parents):
        raise Refusal(422, "Parent SHA does not exist or is not a commit object")
    made = call.state.commit_of(found, files, call.body["message"], tuple(parents), call.viewer)
    return Answer(201, call.shapes.git_commit(found, made))
