"""Importing libraries without what they do on the side."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Final

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


_STAND_INS: Final = (
    # Clients of HTTP and FTP and temporary files: aiohttp asks the environment for proxies by them where it is told to
    # (`trust_env`), which margod never does.
    "urllib.request",
    # A table of the 2,231 names of HTML's characters: aiohttp writes pages for errors, it reads none.
    "html",
    # The grammar of mail's headers, for the parameters of a Content-Type: no answer's is looked at.
    "email.policy",
    # OpenSSH's forms of keys and certificates, which cryptography lists among its own.
    "cryptography.hazmat.primitives.serialization.ssh",
)
"""From these, libraries take a function or an object that margod never has them use: a third to half a MiB each."""


class _Later:
    """Stands for a function or an object of a module, which is imported as soon as something is wanted of it."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *given: Any, **named: Any) -> Any:
        return getattr(import_module(self._module), self._name)(*given, **named)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(getattr(import_module(self._module), self._name), attribute)


class _StandIn(ModuleType):
    """Stands for a module from which names are taken, none of which is used at once."""

    def __getattr__(self, name: str) -> _Later:
        if name.startswith("__"):  # what the import system asks of every module
            raise AttributeError(name)
        return _Later(self.__name__, name)


@contextmanager
def lean() -> Iterator[None]:
    """Have what is imported inside do no more than it has to. For the time before there are threads."""
    before = {name: os.environ.get(name) for name in _WITHOUT}
    absent = [name for name in _NOT_WANTED if name not in sys.modules]
    stand_ins = [name for name in _STAND_INS if name not in sys.modules]
    os.environ.update(_WITHOUT)
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None stands for "cannot be imported"
    for name in stand_ins:
        sys.modules[name] = _StandIn(name)
    try:
        yield
    finally:
        for name in (*absent, *stand_ins):  # whoever imports them later gets the real ones
            del sys.modules[name]
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
