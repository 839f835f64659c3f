"""What a caller is told who asked the wrong socket, or may not use the right one: by the socket's name."""

from __future__ import annotations

from typing import Final

WHO_MAY: Final = {
    "agent.sock": "Join the group margod-agent to use it, or use root.",
    "admin.sock": "Use root to administer.",
}
"""Who may use it."""
OTHERS: Final = {
    "status.sock": "This is the status socket; use agent/agent.sock beside it, or admin/admin.sock to administer.",
    "agent.sock": "This is the agent socket; use ../admin/admin.sock to administer.",
}
"""Where else to ask for what it does not have."""
