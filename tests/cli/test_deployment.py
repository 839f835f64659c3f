"""`margod deployment report|list|retry|drop`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from margod.model.errors import MargodError, OutboxFull
from margod.model.reasons import NO_SUCH_REPORT, OUTBOX_FULL, REPORT_INVALID
from tests.support.local_api import REPORT, SteeredController, run_margod

ERROR = {
    "code": "wfm-busy",
    "message": "The WFM is busy.",
    "hint": "",
    "detail": "HTTP 503",
    "at": "2026-11-21T18:00:00Z",
}

pytestmark = pytest.mark.usefixtures("server")


async def test_report(controller: SteeredController, directory: Path, tmp_path: Path) -> None:
    """Pins that a file arrives as it is, and what is made of words."""
    where = ("--runtime-dir", str(directory))
    file = tmp_path / "report.json"
    file.write_text('{"components": []}')
    code, out, err = await run_margod("deployment", "report", "a-b.c_1~", "--file", str(file), *where)
    assert (code, err) == (0, "")
    assert out == "Taken as report 1; the WFM is told in its turn.\n"
    words = ("--state", "failed", "--component", "web=failed", "--component", "a=b=installed", "--message", "no image")
    assert (await run_margod("deployment", "report", "web", *words, *where))[0] == 0
    assert controller.reported[0] == ("a-b.c_1~", b'{"components": []}')
    name, body = controller.reported[1]
    assert (name, json.loads(body)) == (
        "web",
        {
            "deploymentId": "web",
            "status": {"state": "failed", "error": {"message": "no image"}},
            "components": [{"name": "web", "state": "failed"}, {"name": "a=b", "state": "installed"}],
        },
    )


async def test_report_refused(controller: SteeredController, directory: Path, tmp_path: Path) -> None:
    """Pins the daemon's words, and what is said of files that are none."""
    where = ("--runtime-dir", str(directory))
    controller.failure = OutboxFull(OUTBOX_FULL)
    code, out, err = await run_margod("deployment", "report", "web", "--state", "installed", *where)
    assert (code, out, err) == (1, "", f"margod: {OUTBOX_FULL.says}\n  {OUTBOX_FULL.hint}\n")
    large = tmp_path / "large"
    large.write_bytes(b"x" * 300_000)
    for file, says in ((large, "at most 262144 bytes"), (tmp_path / "none", "No such file"), (tmp_path, "directory")):
        code, out, err = await run_margod("deployment", "report", "web", "--file", str(file), *where)
        assert (code, out, says in err) == (1, "", True), err
    for words in (
        (),
        ("--state", "gone"),
        ("--file", "x", "--message", "y"),
        ("--state", "failed", "--component", "x"),
    ):
        assert (await run_margod("deployment", "report", "web", *words, *where))[0] == 2


async def test_a_state_that_is_not_the_components(controller: SteeredController, directory: Path) -> None:
    """Pins that the note says what was reported; a state that fits has none."""
    where = ("--runtime-dir", str(directory))
    words = ("--state", "installed", "--component", "db=installed", "--component", "web=failed")
    code, out, _ = await run_margod("deployment", "report", "web", *words, *where)
    said = "note: reported as failed, not installed: the state follows from the components (web=failed)"
    assert (code, " ".join(" ".join(out.splitlines()[1:]).split())) == (0, said)
    assert max(map(len, out.splitlines())) <= 80
    _, out, _ = await run_margod("deployment", "report", "web", "--state", "failed", *words[2:], *where)
    assert out == "Taken as report 2; the WFM is told in its turn.\n"
    assert len(controller.reported) == 2


