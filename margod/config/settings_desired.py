"""The settings of the desired state in Git; the table is in settings.py."""

# Fields of frozen attrs classes; what RUF009 warns of (a default shared and changed) cannot happen to them:
# ruff: noqa: RUF009

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import attrs

from margod.config import values
from margod.config.setting import section as _section
from margod.config.setting import setting as _setting

_BRANCH: Final = re.compile(r"(?![/.-])(?!.*(?:\.\.|//|/\.|\.lock(?:/|$)))[A-Za-z0-9._/+-]{1,200}(?<![./])")
"""A part of what git-check-ref-format(1) lets through, without what would have to be quoted anywhere."""
_USER: Final = re.compile(r"[!-9;-~]{1,200}")


@attrs.frozen(kw_only=True)
class Git:
    """How the Git repository of the desired state is read."""

    branch: str = _setting(
        values.text(200, pattern=_BRANCH, what="a branch name"),
        "main",
        "The branch that holds what is to run here.",
    )
    user: str = _setting(
        values.text(200, pattern=_USER, what="a user name without blanks and colons"),
        "oauth2",
        "User name that goes with the access token; most Git servers take any.",
    )
    token_file: Path | None = _setting(
        values.path(),
        None,
        "File with an access token for the repository, alone on one line; absolute path, also that of a systemd "
        "credential; symbolic links of root and of the user margod are followed. A changed file is tried at the next "
        "poll, and takes the old token's place if it works.",
        example="/run/credentials/margod.service/git-token",
    )
    allow_rewind: bool = _setting(
        values.BOOLEAN,
        False,
        "true: take a branch whose history was rewritten (pushed by force), too. Otherwise it waits for `margod "
        "deployments accept`.",
    )


@attrs.frozen(kw_only=True)
class DesiredStateSettings:
    """Where what is to run here comes from, in generations that keep it outside of the WFM (wfm.protocol: token)."""

    git: Git = _section(Git)
