"""Deployment status: the example is taken, what is sent is what the text says, faults are named by their field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from margod.model.deployment import DeploymentState, overall
from margod.protocols.signed.deployment_status import STATUS_LIMIT, read_status, write_status
from margod.protocols.signed.manifest import Unacceptable

DATA = Path(__file__).parent.parent / "data"
EXAMPLE = (DATA / "DeploymentStatus.signed.json").read_bytes()
ID = "a3e2f5dc-912e-494f-8395-52cf3769bc06"


def body(**members: Any) -> bytes:
    """Return a report of one installed component, with these members instead."""
    good = {"deploymentId": "d", "status": {"state": "installed"}, "components": [{"name": "c", "state": "installed"}]}
    return json.dumps({**good, **members}).encode()


def test_the_example_is_taken_and_put_right() -> None:
    """Its overall state and apiVersion are slips: what is sent has the most severe state."""
    sent = json.loads(write_status(read_status(ID, EXAMPLE)))
    assert sent["status"] == {"state": "failed"}
    assert sent["apiVersion"] == "deployment.margo.org/v1alpha1"
    assert sent["components"] == json.loads(EXAMPLE)["components"]
    assert (sent["kind"], sent["deploymentId"]) == ("DeploymentStatusManifest", ID)


@pytest.mark.parametrize("state", list(DeploymentState), ids=lambda s: s.value)
def test_what_is_sent_fits_the_published_schema(state: DeploymentState) -> None:
    """The specification's own schema is the judge."""
    schemas = yaml.safe_load((DATA / "openapi.signed.yaml").read_text())["components"]["schemas"]
    schema = {**schemas["DeploymentStatusManifest"], "components": {"schemas": schemas}}
    error = {"code": "E", "source": "s", "message": "m"}
    component = {"name": "c", "state": state.value, "error": error}
    sent = json.loads(write_status(read_status("d", body(components=[component], status={"error": error}))))
    jsonschema.validate(sent, schema)
    assert sent["status"]["state"] == state.value


def test_severity() -> None:
    """failed > removing > installing > pending > removed > installed."""
    order = ["failed", "removing", "installing", "pending", "removed", "installed"]
    states = [DeploymentState(name) for name in order]
    for at in range(len(states)):
        assert overall(states[at:][::-1]) is states[at]
    assert overall([]) is None


def test_without_components() -> None:
    """The overall state is taken as it is given, with an old example's key for the message."""
    found = read_status("d", b'{"status": {"state": "pending", "error": {"message ": "why"}}}')
    assert (found.state, found.components) == (DeploymentState.PENDING, ())
    assert found.fault is not None
    assert found.fault.message == "why"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b"", "JSON"),
        (b"[]", "JSON object"),
        (b"[" * 10_000, "JSON"),
        (b" " * (STATUS_LIMIT + 1), "larger"),
        (body(deploymentId="e"), "deploymentId"),
        (body(status=[]), "status"),
        (body(status={"state": "Installed"}), "status.state"),
        (body(status={}, components=[]), "status.state"),
        (body(status={"error": "x"}), "status.error"),
        (body(components={}), "components"),
        (body(components=[{"name": "c", "state": "installed"}] * 2), "same name"),
        (body(components=[{"name": str(n), "state": "installed"} for n in range(257)]), "at most 256"),
        (body(components=["c"]), "components.0."),
        (body(components=[{"state": "installed"}]), "components.0..name"),
        (body(components=[{"name": "", "state": "installed"}]), "components.0..name"),
        (body(components=[{"name": "c"}]), "components.0..state"),
        (body(components=[{"name": "c", "state": "gone"}]), "components.0..state"),
        (body(components=[{"name": "c", "state": "failed", "error": {"message": 7}}]), "components.0..error.message"),
        (body(components=[{"name": "c" * 5000, "state": "failed"}]), "components.0..name"),
        (b'{"status": {"state": "failed", "error": {"message": "\\ud800"}}}', "surrogate"),
    ],
)
def test_what_is_refused(text: bytes, field: str) -> None:
    """The message names the field."""
    with pytest.raises(Unacceptable, match=field):
        read_status("d", text)


@pytest.mark.parametrize("deployment_id", ["", ".", "..", "a/b", "a b", "x" * 129])
def test_ids_that_do_not_fit_into_a_path(deployment_id: str) -> None:
    """They are refused before anything is stored."""
    with pytest.raises(Unacceptable, match="deploymentId"):
        read_status(deployment_id, body())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), lambda c: st.lists(c, max_size=3) | st.dictionaries(st.sampled_from(["status", "state", "components", "name", "error", "message"]), c, max_size=4), max_leaves=12))  # fmt: skip  # noqa: E501
def test_any_json(value: object) -> None:
    """Any JSON is either taken, and then written so that it reads as the same, or refused."""
    try:
        found = read_status("d", json.dumps(value).encode())
    except Unacceptable:
        return
    assert read_status("d", write_status(found)) == found
