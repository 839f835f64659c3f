"""What foreign bytes are fed to: each target takes bytes, checks what came of them and returns in which way they ended.

A way is a declared error's message without its numbers, or what a value looks like; whatever else is raised is a find.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final
from urllib.parse import urlsplit

import structlog

from margod import trust
from margod.config import document
from margod.config.load import Gathering, build, contradictions
from margod.deployments.bundle import unpack
from margod.discovery.records import decode
from margod.engine import messages as m
from margod.engine.enrolment import Enrolment
from margod.engine.policy import DAY, Policy
from margod.model.capabilities import Capabilities
from margod.model.errors import TrustError
from margod.model.outcome import Kind, Outcome, Step
from margod.model.text import SHOWN_LIMIT, clean
from margod.model.wire import Answer
from margod.protocols import Context
from margod.protocols.answers import CLIENT_ID, clock_offset, retry_after
from margod.protocols.signed import Dialect, Signed
from margod.protocols.signed.manifest import Deployment, Manifest, Unacceptable, read_manifest
from margod.vault import Entry, ledger
from margod.vault import generation as generations
from margod.vault.answerlog import parse
from margod.vault.check import Damaged, NewerFormat, anyones
from tests.support.local_api import SteeredController, connected, exchange, get, serving, short_directory

Target = Callable[[bytes], object]
NOW: Final = 1_800_000_000.0
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]+|'[^']*'|\"[^\"]*\"")
_CONTEXT: Final = Context(
    b"DER", {"enrolment.json": b'{"clientId": "client-1"}'}, Capabilities(None, "Vendor", "Model", "SN-1")
)
_SIGNED: Final = Signed(Dialect())


def way_of(text: object) -> str:
    """Return a text without what differs from one input to the next."""
    return _NUMBER.sub("#", str(text))[:60]


@contextmanager
def ca() -> Iterator[Target]:
    """CA files and answers of the Certificate API, judged by a pin as well."""
    judges = (
        trust.UnverifiedPolicy("pin", ("ab" * 32,), trust.TlsSettings()).judge,
        trust.UnverifiedPolicy("first_use", (), trust.TlsSettings()).judge,
    )

    def target(data: bytes) -> object:
        ways = []
        for read in (trust.decode_certificates, trust.decode_answer, *judges):
            try:
                anchors = read(data, NOW)
            except TrustError as error:
                shown(error.message)
                ways.append(way_of(error.message.split(":")[0]))
                continue
            again = trust.decode_certificates(trust.to_pem(anchors), NOW)
            assert [anchor.der for anchor in again] == [anchor.der for anchor in anchors]
            ways.append(f"{len(anchors)} {bool(anchors[0].spki)}")
        return tuple(ways)

    yield target


def shown(text: str) -> None:
    """Require that a text can be shown to a person."""
    assert clean(text, 2_000) == " ".join(text.split()), text


def answer_of(data: bytes) -> Answer:
    """Read a status, headers and a body from bytes that look like HTTP's, whatever they are."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    digits = re.search(rb"[1-5][0-9]{2}", first)
    pairs = [line.decode("latin-1").partition(":") for line in lines[:64]]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Answer(int(digits.group()) if digits else 200, headers, body, NOW)


@contextmanager
def answer() -> Iterator[Target]:
    """A WFM's answers, at every step and in every form."""
    cases = [(step, form) for step in Step for form in _SIGNED.forms(step)]

    def target(data: bytes) -> object:
        given = answer_of(data)
        kinds = []
        for step, form in cases[len(data) % 2 :: 2]:
            outcome = _SIGNED.outcome(step, form, _CONTEXT, given)
            check(outcome, step)
            kinds.append((outcome.kind, outcome.reason.code, outcome.other_form))
        return given.status // 100, tuple(kinds)

    yield target


def check(outcome: Outcome, step: Step) -> None:
    """Require that an outcome is one that the engine may be given."""
    assert clean(outcome.detail, SHOWN_LIMIT) == outcome.detail, outcome.detail
    wait = outcome.retry_after
    assert wait is None or (math.isfinite(wait) and wait >= 0.0), wait
    if outcome.kind is Kind.ACCEPTED and step is Step.ENROL:
        client_id = _SIGNED.client_id(outcome.records)
        assert client_id is not None
        assert CLIENT_ID.fullmatch(client_id)


@contextmanager
def date() -> Iterator[Target]:
    """Retry-After, Date and retryAfterSeconds."""

    def target(data: bytes) -> object:
        text = data.decode("latin-1")
        one, two, body = [*text.split("\n", 2), "", ""][:3]
        given = Answer(503, {"retry-after": one, "date": two}, body.encode("utf-8", "replace"), NOW)
        wait, offset = retry_after(given), clock_offset(given)
        assert wait is None or (math.isfinite(wait) and wait >= 0.0), wait
        assert offset is None or math.isfinite(offset), offset
        return (wait is None, offset is None, len(str(wait)), len(str(offset)))

    yield target


