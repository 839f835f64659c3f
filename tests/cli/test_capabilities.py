"""The words of `margod capabilities`: a row for all that is reported, an empty list too, and for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.local_api import run_margod


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("peripherals: none", ("peripherals", "none", "setting")),
        ("interfaces: none", ("interfaces", "none", "setting")),
        ("{withhold: [peripherals], runtimes: none}", ("peripherals", "-", "withheld")),
        ("runtimes: none", ("runtimes", "none, not reported", "setting")),
        ("deployment_types: none", ("deployment_types", "none, not reported", "setting")),
        ("{runtimes: none, deployment_types: none}", ("otel_collector", "not reported", "system")),
        ("{runtimes: oci, otel_collector: absent}", ("otel_collector", "false", "setting")),
    ],
)
async def test_a_row_each(tmp_path: Path, said: str, expected: tuple[str, str, str]) -> None:
    """An empty list is reported, or is not by the schema: either way it has a row with its source."""
    config = tmp_path / "margod.yaml"
    inner = said.strip("{}") if said.startswith("{") else said
    config.write_text(f"capabilities: {{{inner}}}\nstate: {{directory: {tmp_path}}}\n")
    code, out, err = await run_margod("capabilities", "--here", env={"MARGOD_CONFIG": str(config)})
    assert (code, err) == (0, "")
    rows = {row[:18].strip(): (row[18:51].strip(), row[52:].strip()) for row in out.splitlines() if row[:18].strip()}
    assert rows[expected[0]] == expected[1:]
