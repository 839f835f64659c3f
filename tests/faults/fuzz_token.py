"""What foreign bytes are fed to in the `token` generation: answers with secrets in them, places, and all of Git.

Everywhere the device's own secret is among what the bytes may repeat, in whatever writing: it is never shown.
"""

from __future__ import annotations

import asyncio
import html
import http.client
import io
import json
import math
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha1
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit
from zlib import compress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from margod.devwfm.token_payload import PayloadRefused, verify_payload
from margod.engine.bearer import LONGEST, SHORTEST, Bearer, lifetime
from margod.gitfetch import answer, child, wire
from margod.gitfetch.job import CODES, Failed, Fetched, Job, Limits, Refusal
from margod.gitfetch.pack import BLOB, COMMIT, OFS_DELTA, REF_DELTA, TREE, read_pack
from margod.gitfetch.trees import descends, files_of, tree_of
from margod.model.bearer import Grant
from margod.model.capabilities import Capabilities
from margod.model.outcome import Kind, Outcome, Step
from margod.model.text import SHOWN_LIMIT, clean
from margod.model.wire import Answer
from margod.protocols import ENROLMENT, Context
from margod.protocols.answers import CLIENT_ID
from margod.protocols.token import Token
from margod.protocols.token.credentials import (
    GIT,
    SECRET,
    TOKEN,
    Credentials,
    GitAccess,
    stored_access,
    stored_credentials,
)
from margod.protocols.token.generation import read_git_answer
from margod.protocols.token.oauth import read_grant, token_request
from margod.protocols.token.origins import LONGEST as LONGEST_URL
from margod.protocols.token.origins import NotUsable, Origins, Place, read_place
from tests.faults.fuzz_targets import NOW, Target, answer_of, shown, way_of

OWN: Final = "https://wfm.example:8443/prefix"
ORIGINS: Final = Origins.of(OWN, ["login.example", "[2001:db8::1]:444"])
MINE: Final = 's3cret+/= &<"\\>%41'
"""The device's client secret, with what every writing writes otherwise."""
_BASIC: Final = b64encode(f"client-1:{MINE}".encode()).decode()
WRITINGS: Final = tuple(
    writing.encode()
    for writing in (
        *(MINE, json.dumps(MINE)[1:-1], "".join(f"\\u{ord(each):04x}" for each in MINE)),
        *(quote(MINE, safe="").lower(), quote_plus(MINE), quote(quote(MINE)), html.escape(MINE), _BASIC),
    )
)
"""The secret as servers may write it."""
CREDENTIALS: Final = Credentials("client-1", MINE, "https://wfm.example:8443/oauth/token")
_PLACES: Final = frozenset({ORIGINS.own, *ORIGINS.allowed})
_TOKEN: Final = Token()
_DEVICE: Final = Capabilities(None, "Vendor", "Model", "SN-1")
_ENROLLED: Final = {ENROLMENT: json.dumps({"id": "client-1", "secret": MINE, "tokenEndpoint": ""}).encode()}


def _hidden(shown: object, *secrets: str) -> None:
    """Require that nothing of this is in what a person or a log may see, percent-encoded neither."""
    text = str(shown)
    for secret in secrets:
        if len(secret) >= 8 and secret.isascii():
            for view in (text, unquote(text), unquote_plus(text)):
                assert secret not in view, "a secret is shown"
            assert b64encode(secret.encode()).decode().rstrip("=")[:-1] not in text, "a secret is shown in base64"


def _given(answer: Answer) -> list[str]:
    """Return the secrets that an answer gives, wherever they are in it."""
    found: list[str] = []

    def look(value: object) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                if isinstance(inner, str) and name.lower().replace("_", "") in {"clientsecret", "accesstoken"}:
                    found.append(inner)
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    with suppress(ValueError, RecursionError):
        look(json.loads(answer.body))
    return found


