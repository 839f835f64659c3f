"""Where the Git repository is and how it is reached: the job of one fetch, from the configuration and the situation.

Everything here reads files and runs in the disk thread.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog

from margod import trust
from margod.gitfetch import Job, ProxyAt, Tls
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.text import clean
from margod.protocols.token.access import stored_url
from margod.protocols.token.credentials import TOKEN, GitAccess
from margod.protocols.token.origins import NotUsable, Origins, Place, read_place
from margod.shell import proxy as proxies
from margod.shell.anchoring import signature
from margod.shell.ground import Ground
from margod.shell.situation import Situation, Warned
from margod.store import read_vouched

log: Final = structlog.get_logger()

FILE_LIMIT: Final = 16_384
"""Bytes of a token's file that are read."""
_UNREAD: Final = object()


def job(ground: Ground, situation: Situation, access: GitAccess, known: str) -> Job:
    """Return the fetch by this access. Raises NotUsable (no secret goes there) or MargodError."""
    own = own_hosts(situation)
    place = _allowed(ground, situation, access.url)
    is_own = place.authority in own
    policy = situation.policy
    if policy is None:
        raise MargodError(reasons.NO_ANCHOR)
    file = ground.config.trust.token_endpoint_ca_file
    if not is_own:
        policy = replace(policy, any_name=False)
        if file is not None:
            anchors = trust.read_ca_file(file, ground.clock(), setting="trust.token_endpoint_ca_file")
            policy = replace(policy, anchors=anchors)
    addresses = situation.place.addresses if is_own and situation.place else ()
    proxy = proxies.choose(ground.config, ground.env, place.url, discovered=bool(addresses))
    settings, keeper, paths = ground.config.desired_state.git, ground.keeper, ssl.get_default_verify_paths()
    return Job(
        place.url,
        settings.branch,
        trust.to_pem(policy.anchors).decode("ascii") if policy.anchors is not None else "",
        settings.user,
        access.token,
        known,
        None if proxy is None else _at(proxy.address, proxy.authorization),
        tls=Tls(
            policy.tls.minimum,
            policy.tls.maximum,
            policy.tls.strict_x509,
            policy.any_name,
            keeper.wall() if keeper.shift else None,
        ),
        system=(paths.cafile or "", paths.capath or ""),
        addresses=addresses,
    )


def handed(ground: Ground, situation: Situation | None, records: Mapping[str, bytes], access: GitAccess) -> GitAccess:
    """Return what a person hands over, at the known repository where it names none. Raises MargodError."""
    url = access.url or stored_url(records)
    if not url:
        raise MargodError(reasons.GIT_NOT_GIVEN)
    if situation is None:
        raise MargodError(reasons.GIT_NOT_USED)
    try:
        return replace(access, url=_allowed(ground, situation, url).url)
    except NotUsable as error:
        raise MargodError(reasons.GIT_PLACE_REFUSED, f"{reasons.GIT_PLACE_REFUSED.says} {error}") from None


def own_hosts(situation: Situation) -> set[str]:
    """Return the hosts of the WFM itself; a discovered one may bear several names."""
    return {read_place(url).authority for url in situation.place.urls} if situation.place else set()


class TokenFile:
    """The file of desired_state.git.token_file: what is in it, what is wrong with it, and whether it has changed."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._seen, self._told = _UNREAD, _UNREAD
        self._wrong: tuple[Path | None, str] = (None, "")

    def read(self, file: Path | None) -> str:
        """Return the token in it, "" if there is none that can be used; why is put into the journal once."""
        self._seen = signature(file)
        return self.look(file)

    def look(self, file: Path | None) -> str:
        """Do as `read`, for what is wrong with it alone: the token there counts as unread."""
        token, problem = ("", "") if file is None else _token(file)
        if problem and (file, problem) != self._wrong:
            about = reasons.GIT_TOKEN_FILE_UNUSABLE
            log.warning("git-token-file", code=about.code, file=clean(str(file)), message=about.says, detail=problem)
        self._wrong = file, problem
        return token

    def warnings(self, file: Path | None) -> tuple[Warned, ...]:
        """Return what was wrong with `file` when it was looked at last."""
        named, problem = self._wrong
        if not problem or named != file:
            return ()
        about = reasons.GIT_TOKEN_FILE_UNUSABLE
        return (Warned(about, f"{about.says} {clean(str(file))}: {problem}."),)

    def changed(self, file: Path | None) -> bool:
        """Return whether it is another one than at the last reading, once for each that it is, and look at that."""
        now = signature(file)
        is_new = file is not None and self._seen is not _UNREAD and now not in (self._seen, self._told)
        self._told = now
        if is_new:
            self.look(file)
        return is_new


def _token(file: Path) -> tuple[str, str]:
    """Return the token in it and "", or "" and why there is none that can be used."""
    try:
        text = read_vouched(file, FILE_LIMIT, {0, os.geteuid()}).decode("ascii").strip()
    except (OSError, ValueError) as error:  # ValueError: no ASCII, or a NUL in the path
        return "", (isinstance(error, OSError) and error.strerror) or "not one token of printable characters"
    return (text, "") if TOKEN.fullmatch(text) else ("", "not one token of 1 to 8192 printable characters")


def _allowed(ground: Ground, situation: Situation, url: str) -> Place:
    listed = ground.config.token.allowed_hosts or ()
    base = situation.place.url if situation.place else ""
    return Origins.of(base, (*own_hosts(situation), *listed)).check(read_place(url))


def _at(address: str, authorization: str) -> ProxyAt:
    parts = urlsplit(address)
    return ProxyAt(parts.hostname or "", parts.port or 80, authorization)
