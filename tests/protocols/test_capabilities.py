"""What the WFM has of a gateway and its children, and the requests that are missing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from margod.model import reasons
from margod.model.capabilities import Capabilities, Child
from margod.model.outcome import Kind, Step
from margod.model.wire import Answer, TransportFailure
from margod.protocols import Context
from margod.protocols.signed import Dialect, Signed

DEVICE = Capabilities("gw", "V", "M", "S")
ENROLLED = {"enrolment.json": b'{"clientId": "c+1"}'}
SIGNED = Signed(Dialect())


def child(name: str, vendor: str = "P") -> Child:
    """Return a child with a manifest."""
    return Child(name, {"properties": {"id": name, "vendor": vendor}})


def answer(status: int, body: bytes = b"") -> Answer:
    """Return an answer."""
    return Answer(status, {}, body, 0.0)


def after(context: Context, *, own: bool = True) -> Context:
    """Return the context after the WFM has accepted everything."""
    if own:
        accepted = SIGNED.outcome(Step.REPORT, "device", context, answer(201))
        context = replace(context, records={**context.records, **accepted.records})
    for part in SIGNED.parts(context, "c+1"):
        context = replace(context, records={**context.records, **SIGNED.part_kept(part, context)})
    return context


def whole(context: Context) -> bool:
    """Return whether nothing is missing."""
    return SIGNED.report_digest(context) == SIGNED.reported(context.records)[0]


def with_(context: Context, device: Capabilities) -> Context:
    """Return the context of another device with the same records."""
    return replace(context, capabilities=device)


def asks(context: Context) -> list[tuple[str, str]]:
    """Return method and path of what is to be said of the children."""
    return [(part.request.method, part.request.path) for part in SIGNED.parts(context, "c+1")]


def test_a_family_in_order() -> None:
    """POST for what is new with the slashes raw, PUT for what changed, DELETE for what is gone, deepest first."""
    base = "/api/v1/clients/c%2B1/capabilities"
    family = (child("gw/a"), child("gw/b"), child("gw/b/x"))
    context = Context(b"", ENROLLED, replace(DEVICE, children=family))
    assert asks(context) == [("POST", f"{base}/{each.device_id}") for each in family]
    assert not whole(context)
    context = after(context)
    assert (whole(context), asks(context)) == (True, [])
    changed = with_(context, replace(DEVICE, children=(child("gw/a", "Q"), *family[1:])))
    assert not SIGNED.own_report_is_due(changed)
    assert asks(changed) == [("PUT", f"{base}/gw/a")]
    gone = with_(context, replace(DEVICE, children=family[:1]))
    assert asks(gone) == [("DELETE", f"{base}/gw/b/x"), ("DELETE", f"{base}/gw/b")]
    assert whole(after(gone, own=False))


def test_held_children_stay() -> None:
    """While a manifest cannot be used a child that is missing is not taken for one that is gone."""
    context = after(Context(b"", ENROLLED, replace(DEVICE, children=(child("gw/a"), child("gw/b")))))
    held = with_(context, replace(DEVICE, children=(child("gw/a"),), held=True))
    assert (whole(held), asks(held)) == (True, [])


def test_a_part_is_no_whole() -> None:
    """The record of a part knows the whole that it belongs to, and that it is not it."""
    context = Context(b"", ENROLLED, replace(DEVICE, children=(child("gw/a"),)))
    own = SIGNED.outcome(Step.REPORT, "device", context, answer(201))
    context = replace(context, records={**ENROLLED, **own.records})
    assert SIGNED.reported(context.records)[0] not in ("", SIGNED.report_digest(context))
    assert SIGNED.last_report(context.records).wanted == SIGNED.report_digest(context)


def test_another_id_of_its_own_is_another_device() -> None:
    """It is posted, not put; what was a child by that name, or lies above it, is never removed."""
    context = after(Context(b"", ENROLLED, replace(DEVICE, children=(child("gw/a"), child("gw/b")))))
    moved = with_(context, replace(DEVICE, device_id="gw/a"))
    assert SIGNED.request(Step.REPORT, "device", moved).method == "POST"
    accepted = SIGNED.outcome(Step.REPORT, "device", moved, answer(201))
    assert set(SIGNED.last_report(accepted.records).children) == {"gw/b"}


def test_a_record_of_before() -> None:
    """What an earlier margod has kept counts as accepted: the next report is an update."""
    records = {**ENROLLED, "report.json": b'{"digest": "0123", "form": "device"}'}
    context = Context(b"", records, DEVICE)
    assert SIGNED.reported(records) == ("0123", "device")
    assert SIGNED.request(Step.REPORT, "device", context).method == "PUT"
    assert not whole(context)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"digest": 1, "form": 2}', b'{"digest": "x"}'])
def test_a_record_that_cannot_be_read(data: bytes) -> None:
    """It is as if nothing had been reported."""
    assert SIGNED.reported({"report.json": data}) == ("", "")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (201, "", Kind.ACCEPTED),
        (200, "", Kind.ACCEPTED),
        (400, '{"error": "client not found"}', Kind.INVALID),
        (404, '{"error": "parent device not found"}', Kind.INVALID),
        (422, '{"error": "properties.vendor"}', Kind.INVALID),
        (409, "", Kind.INVALID),
        (401, "", Kind.UNAUTHORIZED),
        (403, "", Kind.FORBIDDEN),
        (503, "", Kind.BUSY),
        (202, "", Kind.PENDING),
    ],
)
def test_what_is_about_the_child_names_it(status: int, body: str, kind: Kind) -> None:
    """What speaks about this child alone is INVALID with its id; it never means that the WFM forgot the gateway."""
    context = Context(b"", ENROLLED, replace(DEVICE, children=(child("gw/a"),)))
    (part,) = SIGNED.parts(context, "c+1")
    outcome = SIGNED.part_outcome(part, answer(status, body.encode()))
    assert outcome.kind is kind
    if kind is Kind.INVALID:
        assert (outcome.reason, outcome.detail.partition(":")[0]) == (reasons.CHILD_REFUSED, "gw/a")


@pytest.mark.parametrize(
    ("status", "gone"), [(204, True), (200, True), (404, True), (410, True), (202, False), (500, False)]
)
def test_what_says_that_it_is_gone(status: int, gone: bool) -> None:
    """A child that the WFM does not have is removed, however that came."""
    context = with_(after(Context(b"", ENROLLED, replace(DEVICE, children=(child("gw/a"),)))), DEVICE)
    (part,) = SIGNED.parts(context, "c+1")
    assert (SIGNED.part_outcome(part, answer(status)).kind is Kind.ACCEPTED) is gone


def test_a_wfm_that_knows_better() -> None:
    """409 to POST and 404 to PUT ask for the other one; a failure asks for nothing."""
    context = Context(b"", ENROLLED, replace(DEVICE, children=(child("gw/a"),)))
    (part,) = SIGNED.parts(context, "c+1")
    assert part.other is not None
    assert (part.request.method, part.other.method, part.other.body) == ("POST", "PUT", part.request.body)
    assert SIGNED.part_wants_other(part, answer(409))
    assert not SIGNED.part_wants_other(part, answer(422))
    assert not SIGNED.part_wants_other(part, TransportFailure(reasons.TIMED_OUT, "", sent=True))


def test_the_settings_are_remembered_and_change_no_digest() -> None:
    """`said` is for telling a person's change from the device's; the WFM never sees it."""
    context = Context(b"", ENROLLED, replace(DEVICE, said="one"))
    outcome = SIGNED.outcome(Step.REPORT, "device", context, answer(201))
    assert SIGNED.last_report(outcome.records).said == "one"
    assert SIGNED.report_digest(context) == SIGNED.report_digest(with_(context, replace(DEVICE, said="two")))
    assert b"one" not in SIGNED.request(Step.REPORT, "device", context).body


def test_a_manifest_of_ones_own_is_kept_up_to_a_bound() -> None:
    """What the WFM took last is kept, to show what has changed; a huge one is not."""
    small = {"properties": {"id": "gw", "vendor": "V"}}
    for manifest, kept in ((small, small), ({**small, "x-a-extensions": {"a": "x" * 70_000}}, {})):
        context = Context(b"", ENROLLED, replace(DEVICE, manifest=manifest))
        outcome = SIGNED.outcome(Step.REPORT, "device", context, answer(201))
        assert json.loads(outcome.records["report.json"])["manifest"] == kept
        assert whole(replace(context, records={**ENROLLED, **outcome.records}))
