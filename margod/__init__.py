"""margod brings an edge gateway under the management of a Margo Workload Fleet Manager (WFM) and keeps it there.

The house, room by room, is drawn in docs/architecture.md. Nothing is public but the command line, the local sockets
and `margod.client`.
"""

from typing import Final

__version__: Final = "0.1.0"

RELEASED: Final = 1_795_219_200.0
"""When this version was made (2026-11-21T00:00:00Z), Unix seconds: no clock that is right says less."""
