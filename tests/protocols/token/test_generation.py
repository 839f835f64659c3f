"""The `token` generation at the boundary: its routes, what they carry, and what each answer leaves."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from margod.model import reasons
from margod.model.bearer import Grant
from margod.model.capabilities import Capabilities, Child, Cpu, Peripheral
from margod.model.outcome import Kind, Step
from margod.model.wire import Answer, Auth, TransportFailure
from margod.protocols import ENROLMENT, LastReport
from margod.protocols.token import Token, device, secrets
from margod.protocols.token.generation import REPORT, bearing, git_request, read_git_answer
from margod.protocols.token.origins import NotUsable
from margod.protocols.token.payload import HEADER
from tests.protocols.keys import signer
from tests.protocols.test_bodies import context

DATA = Path(__file__).parent.parent.parent / "data"
ENROLLED = {ENROLMENT: b'{"id": "c-1", "secret": "s", "tokenEndpoint": "https://wfm.example/t"}'}
DEVICE = Capabilities(None, "Vendor", "Model", "SN", (Cpu(4, "amd64"), Cpu(2, None)), 64 * 10**9 + 5, 2000 * 10**9 - 1)
FULL = replace(
    DEVICE,
    interfaces=("ethernet", "wifi", "canbus", "rs232"),
    peripherals=(Peripheral("gpu", "NVIDIA", "RTX 4070"), Peripheral("camera")),
    otel_collector=True,
    runtimes=("oci",),
    deployment_types=("helm", "compose"),
    children=(Child("c/1", {}),),
)
TOKEN = Token()


def said(step: Step, status: int, document: object = None, *, form: str = "spec", **records: bytes) -> Any:
    """Return the outcome of an answer to an enrolled device's request."""
    body = b"" if document is None else json.dumps(document).encode()
    known = {**ENROLLED, **{name.replace("_", "."): value for name, value in records.items()}}
    return TOKEN.outcome(step, form, context(DEVICE, known), Answer(status, {}, body, 0.0))


@pytest.mark.parametrize(
    ("step", "method", "path", "auth"),
    [
        (Step.FETCH_TRUST, "GET", "/onboarding/certificate", Auth.NONE),
        (Step.REFRESH_TRUST, "GET", "/onboarding/certificate", Auth.NONE),
        (Step.ENROL, "POST", "/onboarding/", Auth.PAYLOAD),
        (Step.REPORT, "POST", "/device/c-1/capabilities", Auth.BEARER),
        (Step.CONFIRM, "GET", "/onboarding/git", Auth.BEARER),
    ],
)
def test_routes(step: Step, method: str, path: str, auth: Auth) -> None:
    """Those of wire section 3, with the trailing slash of the onboarding."""
    request = TOKEN.request(step, TOKEN.forms(step)[0], context(DEVICE, ENROLLED))
    assert (request.method, request.path, request.auth) == (method, path, auth)
    sent = TOKEN.authenticate(request, "https://wfm.example/prefix", signer("ecdsa-p256-sha256"), 0)
    assert sent.url == f"https://wfm.example/prefix{path}"
    assert (HEADER in sent.headers) == bool(request.body)
    assert "Signature" not in sent.headers
    assert "Authorization" not in sent.headers


def test_the_onboarding_body() -> None:
    """apiVersion, kind and the certificate as base64 of DER, as in `signed`."""
    made = context(DEVICE, {})
    body = json.loads(TOKEN.request(Step.ENROL, "spec", made).body)
    assert body["kind"] == "OnboardingRequest"
    assert base64.b64decode(body["certificate"]) == made.certificate
    assert sorted(body) == ["apiVersion", "certificate", "kind"]


def test_a_bearer_token_goes_to_the_wfm_alone() -> None:
    """On the WFM's own origin it is put on; on any other nothing is built at all."""
    request = TOKEN.request(Step.CONFIRM, "spec", context(DEVICE, ENROLLED))
    sent = TOKEN.authenticate(request, "https://wfm.example:8443", signer("ecdsa-p256-sha256"), 0)
    borne = bearing(sent, Grant("t-1"), "https://WFM.example:8443/prefix")
    assert borne.headers["Authorization"] == "Bearer t-1"
    with pytest.raises(AssertionError, match="no other origin"):
        bearing(sent, Grant("t-1"), "https://wfm.example")


def test_capabilities_are_said_in_the_drafts_words() -> None:
    """Nested resources with GB rounded down, roles, capitalised kinds: the names are those of the drafts' example."""
    example = json.loads((DATA / "DeviceCapabilities.token.json").read_text())
    made = json.loads(TOKEN.request(Step.REPORT, "spec", context(FULL, ENROLLED)).body)
    assert (made["apiVersion"], made["kind"]) == (example["apiVersion"], example["kind"])
    properties, theirs = made["properties"], example["properties"]
    assert properties.keys() == theirs.keys()
    assert properties["resources"] == {
        "memory": "64.0 GB",
        "storage": "1999 GB",
        "cpus": [{"architecture": "amd64", "cores": 4}, {"cores": 2}],
    }
    assert properties["resources"].keys() == theirs["resources"].keys()
    assert properties["id"] == "c-1"
    assert properties["roles"] == ["standalone cluster"]
    assert {kind["type"] for kind in theirs["interfaces"]} <= {kind["type"] for kind in properties["interfaces"]}
    for mine in (*properties["peripherals"], *properties["interfaces"]):
        assert mine.keys() <= {"name", "type", "modelNumber", "properties"}
        assert mine["name"]
        assert mine["type"]
    assert properties["peripherals"][0]["name"] == "NVIDIA RTX 4070"
    assert device.problem(example) == ""
    assert device.problem(made) == ""


