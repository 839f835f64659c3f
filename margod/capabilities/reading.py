"""Small facts from the kernel's and the firmware's files, bounded and cleaned, or None."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from pathlib import Path
from typing import Final

from margod.model.text import clean

READ_LIMIT: Final = 4_096
"""Bytes read of any file: what is wanted stands in the first line, or in the first of /proc/meminfo."""

TEXT_LIMIT: Final = 128
"""Characters of a name or serial number."""

# What board makers leave in the firmware when they do not fill it in, in lower case.
_JUNK: Final = frozenset(
    {
        "base board serial number",
        "chassis serial number",
        "default string",
        "empty",
        "invalid",
        "n/a",
        "na",
        "no enclosure",
        "none",
        "not applicable",
        "not available",
        "not defined",
        "not specified",
        "null",
        "o.e.m.",
        "oem",
        "system manufacturer",
        "system name",
        "system product name",
        "system serial number",
        "system version",
        "to be filled by o.e.m",
        "to be filled by o.e.m.",
        "to be filled by oem",
        "undefined",
        "unknown",
        "unspecified",
    }
)
_JUNK_SERIALS: Final = frozenset({"123456789", "1234567890", "0123456789", "12345678", "1234567"})
_ONE_CHARACTER: Final = re.compile(r"(.)\1*")  # 0, 00000000, ffff, xxxx, ...., -
_MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}")

_APPLICATION: Final = bytes.fromhex("a3c6d5b07e1f4f2b9d6480e51b7c2f38")
"""margod's own id in the derivation of a serial number. Never to be changed: the serial numbers would change."""


def read_text(path: Path) -> str | None:
    """Return the file's beginning as one clean line, at most 128 characters, or None if there is nothing to use.

    Reads regular files only (as /proc's and /sys's are), at most 4096 bytes, and never blocks on a FIFO or device.
    """
    data = read_bytes(path)
    return None if data is None else _meaningful(data)


def read_list(path: Path) -> tuple[str, ...]:
    """Return the NUL-separated strings of a device-tree property, those that mean something."""
    data = read_bytes(path) or b""
    return tuple(text for part in data.split(b"\0") if (text := _meaningful(part)) is not None)


def read_serial(path: Path) -> str | None:
    """Return `read_text`, or None if it is no serial number but a filler."""
    text = read_text(path)
    if text is None or text in _JUNK_SERIALS or _ONE_CHARACTER.fullmatch(text.lower().replace(" ", "")):
        return None
    return text


def read_memory(path: Path) -> int | None:
    """Return MemTotal of a /proc/meminfo in bytes."""
    for line in (read_bytes(path) or b"").splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == b"MemTotal:" and words[1].isdigit() and words[2] == b"kB":
            return int(words[1]) * 1024 or None
    return None


def derived_serial(path: Path) -> str | None:
    """Return 32 hex digits derived from the machine-id in `path`, the same for ever on one installation.

    As `sd_id128_get_machine_app_specific`: HMAC-SHA256 keyed by the machine-id, cut to 128 bits and marked as a
    random UUID (machine-id(5) asks not to give the id itself to anyone on the network).
    """
    text = (read_bytes(path) or b"").strip().decode("ascii", "replace")
    if not _MACHINE_ID.fullmatch(text) or not int(text, 16):  # empty, "uninitialized", all zeros
        return None
    digest = bytearray(hmac.digest(bytes.fromhex(text), _APPLICATION, hashlib.sha256)[:16])
    digest[6] = digest[6] & 0x0F | 0x40
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()


def read_bytes(path: Path) -> bytes | None:
    """Return at most 4096 bytes of a regular file, or None if there is none to be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            return os.read(fd, READ_LIMIT) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None


def _meaningful(data: bytes) -> str | None:
    text = clean(data.replace(b"\0", b" "), TEXT_LIMIT)
    filler = not text or text.lower() in _JUNK or "\ufffd" in text  # unprogrammed EEPROM reads as ff ff ff
    return None if filler else text
