"""What an onboarding leaves in the vault, by every answer that was thought of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from margod.model.outcome import Kind, Step
from margod.model.wire import Answer
from margod.protocols import ENROLMENT
from margod.protocols.token import Token
from margod.protocols.token.credentials import (
    GIT,
    Credentials,
    GitAccess,
    read_access,
    stored_access,
    stored_credentials,
)
from margod.protocols.token.origins import NotUsable, Origins
from tests.protocols.test_bodies import context

OWN = Origins.of("https://wfm.example:8443/prefix")
REPOSITORY = {"url": "https://wfm.example:8443/r.git", "accessToken": "glpat-1", "expiresAt": "2026-11-22T01:00:00Z"}
ANSWER: dict[str, Any] = {
    "clientId": "c-1",
    "clientSecret": "s3cret+/= &",
    "tokenEndpointUrl": "https://wfm.example:8443/oauth/token",
    "gitRepository": REPOSITORY,
}
WRONG: list[Any] = ["", None, 7, True, [], {}, [1], {"a": 1}, "x" * 100_000, "line\nbreak", "\x00", "ü", -1, 1.5]


def answer(document: object, status: int = 201) -> Answer:
    """Return an answer with this JSON."""
    return Answer(status, {"content-type": "text/html"}, json.dumps(document).encode(), 0.0)


def records(document: object, status: int = 201) -> dict[str, bytes] | None:
    """Return what an onboarding answered so leaves, None if it is no acceptance."""
    outcome = Token().outcome(Step.ENROL, "spec", context(records={}), answer(document, status))
    return dict(outcome.records) if outcome.kind is Kind.ACCEPTED else None


def without(*names: str, **more: Any) -> dict[str, Any]:
    """Return the good answer without these members, and with others."""
    return {name: value for name, value in {**ANSWER, **more}.items() if name not in names}


@pytest.mark.parametrize("status", [200, 201])
def test_all_of_it_comes_back_out_of_the_vault(status: int) -> None:
    """One acceptance, two records; the secret as it was given, with the characters that forms quote."""
    kept = records(ANSWER, status)
    assert kept is not None
    found = stored_credentials(kept)
    assert found == Credentials("c-1", "s3cret+/= &", "https://wfm.example:8443/oauth/token")
    assert found.endpoint(OWN).url == "https://wfm.example:8443/oauth/token"
    assert stored_access(kept) == GitAccess("https://wfm.example:8443/r.git", "glpat-1", 1_795_309_200.0)
    assert Token().client_id(kept) == "c-1"


def test_snake_case_is_the_same() -> None:
    """A pilot that writes snake_case leaves the same records, byte for byte."""
    snake = {
        "client_id": "c-1",
        "client_secret": "s3cret+/= &",
        "token_endpoint_url": "https://wfm.example:8443/oauth/token",
        "git_repository": {
            "url": REPOSITORY["url"],
            "access_token": "glpat-1",
            "expires_at": "2026-11-22T02:00:00+01:00",
        },
    }
    assert records(snake) == records(ANSWER)


def test_another_generation_does_not_read_it() -> None:
    """`signed` on the same vault has no client id: a protocol is never silently swapped for another."""
    from margod.protocols.signed import Dialect, Signed

    kept = records(ANSWER)
    assert kept is not None
    assert Signed(Dialect()).client_id(kept) is None
    assert Token().client_id({ENROLMENT: b'{"clientId": "c-1"}'}) is None


@pytest.mark.parametrize("name", ["clientId", "clientSecret"])
@pytest.mark.parametrize("value", [*WRONG, "absent"], ids=lambda v: repr(v)[:20])
def test_without_id_or_secret_it_is_no_acceptance(name: str, value: Any) -> None:
    """Missing, empty, of a wrong type, huge or with what fits into no form: it is not known what the WFM did."""
    document = without(name) if value == "absent" else without(**{name: value})
    outcome = Token().outcome(Step.ENROL, "spec", context(records={}), answer(document))
    assert (outcome.kind, outcome.lost, dict(outcome.records)) == (Kind.BAD_ANSWER, True, {})


@pytest.mark.parametrize(
    "value",
    [
        *WRONG,
        "absent",
        "http://wfm.example:8443/oauth/token",
        "https://u:p@wfm.example:8443/t",
        "https://wfm.example:8443/t#f",
        "https://evil.example/t",
    ],
    ids=lambda v: repr(v)[:30],
)
def test_a_wrong_endpoint_loses_neither_id_nor_secret(value: Any) -> None:
    """The enrolment is kept, because it cannot be had twice; the secret goes nowhere."""
    document = without("tokenEndpointUrl") if value == "absent" else without(tokenEndpointUrl=value)
    kept = records(document)
    assert kept is not None
    found = stored_credentials(kept)
    assert found is not None
    assert (found.client_id, found.secret) == ("c-1", "s3cret+/= &")
    with pytest.raises(NotUsable):
        found.endpoint(OWN)


def test_a_foreign_endpoint_is_used_once_it_is_listed() -> None:
    """The owner's list is what makes another host one that may be given the secret; nothing is onboarded anew."""
    kept = records(without(tokenEndpointUrl="https://login.example/t"))
    found = stored_credentials(kept or {})
    assert found is not None
    listed = Origins.of("https://wfm.example:8443", ["login.example"])
    assert found.endpoint(listed).url == "https://login.example/t"


