"""What a WFM's answer to one report says, and of what: of this report, of the device, or of neither."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from margod.model.outcome import Outcome


class About(Enum):
    """What an answer is about."""

    TAKEN = "taken"
    """The report was accepted."""
    UNSAID = "unsaid"
    """Nobody was asked: the WFM's generation has no word for it, and the report is done with."""
    REPORT = "report"
    """This report and no other is refused, for what it says."""
    UNSURE = "unsure"
    """Refused, and the same status is what servers give to a client that they do not know (wire, section 1.4)."""
    DEVICE = "device"
    """The WFM does not know or accept this device, or the way to it is barred: no report would fare better."""
    MOMENT = "moment"
    """Nothing lasting: nobody answered, or the WFM cannot at the moment."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `outcome` is what it means in the words that every lane has.

    `by_wfm`: it is JSON, as a WFM answers. A refusal that is not may be the page of a proxy, which has heard no report.
    """

    about: About
    outcome: Outcome
    by_wfm: bool = True
