"""What the generations of the specification say on the wire. Pure: values in, values out; imports `model` only.

`Generation` is the boundary: `signed/` implements it; so do the tests' throw-away `token`-like and `mtls`-like ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from margod.model.capabilities import Capabilities
from margod.model.outcome import Outcome, Step
from margod.model.report import Reply
from margod.model.wire import Answer, Request, SignedRequest, Signer, TransportFailure


@dataclass(frozen=True, slots=True)
class Context:
    """What a request can be built from: our certificate (DER), the vault's records, and the device."""

    certificate: bytes
    records: Mapping[str, bytes]
    capabilities: Capabilities


class Generation(Protocol):
    """One generation of the specification, as far as an engine and a shell need to know it."""

    @property
    def name(self) -> str:
        """The value of `wfm.protocol`."""

    @property
    def enrols(self) -> bool:
        """Whether there is an enrolment request at all."""

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

    def report_forms(self) -> tuple[str, ...]:
        """Return the forms in which a deployment can be reported, the specification's first."""

    def report_request(self, form: str, context: Context, deployment_id: str, body: bytes) -> Request:
        """Build the report of a deployment; `body` is the status as the outbox keeps it (`signed`'s form)."""

    def report_reply(self, result: Answer | TransportFailure) -> Reply:
        """Say what came of a report, and what the answer is about."""

    def forwarded(self, method: str, path: str, headers: Mapping[str, str], body: bytes, limit: int) -> Request:
        """Build the request that another program on the device makes in its name; `limit` as in Request."""

    def poll(self, context: Context, etag: str) -> Request:
        """Build the request for the desired state; with `etag` (opaque, "" for none): if it is another one."""

    def bundle(self, context: Context, digest: str) -> Request:
        """Build the request for the archive with all that a manifest names."""

    def deployment(self, context: Context, deployment_id: str, digest: str) -> Request:
        """Build the request for one deployment that a manifest names."""

    def authenticate(self, request: Request, base: str, signer: Signer, created: int) -> SignedRequest:
        """Make the request ready for the wire: absolute, and proven as its `auth` says. `created`: Unix seconds."""
