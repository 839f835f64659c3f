"""What holds for every test: a clean environment, no loop left over, and in CI no skip."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.support import zygote

_FOREIGN = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "MARGOD_CONFIG",
    "MARGOD_WFM_URL",
    "MARGOD_RUNTIME_DIR",
    "NO_COLOR",
    "FORCE_COLOR",
)


def pytest_configure() -> None:
    """Clear what the caller's environment would bring into the tests and the processes that they start."""
    for name in _FOREIGN:
        os.environ.pop(name, None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background of a shell: the processes under test would inherit a deaf ear for Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # An example may take its time: the machine's pauses, not what is tested, would be what fails.
    settings.register_profile(
        "unhurried",
        settings(),
        deadline=None,
        suppress_health_check=[*settings().suppress_health_check, HealthCheck.too_slow],
    )
    settings.load_profile("unhurried")
    asyncio.set_event_loop(None)  # pytest-asyncio would otherwise open a loop of its own that nobody closes


def pytest_unconfigure() -> None:
    """End the processes that forked margod, and whatever a test has left of them."""
    zygote.end()


@pytest.fixture(autouse=True)
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the disk that the tests' files are on for one that lasts, also where it is a tmpfs or a container's overlay.

    In this process, that is; tests.support.daemon tells a real one so by state.allow_volatile.
    """
    monkeypatch.setattr("margod.shell.belonging.volatile", lambda directory: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits, so that what computes fills in where several processes share the tests."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    return 0 if item.get_closest_marker("system") else 1 if item.get_closest_marker("e2e") else 2


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Files of tests for whichever process is free (`pytest -n`); those of tests/system share one booted system."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "system" if file.startswith("tests/system/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Share by `_ByFile`: pytest-xdist's own way to name groups goes by what pytest 9.2 has no more."""
    return _ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure in CI: there, everything that a test needs can be installed."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, which CI does not allow: {report.longrepr}"
    return report
