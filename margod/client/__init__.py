"""The client of the local sockets, for the command line and for other programs on the device.

Standard library only, blocking, typed. Imports no room but model.
"""

from margod.client.api import Client, RequestRefused, admin_socket, agent_socket, runtime_directory, status_socket
from margod.client.documents import IdentityDocument, StatusDocument
from margod.client.exit_codes import EXIT_CODES, exit_code

__all__ = [
    "EXIT_CODES",
    "Client",
    "IdentityDocument",
    "RequestRefused",
    "StatusDocument",
    "admin_socket",
    "agent_socket",
    "exit_code",
    "runtime_directory",
    "status_socket",
]
