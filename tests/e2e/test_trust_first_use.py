"""trust.first_use, `margod trust`, and a trust.ca_file that changes: what a person says about the root CA."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
import trustme
import yaml

from margod.config import Config
from tests.e2e.checked import CheckedDaemon, failed
from tests.e2e.test_trust_pin import ROUTE, colons, document, root
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.support.rawserver import Certificates, RawServer, Turn

pytestmark = pytest.mark.e2e

ASK = "trust: {first_use: ask}"
ACCEPT = "trust: {first_use: accept}"


async def test_off_by_default(tmp_path: Path) -> None:
    """Nobody asked for it: no connection is made at all."""
    assert Config().trust.first_use == "off"
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url) as daemon:
        failed(await daemon.until("untrusted"), "untrusted", "no-anchor", "idle")
        assert (await wfm.stats())["connections"] == 0


async def test_asked_and_accepted(tmp_path: Path) -> None:
    """The status shows URL, fingerprint and validity; the right fingerprint, and no other, settles it for good."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        anchor = root(wfm.ca_file.read_bytes())
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ASK) as daemon:
            status = await daemon.until("untrusted", "first-use-asked")
            detail = failed(status, "untrusted", "first-use-asked", "untrusted")
            assert re.fullmatch(
                rf"{anchor.fingerprint}, valid \d{{4}}-\d\d-\d\d to \d{{4}}-\d\d-\d\d, offered at {wfm.url}", detail
            )
            (offered,) = status["trust"]["offered"]
            assert (offered["fingerprint"], offered["spki"]) == (anchor.fingerprint, anchor.spki)
            assert status["trust"]["anchors"] == []
            code, out, _ = await daemon.command("trust", "show")
            assert code == 0
            assert anchor.fingerprint in out
            assert "vouched for by nobody" in out
            code, _, error = await daemon.command("trust", "accept", "ab" * 32)
            assert (code, "No root CA with this fingerprint" in error) == (1, True)
            assert {r["route"] for r in await wfm.requests()} == {"certificate"}
            await daemon.stop()
            await daemon.restart()
            await daemon.until_status(lambda s: s["trust"]["offered"] != [], "asked for again at once, and offered")
            code, out, error = await daemon.command("trust", "accept", colons(anchor.fingerprint))
            assert (code, error, anchor.fingerprint in out) == (0, "", True)
            status = await daemon.until("enrolled")
            assert (status["trust"]["source"], status["trust"]["offered"]) == ("accepted", [])
            assert status["warnings"] == []
            await daemon.stop()
            await daemon.restart()
            assert (await daemon.until("enrolled"))["trust"] == status["trust"]
            asked = [r["route"] for r in await wfm.requests()]
            assert asked == ["certificate", "certificate", "certificate", "onboarding", "capabilities"]


