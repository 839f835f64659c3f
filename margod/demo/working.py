"""What follows the onboarding with --agent: the WFM wants something, and a program on the device makes it so."""

from __future__ import annotations

import time
from typing import Any, Final

from margod.demo import facts
from margod.demo.screen import Screen
from margod.demo.stage import STEP, DemoFailed, Stage

DEPLOYMENT: Final = "hello"
_YAML: Final = (
    b"apiVersion: application.margo.org/v1alpha1\n"
    b"kind: ApplicationDeployment\n"
    b"metadata: {name: hello}\n"
    b"spec: {deploymentProfile: {type: compose, components: [{name: hello, properties: {}}]}}\n"
)
_LOOK: Final = 0.1
"""Seconds between two looks at what the WFM was told."""


def work(stage: Stage, screen: Screen, ready: dict[str, Any]) -> str:
    """Show the example agent at work and return the last word. Raises DemoFailed."""
    stage.configure(ready["url"], ready["ca_file"], polls=True)
    code, said = stage.command("reload")
    if code:
        raise DemoFailed(f"`margod reload` ended with exit code {code}: {said}")
    folder = stage.start_agent()
    screen.step(
        9,
        "agent",
        "docs/example_agent.py runs beside the daemon",
        "it has the agent socket, and neither key nor client id",
    )
    wanted = stage.directory / f"{DEPLOYMENT}.yaml"
    wanted.write_bytes(_YAML)
    _devwfm(stage, "deploy", str(wanted))
    screen.step(None, "wanted", f"a deployment, `margod devwfm deploy {wanted.name}`", mood="wait")
    _told(stage, "installed")
    file = folder / f"{DEPLOYMENT}.yaml"
    if not file.exists() or file.read_bytes() != _YAML:
        raise DemoFailed(f"{file} is not what the WFM wants")
    screen.step(None, "installed", f"{file.name} is in the agent's folder, byte for byte", *_reports(stage))
    _devwfm(stage, "remove", DEPLOYMENT)
    _told(stage, "removed")
    if file.exists():
        raise DemoFailed(f"{file} is still there")
    screen.step(None, "removed", "the WFM wants it no more: the file is gone", *_reports(stage))
    return "Enrolled, over a crash too, and at work: wanted, installed, reported."


def _devwfm(stage: Stage, *arguments: str) -> None:
    code, said = stage.command("devwfm", *arguments, "--directory", str(stage.directory / "wfm"))
    if code:
        raise DemoFailed(f"`margod devwfm {arguments[0]}` ended with exit code {code}: {said}")


def _told(stage: Stage, state: str) -> None:
    """Wait until the WFM was told of this state."""
    deadline = time.monotonic() + STEP
    while not any(one["state"] == state for one in _statuses(stage)):
        if time.monotonic() > deadline:
            told = [one["state"] for one in _statuses(stage)]
            raise DemoFailed(f"the WFM was not told `{state}` within {STEP:.0f} s, only {told or 'nothing'}")
        time.sleep(_LOOK)


def _statuses(stage: Stage) -> list[dict[str, Any]]:
    return list(stage.wfm("GET", "/v1/statuses")["statuses"])


def _reports(stage: Stage) -> list[str]:
    """Say what the WFM was told, and that it was signed."""
    told = ", ".join(one["state"] for one in _statuses(stage))
    last = facts.of_route(list(stage.wfm("GET", "/v1/requests")["requests"]), "status")[-1]
    if not facts.covered(last):
        raise DemoFailed("the report carried no signature")
    route = facts.route(last, last["client_id"])
    return [f"the WFM was told: {told}", f"{route}: {last['status']}; signature verified by the WFM"]
