"""Which access token a fetch uses next, and which one is kept: the rotation of Git tokens as a table of rules. Pure.

    begin(stored, handed, file) ──> next ──> Try ──> worked | refused | absent | failed
                                     │ Ask ──> given                 │
                                     └ Rest                 Keep, Drop: what the vault does

The stored one stays until another has fetched; nothing but that takes its place. A token goes to the URL that it came
with: one from a file has none of its own and belongs to the origin for which it was first read, whatever WFM the device
has had since; the vault keeps that (`FILED`) before the token is sent.

Tried in this order: what a person handed over, what is in the file, what the WFM gave; then the stored one, before it
ends; the WFM is asked once in a poll where the stored one is missing, refused, sees no repository, or is about to end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from margod.protocols import ENROLMENT, FILED
from margod.protocols.token.credentials import GIT, GitAccess, read_access
from margod.protocols.token.origins import NotUsable, read_place

NEXT: Final = "git-next.json"
"""The record of what was handed over and is not proven yet, of the form of `GIT`."""
AHEAD: Final = 600.0
"""Seconds before its end at which another token is asked for, and never more than a tenth of its life."""
MARKS: Final = 64
"""Tokens of files of which the vault knows to which origin they belong; the oldest give way."""


class Source(Enum):
    """Where an access comes from."""

    STORED = "stored"
    HANDED = "handed over"
    FILE = "desired_state.git.token_file"
    WFM = "the WFM"


@dataclass(frozen=True, slots=True)
class Try:
    """Fetch by this one, and tell what came of it."""

    access: GitAccess
    source: Source


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the WFM, and tell by `given` what it gave."""


@dataclass(frozen=True, slots=True)
class Rest:
    """There is nothing more to be tried in this poll."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Store this one in the place of the stored one, in one commit; `records` are what the vault then has of it."""

    source: Source
    access: GitAccess
    records: Mapping[str, bytes | None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Drop:
    """This one is not used any more. `records`: what the vault removes, if it had it."""

    source: Source
    access: GitAccess
    records: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)


Next: TypeAlias = Try | Ask | Rest
Deed: TypeAlias = Keep | Drop


