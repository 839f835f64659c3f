"""The protected directory in which a device's identity and enrolment survive everything short of losing the disk.

Generations of opaque named records, one log of intents and accepted answers on top, a lock, a quarantine. Knows names
and bytes, not what is in them. Imports only `model` and `store`, and writes only through `store`.
"""

from __future__ import annotations

from margod.vault.answerlog import Entry
from margod.vault.generation import RECORD_LIMIT
from margod.vault.loading import Finding, peek
from margod.vault.mending import set_aside
from margod.vault.vault import Vault
from margod.vault.wiping import clear

__all__ = ["RECORD_LIMIT", "Entry", "Finding", "Vault", "clear", "peek", "set_aside"]
