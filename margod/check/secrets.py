"""Where a device of the `token` generation would send its secrets. Judged by what is stored: nothing is sent."""

from __future__ import annotations

import errno
from typing import Final

from margod.check import report
from margod.check.device import Device
from margod.check.report import Line, Verdict
from margod.config.files import shown
from margod.model import reasons
from margod.protocols.token import NotUsable, Origins, read_place, stored_access, stored_credentials
from margod.protocols.token.credentials import TOKEN
from margod.store import read_vouched

NAME: Final = "secret-hosts"
_FILE_LIMIT: Final = 16_384
"""Bytes of a token's file, as the daemon reads them."""


def look(device: Device) -> Line:
    """Judge where secrets would be sent, and, where nothing is wrong with that, the file with a Git token."""
    line = _places(device)
    return line if line.verdict is Verdict.FAILED else _token_file(device) or line


def _token_file(device: Device) -> Line | None:
    """Return what is wrong with desired_state.git.token_file; None if nothing is, or this user may not look."""
    file = device.config.desired_state.git.token_file
    if file is None:
        return None
    try:
        text = read_vouched(file, _FILE_LIMIT, {0, device.user}).decode("ascii").strip()
        usable, said = TOKEN.fullmatch(text), ""
    except (OSError, ValueError) as error:  # ValueError: no ASCII
        if isinstance(error, PermissionError) and error.errno == errno.EACCES:
            return None
        usable, said = None, (isinstance(error, OSError) and error.strerror) or ""
    if usable:
        return None
    said = f"{shown(file)}: {said or 'not one token of 1 to 8192 printable characters'}"
    return report.warning(NAME, reasons.GIT_TOKEN_FILE_UNUSABLE, said, facts={"token_file": str(file)})


def _places(device: Device) -> Line:
    """Judge the token endpoint and the repository that the WFM named when it onboarded this device.

    No request is made here that has a secret in it: the daemon makes it, and says what came of it.
    """
    if device.records is None:
        return report.skipped(NAME, "state-directory")
    credentials, place = stored_credentials(device.records), device.place
    if credentials is None:
        return report.skipped(NAME, "enrolment", "this device is not enrolled yet")
    if place is None:
        return report.skipped(NAME, "wfm")
    access = stored_access(device.records)
    facts: dict[str, report.Fact] = {"token_endpoint": None, "repository": access.url if access else None}
    try:
        endpoint = read_place(credentials.token_endpoint, query=True)
    except NotUsable as error:
        return report.failed(NAME, reasons.TOKEN_ENDPOINT_UNUSABLE, str(error), facts=facts)
    facts["token_endpoint"] = endpoint.url
    try:
        own = [read_place(url).authority for url in place.urls]
        origins = Origins.of(place.url, (*own, *(device.config.token.allowed_hosts or ())))
        origins.check(endpoint)
    except NotUsable as error:
        return report.failed(NAME, reasons.TOKEN_ENDPOINT_NOT_ALLOWED, str(error), facts=facts)
    try:
        if access is not None:
            access.place(origins)
    except NotUsable as error:
        return report.failed(NAME, reasons.GIT_PLACE_REFUSED, str(error), facts=facts)
    also = f", the repository at {read_place(access.url).authority}" if access else ", no repository is named yet"
    said = f"secrets may go to the token endpoint at {endpoint.authority}{also}; nothing secret is sent by a check"
    return report.ok(NAME, said, facts=facts)
