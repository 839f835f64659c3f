"""`PUT /v1/git-token` against openapi.yaml, and `margod git-token set`: what they take; the token is nowhere."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from margod.model.errors import MargodError
from margod.model.reasons import GIT_NOT_USED, GIT_TOKEN_NOT_TAKEN, STATE_NOT_WRITABLE, Reason
from tests.local.test_openapi import answer_schema, check
from tests.support.local_api import SteeredController, exchange, head_and_json, run_margod

pytestmark = pytest.mark.usefixtures("server")

ADMIN = "admin/admin.sock"


def put(body: str) -> bytes:
    """Return the request."""
    head = f"PUT /v1/git-token HTTP/1.1\r\nHost: margod\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n{body}".encode()


async def test_what_is_taken(directory: Path, controller: SteeredController) -> None:
    """Both spellings, with and without URL and end; the answer is in its schema; on the admin socket alone."""
    bodies = {
        '{"accessToken": "t"}': ("", "t", None),
        '{"access_token": "t", "expires_at": 12.5}': ("", "t", 12.5),
        '{"accessToken": "t", "expiresAt": "1970-01-01T00:01:00Z", "url": "https://GIT.test:443/a/"}': (
            *("https://git.test/a", "t", 60.0),
        ),
        json.dumps({"accessToken": "t" * 8192, "expiresAt": None, "url": None}): ("", "t" * 8192, None),
    }
    for body in bodies:
        status, _, document = head_and_json(await exchange(directory / ADMIN, put(body)))
        assert status == 200
        check(answer_schema("/v1/git-token", "put", 200), document)
    assert controller.git_tokens == list(bodies.values())
    for socket in ("status.sock", "agent/agent.sock"):
        assert (await exchange(directory / socket, put("{}"))).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        *[(body, "the body is not") for body in ("", "x", "[]", "7", "{" * 3000)],
        *[(f'{{"accessToken": {token}}}', "accessToken: ") for token in ("null", "7", '""', '"a b"', '"\\u00e9"')],
        ('{"token": "secret-1"}', "accessToken: missing"),
        (json.dumps({"accessToken": "t" * 8193}), "accessToken: "),
        *[
            (f'{{"accessToken": "secret-1", "expiresAt": {at}}}', "expiresAt: ")
            for at in ('"soon"', "-1", "true", "1e99")
        ],
        *[
            (f'{{"accessToken": "secret-1", "url": {url}}}', "url: ")
            for url in ('"http://a/b"', '"https://u:secret-1@a/b"', "7", '""')
        ],
    ],
)
async def test_what_is_not(body: str, says: str, directory: Path, controller: SteeredController) -> None:
    """400 with the field that is wrong; nothing that was sent is repeated."""
    answer = await exchange(directory / ADMIN, put(body))
    status, _, document = head_and_json(answer)
    assert (status, controller.git_tokens) == (400, [])
    assert says in document["error"]["message"]
    assert b"secret-1" not in answer
    check(answer_schema("/v1/git-token", "put", 400), document)


async def test_a_body_that_is_too_large(directory: Path, controller: SteeredController) -> None:
    """More than 16 KiB is not read."""
    assert (await exchange(directory / ADMIN, put("x" * 16_385))).startswith(b"HTTP/1.1 413")
    assert controller.git_tokens == []


@pytest.mark.parametrize(
    ("reason", "expected"), [(GIT_NOT_USED, 404), (GIT_TOKEN_NOT_TAKEN, 409), (STATE_NOT_WRITABLE, 409)]
)
async def test_what_the_daemon_refuses(
    reason: Reason, expected: int, directory: Path, controller: SteeredController
) -> None:
    """The reason in its words."""
    controller.failure = MargodError(reason)
    status, _, document = head_and_json(await exchange(directory / ADMIN, put('{"accessToken": "t"}')))
    assert (status, document["error"]["code"]) == (expected, reason.code)


async def test_the_command_reads_the_standard_input(directory: Path, controller: SteeredController) -> None:
    """One line, never an argument; with its end and its URL."""
    arguments = ["git-token", "set", "--runtime-dir", str(directory), "--expires-at", "1970-01-01T00:01:00Z"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "margod", *arguments, "--url", "https://git.test/a"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(b"secret-1\n")
    assert (process.returncode, out) == (0, b"Taken.\n")
    assert controller.git_tokens == [("https://git.test/a", "secret-1", 60.0)]


@pytest.mark.parametrize(
    ("typed", "code", "says"),
    [
        (b"secret-1\n", 0, b""),
        (b"\x04", 1, b"there is no token in it"),
        (b"secret-\xff\n", 1, b"characters that no token has"),
        (b"secret-\xc3\xa4\n", 1, b"characters that no token has"),
    ],
)
async def test_the_command_asks_on_a_terminal(
    directory: Path, controller: SteeredController, typed: bytes, code: int, says: bytes
) -> None:
    """A token that is typed is not shown; its end (Ctrl-D) and bytes that are no text are refused in a sentence."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "margod", "git-token", "set", "--runtime-dir", str(directory)),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # no terminal of whoever runs the tests
    )
    os.close(theirs)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        asked = await process.stderr.readuntil(b": ")  # from here on nothing is shown
        os.write(ours, typed)
        _, error = await process.communicate()
    os.close(ours)
    assert (asked, process.returncode, says in error) == (b"Token (not shown): ", code, True)
    assert b"Traceback" not in error
    assert b"secret" not in error
    assert [token for _, token, _ in controller.git_tokens] == ([] if code else ["secret-1"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "there is no token in it"),
        (b" \n", "there is no token in it"),
        (b"a\nb\n", "more than one line"),
        (b"\xff\n", "characters that no token has"),
        (b"a b", "blanks"),
        (b"x" * 8193, "at most 8192 characters"),
    ],
)
async def test_the_command_and_a_file_that_is_no_token(
    content: bytes, says: str, tmp_path: Path, directory: Path, controller: SteeredController
) -> None:
    """Nothing is sent, and what is in the file is not shown."""
    (tmp_path / "token").write_bytes(content)
    code, out, err = await run_margod("git-token", "set", str(tmp_path / "token"), "--runtime-dir", str(directory))
    assert (code, out, controller.git_tokens) == (1, "", [])
    assert says in " ".join(err.split())


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--expires-at", "yesterday", "--expires-at: neither"),
        ("--url", "http://git.test/a", "--url: the URL does not begin with https://"),
        ("--url", "", "--url: the URL is missing"),
    ],
)
async def test_the_command_names_its_options(
    option: str, value: str, says: str, tmp_path: Path, directory: Path, controller: SteeredController
) -> None:
    """And not the fields of the local API."""
    (tmp_path / "token").write_text("secret-1")
    arguments = ("git-token", "set", str(tmp_path / "token"), "--runtime-dir", str(directory), option, value)
    code, out, err = await run_margod(*arguments)
    assert (code, out, controller.git_tokens) == (2, "", [])
    assert err.startswith(f"margod: {says}")


async def test_the_command_says_what_the_daemon_refuses(
    tmp_path: Path, directory: Path, controller: SteeredController
) -> None:
    """What happened and what to do; exit code 1."""
    controller.failure = MargodError(GIT_TOKEN_NOT_TAKEN)
    (tmp_path / "token").write_text("secret-1")
    code, out, err = await run_margod("git-token", "set", str(tmp_path / "token"), "--runtime-dir", str(directory))
    assert (code, out) == (1, "")
    assert GIT_TOKEN_NOT_TAKEN.says in err
    assert "secret-1" not in err
