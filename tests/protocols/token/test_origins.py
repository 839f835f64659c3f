"""Where secrets may go: what is no plain https URL goes nowhere, and an origin has one form in which it is compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.protocols.token.origins import NotUsable, Origins, read_place

REFUSED: list[object] = [
    None,
    7,
    "",
    {},
    "http://wfm.example/token",
    "//wfm.example/token",
    "ftp://wfm.example/",
    "https://",
    "https:///token",
    "https://user@wfm.example/token",
    "https://user:secret@wfm.example/token",
    "https://wfm.example:443@evil.example/",
    "https://wfm.example/token#part",
    "https://wfm.example/token#",
    "https://wfm.example/../token",
    "https://wfm.example/a/%2e%2E/token",
    "https://wfm.example//token",
    "https://wfm.example:0/",
    "https://wfm.example:65536/",
    "https://wfm.example:/",
    "https://wfm.example./",
    "https://wfm..example/",
    "https://wfm.example\\@evil.example/",
    "https://wfm.example /",
    "https://wfm.example/\n",
    "https://wfm.example\n.evil/",
    "https://wfm%2eexample/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://127.1/",
    "https://[fd00::1/",
    "https://[fe80::1%25eth0]/",
    "https://[::ffff]x/",
    "https://wfm.exämple/",
    "https://wfm.example/ä",
    "https://wfm.example/" + "a" * 2048,
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda t: repr(t)[:50])
def test_what_is_no_plain_https_url_is_refused(text: object) -> None:
    """Each for a reason that a person can read, and that repeats nothing of the URL."""
    with pytest.raises(NotUsable) as refused:
        read_place(text, query=True)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "url", "origin"),
    [
        ("https://wfm.example", "https://wfm.example", "https://wfm.example"),
        ("HTTPS://WFM.Example:443/Path/", "https://wfm.example/Path", "https://wfm.example"),
        ("https://wfm.example:08443/a%2Fb", "https://wfm.example:8443/a%2Fb", "https://wfm.example:8443"),
        ("https://[FD00:0::1]:8443/r.git", "https://[fd00::1]:8443/r.git", "https://[fd00::1]:8443"),
        ("https://192.0.2.1/x", "https://192.0.2.1/x", "https://192.0.2.1"),
    ],
)
def test_a_place_has_one_form(text: str, url: str, origin: str) -> None:
    """Case of the host, the default port and how an address is written make no second origin."""
    place = read_place(text)
    assert (place.url, place.origin) == (url, origin)


def test_only_a_token_endpoint_may_have_a_query() -> None:
    """RFC 6749 3.2 allows one there; a repository has none."""
    assert read_place("https://a.example/token?tenant=1", query=True).url == "https://a.example/token?tenant=1"
    with pytest.raises(NotUsable, match="query"):
        read_place("https://a.example/r.git?x=1")


def test_secrets_go_to_the_own_origin_and_to_listed_ones_alone() -> None:
    """Another port is another origin; a listed host without one is port 443; neighbours in the name are strangers."""
    origins = Origins.of("https://WFM.example:8443/prefix", ["git.example", "Login.example:9000"])
    for good in ("https://wfm.example:8443/token", "https://git.example:443/r", "https://login.example:9000/t"):
        assert origins.check(read_place(good)).url.startswith("https://")
    for bad in (
        "https://wfm.example/token",
        "https://git.example:8443/r",
        "https://login.example/t",
        "https://evil.git.example/r",
        "https://git.example.evil.example/r",
        "https://xgit.example/r",
    ):
        with pytest.raises(NotUsable, match=r"token\.allowed_hosts"):
            origins.check(read_place(bad))


@pytest.mark.parametrize(
    "host", ["https://git.example", "git.example/", "*.example", "", "a b", "git.example:x", "u@h"]
)
def test_a_listed_host_is_a_host(host: str) -> None:
    """No pattern, no URL: what is not exactly a host is refused instead of matching nothing."""
    with pytest.raises(NotUsable):
        Origins.of("https://wfm.example", [host])


@given(st.text(max_size=60), st.sampled_from(["https://", "https://wfm.example", "https://wfm.example@", ""]))
def test_no_text_gets_a_secret_to_another_host(text: str, before: str) -> None:
    """Whatever follows: it is refused, or it is a URL whose authority says plainly where it goes."""
    from urllib.parse import urlsplit

    try:
        place = read_place(before + text, query=True)
    except NotUsable:
        return
    assert urlsplit(place.url).hostname == urlsplit(place.origin).hostname
    assert urlsplit(place.url).netloc == place.authority
    assert read_place(place.url, query=True) == place
