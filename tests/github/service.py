"""One request in, one answer out: token, limits, description, handler, pages, ETag; no network in here.

Order as GitHub has it, as far as can be told from outside: who asks (401), how much they asked (403, 429), what
they ask for (301, 404), whether they may (403, 404), then the operation itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tests.github import apps, graphql, issues, organization, repositories, reviews  # noqa: F401  their handlers enter themselves
from tests.github.call import (
    DOCUMENTATION,
    HANDLERS,
    Answer,
    Call,
    Need,
    Page,
    Refusal,
    error,
    missing,
    serves,
)
from tests.github.description import BY_ID, Operation, description
from tests.github.shapes import Shapes
from tests.github.state import State, Token
from tests.leaks import WATCH

WINDOW = 3600
#: Requests per hour: with a token, and without one.
LIMIT, ANONYMOUS_LIMIT = 5000, 60
LARGEST_PAGE = 100
#: Where GraphQL is at api.github.com, and at GitHub Enterprise beside /api/v3.
GRAPHQL = ("/graphql", "/api/graphql")
IMPLIED = {
    "admin:org": {"write:org", "read:org"},
    "write:org": {"read:org"},
    "repo": {"public_repo", "repo:status", "repo:invite"},
}
NOT_FOR_TOKENS = "Resource not accessible by personal access token"


@dataclass(frozen=True)
class Request:
    """What came in. `target`: path and query, without the prefix of GitHub Enterprise."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    api: str = ""
    html: str = ""


@dataclass(frozen=True)
class Logged:
    """One line of the log: never a token, never a body."""

    method: str
    path: str
    query: str
    status: int
    login: str
    #: Whether it said which version it has already.
    conditional: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}{'?' if self.query else ''}{self.query} -> {self.status}"


@dataclass
class Fault:
    """What some of the next requests get instead of, or (`late`) after, their answer."""

    status: int
    times: int
    matching: re.Pattern[str]
    body: Any
    headers: Mapping[str, str]
    delay: float
    late: bool


@dataclass
class Limit:
    """How much somebody has asked in the present hour."""

    limit: int
    reset: float
    used: int = 0


