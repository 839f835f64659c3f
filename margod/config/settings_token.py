"""The settings of the `token` generation, of the table in settings.py."""

# As in settings.py:

from __future__ import annotations

import attrs

from margod.config import lists
from margod.config.setting import setting as _setting


@attrs.frozen(kw_only=True)
class TokenSettings:
    """What only a WFM of the drafts of 2024 needs (wfm.protocol: token)."""

    allowed_hosts: tuple[str, ...] | None = _setting(
        lists.authorities(),
        None,
        "Hosts beside the WFM's own that may be sent this device's secrets, each with its port unless it is 443: where "
        "the token endpoint and the Git repository may be. What the WFM names beyond these is not used.",
        example="login.example, git.example:8443",
    )
