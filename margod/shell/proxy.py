"""The way to the WFM: which proxy the configuration and the environment want, and with which credentials."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from margod.config import Config
from margod.config.proxy import NONE, from_environment
from margod.config.refusal import Refusal
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.text import clean
from margod.store import read_vouched
from margod.wfm import Proxy

CREDENTIALS_LIMIT: Final = 1_024
"""Bytes of a credentials file; many proxies take no longer header."""


def choose(
    config: Config, env: Mapping[str, str], url: str, *, discovered: bool = False, user: int | None = None
) -> Proxy | None:
    """Return the proxy to reach `url` by, None for none. Reads a file: call it in the disk thread.

    A WFM that was `discovered` is on this network and is reached directly. `user`: the user id whose symbolic links
    lead to the file beside root's, where that is not whoever asks. Raises MargodError: proxy-unusable (the
    environment's) or proxy-credentials-unreadable. No message has a credential.
    """
    settings = config.wfm
    if settings.proxy == NONE or discovered:
        return None
    if settings.proxy is not None:
        address, credentials = settings.proxy, b""
    else:
        try:
            found = from_environment(env, url)
        except Refusal as refusal:
            raise MargodError(reasons.PROXY_UNUSABLE, refusal.message, hint=refusal.hint) from None
        if found is None:
            return None
        address, credentials = found.address, found.credentials
    if settings.proxy_credentials_file is not None:
        credentials = _read(settings.proxy_credentials_file, os.geteuid() if user is None else user)
    return Proxy(address, f"Basic {base64.b64encode(credentials).decode('ascii')}" if credentials else "")


def _read(path: Path, user: int) -> bytes:
    name = f"{clean(str(path))} (wfm.proxy_credentials_file)"
    try:
        data = read_vouched(path, CREDENTIALS_LIMIT, {0, user})
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        says = (isinstance(error, OSError) and error.strerror) or "not a usable path"
        raise MargodError(reasons.PROXY_CREDENTIALS_UNREADABLE, f"{name}: {says}") from None
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not line.partition(b":")[0] or b":" not in line or any(byte < 32 or byte == 127 for byte in line):
        raise MargodError(reasons.PROXY_CREDENTIALS_UNREADABLE, f"{name} is not one line of user:password")
    return line
