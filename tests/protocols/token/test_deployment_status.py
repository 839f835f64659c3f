"""The deployment status in the drafts' words, and what it has none for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from margod.model.deployment import Component, DeploymentState, DeploymentStatus, Fault
from margod.model.wire import Auth
from margod.protocols.token.deployment_status import status_request, write_status

EXAMPLE = json.loads((Path(__file__).parent.parent.parent / "data" / "DeploymentStatus.token.json").read_text())
S = DeploymentState


def status(state: DeploymentState, *components: Component, fault: Fault | None = None) -> DeploymentStatus:
    """Return a status of one deployment."""
    return DeploymentStatus("d-1", state, fault, components)


def test_it_has_the_examples_form() -> None:
    """Its names at every level, an error everywhere, and capitalised states instead of the example's slip."""
    body, notes = write_status(status(S.FAILED, Component("a", S.FAILED, Fault("E1", "", "no room"))))
    assert body is not None
    made = json.loads(body)
    assert made.keys() == EXAMPLE.keys()
    assert made["status"].keys() == EXAMPLE["status"].keys()
    assert made["components"][0].keys() == EXAMPLE["components"][0].keys()
    assert (made["apiVersion"], made["kind"]) == (EXAMPLE["apiVersion"], EXAMPLE["kind"])
    assert made["components"][0] == {"name": "a", "state": "Failed", "error": {"code": "E1", "message": "no room"}}
    assert made["status"] == {"state": "Failed", "error": {"code": "", "message": ""}}
    assert notes == []


@pytest.mark.parametrize("state", [S.PENDING, S.INSTALLING, S.INSTALLED, S.FAILED])
def test_states_are_capitalised(state: DeploymentState) -> None:
    """The four that there are."""
    body, _ = write_status(status(state))
    assert body is not None
    assert json.loads(body)["status"]["state"] == state.value.capitalize()


@pytest.mark.parametrize("state", [S.REMOVING, S.REMOVED])
def test_a_removal_is_not_sent(state: DeploymentState) -> None:
    """Every word that there is would be untrue; that nothing is sent is said."""
    body, notes = write_status(status(state, Component("a", state)))
    assert body is None
    assert state.value in notes[0]


def test_a_component_without_a_word_is_left_out() -> None:
    """The others and the overall state are sent; the note names it. A source has no place either."""
    components = Component("a", S.FAILED, Fault("E", "helm", "m")), Component("b", S.REMOVING, Fault("", "x", ""))
    body, notes = write_status(status(S.FAILED, *components))
    assert body is not None
    assert [one["name"] for one in json.loads(body)["components"]] == ["a"]
    assert [note.partition(":")[0] for note in notes] == ["b", "a"]


def test_the_route() -> None:
    """Both ids fit into one segment each."""
    request = status_request("line/1", "d-1", b"{}")
    assert (request.method, request.path) == ("POST", "/device/line%2F1/deployment/d-1/status")
    assert request.auth is Auth.BEARER
