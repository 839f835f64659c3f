"""Who the WFM is: decoding its root CA from files and answers, and the policy by which its TLS is verified.

Hands out SSL contexts that trust exactly what was decoded here, or the system's store, and nothing else. Fetches
nothing and stores nothing; `now` is handed in. Every error that leaves this room is a `TrustError`.
"""

from __future__ import annotations

from margod.trust.anchors import KEPT_LIMIT, ROOT_LIMIT, Anchor, decode_certificates, fingerprints, keepable, to_pem
from margod.trust.answer import decode_answer
from margod.trust.files import read_ca_file
from margod.trust.groups import groups
from margod.trust.pins import UnverifiedPolicy, is_root, mismatch, pinned
from margod.trust.policy import TlsSettings, TrustPolicy

__all__ = [
    "KEPT_LIMIT",
    "ROOT_LIMIT",
    "Anchor",
    "TlsSettings",
    "TrustPolicy",
    "UnverifiedPolicy",
    "decode_answer",
    "decode_certificates",
    "fingerprints",
    "groups",
    "is_root",
    "keepable",
    "mismatch",
    "pinned",
    "read_ca_file",
    "to_pem",
]