def test_who_takes_no_charts_is_no_cluster() -> None:
    """The one role that says so."""
    made = device.of(replace(DEVICE, deployment_types=("compose",)), "d")
    assert isinstance(made["properties"], dict)
    assert made["properties"]["roles"] == ["standalone device"]


def test_what_it_has_no_word_for_is_noted() -> None:
    """Each thing that is dropped has a sentence; of a plain device nothing is dropped."""
    names = [note.partition(":")[0] for note in TOKEN.notes(context(FULL, ENROLLED))]
    assert names == ["deployment_types", "runtimes", "otel_collector", "deployments", "deployments"]
    assert device.notes(DEVICE) == []
    assert device.notes(replace(FULL, manifest={"kind": device.KIND})) == [], "it is sent as it is"
    assert list(TOKEN.parts(context(FULL, ENROLLED), "c-1")) == []


def test_a_manifest_of_this_generation_is_sent_as_it_is() -> None:
    """With the device's id in it; one of another generation is no manifest here."""
    example = json.loads((DATA / "DeviceCapabilities.token.json").read_text())
    ours = context(replace(DEVICE, manifest=example), ENROLLED)
    sent = json.loads(TOKEN.request(Step.REPORT, "spec", ours).body)
    assert sent["properties"] == {**example["properties"], "id": "c-1"}
    theirs = json.loads((DATA / "DeviceCapabilities.signed.json").read_text())
    assert TOKEN.manifest_problem(theirs) == "kind: not DeviceCapability"
    assert TOKEN.report_problem("spec", context(replace(DEVICE, manifest=theirs), ENROLLED)).startswith("kind")


@pytest.mark.parametrize(
    ("document", "begins"),
    [
        ([], "is not"),
        ({"kind": "DeviceCapabilitiesManifest"}, "kind"),
        ({"kind": "DeviceCapability"}, "properties"),
        ({"kind": "DeviceCapability", "properties": {"id": ""}}, "properties.id"),
        ({"kind": "DeviceCapability", "properties": {"id": "d", "vendor": 1}}, "properties.vendor"),
        ({"kind": "DeviceCapability", "properties": {"id": "d", "x": "\ud800"}}, "properties.x: not text"),
        ({"kind": "DeviceCapability", "properties": {"id": "d", "x": {1, 2}}}, "properties.x: not a value"),
    ],
)
def test_a_wrong_manifest_is_named(document: object, begins: str) -> None:
    """By the field that is wrong first."""
    assert TOKEN.manifest_problem(document).startswith(begins)


def test_a_report_is_made_once_and_then_replaced() -> None:
    """POST first; what was accepted is remembered; another goes by PUT under the same id, by POST under another."""
    outcome = said(Step.REPORT, 201)
    assert outcome.kind is Kind.ACCEPTED
    kept = {**ENROLLED, **outcome.records}
    assert TOKEN.reported(kept) == (TOKEN.report_digest(context(DEVICE, kept)), "spec")
    assert not TOKEN.own_report_is_due(context(DEVICE, kept))
    assert TOKEN.own_report_is_due(context(FULL, kept))
    assert TOKEN.last_report(kept).device_id == "c-1"
    assert TOKEN.request(Step.REPORT, "spec", context(FULL, kept)).method == "PUT"
    renamed = replace(DEVICE, device_id="line 1/a")
    request = TOKEN.request(Step.REPORT, "spec", context(renamed, kept))
    assert (request.method, request.path) == ("POST", "/device/line%201%2Fa/capabilities")


def test_a_device_that_is_known_already_is_reported_by_put() -> None:
    """409 asks for it, once."""
    assert said(Step.REPORT, 409).other_form == "update"
    assert said(Step.REPORT, 409, form="update").other_form is None
    assert TOKEN.request(Step.REPORT, "update", context(DEVICE, ENROLLED)).method == "PUT"


def test_a_device_that_cannot_be_told_stays_what_it_was() -> None:
    """No report is due because something could not be read."""
    kept = {**ENROLLED, **said(Step.REPORT, 201).records}
    unread = replace(DEVICE, invalid="capabilities.file: broken")
    assert not TOKEN.own_report_is_due(context(unread, kept))
    assert TOKEN.report_problem("spec", context(unread, kept)).startswith("capabilities.file")
    assert TOKEN.report_digest(context(unread, ENROLLED))


