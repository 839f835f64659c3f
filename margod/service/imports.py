"""Importing libraries without what they do on the side."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_WITHOUT: Final = {
    # aiohttp fills two TLS contexts with every CA of the system: a fifth of margod's start and 1.6 MiB for contexts
    # that are never used, because each connection is made with the context of its own trust policy. Empty, they trust
    # nobody. `trust.system` is read later, from the real places.
    "SSL_CERT_FILE": os.devnull,
    "SSL_CERT_DIR": os.devnull,
    # frozenlist's compiled part brings the C++ library along, 1 MiB for lists of two callbacks; it has a Python part.
    "FROZENLIST_NO_EXTENSIONS": "1",
}
_NOT_WANTED: Final = ("bz2", "lzma")
"""shutil, which aiohttp brings, loads these for archives where they are there, and does without where they are not."""


@contextmanager
def lean() -> Iterator[None]:
    """Have what is imported inside do no more than it has to. For the time before there are threads."""
    before = {name: os.environ.get(name) for name in _WITHOUT}
    absent = [name for name in _NOT_WANTED if name not in sys.modules]
    os.environ.update(_WITHOUT)
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None stands for "cannot be imported"
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
