"""Reading the root CA that the operator names in trust.ca_file: a regular file, bounded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from margod.model import reasons
from margod.model.errors import TrustError
from margod.model.text import clean
from margod.trust.anchors import LIMIT, Anchor, decode_certificates


def read_ca_file(path: Path, now: float, *, setting: str = "trust.ca_file") -> tuple[Anchor, ...]:
    """Return the CA certificates in the file by the rules of `decode_certificates`; links are followed.

    Never waits on a FIFO or a device, never reads more than 64 KiB. Raises TrustError: ca-file-unreadable (missing,
    forbidden, not a regular file) or ca-file-invalid.
    """
    name = f"{clean(str(path))} ({setting})" if setting else clean(str(path))
    try:
        # O_NONBLOCK: opening a FIFO without a writer would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise TrustError(reasons.CA_FILE_UNREADABLE, f"{name} is not a regular file")
            data = b""
            while len(data) <= LIMIT and (piece := os.read(fd, LIMIT + 1 - len(data))):
                data += piece
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        says = (isinstance(error, OSError) and error.strerror) or "not a usable path"
        raise TrustError(reasons.CA_FILE_UNREADABLE, f"{name}: {says}") from error
    return decode_certificates(data, now, reason=reasons.CA_FILE_INVALID, name=name)
