"""`margod devwfm` as a process: start, control, SIGTERM, SIGKILL, and bad input without a traceback."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from margod.devwfm.problems import DevWfmError
from margod.trust import decode_answer, read_ca_file
from tests.support.device import Device
from tests.support.devwfm import DevWfm, command, environment

pytestmark = pytest.mark.e2e


async def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run one `margod devwfm` command to its end: exit code, standard output and error."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), stdin=-1, stdout=-1, stderr=-1, env=environment()
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_person_acts(tmp_path: Path) -> None:
    """list, approve, reject, forget, upload, stats and fault on the command line; the list fits 80 columns."""
    directory = tmp_path / "wfm"
    where = ("--directory", str(directory))
    async with DevWfm(directory, "--approval", "manual", prefix="/v1alpha2/margo") as wfm:
        assert wfm.url.endswith("/v1alpha2/margo")
        assert await run("list", *where) == (0, "No device has asked yet.\n", "")
        device, other = Device(wfm.url, wfm.ca_file), Device(wfm.url, wfm.ca_file)
        assert (await device.onboard()).status == 202
        fingerprint = (await wfm.clients())[0]["fingerprint"]
        code, out, _ = await run("list", *where)
        assert code == 0
        assert out.splitlines()[1].split() == ["1", fingerprint[:16], "pending", "CN=gateway-1"]
        assert await run("approve", "1", *where) == (0, f"1  {fingerprint[:16]}  approved\n", "")
        assert (await device.onboard()).status == 201
        _, out, _ = await run("list", *where)
        assert max(map(len, out.splitlines())) <= 80
        assert (await wfm.clients())[0]["client_id"] in out
        assert json.loads((await run("list", "--json", *where))[1]) == await wfm.clients()
        assert (await run("reject", fingerprint[:6], *where))[1].split()[2] == "rejected"
        assert (await run("forget", fingerprint.upper(), *where))[1].split()[2] == "forgotten"
        assert await wfm.clients() == []
        file = tmp_path / "device.pem"
        file.write_bytes(other.pem)
        assert (await run("upload", str(file), *where))[1].split()[2] == "approved"
        assert (await other.onboard()).status == 201
        third = Device(wfm.url, wfm.ca_file)
        file.write_bytes(base64.encodebytes(third.der))
        assert (await run("upload", str(file), *where))[1].split()[2] == "approved"
        assert (await third.onboard()).status == 201
        assert (
            await run(
                "upload",
                "-",
                *where,
            )
        )[0] == 1
        _, out, _ = await run(
            "fault", "answer", "--status", "500", "--times", "3", "--header", "Retry-After: 1", *where
        )
        assert out == "answer on all, before, left: 3\n"
        assert (await other.onboard()).headers["retry-after"] == "1"
        assert await run("fault", "list", *where) == (0, "answer on all, before, left: 2\n", "")
        assert await run("fault", "clear", *where) == (0, "", "")
        assert json.loads((await run("stats", *where))[1])["requests"]["onboarding"] == 5
        assert json.loads((await run("stats", "--reset", *where))[1])["requests_total"] == 0
        for bad in (
            ("approve", "77"),
            ("approve", "zz/../x"),
            ("reject", "0"),
            ("upload", "/nowhere"),
            ("upload", "/dev/null"),
        ):
            code, out, err = await run(*bad, *where)
            assert (code, out, err.count("\n")) == (1, "", 1), bad
            assert err.startswith("margod devwfm: ")
    code, _, err = await run("list", *where)
    assert code == 1
    assert "no development WFM answers there" in err


async def test_survives_sigkill(tmp_path: Path) -> None:
    """Clients, requests and the CA are there after SIGKILL, on the same port; nothing is asked twice."""
    wfm = DevWfm(tmp_path / "wfm")
    await wfm.start()
    try:
        device = Device(wfm.url, wfm.ca_file)
        client_id = (await device.onboard()).json()["clientId"]
        url, ca = wfm.url, wfm.ca_file.read_bytes()
        await wfm.kill()
        await wfm.start()
        assert (wfm.url, wfm.ca_file.read_bytes()) == (url, ca)
        assert (await device.report(client_id)).status == 201
        assert (await device.onboard()).status == 409
        assert [r["status"] for r in await wfm.requests("onboarding")] == [201, 409]
        assert (await wfm.requests())[0]["body"] == device.onboarding_body()
        assert [d["device_id"] for d in await wfm.devices()] == [client_id]
    finally:
        await wfm.stop()


async def test_ready_and_the_end(tmp_path: Path) -> None:
    """The ready line and file say the same; SIGTERM ends it with 0, and takes ready file and socket away."""
    directory = tmp_path / "wfm"
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *command("--directory", str(directory), "--ready-fd", str(writer)), stdout=-1, stderr=-1, env=environment(),
        pass_fds=[writer],
    )  # fmt: skip
    os.close(writer)
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        with os.fdopen(reader) as told:
            assert told.read() == line
        ready = json.loads((directory / "ready.json").read_text())
        assert line == f"ready {ready['url']} ca {ready['ca_file']}\n"
        assert ready["pid"] == process.pid
        assert (directory / "control.sock").stat().st_mode & 0o777 == 0o600
        assert directory.stat().st_mode & 0o777 == 0o700
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, err) == (0, b"")
    assert not (directory / "ready.json").exists()
    assert not (directory / "control.sock").exists()


async def test_a_long_path(tmp_path: Path) -> None:
    """A directory whose socket path is longer than 108 bytes works."""
    async with DevWfm(tmp_path / ("d" * 100) / ("e" * 100)) as wfm:
        assert await wfm.clients() == []


async def test_bad_input(tmp_path: Path) -> None:
    """What cannot work is said in one line, without a traceback; wrong usage is exit 2."""
    file = tmp_path / "file"
    file.write_text("")
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    fine = str(tmp_path / "fine")
    cases: list[tuple[tuple[str, ...], int, str]] = [
        (("--directory", str(file)), 1, "not a directory"),
        (("--directory", str(file / "below")), 1, "ot a directory"),
        (("--directory", "/proc/nowhere"), 1, "/proc/nowhere: "),
        (("--directory", fine, "--listen", f"127.0.0.1:{port}"), 1, "cannot listen on 127.0.0.1:"),
        (("--directory", fine, "--listen", "192.0.2.1:0"), 1, "cannot listen on 192.0.2.1:0"),
        (("--directory", fine, "--listen", "127.0.0.1:99999"), 2, "is not HOST:PORT"),
        (("--directory", fine, "--listen", "nonsense"), 2, "is not HOST:PORT"),
        (("--directory", fine, "--prefix", "no-slash"), 2, "begins with a slash"),
        (("--directory", fine, "--host", "bad host\u00fc"), 2, "is not a host name"),
        (("--directory", fine, "--like", "odd"), 2, "invalid choice"),
        (("fault", "explode", "--directory", fine), 2, "invalid choice"),
        (("fault", "answer", "--header", "x", "--directory", fine), 2, "NAME: VALUE"),
    ]
    for arguments, expected, says in cases:
        code, out, err = await run(*arguments)
        assert (code, out) == (expected, ""), (arguments, err)
        assert says in err, arguments
        assert "Traceback" not in err, arguments
    taken.close()


async def test_one_at_a_time(tmp_path: Path) -> None:
    """A second one on the same directory is refused and does not disturb the first."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        code, out, err = await run("--directory", str(wfm.directory))
        assert (code, out) == (1, "")
        assert "another development WFM uses this directory" in err
        assert await wfm.clients() == []
        assert (wfm.directory / "ready.json").exists()


