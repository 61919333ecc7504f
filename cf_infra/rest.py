"""A JSON service behind one address, asked with care: it waits for limits, gives up in the end, and trusts no answer.

What comes back may be hostile or broken: its size is bounded, its depth too (orjson), a redirect is followed to the
same address only, so the token goes nowhere else, and the token is masked in every text that leaves.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import orjson

from cf_infra import __version__
from cf_infra.diagnostics import Diagnostic, Failure, some
from cf_infra.files import read_regular, write
from cf_infra.keyprovider import command_environment
from cf_infra.mask import Masker

if TYPE_CHECKING:
    import requests

TIMEOUT = (10.0, 30.0)
"""Seconds to be connected, and seconds of silence, until an answer is given up."""
LONGEST_ANSWER = 120.0
"""Seconds that one answer may take from its first byte to its last."""
LARGEST = 64 << 20
"""Bytes of an answer, unpacked: GitHub's largest are files of 1 MB and lists of 100 repositories."""
PATIENCE = 900.0
"""Seconds of waiting in one request, all together: a limit that lasts longer ends the run and says until when."""
BACKOFF = (1.0, 2.0, 4.0)
"""Seconds before each further try where the service fails; then it is given up."""
REDIRECTS = 5
LOCAL = ("127.0.0.1", "::1", "localhost")
DIRECT = {"http": "", "https": ""}
"""For requests: no proxy, whatever the environment says."""
KEPT = 300
"""Characters of a service's own words that a message shows."""
COMMAND_TIMEOUT = 60.0

Say = Callable[[str], None]
Pause = Callable[["Answer"], float | None]
"""Seconds that an answer asks us to wait before the same request; None if it asks for none."""


@dataclass(frozen=True)
class Token:
    """A token, and what messages call it: `GITHUB_TOKEN`, `gh auth token`."""

    value: str = field(repr=False)
    named: str


@dataclass(frozen=True)
class Answer:
    """What came back. Status 0: nothing did, and `words` says why. `value` is None where there was no JSON."""

    status: int
    headers: Mapping[str, str]
    value: Any = None
    words: str = ""
    is_json: bool = True


@dataclass(frozen=True)
class Known:
    """An answer that is asked for again with its mark: unchanged, it costs nothing of the limit."""

    etag: str
    link: str
    value: Any


def is_local(address: str) -> bool:
    """Is it an address on this machine?"""
    return urlsplit(address).hostname in LOCAL


def token_from_variable(variable: str, environ: Mapping[str, str] | None = None) -> Token:
    """The token in the environment. Raises Failure("no-token")."""
    value = (os.environ if environ is None else environ).get(variable, "").strip()
    if not value:
        hint = f"put one there in a way that your shell does not remember:\nread -rs {variable} && export {variable}"
        raise Failure(
            Diagnostic("no-token", detail=f"The variable {variable} is empty or not set.", hint=hint)
        )
    return _checked(Token(value, variable))


