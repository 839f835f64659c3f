"""Imports without side effects."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys

import pytest

from margod.service.imports import lean


def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that all names are given back as they were, set or not, also after an error."""
    monkeypatch.setenv("SSL_CERT_FILE", "/a/file")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with pytest.raises(ImportError), lean():
        assert ssl.create_default_context().get_ca_certs() == []
        raise ImportError
    assert os.environ["SSL_CERT_FILE"] == "/a/file"
    assert "SSL_CERT_DIR" not in os.environ
    assert "FROZENLIST_NO_EXTENSIONS" not in os.environ


def test_aiohttp_does_not_read_the_systems_cas() -> None:
    """Pins that the contexts that aiohttp makes for itself trust nobody when the daemon is imported as `run` does.

    And that it brings no aiohttp.web, whose application and file server nobody needs here, no C++ library and no
    archives; these can be imported later all the same.
    """
    code = (
        "from margod.service.imports import lean\n"
        "with lean():\n"
        "    import margod.daemon\n"
        "import sys\n"
        "assert not {'bz2', 'lzma'} & set(sys.modules)\n"
        "assert 'libstdc++' not in open('/proc/self/maps').read()\n"
        "import lzma\n"
        "from aiohttp import connector\n"
        "assert not {'aiohttp.web', 'http_message_signatures'} & set(sys.modules)\n"
        "assert connector._SSL_CONTEXT_VERIFIED.cert_store_stats()['x509'] == 0\n"
        "assert connector._SSL_CONTEXT_UNVERIFIED.cert_store_stats()['x509'] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
