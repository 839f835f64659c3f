"""TXT, SRV and addresses from anybody: taken exactly, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.discovery import Candidate, decode
from margod.discovery.records import LONGEST_PATH, LONGEST_TXT, MOST_ADDRESSES, MOST_KEYS
from margod.model.text import clean


def txt(*entries: bytes) -> bytes:
    """Encode entries (RFC 6763, 6.1)."""
    return b"".join(bytes([len(entry)]) + entry for entry in entries)


def taken(
    record: bytes, instance: str = "WFM", host: str = "wfm.local.", address: str = "192.0.2.1"
) -> Candidate | None:
    return decode(instance, host, [address], 8443, record)


def test_a_good_one() -> None:
    """What RFC 6763 allows is taken: any case of keys, unknown keys, keys without a value; the first of two counts."""
    found = taken(
        txt(b"TxtVers=1", b"path=/margo/v1/", b"path=/other", b"proto=mtls", b"flag", b"name=Plant \xc3\xbc\x1b[1m")
    )
    assert found == Candidate("WFM", "wfm.local", ("192.0.2.1",), 8443, "/margo/v1", "Plant ü [1m")
    assert found.url() == "https://wfm.local:8443/margo/v1"
    assert found.url("wfm.plant.example") == "https://wfm.plant.example:8443/margo/v1"
    assert taken(b"") == taken(txt(b"", b"=x")) == Candidate("WFM", "wfm.local", ("192.0.2.1",), 8443, "")


@pytest.mark.parametrize(
    "record",
    [
        b"\x05path",
        b"\xff",
        txt(b"txtvers=2"),
        txt(b"p\x00th=/"),
        txt(b"path=relative"),
        txt(b"path=/a b"),
        txt(b"path=/a?b"),
        txt(b"path=/a#b"),
        txt(b"path=/a\r\nHost: evil"),
        txt(b"path=/a%2e%2e"),
        txt(b"path=/../a"),
        txt(b"path=/."),
        txt(b"path=//evil.example"),
        txt(b"path=/\xc3\xbc"),
        txt(b"path=/" + b"a" * LONGEST_PATH),
        txt(*(b"k%d=" % n for n in range(MOST_KEYS + 1))),
        txt(b"x" * 200) * (LONGEST_TXT // 200 + 1),
    ],
)
def test_a_txt_record_that_is_not_as_it_should_be(record: bytes) -> None:
    """Anything else than well-formed keys and a plain path makes the announcement count for nothing."""
    assert taken(record) is None


@pytest.mark.parametrize("address", ["", "x", "224.0.0.1", "0.0.0.0", "::", "ff02::fb", "fe80::1", "240.0.0.1"])
def test_an_address_that_nobody_can_connect_to(address: str) -> None:
    """Groups, nothing, and link-local IPv6 without its interface are left out."""
    assert taken(b"", address=address) is None


def test_addresses_are_bounded() -> None:
    """At most 16 addresses, each once; a zone stays with its address."""
    many = [f"192.0.2.{n}" for n in range(1, 100)]
    found = decode("WFM", "wfm.local", ["fe80::1%eth0", "fe80::1%eth0", *many], 1, b"")
    assert found is not None
    assert found.addresses == ("fe80::1%eth0", *many[: MOST_ADDRESSES - 1])


@pytest.mark.parametrize("host", ["", ".", "a b", "x.1", "192.0.2.1", "evil.example/x", "a" * 64, "wfm@evil", "wfm:1"])
def test_a_host_that_is_no_name(host: str) -> None:
    """The host goes into a URL, so it is a plain name."""
    assert taken(b"", host=host) is None


@pytest.mark.parametrize("instance", ["", "a\nb", "a\x1b[2J", "a" * 64, " a", "a  b", "\u202eMFW", "\udc80"])
def test_an_instance_that_would_deceive(instance: str) -> None:
    """A name that steers a terminal or cannot be told from another is not taken."""
    assert taken(b"", instance=instance) is None


@pytest.mark.parametrize("port", [None, 0, -1, 65_536])
def test_a_port_that_is_none(port: int | None) -> None:
    """A service without a port is no service."""
    assert decode("WFM", "wfm.local", ["192.0.2.1"], port, b"") is None


@given(
    st.text(max_size=80), st.text(max_size=80), st.lists(st.text(max_size=50)), st.integers(), st.binary(max_size=2000)
)
def test_anything(instance: str, host: str, addresses: list[str], port: int, record: bytes) -> None:
    """Nothing raises, and what is taken is bounded and can be shown."""
    found = decode(instance, host, [*addresses, "192.0.2.1"], port, record)
    if found is not None:
        assert clean(found.url(), 600) == found.url()
        assert len(found.url()) < 600
        assert len(found.addresses) <= MOST_ADDRESSES
        assert clean(found.name, 60) == found.name
