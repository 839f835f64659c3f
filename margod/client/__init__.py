"""The client of the local sockets, for the command line and for other programs on the device.

Standard library only, typed. Here is what is blocking and what the command line needs; `agent` has what a program that
does the device's work needs besides, `aio` the same for asyncio. Imports no room but model.
"""

from margod.client.api import Client, RequestRefused, admin_socket, agent_socket, runtime_directory, status_socket
from margod.client.documents import DowntimeDocument, IdentityDocument, StatusDocument
from margod.client.exit_codes import EXIT_CODES, exit_code
from margod.model.errors import DaemonUnreachable

__all__ = [
    "EXIT_CODES",
    "Client",
    "DaemonUnreachable",
    "DowntimeDocument",
    "IdentityDocument",
    "RequestRefused",
    "StatusDocument",
    "admin_socket",
    "agent_socket",
    "exit_code",
    "runtime_directory",
    "status_socket",
]
