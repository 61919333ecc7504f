"""Reviews of pull requests, and which pull requests a commit came by."""

from __future__ import annotations

from tests.github.call import Call, Page, missing, serves

REPO = "/repos/{owner}/{repo}"


@serves("GET", f"{REPO}/commits/{{commit_sha}}/pulls", permission="pull_requests")
def pulls_of_commit(call: Call) -> Page:
    """Documented: the merged pull request that brought a commit of the default branch, else open ones with it.

    Not documented, and so here: a pull request's own commits name it as well, since a merge brings them along.
    """
    found = call.repository()
    commit = found.commits.get(call.path["commit_sha"])
    if commit is None:
        raise missing()
    chosen = [
        one
        for one in found.issues.values()
        if one.pull
        and commit.sha in (one.pull.merge_sha, one.pull.head_sha, found.branches.get(one.pull.head))
    ]
    return Page(chosen, lambda one: call.shapes.pull(found, one))


@serves("GET", f"{REPO}/pulls/{{pull_number}}/reviews", permission="pull_requests")
def reviews(call: Call) -> Page:
    """The reviews of a pull request, "in chronological order"."""
    found, one = call.issue("pull_number")
    assert one.pull is not None
    return Page(one.pull.reviews, lambda review: call.shapes.review(found, one, review))
