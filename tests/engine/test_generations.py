"""The engine knows no generation: the same machine takes a token-like and an mtls-like one to enrolled."""

from __future__ import annotations

from margod.model.outcome import Step
from margod.model.state import State
from margod.model.wire import Answer, Request
from tests.engine.generations import MtlsLike, TokenLike
from tests.engine.world import World, answer

ACCESS = b'{"clientId": "id", "clientSecret": "s3cret", "gitRepository": {"url": "https://git", "accessToken": "t"}}'


def token_server(step: Step, request: Request) -> Answer:
    """Answer an enrolment with everything that the `token` generation hands out."""
    return answer(201, ACCESS)


def test_token_like_reaches_enrolled() -> None:
    """Several records of one acceptance are kept together, and found again after a restart."""
    world = World(server=token_server, generation=TokenLike())
    world.settle()
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.records["token.secret"] == b"s3cret"
    world.asked.clear()
    world.start()
    world.settle()
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert world.asked == []


def test_token_like_waits_and_is_refused_like_any_other() -> None:
    """Pending and rejected are the same states in every generation."""
    said = [answer(202), answer(403), answer(201, ACCESS), answer(201)]
    world = World(server=lambda step, request: said.pop(0), generation=TokenLike())
    world.settle()
    assert world.condition()[0] is State.PENDING_APPROVAL
    world.until_due()
    assert world.condition()[0] is State.REJECTED
    world.until_due()
    assert world.condition()[0] is State.ENROLLED


def test_mtls_like_has_no_enrolment_request() -> None:
    """Without an enrolment step the accepted report is what makes the device enrolled."""
    world = World(server=token_server, generation=MtlsLike())
    world.settle()
    assert world.condition() == (State.ENROLLED, "enrolled")
    assert [step for step, _, _ in world.asked] == [Step.REPORT]
    assert world.entries == []
