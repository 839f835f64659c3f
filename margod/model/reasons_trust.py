"""The reasons that have to do with trust in the WFM; read them as `reasons.X`."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

NO_ANCHOR = _reason(
    "no-anchor",
    Side.DEVICE,
    "The WFM's root CA is not known, so nothing is sent.",
    "Put the root CA into a file and name it in trust.ca_file, or set trust.pin to its SHA-256, or trust.system: true "
    "if the WFM's certificate is vouched for by the system's CA store.",
)
ROOT_CA_RETIRED = _reason(
    "root-ca-retired",
    Side.DEVICE,
    "The root CA at hand is one that another had taken the place of, so nothing is sent on its word.",
    "If the WFM has gone back to it, `margod trust accept FINGERPRINT`; otherwise give its present root CA by "
    "trust.ca_file or trust.pin, or `margod trust accept` with trust.on_change: ask.",
)
CA_FILE_UNREADABLE = _reason(
    "ca-file-unreadable",
    Side.DEVICE,
    "The file named in trust.ca_file cannot be read.",
    "Check the path in trust.ca_file and that the user margod may read it.",
)
CA_FILE_INVALID = _reason(
    "ca-file-invalid",
    Side.DEVICE,
    "The file named in trust.ca_file holds no usable root CA.",
    "Put the WFM's root CA certificate (PEM or DER) into the file named in trust.ca_file.",
)
CA_NOT_OFFERED = _reason(
    "ca-not-offered",
    Side.WFM,
    "The WFM does not offer its root CA for download.",
    "Get the root CA from the WFM's operator and name the file in trust.ca_file; also check wfm.url.",
)
CA_ANSWER_INVALID = _reason(
    "ca-answer-invalid",
    Side.WFM,
    "The WFM's certificate download holds no usable root CA.",
    "Get the root CA from the WFM's operator and name the file in trust.ca_file.",
)
TLS_UNKNOWN_ISSUER = _reason(
    "tls-unknown-issuer",
    Side.WFM,
    "The WFM's certificate was not issued by a trusted root CA; nothing was sent.",
    "Name the WFM's own root CA in trust.ca_file (with trust.system the system's CA store has to vouch for the WFM); "
    "a proxy that inspects TLS also looks like this.",
)
INTERCEPTED = _reason(
    "intercepted",
    Side.NETWORK,
    "Somebody else answers in the WFM's place: the certificate is of another root CA than before; nothing was sent.",
    "A captive portal or a proxy that inspects TLS looks like this: have it let the WFM's host pass. If the WFM has a "
    "new root CA, see `margod trust show`.",
)
TLS_WRONG_HOST = _reason(
    "tls-wrong-host",
    Side.WFM,
    "The WFM's certificate is for another host name; nothing was sent.",
    "Write the host name of the certificate into wfm.url, or have the certificate issued for this one.",
)
TLS_EXPIRED = _reason(
    "tls-expired",
    Side.WFM,
    "The WFM's certificate has expired by this device's clock; nothing was sent.",
    "Check this device's clock (`date`), then have the WFM's certificate renewed.",
)
TLS_NOT_YET_VALID = _reason(
    "tls-not-yet-valid",
    Side.DEVICE,
    "The WFM's certificate is not valid yet by this device's clock; nothing was sent.",
    "Check this device's clock (`date`), then the WFM's certificate.",
)
TLS_UNVERIFIED = _reason(
    "tls-unverified",
    Side.WFM,
    "The WFM's certificate could not be verified; nothing was sent.",
    "See the detail; with tls.strict_x509: true the certificate has to follow RFC 5280 to the letter.",
)
TLS_VERSION = _reason(
    "tls-version",
    Side.WFM,
    "The WFM and this device have no TLS version in common; nothing was sent.",
    "Compare tls.minimum_version and tls.maximum_version with what the WFM speaks.",
)
PIN_MISMATCH = _reason(
    "pin-mismatch",
    Side.WFM,
    "The root CA that the WFM offers is not the one of trust.pin; nothing else was sent.",
    "Ask the WFM's operator for the present fingerprint: a changed root CA and a stranger in between look the same.",
)
FIRST_USE_ASKED = _reason(
    "first-use-asked",
    Side.DEVICE,
    "Somebody at the WFM's address offers a root CA; whether it is the WFM's only a person can say.",
    "Compare the fingerprint with the one that the WFM's operator gives, then `margod trust accept FINGERPRINT`.",
)
FIRST_USE_TAKEN = _reason(
    "first-use-taken",
    Side.DEVICE,
    "The WFM's root CA was taken without anybody comparing it (trust.first_use: accept); fit for a lab only.",
    "Compare it with `margod trust show`, then set trust.pin to what `margod trust pin` prints.",
)
NOT_OFFERED = _reason(
    "fingerprint-not-offered",
    Side.DEVICE,
    "No root CA with this fingerprint is waiting to be accepted.",
    "With trust.first_use: ask, `margod retry` has it asked for again and `margod trust show` lists what is offered.",
)
TRUST_CONFIGURED = _reason(
    "trust-configured",
    Side.DEVICE,
    "There is no other root CA to be had than the one in use.",
    "Change trust.ca_file, or set trust.pin, trust.system or trust.first_use first.",
)
