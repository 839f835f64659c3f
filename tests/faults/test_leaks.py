"""No secret is shown anywhere: the short part of the campaign, and leaks that are put in."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import leaks
from tests.faults.campaign import Broken, Run, room
from tests.faults.leaks import BEARER, FILED, GIT, HANDED, SECRET, Watch, found_in, writings

pytestmark = pytest.mark.e2e


def test_no_secret_is_shown() -> None:
    """Through onboarding, renewals and a seeded part of the refusals, by every way in which something is shown."""
    with room() as place:
        run = Run(3, 1.0, place)
        asyncio.run(leaks.campaign(place, run, every=11))
        assert run.figures["refusals with the client secret"] >= 10
        assert run.figures["refusals with the bearer token"] >= 10
        assert run.figures["files searched"] > 10


def test_the_fetching_process_shows_no_token(tmp_path: Path) -> None:
    """Refused with the token in every writing; its arguments and environment have nothing, and it leaves no core."""
    run = Run(3, 1.0, tmp_path)
    asyncio.run(leaks.fetches(tmp_path, run, every=15))
    assert run.figures["refusals with the Git token"] == 8


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (  # whoever hears of the refusal first: a person, or the agent whose call met it
            ("import margod.model.redact as r", "r.hide = lambda text, *_: text"),
            "in (what is shown|the journal|what an agent is answered)",
        ),
        (
            (
                "import margod.protocols.token as o, os",
                "made = o.token_request",
                "def leak(endpoint, credentials):",
                "    os.makedirs(os.environ['LEAK'] + '/mirror', exist_ok=True)",
                "    open(os.environ['LEAK'] + '/mirror/x', 'w').write(credentials.secret)",
                "    return made(endpoint, credentials)",
                "o.token_request = leak",
            ),
            "in mirror/x",
        ),
        (
            (
                "import subprocess, sys, margod.protocols.token as o",
                "made = o.token_request",
                "def leak(endpoint, credentials):",
                "    subprocess.Popen([sys.executable, '-I', '-c', 'import time; time.sleep(10)', credentials.secret])",
                "    return made(endpoint, credentials)",
                "o.token_request = leak",
            ),
            "in cmdline of",
        ),
    ],
    ids=["shown", "file", "arguments"],
)
def test_a_leak_is_seen(lines: tuple[str, ...], where: str) -> None:
    """A device that repeats, writes down or passes on a secret breaks the promise, whatever its commands show."""
    with room() as place:
        env = {**leaks.sabotaged(place, *lines), "LEAK": str(place / "state")}
        with pytest.raises(Broken, match=where):
            asyncio.run(leaks.campaign(place, Run(3, 1.0, place), every=40, commands=(), env=env))


def test_the_search() -> None:
    """Every secret is found in every writing, cut in half as well; and nothing where there is none."""
    for name, secret in zip(leaks.CORES, (SECRET, BEARER, GIT, HANDED, FILED), strict=True):
        for written in writings(secret).values():
            assert found_in(f"before {written} after".encode()) == [name], written
        assert found_in(f"it ends in {secret[:12]}…".encode()) == [name]
    assert found_in(b"client secret, bearer token and Git token \\u0041 %41") == []


def test_arguments_are_searched(tmp_path: Path) -> None:
    """A child's arguments and environment are seen, and that a core may be written."""
    code = "import time; print(flush=True); time.sleep(60)"
    with leaks.cores_allowed():
        process = subprocess.Popen(
            [sys.executable, "-c", code, SECRET], env={"TOKEN": GIT}, stdout=subprocess.PIPE, cwd=tmp_path
        )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        watch = Watch(process.pid)
        watch.look()
        found = [found_in(data) for data in watch.seen.values()]
        assert sorted(found) == [["Git token"], ["client secret"]]
        assert watch.cores["daemon"] not in {"", "1"}
    finally:
        process.kill()
        process.communicate()
