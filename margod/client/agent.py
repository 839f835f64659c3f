"""What a program that does the device's work asks of margod: the agent socket as Python calls, blocking.

    with the group margod-agent, or the directory /run/margod/agent in a container:

    agent = Agent()
    wanted = agent.wait_for_deployments()  # and then wait_for_deployments(after=wanted)
    for each in wanted["deployments"]:
        install(agent.deployment(each["deploymentId"]))
        agent.report_state(each["deploymentId"], "installed")

`margod.client.aio` has the same for asyncio.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator, Mapping
from typing import Any, Final, TypeVar, cast

from margod.client import messages
from margod.client.api import TIMEOUT, Client, agent_socket, connect, quoted, runtime_directory
from margod.client.documents import DeploymentsDocument
from margod.client.messages import Answer

T = TypeVar("T")

WFM_LIMIT: Final = 9 << 20
"""Bytes of an answer of the WFM: somewhat more than margod lets through."""
WFM_TIMEOUT: Final = 660.0
"""Seconds at least for each read of what the WFM is asked: margod lets the caller's request before it take 600, then
waits 20 for a connection and `wfm.timeout` for the head, and says itself what has taken too long."""
ERROR_HEADER: Final = "margod-error"
"""Only margod's own answers bear it."""
_API_VERSION: Final = "deployment.margo.org/v1alpha1"


class Agent(Client):
    """The agent socket. Raises what `Client` does, and ValueError or TypeError where a call says so."""

    def __init__(self, path: str | os.PathLike[str] | None = None, *, timeout: float = TIMEOUT) -> None:
        """Talk to the socket at `path`; without it to that of MARGOD_RUNTIME_DIR, or /run/margod/agent/agent.sock."""
        super().__init__(path or agent_socket(runtime_directory()), timeout=timeout)

    def wait_for_deployments(
        self, after: DeploymentsDocument | int | None = None, timeout: float | None = None
    ) -> DeploymentsDocument | None:
        """Return what the WFM wants to run here as soon as it is another one than `after`, what this returned last.

        A version as `after` misses another desired state that bears the same number. None after `timeout` seconds
        (None: waits for ever).
        """
        for status in self.events(timeout):
            if is_news(cast("Mapping[str, Any]", status), after):
                return self.deployments()
        return None

    def report_state(
        self,
        deployment_id: str,
        state: str,
        *,
        components: Mapping[str, str] | None = None,
        errors: Mapping[str, str] | None = None,
    ) -> int:
        """Report what became of a deployment; return the report's number in the outbox, where it is durable by then.

        Arguments as for `status_body`.
        """
        body = status_body(deployment_id, state, components=components, errors=errors)
        return int(self._ask("PUT", f"/v1/deployments/{quoted(deployment_id)}/status", body=body)["number"])

    def wfm(
        self, path: str, method: str = "GET", *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Ask the WFM in the device's name and return its answer, whatever its status. Nothing is asked twice.

        `path` is below the WFM's root URL; `{clientId}` in it is filled in. docs/agent.md says which are open. Waits
        WFM_TIMEOUT at least: margod has bounds of its own, and answers when they are reached.
        Raises RequestRefused, with margod's reason, where there is no answer of the WFM, and ValueError for what is no
        request: characters that HTTP does not take, and HEAD.
        """
        data = messages.request(method, f"/v1/wfm{path}", headers, body)
        try:
            answer = self._exchanged(data, messages.answer(WFM_LIMIT))
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
        if ERROR_HEADER in answer.headers:
            raise self._refusal(answer.status, answer.body)
        return answer

    def _exchanged(self, data: bytes, reading: Generator[int, bytes, T]) -> T:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            caller.settimeout(self._timeout)
            connect(caller, self._path)
            caller.settimeout(max(self._timeout, WFM_TIMEOUT))
            caller.sendall(data)
            with caller.makefile("rb") as file:
                try:
                    need = next(reading)
                    while True:
                        need = reading.send(file.read(need) if need else file.readline(messages.LINE_LIMIT + 1))
                except StopIteration as end:
                    return cast("T", end.value)


def status_body(
    deployment_id: str,
    state: str,
    *,
    components: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> bytes:
    """Return a report in the specification's form.

    `state` is pending, installing, installed, failed, removing or removed; `components` has that of each by its name
    (then the overall one follows from them), `errors` what went wrong, by component, with "" for the deployment.
    Raises TypeError for what has another form.
    """
    _require_texts("components", components, '{"web": "installed"}')
    _require_texts("errors", errors, '{"web": "no room"}')
    said = errors or {}

    def written(name: str, state: str) -> dict[str, object]:
        return {"state": state, **({"error": {"message": said[name]}} if name in said else {})}

    parts = [{"name": name, **written(name, state)} for name, state in (components or {}).items()]
    document: dict[str, object] = {
        "apiVersion": _API_VERSION,
        "kind": "DeploymentStatusManifest",
        "deploymentId": deployment_id,
        "status": written("", state),
        "components": parts,
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _require_texts(name: str, value: object, example: str) -> None:
    """Raise TypeError for what maps no texts to texts, such as the list of the specification's JSON."""
    if value is None:
        return
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        raise TypeError(f"{name} has to be a mapping of texts, each component's name to its own, such as {example}")


def is_news(status: Mapping[str, Any], after: DeploymentsDocument | int | None) -> bool:
    """Return whether a status document tells of a whole desired state that is another one than `after`.

    Versions alone do not tell: with Git they begin at 1 in every empty mirror, and a person may let them go back.
    """
    desired = status.get("desired_state") or {}
    version = desired.get("manifest_version")
    if version is None or not desired.get("complete"):
        return False
    if after is None or isinstance(after, int):
        return bool(version != after)
    said = (version, desired.get("commit"), desired.get("fetched_at"))
    return said != (after["manifestVersion"], after["commit"], after["fetched_at"])
