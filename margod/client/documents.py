"""The documents of the local API as types (schema 1; openapi.yaml of the local room has the meaning of each field)."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class LastErrorDocument(TypedDict):
    """What went wrong last."""

    code: str
    message: str
    hint: str
    detail: str
    at: str


class WfmDocument(TypedDict):
    """The configured WFM."""

    url: str | None
    protocol: str
    proxy: str | None


class CandidateDocument(TypedDict):
    """A WFM that announces itself; nothing of it is to be trusted."""

    instance: str
    host: str
    port: int
    path: str
    addresses: list[str]
    name: str


class DiscoveryDocument(TypedDict):
    """What is known by discovery: whether the network is searched, the instance in use, and what is seen."""

    browsing: bool
    instance: str | None
    seen: list[CandidateDocument]


class ChosenDocument(TypedDict):
    """Which WFM was chosen."""

    instance: str
    message: str


class IdentitySummary(TypedDict):
    """The device's identity without the certificate itself."""

    fingerprint: str
    key_id: str
    algorithm: str
    subject: str
    not_before: str
    not_after: str
    source: str


class IdentityDocument(IdentitySummary):
    """The device's identity, and what it is known by to which WFM: all that is public.

    `certificate` is PEM text, the device's own first; `root_ca` too, the trust anchors that the WFM is verified with.
    """

    certificate: str
    client_id: str | None
    wfm_url: str | None
    root_ca: str | None


class AnchorDocument(TypedDict):
    """One root CA that the WFM is verified with."""

    subject: str
    fingerprint: str
    spki: str | None
    not_before: str
    not_after: str


class StagedDocument(AnchorDocument):
    """A root CA that the WFM offers and that may become an anchor after `seconds_left` more of the same."""

    since: str
    seconds_left: int


class PresentedDocument(TypedDict):
    """The certificate of whoever answers in the WFM's place; it may claim anything."""

    subject: str
    issuer: str
    fingerprint: str


class TrustDocument(TypedDict):
    """Where the root CAs come from, which they are, and which of those that are `offered` a person may accept."""

    source: str
    anchors: list[AnchorDocument]
    offered: list[AnchorDocument]
    staged: list[StagedDocument]
    retired: list[AnchorDocument]
    presented: PresentedDocument | None


class ClockDocument(TypedDict):
    """What the clock is worth: `source` is system or wfm, `floor` the time that cannot be again."""

    plausible: bool
    synchronised: bool | None
    source: str
    floor: str
    offset_seconds: float | None
    offset_used: bool


class DowntimeDocument(TypedDict):
    """Whether nothing may leave the device: `until` null where no end is in sight, `operator_until` of one by hand.

    `next_at`: when the next planned one begins.
    """

    active: bool
    until: str | None
    operator_until: str | None
    next_at: str | None


class RotationDocument(TypedDict):
    """An identity that is onboarded beside the one in force, to take its place."""

    why: str
    state: str
    reason: str
    message: str
    hint: str
    detail: str
    since: str
    next_attempt_at: str | None
    fingerprint: str | None


class DesiredStateDocument(TypedDict):
    """How it stands with what the WFM wants to run here."""

    manifest_version: int | None
    commit: str | None
    deployments: int | None
    adopted: int | None
    complete: bool
    fetched_at: str | None
    checked_at: str | None
    next_poll_at: str | None
    error: LastErrorDocument | None


class DeploymentEntry(TypedDict):
    """One deployment that is wanted; the digest is `sha256:` and 64 hexadecimal digits over its YAML."""

    deploymentId: str
    digest: str


class DeploymentsDocument(TypedDict):
    """What the WFM wants to run here, as it is mirrored; `adopted`: the version that the agent works by."""

    manifestVersion: int
    commit: str | None
    fetched_at: str
    adopted: int | None
    complete: bool
    deployments: list[DeploymentEntry]


class OutboxDocument(TypedDict):
    """Reports of deployments that the WFM has not accepted; None: the outbox was not read yet."""

    waiting: int | None
    parked: int | None
    oldest: str | None
    next_attempt_at: str | None
    last_error: LastErrorDocument | None


class WarningDocument(TypedDict):
    """Something that does not stop margod but should be looked at."""

    code: str
    message: str
    hint: str


class CapabilityDocument(TypedDict):
    """One value that the device reports, where it comes from, and what stands for it on the device."""

    name: str
    value: str | int | dict[str, str] | None
    source: str
    by: list[str]


class ChildDocument(TypedDict):
    """A device behind this one, and what the WFM has of it."""

    device_id: str
    state: str


class CapabilitiesDocument(TypedDict):
    """What the device would report now, and what the WFM took last."""

    schema: int
    manifest: dict[str, object] | None
    values: list[CapabilityDocument]
    children: list[ChildDocument]
    problems: list[str]
    notes: list[str]
    accepted: dict[str, object] | None
    settling: bool
    due_at: str | None


class ReportStateDocument(TypedDict):
    """Whether the WFM has the capabilities as they are, whether a change has yet to hold, how many are behind."""

    accepted: bool
    settling: bool
    children: int


class StatusDocument(TypedDict):
    """What margod is doing. Times are RFC 3339 in UTC with whole seconds."""

    schema: int
    version: str
    state: str
    reason: str
    message: str
    hint: str
    detail: str
    side: str
    since: str
    attempt: int
    next_attempt_at: str | None
    last_error: LastErrorDocument | None
    connection: str
    connection_since: str
    wfm: WfmDocument
    discovery: DiscoveryDocument
    client_id: str | None
    device_id: str | None
    identity: IdentitySummary | None
    trust: TrustDocument
    clock: ClockDocument
    downtime: DowntimeDocument
    rotation: RotationDocument | None
    capabilities: ReportStateDocument
    desired_state: DesiredStateDocument
    outbox: OutboxDocument
    warnings: list[WarningDocument]
    started_at: str


class HealthDocument(TypedDict):
    """Whether the daemon itself works."""

    healthy: bool
    state: str
    downtime: DowntimeDocument


class RetryDocument(TypedDict):
    """What came of asking for an attempt now."""

    next_attempt_at: str | None
    message: str


class MessageDocument(TypedDict):
    """What was done."""

    message: str


class GitTokenDocument(TypedDict):
    """What became of a token that was handed over: whether it is in use, or waits for the next fetch."""

    taken: bool
    message: str


class ReportedDocument(TypedDict):
    """A report of a deployment was taken: its number in the outbox, and what of it the WFM cannot be told, if any."""

    number: int
    notes: NotRequired[list[str]]


class ReportDocument(TypedDict):
    """One report; `parked` is the code of the reason, None while it waits to be sent."""

    number: int
    deployment_id: str
    state: str
    at: str
    parked: str | None
    detail: str
    overtaken: bool
    uid: int


class ReportsDocument(TypedDict):
    """A page of the reports, and how many there are."""

    waiting: int
    parked: int
    reports: list[ReportDocument]


class ReloadDocument(TypedDict):
    """What came of reading the configuration anew: `reloaded`, `unchanged` or `kept` (it has problems)."""

    result: str
    problems: list[str]
