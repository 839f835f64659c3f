"""`margod deployments`, where it is called wrongly."""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from margod.cli import deployments
from margod.cli.wrapping import WIDTH
from tests.support.local_api import DEPLOYMENTS, DIGEST, run_margod

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


@pytest.mark.parametrize("terminal", [True, False])
async def test_the_list(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal's lines end at 80 columns, whatever the ids and versions are; a program has one for each."""
    most, name = (1 << 64) - 1, "line-3." * 9
    entries = [{"deploymentId": each, "digest": DIGEST} for each in ("pump", name)]
    found = {**DEPLOYMENTS, "manifestVersion": most, "adopted": most - 1, "commit": "c" * 64, "deployments": entries}

    class Known:
        def deployments(self) -> dict[str, object]:
            return found

    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(deployments, "client", lambda _args, agent: Known())
    assert deployments._list(Namespace(json=False)) == 0
    lines = stream.getvalue().splitlines()
    assert (len(lines) == 4, max(map(len, lines)) <= WIDTH) == (not terminal, terminal)
    assert next(line for line in lines if line.startswith("  pump ")).split() == ["pump", f"{DIGEST[:27]}..."]
    assert f"  {name}" in [line[: len(name) + 2] for line in lines]
    assert stream.getvalue().split()[:3] == ["Manifest", "version", str(most)]
