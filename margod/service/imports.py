"""Importing a library without what it does on the side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NOTHING: Final = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


@contextmanager
def without_system_cas() -> Iterator[None]:
    """Have OpenSSL find no CA in the system's places, for what is imported inside.

    aiohttp fills two TLS contexts with every CA of the system when it is imported: a fifth of margod's start and
    1.6 MiB for contexts that are never used, because each connection is made with the context of its own trust policy.
    Empty, they trust nobody. `trust.system` is read later, from the real places. For the time before there are threads.
    """
    before = {name: os.environ.get(name) for name in _NOTHING}
    os.environ.update(_NOTHING)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
