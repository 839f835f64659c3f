"""What a person should know, in the journal: each warning once when it comes up, and once when its cause is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from margod.shell.situation import Warned

log: Final = structlog.get_logger()


class Attention:
    """Compares what is to be warned of now with what was."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said: tuple[Warned, ...] = ()

    def tell(self, warned: Sequence[Warned], about: Mapping[str, str], *, whole: bool = True) -> None:
        """Say what is new, and which codes are gone. `about` goes into each line.

        Not `whole`: not everything was looked at, so that what is missing is not gone for that.
        """
        for each in warned:
            if each not in self._said:
                said = {"code": each.reason.code, "message": each.message, "hint": each.reason.hint}
                log.warning("needs-attention", **said, **about)
        missing = [each for each in self._said if each not in warned]
        codes = {each.reason.code for each in warned}
        if not whole:
            self._said = (*warned, *(each for each in missing if each.reason.code not in codes))
            return
        for code in dict.fromkeys(each.reason.code for each in missing):
            if code not in codes:
                log.info("recovered", code=code, **about)
        self._said = tuple(warned)