def _sound(place: Place) -> None:
    """Require that every library reads this place's URL as it was judged, and that it is the same when read again."""
    assert read_place(place.url, query=True) == place
    split, parsed = urlsplit(place.url), URL(place.url, encoded=True)
    port = int(place.authority.rpartition("]")[2].partition(":")[2] or 443)
    host = place.authority.partition("]")[0].lstrip("[") if place.authority.startswith("[") else ""
    host = host or place.authority.partition(":")[0]
    assert (split.scheme, split.hostname, split.port or 443) == ("https", host, port)
    assert (parsed.scheme, parsed.raw_host, parsed.port) == ("https", host, port)
    assert split.username is split.password is parsed.user is parsed.password is None
    assert split.path == place.path
    assert not split.fragment
    assert len(place.url) <= LONGEST_URL + 8  # the port may be written shorter, never longer; a scheme in capitals too


@contextmanager
def token_answer() -> Iterator[Target]:
    """A WFM's answers at every step: a sound enrolment, or an outcome; neither shows what it is given or told."""
    contexts = {step: Context(b"DER", {} if step is Step.ENROL else _ENROLLED, _DEVICE) for step in Step}

    def target(data: bytes) -> object:
        given, ways = answer_of(data), []
        for step in Step:
            outcome = _TOKEN.outcome(step, _TOKEN.forms(step)[0], contexts[step], given)
            assert clean(outcome.detail, SHOWN_LIMIT) == outcome.detail, outcome.detail
            wait = outcome.retry_after
            assert wait is None or (math.isfinite(wait) and wait >= 0.0), wait
            if step in (Step.ENROL, Step.CONFIRM) and 200 <= given.status < 300:
                _hidden(repr(outcome), *_given(given))
            if outcome.kind is Kind.ACCEPTED and step is Step.ENROL:
                _enrolled(outcome.records)
            ways.append((outcome.kind, outcome.reason.code))
        return given.status // 100, tuple(ways)

    yield target


def _enrolled(records: Mapping[str, bytes]) -> None:
    found = stored_credentials(records)
    assert found is not None
    assert CLIENT_ID.fullmatch(found.client_id)
    assert SECRET.fullmatch(found.secret)
    assert _TOKEN.client_id(records) == found.client_id
    _hidden(repr(found), found.secret)
    with suppress(NotUsable):
        endpoint = found.endpoint(ORIGINS)
        assert endpoint.authority in _PLACES
        _sound(endpoint)
        assert found.secret not in token_request(endpoint, found).url or found.secret in found.token_endpoint
    access = stored_access(records)
    assert (access is None) == (GIT not in records)
    if access is not None:
        _access(access)


def _access(access: GitAccess) -> None:
    assert TOKEN.fullmatch(access.token)
    assert access.expires_at is None or 0 < access.expires_at <= 253_402_300_799.0
    assert stored_access({GIT: access.record()}) == access
    with suppress(NotUsable):
        place = access.place(ORIGINS)
        assert place.authority in _PLACES
        assert not place.query
        _sound(place)


@contextmanager
def token_records() -> Iterator[Target]:
    """Damaged records of an enrolment: whole credentials and access, or none; and what is said of them."""

    def target(data: bytes) -> object:
        one, _, other = data.partition(b"\n")
        records = {ENROLMENT: one, GIT: other}
        found, access = stored_credentials(records), stored_access(records)
        if access is not None:
            _access(access)
        if found is not None:
            with suppress(NotUsable):
                _sound(found.endpoint(ORIGINS))
        known = _TOKEN.reported({"report.json": one})
        return found is None, access is None, _TOKEN.client_id(records) is None, all(known)

    yield target


@contextmanager
def git_answer() -> Iterator[Target]:
    """Answers of `GET /onboarding/git`."""

    def target(data: bytes) -> object:
        given = answer_of(data)
        try:
            access = read_git_answer(given)
        except NotUsable as error:
            shown(str(error))
            _hidden(error, *_given(given))
            return way_of(error)
        if access is not None:
            _access(access)
        return access is None, access is not None and access.expires_at is None

    yield target


