"""What holds and hardly anybody can mean."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from margod.config import load
from margod.config.notes import notes
from tests.config.support import write

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
URL = {"MARGOD_WFM_URL": "https://wfm.test"}


def noted(directory: Path, text: str) -> list[str]:
    """Return the notes on a configuration with a URL, on a device with one user and one file."""
    loaded = load(write(directory, text), URL, {})
    return notes(loaded, NOW, is_user=lambda name: name == "collector", exists=lambda path: path == Path("/etc/there"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schedule: {downtime: 'Mon-Sun 00:00-24:00'}", ["schedule.downtime: it never ends, so nothing ever leaves"]),
        ("schedule: {downtime: ['08:00-20:00', '20:00-08:00']}", ["schedule.downtime: it never ends"]),
        (
            "schedule: {downtime: 'Sun 10:00-10:00 Europe/Berlin'}",
            ["'Sun 10:00-10:00 Europe/Berlin' ends when it starts"],
        ),
        (
            "schedule: {downtime: ['2026-01-01 to 2026-01-02', '2026-12-01 to 2027-01-01']}",
            ["schedule.downtime: '2026-01-01 to 2026-01-02' is past"],
        ),
        (
            "schedule: {polling: {period: '2026-01-01 to 2026-01-02'}}",
            ["schedule.polling.period: '2026-01-01 to 2026-01-02' is past", "the desired state is never asked for"],
        ),
        ("capabilities: {children: /etc/there}", ["capabilities.children without device.id"]),
        ("device: {id: a}\ncapabilities: {children: /etc/gone}", ["capabilities.children: there is no /etc/gone"]),
        ("capabilities: {file: /etc/gone}", ["capabilities.file: there is no /etc/gone"]),
        (
            "device: {vendor: a}\ncapabilities: {file: /etc/there, interfaces: usb}",
            ["capabilities.file takes the place of capabilities.interfaces, device.vendor"],
        ),
        ("door: {allow: 'GET /x for collector nobody-here 1001'}", ["door.allow: there is no user nobody-here"]),
        (
            "wfm: {protocol: token, dialect: spec, signed_scheme: http, capabilities_route: client}\n"
            "capabilities: {children: /etc/gone}",
            ["token these say nothing: capabilities.children, wfm.capabilities_route, wfm.dialect, wfm.signed_scheme"],
        ),
        ("wfm: {protocol: token, timeout: 9s}\ndevice: {vendor: a}", []),
        ("schedule: {downtime: ['22:00-06:00', '2026-12-01 to 2027-01-01'], polling: {period: '00:00-24:00'}}", []),
        ("device: {id: a}\ncapabilities: {children: /etc/there, interfaces: usb}\ndoor: {allow: GET /x}", []),
    ],
)
def test_notes(tmp_path: Path, text: str, said: list[str]) -> None:
    """Each has a sentence, and what can be meant has none."""
    found = noted(tmp_path, text)
    assert len(found) == len(said), found
    assert all(words in note for words, note in zip(said, found, strict=True)), found
