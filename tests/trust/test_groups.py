"""Several downloaded certificates told apart: each root with what it has issued, and nobody by a name alone."""

from __future__ import annotations

import trustme

from margod.trust import Anchor, decode_certificates, groups


def anchor(ca: trustme.CA) -> Anchor:
    """The CA's certificate."""
    (found,) = decode_certificates(ca.cert_pem.bytes() + trustme.CA().cert_pem.bytes(), 0.0)[:1]
    return found


def test_each_root_with_its_own() -> None:
    """An intermediate CA stands with the root that signed it, whatever order they come in."""
    good, stranger = trustme.CA(), trustme.CA()
    middle = trustme.CA(parent_cert=good)
    below = trustme.CA(parent_cert=middle)
    a, b, c, d = (anchor(ca) for ca in (good, middle, below, stranger))
    assert groups((c, d, b, a)) == ((d,), (a, b, c))


def test_a_name_makes_no_issuer() -> None:
    """A CA of the same name as the root, with another key, is not taken for one of its own."""
    good, twin = (trustme.CA(organization_name="Root", organization_unit_name="1") for _ in range(2))
    middle = trustme.CA(parent_cert=twin)
    a, b, c = (anchor(ca) for ca in (good, twin, middle))
    assert groups((a, b, c)) == ((a,), (b, c))


def test_bounded() -> None:
    """Of very many the first are looked at."""
    assert len(groups([anchor(trustme.CA()) for _ in range(20)])) == 16
