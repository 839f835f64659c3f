"""What goes wrong on the way to the repository, and the word and the sentence for it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from margod.gitfetch import Failed, Job, ProxyAt, fetch
from tests.support.gitserver import BACKEND, GitServer
from tests.support.proxyserver import ProxyServer, answers

pytestmark = [
    pytest.mark.skipif(not BACKEND.exists(), reason="needs git (apt-get install git)"),
    pytest.mark.timeout(300),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """Return a running server with one file in its repository."""
    with GitServer(tmp_path) as running:
        running.commit({"a.yaml": b"kind: A\n"})
        yield running


def job(server: GitServer) -> Job:
    """Return the job of fetching its main branch."""
    return Job(server.url, "main", server.ca_file.read_text(), "oauth2", "token-1")


async def failed(made: Job) -> Failed:
    """Return why nothing is fetched."""
    result = await fetch(made)
    assert isinstance(result, Failed), result
    return result


@pytest.mark.parametrize("said", ["Basic {basic}", "{pair}", "no {password} here", "no %{hexed} here"])
async def test_a_proxy_that_repeats_its_credentials(server: GitServer, said: str) -> None:
    """Its refusal is shown without them, as base64 and as they are."""
    password = "proxy-password-1"
    pair = f"someone:{password}"
    basic = b64encode(pair.encode()).decode()
    hexed = "%".join(f"{each:02x}" for each in password.encode())
    line = said.format(basic=basic, pair=pair, password=password, hexed=hexed)
    async with ProxyServer(answers(f"HTTP/1.1 407 {line}\r\n\r\n".encode())) as proxy:
        result = await failed(replace(job(server), proxy=ProxyAt("127.0.0.1", proxy.port, f"Basic {basic}")))
    assert (result.code, "407" in result.detail or "(secret)" in result.detail) == ("unreachable", True), result
    assert not any(secret in result.detail for secret in (basic, password, hexed)), result