@pytest.mark.parametrize(
    ("status", "kind"), [(202, Kind.PENDING), (403, Kind.FORBIDDEN), (409, Kind.CONFLICT), (503, Kind.BUSY)]
)
def test_onboarding_waits_and_is_refused_as_in_signed(status: int, kind: Kind) -> None:
    """One table for every generation."""
    assert said(Step.ENROL, status).kind is kind


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (200, {"url": "https://wfm.example/r.git", "accessToken": "t"}, Kind.ACCEPTED),
        (204, None, Kind.ACCEPTED),
        (200, "a page", Kind.BAD_ANSWER),
        (401, None, Kind.UNAUTHORIZED),
        (403, None, Kind.FORBIDDEN),
        (404, {"error": "client not found"}, Kind.UNKNOWN),
    ],
)
def test_confirming(status: int, document: object, kind: Kind) -> None:
    """Who is given access, or told that there is no repository yet, is known; a token in it is not kept unproven."""
    outcome = said(Step.CONFIRM, status, document)
    assert (outcome.kind, dict(outcome.records)) == (kind, {})


def test_no_connection_takes_nothing_back() -> None:
    """As everywhere."""
    failure = TransportFailure(reasons.TIMED_OUT, "", sent=True)
    outcome = TOKEN.outcome(Step.ENROL, "spec", context(DEVICE, {}), failure)
    assert (outcome.kind, outcome.lost) == (Kind.UNREACHABLE, True)


@pytest.mark.parametrize("wrap", [False, True])
def test_fresh_access_comes_bare_or_named(wrap: bool) -> None:
    """`GET /onboarding/git` is answered with the object, or with it under its name."""
    access = {"url": "https://wfm.example/r.git", "access_token": "t-2"}
    body = json.dumps({"git_repository": access} if wrap else access).encode()
    found = read_git_answer(Answer(200, {}, body, 0.0))
    assert found is not None
    assert (found.url, found.token, found.expires_at) == ("https://wfm.example/r.git", "t-2", None)


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b'{"gitRepository": null}')])
def test_no_repository_is_none(status: int, body: bytes) -> None:
    """And no error."""
    assert read_git_answer(Answer(status, {}, body, 0.0)) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"url": "https://x"}', b'{"gitRepository": 1}'])
def test_no_access_at_all_is_not_usable(body: bytes) -> None:
    """A page, an empty object, half of one."""
    with pytest.raises(NotUsable):
        read_git_answer(Answer(200, {}, body, 0.0))
    assert git_request().auth is Auth.BEARER


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"digest": 1, "form": "spec"}', b"[" * 100_000])
def test_a_damaged_record_is_no_report(damage: bytes) -> None:
    """It is made anew."""
    assert TOKEN.reported({REPORT: damage}) == ("", "")
    assert TOKEN.last_report({REPORT: damage}) == LastReport()


def test_a_status_from_the_outbox() -> None:
    """What an agent reported in the words of the outbox goes out in these; a removal does not."""
    body = b'{"components": [{"name": "a", "state": "failed", "error": {"code": "E", "source": "helm"}}]}'
    request = Token().report_request("spec", context(DEVICE, ENROLLED), "d-1", body)
    assert request is not None
    assert request.path == "/device/c-1/deployment/d-1/status"
    assert json.loads(request.body)["status"]["state"] == "Failed"
    removed = b'{"status": {"state": "removed"}}'
    assert Token().report_request("spec", context(DEVICE, ENROLLED), "d-1", removed) is None
    told = {**ENROLLED, REPORT: b'{"digest": "d", "form": "spec", "id": "gw-1"}'}
    renamed = context(replace(DEVICE, device_id="gw-2"), told)
    request = TOKEN.report_request("spec", renamed, "d-1", body)
    assert request is not None
    assert request.path == "/device/gw-1/deployment/d-1/status", "of the device that the WFM knows"
    assert TOKEN.report_reply("d-1", body, Answer(201, {}, b"", 0.0)).outcome.kind is Kind.ACCEPTED


@pytest.mark.parametrize("step", [Step.ENROL, Step.CONFIRM])
@pytest.mark.parametrize("status", [202, 203, 206])
def test_a_title_in_json_is_no_page(step: Step, status: int) -> None:
    """An odd success that was to bring secrets shows nothing of its text, whatever it looks like."""
    outcome = said(step, status, {"error": "<title>git-token-1</title>"})
    assert outcome.kind is not Kind.ACCEPTED
    assert "git-token-1" not in outcome.detail


def test_all_secrets_of_the_records_are_known() -> None:
    """Also those of a record that is not whole; what is damaged has none."""
    records = {
        ENROLMENT: b'{"secret": "s-1"}',
        "git.json": b'{"accessToken": "g-1"}',
        "git-next.json": b'{"url": 7, "accessToken": "g-2"}',
    }
    assert secrets(records) == ("s-1", "g-1", "g-2")
    assert secrets({ENROLMENT: b"[", "git.json": b"[]", "git-next.json": b'{"accessToken": 7}'}) == ()
