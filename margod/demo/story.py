"""The mission step by step, as it happens to one device."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from margod.client import StatusDocument, exit_code
from margod.demo import asking, facts
from margod.demo.facts import Record, count, next_attempt
from margod.demo.fetching import fetch_and_report
from margod.demo.screen import Screen
from margod.demo.stage import DemoFailed, Stage
from margod.demo.working import work
from margod.devwfm.dialects import DIALECTS
from margod.vault import peek

PATIENCE: Final = 60.0
"""Seconds that a person is given to answer."""
MOMENT: Final = 1.5
"""Seconds before somebody who is not there approves or rejects."""
WAKE: Final = 5.0
"""Seconds after which `margod retry` is given again: the first may have met an attempt that was under way."""

Reached = Callable[[StatusDocument], bool]

_ANSWERED: Final = ("pending-approval", "rejected", "onboarded", "enrolled")
_MEANS: Final = {0: "enrolled", 3: "working on it", 4: "waits for a person at the WFM", 5: "needs the operator here"}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. `like`, `approval` and `protocol` as `margod devwfm` takes them.

    `there`: a person can answer. `agent`: show a program at work on the device too.
    """

    like: str
    approval: str
    reject: bool
    there: bool
    agent: bool = False
    protocol: str = "signed"


class Story:
    """Tells what happens on `stage`, from a URL and a root CA to a restart."""

    def __init__(self, stage: Stage, screen: Screen, options: Options) -> None:
        """Nothing happens before `tell`."""
        self._stage = stage
        self._screen = screen
        self._options = options
        self._dialect = DIALECTS[options.like]
        self._shown = 0

    def tell(self) -> str:
        """Go the whole way and return the last word. Raises DemoFailed, and what the parts raise."""
        like, protocol = self._options.like, self._options.protocol
        ready = self._stage.start_wfm("--like", like, "--protocol", protocol, "--approval", self._options.approval)
        self._stage.configure(ready["url"], ready["ca_file"], protocol=protocol)
        self._stage.start_daemon()
        self._given(ready)
        status = self._first_answer()
        approved = True
        if status["state"] == "pending-approval":
            approved = self._approval(status)
        else:
            self._screen.step(
                6, "approval", f"none needed: this WFM answered {self._onboarding()[-1]['status']} at once"
            )
        if not approved:
            return self._rejected()
        status = self._enrolled()
        self._show_status()
        self._restart(status)
        if self._options.agent:
            return work(self._stage, self._screen, ready)
        if protocol == "token":
            return fetch_and_report(self._stage, self._screen, ready)
        return "Enrolled, and enrolled again after a crash without asking twice."

    # Steps 1 to 5.

    def _given(self, ready: dict[str, Any]) -> None:
        """Show what the device was given and what it made of it: steps 1 and 2."""
        status = self._until(
            lambda status: bool(status["identity"] and status["trust"]["anchors"]), "identity and root CA"
        )
        anchor = status["trust"]["anchors"][0]
        self._must(status["wfm"]["url"] == ready["url"], "the daemon has another URL than the WFM")
        self._must(
            anchor["fingerprint"] == facts.fingerprint(Path(ready["ca_file"])), "the daemon's root CA is not the WFM's"
        )
        self._screen.step(1, "URL", ready["url"], "given in margod.yaml; a development WFM listens there")
        self._screen.step(2, "root CA", anchor["fingerprint"], f"{anchor['subject']}; a file, the only trust anchor")

    def _first_answer(self) -> StatusDocument:
        """Wait for the WFM's first word about the device and show how it came to it: steps 3 to 5."""
        status = self._until(lambda status: status["state"] in _ANSWERED, "the WFM's answer to the onboarding request")
        stats = self._stage.wfm("GET", "/v1/stats")
        self._must(status["connection"] == "online", "the connection is not online")
        self._screen.step(
            3,
            "TLS",
            "the WFM's certificate verified up to that root CA, host name too",
            f"{count(stats['connections'], 'connection')}, {count(stats['handshakes'], 'handshake')}, "
            f"{stats['handshakes_failed']} failed, counted by the WFM",
        )
        identity = status["identity"]
        assert identity is not None
        made = "made on this device" if identity["source"] == "minted" else "from the operator's files"
        self._screen.step(
            4,
            "identity",
            identity["fingerprint"],
            f"{identity['subject']}, until {identity['not_after'][:10]}",
            f"{identity['algorithm']}, key and X.509 certificate {made}",
        )
        self._show_onboarding(5, "request", identity["fingerprint"])
        return status

    def _show_onboarding(self, number: int | None, label: str, fingerprint: str, *, mood: str = "good") -> None:
        """Show every onboarding request since the last time, and that it was this device's."""
        new = self._onboarding()[self._shown :]
        self._shown += len(new)
        for request in new:
            refused = request["status"] not in (201, 202, 403)
            self._must(
                refused or self._options.like == "sandbox-2026" or request["fingerprint"] == fingerprint,
                "the WFM saw another certificate than the device's",
            )
            signed = self._signed(request, checked=self._dialect.onboarding_is_signed)
            self._screen.step(
                number,
                label,
                f"{facts.route(request)}: {facts.answer(request)}",
                f"{facts.form(request)}; {signed}",
                *(
                    [f"(it covers {facts.covered(request) or 'the body'})"]
                    if number == 5 and request is new[-1]
                    else []
                ),
                mood="wait" if refused else mood,
            )
            number, label = None, "again"

    def _signed(self, request: Record, *, checked: bool) -> str:
        how = facts.signed(request)
        if not how:
            raise DemoFailed(f"the request carried no signature: {facts.route(request)}")
        if not checked:
            return f"signed ({self._options.like} does not check)"
        accepted = request["status"] in (201, 202, 403)
        return f"{how} verified by the WFM" if accepted else "signed"

    # Step 6.

    def _approval(self, status: StatusDocument) -> bool:
        """Let a person decide, or decide after a moment; return whether the device was approved."""
        screen, reject = self._screen, self._options.reject
        screen.step(6, "approval", "pending: the device asks again until a person has decided", mood="wait")
        if self._options.there and not reject:
            asking.forget_what_was_typed()
            screen.ask("You are that person. Approve the device? [y/N]")
            answer = asking.answer(PATIENCE)
            screen.answered(typed=answer is not None)
            if answer is None:
                raise DemoFailed(
                    f"nobody answered within {PATIENCE:.0f} s. The device is {status['state']} and would ask on."
                )
            reject = not answer
        else:
            time.sleep(MOMENT)
        act = "reject" if reject else "approve"
        client = self._stage.wfm("POST", f"/v1/clients/{self._number()}/{act}")
        who = "you" if self._options.there and not self._options.reject else "the demo"
        screen.step(None, "", f"{client['state']} at the WFM by {who}; the device is told to ask now:", mood="wait")
        self._retry(lambda status: status["state"] != "pending-approval", f"an answer after `{act}`")
        return not reject

    def _number(self) -> int:
        clients = self._stage.wfm("GET", "/v1/clients")["clients"]
        self._must(len(clients) == 1, f"the WFM knows {count(len(clients), 'device')}, not 1")
        return int(clients[0]["number"])

    def _retry(self, reached: Reached, what: str) -> StatusDocument:
        """Run `margod retry`, shown to the person, until the daemon has got as far as `reached`."""
        self._until(lambda s: s["next_attempt_at"] is not None or reached(s), "the next attempt's time")
        code, said = self._stage.command("retry")
        self._screen.command("margod retry", *said.splitlines())
        self._must(code == 0, f"`margod retry` ended with exit code {code}")
        status = self._stage.within(WAKE, reached, what)
        if status is not None:
            return status
        self._stage.command("retry")
        return self._until(reached, what)

    # Steps 7 and 8.

    def _enrolled(self) -> StatusDocument:
        """Show the client id, the report, and that one was kept before the other left."""
        screen = self._screen
        status = self._until(lambda status: status["state"] == "enrolled", "enrolled")
        identity, client_id = status["identity"], status["client_id"]
        assert identity is not None
        assert client_id is not None
        self._show_onboarding(None, "again", identity["fingerprint"])
        self._must(
            facts.kept_before_report(self._stage.journal, client_id), "the client id was not kept before the report"
        )
        self._must(self._number() == 1, "the WFM's record of the device is another one")
        screen.step(7, "client id", client_id, "given by the WFM, synced to disk before the next request left")
        for request in facts.of_route(self._requests(), "token"):
            screen.step(None, "bearer", f"{facts.route(request)}: {facts.answer(request)}", "for id and client secret")
        reports = facts.of_route(self._requests(), "capabilities")
        for request in reports:
            accepted = request["status"] == 201
            answer = "201" if accepted else facts.answer(request)
            screen.step(
                None,
                "report",
                f"{facts.route(request, client_id)}: {answer}",
                f"capabilities; {self._signed(request, checked=True)}",
                mood="good" if accepted else "wait",
            )
        onboarding = len(self._onboarding())
        screen.step(
            None,
            "enrolled",
            f"after {count(onboarding, 'onboarding request')} and {count(len(reports), 'report')}",
        )
        return status

    def _restart(self, before: StatusDocument) -> None:
        """Kill the daemon, start it again, and count the requests."""
        requests = len(self._requests())
        self._must(len(self._onboarding()) == self._shown, "the enrolled device asked again")
        self._kill()
        stored = peek(self._stage.state)
        enrolment = json.loads(stored.get("enrolment.json", b"{}"))
        on_disk = enrolment.get("id" if self._options.protocol == "token" else "clientId")
        self._must(on_disk == before["client_id"], f"the client id on disk is {on_disk}")
        self._stage.start_daemon()
        status = self._until(lambda status: status["state"] == "enrolled", "enrolled after the restart")
        self._must(status["client_id"] == before["client_id"], "the client id is another one after the restart")
        self._must(status["identity"] == before["identity"], "the certificate is another one after the restart")
        time.sleep(0.5)  # a request that should not be made is given the time to be made
        now = len(self._requests())
        onboarding = len(self._onboarding())
        self._screen.more(
            "started again: enrolled, same client id and certificate from disk",
            f"onboarding requests at the WFM: {self._shown} before, {onboarding} after",
        )
        self._must(onboarding == self._shown, "the restart cost another onboarding request")
        self._must(now == requests, "the restart cost a request")

    def _kill(self) -> None:
        ended = self._stage.kill_daemon()
        self._must(ended == -9, f"the daemon ended with {ended}, not by SIGKILL")
        self._screen.step(8, "restart", "the daemon is killed with SIGKILL: it can save nothing more")

    # The rejected way.

    def _rejected(self) -> str:
        """Show what a refusal means for the device, now and after a restart."""
        status = self._until(lambda status: status["state"] == "rejected", "rejected")
        identity = status["identity"]
        assert identity is not None
        self._show_onboarding(7, "rejected", identity["fingerprint"], mood="bad")
        self._show_status()
        self._kill()
        self._stage.start_daemon()
        status = self._until(lambda status: status["state"] != "starting", "a state after the restart")
        self._must(status["state"] == "rejected", f"after the restart it is {status['state']}, not rejected")
        self._screen.more(f"started again: still rejected, {next_attempt(status)}")
        attempt = status["attempt"]
        status = self._retry(lambda s: s["attempt"] > attempt and s["next_attempt_at"] is not None, "another answer")
        self._show_onboarding(None, "again", identity["fingerprint"], mood="bad")
        self._must(status["state"] == "rejected", f"it is {status['state']}, not rejected")
        self._screen.more(f"{next_attempt(status)}, and so on, until somebody approves it")
        return "Rejected, and it keeps asking: a person's yes at the WFM is all it needs."

    # Helpers.

    def _show_status(self) -> None:
        self._screen.command("margod status")
        code, _ = self._stage.command("status", shown=True)
        status = self._until(lambda _: True, "status")
        self._must(code == exit_code(status["state"]), f"`margod status` ended with exit code {code}")
        self._screen.note(f"(exit code {code}: {_MEANS.get(code, 'unknown')})")
        self._screen.gap()

    def _requests(self) -> list[Record]:
        return list(self._stage.wfm("GET", "/v1/requests")["requests"])

    def _onboarding(self) -> list[Record]:
        return facts.of_route(self._requests(), "onboarding")

    def _until(self, reached: Reached, what: str) -> StatusDocument:
        return self._stage.until(reached, what)

    def _must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise DemoFailed(otherwise)
