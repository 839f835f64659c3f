"""How the development WFM deviates from the specification: `--like spec|sandbox-2025|sandbox-2026`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from margod.devwfm.verifier import LIKE_GO, STRICT, Policy


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way of speaking `signed` that was met. The fields say where it leaves the specification."""

    name: str
    policy: Policy = STRICT
    onboarding_is_signed: bool = True
    checks_certificate: bool = True
    """False: any text is a certificate, nobody approves, and the text itself is what is known again."""
    old_names: bool = False
    """True: `public_certificate` in, `client_id` and `endpoint_list` out."""
    encodings: tuple[str, ...] = ("der", "pem")
    device_in_path: bool = True
    """False: `/capabilities` alone, with properties.id equal to the client id, and nothing to unregister."""
    exact_accept: bool = False
    """True: 500 for the desired state unless Accept is exactly the manifest's media type."""
    status_route: str = "deployments"
    """The segment before a deployment's id where its status is reported; `deployment` on earlier servers."""
    status_accepted: int = 200
    """What a report is answered with; 201 has a body, `null`."""
    plain_errors: bool = False
    """True: `{"Error": ...}` as text/plain, 400 also for a bad signature and an unknown client."""


DIALECTS: Final = {
    dialect.name: dialect
    for dialect in (
        Dialect("spec"),
        Dialect(
            "sandbox-2025",
            policy=LIKE_GO,
            onboarding_is_signed=False,
            old_names=True,
            encodings=("pem",),
            device_in_path=False,
            status_route="deployment",
            status_accepted=201,
            plain_errors=True,
        ),
        Dialect(
            "sandbox-2026",
            policy=LIKE_GO,
            onboarding_is_signed=False,
            checks_certificate=False,
            exact_accept=True,
            status_accepted=201,
            plain_errors=True,
        ),
    )
}
