"""The life of a bearer token: who gets it, when another one is asked for, and when asking again is no use. Pure.

    wanted(caller, lane, place)  ->  Give, or Ask once for all that wait, or TurnAway
    granted | denied(number)     ->  what those who wait get
    spurned(caller, lane, serial)->  a 401: another token, once; then the lane is turned away
    borne(lane)                  ->  a call was answered with something else than 401

A token is asked for when a call needs it, so that an idle device asks for none; one that is about to end is still given
while another is under way. All times are monotonic seconds: a clock that is set means nothing here, and a suspend is
told by `slept`. `place` names whom a token is for (WFM, token endpoint, client): with another one all is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, TypeAlias

from margod.engine import policy
from margod.engine.policy import CALLS, DAY, REJECTED, TRYING
from margod.engine.verdicts import REPORT
from margod.model import reasons
from margod.model.bearer import Grant
from margod.model.outcome import Kind, Outcome

UNKNOWN_LIFE: Final = 300.0
"""Seconds for which a token is taken to hold whose lifetime was not said, or is zero, negative or no number."""
SHORTEST: Final = 1.0
LONGEST: Final = DAY
"""Seconds between which a lifetime is believed."""
AHEAD: Final = 60.0
"""Seconds before its end at which a token is renewed, and never more than a fifth of its life."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the token endpoint of `place`; what comes of it is told with this number."""

    number: int
    place: str


@dataclass(frozen=True, slots=True)
class Give:
    """A caller may make its call with this token, at `place` alone; `serial` is for `spurned`."""

    caller: int
    grant: Grant
    serial: int
    place: str


@dataclass(frozen=True, slots=True)
class TurnAway:
    """There is no token for this caller, and why; before `until`, monotonic, asking again changes nothing."""

    caller: int
    outcome: Outcome
    until: float


Command: TypeAlias = Ask | Give | TurnAway

_MOVED: Final = Outcome(Kind.UNREACHABLE, reasons.WFM_CHANGED, sent=False)
_SPURNED: Final = Outcome(Kind.UNAUTHORIZED, reasons.BEARER_TOKEN_REFUSED)


@dataclass(slots=True)
class _Lane:
    """What one lane's calls were answered: 401 so many times in a row, last with this token."""

    count: int = 0
    serial: int = 0
    not_before: float = 0.0
    said: str = ""


@dataclass(slots=True)
class _Waiting:
    caller: int
    lane: str


@dataclass(slots=True)
class _Held:
    """The token, from when it is renewed and until when it is used."""

    grant: Grant = field(repr=False)
    serial: int
    renew_at: float
    ends_at: float


