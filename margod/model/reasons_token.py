"""Reasons of the `token` generation: the token endpoint, and where secrets may go."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

TOKEN_ENDPOINT_UNUSABLE = _reason(
    "token-endpoint-unusable",
    Side.WFM,
    "The token endpoint that the WFM named is not used: the client secret would go where the owner has not allowed it.",
    "Compare the detail with the WFM's settings; a host other than the WFM's own has to be in token.allowed_hosts.",
)
TOKEN_ENDPOINT_UNTRUSTED = _reason(
    "token-endpoint-untrusted",
    Side.NETWORK,
    "The token endpoint's certificate does not verify; the client secret was not sent.",
    "Set trust.token_endpoint_ca_file to the CA of that host; look for a proxy or firewall that breaks TLS.",
)
