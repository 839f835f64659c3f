"""Where secrets end up: a whole device beside a WFM that says back whatever it is told, and everything that is shown.

The WFM is in this process and knows every secret from the beginning. It onboards the device, gives bearer tokens that
hold for a second, and then refuses in every way it can: in bodies, headers, reason phrases and broken HTTP, with the
secret in them in every writing. Journal, sockets, commands, arguments and environments of daemon and children, and the
files outside of the vault's records are searched.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import resource
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

from margod.gitfetch import Failed, Job, Limits, fetch
from tests.faults.campaign import Run, promise
from tests.support.daemon import QUIET, TIMEOUT, Daemon, FreshDaemon
from tests.support.rawserver import Certificates, RawServer, Turn

CORES: Final = {
    "client secret": "sEcReTc0re4711xyzAB",
    "bearer token": "bEaReRc0re0815uvwCD",
    "Git token": "gItToKc0re1234rstEF",
    "token that is handed over": "hAnDeDc0re9876mnoGH",
    "token in a file": "fIlEdTc0re5432jklIJ",
}
"""What is searched for. Around it stand characters that every writing writes otherwise."""
SECRET: Final = f'{CORES["client secret"]}+/= &<"\\>%41'
BEARER: Final = f"{CORES['bearer token']}+/=&<>%41"
GIT: Final = f"{CORES['Git token']}+/=&<>%41"
HANDED: Final = f"{CORES['token that is handed over']}+/=&<>%41"
FILED: Final = f"{CORES['token in a file']}+/=&<>%41"
_VAULT: Final = re.compile(
    r"(next/)?(answer\.log|\.?gen-[0-9]+(\.new|\.old)?/(enrolment|git|git-next|former-[0-9a-f]+)\.json)"
)
"""Where they may be, below the state directory."""
Commands = tuple[tuple[str, ...], ...]
COMMANDS: Final[Commands] = (
    ("status",),
    ("status", "--json"),
    ("check",),
    ("capabilities",),
    ("config", "show"),
    ("deployments",),
)
"""Whose output is searched."""
_ADMIN: Final = "admin/admin.sock"
_CLIENT: Final = "client-0815"
_CORE_OF: Final = re.compile(r"Max core file size +([0-9a-z]+)")


def writings(secret: str) -> dict[str, str]:
    """Return a secret as a server may say it back."""
    return {
        "plain": secret,
        "JSON": json.dumps(secret)[1:-1],
        "JSON, every character": "".join(f"\\u{ord(each):04x}" for each in secret),
        "percent": quote(secret, safe=""),
        "form": quote_plus(secret),
        "percent, twice": quote(quote(secret, safe="")),
        "HTML": html.escape(secret),
        "base64": b64encode(secret.encode()).decode(),
        "Basic": b64encode(f"oauth2:{secret}".encode()).decode(),
        "base64url": urlsafe_b64encode(f"ab{secret}".encode()).decode().rstrip("="),
    }


def found_in(data: bytes) -> list[str]:
    """Return which secrets are in these bytes, in any writing, whole or their first half."""
    text = data.decode("utf-8", "replace")
    views = {text, unquote(text), unquote(unquote(text)), re.sub(r"\\+u00([0-9a-f]{2})", _character, text)}
    found = []
    for name, core in CORES.items():
        parts = {core, core[:10], core.encode().hex()}
        for before in range(3):  # what stands before it shifts base64
            whole = b64encode(bytes(before) + core.encode()).decode()
            parts.add(whole[(0, 2, 3)[before] : len(core) * 4 // 3 - 3])
        if any(part in view for part in parts for view in views):
            found.append(name)
    return found


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


class Echo:
    """The WFM. `token` and `call` say what the token endpoint and the other routes do; None: what they should."""

    def __init__(self) -> None:
        self.token: Callable[[Turn], Awaitable[None]] | None = None
        self.call: Callable[[Turn], Awaitable[None]] | None = None
        self.asked: dict[str, int] = {}
        self.root = ""
        self.url = ""
        self.fetched: set[str] = set()
        """The tokens that the repository was asked with."""
        self.look: Callable[[], None] = lambda: None
        """What is done while a fetching process waits for its answer: bounded by then, and sure to be there."""

    async def __call__(self, turn: Turn) -> None:
        """Answer."""
        _, target, _ = turn.request.line.split(" ")
        route = "git" if target.startswith("/git/") else target.partition("?")[0]
        self.asked[route] = self.asked.get(route, 0) + 1
        if route == "git":
            self.look()
        if route == "/token":
            await (self.token or self._grant)(turn)
        elif route == "/onboarding/":
            await self._answer(turn, 201, self._enrolled())
        elif self.call is not None:
            await self.call(turn)
        elif route == "/onboarding/git":
            await self._answer(turn, 200, self._repository())
        elif route == "git":
            await self._refuse(turn)
        else:
            await self._answer(turn, 201, {})

    async def _refuse(self, turn: Turn) -> None:
        """Say to whoever fetches which token he has, and which there are besides."""
        given = dict(turn.request.headers).get("Authorization", "").removeprefix("Basic ")
        password = b64decode(given).decode().partition(":")[2]
        self.fetched.add(password)
        known = f"{password}, not {GIT}"
        await turn.answer(401, known.encode(), f"WWW-Authenticate: Basic realm={quote(password)}", f"X-Token: {known}")

    async def _grant(self, turn: Turn) -> None:
        await self._answer(turn, 200, {"access_token": BEARER, "token_type": "Bearer", "expires_in": 1})

    def _enrolled(self) -> dict[str, object]:
        known = {"clientId": _CLIENT, "clientSecret": SECRET, "tokenEndpointUrl": f"{self.url}/token"}
        return {**known, "gitRepository": self._repository()}

    def _repository(self) -> dict[str, object]:
        return {"url": f"{self.url}/git/r.git", "accessToken": GIT, "expiresAt": 4_000_000_000}

    async def _answer(self, turn: Turn, status: int, document: object) -> None:
        await turn.answer(status, json.dumps(document).encode(), "Content-Type: application/json")


def refusals(secret: str) -> Iterator[tuple[str, Callable[[Turn], Awaitable[None]]]]:
    """Yield every way to refuse a request and say a secret back."""
    for name, written in writings(secret).items():
        yield f"body, {name}", _answering(400, written)
        yield f"JSON, {name}", _answering(401, json.dumps({"error": "x", "error_description": f"bad {written} here"}))
        yield f"JSON as it is, {name}", _answering(400, f'{{"error": "{written}"}}')
        yield f"title, {name}", _answering(500, f"<html><title>{written}</title>")
        line = " ".join(written.split())
        yield f"Location, {name}", _answering(302, "", f"Location: https://elsewhere.example/?s={line}")
        yield f"reason phrase, {name}", _raw(f"HTTP/1.1 400 {line}\r\nContent-Length: 0\r\n\r\n")
        yield f"broken status, {name}", _raw(f"HTTP/1.1 {line}\r\n\r\n")
        yield f"broken header, {name}", _raw(f"HTTP/1.1 200 OK\r\n{line}\r\nX Y: {line}\r\n\r\n")
        yield f"broken length, {name}", _raw(f"HTTP/1.1 200 OK\r\nContent-Length: {line}\r\n\r\n")
        yield f"broken chunk, {name}", _raw(f"HTTP/1.1 400 x\r\nTransfer-Encoding: chunked\r\n\r\n{line}\r\n")
        yield f"cut in the middle, {name}", _answering(400, "x" * 185 + written)
        yield f"type, {name}", _answering(400, "x", f"Content-Type: {line}")


def _answering(status: int, body: str, *headers: str) -> Callable[[Turn], Awaitable[None]]:
    async def answer(turn: Turn) -> None:
        await turn.answer(status, body.encode(), *headers)

    return answer


def _raw(data: str) -> Callable[[Turn], Awaitable[None]]:
    async def answer(turn: Turn) -> None:
        await turn.send(data.encode("utf-8"))
        turn.close()

    return answer


class Watch:
    """Arguments and environment of a process and of its children, looked at again and again."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.seen: dict[str, bytes] = {}
        self.cores: dict[str, str] = {}
        self.children: set[int] = set()

    async def go_on(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(0.02)  # a process that begins tells nobody

    def look(self) -> None:
        """Look once."""
        todo = [self._pid]
        while todo:
            pid = todo.pop()
            with suppress(OSError):
                todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                self.children |= {pid} - {self._pid}
                for name in ("cmdline", "environ"):
                    data = Path(f"/proc/{pid}/{name}").read_bytes()
                    self.seen[f"{name} of {pid}: {data[:40]!r}"] = data
                who = "daemon" if pid == self._pid else "child"
                match = _CORE_OF.search(Path(f"/proc/{pid}/limits").read_text())
                if match and self.cores.get(who) not in {"0", "1"}:  # it is so once the process is under way
                    self.cores[who] = match[1]


async def campaign(
    place: Path, run: Run, *, every: int = 1, commands: Commands = COMMANDS, env: dict[str, str] | None = None
) -> None:
    """Take a device through it all and search; `every`: one in so many of the refusals. Raises Broken."""
    certificates, echo = Certificates(), Echo()
    (place / "ca.pem").write_bytes(certificates.ca.cert_pem.bytes())
    async with RawServer(echo, context=certificates.server()) as server:
        echo.url = server.url
        yaml = f"wfm: {{url: '{server.url}', protocol: token, timeout: 5s}}\n"
        yaml += f"trust: {{ca_file: {place / 'ca.pem'}}}\nschedule: {{polling: {{rate: 10s}}}}\n{QUIET}\n"
        (place / "git-token").write_text(f"{FILED}\n")
        yaml += f"desired_state: {{git: {{token_file: {place / 'git-token'}}}}}\n"
        yaml += "state: {allow_volatile: true}\ndoor: {allow: GET /anything}\n"
        daemon = FreshDaemon(place, yaml=yaml)
        with cores_allowed():
            await daemon.start(env=env)
        assert daemon.process is not None
        watch, shown = Watch(daemon.process.pid), [b""]
        echo.look = watch.look
        watching = asyncio.ensure_future(watch.go_on())
        try:
            await daemon.until("enrolled")
            handed = await daemon.answer("PUT", "/v1/git-token", json.dumps({"accessToken": HANDED}), socket=_ADMIN)
            promise(handed.status in {200, 409}, f"a token that the repository refuses: {handed.status}")
            _search("a token was handed over", handed.body.encode(), daemon, shown)
            for number, (name, refusal) in enumerate(refusals(SECRET)):
                if number % every == run.seed % every:
                    await _provoke(daemon, echo, "token", refusal)
                    run.count("refusals with the client secret")
                    _search(f"{name} of the token endpoint", await _documents(daemon), daemon, shown)
            for number, (name, refusal) in enumerate(refusals(BEARER)):
                if number % every == run.seed % every:
                    await _provoke(daemon, echo, "call", refusal)
                    run.count("refusals with the bearer token")
                    _search(f"{name} of a call", await _documents(daemon), daemon, shown)
            shown.append(await _commands(daemon, commands))
        finally:
            watching.cancel()
            await daemon.stop()
    _search("the commands", shown[-1], daemon, shown)
    _search_files(daemon, run)
    for what, data in watch.seen.items():
        promise(not found_in(data), f"{found_in(data)} in {what}")
    run.count("arguments and environments", len(watch.seen))
    run.count("bytes shown", sum(map(len, shown)))
    for who, size in watch.cores.items():
        promise(size in {"0", "1"}, f"a core of the {who} may have {size} bytes, with all secrets in it")
    promise(echo.asked.get("/token", 0) > 1, "no token was ever renewed")
    promise({GIT, HANDED, FILED} <= echo.fetched, f"{len(echo.fetched)} tokens were tried, not all")


async def fetches(place: Path, run: Run, *, every: int = 1) -> None:
    """Have the fetching process refused in every way, and search what it brings and what it looks like."""
    certificates, echo = Certificates(), Echo()
    watch = Watch(os.getpid())
    async with RawServer(echo, context=certificates.server()) as server:
        ca = certificates.ca.cert_pem.bytes().decode()
        job = Job(f"{server.url}/git/r.git", "main", ca, "oauth2", GIT, limits=Limits(seconds=60.0))
        echo.look = watch.look
        watching = asyncio.ensure_future(watch.go_on())
        try:
            for number, (name, echo.call) in enumerate(refusals(GIT)):
                if number % every == run.seed % every:
                    with cores_allowed():
                        result = await fetch(job)
                    promise(isinstance(result, Failed), f"{name}: {result}")
                    promise(not found_in(repr(result).encode()), f"{name}: {result}")
                    run.count("refusals with the Git token")
        finally:
            watching.cancel()
    promise(watch.children, "no process was seen")
    for what, data in watch.seen.items():
        mine = f" of {os.getpid()}:" in what
        promise(mine or not found_in(data), f"{found_in(data)} in {what}")
    promise(watch.cores.get("child") in {"0", "1"}, f"a core of the child may have {watch.cores.get('child')} bytes")


async def _provoke(daemon: Daemon, echo: Echo, what: str, refusal: Callable[[Turn], Awaitable[None]]) -> None:
    """Have the device meet one refusal, by a call of another program and by a person's retry."""
    before = echo.asked.get("/token", 0) if what == "token" else sum(echo.asked.values())
    setattr(echo, what, refusal)
    try:
        async with asyncio.timeout(TIMEOUT):
            while (echo.asked.get("/token", 0) if what == "token" else sum(echo.asked.values())) <= before:
                await daemon.retry()
                reply = await daemon.answer("GET", "/v1/wfm/anything")
                if found := found_in(repr(reply).encode()):
                    promise(False, f"{found} in what an agent is answered: {reply}")
                await asyncio.sleep(0.05)  # a token holds for a second, whoever asks
    finally:
        setattr(echo, what, None)


async def _documents(daemon: Daemon) -> bytes:
    paths = ("/v1/status", "/v1/identity", "/v1/capabilities", "/v1/health", "/v1/deployments")
    return "\n".join([json.dumps(await daemon.get(path), ensure_ascii=False) for path in paths]).encode()


async def _commands(daemon: Daemon, commands: Commands) -> bytes:
    shown = []
    for words in commands:
        _, out, error = await daemon.command(*words)
        shown.append(out + error)
    return "\n".join(shown).encode()


def _search(after: str, data: bytes, daemon: Daemon, shown: list[bytes]) -> None:
    """Search what was shown and what the journal has said since the last search. Raises Broken."""
    journal = "\n".join(daemon.journal).encode()
    new = journal[len(shown[0]) :]
    shown[0] = journal
    shown.append(data)
    for where, part in (("the journal", new), ("what is shown", data)):
        if found := found_in(part):
            line = next((line for line in part.split(b"\n") if found_in(line)), b"")
            promise(False, f"{found} in {where} after {after}: {line[:400].decode(errors='replace')}")


def _search_files(daemon: Daemon, run: Run) -> None:
    """Search every file of the device but the vault's records of an enrolment, which have to have them."""
    kept = set()
    for root in (daemon.state, daemon.runtime, daemon.config):
        for path in [root, *root.rglob("*")]:
            if path.is_symlink() or not path.is_file():
                continue
            found = found_in(path.read_bytes()) or found_in(os.fsencode(path))
            name = str(path.relative_to(daemon.state)) if path.is_relative_to(daemon.state) else str(path)
            if _VAULT.fullmatch(name):
                kept |= set(found)
                promise(path.stat().st_mode & 0o077 == 0, f"{name} is for others to read")
            else:
                promise(not found, f"{found} in {name}")
            run.count("files searched")
    promise("client secret" in kept, f"the vault has only {kept}")
    promise("bearer token" not in kept, "the bearer token is in the vault")


def leaks(run: Run) -> None:
    """Take one device through every refusal."""
    every = max(1, round(1 / run.scale / 3))
    asyncio.run(campaign(run.place, run, every=every))
    asyncio.run(fetches(run.place, run, every=every))


@contextmanager
def cores_allowed() -> Iterator[None]:
    """Let the processes that are started here leave cores, as far as this one may."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def sabotaged(place: Path, *lines: str) -> dict[str, Any]:
    """Return an environment in which every interpreter begins with these lines."""
    (place / "sitecustomize.py").write_text("\n".join(lines))
    return {"PYTHONPATH": str(place)}
