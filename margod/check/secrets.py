"""Where a device of the `token` generation would send its secrets. Judged by what is stored: nothing is sent."""

from __future__ import annotations

from typing import Final

from margod.check import report
from margod.check.device import Device
from margod.check.report import Line
from margod.model import reasons
from margod.protocols.token import NotUsable, Origins, read_place, stored_access, stored_credentials

NAME: Final = "signed-request"


def places(device: Device) -> Line:
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
