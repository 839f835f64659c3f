"""The `signed` generation: 1.0.0-rc.1 and rc.2, server TLS and RFC 9421 HTTP Message Signatures."""

from margod.protocols.signed.generation import Dialect, Signed
from margod.protocols.signed.signature import SignedAs

__all__ = ["Dialect", "Signed", "SignedAs"]