class Accesses:
    """The accesses of one enrolment. Calls between `begin` and the next one are about the poll that it began."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._stored: GitAccess | None = None
        self._since = 0.0
        """When the stored one was first seen here, Unix seconds."""
        self._now = 0.0
        self._file_token = ""
        self._origins: dict[str, str] = {}
        """The origin that each token of a file belongs to, by its mark; the oldest first."""
        self._file_done = ""
        """The mark of the file's token that was refused, or is the stored one: it is not tried again."""
        self._offers: dict[Source, GitAccess] = {}
        self._tried: set[Source] = set()
        self._absent: set[Source] = set()
        self._asked = self._fails = False
        self._trying: Try | None = None

    def begin(self, records: Mapping[str, bytes], file_token: str, now: float) -> Mapping[str, bytes | None]:
        """A poll begins. `records` are the vault's, `file_token` is the file's ("" for none), `now` Unix seconds.

        Returns what the vault has to hold before anything is tried.
        """
        stored = _read(records, GIT)
        if stored != self._stored:
            self._stored, self._since = stored, now
        self._now, self._origins = now, _origins(records)
        self._file_token = file_token
        is_new = bool(file_token) and stored is not None and self._bind(file_token, stored)
        self._tried, self._absent, self._asked, self._fails, self._trying = set(), set(), False, False, None
        handed, file = _read(records, NEXT), self._of_file()
        for source, access in ((Source.HANDED, handed), (Source.FILE, file)):
            if access is None:
                self._offers.pop(source, None)
            else:
                self._offers[source] = access
        return self._bound() if is_new else {}

    @property
    def elsewhere(self) -> str:
        """The origin that the file's token belongs to, where that is not the stored one's; "" otherwise."""
        origin = self._origins.get(_mark(self._file_token), "")
        return origin if self._stored is not None and origin != _origin(self._stored) else ""

    def tokens(self) -> tuple[str, ...]:
        """Return every token that is known here, the candidates' too: what is never shown."""
        known = [one.token for one in (self._stored, *self._offers.values()) if one is not None]
        return tuple(filter(None, (*known, self._file_token)))

    def retry(self) -> None:
        """A person asks: the file's token may be tried once more."""
        self._file_done = ""

    def next(self) -> Next:
        """Return what is to be done now."""
        if self._fails:
            return Rest()
        for source in (Source.HANDED, Source.FILE, Source.WFM):
            if source in self._offers and source not in self._tried:
                return self._try(self._offers[source], source)
        waits = self._stored is not None and Source.STORED not in self._tried
        if waits and not self._ending() and self._stored is not None:
            return self._try(self._stored, Source.STORED)
        if not self._asked:
            return Ask()
        if waits and self._stored is not None:
            return self._try(self._stored, Source.STORED)
        return Rest()

    def given(self, access: GitAccess | None) -> None:
        """The WFM answered with this; None: with nothing that can be used. What is here already is no offer."""
        self._asked = True
        known = [self._stored] if self._stored is not None else []
        if access is not None and (access.url, access.token) not in {(one.url, one.token) for one in known}:
            self._offers[Source.WFM] = access
            self._tried.discard(Source.WFM)

    def worked(self) -> list[Deed]:
        """The last one tried has fetched. Offers that could not see what it sees are no good."""
        trying = self._ended()
        blind = [one for one in Source if one in self._absent and one is not trying.source and one in self._offers]
        deeds: list[Deed] = [self._drop(one) for one in blind if self._offers[one].url == trying.access.url]
        if trying.source is Source.STORED:
            return deeds
        deeds.append(self._keep(trying))
        return deeds

    def refused(self) -> list[Deed]:
        """The last one tried is refused (401, 403), or may not be sent to its place: an offer is over, the stored one
        is not."""
        trying = self._ended()
        return [] if trying.source is Source.STORED else [self._drop(trying.source)]

    def absent(self) -> None:
        """The last one tried sees no repository: gone, or not for this token. It waits for what others see."""
        self._absent.add(self._ended().source)

    def failed(self) -> None:
        """The last one tried says nothing of its token: no network, a busy server, content that is not taken."""
        self._ended()
        self._fails = True

    def _ended(self) -> Try:
        assert self._trying is not None, "told of what was not tried"
        trying, self._trying = self._trying, None
        return trying

    def _try(self, access: GitAccess, source: Source) -> Try:
        self._tried.add(source)
        self._trying = Try(access, source)
        return self._trying

    def _drop(self, source: Source) -> Drop:
        access = self._offers.pop(source)
        if source is Source.FILE:
            self._file_done = _mark(self._file_token)
        return Drop(source, access, {NEXT: None} if source is Source.HANDED else {})

    def _keep(self, trying: Try) -> Keep:
        access, before = trying.access, self._stored
        records: dict[str, bytes | None] = {GIT: access.record()}
        if before is not None and _origin(access) != _origin(before) and self._bind(before.token, before):
            if self._file_token:
                self._bind(self._file_token, before)
            records |= self._bound()  # the token may stand in a file that is not seen now
        self._offers.pop(trying.source, None)
        self._stored, self._since = access, self._now
        if trying.source is Source.HANDED:
            records[NEXT] = None
        return Keep(trying.source, access, records)

    def _of_file(self) -> GitAccess | None:
        """Return the access that the file's token makes, if it is to be tried."""
        mark, stored = _mark(self._file_token), self._stored
        if not self._file_token or stored is None or mark == self._file_done or self.elsewhere:
            return None
        if self._file_token == stored.token:
            self._file_done = mark
            return None
        return GitAccess(stored.url, self._file_token)

    def _bind(self, token: str, access: GitAccess) -> bool:
        """Have a token that a file may hold belong to this one's origin; return whether it had none."""
        mark = _mark(token)
        known = self._origins.pop(mark, None)
        self._origins[mark] = known or _origin(access)  # at the end: what is in the file now gives way last
        return known is None

    def _bound(self) -> dict[str, bytes | None]:
        """Return the record of which token belongs to which origin."""
        return {FILED: json.dumps(dict(list(self._origins.items())[-MARKS:])).encode()}

    def _ending(self) -> bool:
        """Return whether the stored one is about to end. What had ended when it was first seen says nothing of it."""
        ends = self._stored.expires_at if self._stored else None
        if ends is None or ends <= self._since:
            return False
        return self._now >= ends - min(AHEAD, (ends - self._since) / 10)


def _read(records: Mapping[str, bytes], name: str) -> GitAccess | None:
    try:
        return read_access(json.loads(records.get(name, b"null")))
    except (NotUsable, ValueError, RecursionError):
        return None


def handed_over(records: Mapping[str, bytes]) -> GitAccess | None:
    """Return what was handed over and is not proven yet."""
    return _read(records, NEXT)


def changes(deed: Deed, records: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """Return what the vault with these `records` writes for a deed: one that was handed over since is not touched."""
    is_it = handed_over(records) == deed.access
    return {name: data for name, data in deed.records.items() if name != NEXT or is_it}


def stored_url(records: Mapping[str, bytes]) -> str:
    """Return the URL of the repository that the vault knows; "" for none."""
    stored = _read(records, GIT)
    return "" if stored is None else stored.url


def secrets(records: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return what of the vault's records is never shown: client secret and Git tokens, also of half a record."""
    found = []
    for name, member in ((ENROLMENT, "secret"), (GIT, "accessToken"), (NEXT, "accessToken")):
        try:
            value = json.loads(records.get(name, b"{}"))
        except (ValueError, RecursionError):
            continue
        found.append(value.get(member) if isinstance(value, dict) else None)
    return tuple(one for one in found if isinstance(one, str) and one)


def _origins(records: Mapping[str, bytes]) -> dict[str, str]:
    try:
        value = json.loads(records.get(FILED, b"{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {mark: origin for mark, origin in value.items() if isinstance(origin, str)}


def _origin(access: GitAccess) -> str:
    return read_place(access.url).origin


def _mark(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest() if token else ""
