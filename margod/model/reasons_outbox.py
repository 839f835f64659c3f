"""The reasons that have to do with reports of deployments and the outbox; read them as `reasons.X`."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

REPORT_INVALID = _reason(
    "report-invalid",
    Side.DEVICE,
    "A local agent reports a deployment in a form that the specification does not have.",
    "Mend what the message names in the agent's report (`margod deployment report --help` has the form).",
)
REPORT_REFUSED = _reason(
    "report-refused",
    Side.WFM,
    "The WFM knows this device and refuses this report of a deployment; it is parked, and the others go on.",
    "See what the WFM says (`margod deployment list`); then `margod deployment retry` or `drop`.",
)
REPORT_UNHEARD = _reason(
    "report-unheard",
    Side.NETWORK,
    "A report of a deployment is refused in a way that need not be the WFM's (no JSON); it is kept, and sent again.",
    "See what answers (`margod status`) and mend the proxy; `margod deployment drop N` gives up that one report.",
)
REPORT_OF_OTHER = _reason(
    "report-of-other-enrolment",
    Side.DEVICE,
    "This report was made under another enrolment, and is not sent in the name of this one; it is parked.",
    "`margod deployment drop` it; or, if this WFM is to have it, `margod deployment retry`.",
)
REPORT_OVERTAKEN = _reason(
    "report-overtaken",
    Side.DEVICE,
    "The WFM has a later report of this deployment: sent now, this one would take its place.",
    "`margod deployment drop` it, or have the agent report the present state once more.",
)
REPORTS_PARKED = _reason(
    "reports-parked",
    Side.DEVICE,
    "Reports of deployments are parked: they are kept, and not sent.",
    "See why (`margod deployment list`); then `margod deployment retry` or `drop`.",
)
NO_SUCH_REPORT = _reason(
    "no-such-report",
    Side.DEVICE,
    "There is no report of this number, or none that is parked.",
    "See which there are (`margod deployment list`); one that waits is sent by itself, or dropped by its number.",
)
OUTBOX_FULL = _reason(
    "outbox-full",
    Side.DEVICE,
    "The outbox holds as many reports of deployments as it may, of all users or of this one; this one was not taken.",
    "See what keeps them from being sent (`margod status`, `margod deployment list`); the agent reports again later.",
)
OUTBOX_UNUSABLE = _reason(
    "outbox-unusable",
    Side.DEVICE,
    "The outbox in the state directory cannot be read or written, so no report of a deployment is taken.",
    "Make room or mend the file system that holds the state directory (`df -h`, `journalctl -k`).",
)
OUTBOX_NEWER = _reason(
    "outbox-newer",
    Side.DEVICE,
    "The outbox was written by a newer margod; this one sends nothing of it, takes no report and leaves it untouched.",
    "Start the newer margod again, or move outbox.db out of the state directory.",
)
OUTBOX_DAMAGED = _reason(
    "outbox-damaged",
    Side.DEVICE,
    "The outbox was damaged: what could be read of it was kept, and the old file is in quarantine.",
    "Have the agents report the present state of their deployments once more; look at the storage (`journalctl -k`).",
)