@contextmanager
def txt() -> Iterator[Target]:
    """TXT records, with instance names, hosts, addresses and ports from the same bytes."""

    def target(data: bytes) -> object:
        found = [decode("WFM", "wfm.local.", ["192.0.2.1"], 443, data)]
        parts = [*data.decode("utf-8", "replace").split("\n"), "", "", "", ""][:4]
        port = int(parts[3]) if parts[3].isascii() and parts[3].isdigit() and len(parts[3]) < 12 else None
        found.append(decode(parts[0], parts[1], parts[2].split(","), port, data[: len(data) // 2]))
        for candidate in found:
            if candidate is not None:
                url = urlsplit(candidate.url())
                assert url.scheme == "https"
                assert url.hostname == candidate.host.rstrip(".")
                assert url.path == candidate.path
                assert json.dumps(candidate.document()).isascii()
                assert clean(candidate.name) == candidate.name
        return tuple((c is None, bool(c and c.path), bool(c and c.name), len(c.addresses) if c else 0) for c in found)

    yield target


@contextmanager
def mdns() -> Iterator[Target]:
    """Packets, through zeroconf and the browser into what status would list."""
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

    from margod.discovery.browser import Browser

    loop = asyncio.new_event_loop()
    raised: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, context: raised.append(context))
    browser = Browser("_margo-wfm._tcp", lambda: None)

    async def begin() -> tuple[AsyncZeroconf, AsyncServiceBrowser]:
        zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
        await zeroconf.zeroconf.async_wait_for_start()
        kind = "_margo-wfm._tcp.local."
        return zeroconf, AsyncServiceBrowser(zeroconf.zeroconf, kind, handlers=[browser._heard])

    zeroconf, listener = loop.run_until_complete(begin())
    protocol = zeroconf.zeroconf.engine.protocols[0]

    async def heard(data: bytes) -> None:
        protocol.datagram_received(data, ("127.0.0.1", 5353))
        await asyncio.sleep(0)

    def target(data: bytes) -> object:
        loop.run_until_complete(heard(data[:9000]))
        for timer in browser._later.values():
            timer.cancel()
        browser._later.clear()
        seen = browser.sightings.candidates
        json.dumps([candidate.document() for candidate in seen])
        assert not raised, raised
        ways = len(seen), len(browser._waiting), len(zeroconf.zeroconf.cache.cache)
        browser._forget()
        zeroconf.zeroconf.cache.cache.clear()
        zeroconf.zeroconf.cache.service_cache.clear()
        zeroconf.zeroconf.cache._expire_heap.clear()
        zeroconf.zeroconf.cache._expirations.clear()
        protocol.data = None
        return ways

    async def end() -> None:
        await listener.async_cancel()
        await zeroconf.async_close()

    try:
        yield target
    finally:
        loop.run_until_complete(end())
        loop.close()


@contextmanager
def yaml() -> Iterator[Target]:
    """Configuration files, to the checked configuration or to its problems."""

    def target(data: bytes) -> object:
        gathering = Gathering()
        gathering.add_document(data, "margod.yaml")
        problems = [*gathering.problems, *contradictions(gathering.given)]
        for problem in problems:
            assert problem.line is None or problem.line >= 1
            shown(str(problem))
        if not problems:
            build(gathering.given, ())
        entries, _ = document.parse(data, "margod.yaml")
        return len(entries), tuple(sorted({(problem.key, way_of(problem.message)[:25]) for problem in problems})[:3])

    yield target


@contextmanager
def desired() -> Iterator[Target]:
    """Desired-state manifests, to what is wanted or why not."""

    def target(data: bytes) -> object:
        try:
            wanted = read_manifest(data)
        except Unacceptable as error:
            shown(str(error))
            return way_of(error)
        assert 1 <= wanted.version < 1 << 64
        assert len({one.deployment_id for one in wanted.deployments}) == len(wanted.deployments)
        for one in wanted.deployments:  # a digest names a file, an id is a segment of a path
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", one.digest)
            assert "/" not in one.deployment_id
            assert one.deployment_id not in {"", ".", ".."}
        return len(wanted.deployments), wanted.bundle is None

    yield target


@contextmanager
def bundle() -> Iterator[Target]:
    """Bundles, as they are and in gzip: a part of what the manifest names, or why not."""
    texts = (b"kind: A\n", b"kind: B\n")
    wanted = [f"sha256:{hashlib.sha256(text).hexdigest()}" for text in texts]
    named = tuple(Deployment(f"id-{at}", digest) for at, digest in enumerate(wanted))

    def target(data: bytes) -> object:
        ways = []
        for archive in (data, gzip.compress(data, 1, mtime=0)):
            digest = f"sha256:{hashlib.sha256(archive).hexdigest()}"
            try:
                found = dict(unpack(archive, Manifest(1, digest, named)))
            except Unacceptable as error:
                shown(str(error))
                ways.append(way_of(error))
                continue
            assert found == dict(zip(wanted, texts, strict=True))
            ways.append("whole")
        return tuple(ways)

    yield target


@contextmanager
def manifest() -> Iterator[Target]:
    """Vault manifests, as they are and with a sum that holds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        directory = Path(name) / "gen-000001"
        directory.mkdir(mode=0o700)
        (directory / "identity.key").write_bytes(b"key")

        def one(data: bytes) -> object:
            (directory / "manifest.json").write_bytes(data)
            try:
                found = generations.read_generation(Path(name), 1, anyones)
            except (Damaged, NewerFormat) as error:
                return way_of(error)
            return tuple(found.records)

        def target(data: bytes) -> object:
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(data)
                if isinstance(value, dict):
                    value.pop("sum", None)
                    with contextlib.suppress(UnicodeError):
                        value["sum"] = generations._sum(value)
                        return one(data), one(json.dumps(value).encode())
            return one(data), None

        yield target


@contextmanager
def log() -> Iterator[Target]:
    """The answer log and the folded ledger, as they are and with sums that hold, down to what the engine is told."""
    from margod.vault import answerlog

    def target(data: bytes) -> object:
        sealed = b"".join(answerlog._sum(line[33:]) + b" " + line[33:] + b"\n" for line in data.split(b"\n"))
        ways = []
        for given in (data, sealed):
            parsed = parse(given)
            entries: list[Entry] = [line.entry for line in parsed.lines]
            history = ledger.summarise({ledger.LEDGER: data}, entries, reissued=False)
            ledger.fold(history)
            ways.append((len(entries), parsed.damaged > 0, parsed.newer, history.settled, history.memory is None))
        return tuple(ways)

    yield target


@contextmanager
def memory() -> Iterator[Target]:
    """runtime.json, down to an engine that goes on where it says."""
    facts = m.Facts(None, "b", True, True, True, "1", "1", True, forms={Step.ENROL: ("spec",), Step.REPORT: ("spec",)})
    settings = Policy(upkeep={Step.CONFIRM: DAY})

    def target(data: bytes) -> object:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return "no JSON"
        found = ledger.from_text(value) if isinstance(value, dict) else None
        if found is None:
            return "nothing"
        ways = []
        for enrolled, reported in ((False, ""), (True, ""), (True, "1")):
            under = replace(facts, enrolled=enrolled, reported=reported)
            now = m.Now(5.0, NOW)
            engine = Enrolment(settings, Random(1), now)
            engine.handle(m.Examined(under, m.History(memory=replace(found, key=under.key))), now)
            due = engine.due
            assert due is None or 5.0 <= due <= 5.0 + 1.2 * DAY, due
            condition = engine.condition(now)
            again = engine.memory(now)
            assert again is not None
            assert ledger.from_text(ledger.to_text(again)) is not None
            ways.append((condition.state, due is None or due > 5.0))
        return tuple(ways)

    yield target


@contextmanager
def local() -> Iterator[Target]:
    """Requests on the local sockets: an answer of ours or a hang-up, and the next caller is served."""
    loop = asyncio.new_event_loop()
    raised: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, context: raised.append(context))
    stack = contextlib.AsyncExitStack()
    count = [0]

    async def ask(path: Path, data: bytes) -> bytes:
        async with connected(path) as (reader, writer):
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                answer = asyncio.ensure_future(reader.read(4096))
                for _ in range(100):  # turns of the loop that both ends are in, not time: it may be slow
                    await asyncio.sleep(0)
                    if answer.done():
                        return answer.result()
                answer.cancel()
        return b""

    logging = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    with short_directory() as directory:
        loop.run_until_complete(stack.enter_async_context(serving(directory, SteeredController())))
        sockets = (directory / "status.sock", directory / "admin" / "admin.sock")

        def target(data: bytes) -> object:
            count[0] += 1
            received = loop.run_until_complete(ask(sockets[count[0] % 2], data))
            assert not raised, raised
            status = received[:12]
            assert not status or re.fullmatch(rb"HTTP/[0-9]\.[0-9] ([1-4][0-9]{2}|50[345])", status), received
            if count[0] % 500 == 0:
                served = loop.run_until_complete(exchange(sockets[0], get("/v1/status")))
                assert served.startswith(b"HTTP/1.1 200"), served
            return status

        try:
            yield target
        finally:
            loop.run_until_complete(stack.aclose())
            loop.close()
            structlog.configure(**logging)


TARGETS: Final[dict[str, Callable[[], AbstractContextManager[Target]]]] = {
    "answer": answer,
    "date": date,
    "ca": ca,
    "txt": txt,
    "mdns": mdns,
    "log": log,
    "manifest": manifest,
    "desired": desired,
    "bundle": bundle,
    "memory": memory,
    "yaml": yaml,
    "local": local,
}
