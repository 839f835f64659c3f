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
        "assert not {'aiohttp.web', 'http_message_signatures', 'margod.shell.door'} & set(sys.modules)\n"
        "assert connector._SSL_CONTEXT_VERIFIED.cert_store_stats()['x509'] == 0\n"
        "assert connector._SSL_CONTEXT_UNVERIFIED.cert_store_stats()['x509'] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_what_was_left_out_is_there_when_it_is_used() -> None:
    """Pins that what libraries took from a module that was left out does the real thing, and costs nothing before."""
    code = (
        "import sys\n"
        "from margod.service.imports import lean\n"
        "with lean():\n"
        "    import asyncio, structlog, margod.daemon\n"
        "left_out = {'urllib.request', 'http.client', 'html', 'html.entities', 'email.policy', 'email.parser',\n"
        "            'email.message',\n"
        "            'cryptography.hazmat.primitives.serialization.ssh', 'idna', 'pickle', 'tempfile',\n"
        "            'ast', 'mimetypes', 'uuid', 'platform', 'attr.validators', 'structlog.dev',\n"
        "            'structlog.stdlib', 'structlog.tracebacks', 'aiohttp._websocket.reader_c', 'sqlite3',\n"
        "            'margod.engine.delivery'}\n"
        "assert not left_out & set(sys.modules), left_out & set(sys.modules)\n"
        "from aiohttp import helpers, web_protocol\n"
        "from cryptography.exceptions import UnsupportedAlgorithm\n"
        "from cryptography.hazmat.primitives import serialization\n"
        "assert helpers.parse_content_type('text/plain; charset=latin-1')[1]['charset'] == 'latin-1'\n"
        "assert web_protocol.html_escape('<a>') == '&lt;a&gt;'\n"
        "from email import message\n"
        "assert isinstance(helpers.EnsureOctetStream(), message.EmailMessage)\n"
        "import io, pickle\n"
        "from aiohttp import cookiejar\n"
        "assert cookiejar._RestrictedCookieUnpickler(io.BytesIO(pickle.dumps(7))).load() == 7\n"
        "assert helpers.getproxies() == {}\n"
        "try:\n"
        "    serialization.load_ssh_public_key(b'no key')\n"
        "except UnsupportedAlgorithm:\n"
        "    pass\n"
        "else:\n"
        "    raise AssertionError\n"
        "import attrs, structlog, yarl\n"
        "assert yarl.URL('https://xn--bcher-kva.example/').host == 'b\u00fccher.example'\n"
        "assert yarl.URL('https://b\u00fccher.example/').raw_host == 'xn--bcher-kva.example'\n"
        "short = attrs.make_class('Short', {'name': attrs.field(validator=attrs.validators.max_len(3))})\n"
        "assert short('abc').name == 'abc'\n"
        "try:\n"
        "    short('abcd')\n"
        "except ValueError:\n"
        "    pass\n"
        "else:\n"
        "    raise AssertionError\n"
        "assert 'ZeroDivisionError' in structlog.processors.dict_tracebacks(\n"
        "    None, '', {'exc_info': ZeroDivisionError()})['exception'][0]['exc_type']\n"
        "import inspect\n"
        "assert 'obj' in inspect.signature(len).parameters\n"
        "structlog.get_logger().warning('said', by='its own renderer')\n"
        "import html\n"
        "assert html.unescape('&eacute;') == chr(233)\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240, env=env)


def test_a_signature_does_without_what_cryptography_knows_of_openssl() -> None:
    """Pins that keys are made and used without that module, and that it is the real one as soon as one asks it."""
    code = (
        "import sys\n"
        "from margod.service.imports import lean\n"
        "with lean():\n"
        "    import margod.daemon\n"
        "from cryptography.hazmat.primitives import hashes, serialization\n"
        "from cryptography.hazmat.primitives.asymmetric import ec, ed25519\n"
        "key = ec.generate_private_key(ec.SECP256R1())\n"
        "signed = key.sign(b'', ec.ECDSA(hashes.SHA256()))\n"
        "key.public_key().verify(signed, b'', ec.ECDSA(hashes.SHA256()))\n"
        "assert 'cryptography.hazmat.bindings.openssl.binding' not in sys.modules\n"
        "ed25519.Ed25519PrivateKey.generate().sign(b'')\n"
        "how = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)\n"
        "key.public_key().verify(key.sign(b'', how), b'', how)\n"
        "assert 'cryptography.hazmat.bindings.openssl.binding' in sys.modules\n"
        "from cryptography.hazmat.backends import default_backend\n"
        "assert default_backend().name == 'openssl'\n"
        "from cryptography.hazmat.backends.openssl.backend import backend\n"
        "assert type(backend).__name__ == 'Backend'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_a_bundle_is_opened_without_other_compressors() -> None:
    """Pins that tarfile brings neither bzip2 nor LZMA, and that what it took from shutil is the real thing."""
    code = (
        "import sys\n"
        "from margod.service.imports import lean\n"
        "with lean():\n"
        "    import margod.daemon\n"
        "import tarfile\n"
        "assert not {'bz2', 'lzma'} & set(sys.modules)\n"
        "import io, shutil\n"
        "into = io.BytesIO()\n"
        "shutil.copyfileobj(io.BytesIO(b'whole'), into)\n"
        "assert into.getvalue() == b'whole'\n"
        "import shutil\n"
        "assert issubclass(shutil.SameFileError, OSError)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
