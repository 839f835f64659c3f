"""Where requests of the `token` generation go, and what the development WFM is told about its tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from margod.devwfm.decisions import Route

REPOSITORY: Final = "/git/desired.git"
_CAPABILITIES: Final = re.compile(r"/device/([^/]+)/capabilities")
_STATUS: Final = re.compile(r"/device/([^/]+)/deployment/([^/]+)/status")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """For how long tokens hold, seconds, from when they are given; and whether the repository comes at once."""

    bearer: int = 3_600
    git: int = 3_600
    git_later: bool = False


ALL_AN_HOUR: Final = Lifetimes()


def token_route_of(prefix: str, target: str) -> Route:
    """Match the raw request target against the routes under `prefix`; nothing is normalised."""
    path = target.partition("?")[0]
    if not path.startswith(prefix):
        return Route("other")
    path = path[len(prefix) :]
    fixed = {
        "/onboarding/certificate": "certificate",
        "/onboarding/": "onboarding",
        "/onboarding/git": "git-access",
        "/oauth/token": "token",
    }
    if path in fixed:
        return Route(fixed[path])
    if match := _CAPABILITIES.fullmatch(path):
        return Route("capabilities", device_id=unquote(match[1]))
    if match := _STATUS.fullmatch(path):
        return Route("status", device_id=unquote(match[1]), deployment_id=unquote(match[2]))
    if path.startswith(f"{REPOSITORY}/"):
        return Route("repository", segment=path[len(REPOSITORY) :])
    return Route("other")
