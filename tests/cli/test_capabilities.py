"""The words of `margod capabilities`: a row for all that is reported, an empty list too, and for what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from margod.cli import main
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
def test_a_row_each(
    tmp_path: Path,
    said: str,
    expected: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An empty list is reported, or is not by the schema: either way it has a row with its source."""
    config = tmp_path / "margod.yaml"
    inner = said.strip("{}") if said.startswith("{") else said
    config.write_text(f"capabilities: {{{inner}}}\nstate: {{directory: {tmp_path}}}\n")
    monkeypatch.setenv("MARGOD_CONFIG", str(config))
    code = main(["capabilities", "--here"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    rows = {row[:18].strip(): (row[18:51].strip(), row[52:].strip()) for row in out.splitlines() if row[:18].strip()}
    assert rows[expected[0]] == expected[1:]


async def test_what_the_generation_cannot_say_is_noted(tmp_path: Path) -> None:
    """A row for each thing that is left out, within 80 columns; manifests of children are not even looked at."""
    config = tmp_path / "margod.yaml"
    said = f"{{runtimes: oci, deployment_types: helm, otel_collector: present, children: {tmp_path}/none}}"
    config.write_text(f"capabilities: {said}\nwfm: {{protocol: token}}\nstate: {{directory: {tmp_path}}}\n")
    env = {"MARGOD_CONFIG": str(config)}
    code, out, err = await run_margod("capabilities", "--here", env=env)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    rows = [row[18:] for row in out.splitlines() if row.startswith("Not said")]
    names = ["children", "deployment_types", "runtimes", "otel_collector", "deployments", "deployments"]
    assert [row.partition(":")[0] for row in rows] == names
    _, out, _ = await run_margod("capabilities", "--here", "--json", env=env)
    found = json.loads(out)
    assert [note.partition(":")[0] for note in found["notes"]] == names
    assert (found["manifest"]["kind"], found["problems"]) == ("DeviceCapability", [])
    config.write_text(f"capabilities: {{runtimes: oci}}\nstate: {{directory: {tmp_path}}}\n")
    _, out, _ = await run_margod("capabilities", "--here", env=env)
    assert "Not said" not in out


async def test_lines_fit(tmp_path: Path) -> None:
    """What stands for a value goes on in its own column, however much of it there is."""
    config = tmp_path / "margod.yaml"
    said = ", ".join(f'"+camera:Example Works:EW-{number}-{"x" * 30}"' for number in range(3))
    config.write_text(f"capabilities: {{peripherals: [{said}]}}\nstate: {{directory: {tmp_path}}}\n")
    code, out, _ = await run_margod("capabilities", "--here", env={"MARGOD_CONFIG": str(config)})
    assert (code, out.count("EW-")) == (0, 3)
    assert max(map(len, out.splitlines())) <= 80
