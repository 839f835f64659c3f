"""`margod deployments`, where it is called wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.local_api import run_margod

pytestmark = pytest.mark.usefixtures("server")


async def test_the_status_socket(directory: Path) -> None:
    """Asked of a socket that does not have it: which one that is, and which one has it."""
    code, out, err = await run_margod("deployments", "--socket", str(directory / "status.sock"))
    assert (code, out) == (1, "")
    assert "This is the status socket; use agent/agent.sock beside it" in err
    code, out, err = await run_margod("retry", "--socket", str(directory / "agent/agent.sock"))
    assert (code, out) == (1, "")
    assert "This is the agent socket; use ../admin/admin.sock" in err


async def test_the_sockets_are_named_before_or_after(directory: Path) -> None:
    """Each of its commands takes the options, and what stands before the command holds."""
    for command in (("show", "pump"), ("adopted", "7"), ("accept",)):
        after = await run_margod("deployments", *command, "--runtime-dir", str(directory))
        before = await run_margod("deployments", "--runtime-dir", str(directory), *command)
        assert after == before
        assert "No margod answers" not in after[2]
        assert "unrecognized" not in after[2]


async def test_an_empty_id(directory: Path) -> None:
    """An empty id is a usage error."""
    code, out, err = await run_margod("deployments", "show", "", "--runtime-dir", str(directory))
    assert (code, out) == (2, "")
    assert "an empty id" in err