async def test_accepted_unseen_is_said_for_ever(tmp_path: Path) -> None:
    """In a lab it is taken as it comes: loud in the journal, and a warning in the status after every start."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ACCEPT) as daemon,
    ):
        await daemon.until("enrolled")
        line = await daemon.journal_line("root-ca-taken-unseen")
        assert line.startswith("<4>")
        assert root(wfm.ca_file.read_bytes()).fingerprint in line
        await daemon.stop()
        await daemon.restart()
        status = await daemon.until("enrolled")
        assert [warning["code"] for warning in status["warnings"]] == ["first-use-taken"]
        assert status["trust"]["source"] == "first_use"
        assert len(await wfm.requests()) == 3


async def test_taken_unseen_does_not_pass_for_accepted(tmp_path: Path) -> None:
    """From accept to ask before the enrolment: what nobody compared vouches no more, and a person is asked."""
    async with (
        DevWfm(tmp_path / "wfm", "--approval", "manual") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ACCEPT) as daemon,
    ):
        await daemon.until("pending-approval")
        daemon.config.write_text(daemon.config.read_text().replace(ACCEPT, ASK))
        await daemon.reload()
        status = await daemon.until("untrusted", "first-use-asked")
        assert (status["trust"]["source"], status["trust"]["anchors"]) == ("first_use", [])


async def test_a_stranger_offers_and_is_asked_nothing_else(tmp_path: Path) -> None:
    """While nobody has accepted it, a hostile server sees GETs and nothing else, each on a connection of its own."""
    certificates = Certificates()

    async def script(turn: Turn) -> None:
        await turn.answer(200, document(certificates.ca.cert_pem.bytes()), "Set-Cookie: a=b", "Connection: keep-alive")

    async with (
        RawServer(script, context=certificates.server()) as server,
        CheckedDaemon(tmp_path / "d", url=server.url, yaml=ASK) as daemon,
    ):
        await daemon.until("untrusted", "first-use-asked")
        await daemon.retry()
        await daemon.until_status(lambda s: s["attempt"] > 1 and s["next_attempt_at"] is not None, "asked again")
        assert [request.line for request in server.requests] == [ROUTE, ROUTE]
        assert [request.connection for request in server.requests] == [1, 2]
        assert not [name for request in server.requests for name, _ in request.headers if name.lower() == "cookie"]


async def test_forget(tmp_path: Path) -> None:
    """The way out when a WFM has made itself another CA: what was kept is dropped and asked for anew."""
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ACCEPT) as daemon:
        await daemon.until("enrolled")
        daemon.config.write_text(daemon.config.read_text().replace(ACCEPT, "trust: {}"))
        await daemon.reload()
        code, _, error = await daemon.command("trust", "forget")
        assert (code, "no other root CA" in error) == (1, True), error
        daemon.config.write_text(daemon.config.read_text().replace("trust: {}", ASK))
        await daemon.reload()
        code, _, error = await daemon.command("trust", "forget")
        assert (code, error) == (0, "")
        status = await daemon.until_status(lambda s: s["trust"]["offered"] != [], "asked")
        assert (status["state"], status["last_error"]["code"]) == ("enrolled", "first-use-asked")
        await daemon.command("trust", "accept", status["trust"]["offered"][0]["fingerprint"])
        status = await daemon.until_status(lambda s: s["trust"]["source"] == "accepted", "accepted")
        assert (status["state"], status["warnings"]) == ("enrolled", [])
        assert [r["route"] for r in (await wfm.requests())[3:]] == ["certificate"]


async def test_pin_lines_are_a_configuration(tmp_path: Path) -> None:
    """What `margod trust pin` prints, of a file and of the root CA in use, enrols a device as it stands."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        first = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        code, of_file, _ = await first.command("trust", "pin", "--key", str(wfm.ca_file))
        assert code == 0
        async with first:
            await first.until("enrolled")
            code, of_status, _ = await first.command("trust", "pin")
            assert code == 0
            code, _, error = await first.command("trust", "forget")
            assert (code, "trust.ca_file" in error) == (1, True)
        assert yaml.safe_load(of_file)["trust"]["pin"] == [f"spki:{root(wfm.ca_file.read_bytes()).spki}"]
        for name, lines in (("of-file", of_file), ("of-status", of_status)):
            async with CheckedDaemon(tmp_path / name, url=wfm.url, yaml=lines) as daemon:
                assert (await daemon.until("enrolled"))["trust"]["source"] == "pin"


async def test_pin_of_no_root(tmp_path: Path) -> None:
    """A leaf or a missing file has no pin: said in a line, without a traceback."""
    leaf = tmp_path / "leaf.pem"
    trustme.CA().issue_cert("wfm.example").cert_chain_pems[0].write_to_path(str(leaf))
    daemon = Daemon(tmp_path)
    for file in (leaf, tmp_path / "none.pem"):
        code, out, error = await daemon.command("trust", "pin", str(file))
        assert (code, out, "Traceback" in error) == (1, "", False)
        assert str(file) in error


QUICK = (
    "import sys, margod.daemon; margod.daemon.FILES_INTERVAL = {interval};"
    "from margod.cli import main; sys.exit(main(sys.argv[1:]))"
)


class QuickDaemon(Daemon):
    """A daemon that looks at trust.ca_file more often than every two minutes; else as it is."""

    interval = 0.2

    async def start(self, *arguments: str, env: dict[str, str] | None = None, wait: bool = True) -> None:
        """Start the process."""
        code = QUICK.format(interval=self.interval)
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, "run", *self.options, "--runtime-dir", str(self.runtime), *arguments),
            stderr=asyncio.subprocess.PIPE,
            env=env,
        )
        self._reading = asyncio.ensure_future(self._read(self.process))
        if wait:
            await self.journal_line("started", since=len(self.journal))


