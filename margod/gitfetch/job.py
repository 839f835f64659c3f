"""What is fetched and what came of it; a job as it goes through the pipe (what comes back: answer.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds, each above zero. Sizes in bytes; a repository that breaks one is not taken at all."""

    refs: int = 4 << 20
    """What the server says before a pack: names of branches, capabilities."""
    pack: int = 16 << 20
    """A pack as it comes over the wire."""
    objects: int = 20_000
    inflated: int = 48 << 20
    """Everything in a pack, unpacked and with deltas resolved."""
    object: int = 8 << 20
    """One object: a file, a folder, a commit."""
    entries: int = 8_192
    """Files and folders, counted each time that they are named."""
    total: int = 32 << 20
    """All files together, counted each time that they are named."""
    depth: int = 16
    """Folders in folders."""
    path: int = 1_024
    """Bytes of one path."""
    seconds: float = 120.0
    """For all of it."""
    memory: int = 144 << 20
    """What the process may have for its data: beside the daemon it has to fit into the unit's MemoryMax."""


@dataclass(frozen=True, slots=True)
class ProxyAt:
    """A forward proxy, spoken to by CONNECT; `authorization` is the value of Proxy-Authorization, or ""."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """How the server is verified beside the anchors; versions are `1.2` and `1.3`, as in trust/policy.py.

    `any_name`: the anchors vouch for WFMs only, and nobody knows its name. `now`: Unix seconds by which the
    certificates' times are judged where the system's clock cannot be right; None: by that clock.
    """

    minimum: str = "1.2"
    maximum: str = "1.3"
    strict_x509: bool = False
    any_name: bool = False
    now: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One fetch. `url` is https and was judged by protocols/token/origins.py; `ca` is PEM, the whole trust there is.

    Without `ca` it is the `system`'s: a file and a directory as OpenSSL has them, either may be "". `addresses` are
    where the host listens; () asks the name servers.

    `known` is the commit that the mirror has (40 hexadecimal digits, or ""): nothing is fetched if the branch still
    points there, and otherwise it is told whether the new one descends from it.
    """

    url: str
    branch: str
    ca: str
    user: str
    token: str = field(repr=False)
    known: str = ""
    proxy: ProxyAt | None = None
    limits: Limits = field(default_factory=Limits)
    tls: Tls = field(default_factory=Tls)
    system: tuple[str, str] = ("", "")
    addresses: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Return it as the child reads it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Job:
        """Return what `encode` made."""
        value = json.loads(data)
        proxy = value.pop("proxy")
        value["limits"], value["tls"] = Limits(**value["limits"]), Tls(**value["tls"])
        value["system"], value["addresses"] = tuple(value["system"]), tuple(value["addresses"])
        return cls(**value, proxy=None if proxy is None else ProxyAt(**proxy))


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a branch holds. `files` is None if it still points to the known commit.

    `rewound`: the known commit is no ancestor of this one, as far as the server shows it: history was rewritten.
    `notes` name what is in the tree and was left out, a sentence each.
    """

    commit: str
    files: Mapping[str, bytes] | None
    rewound: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """Why there is nothing. `code` is one of `CODES`; `detail` is for a person and has no secret in it."""

    code: str
    detail: str
    retry_after: float | None = None


UNREACHABLE: Final = "unreachable"
UNTRUSTED: Final = "untrusted"
UNAUTHORIZED: Final = "unauthorized"
NOT_FOUND: Final = "not-found"
NO_BRANCH: Final = "no-branch"
REDIRECTED: Final = "redirected"
BUSY: Final = "busy"
MALFORMED: Final = "malformed"
TOO_LARGE: Final = "too-large"
HOSTILE: Final = "hostile"
TIMED_OUT: Final = "timed-out"
CODES: Final = frozenset(
    {
        *(UNREACHABLE, UNTRUSTED, UNAUTHORIZED, NOT_FOUND, NO_BRANCH, REDIRECTED),
        *(BUSY, MALFORMED, TOO_LARGE, HOSTILE, TIMED_OUT),
    }
)


class Refusal(Exception):
    """Raised inside the child: the fetch ends here."""

    def __init__(self, code: str, detail: str, retry_after: float | None = None) -> None:
        assert code in CODES, code
        super().__init__(detail)
        self.code, self.detail, self.retry_after = code, detail, retry_after
