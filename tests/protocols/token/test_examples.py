"""What is sent, whatever the device and the report are, against the drafts' examples: type and place of each field.

The examples are somebody else's; the development WFM's own check stands beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from margod.devwfm.token_schema import check_device, check_report
from margod.model.capabilities import (
    ARCHITECTURES,
    DEPLOYMENT_TYPES,
    INTERFACES,
    PERIPHERALS,
    RUNTIMES,
    Capabilities,
    Cpu,
    Peripheral,
)
from margod.model.deployment import Component, DeploymentState, DeploymentStatus, Fault, overall
from margod.model.outcome import Step
from margod.protocols import ENROLMENT
from margod.protocols.signed import deployment_status as kept
from margod.protocols.token import Token
from margod.protocols.token.deployment_status import WORDS
from tests.protocols.test_bodies import context

DATA = Path(__file__).parent.parent.parent / "data"
ENROLLED = {ENROLMENT: b'{"id": "c-1", "secret": "s", "tokenEndpoint": "https://wfm.example/t"}'}


def leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield place and type of each value; the entries of a list are one place, a name's slip is put right."""
    if isinstance(value, dict):
        yield path, "object"
        for name, each in value.items():
            yield from leaves(each, f"{path}.{name.strip()}")
    elif isinstance(value, list):
        yield path, "list"
        for each in value:
            yield from leaves(each, f"{path}[]")
    else:
        yield path, type(value).__name__


DEVICE = set(leaves(json.loads((DATA / "DeviceCapabilities.token.json").read_text())))
STATUS = set(leaves(json.loads((DATA / "DeploymentStatus.token.json").read_text())))

_text = st.text(max_size=8)
_devices = st.builds(
    Capabilities,
    st.none() | st.sampled_from(["gw", "gw/line-1"]),
    st.text(min_size=1, max_size=8),
    st.text(min_size=1, max_size=8),
    st.text(min_size=1, max_size=8),
    st.lists(st.builds(Cpu, st.integers(1, 999), st.none() | st.sampled_from(ARCHITECTURES)), max_size=3).map(tuple),
    st.none() | st.integers(0, 1 << 50),
    st.none() | st.integers(0, 1 << 60),
    st.none() | st.lists(st.sampled_from(INTERFACES)).map(tuple),
    st.none() | st.lists(st.builds(Peripheral, st.sampled_from(PERIPHERALS), _text, _text), max_size=3).map(tuple),
    st.none() | st.booleans(),
    st.lists(st.sampled_from(RUNTIMES), max_size=1).map(tuple),
    st.lists(st.sampled_from(DEPLOYMENT_TYPES), max_size=2).map(tuple),
)
_faults = st.none() | st.builds(Fault, _text, _text, _text)
_names = st.text("abc", min_size=1, max_size=4)
_component = st.builds(Component, _names, st.sampled_from(DeploymentState), _faults)
_components = st.lists(_component, max_size=4, unique_by=lambda one: one.name)


@given(_devices)
def test_a_devices_report(device: Capabilities) -> None:
    """Every field is one of the example's, at its place and of its type; nobody else's, whatever is known."""
    body = json.loads(Token().request(Step.REPORT, "spec", context(device, ENROLLED)).body)
    assert set(leaves(body)) <= DEVICE
    check_device(body)
    assert body["properties"]["id"] == (device.device_id or "c-1")


def test_a_full_one_has_all_of_the_example() -> None:
    """Beside what nothing on a device says reliably: a frequency, and more of a peripheral than who made it."""
    peripheral = (Peripheral("gpu", "NVIDIA", "A2"),)
    device = Capabilities(None, "V", "M", "S", (Cpu(4, "arm64"),), 1, 1, ("ethernet",), peripheral)
    said = set(leaves(json.loads(Token().request(Step.REPORT, "spec", context(device, ENROLLED)).body)))
    missing = {place for place, _ in DEVICE - said}
    assert all(
        place == ".properties.resources.cpus[].frequency"
        or place.startswith((".properties.peripherals[].properties.", ".properties.interfaces[]."))
        for place in missing
    )


@given(_components, st.sampled_from(DeploymentState), _faults)
def test_a_deployments_report(components: list[Component], state: DeploymentState, fault: Fault | None) -> None:
    """As the outbox keeps it, in the example's form; nothing is sent of a state that has no word, and only then."""
    state = overall([one.state for one in components]) or state
    outbox = kept.write_status(DeploymentStatus("d-1", state, fault, tuple(components)))
    request = Token().report_request("spec", context(Capabilities(None, "", "", ""), ENROLLED), "d-1", outbox)
    assert (request is None) == (state not in WORDS)
    if request is not None:
        body = json.loads(request.body)
        assert set(leaves(body)) <= STATUS
        check_report(body)
        assert body["status"]["state"] == state.value.capitalize()
        assert len(body["components"]) == sum(one.state in WORDS for one in components)
        said = fault or Fault()
        assert body["status"]["error"] == {"code": said.code, "message": said.message}