@dataclass
class Service:
    """GitHub's REST API over one state."""

    state: State
    log: list[Logged] = field(default_factory=list)
    #: Requests and answers that are not as GitHub describes them: a test that leaves one here fails.
    violations: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    #: By token.
    limits: dict[str, Limit] = field(default_factory=dict, repr=False)
    limit: int = LIMIT
    #: Whether the primary limit is told as 429 (both are documented) and not as 403.
    limit_status: int = 403
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ----------------------------------------------------------------------------------- what tests ask for

    def fail_next(
        self,
        status: int = 502,
        times: int = 1,
        matching: str = "",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        late: bool = False,
    ) -> None:
        """Let the next requests whose `METHOD /path` fits `matching` fail.

        `status` 0 closes the connection; with `late` the operation is done first and only its answer is lost;
        `body`: bytes as they are, or a value as JSON; `delay`: seconds before the answer, which with status 200
        is the real one.
        """
        self.faults.append(Fault(status, times, re.compile(matching), body, headers or {}, delay, late))

    def secondary_limit(
        self, retry_after: int, times: int = 1, matching: str = "", status: int = 403
    ) -> None:
        """Refuse the next requests as too many in too short a time."""
        message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        value = {"message": message, "documentation_url": DOCUMENTATION}
        self.fail_next(status, times, matching, value, {"Retry-After": str(retry_after)})

    def rate_limit(self, remaining: int, reset_in: float = WINDOW) -> None:
        """Leave everybody so many requests, until `reset_in` seconds from now."""
        now = self.state.clock()
        for key in (*self.state.tokens, ""):
            limit = self.limit if key else ANONYMOUS_LIMIT
            self.limits[key] = Limit(limit, now + reset_in, limit - remaining)

    def check(self) -> None:
        """Raise AssertionError if anything was not as GitHub describes it."""
        if self.violations:
            raise AssertionError("not as GitHub's description has it:\n" + "\n".join(self.violations))

    # ------------------------------------------------------------------------------------------ one request

    def answer(self, request: Request) -> tuple[Answer, float]:
        """Return the answer, and how many seconds to wait before giving it; status 0: none is given."""
        # What is sent here others may read: files, comments, pull requests. Values of secrets are sealed.
        where = f"{request.method} {request.target.partition('?')[0]} to GitHub"
        WATCH.said(where, request.target, request.body.decode("utf-8", "replace"))
        with self._lock:
            fault = self._fault(request)
            if fault is None:
                return self._logged(request, self._real(request)), 0.0
            if fault.late or fault.status == 200:
                real = self._real(request)
                if fault.status == 200 and fault.body is None:
                    return self._logged(request, real), fault.delay
            return self._logged(request, self._injected(fault)), fault.delay

    def _fault(self, request: Request) -> Fault | None:
        path = request.target.partition("?")[0]
        for fault in self.faults:
            if fault.matching.search(f"{request.method} {path}"):
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
                return fault
        return None

    @staticmethod
    def _injected(fault: Fault) -> Answer:
        if fault.body is not None:
            return Answer(fault.status, fault.body, fault.headers)
        return error(fault.status, "Server Error", fault.headers)

    def _logged(self, request: Request, answer: Answer) -> Answer:
        token = self.state.tokens.get(_token(request) or "")
        login = self.state.users[token.user].login if token else ""
        path, _, query = request.target.partition("?")
        conditional = "if-none-match" in request.headers
        self.log.append(Logged(request.method, path, query, answer.status, login, conditional))
        return answer

    def _real(self, request: Request) -> Answer:
        try:
            token = self._who(request)
        except Refusal as refusal:
            return refusal.answer
        limit = self._limit(_token(request) or "")
        if limit.used >= limit.limit and not request.target.startswith("/rate_limit"):
            return self._too_many(limit)
        limit.used += not request.target.startswith("/rate_limit")
        answer = self._served(request, token)
        if answer.status == 304 and "if-none-match" in request.headers:
            limit.used -= 1  # documented: a conditional request that finds nothing new is free
        return Answer(answer.status, answer.value, {**self._common(limit, token), **answer.headers})

    def _who(self, request: Request) -> Token | None:
        given = _token(request)
        if given is None:
            return None
        token = self.state.tokens.get(given)
        if token is None and given.count(".") == 2:
            return apps.app_of(self.state, given)
        if token is None:
            raise Refusal(401, "Bad credentials")
        return token

    def _limit(self, key: str) -> Limit:
        now = self.state.clock()
        found = self.limits.get(key)
        if found is None or found.reset <= now:
            found = self.limits[key] = Limit(self.limit if key else ANONYMOUS_LIMIT, now + WINDOW)
        return found

    def _common(self, limit: Limit, token: Token | None) -> dict[str, str]:
        found = {
            "X-RateLimit-Limit": str(limit.limit),
            "X-RateLimit-Remaining": str(max(limit.limit - limit.used, 0)),
            "X-RateLimit-Used": str(limit.used),
            "X-RateLimit-Reset": str(int(limit.reset)),
            "X-RateLimit-Resource": "core",
            "X-GitHub-Api-Version-Selected": "2022-11-28",
        }
        if token and token.scopes is not None:
            found["X-OAuth-Scopes"] = ", ".join(sorted(token.scopes))
        return found

    def _too_many(self, limit: Limit) -> Answer:
        refusal = error(self.limit_status, "API rate limit exceeded for user.")
        return Answer(refusal.status, refusal.value, self._common(limit, None))

    # --------------------------------------------------------------------------------------- what is asked for

    def _served(self, request: Request, token: Token | None) -> Answer:
        path, _, text = request.target.partition("?")
        if request.method == "POST" and path in GRAPHQL:
            return self._queried(request, token)
        query = dict(parse_qsl(text, keep_blank_values=True))
        shapes = Shapes(self.state, request.api, request.html)
        try:
            path = self._at_its_place(request, path, token, shapes)
        except Refusal as refusal:
            return refusal.answer
        found = description().find(request.method, path)
        if found is None or (request.method, found[0].path) not in HANDLERS:
            self.violations.append(f"{request.method} {path}: no such operation here")
            return error(404, "Not Found")
        operation, parameters = found
        handler, need = HANDLERS[(request.method, operation.path)]
        try:
            body = _body(request)
            self._check_request(operation, parameters, query, body)
            self._check_token(need, token, operation)
            answer = handler(Call(self.state, shapes, token, parameters, query, body, self.limits_value))
        except Refusal as refusal:
            answer = refusal.answer
        if isinstance(answer, Page):
            answer = _paged(answer, request, path, query)
        faults = description().answer_faults(operation, answer.status, answer.value)
        self.violations += [
            f"{operation.name}: {fault} (this is a fault of the stand-in)" for fault in faults
        ]
        return _conditional(request, answer)

    def _queried(self, request: Request, token: Token | None) -> Answer:
        if token is None:
            return error(401, "This endpoint requires you to be authenticated.")
        try:
            return Answer(200, graphql.answer(self.state, token, _body(request)))
        except graphql.Invalid as fault:
            self.violations.append(f"POST /graphql: {fault}")
            return Answer(200, {"errors": [{"message": str(fault)}]})
        except Refusal as refusal:
            return refusal.answer

    def _at_its_place(self, request: Request, path: str, token: Token | None, shapes: Shapes) -> str:
        """Return the path as it is served: by name; raise a redirect for a repository that has moved."""
        if by_id := BY_ID.fullmatch(path):
            repository = self.state.repositories.get(int(by_id[1]))
            if repository is None:
                raise missing()
            return f"/repos/{shapes.full_name(repository)}{by_id[2] or ''}"
        by_name = re.fullmatch(r"/repos/([^/]+)/([^/]+)(/.*)?", path)
        if by_name and self.state.repository(by_name[1], by_name[2]) is None:
            moved = self.state.moved_from(by_name[1], by_name[2])
            if moved and Call(self.state, shapes, token, {}, {}, None).sees(moved):
                self._redirect(request, f"/repositories/{moved.id}{by_name[3] or ''}")
        return path

    @staticmethod
    def _redirect(request: Request, path: str) -> None:
        _, mark, query = request.target.partition("?")
        place = f"{request.api}{path}{mark}{query}"
        # Documented in "Best practices": 301 for reading, 307 where method and body must be kept.
        status, message = (
            (301, "Moved Permanently") if request.method == "GET" else (307, "Temporary Redirect")
        )
        refusal = Refusal(status, message, {"Location": place})
        refusal.answer.value["url"] = place
        raise refusal

    def _check_request(
        self, operation: Operation, path: Mapping[str, str], query: Mapping[str, str], body: Any
    ) -> None:
        faults = list(description().request_faults(operation, path, query, body))
        if faults:
            self.violations += [f"{operation.name}: {fault}" for fault in faults]
            raise Refusal(422, "; ".join(faults))

    @staticmethod
    def _check_token(need: Need, token: Token | None, operation: Operation) -> None:
        if token is None:
            if need.scope:
                raise Refusal(401, "Requires authentication")
            return
        if token.scopes is not None:
            having = token.scopes.union(*(IMPLIED.get(scope, set()) for scope in token.scopes))
            accepted = {need.scope, "public_repo"} if need.scope == "repo" else {need.scope}
            if need.scope and not accepted & having:
                headers = {"X-Accepted-OAuth-Scopes": need.scope}
                if operation.path.startswith("/repos/"):
                    raise Refusal(404, "Not Found", headers)  # GitHub hides what a token may not change
                raise Refusal(403, "Must have admin rights to Organization.", headers)
            return
        if need.classic_only:
            raise Refusal(403, NOT_FOR_TOKENS)
        given = token.permissions.get(need.permission, "read" if need.permission == "metadata" else "")
        public = operation.method == "GET" and operation.path.startswith("/repos/") and not need.scope
        if need.permission and given not in (need.level, "write") and not public:
            accepted = f"{need.permission}={need.level}"
            raise Refusal(403, NOT_FOR_TOKENS, {"X-Accepted-GitHub-Permissions": accepted})

    def limits_value(self, key: str) -> dict[str, Any]:
        """What GET /rate_limit says."""
        limit = self._limit(key)
        one = {
            "limit": limit.limit,
            "remaining": max(limit.limit - limit.used, 0),
            "used": limit.used,
            "reset": int(limit.reset),
        }
        return {"resources": {"core": one, "search": one}, "rate": one}


