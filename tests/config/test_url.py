"""The WFM's root URL: its one form, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.config.refusal import Refusal
from margod.config.url import LONGEST, authority, normalise


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://wfm.example", "https://wfm.example"),
        ("https://wfm.example/", "https://wfm.example"),
        ("https://host:8082/v1alpha2/margo", "https://host:8082/v1alpha2/margo"),
        ("https://host:8082/v1alpha2/margo///", "https://host:8082/v1alpha2/margo"),
        ("HTTPS://WFM.Example:8443/Tenant/A", "https://wfm.example:8443/Tenant/A"),
        ("https://wfm.example:443/x", "https://wfm.example/x"),
        ("https://wfm.example:08443", "https://wfm.example:8443"),
        ("https://wfm.example:65535", "https://wfm.example:65535"),
        ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
        ("https://[FD00:0:0::1]:8443/p", "https://[fd00::1]:8443/p"),
        ("https://[::ffff:192.0.2.1]", "https://[::ffff:c000:201]"),
        ("https://wfm_server:8443", "https://wfm_server:8443"),
        ("https://xn--strae-oqa.example", "https://xn--strae-oqa.example"),
        ("https://wfm.example/a%20b/~c;d=1,2:@!$&'()*+", "https://wfm.example/a%20b/~c;d=1,2:@!$&'()*+"),
        ("https://wfm.example/tenant@site", "https://wfm.example/tenant@site"),
        ("https://wfm.example/" + "a" * (LONGEST - 20), "https://wfm.example/" + "a" * (LONGEST - 20)),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    """Scheme and host are lower-case, 443 and trailing slashes go, prefix and port stay; the form is stable."""
    assert normalise(text) == normal.replace("::ffff:c000:201", _mapped())
    assert normalise(normalise(text)) == normalise(text)


def _mapped() -> str:
    """Return the library's spelling of the IPv4-mapped address, which differs between Python versions."""
    from ipaddress import IPv6Address

    return IPv6Address("::ffff:192.0.2.1").compressed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("http://wfm.example", "is http"),
        ("HTTP://wfm.example", "is http"),
        ("ftp://wfm.example", "not an https URL"),
        ("wfm.example", "no scheme"),
        ("wfm.example:8443", "no scheme"),
        ("//wfm.example", "no scheme"),
        ("https:/wfm.example", "no scheme"),
        ("https:wfm.example", "no scheme"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("https://:8443", "no host"),
        ("https://?x", "query"),
        ("https://user:secret@wfm.example", "user name or password"),
        ("http://user:secret@wfm.example", "user name or password"),
        ("https://user@wfm.example", "user name or password"),
        ("https://@wfm.example", "user name or password"),
        ("https://user:sec@ret@wfm.example", "user name or password"),
        ("https://wfm.example:99999", "1 to 65535"),
        ("https://wfm.example:65536", "1 to 65535"),
        ("https://wfm.example:0", "1 to 65535"),
        ("https://wfm.example:", "1 to 65535"),
        ("https://wfm.example:-1", "1 to 65535"),
        ("https://wfm.example:+1", "1 to 65535"),
        ("https://wfm.example:\uff18443", "1 to 65535"),
        ("https://wfm.example:84a3", "1 to 65535"),
        ("https://a:1:2", "1 to 65535"),
        ("https://fd00::1", "1 to 65535"),
        ("https://[fd00::1", "valid host and port"),
        ("https://[fd00::1]8443", "valid host and port"),
        ("https://[]", "not an IPv6 address"),
        ("https://[wfm.example]", "not an IPv6 address"),
        ("https://[fe80::1%eth0]", "zone"),
        ("https://[fe80::1%25eth0]", "zone"),
        ("https://wfm.example?x=1", "query or fragment"),
        ("https://wfm.example/?", "query or fragment"),
        ("https://wfm.example/#", "query or fragment"),
        ("https://wfm.example/#a\n", "control characters"),
        (" https://wfm.example", "spaces"),
        ("https://wfm.example\n", "control characters"),
        ("https://wfm .example", "spaces"),
        ("https://wfm.example/a\tb", "control characters"),
        ("https://wfm.example\u00a0", "spaces"),
        ("https://wfm.example\\@evil.example", "backslashes"),
        ("https://wfm.example/\ud800", "control characters"),
        ("https://straße.example", "outside ASCII"),
        ("https://wfm.example.", "ends in a dot"),
        ("https://wfm..example", "not a valid name"),
        ("https://.example", "not a valid name"),
        ("https://-wfm.example", "not a valid name"),
        ("https://wfm%2eexample", "not a valid name"),
        ("https://wfm*.example", "not a valid name"),
        ("https://" + "a" * 64 + ".example", "not a valid name"),
        ("https://" + "a." * 130 + "example", "not a valid name"),
        ("https://127.1", "IPv4"),
        ("https://2130706433", "IPv4"),
        ("https://0x7f.0.0.0x1", "IPv4"),
        ("https://256.1.1.1", "IPv4"),
        ("https://127.0.0.01", "IPv4"),
        ("https://1.2.3.4.5", "IPv4"),
        ("https://wfm.example/a//b", "dot segment"),
        ("https://wfm.example//b", "dot segment"),
        ("https://wfm.example/a/../b", "dot segment"),
        ("https://wfm.example/.", "dot segment"),
        ("https://wfm.example/a/%2E%2e/b", "dot segment"),
        ("https://wfm.example/.%2e", "dot segment"),
        ("https://wfm.example/ä", "percent-encoded"),
        ("https://wfm.example/a%2", "percent-encoded"),
        ("https://wfm.example/a%zz", "percent-encoded"),
        ("https://wfm.example/<a>", "percent-encoded"),
        ("https://wfm.example/" + "a" * LONGEST, "longer than"),
    ],
)
def test_refused(text: str, message: str) -> None:
    """Everything else is refused, in words that never hold the URL and so no password."""
    with pytest.raises(Refusal) as caught:
        normalise(text)
    assert message in caught.value.message
    assert "secret" not in caught.value.message + caught.value.hint + str(caught.value)


