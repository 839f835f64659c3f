"""Who has refused a report: the WFM, or something on the way to it that has a page for everything.

A proxy that was set up wrongly answers 404 to each report; were that taken for the WFM's word, all of them would be
parked. The WFM has spoken if the answer is JSON, or if a report was accepted on the same route in this enrolment before
(since margod was started).
"""

from __future__ import annotations

from dataclasses import replace

from margod.model import reasons
from margod.model.outcome import Kind, Outcome
from margod.model.report import Reply


class Refusals:
    """What was heard of the report under way, in all of its forms, and on which routes reports were accepted."""

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self.outcome = Outcome(Kind.INVALID, reasons.REPORT_REFUSED)
        """What was answered last; what the WFM has said comes before what anybody may have said."""
        self.by_wfm = False
        """Whether the WFM has spoken of this report."""
        self._binding = ""
        self._routes: set[str] = set()

    def begin(self) -> None:
        """Another report is sent."""
        self.by_wfm = False

    def accepted(self, form: str, binding: str) -> None:
        """A report was accepted in this form, under this enrolment."""
        if binding != self._binding:
            self._binding, self._routes = binding, set()
        self._routes.add(form)

    def refused(self, reply: Reply, form: str, binding: str) -> None:
        """Take a refusal of the report under way."""
        by_wfm = reply.by_wfm or (binding == self._binding and form in self._routes)
        if by_wfm or not self.by_wfm:
            self.outcome = reply.outcome
        self.by_wfm = self.by_wfm or by_wfm

    def for_now(self) -> Outcome:
        """Return what it is as long as it may be anybody's answer: a matter of the moment."""
        return replace(self.outcome, kind=Kind.BAD_ANSWER, reason=reasons.REPORT_UNHEARD)