class Bearer:
    """One device's bearer token. Calls return what is to be done, in order."""

    def __init__(self, rng: Random) -> None:
        """Begin without a token: none is ever kept over a restart."""
        self._rng = rng
        self._place = ""
        self._held: _Held | None = None
        self._number = 0
        self._serial = 0
        self._asking: int | None = None
        self._asked_at = 0.0
        self._waiting: list[_Waiting] = []
        self._lanes: dict[str, _Lane] = {}
        self._refused = _MOVED
        self._streak = 0
        self._not_before = 0.0
        self._floor = 0.0

    def wanted(self, caller: int, lane: str, place: str, mono: float) -> list[Command]:
        """A call of `lane` needs a token for `place`; `caller` is a number of its own."""
        commands = self._move(place)
        known = self._lanes.get(lane)
        if known is not None and mono < known.not_before:
            return [*commands, TurnAway(caller, replace(_SPURNED, detail=known.said), known.not_before)]
        held = self._usable(lane, mono)
        if held is not None:
            commands.append(Give(caller, held.grant, held.serial, self._place))
            if mono >= held.renew_at and mono >= self._not_before:
                commands += self._ask(mono)
            return commands
        if self._asking is None and mono < self._rests_until():
            return [*commands, TurnAway(caller, self._refused, self._not_before)]
        self._waiting.append(_Waiting(caller, lane))
        return commands + self._ask(mono)

    def granted(self, number: int, grant: Grant) -> list[Command]:
        """The token endpoint gave one. An answer to what is not asked any more is dropped, and its token with it."""
        if number != self._asking:
            return []
        life = lifetime(grant.lifetime)
        ends_at = self._asked_at + life
        self._serial += 1
        self._held = _Held(grant, self._serial, ends_at - min(AHEAD, life / 5), ends_at)
        self._asking, self._streak, self._not_before, self._floor = None, 0, 0.0, 0.0
        waiting, self._waiting = self._waiting, []
        return [Give(one.caller, grant, self._serial, self._place) for one in waiting]

    def denied(self, number: int, outcome: Outcome, mono: float) -> list[Command]:
        """The token endpoint gave none. Who waits is turned away; a token that still holds goes on being given."""
        if number != self._asking:
            return []
        schedule = REPORT[outcome.kind]
        schedule = CALLS if schedule is TRYING else schedule
        wait, floor = schedule.delay(self._streak, self._rng), policy.floor(outcome.retry_after)
        if outcome.reason is reasons.DOWNTIME:  # nobody was asked
            wait = 0.0
        if floor > 0:
            wait = max(wait, policy.after_floor(floor, schedule.window(self._streak), self._rng))
        self._asking, self._refused = None, outcome
        self._streak, self._not_before, self._floor = self._streak + 1, mono + wait, mono + floor
        waiting, self._waiting = self._waiting, []
        return [TurnAway(one.caller, outcome, self._not_before) for one in waiting]

    def spurned(
        self, caller: int, lane: str, serial: int, place: str, mono: float, *, said: str = "HTTP 401"
    ) -> list[Command]:
        """The WFM answered 401 to this token, with these words. The caller gets another one, unless its lane had that.

        What it said is shown, so it must hold no token.
        """
        if place != self._place:
            return self.wanted(caller, lane, place, mono)
        known = self._lanes.setdefault(lane, _Lane())
        if serial > known.serial:  # of one token a lane's calls say it once
            known.count, known.serial, known.said = known.count + 1, serial, said
            if known.count > 1:
                known.not_before = mono + REJECTED.delay(known.count - 2, self._rng)
        return self.wanted(caller, lane, place, mono)

    def borne(self, lane: str, serial: int) -> None:
        """A call of `lane` with this token was answered with something else than 401."""
        if (known := self._lanes.get(lane)) is not None and serial > known.serial:
            del self._lanes[lane]

    def gone(self, caller: int) -> None:
        """A caller does not wait any more. What was asked for on its behalf is of use to the next."""
        self._waiting = [one for one in self._waiting if one.caller != caller]

    def slept(self, seconds: float, mono: float) -> None:
        """Count a suspend, which the monotonic clock did not, as time that has passed."""
        if self._held is not None:
            self._held.renew_at -= seconds
            self._held.ends_at -= seconds
        self._asked_at -= seconds
        self._floor -= seconds
        self._not_before = policy.slept(self._not_before, seconds, mono, self._rng)
        for known in self._lanes.values():
            known.not_before = policy.slept(known.not_before, seconds, mono, self._rng)

    def retry(self, mono: float) -> None:
        """A person asks: waits end now, but for what the server asked for (Retry-After)."""
        self._not_before = min(self._not_before, max(mono, self._floor))
        for known in self._lanes.values():
            known.not_before = min(known.not_before, mono)

    def _rests_until(self) -> float:
        """Return before when nothing is asked although there is no token at all.

        Where nobody answered, each lane waits for itself and is woken when the network is back: no second wait on top
        of it. While a token holds, on the other hand, a busy lane would try with every call.
        """
        return self._floor if self._refused.kind is Kind.UNREACHABLE else self._not_before

    def _usable(self, lane: str, mono: float) -> _Held | None:
        held, known = self._held, self._lanes.get(lane)
        if held is None or mono >= held.ends_at:
            return None
        return None if known is not None and known.serial == held.serial else held

    def _ask(self, mono: float) -> list[Command]:
        if self._asking is not None:
            return []
        self._number += 1
        self._asking, self._asked_at = self._number, mono
        return [Ask(self._number, self._place)]

    def _move(self, place: str) -> list[Command]:
        """Forget everything that was said at another place, tokens above all."""
        if place == self._place:
            return []
        waiting, self._waiting = self._waiting, []
        self._place, self._held, self._asking, self._lanes = place, None, None, {}
        self._refused, self._streak, self._not_before, self._floor = _MOVED, 0, 0.0, 0.0
        return [TurnAway(one.caller, _MOVED, 0.0) for one in waiting]


def lifetime(said: float | None) -> float:
    """Return for how many seconds a token is used, from what the server said of it (RFC 6749, 5.1)."""
    if said is None or not said > 0:  # NaN is not
        return UNKNOWN_LIFE
    return min(max(said, SHORTEST), LONGEST)
