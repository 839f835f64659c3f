"""What this device is, where files that somebody wrote cannot be used: nobody is taken for removed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod import config
from margod.shell.device import device_of
from margod.shell.ground import generation_of


@pytest.mark.parametrize("text", ["{", "kind: x\n", None])
def test_nobody_is_removed_while_a_manifest_cannot_be_used(tmp_path: Path, text: str | None) -> None:
    """A gateway's own manifest that is broken holds the devices behind it, although no setting names them any more."""
    file = tmp_path / "own.yaml"
    if text is not None:
        file.write_text(text)
    settings = config.load(config.Sources(tmp_path / "none.yaml"), {}, {"capabilities.file": str(file)}).config
    device = device_of(settings, tmp_path, generation_of(settings))
    assert device.problems
    assert device.capabilities.held
    good = "apiVersion: device.margo.org/v1alpha1\nkind: DeviceCapabilitiesManifest\n"
    file.write_text(f"{good}properties: {{id: gw, vendor: V, modelNumber: M, serialNumber: S}}\n")
    device = device_of(settings, tmp_path, generation_of(settings))
    assert (device.problems, device.capabilities.held) == ((), False)
