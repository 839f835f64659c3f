"""Smart HTTP by dulwich, over a connection of ours: one origin, one CA bundle, no redirect, every byte counted."""

from __future__ import annotations

import base64
import http.client
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from typing import Any, Final
from urllib.parse import urlsplit

from dulwich.client import AbstractHttpGitClient
from dulwich.errors import GitProtocolError, HangupException, NotGitRepository

from margod import __version__
from margod.gitfetch.connection import IDLE, Connection, context_of
from margod.gitfetch.job import (
    BUSY,
    MALFORMED,
    NO_BRANCH,
    NOT_FOUND,
    REDIRECTED,
    TOO_LARGE,
    UNAUTHORIZED,
    UNREACHABLE,
    UNTRUSTED,
    Job,
    Refusal,
)
from margod.model.httpdate import asked_wait
from margod.model.redact import hide
from margod.model.text import clean

_ID: Final = re.compile(rb"[0-9a-f]{40}")


class Repository:
    """One repository, for one job. Calls raise Refusal and nothing else."""

    def __init__(self, job: Job) -> None:
        """Nothing is asked yet."""
        self._job = job
        self._client = _Client(job)
        self._path = urlsplit(job.url).path

    def newest(self) -> tuple[str, bytes | None]:
        """Return the commit that the branch points to, and a pack of everything in it; None if it is the known one."""
        found: list[str] = []

        def choose(refs: Mapping[bytes, bytes]) -> list[bytes]:
            found.append(self._tip(refs))
            return [] if found == [self._job.known] else [found[0].encode()]

        pack = self._fetch(choose, "")
        return found[0], pack or None

    def between(self, known: str, commit: str) -> bytes:
        """Return a pack of the commits that lead from a known one to another, or to the beginning if none do."""
        return self._fetch(lambda _refs: [commit.encode()], known)

    def _tip(self, refs: Mapping[bytes, bytes]) -> str:
        tip = refs.get(b"refs/heads/" + self._job.branch.encode())
        if tip is None:
            raise Refusal(NO_BRANCH, f"the repository has no branch {clean(self._job.branch, 80)}")
        if not _ID.fullmatch(tip):
            raise Refusal(MALFORMED, "the repository's objects are not named by SHA-1")
        return tip.decode("ascii")

    def _fetch(self, choose: Callable[[Mapping[bytes, bytes]], list[bytes]], known: str) -> bytes:
        received = bytearray()

        def receive(data: bytes) -> int:
            if len(received) + len(data) > self._job.limits.pack:
                raise Refusal(TOO_LARGE, f"the pack has more than {self._job.limits.pack} bytes")
            received.extend(data)
            return len(data)

        def wanted(refs: Any, depth: int | None = None) -> Any:  # noqa: ARG001 - dulwich's own names
            return choose(refs)

        with _translated(self._job):
            self._client.fetch_pack(
                self._path,
                wanted,
                _Haves(known),  # type: ignore[arg-type]  # dulwich names a whole graph; these methods are what it calls
                receive,
                depth=None if known else 1,
                ref_prefix=[b"refs/heads/" + self._job.branch.encode()],
                filter_spec=b"tree:0" if known else None,
            )
        return bytes(received)


class _Haves:
    """What we say that we have: nothing, or one commit.

    That what is behind it is not here is not said: only the commits from there on are wanted, and some servers take a
    shallow client for one that wants a depth.
    """

    def __init__(self, commit: str) -> None:
        self._left = [commit.encode()] if commit else []
        self.shallow: set[bytes] = set()
        self.unshallow: set[bytes] = set()

    def __next__(self) -> bytes | None:
        return self._left.pop() if self._left else None

    next = __next__

    def ack(self, *_: object) -> None:
        pass

    def nak(self) -> None:
        pass


class _Answer:
    """What dulwich wants to know of a response."""

    redirect_location = ""

    def __init__(self, response: http.client.HTTPResponse, connection: http.client.HTTPSConnection) -> None:
        self.status = response.status
        self.content_type = response.getheader("Content-Type")
        self._connection = connection

    def close(self) -> None:
        self._connection.close()


