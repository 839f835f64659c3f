"""A Git token that a person hands over: kept, proven by a poll that is made now if one may be, and answered for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from margod.engine.messages import Cause
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.text import timestamp
from margod.shell.gitmirroring import GitMirroring

if TYPE_CHECKING:
    from margod.shell.mirrored import Mirrored
    from margod.shell.polling import DesiredState
    from margod.shell.timekeeper import Timekeeper

PROVEN_WITHIN: Final = 20.0
"""Seconds for which the caller waits for what comes of it; it goes on without him."""


async def hand(
    mirroring: Mirrored, desired: DesiredState, url: str, token: str, expires_at: float | None
) -> dict[str, object]:
    """Keep it and wait a while for the fetch that proves it. Raises MargodError, also where it is refused."""
    assert isinstance(mirroring, GitMirroring)
    try:
        handed = await mirroring.hand(url, token, expires_at)
    except MargodError as error:
        raise _of_the_person(error) if url else error from None
    desired.wake(Cause.OPERATOR)
    wait = desired.due_in()
    if wait is not None and wait < PROVEN_WITHIN:
        await asyncio.wait({handed}, timeout=PROVEN_WITHIN)
    if handed.done() and not handed.cancelled():
        taken = handed.result()
        if taken is None:
            return {
                "taken": False,
                "message": "Another token was handed over since, and is tried in place of this one.",
            }
        if not taken:
            raise MargodError(reasons.GIT_TOKEN_NOT_TAKEN)
        return {"taken": True, "message": "The token works, and has taken the place of the one before."}
    await asyncio.sleep(0)  # the poll that did not prove it says when the next one is
    words = desired.words() or "the desired state is not asked for at present"
    return {"taken": False, "message": f"The token is kept and is tried with the next fetch; {words}."}


def require_time_left(expires_at: float | None, keeper: Timekeeper) -> None:
    """Raise MargodError where a token has ended by a clock that can be believed."""
    if expires_at is not None and keeper.plausible() and expires_at <= keeper.wall():
        about = reasons.GIT_TOKEN_ENDED
        raise MargodError(about, f"{about.says} --expires-at is {timestamp(expires_at)}.")


def _of_the_person(error: MargodError) -> MargodError:
    """Return the error in words for a URL that was given with the token: the WFM has not named it."""
    about = reasons.GIT_PLACE_REFUSED
    if error.reason is not about:
        return error
    said = error.message.removeprefix(about.says).strip()
    hint = (
        "If that host is right, list it in token.allowed_hosts and run `margod reload`; without --url the repository "
    )
    return MargodError(about, f"The URL that was given cannot be used: {said}.", hint=f"{hint}that is known is meant.")
