"""The reasons that have to do with the desired state; read them as `reasons.X`."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

MANIFEST_INVALID = _reason(
    "manifest-invalid",
    Side.WFM,
    "The WFM's desired state cannot be read, and anything mirrored before stays.",
    "Tell the WFM's operator what the detail says.",
)
MANIFEST_ROLLED_BACK = _reason(
    "manifest-rolled-back",
    Side.WFM,
    "The WFM gives a desired state that is older than the mirrored one, or another one under the same version.",
    "Nothing was taken. A WFM that was restored has to give a greater manifestVersion; if it was not, find out who "
    "answers in its place. `margod deployments accept` lets the next version be any.",
)
DEPLOYMENT_MISMATCH = _reason(
    "deployment-mismatch",
    Side.WFM,
    "What the WFM gave is not what its manifest names, and anything mirrored before stays.",
    "Tell the WFM's operator what the detail says; a proxy that changes what passes does this too.",
)
DEPLOYMENT_NOT_GIVEN = _reason(
    "deployment-not-given",
    Side.WFM,
    "The WFM does not give out a deployment that its manifest names, and anything mirrored before stays.",
    "Tell the WFM's operator what the detail says.",
)
DESIRED_STATE_UNKNOWN = _reason(
    "desired-state-unknown",
    Side.DEVICE,
    "Nothing is known yet of what the WFM wants to run on this device.",
    "`margod status` says when it is asked for next; `margod retry` asks now. That nothing is wanted would be an empty "
    "list.",
)
NOTHING_HELD_BACK = _reason(
    "nothing-held-back",
    Side.DEVICE,
    "No desired state is held back: there is nothing to accept.",
    "`margod retry` asks for the desired state; what is held back then stands in `margod status` under `Not taken`.",
)
DEPLOYMENT_UNKNOWN = _reason(
    "deployment-unknown",
    Side.DEVICE,
    "The WFM wants no deployment of this id on this device.",
    "`margod deployments` lists those that it wants.",
)
DEPLOYMENT_DAMAGED = _reason(
    "deployment-damaged",
    Side.DEVICE,
    "The copy of this deployment was damaged on the disk.",
    "It is fetched again at the next poll; `margod retry` makes that now. Look at the disk.",
)
VERSION_UNKNOWN = _reason(
    "version-unknown",
    Side.DEVICE,
    "A desired state of this version was never mirrored here.",
    "Give the manifestVersion of `margod deployments`.",
)
ADOPTED_TOO_OFTEN = _reason(
    "adopted-too-often",
    Side.DEVICE,
    "Another version was adopted within the last second.",
    "Say it again in a second; say it when it changes, and only then.",
)
