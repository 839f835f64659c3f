"""The reasons of a proxy on the way to the WFM. Read them from `margod.model.reasons`, where all are."""

from __future__ import annotations

from margod.model.reason import Side, reason

PROXY_UNUSABLE = reason(
    "proxy-unusable",
    Side.DEVICE,
    "The proxy that the environment names cannot be used.",
    "Set HTTPS_PROXY of margod's environment to http://host:port, or set wfm.proxy, which counts first.",
)
PROXY_CREDENTIALS_UNREADABLE = reason(
    "proxy-credentials-unreadable",
    Side.DEVICE,
    "The file named in wfm.proxy_credentials_file cannot be used.",
    "Put user:password on one line into that file, and check that the user margod may read it. "
    "A symbolic link has to be root's or that user's.",
)
PROXY_CREDENTIALS_REFUSED = reason(
    "proxy-credentials-refused",
    Side.NETWORK,
    "The proxy wants a user name and password (407); the WFM was not asked.",
    "Put user:password for the proxy into a file and name it in wfm.proxy_credentials_file.",
)
PROXY_UNREACHABLE = reason(
    "proxy-unreachable",
    Side.NETWORK,
    "The proxy cannot be reached; the WFM was not asked.",
    "Check host and port in wfm.proxy, or HTTPS_PROXY of margod's environment; wfm.proxy: none goes without.",
)
PROXY_REFUSED = reason(
    "proxy-refused",
    Side.NETWORK,
    "The proxy refuses the way to the WFM; the WFM was not asked.",
    "Have the proxy allow CONNECT to the host and port in wfm.url, or set wfm.proxy to another one.",
)
PROXY_NO_ROUTE = reason(
    "proxy-no-route",
    Side.NETWORK,
    "The proxy does not reach the WFM.",
    "Check the host and port in wfm.url, and from the proxy whether the WFM can be reached.",
)
PROXY_FAILED = reason(
    "proxy-failed",
    Side.NETWORK,
    "What answers at the proxy's address does not open the way to the WFM.",
    "Check that wfm.proxy (or HTTPS_PROXY) names the port of an HTTP proxy, and that the proxy reaches the WFM.",
)