@serves("GET", "/rate_limit")
def rate_limit(call: Call) -> Answer:
    """What is left of the hour."""
    key = next((value for value, token in call.state.tokens.items() if token is call.token), "")
    return Answer(200, call.limits(key))


def _token(request: Request) -> str | None:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() in ("bearer", "token") else None


def _body(request: Request) -> Any:
    if not request.body:
        return None
    try:
        return json.loads(request.body)
    except ValueError:
        raise Refusal(400, "Problems parsing JSON") from None


def _paged(page: Page, request: Request, path: str, query: Mapping[str, str]) -> Answer:
    size = min(max(int(query.get("per_page") or 30), 1), LARGEST_PAGE)
    number = max(int(query.get("page") or 1), 1)
    last = max((len(page.items) + size - 1) // size, 1)
    shown = [page.show(item) for item in page.items[(number - 1) * size : number * size]]
    value = {"total_count": len(page.items), page.key: shown, **page.more} if page.key else shown
    places = {"prev": number - 1, "next": number + 1, "last": last, "first": 1}
    wanted = ["prev", "first"] * (number > 1) + ["next", "last"] * (number < last)
    links = [
        f'<{request.api}{path}?{urlencode({**query, "page": places[name]})}>; rel="{name}"' for name in wanted
    ]
    return Answer(200, value, {"Link": ", ".join(links)} if links else {})


def _conditional(request: Request, answer: Answer) -> Answer:
    if request.method != "GET" or answer.status != 200:
        return answer
    text = json.dumps(answer.value, sort_keys=True) + answer.headers.get("Link", "")
    tag = f'W/"{hashlib.sha256(text.encode()).hexdigest()}"'
    known = [one.strip() for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or tag.removeprefix("W/") in known:
        return Answer(304, None, {**answer.headers, "ETag": tag})
    return Answer(200, answer.value, {**answer.headers, "ETag": tag})
