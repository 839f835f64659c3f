"""Importing libraries without what they do on the side."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
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
    # The grammar and the parser of mail's headers, for the parameters of a Content-Type: no answer's is looked at.
    "email.policy",
    "email.parser",
    "email.message",
    # OpenSSH's forms of keys and certificates, which cryptography lists among its own.
    "cryptography.hazmat.primitives.serialization.ssh",
    # Names in other alphabets: yarl asks it for hosts that are not ASCII, which is where it is loaded.
    "idna",
    # aiohttp's cookies from a file, structlog's loggers in one: there are no such files.
    "pickle",
    # Python's own grammar: inspect finds the lines of a class by it, and reads signatures of functions in C.
    "ast",
    # A file for what a server is sent in a form, and the kinds of files by their endings.
    "tempfile",
    "mimetypes",
    # A random name for the parts of a form, and for a class of structlog's that nobody makes.
    "uuid",
    # Which Python this is, of which system: none of those that attrs and aiohttp have an exception for.
    "platform",
    # What attrs can check: no class of ours or of aiohttp has anything checked.
    "attr.validators",
    "attrs.validators",
    # WebSockets, and passwords by digest.
    "aiohttp._websocket.reader_c",
    "aiohttp.client_middleware_digest_auth",
    # structlog's own renderers for terminals and of tracebacks, which it makes at once, and those for other people's
    # loggers; the journal is written by service/journal.py.
    "structlog.dev",
    "structlog.stdlib",
    "structlog.tracebacks",
    "structlog.twisted",
)
"""From these, libraries take a function or an object that margod never has them use: a quarter to half a MiB each."""
_LASTING: Final = (
    # What cryptography can say of its own OpenSSL: each signature takes it, and asks it only where it is to be the same
    # every time (RFC 6979). It brings all ciphers along: one MiB.
    "cryptography.hazmat.backends.openssl.backend",
    # Whole trees and archives: tarfile has it copy what it never copies here, and it brings two compressors along.
    "shutil",
)
"""The same, for what is taken when something is done: these stand until something is wanted of them."""


class _Later:
    """Stands for a function or an object of a module, which is imported as soon as something is wanted of it."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *given: Any, **named: Any) -> Any:
        if self._module not in _LASTING and isinstance(sys.modules.get(self._module), _StandIn):
            # A library calls it while it is loaded itself.
            return _Made(self, given, named)
        return self._real()(*given, **named)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._real(), attribute)

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        # A class that a library makes of it while it is loaded itself inherits from it as soon as one is made.
        return (_heir(self._real) if isinstance(sys.modules.get(self._module), _StandIn) else self._real(),)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real())

    def _real(self) -> Any:
        if self._module in _LASTING and isinstance(sys.modules.get(self._module), _StandIn):
            sys.modules.pop(self._module, None)
        return getattr(import_module(self._module), self._name)


def _heir(real: Callable[[], Any]) -> type:
    """Return the base of a class until there is an instance of it; from then on it is what `real` returns."""

    class Heir:
        def __new__(cls, *given: Any, **named: Any) -> Any:
            each: Any
            for each in cls.__mro__:
                if Heir in each.__bases__:
                    each.__bases__ = tuple(real() if base is Heir else base for base in each.__bases__)
                    if each.__new__ is object.__new__:  # it has this method's slot, which takes no arguments
                        each.__new__ = staticmethod(lambda kind, *_, **__: object.__new__(kind))
            return cls.__new__(cls, *given, **named)

    return Heir


class _Made:
    """Stands for what such a function returns; it is called when something calls the result."""

    def __init__(self, maker: _Later, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._maker, self._given, self._named = maker, given, named

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._maker(*self._given, **self._named)(*given, **named)


class _StandIn(ModuleType):
    """Stands for a module from which names are taken, none of which is used at once."""

    def __getattr__(self, name: str) -> _Later:
        if name.startswith("__"):  # what the import system asks of every module
            raise AttributeError(name)
        return _Later(self.__name__, name)


class _Late:
    """Stands for a module of ours, which is imported when something is wanted of it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


def late(name: str) -> Any:
    """Return what stands for the module of this name, and imports it at the first use."""
    return _Late(name)


@contextmanager
def lean() -> Iterator[None]:
    """Have what is imported inside do no more than it has to. For the time before there are threads."""
    before = {name: os.environ.get(name) for name in _WITHOUT}
    absent = [name for name in _NOT_WANTED if name not in sys.modules]
    stand_ins = [name for name in _STAND_INS if name not in sys.modules]
    lasting = [name for name in _LASTING if name not in sys.modules]
    os.environ.update(_WITHOUT)
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None stands for "cannot be imported"
    for name in (*stand_ins, *lasting):
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
