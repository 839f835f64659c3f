"""What the generations of the specification say on the wire. Pure: values in, values out; imports `model` only.

`Generation` is the boundary: `signed/` and `token/` implement it; so do the tests' throw-away ones. How desired state
is asked for is not in it: it is a manifest over HTTP in one generation and a Git repository in another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from margod.model.capabilities import Capabilities
from margod.model.deployment import DeploymentStatus
from margod.model.outcome import Outcome, Step
from margod.model.report import Reply
from margod.model.wire import Answer, Request, SignedRequest, Signer, TransportFailure

ENROLMENT: Final = "enrolment.json"
"""The vault's record of an enrolment; its members are each generation's own, and no other reads them as its own."""
FILED: Final = "token-file.json"
"""The vault's record of the origin that each token of a file belongs to: of the device, whatever its enrolment."""
CA_ANSWER: Final = "certificate.json"
"""The Certificate API's body as it came: the trust room reads it before anything is kept."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a request can be built from: our certificate (DER), the vault's records (not in its repr), the device."""

    certificate: bytes
    records: Mapping[str, bytes] = field(repr=False)
    capabilities: Capabilities


@dataclass(frozen=True, slots=True)
class LastReport:
    """What a WFM has accepted last: digest of all of it ("" if nothing was), dialect form, digest of the settings of
    then, the device's own id, digest and manifest, and the digest of each device behind it by its id. `wanted`: the
    digest of the whole report, a part of which this is.
    """

    digest: str = ""
    form: str = ""
    said: str = ""
    device_id: str = ""
    own: str = ""
    manifest: Mapping[str, object] = field(default_factory=dict)
    children: Mapping[str, str] = field(default_factory=dict)
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """What a report says of one device behind this one: its digest, "" for one that is gone, and how it is said.

    `other`: the request that is made where the WFM says that it knows the device already, or does not know it.
    """

    device_id: str
    digest: str
    request: Request
    other: Request | None = None


@dataclass(frozen=True, slots=True)
class Unregistering:
    """The request that has a WFM remove this device, which it calls `device_id`."""

    device_id: str
    request: Request
    is_done: Callable[[Answer], bool]
    """Whether an answer says that the WFM does not have the device any more."""


class Generation(Protocol):
    """One generation of the specification, as far as an engine and a shell need to know it."""

    @property
    def name(self) -> str:
        """The value of `wfm.protocol`."""

    @property
    def enrols(self) -> bool:
        """Whether there is an enrolment request at all."""

    @property
    def desired_state(self) -> str:
        """What desired state is: "manifest" (signed/desired.py) or "git" (a repository, gitfetch/)."""

    @property
    def children(self) -> bool:
        """Whether a WFM can be told of devices behind this one; where it cannot, nobody reads their manifests."""

    @property
    def readable(self) -> tuple[str, ...]:
        """The routes that other programs on the device may GET; `{clientId}` is the client id, `{name}` any segment."""

    def forms(self, step: Step) -> tuple[str, ...]:
        """Return the dialect forms that a step may take, the specification's (or the owner's choice) first."""

    def client_id(self, records: Mapping[str, bytes]) -> str | None:
        """Return the id that the WFM knows this device by, or None without a valid enrolment record."""

    def report_digest(self, context: Context) -> str:
        """Return a digest of what a report would say now: hexadecimal, never empty."""

    def reported(self, records: Mapping[str, bytes]) -> tuple[str, str]:
        """Return digest and dialect form of the last accepted report, both "" if there is none."""

    def request(self, step: Step, form: str, context: Context) -> Request:
        """Build the request of a step."""

    def outcome(self, step: Step, form: str, context: Context, result: Answer | TransportFailure) -> Outcome:
        """Say what came of it. An accepted step's `records` are what the vault has to keep."""

    def own_report_is_due(self, context: Context) -> bool:
        """Return whether a report has to say anything of the device itself, and not only of those behind it."""

    def report_problem(self, form: str, context: Context) -> str:
        """Return why the device's own report cannot be made, or breaks the specification; "" if it may be sent."""

    def parts(self, context: Context, client_id: str) -> tuple[Part, ...]:
        """Return what a report says of the devices behind this one, in order, once its own is accepted."""

    def part_outcome(self, part: Part, result: Answer | TransportFailure) -> Outcome:
        """Say what came of a part; INVALID is about that one alone, and the next is made all the same."""

    def part_wants_other(self, part: Part, result: Answer | TransportFailure) -> bool:
        """Return whether an answer asks for the part's other request."""

    def part_kept(self, part: Part, context: Context) -> Mapping[str, bytes]:
        """Return what the vault has to keep of an accepted part, beside what is in the context."""

    def last_report(self, records: Mapping[str, bytes]) -> LastReport:
        """Return what the WFM accepted last, as far as it is known."""

    def manifest(self, device: Capabilities, device_id: str) -> Mapping[str, object]:
        """Return what a report of this device says, `device_id` where it names no id itself."""

    def manifest_problem(self, document: object) -> str:
        """Return what is wrong with a parsed manifest that somebody wrote, beginning with the field; "" if nothing."""

    def manifest_id(self, document: Mapping[str, object]) -> str:
        """Return the device's id in a manifest that nothing is wrong with."""

    def report_forms(self) -> tuple[str, ...]:
        """Return the forms in which a deployment can be reported, the specification's first."""

    def report_request(self, form: str, context: Context, deployment_id: str, body: bytes) -> Request | None:
        """Build the report of a deployment; `body` is the status as the outbox keeps it (`signed`'s form).

        None: this generation has no word for that status, and nothing is to be sent.
        """

    def report_notes(self, status: DeploymentStatus) -> list[str]:
        """Return what of this report cannot be said, a line each, the deployment or the component first."""

    def notes(self, context: Context) -> list[str]:
        """Return what this generation cannot say of the device and of deployments, a line each, the thing first."""

    def report_reply(self, deployment_id: str, body: bytes, result: Answer | TransportFailure) -> Reply:
        """Say what came of a report of this deployment, and what the answer is about."""

    def unregistering(self, context: Context, client_id: str) -> Unregistering | None:
        """Return how this device, known there by `client_id`, is removed at the WFM; None where nothing does that."""

    def forwarded(self, method: str, path: str, headers: Mapping[str, str], body: bytes, limit: int) -> Request:
        """Build the request that another program on the device makes in its name; `limit` as in Request."""

    def authenticate(self, request: Request, base: str, signer: Signer, created: int) -> SignedRequest:
        """Make the request ready for the wire: absolute, and proven as its `auth` says. `created`: Unix seconds."""