def token_from_command(argv: Sequence[str], variables: Sequence[str] = ()) -> Token:
    """The token that a command prints, run without a shell; it has 60 seconds. Raises Failure("no-token").

    `variables`: what it may have of our environment beside what every command may.
    """
    named = " ".join(argv)[:80]
    why = ""
    try:
        done = subprocess.run(
            argv,
            env=command_environment(os.environ, variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"gave no answer in {COMMAND_TIMEOUT:.0f} s"
    except OSError as error:
        why = f"cannot be started: {error.strerror}"
    else:
        value = done.stdout.decode("utf-8", "replace").strip()
        if not done.returncode and value:
            return _checked(Token(value, named))
        # What it printed is not shown: it may be a part of the token.
        why = f"ended with exit status {done.returncode}" if done.returncode else "printed nothing"
    raise Failure(Diagnostic("no-token", detail=f"`{named}` {why}.", hint=f"run it by hand:\n{named}"))


def _checked(token: Token) -> Token:
    if re.fullmatch(r"[!-~]{1,1024}", token.value):
        return token
    detail = f"What {token.named} gives is no token: it has blanks, several lines or other characters than a token."
    raise Failure(Diagnostic("no-token", detail=detail, hint="give the token alone, on one line"))


class Service:
    """One service and one login. `ask` raises Failure: token-refused, rate-limited, service-silent, service-answer.

    `known`: answers by address that are asked for again only if they changed. `requests`: how many were sent.
    """

    def __init__(
        self,
        name: str,
        base: str,
        token: Token,
        headers: Mapping[str, str],
        *,
        say: Say = lambda _text: None,
        pause: Pause = lambda _answer: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = PATIENCE,
    ) -> None:
        self.name = name
        self.base = base.rstrip("/")
        self.token = token
        self.known: dict[str, Known] = {}
        self.requests = 0
        self.masker = Masker([token.value])
        self._headers = {"User-Agent": f"cf-infra/{__version__}", "Accept": "application/json", **headers}
        self._say = say
        self._pause = pause
        self._clock = clock
        self._sleep = sleep
        self._patience = patience
        self._session: requests.Session | None = None

    def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            self._session.close()

    def recall(self, path: Path) -> None:
        """Take what an earlier run kept of answers of this very service; anything else is as if nothing was kept."""
        try:
            kept = orjson.loads(read_regular(path, LARGEST, str(path)))
            if kept["base"] == self.base:
                self.known |= {address: Known(*one) for address, one in kept["known"].items()}
        except (OSError, Failure, ValueError, KeyError, TypeError, AttributeError):
            return

    def keep(self, path: Path) -> None:
        """Keep answers for the next run's `recall`: a file of the owner's alone. Raises Failure like files.write."""
        known = {address: [one.etag, one.link, one.value] for address, one in self.known.items()}
        write(path, orjson.dumps({"base": self.base, "known": known}), mode=0o600)

    # ------------------------------------------------------------------------------------------- one request

    def ask(
        self, method: str, target: str, body: Any = None, *, good: Collection[int] = (), repeat: bool = True
    ) -> Answer:
        """The answer, once it counts: 2xx, or one of the statuses in `good`.

        `target` is a path or an address of this very service. Without `repeat` a request whose answer is lost is not
        sent again: it may have been done.
        """
        address = self._address(target)
        waited, failed = 0.0, 0
        while True:
            answer = self._conditional(method, address, body)
            pause = self._limit(answer)
            if pause is None and (answer.status == 0 or answer.status >= 500) and repeat:
                failed += 1
                pause = BACKOFF[failed - 1] if failed <= len(BACKOFF) else None
                if pause is not None:
                    self._say(f"{self.name}: {self._what(answer)}; trying again in {pause:.0f} s")
            elif pause is not None:
                self._wait_or_give_up(method, address, pause, waited)
            if pause is None:
                return self._judged(method, address, answer, good)
            self._sleep(pause)
            waited += pause

    def _limit(self, answer: Answer) -> float | None:
        return self._pause(answer) if answer.status in (403, 429) else None

    def _wait_or_give_up(self, method: str, address: str, pause: float, waited: float) -> None:
        until = time.strftime("%H:%M:%S", time.gmtime(self._clock() + pause))
        if waited + pause > self._patience:
            detail = f"{self.request_name(method, address)}: {self.name} allows no more requests until {until} UTC."
            raise Failure(
                Diagnostic(
                    "rate-limited",
                    detail=f"{detail} That is longer than the {self._patience:.0f} s that a run waits.",
                    hint="run the same command again after that time: it goes on from what is there then",
                )
            )
        self._say(f"{self.name} allows no more requests for now: waiting {_span(pause)}, until {until} UTC")

    def _what(self, answer: Answer) -> str:
        return answer.words if answer.status == 0 else f"status {answer.status}"

    def _judged(self, method: str, address: str, answer: Answer, good: Collection[int]) -> Answer:
        shown = self.request_name(method, address)
        if answer.status == 0 or answer.status >= 500:
            raise Failure(self._silent(shown, answer))
        if answer.status in good or (200 <= answer.status < 300 and answer.is_json):
            return answer
        if answer.status == 401:
            detail = f"{self.name} does not take the token that {self.token.named} gives: wrong, expired or revoked."
            raise Failure(Diagnostic("token-refused", detail=detail, hint="make a new one and put it there"))
        if 200 <= answer.status < 300:
            raise Failure(self.unusable(shown, answer.words))
        raise Refused(self._refused(shown, answer), answer)

    def _silent(self, shown: str, answer: Answer) -> Diagnostic:
        host = urlsplit(self.base).netloc
        hint = f"see whether {host} can be reached from here, and run the same command again"
        return Diagnostic("service-silent", detail=f"{shown}: {self._what(answer)}.", hint=hint)

    def _refused(self, shown: str, answer: Answer) -> Diagnostic:
        said = f" It says: {answer.words}" if answer.words else ""
        return Diagnostic("service-refused", detail=f"{shown}: {self.name} answers {answer.status}.{said}")

    def unusable(self, shown: str, why: str) -> Diagnostic:
        """What to tell about an answer that is not what this service gives."""
        hint = "if something stands between here and there (a proxy, a login page), go round it"
        return Diagnostic("service-answer", detail=f"{shown}: {why}.", hint=hint)

    def request_name(self, method: str, address: str) -> str:
        """How messages call a request: without what follows the question mark."""
        path = address.removeprefix(self.base).partition("?")[0]
        return self.masker.text(f"{self.name}, {method} {path}")

    # -------------------------------------------------------------------------------------------- the network

    def _address(self, target: str) -> str:
        if target.startswith("/"):
            return self.base + target
        if not self._is_own(target):
            raise Failure(self.unusable(self.name, f"it leads to {urlsplit(target).netloc or 'nowhere'}"))
        return target

    def _is_own(self, address: str) -> bool:
        here, there = urlsplit(self.base), urlsplit(address)
        return (here.scheme, here.netloc) == (there.scheme, there.netloc)

    def _conditional(self, method: str, address: str, body: Any) -> Answer:
        plain = method == "GET" and body is None
        known = self.known.get(address) if plain else None
        extra = {"If-None-Match": known.etag} if known else {}
        answer = self._followed(method, address, body, extra)
        if known and answer.status == 304:
            return Answer(200, {"Link": known.link} if known.link else {}, known.value)
        if plain and answer.status == 200 and answer.is_json and (etag := answer.headers.get("ETag")):
            self.known[address] = Known(etag, answer.headers.get("Link", ""), answer.value)
        return answer

    def _followed(self, method: str, address: str, body: Any, extra: Mapping[str, str]) -> Answer:
        for _ in range(REDIRECTS):
            answer = self._sent(method, address, body, extra)
            place = answer.headers.get("Location")
            kept = answer.status in (307, 308) or (answer.status in (301, 302) and method == "GET")
            if not (kept and place):
                return answer
            address = urljoin(address, place)
            if not self._is_own(address):
                why = f"it redirects to {urlsplit(address).netloc}, and the token is for {urlsplit(self.base).netloc}"
                raise Failure(self.unusable(self.name, self.masker.text(why)))
        return replace(answer, status=0, words=f"more than {REDIRECTS} redirects")

    def _sent(self, method: str, address: str, body: Any, extra: Mapping[str, str]) -> Answer:
        import requests

        session = self._session = self._session or self._opened()
        headers = dict(extra)
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.requests += 1
        try:
            with session.request(
                method,
                address,
                data=None if body is None else orjson.dumps(body),
                headers=headers,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
                # What is on this machine is not asked through a proxy on another one.
                proxies=DIRECT if is_local(self.base) else None,
            ) as response:
                return self._read(response)
        except requests.RequestException as error:
            return Answer(0, {}, words=self.masker.text(_why(error)))

    def _opened(self) -> requests.Session:
        import requests

        session = requests.Session()
        session.headers.update(self._headers)
        # As `auth` and not as a header: requests would let a .netrc take a header's place.
        session.auth = _Bearer(self.token.value)
        session.cookies.set_policy(_no_cookies())
        return session

    def _read(self, response: requests.Response) -> Answer:
        data, started = bytearray(), time.monotonic()
        for chunk in response.iter_content(1 << 16):
            data += chunk
            if len(data) > LARGEST:
                raise Failure(self.unusable(self.name, f"an answer has more than {LARGEST >> 20} MB"))
            if time.monotonic() - started > LONGEST_ANSWER:
                return Answer(0, {}, words=f"an answer took more than {LONGEST_ANSWER:.0f} s")
        headers = response.headers
        if not data:
            return Answer(response.status_code, headers)
        try:
            # Masked as text: a value may be nested deeper than Python can walk.
            value = orjson.loads(self.masker.text(data.decode()))
        except ValueError:
            return Answer(response.status_code, headers, words=self._no_json(headers), is_json=False)
        return Answer(response.status_code, headers, value, _words(value))

    def _no_json(self, headers: Mapping[str, str]) -> str:
        kind = headers.get("Content-Type", "").partition(";")[0][:50] or "something"
        return self.masker.text(f"the answer is not JSON but {kind}")


class Refused(Failure):
    """The service says no; `answer` is what it said."""

    def __init__(self, diagnostic: Diagnostic, answer: Answer) -> None:
        super().__init__(diagnostic)
        self.answer = answer


class Steps:
    """What of several steps is done already, for whoever has to know when a later one fails.

    Used as a context: a Failure that leaves it tells the steps that were done before.
    """

    def __init__(self) -> None:
        self.done: list[str] = []

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, _kind: object, fault: BaseException | None, _trace: object) -> None:
        if isinstance(fault, Failure) and self.done:
            first, *rest = fault.diagnostics
            detail = f"{first.detail}\nDone before that: {some(self.done)}."
            hint = first.hint or "run the same command again: it goes on from what is there"
            fault.diagnostics[:] = [replace(first, detail=detail, hint=hint), *rest]


class _Bearer:
    """Puts the token into a request; has no `repr` that shows it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _no_cookies() -> Any:
    from http.cookiejar import DefaultCookiePolicy

    return DefaultCookiePolicy(allowed_domains=[])


def _why(error: Exception) -> str:
    """What went wrong with a connection, without the address: the end of the chain says it best."""
    name = type(error).__name__
    if "Timeout" in name:
        return "no answer in time"
    if "SSL" in name:
        return "its certificate cannot be trusted"
    text = str(error)
    for sign, words in (
        ("Name or service", "its name is not known here"),
        ("refused", "nobody listens there"),
    ):
        if sign in text:
            return words
    return "the connection was lost"


def _words(value: Any) -> str:
    """A service's own words in an error, shortened."""
    if not isinstance(value, dict) or not isinstance(value.get("message"), str):
        return ""
    more = value.get("errors")
    faults = more if isinstance(more, list) else []
    said = [str(one.get("message") or "") for one in faults if isinstance(one, dict)]
    return " ".join(filter(None, [value["message"], *said]))[:KEPT].replace("\n", " ")


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
