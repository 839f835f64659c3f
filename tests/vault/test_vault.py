"""What a vault promises when nothing goes wrong, and what the caller may not give it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from margod.engine.messages import Keep
from margod.model.errors import StateUnusable
from margod.model.outcome import Step
from margod.protocols import Context
from margod.shell.situation import NOBODY
from margod.vault import RECORD_LIMIT, Entry, Vault, peek
from margod.vault.answerlog import LOG_LIMIT
from margod.vault.vault import INTENTS_KEPT, THIN_ABOVE
from tests.vault.support import IDENTITY, answer, enrolled, intent, opened, snapshot


def test_a_new_vault_is_empty_and_closed_to_others(tmp_path: Path) -> None:
    """Only the directory itself is made, 0700, with the lock in it; nothing is found and nothing is stored."""
    directory = tmp_path / "margod"
    with opened(directory) as vault:
        assert (dict(vault.records), vault.binding, vault.entries, vault.findings) == ({}, "", (), ())
        assert not vault.damaged
        assert not vault.read_only
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [path.name for path in directory.iterdir()] == ["lock"]


def test_a_commit_is_there_after_reopening_with_narrow_modes(tmp_path: Path) -> None:
    """Records and binding come back; files are 0600 and directories 0700 whatever the umask."""
    enrolled(tmp_path / "margod")
    with opened(tmp_path / "margod") as vault:
        assert vault.records["identity.key"] == b"key-1"
        assert vault.records["enrolment.json"] == b"client-1"
        assert vault.binding == "a"
        assert vault.entries == ()
    modes = {oct(mode) for mode, _ in snapshot(tmp_path / "margod").values()}
    assert modes == {oct(stat.S_IFDIR | 0o700), oct(stat.S_IFREG | 0o600)}


def test_manifest_and_log_have_the_documented_shape(tmp_path: Path) -> None:
    """The layout is a contract with later versions: format, generation, binding, sums; one summed line per entry."""
    enrolled(tmp_path / "margod")
    manifest = json.loads((tmp_path / "margod/gen-000002/manifest.json").read_bytes())
    assert {**manifest, "records": sorted(manifest["records"]), "sum": len(manifest["sum"])} == {
        "format": 1,
        "generation": 2,
        "binding": "a",
        "records": ["enrolment.json", "identity.crt", "identity.key", "report.json"],
        "sum": 64,
    }
    lines = (tmp_path / "margod/answer.log").read_bytes().splitlines()
    assert [json.loads(line[33:])["kind"] for line in lines] == ["intent", "answer"]
    assert json.loads(lines[1][33:])["gen"] == 1


def test_answers_lie_over_the_generation_and_are_folded_in_by_a_commit(tmp_path: Path) -> None:
    """An accepted answer is visible at once, after reopening, and in the next generation; None removes a record."""
    with opened(tmp_path / "margod") as vault:
        vault.commit(IDENTITY, "a")
        vault.append(intent())
        vault.append(answer("client-1"))
        vault.append(answer("client-2", 3.0))
        assert vault.records["enrolment.json"] == b"client-2"
    with opened(tmp_path / "margod") as vault:
        assert list(vault.entries) == [intent(), answer("client-1"), answer("client-2", 3.0)]
        assert vault.records["enrolment.json"] == b"client-2"
        vault.commit({"identity.crt": None}, "a")
        assert list(vault.entries) == []
        assert dict(vault.records) == {"identity.key": b"key-1", "enrolment.json": b"client-2"}


def test_two_generations_are_kept_and_the_log_is_compacted(tmp_path: Path) -> None:
    """The one before stays with the lines that lead from it, what is older goes."""
    directory = tmp_path / "margod"
    enrolled(directory)
    with opened(directory) as vault:
        assert len((directory / "answer.log").read_bytes().splitlines()) == 2
        vault.commit({"report.json": b"3"}, "a")
        vault.commit({"report.json": b"4"}, "a")
    assert sorted(path.name for path in directory.iterdir()) == ["answer.log", "gen-000003", "gen-000004", "lock"]
    assert (directory / "answer.log").read_bytes() == b""


def test_another_binding_does_not_inherit_the_answers_of_the_old_one(tmp_path: Path) -> None:
    """After falling back, a line that was written under another binding is ignored: identities are never mixed."""
    directory = tmp_path / "margod"
    with opened(directory) as vault:
        vault.commit(IDENTITY, "a")
        vault.commit({"identity.key": b"key-2"}, "b")
        vault.append(answer("client-of-b"))
    (directory / "gen-000002/identity.key").write_bytes(b"")
    with opened(directory) as vault:
        assert vault.binding == "a"
        assert dict(vault.records) == IDENTITY
        assert vault.entries == ()


def test_what_is_not_the_vaults_is_left_alone(tmp_path: Path) -> None:
    """Other files in the state directory (the last good configuration) survive opening and commits."""
    enrolled(tmp_path / "margod")
    (tmp_path / "margod/config.last-good").write_text("wfm: {}")
    with opened(tmp_path / "margod") as vault:
        vault.commit({}, "a")
    assert (tmp_path / "margod/config.last-good").read_text() == "wfm: {}"


def test_leftovers_of_a_crash_are_swept(tmp_path: Path) -> None:
    """What was prepared aside and never renamed goes at the next start, without a finding."""
    enrolled(tmp_path / "margod")
    for name in (".gen-000003.new", ".gen-000001.old"):
        (tmp_path / "margod" / name).mkdir()
        (tmp_path / "margod" / name / "identity.key").write_bytes(b"half")
    (tmp_path / "margod/.answer.log.new").write_bytes(b"half")
    with opened(tmp_path / "margod") as vault:
        assert vault.findings == ()
    assert not [path for path in (tmp_path / "margod").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["", "Key", "../key", "a/b", ".hidden", "a" * 65, "manifest.json", "1.json", "a\n"])
def test_a_name_that_is_no_record_name_is_refused(name: str, tmp_path: Path) -> None:
    """No name leads out of the generation, hides in it or takes the manifest's place."""
    with opened(tmp_path / "margod") as vault:
        with pytest.raises(ValueError, match="record name"):
            vault.commit({name: b""}, "a")
        with pytest.raises(ValueError, match="record name"):
            vault.append(Entry("answer", 1.0, {}, {name: b""}))
        assert (tmp_path / "margod/gen-000001").exists() is False


