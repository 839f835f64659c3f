"""The example agent without a daemon: what it reports to whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from margod.demo.example_agent import follow

if TYPE_CHECKING:
    from margod.client.agent import Agent

A, B = "https://a.example", "https://b.example"


class Beside:
    """A margod that is at these WFMs in turn, each of which wants the same."""

    def __init__(self, *wfms: str) -> None:
        self._wfms = list(wfms)
        self.at = ""
        self.told: list[tuple[str, str]] = []

    def wait_for_deployments(self, after: object) -> dict[str, object] | None:
        """Return what is wanted at the next WFM; None after the last."""
        self.at = self._wfms.pop(0) if self._wfms else ""
        wanted = {"manifestVersion": 1, "deployments": [{"deploymentId": "pump", "digest": "sha256:1"}]}
        return wanted if self.at else None

    def identity(self) -> dict[str, object]:
        """Return by what it is known there; the ids of two WFMs may well be the same."""
        return {"wfm_url": self.at, "client_id": "client-1"}

    def deployment(self, deployment_id: str) -> bytes:
        """Return its YAML."""
        return f"kind: {deployment_id}\n".encode()

    def report_state(self, deployment_id: str, state: str) -> None:
        """Take a report."""
        assert deployment_id == "pump"
        self.told.append((self.at, state))

    def adopted(self, version: int) -> None:
        """Take the version."""


def test_another_wfm_is_told_what_is_installed(tmp_path: Path) -> None:
    """Once, though nothing of it has changed; and the former one again, where the device comes back to it."""
    beside = Beside(A, A, B, B, A)
    follow(cast("Agent", beside), tmp_path, {})
    assert beside.told == [(A, "installing"), (A, "installed"), (B, "installed"), (A, "installed")]
