"""Who this device is: its private key, as a signer that never hands it out, and the X.509 certificate over it.

Makes and checks the vault records `identity.key`, `identity.crt` and `identity.json`; writes nothing itself, knows no
WFM and asks no clock (`now` is handed in). Every error that leaves this room is an `IdentityError`.
"""

from __future__ import annotations

from margod.identity.keys import ACCEPTED_KEYS, KeySigner
from margod.identity.records import (
    CERTIFICATE_RECORD,
    KEY_RECORD,
    META_RECORD,
    MINTED,
    Identity,
    check_validity,
    import_files,
    load,
    mint,
    reissue,
)

__all__ = [
    "ACCEPTED_KEYS",
    "CERTIFICATE_RECORD",
    "KEY_RECORD",
    "META_RECORD",
    "MINTED",
    "Identity",
    "KeySigner",
    "check_validity",
    "import_files",
    "load",
    "mint",
    "reissue",
]