@pytest.mark.parametrize(
    "entry",
    [
        Entry("other", 1.0, {}),
        Entry("intent", 1.0, {}, {"a": b""}),
        Entry("intent", float("nan"), {}),
        Entry("answer", 1.0, {}, {"a": bytes(RECORD_LIMIT + 1)}),
        Entry("answer", 1.0, {}, {"a": bytes(RECORD_LIMIT), "b": bytes(RECORD_LIMIT)}),
    ],
)
def test_an_entry_out_of_bounds_is_refused(entry: Entry, tmp_path: Path) -> None:
    """What could not be read back is not written."""
    with opened(tmp_path / "margod") as vault:
        with pytest.raises(ValueError):
            vault.append(entry)
        assert vault.entries == ()
    assert not (tmp_path / "margod/answer.log").exists()


def test_too_much_for_one_generation_is_refused(tmp_path: Path) -> None:
    """Record, number of records and binding are bounded so that the reader's bounds are never met."""
    with opened(tmp_path / "margod") as vault:
        for changes, binding in (
            ({"a": bytes(RECORD_LIMIT + 1)}, ""),
            ({f"r{i}": b"" for i in range(1000)}, ""),
            ({}, "b" * 2000),
        ):
            with pytest.raises(ValueError):
                vault.commit(changes, binding)
        vault.commit({"a": bytes(RECORD_LIMIT)}, "")


def test_a_closed_vault_writes_nothing(tmp_path: Path) -> None:
    """After close another margod may hold the lock."""
    vault = Vault.open(tmp_path / "margod")
    vault.close()
    with pytest.raises(RuntimeError):
        vault.append(intent())
    with pytest.raises(RuntimeError):
        vault.commit({}, "")


def test_months_of_intents_do_not_outgrow_the_log(tmp_path: Path) -> None:
    """Old intents go when the log is large; the newest and every accepted answer stay."""
    with opened(tmp_path / "margod") as vault:
        vault.commit(IDENTITY, "a")
        vault.append(answer("client-1"))
        for at in range(200):
            vault.append(Entry("intent", float(at), {"padding": "x" * 8_000}))
        assert (tmp_path / "margod/answer.log").stat().st_size <= THIN_ABOVE
        before = vault.entries
    with opened(tmp_path / "margod") as vault:
        assert vault.entries == before
        assert vault.entries[0] == answer("client-1")
        assert vault.entries[-1].at == 199.0
        assert len(vault.entries) > INTENTS_KEPT - 1


def test_large_answers_are_folded_before_the_log_is_too_large_to_read(tmp_path: Path) -> None:
    """A log of answers that would pass the reader's bound becomes a generation, and every answer is kept."""
    with opened(tmp_path / "margod") as vault:
        vault.commit(IDENTITY, "a")
        for number in range(6):
            vault.append(Entry("answer", 1.0, {}, {f"r{number}": bytes([number]) * RECORD_LIMIT}))
            assert (tmp_path / "margod/answer.log").stat().st_size <= LOG_LIMIT
    with opened(tmp_path / "margod") as vault:
        assert vault.findings == ()
        assert [vault.records[f"r{number}"][0] for number in range(6)] == list(range(6))


def test_peek_sees_what_open_sees_and_changes_nothing(tmp_path: Path) -> None:
    """A look needs no lock, mends nothing, and works on an exposed, torn or damaged vault as well."""
    directory = tmp_path / "margod"
    enrolled(directory)
    with opened(directory) as vault:
        vault.append(answer("client-2"))
        assert dict(peek(directory)) == dict(vault.records)
    (directory / "gen-000002/report.json").write_bytes(b"flipped")
    with (directory / "answer.log").open("ab") as log:
        log.write(b"torn")
    directory.chmod(0o755)
    before = snapshot(directory)
    assert peek(directory)["enrolment.json"] == b"client-2"
    assert snapshot(directory) == before


def test_peek_says_why_it_cannot_look(tmp_path: Path) -> None:
    """No directory is an error for a person, an empty one is not."""
    with pytest.raises(StateUnusable, match="No such file"):
        peek(tmp_path / "missing")
    assert dict(peek(tmp_path)) == {}


def test_secrets_do_not_show_in_representations(tmp_path: Path) -> None:
    """Neither a vault nor an entry prints what is in its records, nor who is handed them."""
    secret = Entry("answer", 1.0, {}, {"identity.key": b"very-secret"})
    with opened(tmp_path / "margod") as vault:
        vault.append(secret)
        assert "very-secret" not in repr(vault) + repr(vault.entries)
    assert "very-secret" not in repr((Context(b"", secret.records, NOBODY), Keep(Step.ENROL, secret.records)))