@contextmanager
def grant() -> Iterator[Target]:
    """The token endpoint's answers, with the secret in them; what is granted lives as long as the engine believes."""

    def target(data: bytes) -> object:
        given, ways = answer_of(data), []
        for writing in WRITINGS:
            body = given.body.replace(b"SECRET", writing)
            headers = {name: value.replace("SECRET", quote(MINE)) for name, value in given.headers.items()}
            found = read_grant(CREDENTIALS, Answer(given.status, headers, body, NOW))
            if isinstance(found, Grant):
                _granted(found)
                ways.append(f"granted {found.lifetime is None}")
                continue
            assert isinstance(found, Outcome)
            assert found.kind is not Kind.ACCEPTED
            assert clean(found.detail, SHOWN_LIMIT) == found.detail, found.detail
            _hidden(found.detail, MINE)
            if 200 <= given.status < 300:
                _hidden(found.detail, *_given(given))
            wait = found.retry_after
            assert wait is None or (math.isfinite(wait) and wait >= 0.0), wait
            ways.append(f"{found.kind} {found.reason.code}")
        return given.status // 100, tuple(ways)

    yield target


def _granted(found: Grant) -> None:
    assert TOKEN.fullmatch(found.value)
    assert repr(found) == repr(Grant("another", found.lifetime))
    assert found.lifetime is None or math.isfinite(found.lifetime)
    assert SHORTEST <= lifetime(found.lifetime) <= LONGEST
    bearer = Bearer(Random(1))
    bearer.wanted(1, "a", OWN, 0.0)
    bearer.granted(1, found)
    bearer.wanted(2, "a", OWN, 0.5)


@contextmanager
def place() -> Iterator[Target]:
    """URLs that an answer names: a place that every library reads alike, or why not, without the URL in it."""

    def target(data: bytes) -> object:
        ways = []
        text = data.decode("utf-8", "replace")
        for given, query in ((text, False), (text, True), (data.decode("latin-1"), True)):
            try:
                found = read_place(given, query=query)
            except NotUsable as error:
                shown(str(error))
                _hidden(error, MINE)
                ways.append(way_of(error))
                continue
            _sound(found)
            assert "@" not in found.authority
            assert query or not found.query
            segments = [unquote(each) for each in found.path.split("/")[1:]]
            assert not {".", ".."} & set(segments)
            try:
                ORIGINS.check(found)
            except NotUsable:
                assert found.authority not in _PLACES
                ways.append("elsewhere")
            else:
                assert found.authority in _PLACES
                ways.append("allowed")
        return tuple(ways)

    yield target


@contextmanager
def child_answer() -> Iterator[Target]:
    """What the fetching process says, which has parsed foreign bytes and is believed nothing that it cannot be."""
    loop = asyncio.new_event_loop()

    async def read(data: bytes) -> Fetched | Failed:
        reader = asyncio.StreamReader(limit=answer.HEADER_LIMIT)
        reader.feed_data(data)
        reader.feed_eof()
        return await answer.read_answer(reader, Limits())

    def target(data: bytes) -> object:
        try:
            found = loop.run_until_complete(read(data))
        except (ValueError, KeyError, TypeError, RecursionError, EOFError) as error:
            return type(error).__name__
        if isinstance(found, Failed):
            assert found.code in CODES
            shown(found.detail)
            wait = found.retry_after
            assert wait is None or (math.isfinite(wait) and wait >= 0.0), wait
            return found.code, wait is None
        assert re.fullmatch("[0-9a-f]{40}", found.commit)
        assert isinstance(found, Fetched)
        for path, content in (found.files or {}).items():
            assert isinstance(content, bytes)
            for part in path.split("/"):
                assert part not in {"", ".", ".."}
                assert part.isprintable()
        for note in found.notes:
            shown(note)
        return found.files is None, len(found.files or ()), found.rewound, len(found.notes)

    try:
        yield target
    finally:
        loop.close()


