"""How a root CA is renewed: what is staged, what counts as time, what is adopted, dropped, or only reported."""

from __future__ import annotations

import datetime
import time
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from margod import trust
from margod.shell import renewal
from margod.shell.records import ANCHORS, STAGED
from margod.shell.renewal import DAY, Heard, Known, Moment, Staged
from tests.shell.test_candidate import enrolled

NOW = time.time()
HOUR = 3_600.0
START = Moment("boot-1", 1_000.0, NOW)


def anchor() -> trust.Anchor:
    """A root CA of its own."""
    (found,) = trust.decode_certificates(trustme.CA().cert_pem.bytes(), NOW)
    return found


OLD, NEW, OTHER = anchor(), anchor(), anchor()


def known(*staged: Staged, source: str = "system", pins: tuple[str, ...] = ()) -> Known:
    """A device that has OLD and stages these."""
    return Known((OLD,), source, pins, staged, 3 * DAY)


def later(seconds: float, moment: Moment = START) -> Moment:
    """Both clocks ran on."""
    return Moment(moment.boot, moment.mono + seconds, moment.wall + seconds)


def staged() -> Staged:
    """NEW, just staged."""
    (found,) = renewal.hear(known(), (OLD, NEW), START).staged
    return found


def words(heard: Heard) -> list[str]:
    """The journal's words."""
    return [note.event for note in heard.notes]


def test_the_same_answer_is_nothing_new() -> None:
    """What is an anchor already leads to no commit, no line and no warning."""
    assert renewal.hear(known(), (OLD,), START) == Heard()
    assert renewal.settle(known(), Heard(), (), START) == ({}, ())


def test_staged_confirmed_ripe_adopted() -> None:
    """Three days of the same answer, a commit a day, then the chain: the new root stands beside the old one."""
    at, held, seen = START, known(), []
    for _ in range(10):
        heard = renewal.hear(held, (OLD, NEW), at)
        seen += words(heard)
        assert renewal.ripe(heard.staged, held.adopt_after) == () or at.wall - START.wall >= 3 * DAY
        changes, _ = renewal.settle(held, heard, (), at)
        if changes:
            assert ANCHORS not in changes, "without the chain nothing is planted"
            held = known(*renewal.read(changes[STAGED], NOW))
        at = later(12 * HOUR, at)
    assert seen == ["root-ca-staged", "root-ca-confirmed", "root-ca-confirmed", "root-ca-ripe"]
    heard = renewal.hear(held, (OLD, NEW), at)
    changes, notes = renewal.settle(held, heard, {NEW.fingerprint}, at)
    assert trust.decode_certificates(changes[ANCHORS], NOW) == (OLD, NEW)
    assert renewal.read(changes[STAGED], NOW) == ()
    assert [note.event for note in notes] == ["root-ca-adopted"]


def test_a_verifying_chain_alone_adopts_nothing() -> None:
    """Whoever presents the new chain early does not shorten the time by it."""
    held = known(staged())
    at = later(2.9 * DAY)
    changes, _ = renewal.settle(held, renewal.hear(held, (OLD, NEW), at), {NEW.fingerprint}, at)
    assert ANCHORS not in changes


@pytest.mark.parametrize(
    ("then", "proves"),
    [
        (Moment("boot-1", 1_000.0, NOW + 10_000 * DAY), 0.0),
        (Moment("boot-1", 1_000.0 + HOUR, NOW - 10_000 * DAY), HOUR),
        (Moment("boot-1", 1_000.0 + 30 * DAY, NOW), DAY),
        (Moment("boot-2", 5.0, NOW + 10_000 * DAY), DAY),
        (Moment("boot-2", 5.0, NOW + 9 * HOUR), 9 * HOUR),
        (Moment("boot-2", 9e9, NOW - DAY), 0.0),
    ],
)
def test_what_counts_as_time(then: Moment, proves: float) -> None:
    """Within a boot its own clock, over a boot the wall's, a day at most for each confirmation: no jump ripens."""
    held = replace(known(staged()), adopt_after=max(proves, 1.0))
    (found,) = renewal.hear(held, (OLD, NEW), then).staged
    assert found.vouched == (proves if proves >= 1.0 else 0.0)


