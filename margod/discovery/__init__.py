"""Where the WFM is, when nobody wrote it down: multicast DNS service discovery (RFC 6762, RFC 6763).

Everything here yields a location and never trust. `records` and `sightings` are pure; `browser` imports zeroconf and is
itself imported only by whoever browses; `links` tells when an interface or address comes or goes.
"""

from margod.discovery.records import Candidate, decode
from margod.discovery.sightings import SETTLE, Sightings, choose

__all__ = ["SETTLE", "Candidate", "Sightings", "choose", "decode"]