_SMALL: Final = Limits(objects=64, inflated=200_000, object=50_000, entries=40, total=100_000, depth=4, path=200)


@contextmanager
def pack() -> Iterator[Target]:
    """Packs: as they are with a checksum that holds, and made of the bytes as objects and deltas; then their trees."""

    def target(data: bytes) -> object:
        ways = []
        for made in (data[:-20] + sha1(data[:-20]).digest(), _packed(data)):
            try:
                objects = read_pack(made, _SMALL)
            except Refusal as refusal:
                shown(str(refusal))
                ways.append(way_of(refusal))
                continue
            assert len(objects) <= _SMALL.objects
            assert sum(len(content) for _, content in objects.values()) <= _SMALL.inflated
            for name, (kind, content) in list(objects.items())[:4]:
                head = b"%s %d\0" % ({1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}[kind], len(content))
                assert sha1(head + content).hexdigest() == name
            ways.append(f"{len(objects)} {_walked(objects)}")
        return tuple(ways)

    yield target


def _packed(data: bytes) -> bytes:
    """Make a pack of pieces between bars: the first byte says of which type, the second what a delta refers to."""
    pieces, objects, at = data.split(b"|")[:64], b"", 12
    offsets: list[int] = []
    for piece in pieces:
        kind = (COMMIT, TREE, BLOB, OFS_DELTA, REF_DELTA, BLOB, TREE, OFS_DELTA)[piece[0] % 8] if piece else BLOB
        content = piece[2:]
        back = piece[1] % (len(offsets) + 1) if len(piece) > 1 else 0
        size = len(content) + (piece[0] >> 7 if piece else 0)
        byte, size = kind << 4 | size & 15, size >> 4
        head = bytearray()
        while size:
            head.append(byte | 0x80)
            byte, size = size & 0x7F, size >> 7
        head.append(byte)
        if kind == OFS_DELTA:
            distance = at - offsets[-back] if back else 1
            step = [distance & 0x7F]
            while distance := distance >> 7:
                distance -= 1
                step.insert(0, 0x80 | distance & 0x7F)
            head += bytes(step)
        elif kind == REF_DELTA:
            head += sha1(b"blob %d\0" % len(pieces[back][2:]) + pieces[back][2:]).digest()
        offsets.append(at)
        objects += bytes(head) + compress(content, 1)
        at = 12 + len(objects)
    whole = b"PACK" + (2).to_bytes(4, "big") + len(pieces).to_bytes(4, "big") + objects
    return whole + sha1(whole).digest()


def _walked(objects: Mapping[str, tuple[int, bytes]]) -> str:
    ways = set()
    for tip in [name for name, (kind, _) in objects.items() if kind == COMMIT][:4]:
        descends(tip, "ab" * 20, objects)
        try:
            files, notes = files_of(tip, objects, _SMALL)
        except Refusal as refusal:
            shown(str(refusal))
            ways.add(way_of(refusal))
            continue
        _safe(files, notes)
        ways.add(f"{len(files)} {len(notes)}")
    return ",".join(sorted(ways))


def _safe(files: Mapping[str, bytes], notes: tuple[str, ...]) -> None:
    assert sum(map(len, files.values())) <= _SMALL.total
    for path in files:
        assert len(path.encode()) <= _SMALL.path
        for part in path.split("/"):
            assert part not in {"", ".", ".."}
            assert part.rstrip(". ").casefold() != ".git"
            assert "\\" not in part
            assert part.isprintable() or clean(part) == part
    for note in notes:
        shown(note)