def test_http_has_a_hint() -> None:
    """The commonest mistake is answered with what to write."""
    with pytest.raises(Refusal) as caught:
        normalise("http://wfm.example")
    assert caught.value.hint == "begin it with https://"


@given(st.one_of(st.text(max_size=60), st.text(alphabet="aZ0.:/@?#[]%2e-_~\\ ", max_size=40).map("https://".__add__)))
def test_any_text_is_refused_or_stable(text: str) -> None:
    """Whatever is given: a Refusal, or a form that is printable ASCII, begins with https and is its own normal form."""
    try:
        normal = normalise(text)
    except Refusal:
        return
    assert normal.isascii()
    assert normal.isprintable()
    assert normal.startswith("https://")
    assert not normal.endswith("/")
    assert "@" not in normal.removeprefix("https://").split("/")[0]
    assert normalise(normal) == normal


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("wfm.internal", "wfm.internal"),
        ("WFM.internal:8080", "wfm.internal:8080"),
        ("wfm.internal:443", "wfm.internal"),
        ("[FD00::1]:8443", "[fd00::1]:8443"),
    ],
)
def test_authority(text: str, normal: str) -> None:
    """Host and port alone, in the form in which they go into signatures."""
    assert authority(text) == normal


@pytest.mark.parametrize("text", ["", "https://x", "x/y", "a@b", "x:0", "x y", "x\n", "x" * 3000, "[::1%eth0]"])
def test_authority_refused(text: str) -> None:
    """Whatever is more than host and port is refused."""
    with pytest.raises(Refusal):
        authority(text)


@pytest.mark.parametrize("text", ["https://[fe80::1]", "https://[FE80:0::1]:8443", "https://[fe80::1%25eth0]"])
def test_link_local_is_refused_with_what_to_do(text: str) -> None:
    """An address that says nothing without its interface is refused, with a zone or without."""
    with pytest.raises(Refusal) as caught:
        normalise(text)
    assert "valid on every interface" in caught.value.hint