@pytest.mark.parametrize(
    ("says", "said"),
    [
        ("components: two of the same name", "--component: two of the same name"),
        ("components[1].name: not a text", "--component web=failed: not a text"),
        ("deploymentId: not an id that fits into a path", "ID: not an id that fits into a path"),
        ("status.error.message: not a text", "--message: not a text"),
    ],
)
async def test_errors_name_the_option(
    controller: SteeredController, directory: Path, tmp_path: Path, says: str, said: str
) -> None:
    """Pins that somebody who wrote options is not told of fields; who wrote a file is."""
    where = ("--runtime-dir", str(directory))
    controller.failure = MargodError(REPORT_INVALID, says)
    words = ("--state", "failed", "--component", "db=failed", "--component", "web=failed", "--message", "m")
    code, _, err = await run_margod("deployment", "report", "web", *words, *where)
    assert (code, err.splitlines()[0]) == (1, f"margod: {said}")
    file = tmp_path / "report.json"
    file.write_text("{}")
    code, _, err = await run_margod("deployment", "report", "web", "--file", str(file), *where)
    assert (code, err.splitlines()[0]) == (1, f"margod: {says}")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"outbox": {"last_error": ERROR, "next_attempt_at": "2026-11-21T18:05:00Z"}},
            'They wait because of wfm-busy: The WFM is busy. "HTTP 503" '
            "The next attempt is at 2026-11-21 18:05:00 UTC; `margod retry` tries now.",
        ),
        ({"downtime": {"active": True}}, "They wait for the end of the downtime: until further notice;"),
        (
            {"state": "refused", "message": "The WFM says no."},
            "They wait until this device is enrolled; it is refused:",
        ),
    ],
)
async def test_why_reports_wait(
    controller: SteeredController, directory: Path, changes: dict[str, object], says: str
) -> None:
    """Pins that the list ends with what they wait for, within 80 columns."""
    controller.reported = [("x", b"")]
    before: dict[str, object] = {**controller.document, "state": "enrolled"}
    for name, value in changes.items():
        kept = before[name]
        before[name] = {**kept, **value} if isinstance(kept, dict) and isinstance(value, dict) else value
    await controller.set(**before)
    code, out, _ = await run_margod("deployment", "list", "--runtime-dir", str(directory))
    assert (code, " ".join(out.split("\n", 2)[2].split()).startswith(says)) == (0, True), out
    assert max(map(len, out.splitlines())) <= 80


async def test_list(controller: SteeredController, directory: Path) -> None:
    """Pins the list in words that fit 80 columns, and as JSON, and that nothing in it steers a terminal."""
    where = ("--runtime-dir", str(directory))
    assert await run_margod("deployment", "list", *where) == (0, "The WFM has been told everything.\n", "")
    controller.reported = [("x", b"")] * 2
    code, out, _ = await run_margod("deployment", "list", *where)
    assert code == 0
    assert out.splitlines()[1].split() == ["1", "web", "installed", "2026-11-21", "18:00:00"]
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = await run_margod("deployment", "list", "--json", *where)
    assert json.loads(out) == [{**REPORT, "number": 1}, {**REPORT, "number": 2}]


async def test_list_of_parked(controller: SteeredController, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that the reason and the WFM's words are shown."""
    parked = {"parked": "report-refused", "detail": "HTTP 422: no\x1b[2J", "overtaken": True}
    for name, value in parked.items():
        monkeypatch.setitem(REPORT, name, value)
    controller.reported = [("x", b"")]
    _, out, _ = await run_margod("deployment", "list", "--runtime-dir", str(directory))
    assert out.splitlines()[2] == "        parked, report-refused: HTTP 422: no [2J (overtaken by a later report)"


@pytest.mark.parametrize(("command", "says"), [("retry", "Taken up again"), ("drop", "Dropped")])
async def test_parked(controller: SteeredController, directory: Path, command: str, says: str) -> None:
    """Pins that one is meant or all, never all by mistake."""
    where = ("--runtime-dir", str(directory))
    assert await run_margod("deployment", command, "7", *where) == (0, f"{says}: 7.\n", "")
    assert await run_margod("deployment", command, "--all", *where) == (0, f"{says}: None.\n", "")
    for words in ((), ("7", "--all"), ("x",)):
        assert (await run_margod("deployment", command, *words, *where))[0] == 2
    controller.failure = MargodError(NO_SUCH_REPORT)
    code, _, err = await run_margod("deployment", command, "8", *where)
    assert (code, NO_SUCH_REPORT.says in err) == (1, True)
