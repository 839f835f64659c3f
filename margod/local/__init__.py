"""The local sockets: the daemon's API for this device, HTTP and JSON over Unix sockets, served by aiohttp.

Rights are file modes; every read and every wait is bounded. Knows the daemon only as a `Controller` and imports no
room but model.
"""

from margod.local.controller import Controller
from margod.local.server import LocalServer

__all__ = ["Controller", "LocalServer"]
