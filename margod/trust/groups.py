"""Several downloaded certificates told apart: each root, and the CAs that it has issued."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from margod.trust.anchors import ROOT_LIMIT, Anchor, keepable

MOST_GROUPS: Final = 16
"""Certificates of one answer that are looked at."""


def groups(anchors: Sequence[Anchor]) -> tuple[tuple[Anchor, ...], ...]:
    """Return each root, and whatever none of the others has issued, each followed by all those that it has issued.

    A name alone makes nobody an issuer: the signature has to verify, so that what stands beside a root is of its own
    making. Certificates that are too long are left out, of more than `MOST_GROUPS` the last, and groups that could not
    be kept.
    """
    short = [anchor for anchor in dict.fromkeys(anchors) if len(anchor.der) <= ROOT_LIMIT][:MOST_GROUPS]
    read = {anchor: _read(anchor) for anchor in short}
    issued = {
        issuer: [child for child in short if child != issuer and _has_issued(read[issuer], read[child])]
        for issuer in short
    }
    signed_itself = {one for one in short if _has_issued(read[one], read[one])}
    heads = [one for one in short if one in signed_itself or not any(one in issued[other] for other in short)]
    return tuple(group for head in heads if keepable(group := _with_descendants(head, issued)))


def _with_descendants(head: Anchor, issued: dict[Anchor, list[Anchor]]) -> tuple[Anchor, ...]:
    found = [head]
    for one in found:  # grows while it is read
        found.extend(child for child in issued[one] if child not in found)
    return tuple(found)


def _read(anchor: Anchor) -> x509.Certificate:
    with warnings.catch_warnings():  # as in `decode_certificates`, which has read it before
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return x509.load_der_x509_certificate(anchor.der)


def _has_issued(issuer: x509.Certificate, child: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