def test_switched_off_every_night() -> None:
    """A device that runs ten hours a day, with a new boot each, gets there in as many days as another."""
    held = known(staged())
    for day in range(1, 5):
        heard = renewal.hear(held, (OLD, NEW), Moment(f"night-{day}", 60.0, NOW + day * DAY))
        held = known(*heard.staged)
        if renewal.ripe(heard.staged, held.adopt_after):
            break
    assert day == 3


def test_dropped_when_it_is_offered_no_more() -> None:
    """A root that is not offered any more is dropped, and begins at zero when it comes back."""
    held = known(replace(staged(), vouched=5 * DAY))
    heard = renewal.hear(held, (OLD,), START)
    assert words(heard) == ["root-ca-dropped"]
    changes, _ = renewal.settle(held, heard, {NEW.fingerprint}, START)
    assert changes == {STAGED: renewal.write(())}
    assert staged().vouched == 0.0


def test_each_root_has_its_own_time() -> None:
    """Another one that joins does not inherit what the first has waited for."""
    held = known(replace(staged(), vouched=2 * DAY))
    heard = renewal.hear(held, (OLD, NEW, OTHER), later(DAY))
    assert [each.vouched for each in heard.staged] == [3 * DAY, 0.0]
    assert [each.anchor for each in renewal.ripe(heard.staged, 3 * DAY)] == [NEW]


@pytest.mark.parametrize("source", ["ca_file", "none"])
def test_only_reported(source: str) -> None:
    """Where the owner named the root CA nothing is staged, however long it is offered."""
    heard = renewal.hear(known(source=source), (NEW,), START)
    assert (heard.differing, heard.staged) == ((NEW,), ())
    assert renewal.settle(known(source=source), heard, {NEW.fingerprint}, START) == ({}, ())


def test_pins() -> None:
    """A root that another pin of the owner names is taken at once, one that no pin names is only reported."""
    held = known(source="pin", pins=(OLD.fingerprint, f"spki:{NEW.spki}"))
    heard = renewal.hear(held, (OTHER, NEW), START)
    assert (heard.pinned, heard.differing) == ((NEW,), (OTHER,))
    changes, _ = renewal.settle(held, heard, (), START)
    assert trust.decode_certificates(changes[ANCHORS], NOW) == (OLD, NEW)


def test_too_many_are_only_reported() -> None:
    """Nobody renews five roots at once: the vault does not become a list of strangers."""
    many = tuple(anchor() for _ in range(renewal.MOST + 1))
    heard = renewal.hear(known(), many, START)
    assert (heard.differing, heard.staged) == (many, ())


def test_an_intermediate_or_a_borrowed_name_is_not_staged() -> None:
    """Only a certificate that signed itself can become a root."""
    child = trustme.CA(parent_cert=trustme.CA()).cert_pem.bytes()
    (found, _) = trust.decode_certificates(child + trust.to_pem((OLD,)), NOW)
    assert renewal.hear(known(), (found,), START) == Heard()


def test_expired_anchors_leave() -> None:
    """With the new root an old one that has expired goes; it verifies nothing any more."""
    gone = replace(OLD, not_after=NOW - 1)
    held = replace(known(replace(staged(), vouched=5 * DAY)), anchors=(gone,))
    also = replace(held, anchors=(gone, OTHER))
    for each, left in ((held, (OLD, NEW)), (also, (OTHER, NEW))):
        changes, _ = renewal.settle(each, renewal.hear(each, (NEW,), START), {NEW.fingerprint}, START)
        assert trust.decode_certificates(changes[ANCHORS], NOW) == left


@pytest.mark.parametrize(
    "damage",
    [b"", b"[]", b"{", b'{"roots": 7}', b'{"roots": [7]}', b'{"roots": [{}]}', b'{"roots": [{"pem": "x"}]}'],
)
def test_a_record_that_cannot_be_read_counts_for_nothing(damage: bytes) -> None:
    """Damage costs the time that was waited, never more."""
    assert renewal.read(damage, NOW) == ()


def test_a_record_with_impossible_numbers_counts_for_nothing() -> None:
    """Nobody gets time by infinity."""
    good = renewal.write((staged(),))
    assert renewal.read(good, NOW) == (staged(),)
    for bad in (b"Infinity", b"NaN", b"-1", b'"x"'):
        assert renewal.read(good.replace(b'"vouched": 0.0', b'"vouched": ' + bad), NOW) == ()