@pytest.mark.parametrize(
    "value",
    [
        *(each for each in WRONG if each is not None),
        *({**REPOSITORY, "url": each} for each in WRONG),
        *({**REPOSITORY, "accessToken": each} for each in WRONG),
        {**REPOSITORY, "url": "http://wfm.example:8443/r.git"},
        {**REPOSITORY, "url": "https://oauth2:glpat-1@wfm.example:8443/r.git"},
        {**REPOSITORY, "url": "https://wfm.example:8443/r.git#main"},
        {**REPOSITORY, "url": "https://wfm.example:8443/r.git?x=1"},
        {**REPOSITORY, "url": "ssh://git@wfm.example/r.git"},
        {**REPOSITORY, "url": "file:///etc"},
        {**REPOSITORY, "url": "ext::sh -c id"},
        {**REPOSITORY, "accessToken": "two words"},
    ],
    ids=lambda v: repr(v)[:60],
)
def test_a_wrong_repository_does_not_cost_the_enrolment(value: Any) -> None:
    """There is no record of a repository then, which is asked for again; what is wrong with it has words."""
    kept = records(without(gitRepository=value))
    assert kept is not None
    assert GIT not in kept
    assert stored_access(kept) is None
    with pytest.raises(NotUsable, match="gitRepository"):
        read_access(value)


@pytest.mark.parametrize("document", [without("gitRepository"), without(gitRepository=None)])
def test_the_repository_may_come_later(document: dict[str, Any]) -> None:
    """Without one the device is enrolled all the same."""
    kept = records(document)
    assert kept is not None
    assert sorted(kept) == [ENROLMENT]
    assert Token().client_id(kept) == "c-1"


@pytest.mark.parametrize(
    "said",
    [
        *WRONG,
        0,
        float("nan"),
        float("inf"),
        1e30,
        10**400,
        "tomorrow",
        "9999-99-99",
        "2026-11-22T01:00:00+99:99",
        False,
    ],
    ids=lambda v: repr(v)[:20],
)
def test_an_expiry_that_says_nothing_is_none(said: Any) -> None:
    """The token is taken; when it ends is learnt from the refusal."""
    if said in (7, 1.5):  # a moment in 1970 is one
        return
    found = read_access({**REPOSITORY, "expiresAt": said})
    assert found is not None
    assert found.expires_at is None


@pytest.mark.parametrize("said", [1_795_309_200, 1_795_309_200.0, "2026-11-22T01:00:00", "2026-11-22 02:00:00+01:00"])
def test_an_expiry_in_other_forms(said: Any) -> None:
    """Unix seconds, no zone, a blank for the T."""
    found = read_access({**REPOSITORY, "expiresAt": said})
    assert found is not None
    assert found.expires_at == 1_795_309_200.0


def test_no_repr_shows_a_secret() -> None:
    """What ends in a log by mistake holds neither secret nor token."""
    kept = records(ANSWER)
    assert kept is not None
    shown = repr((stored_credentials(kept), stored_access(kept)))
    assert "s3cret" not in shown
    assert "glpat" not in shown


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b"[" * 100_000, b'{"id": 1}', b'{"id": "c", "secret": ""}'])
def test_damaged_records_are_no_enrolment(damage: bytes) -> None:
    """Neither record is believed in part."""
    assert stored_credentials({ENROLMENT: damage}) is None
    assert stored_access({GIT: damage}) is None