class _Client(AbstractHttpGitClient):
    """dulwich's client with our own way to the network. It reads no configuration and knows no environment."""

    def __init__(self, job: Job) -> None:
        place = urlsplit(job.url)
        super().__init__(f"https://{place.netloc}/", thin_packs=False, quiet=True)
        self._job = job
        self._origin = (place.hostname, place.port or 443)
        self._context = context_of(job)
        self._headers = {
            "Authorization": f"Basic {_basic(job)}",
            "User-Agent": f"git/2 (margod/{__version__})",  # some servers speak smart HTTP to git/ alone
            "Accept-Encoding": "identity",
        }

    @staticmethod
    def _warn_filter_objects() -> None:
        """Without filters the pack is larger, and bounded all the same."""

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,  # noqa: ARG002 - dulwich's own name
    ) -> Any:
        place = urlsplit(url)
        if place.scheme != "https" or (place.hostname, place.port or 443) != self._origin:
            raise Refusal(REDIRECTED, "the server sends to another host, which is not followed")
        body = data if data is None or isinstance(data, bytes) else b"".join(data)
        connection = Connection(self._job, self._context)
        target = f"{place.path}?{place.query}" if place.query else place.path
        connection.request("POST" if body is not None else "GET", target, body, {**(headers or {}), **self._headers})
        response = connection.getresponse()
        answer = _Answer(response, connection)
        try:
            _check(answer.status, response.headers, self._job)
        except Refusal:
            answer.close()
            raise
        if not (answer.content_type or "").startswith("application/x-git-"):
            answer.close()
            said = clean(_shown(answer.content_type or "nothing", self._job), 60)
            raise Refusal(MALFORMED, f"no Git repository answers there, but {said}")
        limits = self._job.limits
        if body is None or b"command=ls-refs" in body[:64]:
            return answer, self._counted(response, limits.refs)
        # The frames of a pack add a few bytes in each 64 KiB, and the server's progress is told between them.
        return answer, self._counted(response, limits.pack + (limits.pack >> 6) + limits.refs)

    def _counted(self, response: http.client.HTTPResponse, most: int) -> Callable[[int], bytes]:
        left = most

        def counting(size: int) -> bytes:
            nonlocal left
            with _translated(self._job):  # here: of an OSError dulwich would make a fault of the server
                data = response.read(size)
                if len(data) < size and response.length:
                    raise http.client.IncompleteRead(b"")
            left -= len(data)
            if left < 0:
                raise Refusal(TOO_LARGE, f"the server says more than {most} bytes at once")
            return data

        return counting


def _check(status: int, headers: Message, job: Job) -> None:
    if status == 200:
        return
    said = f"HTTP {status}"
    if status in (401, 403):
        raise Refusal(UNAUTHORIZED, said)
    if status in (404, 410):
        raise Refusal(NOT_FOUND, said)
    if 300 <= status < 400:
        raise Refusal(REDIRECTED, f"{said}, to {_shown(headers.get('Location', 'nowhere'), job)}")
    if status in (408, 429) or status >= 500:
        now = time.time() if job.tls.now is None else job.tls.now
        raise Refusal(BUSY, said, asked_wait(headers.get("Retry-After", ""), headers.get("Date", ""), now))
    raise Refusal(MALFORMED, said)


def _shown(text: str, job: Job) -> str:
    """Return what a server or the proxy says, fit to be shown: without what it was told, which it may say back."""
    return clean(hide(text, job.token, *_of_proxy(job)))


def _of_proxy(job: Job) -> tuple[str, ...]:
    """Return what the proxy is told of its user: as it is sent, the user with his password, the password alone."""
    sent = job.proxy.authorization.removeprefix("Basic ") if job.proxy else ""
    pair = base64.b64decode(sent).decode("utf-8", "replace")
    return sent, pair, pair.partition(":")[2]


def _basic(job: Job) -> str:
    return base64.b64encode(f"{job.user}:{job.token}".encode()).decode("ascii")


class _translated:  # noqa: N801 - it reads as a word
    """Turns what dulwich, http.client and OpenSSL raise into Refusal."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> None:
        """Nothing is to be done before."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        match error:
            case None | Refusal() | MemoryError():
                return
            case ssl.SSLCertVerificationError():
                raise Refusal(UNTRUSTED, clean(error.verify_message)) from None
            case TimeoutError():
                raise Refusal(UNREACHABLE, f"nothing was heard for {IDLE:.0f} s") from None
            case http.client.RemoteDisconnected() | http.client.IncompleteRead():
                raise Refusal(UNREACHABLE, "the connection was cut") from None
            case http.client.HTTPException():
                raise Refusal(
                    MALFORMED, f"what answers does not speak HTTP as it should ({type(error).__name__})"
                ) from None
            case OSError():
                raise Refusal(UNREACHABLE, _shown(error.strerror or str(error), self._job)) from None
            case GitProtocolError() | HangupException() | NotGitRepository():
                raise Refusal(MALFORMED, _shown(str(error), self._job)) from None
            case AssertionError() | ValueError() | LookupError() | TypeError() | AttributeError() | EOFError():
                # What dulwich raises for bytes that it did not expect.
                raise Refusal(MALFORMED, f"what answers does not speak Git ({type(error).__name__})") from None