def test_a_person_may_be_sooner() -> None:
    """A staged root whose fingerprint a person has compared becomes an anchor at once; another does not."""
    changes = renewal.accept((OLD,), (staged(),), NEW.fingerprint)
    assert trust.decode_certificates(changes[ANCHORS], NOW) == (OLD, NEW)
    assert renewal.read(changes[STAGED], NOW) == ()
    assert renewal.accept((OLD,), (staged(),), OTHER.fingerprint) == {}


def sized(octets: int) -> trust.Anchor:
    """A root CA of this many bytes and some."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "long")])
    now = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    value = b"\x04\x82" + octets.to_bytes(2) + b"a" * octets
    filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), value)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(90))
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(filler, False)
        .sign(key, hashes.SHA256())
    )
    (found,) = trust.decode_certificates(made.public_bytes(Encoding.DER), NOW)
    return found


def test_a_root_of_sixteen_kilobytes_is_only_reported() -> None:
    """What is too long never gets into the vault, and a shorter one beside it is staged all the same."""
    long = sized(16_000)
    heard = renewal.hear(known(), (OLD, long, NEW), START)
    assert (heard.differing, [each.anchor for each in heard.staged]) == ((long,), [NEW])
    pins = renewal.hear(known(source="pin", pins=(long.fingerprint,)), (long,), START)
    assert (pins.pinned, pins.differing) == ((), (long,))


def test_whatever_is_adopted_can_be_read_again() -> None:
    """A WFM that is hostile for weeks: the vault stays readable, what the device began with and the newest stay."""
    anchors: tuple[trust.Anchor, ...] = (OLD,)
    seen: list[str] = []
    for _ in range(4):
        new = tuple(sized(7_500) for _ in range(renewal.MOST))
        ripened = tuple(Staged(each, NOW, 5 * DAY, START) for each in new)
        held = replace(known(*ripened), anchors=anchors)
        verifying = {each.fingerprint for each in new}
        changes, notes = renewal.settle(held, renewal.hear(held, (OLD, *new), START), verifying, START)
        anchors = trust.decode_certificates(changes[ANCHORS], NOW)
        assert anchors[0] == OLD
        assert len(anchors) <= trust.anchors.MOST
        assert set(new) <= set(anchors)
        seen += [note.event for note in notes]
    assert "root-ca-pushed-out" in seen


def test_what_is_in_use_is_not_pushed_out() -> None:
    """Of eight the oldest that was adopted goes, but not the one under which the WFM's chain verifies."""
    eight = (OLD, *(anchor() for _ in range(7)))
    assert renewal.beside(eight, (NEW,)) == (OLD, *eight[2:], NEW)
    assert renewal.beside(eight, (NEW,), {eight[1].fingerprint}) == (OLD, eight[1], *eight[3:], NEW)
    changes = renewal.accept(eight, (staged(),), NEW.fingerprint, {eight[1].fingerprint})
    assert trust.decode_certificates(changes[ANCHORS], NOW) == (OLD, eight[1], *eight[3:], NEW)
    expired = replace(eight[3], not_after=NOW - 1)
    held = replace(known(replace(staged(), vouched=5 * DAY)), anchors=(*eight[:3], expired, *eight[4:]))
    changes, _ = renewal.settle(held, renewal.hear(held, (NEW,), START), {NEW.fingerprint}, START)
    assert trust.decode_certificates(changes[ANCHORS], NOW) == (*eight[:3], *eight[4:], NEW), "the expired one first"
    every = {each.fingerprint for each in eight}
    assert renewal.beside(eight, (NEW,), every) == eight, "and where nothing may go, nothing comes"


def test_an_enrolled_device_with_too_many_stays_enrolled(tmp_path: Path) -> None:
    """More than any version adopts now, kept by an earlier one: it is read, and nothing is lost by it."""
    ground = enrolled(tmp_path / "state")
    many = tuple(sized(16_000) for _ in range(4))
    ground.keep({ANCHORS: trust.to_pem(many)})
    situation = ground.examine()
    assert (situation.facts.obstacle, situation.anchors, situation.client_id) == (None, many, "client-1")
