"""What follows the onboarding with --protocol token: the desired state from Git, a token that is changed, a report."""

from __future__ import annotations

import time
from typing import Any, Final

from margod.client import StatusDocument
from margod.demo import facts
from margod.demo.facts import Record
from margod.demo.screen import Screen
from margod.demo.stage import STEP, DemoFailed, Stage

DEPLOYMENT: Final = "hello"
_YAML: Final = (
    "apiVersion: application.margo.org/v1alpha1\n"
    "kind: ApplicationDeployment\n"
    "metadata: {{name: hello}}\n"
    "spec: {{parameters: {{greeting: {greeting}}}}}\n"
)
_LOOK: Final = 0.1
"""Seconds between two looks at what the WFM was told."""


def fetch_and_report(stage: Stage, screen: Screen, ready: dict[str, Any]) -> str:
    """Show fetches, a rotation between them and a report, and return the last word. Raises DemoFailed."""
    _deploy(stage, "hello")
    since = len(_requests(stage))
    stage.configure(ready["url"], ready["ca_file"], protocol="token", polls=True)
    stage.carried_out("reload")
    first = _mirrored(stage, "")
    asked = _requests(stage)[since:]
    screen.step(
        9,
        "Git",
        f"commit {_commit(first)}",
        f"{_path(_one(asked, 'repository', 200))}, as Git does it, by a process of its own",
        "the access token is the password there: it is in no URL, argument or log",
    )
    screen.command("margod deployments", *stage.carried_out("deployments").splitlines())
    _rotation(stage, screen, first)
    _report(stage, screen)
    return "Enrolled, over a crash too: fetched, fetched again with another token, reported."


def _rotation(stage: Stage, screen: Screen, before: StatusDocument) -> None:
    """Show that the WFM's end of every Git token costs nothing but a question."""
    since = len(_requests(stage))
    stage.carried_out("devwfm", "tokens", "rotate", "--directory", str(stage.directory / "wfm"))
    screen.step(10, "rotation", "the WFM ends the access token, `margod devwfm tokens rotate`", mood="wait")
    _deploy(stage, "good evening")
    after = _mirrored(stage, _commit(before))
    asked = _requests(stage)[since:]
    refused, given = _one(asked, "repository", 401), _one(asked, "git-access", 200)
    fetched = [request for request in facts.of_route(asked, "repository") if request["number"] > given["number"]]
    if refused["number"] > given["number"] or not fetched or any(request["status"] != 200 for request in fetched):
        raise DemoFailed("the new access token was not asked for because the old one was refused")
    screen.step(None, "", f"{refused['method']} {_path(refused)}: {facts.answer(refused)}", mood="wait")
    for bearer in facts.of_route(asked, "token"):
        screen.step(None, "bearer", f"{facts.route(bearer)}: {facts.answer(bearer)}")
    screen.step(
        None,
        "new token",
        f"{facts.route(given)}: {facts.answer(given)}",
        "it replaces the old one once it has fetched:",
        f"commit {_commit(after)}",
    )


def _report(stage: Stage, screen: Screen) -> None:
    """Report, as a program on the device would, and show what the WFM was told."""
    arguments = ("deployment", "report", DEPLOYMENT, "--state", "installed")
    said = stage.carried_out(*arguments)
    screen.command(f"margod {' '.join(arguments)}", *said.splitlines())
    deadline = time.monotonic() + STEP
    while not (told := list(stage.wfm("GET", "/v1/statuses")["statuses"])):
        if time.monotonic() > deadline:
            raise DemoFailed(f"the WFM was told nothing within {STEP:.0f} s")
        time.sleep(_LOOK)
    report = facts.of_route(_requests(stage), "status")[-1]
    how = facts.signed(report)
    if not how or "authorization" not in {name for name, _ in report["fields"]}:
        raise DemoFailed("the report carried no signature or no bearer token")
    screen.step(
        11,
        "report",
        f"{facts.route(report, report['client_id'])}: {report['status']}",
        f"the WFM was told: {told[-1]['manifest']['status']['state']}",
        f"bearer token, and {how} verified by the WFM",
    )


def _deploy(stage: Stage, greeting: str) -> None:
    wanted = stage.directory / f"{DEPLOYMENT}.yaml"
    wanted.write_text(_YAML.format(greeting=greeting))
    stage.carried_out("devwfm", "deploy", str(wanted), "--directory", str(stage.directory / "wfm"))


def _mirrored(stage: Stage, before: str) -> StatusDocument:
    """Wait until a commit other than `before` is mirrored, with the deployment in it."""
    return stage.until(
        lambda status: bool(
            status["desired_state"]["complete"]
            and status["desired_state"]["deployments"] == 1
            and _commit(status) not in ("", before)
        ),
        "what is to be deployed, fetched from Git",
    )


def _commit(status: StatusDocument) -> str:
    return status["desired_state"]["commit"] or ""


def _requests(stage: Stage) -> list[Record]:
    return list(stage.wfm("GET", "/v1/requests")["requests"])


def _path(request: Record) -> str:
    """Return where the repository is, of a request for a part of it."""
    path: str = request["target"].partition("/info/")[0]
    return path


def _one(asked: list[Record], route: str, status: int) -> Record:
    """Return the first request of a route that was answered so."""
    for request in facts.of_route(asked, route):
        if request["status"] == status:
            return request
    raise DemoFailed(f"the WFM answered no request of the route {route} with {status}")
