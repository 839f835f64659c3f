"""Discovery on a LAN of network namespaces: avahi and margod's own development WFM, honest and hostile neighbours."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.system.lan import Lan, missing

pytestmark = pytest.mark.system

NAMES = "discovery: {server_names: [other.test, wfm.test], again_after: 1s}"


@pytest.fixture
def lan() -> Iterator[Lan]:
    """Three hosts: the gateway, the WFM, and a neighbour."""
    if why := missing("avahi-daemon", "avahi-browse", "dbus-daemon"):
        pytest.skip(why)
    with Lan("gw", "wfm", "evil") as made:
        yield made


def gateway(lan: Lan, directory: Path, ca_file: Path | None, yaml: str = NAMES) -> Daemon:
    """Return a margod on the gateway that knows a root CA and no URL."""
    daemon = Daemon(directory, ca_file=ca_file, yaml=yaml)
    daemon.prefix = lan.at("gw")
    return daemon


def server(lan: Lan, directory: Path, *options: str, host: str = "wfm", listen: str = "0.0.0.0:8443") -> DevWfm:
    """Return a development WFM on a host."""
    arguments = ("--listen", listen, "--host", "wfm.test", *options)
    return DevWfm(directory, *arguments, prefix="/margo", within=lan.at(host))


def ours(lan: Lan, host: str, code: str, *arguments: str) -> list[str]:
    """Return the command line that runs Python on a host."""
    return lan.at(host, sys.executable, "-c", code, *arguments)


async def test_avahi_publishes_and_margod_onboards(lan: Lan, tmp_path: Path) -> None:
    """A WFM published by avahi is found and enrolled with, whatever its TXT proto says; then browsing ends."""
    txt = ("txtvers=1", "path=/margo", "proto=mtls", "name=The plant's")
    async with server(lan, tmp_path / "wfm") as wfm:
        with lan.avahi("wfm", "Plant & WFM", port=8443, folder=tmp_path, txt=txt):
            daemon = gateway(lan, tmp_path, wfm.ca_file)
            async with daemon:
                status = await daemon.until("enrolled")
                assert status["wfm"]["protocol"] == "signed"
                assert status["discovery"]["instance"] == "Plant & WFM"
                await daemon.journal_line("browsing-ended")
                assert not (await daemon.status())["discovery"]["browsing"]
                code, out, _ = await daemon.command("discover", "--json")
                (seen,) = json.loads(out)
                assert (code, seen["instance"], seen["port"], seen["path"]) == (0, "Plant & WFM", 8443, "/margo")
                assert lan.address("wfm") in seen["addresses"]
                assert any(address.startswith("fe80::") and "%" in address for address in seen["addresses"])
        before = await wfm.stats()
        async with daemon:
            assert (await daemon.until("enrolled"))["client_id"] == status["client_id"]
            assert not (await daemon.status())["discovery"]["browsing"]
            assert await wfm.stats() == before
        assert (await daemon.command("discover", "--timeout", "1s"))[0] == 3


async def test_devwfm_announces_and_avahi_browses(lan: Lan, tmp_path: Path) -> None:
    """What `margod devwfm --announce` says is seen by avahi-browse, and the goodbye at its end too."""
    with lan.avahi("gw", "unused", port=1, folder=tmp_path):
        browse = ("avahi-browse", "--resolve", "--parsable", "_margo-wfm._tcp")
        async with server(lan, tmp_path / "wfm", "--announce", "Lab WFM"):
            run = lan.at("gw", "nsenter", "-m", "-t", _avahi_pid(tmp_path), *browse)
            process = await asyncio.create_subprocess_exec(*run, stdout=asyncio.subprocess.PIPE)
            assert process.stdout is not None
            async with asyncio.timeout(60):
                line = await _line(process.stdout, "=", "Lab\\032WFM")
            assert ";8443;" in line
            assert '"path=/margo"' in line
        try:
            async with asyncio.timeout(60):
                await _line(process.stdout, "-", "Lab\\032WFM")
        finally:
            process.terminate()
            await process.wait()


async def test_a_second_responder(lan: Lan, tmp_path: Path) -> None:
    """Two WFMs: nothing is sent to either, exit code 5; one that is chosen is stored, and taken after a restart too."""
    async with (
        server(lan, tmp_path / "wfm", "--announce", "Real") as real,
        server(lan, tmp_path / "evil", "--announce", "Spoofed", host="evil") as spoofed,
    ):
        daemon = gateway(lan, tmp_path, real.ca_file)
        async with daemon:
            status = await daemon.until("discovering", "several-wfms")
            assert [one["instance"] for one in status["discovery"]["seen"]] == ["Real", "Spoofed"]
            code, out, _ = await daemon.command("status")
            assert (code, "Real" in out, "Spoofed" in out) == (5, True, True)
            code, out, _ = await daemon.command("check", "--json", *daemon.options)
            line = next(line for line in json.loads(out)["lines"] if line["name"] == "wfm")
            assert (code, line["verdict"], line["code"]) == (11, "failed", "several-wfms")
            assert line["facts"]["seen"] == ["Real", "Spoofed"]
            assert [(await wfm.stats())["connections"] for wfm in (real, spoofed)] == [0, 0]
            assert (await daemon.command("discover", "--use", "Nobody"))[0] == 1
            assert (await daemon.command("discover", "--use", "Spoofed"))[0] == 0
            await daemon.until("untrusted", "tls-unknown-issuer")
        async with daemon:
            await daemon.until("untrusted", "tls-unknown-issuer")
            assert (await daemon.command("discover", "--use", "Real"))[0] == 0
            await daemon.until("enrolled")
            assert (await daemon.command("discover", "--use", "Spoofed"))[0] == 1
        assert (await spoofed.stats())["requests_total"] == 0


async def test_selected_by_the_configuration(lan: Lan, tmp_path: Path) -> None:
    """wfm.select takes one of two, and waits for one that is not seen; a configured URL needs no discovery."""
    async with (
        server(lan, tmp_path / "wfm", "--announce", "Real") as real,
        server(lan, tmp_path / "evil", "--announce", "Spoofed", host="evil"),
    ):
        daemon = gateway(lan, tmp_path, real.ca_file, f"{NAMES}\nwfm: {{select: Nobody}}")
        async with daemon:
            await daemon.until("discovering", "wfm-not-seen")
            daemon.configure(ca_file=real.ca_file, yaml=f"{NAMES}\nwfm: {{select: Real}}")
            await daemon.reload()
            status = await daemon.until("enrolled")
            daemon.configure(ca_file=real.ca_file, yaml=f"{NAMES}\nwfm: {{select: Spoofed}}")
            await daemon.reload()
            await daemon.until("untrusted", "tls-unknown-issuer")
            daemon.configure(url="https://other.test:8443/margo", ca_file=real.ca_file, yaml=NAMES)
            await daemon.reload()
            assert (await daemon.until("enrolled"))["client_id"] == status["client_id"]


async def test_a_location_is_no_trust(lan: Lan, tmp_path: Path) -> None:
    """Without names to check a WFM that is found is not spoken to, until its CA is declared to vouch for WFMs only."""
    async with server(lan, tmp_path / "wfm", "--announce") as wfm:
        daemon = gateway(lan, tmp_path, wfm.ca_file, "")
        async with daemon:
            await daemon.until("untrusted", "discovered-unverifiable")
            daemon.configure(ca_file=wfm.ca_file, yaml="discovery: {server_names: printer.test}")
            await daemon.reload()
            await daemon.until("untrusted", "tls-wrong-host")
            assert (await wfm.stats())["requests_total"] == 0
            daemon.config.write_text(
                f"log: {{level: debug}}\ntrust: {{ca_file: {wfm.ca_file}, ca_is_wfm_only: true}}\n"
            )
            await daemon.reload()
            await daemon.until("enrolled")


async def test_garbage(lan: Lan, tmp_path: Path) -> None:
    """500 services of garbage neither break it nor fill it, nor keep it from the WFM that is selected.

    Some of them are well-formed and are listed; what their TXT records say is never in the journal, nor raw anywhere.
    """
    garbage = ours(lan, "evil", GARBAGE, lan.address("evil"))
    noise = await asyncio.create_subprocess_exec(*garbage, stdout=asyncio.subprocess.PIPE)
    assert noise.stdout is not None
    async with asyncio.timeout(60):
        await noise.stdout.readline()
    try:
        daemon = gateway(lan, tmp_path, tmp_path / "wfm" / "ca.pem", f"{NAMES}\nwfm: {{select: Real}}")
        await daemon.start()
        await daemon.until("discovering", "wfm-not-seen")
        heard = await daemon.until_status(_named_by_txt, "a candidate with a hostile TXT record")
        assert 1 < len(heard["discovery"]["seen"]) <= 16
        for seen in heard["discovery"]["seen"]:
            assert (seen["instance"] + seen["name"] + seen["path"] + seen["host"]).isprintable()
        code, out, _ = await daemon.command("status")
        assert (code, out.replace("\n", "").isprintable()) == (3, True)
        async with server(lan, tmp_path / "wfm", "--announce", "Real"), asyncio.timeout(60):
            await daemon.until("enrolled")
            assert daemon.process is not None
            memory = Path(f"/proc/{daemon.process.pid}/status").read_text()
            assert int(memory.split("VmRSS:")[1].split()[0]) < 100_000
        assert await daemon.stop() == 0
        assert "aaaa" in await daemon.journal_line("wfms-seen")
        said = ("Traceback", "internal-error", "INTXT")
        assert not [line for line in daemon.journal if not line.isprintable() or any(word in line for word in said)]
    finally:
        if noise.returncode is None:
            noise.kill()
        await noise.wait()


async def test_it_appears_leaves_and_moves(tmp_path: Path) -> None:
    """No interface at first; the WFM comes later, goes, comes back; enrolled, its new address and port are followed."""
    if why := missing():
        pytest.skip(why)
    with Lan("gw", "wfm", up=False) as lan:
        lan.connect("wfm")
        first = tmp_path / "wfm"
        wfm = server(lan, first, "--announce", "Real", "--approval", "manual")
        await wfm.start()
        daemon = gateway(lan, tmp_path, wfm.ca_file)
        async with daemon:
            await daemon.until("discovering", "no-wfm-found")
            lan.connect("gw")
            await daemon.until("pending-approval")
            await wfm.approve(1)
            await wfm.stop()
        moved = server(lan, first, "--announce", "Real", listen="0.0.0.0:9443")
        lan.connect("wfm", "10.77.0.77")
        daemon.configure(ca_file=wfm.ca_file, yaml="discovery: {server_names: wfm.test, again_after: 1s}")
        async with moved, daemon:
            await daemon.until("pending-approval")
            assert (await daemon.command("retry"))[0] == 0
            await daemon.until_status(_at_port(9443), "at its new port")
            status = await daemon.until("enrolled")
            assert status["discovery"]["instance"] == "Real"


def _named_by_txt(status: dict[str, Any]) -> bool:
    return any(seen["name"].startswith("INTXT") for seen in status["discovery"]["seen"])


def _at_port(port: int) -> Any:
    return lambda status: f":{port}/" in (status["wfm"]["url"] or "")


async def _line(stream: asyncio.StreamReader, begins: str, having: str) -> str:
    while line := (await stream.readline()).decode():
        if line.startswith(begins) and having in line:
            return line
    raise AssertionError(f"no line with {having}")


def _avahi_pid(folder: Path) -> str:
    """Return the process id of the avahi-daemon in whose mount namespace its D-Bus is."""
    for status in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            if (
                str(folder / "avahi-gw") in status.read_text()
                and (status.parent / "comm").read_text() == "avahi-daemon\n"
            ):
                return status.parent.name
        except OSError:
            continue
    raise AssertionError("no avahi-daemon")


GARBAGE = r"""
import random, socket, sys
from zeroconf import DNSAddress, DNSOutgoing, DNSPointer, DNSService, DNSText
from zeroconf.const import _CLASS_IN, _FLAGS_QR_RESPONSE, _FLAGS_AA, _TYPE_A, _TYPE_PTR, _TYPE_SRV, _TYPE_TXT