async def test_control_errors(tmp_path: Path) -> None:
    """The control socket answers nonsense with an error that names it."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        for action, members in (("explode", {}), ("answer", {"status": 1000}), ("hang", {"route": "nowhere"})):
            with pytest.raises(DevWfmError):
                await wfm.fault(action, **members)
        with pytest.raises(DevWfmError, match="not JSON"):
            await wfm.control("POST", "/v1/faults", b"{")
        with pytest.raises(DevWfmError, match="cannot be parsed"):
            await wfm.upload(b"garbage")
        with pytest.raises(DevWfmError):
            await wfm.control("GET", "/v1/nothing")
        await wfm.fault("hang", times=0)
        await wfm.clear_faults()
        assert (await Device(wfm.url, wfm.ca_file).onboard()).status == 201


async def test_socket_commands_are_light(tmp_path: Path) -> None:
    """A command that only talks to the control socket loads neither aiohttp nor cryptography."""
    code = (
        "import sys; from pathlib import Path; from margod.cli import devwfm; from margod.devwfm.control import call\n"
        f"try: call(Path({str(tmp_path)!r}), 'GET', '/v1/clients')\n"
        "except Exception: pass\n"
        "print(sorted({'aiohttp', 'cryptography', 'yaml', 'asyncio'} & sys.modules.keys()))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=-1, env=environment())
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert out == b"[]\n"


async def test_another_ca(tmp_path: Path) -> None:
    """rotate offers a second root, presents it, swaps it in, and goes back; a client of each root sees which it is."""
    directory = tmp_path / "wfm"
    other = directory / "other-ca" / "ca.pem"
    async with DevWfm(directory) as wfm:
        for act, offered, presented in (
            ("offer", [wfm.ca_file, other], wfm.ca_file),
            ("present", [wfm.ca_file, other], other),
            ("back", [wfm.ca_file], wfm.ca_file),
            ("swap", [other], other),
        ):
            code, out, _ = await run("rotate", act, "--directory", str(directory))
            assert code == 0
            assert out.split() == ["presented", str(presented), *(w for f in offered for w in ("offered", str(f)))]
            device = Device(wfm.url, presented)
            answer = await device.send(device.sign("GET", "/api/v1/onboarding/certificate"))
            found = decode_answer(answer.body, time.time())
            assert [root.der for root in found] == [read_ca_file(f, time.time())[0].der for f in offered]
        assert (await run("rotate", "sideways", "--directory", str(directory)))[0] == 2
