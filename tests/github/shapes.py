"""Values of the state as the JSON that GitHub shows; every one of these is held against GitHub's description."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.github.state import (
    ROLES,
    App,
    Comment,
    Commit,
    Installation,
    Issue,
    Repository,
    Review,
    RunnerGroup,
    Secret,
    State,
    Team,
    User,
    Variable,
    digest,
    stamp,
)

JSON = dict[str, Any]

#: What a user's object links to, as its name in JSON and the end of the address.
USER_LINKS = """followers following{/other_user} gists{/gist_id} starred{/owner}{/repo} subscriptions organizations=orgs
repos events{/privacy} received_events"""
REPOSITORY_LINKS = """archive={archive_format}{/ref} assignees{/user} blobs=git/blobs{/sha} branches{/branch}
collaborators{/collaborator} comments{/number} commits{/sha} compare={base}...{head} contents={+path} contributors
deployments downloads events forks git_commits=git/commits{/sha} git_refs=git/refs{/sha} git_tags=git/tags{/sha} hooks
issue_comment=issues/comments{/number} issue_events=issues/events{/number} issues{/number} keys{/key_id} labels{/name}
languages merges milestones{/number} notifications pulls{/number} releases{/id} stargazers statuses={sha} subscribers
subscription tags teams trees=git/trees{/sha}"""
#: The older names of roles, which `permission` still uses.
PERMISSIONS = {"maintain": "write", "triage": "read"}


def _links(base: str, text: str) -> JSON:
    found = {}
    for word in text.split():
        name, _, end = word.partition("=")
        key = name.partition("{")[0]
        found[f"{key}_url"] = f"{base}/{end or name}"
    return found


@dataclass(frozen=True)
class Shapes:
    """Makes the JSON for one request: addresses begin as the request's own did."""

    state: State
    api: str
    html: str

    # ------------------------------------------------------------------------------------------------- users

    def user(self, user_id: int) -> JSON:
        """The short form of a user."""
        user = self.state.users[user_id]
        login = quote(user.login)  # a bot's has brackets
        url = f"{self.api}/users/{login}"
        return {
            "login": user.login,
            "id": user.id,
            "node_id": f"U_{user.id}",
            "avatar_url": f"{self.html}/avatars/{user.id}",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.html}/{login}",
            **_links(url, USER_LINKS),
            "type": user.kind,
            "site_admin": False,
        }

    def full_user(self, user: User) -> JSON:
        """The public form of a user."""
        empty = dict.fromkeys(("name", "company", "email", "location", "bio", "hireable"))
        counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
        times = dict.fromkeys(("created_at", "updated_at"), stamp(0))
        return {**self.user(user.id), **empty, "blog": "", **counts, **times}

    def organization(self) -> JSON:
        """The short form of the organisation."""
        login = self.state.organization
        url = f"{self.api}/orgs/{login}"
        ends = ("repos", "events", "hooks", "issues", "members{/member}", "public_members{/member}")
        return {
            "login": login,
            "id": self.state.organization_id,
            "node_id": f"O_{self.state.organization_id}",
            "url": url,
            **_links(url, " ".join(ends)),
            "avatar_url": f"{self.html}/avatars/{self.state.organization_id}",
            "description": None,
        }

    def full_organization(self) -> JSON:
        """The organisation with what others see of it."""
        counts = dict.fromkeys(("public_gists", "followers", "following"), 0)
        return {
            **self.organization(),
            **counts,
            "public_repos": sum(not one.private for one in self.state.owned()),
            "html_url": f"{self.html}/{self.state.organization}",
            "has_organization_projects": False,
            "has_repository_projects": False,
            "type": "Organization",
            "created_at": stamp(0),
            "updated_at": stamp(0),
            "archived_at": None,
        }

    def team(self, team: Team, permission: str = "pull") -> JSON:
        """A team."""
        url = f"{self.api}/organizations/{self.state.organization_id}/team/{team.id}"
        return {
            "id": team.id,
            "node_id": f"T_{team.id}",
            "url": url,
            "html_url": f"{self.html}/orgs/{self.state.organization}/teams/{team.slug}",
            "name": team.slug,
            "slug": team.slug,
            "description": "",
            "privacy": "closed",
            "permission": permission,
            "type": "organization",
            "organization_id": self.state.organization_id,
            "members_url": f"{url}/members{{/member}}",
            "repositories_url": f"{url}/repos",
            "parent": None,
        }

    def full_team(self, team: Team) -> JSON:
        """A team with its numbers."""
        return {
            **self.team(team),
            "members_count": len(team.members),
            "repos_count": len(team.repositories),
            "created_at": stamp(0),
            "updated_at": stamp(0),
            "organization": self.full_organization(),
        }

    # ------------------------------------------------------------------------------------------ repositories

    def repository_url(self, repository: Repository) -> str:
        """Where the API has it."""
        return f"{self.api}/repos/{self.full_name(repository)}"

    def full_name(self, repository: Repository) -> str:
        """Owner and name, as they are now."""
        return f"{self.state.users[repository.owner].login}/{repository.name}"

    def repository(self, repository: Repository, viewer: int | None = None) -> JSON:
        """The full form; the shorter ones of lists are parts of it."""
        url, html = self.repository_url(repository), f"{self.html}/{self.full_name(repository)}"
        zero = """forks forks_count open_issues open_issues_count size stargazers_count watchers watchers_count
        network_count subscribers_count"""
        times = dict.fromkeys(("created_at", "updated_at", "pushed_at"), stamp(repository.created))
        shown: JSON = {
            "id": repository.id,
            "node_id": f"R_{repository.id}",
            "name": repository.name,
            "full_name": self.full_name(repository),
            "owner": self.user(repository.owner),
            "private": repository.private,
            "visibility": "private" if repository.private else "public",
            "html_url": html,
            "url": url,
            **_links(url, REPOSITORY_LINKS),
            "clone_url": f"{html}.git",
            "git_url": f"{html}.git",
            "ssh_url": f"{html}.git",
            "svn_url": html,
            **dict.fromkeys(("description", "homepage", "language", "license", "mirror_url")),
            **dict.fromkeys(zero.split(), 0),
            **times,
            "default_branch": repository.default_branch,
            "archived": repository.archived,
            **dict.fromkeys(("disabled", "fork", "has_projects", "has_pages", "has_discussions"), False),
            **dict.fromkeys(("has_wiki", "has_downloads"), True),
            "has_issues": repository.has_issues,
        }
        if viewer is not None:
            shown["permissions"] = self.permissions(self.state.role(repository, viewer))
        return shown

    @staticmethod
    def permissions(role: str) -> JSON:
        """What a role may, by GitHub's older names."""
        names = {
            "pull": "read",
            "triage": "triage",
            "push": "write",
            "maintain": "maintain",
            "admin": "admin",
        }
        return {name: ROLES.index(role) >= ROLES.index(least) for name, least in names.items()}

    def collaborator(self, repository: Repository, user_id: int) -> JSON:
        """Somebody with a role in a repository."""
        role = self.state.role(repository, user_id)
        return {**self.user(user_id), "permissions": self.permissions(role), "role_name": role}

    def commit(self, repository: Repository, commit: Commit) -> JSON:
        """A commit, with the names of the files that it changed."""
        url = self.repository_url(repository)
        html = f"{self.html}/{self.full_name(repository)}/commit/{commit.sha}"
        person = {"name": commit.author_name, "email": commit.author_email, "date": stamp(commit.when)}
        login = self.user(commit.author) if commit.author is not None else None
        tree = digest("tree", commit.sha.encode())
        return {
            "sha": commit.sha,
            "node_id": f"C_{commit.sha}",
            "url": f"{url}/commits/{commit.sha}",
            "html_url": html,
            "comments_url": f"{url}/commits/{commit.sha}/comments",
            "commit": {
                "url": f"{url}/git/commits/{commit.sha}",
                "author": person,
                "committer": person,
                "message": commit.message,
                "tree": {"url": f"{url}/git/trees/{tree}", "sha": tree},
                "comment_count": 0,
                "verification": {
                    "verified": False,
                    "reason": "unsigned",
                    "signature": None,
                    "payload": None,
                    "verified_at": None,
                },
            },
            "author": login,
            "committer": login,
            "parents": [
                {"sha": sha, "url": f"{url}/commits/{sha}", "html_url": f"{html}/{sha}"}
                for sha in commit.parents
            ],
        }

    def commit_with_files(self, repository: Repository, commit: Commit) -> JSON:
        """A commit with what it changed."""
        url = self.repository_url(repository)
        before = repository.commits[commit.parents[0]].files if commit.parents else {}
        files = []
        for path in sorted({*before, *commit.files}):
            if before.get(path) != commit.files.get(path):
                status = "added" if path not in before else "modified" if path in commit.files else "removed"
                found = commit.files.get(path, before.get(path, b""))
                files.append(
                    {
                        "sha": digest("blob", found),
                        "filename": path,
                        "status": status,
                        **dict.fromkeys(("additions", "deletions", "changes"), 1),
                        "blob_url": f"{self.html}/{self.full_name(repository)}/blob/{commit.sha}/{path}",
                        "raw_url": f"{self.html}/{self.full_name(repository)}/raw/{commit.sha}/{path}",
                        "contents_url": f"{url}/contents/{path}?ref={commit.sha}",
                    }
                )
        counts = {"additions": len(files), "deletions": len(files), "total": 2 * len(files)}
        return {**self.commit(repository, commit), "stats": counts, "files": files}

    def changed_file(self, repository: Repository, head: Commit, path: str, status: str, data: bytes) -> JSON:
        """A file as a pull request changes it."""
        html, url = f"{self.html}/{self.full_name(repository)}", self.repository_url(repository)
        return {
            "sha": digest("blob", data),
            "filename": path,
            "status": status,
            **dict.fromkeys(("additions", "deletions", "changes"), 1),
            "blob_url": f"{html}/blob/{head.sha}/{path}",
            "raw_url": f"{html}/raw/{head.sha}/{path}",
            "contents_url": f"{url}/contents/{path}?ref={head.sha}",
        }

    def git_commit(self, repository: Repository, commit: Commit) -> JSON:
        """A commit as git has it."""
        shown = self.commit(repository, commit)
        inner = {
            key: shown["commit"][key] for key in ("author", "committer", "message", "tree", "verification")
        }
        kept = {key: shown[key] for key in ("sha", "node_id", "html_url", "parents")}
        return {**kept, **inner, "url": f"{self.repository_url(repository)}/git/commits/{commit.sha}"}

    def tree(self, repository: Repository, sha: str, files: Mapping[str, bytes]) -> JSON:
        """A tree with its files."""
        url = self.repository_url(repository)
        rows = [
            {
                "path": path,
                "mode": "100644",
                "type": "blob",
                "sha": digest("blob", data),
                "size": len(data),
                "url": f"{url}/git/blobs/{digest('blob', data)}",
            }
            for path, data in sorted(files.items())
        ]
        return {"sha": sha, "url": f"{url}/git/trees/{sha}", "tree": rows, "truncated": False}

    def entry(self, repository: Repository, path: str, ref: str, content: bytes | None) -> JSON:
        """A file (or with None a folder) as it stands in a list, without what is in it."""
        name = self.full_name(repository)
        kind = "dir" if content is None else "file"
        sha = digest("tree", path.encode()) if content is None else digest("blob", content)
        url = f"{self.repository_url(repository)}/contents/{path}?ref={ref}"
        git = f"{self.repository_url(repository)}/git/{'trees' if content is None else 'blobs'}/{sha}"
        html = f"{self.html}/{name}/blob/{ref}/{path}"
        return {
            "type": kind,
            "name": path.rpartition("/")[2],
            "path": path,
            "sha": sha,
            "size": len(content or b""),
            "url": url,
            "git_url": git,
            "html_url": html,
            "download_url": None if content is None else f"{self.html}/{name}/raw/{ref}/{path}",
            "_links": {"self": url, "git": git, "html": html},
        }

    def file(self, repository: Repository, path: str, ref: str, content: bytes) -> JSON:
        """A file with what is in it; above 1 MB GitHub leaves that out (documented with the operation)."""
        shown = self.entry(repository, path, ref, content)
        if len(content) > 1_000_000:
            return {**shown, "content": "", "encoding": "none"}
        return {**shown, "content": base64.encodebytes(content).decode(), "encoding": "base64"}

    def blob(self, repository: Repository, content: bytes) -> JSON:
        """A file's content by its hash."""
        sha = digest("blob", content)
        return {
            "sha": sha,
            "node_id": f"B_{sha}",
            "size": len(content),
            "url": f"{self.repository_url(repository)}/git/blobs/{sha}",
            "content": base64.encodebytes(content).decode(),
            "encoding": "base64",
        }

    def file_commit(self, repository: Repository, path: str, ref: str, commit: Commit) -> JSON:
        """What a write to a file is answered with."""
        content = commit.files.get(path)
        shown = self.commit(repository, commit)
        inner = {**shown["commit"], **{key: shown[key] for key in ("sha", "node_id", "html_url", "parents")}}
        inner["url"] = f"{self.repository_url(repository)}/git/commits/{commit.sha}"
        return {
            "content": None if content is None else self.entry(repository, path, ref, content),
            "commit": inner,
        }

    def ref(self, repository: Repository, branch: str) -> JSON:
        """A branch as a git reference."""
        url, sha = self.repository_url(repository), repository.branches[branch]
        return {
            "ref": f"refs/heads/{branch}",
            "node_id": f"REF_{branch}",
            "url": f"{url}/git/refs/heads/{branch}",
            "object": {"type": "commit", "sha": sha, "url": f"{url}/git/commits/{sha}"},
        }

    def branch(self, repository: Repository, branch: str) -> JSON:
        """A branch with its last commit."""
        url = f"{self.repository_url(repository)}/branches/{branch}"
        return {
            "name": branch,
            "commit": self.commit(repository, repository.commits[repository.branches[branch]]),
            "_links": {"html": f"{self.html}/{self.full_name(repository)}/tree/{branch}", "self": url},
            "protected": False,
            "protection": {"enabled": False},
            "protection_url": f"{url}/protection",
        }

    # --------------------------------------------------------------------------------- issues, pull requests

    def issue(self, repository: Repository, issue: Issue) -> JSON:
        """An issue, or a pull request as one."""
        url = f"{self.repository_url(repository)}/issues/{issue.number}"
        kind = "pull" if issue.pull else "issues"
        shown: JSON = {
            "id": issue.id,
            "node_id": f"I_{issue.id}",
            "url": url,
            "repository_url": self.repository_url(repository),
            **{f"{end}_url": f"{url}/{end}" for end in ("labels", "comments", "events")},
            "html_url": f"{self.html}/{self.full_name(repository)}/{kind}/{issue.number}",
            "number": issue.number,
            "state": issue.state,
            "title": issue.title,
            "body": issue.body,
            "user": self.user(issue.author),
            "labels": [],
            "assignee": None,
            "milestone": None,
            "locked": False,
            "comments": len(issue.comments),
            "closed_at": None if issue.state == "open" else stamp(issue.created),
            "created_at": stamp(issue.created),
            "updated_at": stamp(issue.created if issue.updated is None else issue.updated),
            "author_association": "MEMBER",
        }
        if issue.pull:
            pull = f"{self.repository_url(repository)}/pulls/{issue.number}"
            names = ("url", "html_url", "diff_url", "patch_url")
            shown["pull_request"] = dict.fromkeys(names, pull)
        return shown

    def comment(self, repository: Repository, issue: Issue, comment: Comment) -> JSON:
        """A comment."""
        base = self.repository_url(repository)
        return {
            "id": comment.id,
            "node_id": f"IC_{comment.id}",
            "url": f"{base}/issues/comments/{comment.id}",
            "html_url": f"{self.html}/{self.full_name(repository)}/issues/{issue.number}#{comment.id}",
            "issue_url": f"{base}/issues/{issue.number}",
            "body": comment.body,
            "user": self.user(comment.author),
            "created_at": stamp(comment.created),
            "updated_at": stamp(comment.updated),
            "author_association": "MEMBER",
        }

    def pull(self, repository: Repository, issue: Issue) -> JSON:
        """A pull request within one repository."""
        assert issue.pull is not None
        base = self.repository_url(repository)
        url, issue_url = f"{base}/pulls/{issue.number}", f"{base}/issues/{issue.number}"
        html = f"{self.html}/{self.full_name(repository)}/pull/{issue.number}"
        head = issue.pull.head_sha or repository.branches.get(issue.pull.head, issue.pull.merge_sha or "")
        links = {
            "self": url,
            "html": html,
            "issue": issue_url,
            "comments": f"{issue_url}/comments",
            "review_comments": f"{url}/comments",
            "review_comment": f"{base}/pulls/comments{{/number}}",
            "commits": f"{url}/commits",
            "statuses": f"{base}/statuses/{head}",
        }
        merged_at = stamp(issue.pull.merged_at) if issue.pull.merged_at is not None else None
        zero = ("comments", "review_comments", "commits", "additions", "deletions", "changed_files")
        return {
            "id": issue.id,
            "node_id": f"PR_{issue.id}",
            "url": url,
            "html_url": html,
            "diff_url": f"{html}.diff",
            "patch_url": f"{html}.patch",
            "issue_url": issue_url,
            **{f"{name}_url": links[name] for name in list(links)[3:]},
            "number": issue.number,
            "state": issue.state,
            "locked": False,
            "title": issue.title,
            "body": issue.body,
            "user": self.user(issue.author),
            "labels": [],
            **dict.fromkeys(("assignee", "milestone", "auto_merge")),
            "merged_by": self.user(issue.pull.merger) if issue.pull.merger is not None else None,
            "created_at": stamp(issue.created),
            "updated_at": stamp(issue.created),
            "closed_at": None if issue.state == "open" else stamp(issue.created),
            "merged_at": merged_at,
            "merged": issue.pull.merged_at is not None,
            "merge_commit_sha": issue.pull.merge_sha,
            "mergeable": True,
            "mergeable_state": "clean",
            "maintainer_can_modify": False,
            "author_association": "MEMBER",
            "head": self._side(repository, issue.pull.head, head),
            "base": self._side(
                repository,
                issue.pull.base,
                repository.branches.get(issue.pull.base, issue.pull.merge_sha or ""),
            ),
            "_links": {name: {"href": link} for name, link in links.items()},
            **dict.fromkeys(zero, 0),
        }

    def review(self, repository: Repository, issue: Issue, review: Review) -> JSON:
        """A review of a pull request."""
        pull = f"{self.repository_url(repository)}/pulls/{issue.number}"
        html = f"{self.html}/{self.full_name(repository)}/pull/{issue.number}#pullrequestreview-{review.id}"
        return {
            "id": review.id,
            "node_id": f"PRR_{review.id}",
            "user": self.user(review.author),
            "body": "",
            "state": review.state,
            "html_url": html,
            "pull_request_url": pull,
            "author_association": "MEMBER",
            "_links": {"html": {"href": html}, "pull_request": {"href": pull}},
            "submitted_at": stamp(review.submitted),
            "commit_id": review.commit,
        }

    def _side(self, repository: Repository, branch: str, sha: str) -> JSON:
        return {
            "label": f"{self.state.users[repository.owner].login}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": self.user(repository.owner),
            "repo": self.repository(repository),
        }

    # --------------------------------------------------------------------------------------- Actions and apps

    def group(self, group: RunnerGroup) -> JSON:
        """A runner group, without the list of its repositories."""
        url = f"{self.api}/orgs/{self.state.organization}/actions/runner-groups/{group.id}"
        shown: JSON = {
            "id": group.id,
            "name": group.name,
            "visibility": group.visibility,
            "default": group.default,
            "runners_url": f"{url}/runners",
            "inherited": False,
            "allows_public_repositories": group.allows_public,
            "restricted_to_workflows": group.restricted_to_workflows,
            "selected_workflows": group.workflows,
            "workflow_restrictions_read_only": False,
        }
        if group.visibility == "selected":
            shown["selected_repositories_url"] = f"{url}/repositories"
        return shown

    def selection(self, kind: str, found: Secret | Variable) -> JSON:
        """A secret (never its value) or a variable."""
        url = f"{self.api}/orgs/{self.state.organization}/actions/{kind}/{found.name}"
        shown: JSON = {
            "name": found.name,
            "created_at": stamp(found.created),
            "updated_at": stamp(found.updated),
            "visibility": found.visibility,
        }
        if isinstance(found, Variable):
            shown["value"] = found.value
        if found.visibility == "selected":
            shown["selected_repositories_url"] = f"{url}/repositories"
        return shown

    def app(self, app: App) -> JSON:
        """A GitHub App as itself sees it."""
        return {
            "id": app.id,
            "slug": app.slug,
            "node_id": f"A_{app.id}",
            "owner": self.user(self.state.organization_id),
            "name": app.slug,
            "description": None,
            "external_url": f"{self.html}/{app.slug}",
            "html_url": f"{self.html}/apps/{app.slug}",
            "created_at": stamp(app.created),
            "updated_at": stamp(app.created),
            "permissions": {"metadata": "read"},
            "events": [],
        }

    def installation(self, installation: Installation) -> JSON:
        """A GitHub App's installation."""
        url = f"{self.api}/user/installations/{installation.id}"
        return {
            "id": installation.id,
            "account": self.user(self.state.organization_id),
            "repository_selection": installation.selection,
            "access_tokens_url": f"{self.api}/app/installations/{installation.id}/access_tokens",
            "repositories_url": f"{url}/repositories",
            "html_url": f"{self.html}/organizations/{self.state.organization}/settings/{installation.id}",
            "app_id": installation.app_id,
            "app_slug": installation.slug,
            "target_id": self.state.organization_id,
            "target_type": "Organization",
            "permissions": {"actions": "read", "metadata": "read"},
            "events": [],
            "created_at": stamp(installation.created),
            "updated_at": stamp(installation.created),
            "single_file_name": None,
            "suspended_by": None,
            "suspended_at": None,
        }