TYPE = "_margo-wfm._tcp.local."
NAMED = b"\x1aname=INTXT\x1b[2J\xe2\x80\xae\n<0>margo" + b"\x0bother=INTXT" + b"\x0bpath=/INTXT"
rng = random.Random(5)

def packet(number):
    kinds = [f"x{number}", f"\x1b[2J{number}", f"\u202e{number}", "a" * 50 + str(number), f"{number}\n"]
    name = rng.choice(kinds) + "." + TYPE
    out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
    out.add_answer_at_time(DNSPointer(TYPE, _TYPE_PTR, _CLASS_IN, 4500, name), 0)
    host = f"h{number}.local."
    if rng.random() < 0.7:
        out.add_answer_at_time(DNSService(name, _TYPE_SRV, _CLASS_IN, 120, 0, 0, rng.randrange(65536), host), 0)
        txt = rng.choice([rng.randbytes(200), b"\xff", b"\x09path=/../", b"\x00" * 900, b"\x05txtve", NAMED])
        out.add_answer_at_time(DNSText(name, _TYPE_TXT, _CLASS_IN, 4500, txt), 0)
        out.add_answer_at_time(DNSAddress(host, _TYPE_A, _CLASS_IN, 120, rng.randbytes(4)), 0)
    return out.packets()[0]

packets = [packet(number) for number in range(500)]
packets += [rng.randbytes(rng.randrange(1, 1400)) for _ in range(100)]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
sock.bind((sys.argv[1], 5353))
print("noisy", flush=True)
import time
while True:
    for one in packets:
        sock.sendto(one, ("224.0.0.251", 5353))
        time.sleep(0.004)
"""