async def test_a_changed_ca_file_is_taken_over(tmp_path: Path) -> None:
    """Replaced, written over, missing and back: taken over without restart or reload; a broken one changes nothing."""
    file, other = tmp_path / "ca.pem", trustme.CA()
    other.cert_pem.write_to_path(str(file))
    async with DevWfm(tmp_path / "wfm") as wfm, QuickDaemon(tmp_path, url=wfm.url, ca_file=file) as daemon:
        await daemon.until("untrusted", "tls-unknown-issuer")
        (tmp_path / "new.pem").write_bytes(wfm.ca_file.read_bytes())
        (tmp_path / "new.pem").rename(file)
        await daemon.until("enrolled")
        await daemon.journal_line("ca-file-changed")
        right = root(wfm.ca_file.read_bytes()).fingerprint
        file.write_text("no certificate")
        status = await daemon.until_status(lambda s: s["warnings"] != [], "broken")
        assert [warning["code"] for warning in status["warnings"]] == ["ca-file-invalid"]
        assert [anchor["fingerprint"] for anchor in status["trust"]["anchors"]] == [right]
        file.unlink()
        await daemon.until_status(lambda s: s["warnings"][0]["code"] == "ca-file-unreadable", "missing")
        file.write_bytes(wfm.ca_file.read_bytes() + other.cert_pem.bytes())
        status = await daemon.until_status(lambda s: len(s["trust"]["anchors"]) == 2, "back, with another")
        assert (status["state"], status["warnings"]) == ("enrolled", [])
        assert {r["route"] for r in await wfm.requests()} == {"onboarding", "capabilities"}


async def test_looking_at_the_file_costs_few_wakeups(tmp_path: Path) -> None:
    """A look wakes one thread, once: every two minutes, that leaves room in the budget of 2 wakeups a minute."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = QuickDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        daemon.interval = 0.5
        async with daemon:
            await daemon.until("enrolled")
            await asyncio.sleep(1)
            before = switches(daemon)
            await asyncio.sleep(10)
            looks = 10 / daemon.interval
            found = (switches(daemon) - before) / looks
            assert found <= 2, "2 in two minutes are one a minute; the watchdog's is the other"


def switches(daemon: Daemon) -> int:
    """The wakeups of all its threads so far; what a busy machine preempts is not counted."""
    assert daemon.process is not None
    tasks = [task.read_text() for task in Path(f"/proc/{daemon.process.pid}/task").glob("*/status")]
    return sum(int(n) for n in re.findall(r"\nvoluntary_ctxt_switches:\s+(\d+)", "".join(tasks)))


async def test_order_of_precedence(tmp_path: Path) -> None:
    """With all of them set the file counts, without it the pin: the weaker word never opens what the stronger keeps."""
    certificates, real = Certificates(), trustme.CA()
    file = tmp_path / "ca.pem"
    real.cert_pem.write_to_path(str(file))

    async def script(turn: Turn) -> None:
        await turn.answer(200, document(certificates.ca.cert_pem.bytes()))

    rest = f"  pin: {'ab' * 32}\n  system: true\n  first_use: accept\n"
    async with RawServer(script, context=certificates.server()) as server:
        certificates.ca.cert_pem.write_to_path(str(tmp_path / "system.pem"))
        env = {"SSL_CERT_FILE": str(tmp_path / "system.pem"), "SSL_CERT_DIR": str(tmp_path / "nowhere")}
        with_file = f"trust:\n  ca_file: {file}\n{rest}"
        async with CheckedDaemon(tmp_path / "d", url=server.url, yaml=with_file, env=env) as daemon:
            await daemon.until("untrusted", "tls-unknown-issuer")
            assert server.requests == []
            daemon.config.write_text(daemon.config.read_text().replace(f"  ca_file: {file}\n", ""))
            await daemon.reload()
            await daemon.until("untrusted", "pin-mismatch")
            assert [request.line for request in server.requests] == [ROUTE]
