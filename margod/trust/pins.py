"""Roots that nobody vouched for on the way here: told apart by a pin, or shown to a person."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from margod.model import reasons
from margod.model.errors import TrustError
from margod.trust.anchors import MOST, ROOT_LIMIT, Anchor
from margod.trust.answer import decode_answer
from margod.trust.policy import TlsSettings

SPKI: Final = "spki:"
"""What a pin of a public key begins with; without it, a pin is the SHA-256 of the whole certificate."""


@dataclass(frozen=True, slots=True)
class UnverifiedPolicy:
    """How a root CA is judged that came over a connection which proves nothing. It makes no connection possible.

    `source` is `pin`, or `first_use` where there are no pins and a person, or the owner's word, decides. Pins are
    lower-case hex SHA-256, with `spki:` before those of a public key.
    """

    source: str
    pins: tuple[str, ...]
    tls: TlsSettings

    def judge(self, body: bytes, now: float) -> tuple[Anchor, ...]:
        """Return the roots of a Certificate API answer that this policy lets pass, `pinned` ones or all for a person.

        Only roots that signed themselves count: a certificate around somebody else's public key does not. Raises
        TrustError: ca-answer-invalid, pin-mismatch.
        """
        found = decode_answer(body, now, pass_over=self.source == "pin")  # a pin names what is kept
        short = (anchor for anchor in found if len(anchor.der) <= ROOT_LIMIT)
        roots = tuple(anchor for anchor in short if is_root(anchor) and now <= anchor.not_after)
        if not roots:
            says = "the WFM's certificate download holds no valid root CA of 8 KiB at most that signed itself"
            raise TrustError(reasons.CA_ANSWER_INVALID, says)
        if self.source != "pin":
            return roots
        if matching := pinned(roots, self.pins):
            return matching[:MOST]
        raise TrustError(reasons.PIN_MISMATCH, mismatch(roots, self.pins))


def pinned(anchors: Sequence[Anchor], pins: Sequence[str]) -> tuple[Anchor, ...]:
    """Return the anchors that one of the pins names and that signed themselves, in order."""
    return tuple(
        anchor
        for anchor in anchors
        if (anchor.fingerprint in pins or (anchor.spki and SPKI + anchor.spki in pins)) and is_root(anchor)
    )


def mismatch(anchors: Sequence[Anchor], pins: Sequence[str]) -> str:
    """Return what was expected and what was found, in the form of the first pin, on one line of 200 characters."""
    found = anchors[0].fingerprint
    if pins[0].startswith(SPKI):
        found = SPKI + anchors[0].spki
    more, others = _more(len(pins)), _more(len(anchors))
    return f"expected {pins[0]}{more}, found {found}{others}"


def is_root(anchor: Anchor) -> bool:
    """Return whether the certificate is signed with its own key, so that whoever made it has that key."""
    try:
        with warnings.catch_warnings():  # as in `decode_certificates`
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(anchor.der)
            certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _more(count: int) -> str:
    return f" (+{count - 1})" if count > 1 else ""