@contextmanager
def trees() -> Iterator[Target]:
    """Folders: the bytes are one, below a commit whose header they are as well; its entries point to what there is."""
    ids = [f"{number:02x}" * 20 for number in (0x11, 0x22, 0x33, 0x44)]

    def target(data: bytes) -> object:
        ways = []
        inner = b"100644 config\0" + bytes.fromhex(ids[3])
        header, _, raw = data.partition(b"\n\n")
        for folder in (data, raw):
            objects = {ids[0]: (COMMIT, f"tree {ids[1]}\n".encode() + header), ids[1]: (TREE, folder)}
            objects |= {ids[2]: (TREE, inner), ids[3]: (BLOB, header[:64])}
            try:
                files, notes = files_of(ids[0], objects, _SMALL)
            except Refusal as refusal:
                shown(str(refusal))
                ways.append(way_of(refusal))
            else:
                _safe(files, notes)
                ways.append(f"{len(files)} {len(notes)}")
        with suppress(Refusal):
            tree_of(ids[0], {ids[0]: (COMMIT, data)})
        return tuple(ways)

    yield target


class _Stream(io.BytesIO):
    """What a connection brings: one answer after the other, read by whoever asks."""

    def makefile(self, _mode: str) -> _Stream:
        return self

    def close(self) -> None:
        """Nobody else is to close it: the next answer is read from the same."""


class _Connection:
    def __init__(self, stream: _Stream) -> None:
        self._stream, self._method = stream, "GET"

    def request(self, method: str, *_rest: object) -> None:
        self._method = method

    def getresponse(self) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(self._stream, method=self._method)  # type: ignore[arg-type]
        response.begin()
        return response

    def close(self) -> None:
        """As `_Stream`."""


@contextmanager
def smart_http() -> Iterator[Target]:
    """A Git server's answers, one after the other as they come over a connection, to files or to a Refusal."""
    authority = (Path(__file__).parent / "corpus" / "ca" / "root.pem").read_text()
    streams: list[_Stream] = []
    known = "ab" * 20
    jobs = [
        Job("https://wfm.example:8443/r.git", "main", authority, "oauth2", MINE, commit, limits=_SMALL)
        for commit in ("", known)
    ]

    def connect(_job: Job, _context: object) -> _Connection:
        return _Connection(streams[-1])

    def target(data: bytes) -> object:
        ways: list[Any] = []
        said = data.replace(b"SECRET", MINE.encode()).replace(b"BASIC", b64encode(f"oauth2:{MINE}".encode()))
        for made in jobs:
            streams[:] = [_Stream(said)]
            try:
                found = child._fetch(made)
            except Refusal as refusal:
                assert refusal.code in CODES
                shown(str(refusal))
                _hidden(refusal, MINE, f"oauth2:{MINE}")
                ways.append((refusal.code, way_of(refusal)))
                continue
            _safe(found.files or {}, found.notes)
            ways.append((found.files is None, len(found.files or ()), found.rewound))
        return tuple(ways)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "Connection", connect)
        yield target


@contextmanager
def payload() -> Iterator[Target]:
    """`X-Payload-Signature` at the development WFM: refused in so many words, and never believed."""
    key = ec.derive_private_key(7, ec.SECP256R1()).public_key()

    def target(data: bytes) -> object:
        ways = []
        text = data.decode("latin-1")
        for header in (text, b64encode(data).decode("ascii")):
            try:
                verify_payload(header, b"another body", key)
            except PayloadRefused as refused:
                ways.append(str(refused))
            else:
                raise AssertionError("a signature over another body was believed")
        return tuple(ways)

    yield target


TARGETS: Final[dict[str, Callable[[], AbstractContextManager[Target]]]] = {
    "token-answer": token_answer,
    "token-records": token_records,
    "git-answer": git_answer,
    "grant": grant,
    "place": place,
    "child-answer": child_answer,
    "pack": pack,
    "trees": trees,
    "smart-http": smart_http,
    "payload": payload,
}
SHARES: Final = {
    "token-answer": 80_000,
    "token-records": 100_000,
    "git-answer": 100_000,
    "grant": 60_000,
    "place": 200_000,
    "child-answer": 200_000,
    "pack": 80_000,
    "trees": 100_000,
    "smart-http": 20_000,
    "payload": 40_000,
}
"""Inputs of each target in the long campaign."""
