"""The proxy in the YAML and in the environment: what is taken, what is refused, and that no password is repeated."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.config.proxy import from_environment, normalise
from margod.config.refusal import Refusal
from tests.config.support import problems, write

WFM = "https://wfm.plant.example:8443/margo"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("none", "none"),
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("HTTP://Proxy.Example:3128/", "http://proxy.example:3128"),
        ("http://10.0.0.1:80", "http://10.0.0.1:80"),
        ("http://proxy.example:443", "http://proxy.example:443"),
        ("http://[FD00::0001]:8080", "http://[fd00::1]:8080"),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    """Scheme and host are lower-case, the port stays; the form is stable."""
    assert normalise(text) == normal
    assert normalise(normal) == normal


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("https://proxy.example:3128", "https:// proxy", "http:// port"),
        ("socks5://proxy.example:1080", "not an http:// proxy", "not SOCKS"),
        ("http://proxy.example", "no port", ":3128"),
        ("proxy.example:3128", "no scheme", "http://"),
        ("http://me:s3cret@proxy.example:3128", "user name or password", "wfm.proxy_credentials_file"),
        ("https://s3cret@proxy.example:3128", "user name or password", "wfm.proxy_credentials_file"),
        ("http://proxy.example:3128/path", "path", ""),
        ("http://proxy.example:3128?x", "path, query", ""),
        ("http://proxy.example:0", "1 to 65535", ""),
        ("http://[fe80::1]:3128", "link-local", ""),
        ("http://:3128", "no host", ""),
        ("http://a b:1", "spaces", ""),
        ("", "no scheme", ""),
        ("None", "no scheme", ""),
    ],
)
def test_refused(text: str, message: str, hint: str) -> None:
    """What is not an http:// proxy with its port is refused with what to write, without repeating a password."""
    with pytest.raises(Refusal) as caught:
        normalise(text)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "s3cret" not in caught.value.message + caught.value.hint


def test_problems_in_a_file(tmp_path: Path) -> None:
    """They are problems of the file, with line and key, beside those of the signed authority and a link-local WFM."""
    found = problems(
        write(
            tmp_path,
            'wfm:\n  url: "https://[fe80::1]:8443"\n  proxy: "http://me:s3cret@p:1"\n  signed_authority: "https://x"\n'
            "  signed_scheme: ftp\n",
        )
    )
    assert [line.split(": ")[:2] for line in found] == [
        [f"margod.yaml:{n}", f"wfm.{key}"]
        for n, key in ((2, "url"), (3, "proxy"), (4, "signed_authority"), (5, "signed_scheme"))
    ]
    assert "link-local" in found[0]
    assert "interface" in found[0]
    assert "s3cret" not in "".join(found)


@pytest.mark.parametrize(
    ("env", "address", "credentials"),
    [
        ({}, None, b""),
        ({"HTTPS_PROXY": ""}, None, b""),
        ({"HTTP_PROXY": "http://p:1"}, None, b""),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1", b""),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:2"}, "http://q:2", b""),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": ""}, None, b""),
        ({"HTTPS_PROXY": "p.example:3128"}, "http://p.example:3128", b""),
        ({"HTTPS_PROXY": " http://p.example/ "}, "http://p.example:80", b""),
        ({"HTTPS_PROXY": "http://me:s%3Acr%40t@p:1"}, "http://p:1", b"me:s:cr@t"),
        ({"HTTPS_PROXY": "me:pw@p:1"}, "http://p:1", b"me:pw"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None, b""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.example, .plant.example"}, None, b""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "plant.example"}, None, b""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*.plant.example"}, None, b""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "WFM.Plant.Example:8443"}, None, b""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "wfm.plant.example:443"}, "http://p:1", b""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "ant.example"}, "http://p:1", b""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8 , ,."}, "http://p:1", b""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*", "no_proxy": "x"}, "http://p:1", b""),
    ],
)
def test_environment(env: dict[str, str], address: str | None, credentials: bytes) -> None:
    """The lower-case variable counts first, empty is none, and NO_PROXY excepts names with all below them."""
    found = from_environment(env, WFM)
    assert (found and found.address) == address
    assert (found.credentials if found else b"") == credentials
    assert b"s3cret" not in repr(found).encode()


@pytest.mark.parametrize(
    ("url", "excepted", "direct"),
    [
        ("https://10.1.2.3:8443", "10.0.0.0/8", True),
        ("https://10.1.2.3:8443", "10.1.2.3", True),
        ("https://10.1.2.3:8443", "10.1.2.3:8443", True),
        ("https://10.1.2.3:8443", "10.1.2.3:443", False),
        ("https://10.1.2.3:8443", "2.3", False),
        ("https://[fd00::1]:8443", "fd00::/8", True),
        ("https://[fd00::1]:8443", "[fd00::1]", True),
        ("https://[fd00::1]:8443", "[fd00::1]:8443", True),
        ("https://[fd00::1]:8443", "fd00::2", False),
        ("https://127.0.0.1:8443", "", True),
        ("https://[::1]", "", True),
        ("https://localhost:1", "", True),
        ("https://wfm.localhost", "", True),
        ("https://notlocalhost", "", False),
    ],
)
def test_exceptions_by_address(url: str, excepted: str, direct: bool) -> None:
    """Addresses are excepted by themselves or by their network; loopback always is."""
    assert (from_environment({"HTTPS_PROXY": "http://p:1", "NO_PROXY": excepted}, url) is None) is direct


@pytest.mark.parametrize("text", ["https://me:s3cret@p:1", "socks5h://s3cret@p:1", "http://me:s3cret@[x]:1", "\x00"])
def test_unusable_environment(text: str) -> None:
    """What cannot be used says the variable, and repeats no password."""
    with pytest.raises(Refusal, match="HTTPS_PROXY") as caught:
        from_environment({"HTTPS_PROXY": text}, WFM)
    assert "s3cret" not in caught.value.message + caught.value.hint


@given(st.text(max_size=80), st.text(max_size=80))
def test_anything_ends_in_a_proxy_or_a_refusal(proxy: str, excepted: str) -> None:
    """No text in the environment or the YAML raises anything else."""
    for call in (lambda: from_environment({"https_proxy": proxy, "no_proxy": excepted}, WFM), lambda: normalise(proxy)):
        with suppress(Refusal):
            call()
