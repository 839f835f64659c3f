"""The settings of trust in the WFM."""

# ruff: noqa: RUF009 - as in settings.py

from __future__ import annotations

from pathlib import Path

import attrs

from margod.config import values
from margod.config.pins import PINS
from margod.config.setting import setting as _setting


@attrs.frozen(kw_only=True)
class Trust:
    """How the WFM is known to be the right one; the first that is set counts. With none nothing is ever sent."""

    ca_file: Path | None = _setting(
        values.path(),
        None,
        "The WFM's root CA, one or several, PEM or DER; absolute path. They become the only trust anchors. A changed "
        "file is taken over within two minutes.",
        example="/etc/margod/wfm-ca.pem",
    )
    pin: tuple[str, ...] | None = _setting(
        PINS,
        None,
        "SHA-256 of the WFM's root CA certificate (hex, colons allowed), or spki: and that of its public key (hex or "
        "base64), or a list of these. The root CA is downloaded from the WFM and taken only if it matches. "
        "`margod trust pin FILE` prints the line.",
        example="spki:6c7c1b1d0c5f2a4e8f9a3b5d7e1f20314253647586970a1b2c3d4e5f60718293",
    )
    system: bool = _setting(
        values.BOOLEAN,
        False,
        "true: without a ca_file the system's CA store verifies the server, and the root CA is downloaded from it.",
    )
    first_use: str = _setting(
        values.choice("off", "ask", "accept"),
        "off",
        "ask: whatever root CA the WFM's address offers is shown in the status, and taken after "
        "`margod trust accept FINGERPRINT`. accept: it is taken unseen; for a lab only, and said for ever.",
    )
    ca_is_wfm_only: bool = _setting(
        values.BOOLEAN,
        False,
        "true: the root CA vouches for WFMs only, never for printers, so a discovered WFM may bear any host name.",
    )
    refresh: float = _setting(
        values.duration("1s", "30d", off=True),
        86_400.0,
        "How often an enrolled device asks the WFM for its root CA again, over the verified channel; off: never.",
    )
    adopt_after: float = _setting(
        values.duration("1s", "365d"),
        259_200.0,
        "For how long the WFM has to offer another root CA before it can become a trust anchor beside the old one. "
        "Never with ca_file or pin.",
    )
    on_change: str = _setting(
        values.choice("hold", "ask"),
        "hold",
        "When the WFM suddenly presents another root CA. hold: nothing is sent until the old one verifies it again. "
        "ask: the root CA offered at its address is shown as well, for `margod trust accept FINGERPRINT`; not with "
        "ca_file or pin.",
    )
