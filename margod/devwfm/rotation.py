"""A second CA of the development WFM: offered beside the first, presented in its place, and taken back, on command."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from margod.devwfm.pki import Pki
from margod.devwfm.problems import DevWfmError

ACTS: Final = ("offer", "present", "swap", "back")
OTHER: Final = "other-ca"
"""The directory of the second CA within that of the first; `ca.pem` in it is its root."""


class Rotation:
    """Which CA is offered for download and which one signs the chain that is presented; the first at each start."""

    def __init__(self, directory: Path, hosts: tuple[str, ...], first: Pki) -> None:
        """Take the first CA; the second is made, or loaded, when it is asked for."""
        self._directory, self._hosts, self._first = directory, hosts, first
        self.presented = first
        self._offered: tuple[Pki, ...] = (first,)

    def offered(self) -> tuple[bytes, ...]:
        """Return the roots for download, DER."""
        return tuple(pki.root_der for pki in self._offered)

    def turn(self, act: str) -> dict[str, object]:
        """Do one of ACTS and return what is offered and presented now. Raises DevWfmError.

        `offer`: the second root beside the first. `present`: the chain is the second's. `swap`: both, and the first is
        gone, as with a WFM that makes itself a new CA at a restart, or a stranger. `back`: the first alone.
        """
        if act not in ACTS:
            raise DevWfmError(f"act: not one of {', '.join(ACTS)}")
        if act == "back":
            self.presented, self._offered = self._first, (self._first,)
            return self._public()
        other = self._other()
        if act == "swap":
            self._offered = (other,)
        elif act == "offer":
            self._offered = (self._first, other)
        if act != "offer":
            other.ssl_context()
            self.presented = other
        return self._public()

    def _other(self) -> Pki:
        found = next((pki for pki in (*self._offered, self.presented) if pki is not self._first), None)
        if found is not None:
            return found
        home = self._directory / OTHER
        home.mkdir(mode=0o700, exist_ok=True)
        return Pki.open(home, self._hosts)

    def _public(self) -> dict[str, object]:
        offered = [str(pki.ca_file) for pki in self._offered]
        return {"offered": offered, "presented": str(self.presented.ca_file)}
