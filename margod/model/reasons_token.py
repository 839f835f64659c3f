"""Reasons of the `token` generation: the token endpoint, where secrets may go, and what the WFM says of its tokens."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

TOKEN_ENDPOINT_UNUSABLE = _reason(
    "token-endpoint-unusable",
    Side.WFM,
    "The WFM named no token endpoint that can be used when it onboarded this device, so nothing can be asked of it.",
    "Have the address in the detail mended at the WFM; then `margod reset` has this device onboarded anew.",
)
TOKEN_ENDPOINT_NOT_ALLOWED = _reason(
    "token-endpoint-not-allowed",
    Side.DEVICE,
    "The WFM names a token endpoint on a host that may not be sent this device's secret, so nothing is sent.",
    "If that host is right, add it to token.allowed_hosts, then `margod reload` and `margod retry`; if not, have it "
    "mended at the WFM and run `margod reset`.",
)
TOKEN_ENDPOINT_UNTRUSTED = _reason(
    "token-endpoint-untrusted",
    Side.NETWORK,
    "The token endpoint's certificate does not verify; the client secret was not sent.",
    "Set trust.token_endpoint_ca_file to the CA of that host; look for a proxy or firewall that breaks TLS.",
)
TOKEN_ENDPOINT_UNREACHABLE = _reason(
    "token-endpoint-unreachable",
    Side.NETWORK,
    "The token endpoint, on another host than the WFM, cannot be reached or does not answer; the WFM was not asked.",
    "Check the network, the firewall and the proxy on the way to the host in the detail, and that it runs.",
)
TOKEN_ENDPOINT_BUSY = _reason(
    "token-endpoint-busy",
    Side.WFM,
    "The token endpoint is busy or reports an error of its own, so there is no bearer token; the WFM was not asked.",
    "Look at the token endpoint's log; margod asks again by itself.",
)
TOKEN_ANSWER_INVALID = _reason(
    "token-answer-invalid",
    Side.WFM,
    "What answers at the token endpoint gives no bearer token that can be used; the WFM was not asked.",
    "See what it said; a wrong address, a redirect (never followed), a captive portal or a proxy's page looks like "
    "this.",
)
CLIENT_SECRET_REFUSED = _reason(
    "client-secret-refused",
    Side.WFM,
    "The token endpoint does not accept this device's client id and secret.",
    "Look for the client id of `margod status` there and in the WFM: it may have been revoked, or its secret changed. "
    "`margod reset` onboards this device anew.",
)
BEARER_TOKEN_REFUSED = _reason(
    "bearer-token-refused",
    Side.WFM,
    "The WFM answers 401 even to a bearer token that its token endpoint has just given.",
    "See what the server said: WFM and token endpoint have to agree on keys, audience and time, and the WFM has to "
    "know the key of `margod identity show`.",
)
PAYLOAD_SIGNATURE_REFUSED = _reason(
    "payload-signature-refused",
    Side.WFM,
    "The WFM does not accept the signature over the body of this device's request (X-Payload-Signature).",
    "See what the server said; a proxy that rewrites bodies does this too, and so does a WFM that wants another form.",
)
CLIENT_SECRET_MISSING = _reason(
    "client-secret-missing",
    Side.WFM,
    "The WFM's answer counts as success and has a client id, but no client secret that can be used.",
    "A secret that got lost is seldom given twice: remove this device in the WFM, then `margod retry`.",
)
NO_CONFIRM_ROUTE = _reason(
    "no-confirm-route",
    Side.WFM,
    "This WFM has no route by which the device can ask whether it is known (GET /onboarding/git).",
    "Nothing has to be done: what the WFM says to reports counts. Compare wfm.url if other requests fail as well.",
)
