"""Two days of bearer tokens in virtual time, and proof that what is left over is noticed."""

from __future__ import annotations

import pytest

from margod.engine.bearer import Bearer
from margod.model.bearer import Grant
from tests.faults import renewals
from tests.faults.campaign import Broken, carry_out


def test_two_days_of_tokens() -> None:
    """Tokens of every lifetime, refusals, revocations: one onboarding, nothing written, nothing left over."""
    run = carry_out(renewals.renewals, seed=3, scale=0.05)
    assert run.figures["bearer tokens"] > 10
    assert run.figures["calls that came through"] > 20
    assert run.figures["calls that were refused with a token"] > 0


def test_tokens_that_are_kept_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that keeps each grant grows."""
    kept: list[object] = []
    real = Bearer.granted

    def granted(self: Bearer, number: int, grant: Grant) -> object:
        kept.append(bytearray(300_000))
        return real(self, number, grant)

    monkeypatch.setattr(Bearer, "granted", granted)
    with pytest.raises(Broken, match="bytes more"):
        carry_out(renewals.renewals, seed=3, scale=0.05)
