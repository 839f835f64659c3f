"""The last good configuration: written once, used when the files cannot be, never instead of good ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.config import Loaded, Sources, keep_last_good, load, load_with_last_good
from margod.config.last_good import NAME
from margod.model.errors import ConfigError, StateNotWritable
from tests.config.support import write

GOOD = (
    "wfm:\n  url: https://a:1/p\n  timeout: 90s\ntrust: {ca_file: /etc/ca.pem}\n"
    'device: {vendor: "Süd \\" # 😀", serial_number: "0012", memory: 8 Gi, cores: 4}\ntls: {minimum_version: 1.3}\n'
    "onboarding: {reissue_on_conflict: false}\n"
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory."""
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


def kept(tmp_path: Path, state: Path, text: str = GOOD) -> tuple[Sources, dict[str, str], Loaded]:
    """Load `text` with systemd's STATE_DIRECTORY and keep it."""
    sources, env = write(tmp_path, text), {"STATE_DIRECTORY": str(state)}
    loaded = load_with_last_good(sources, env, {})
    assert keep_last_good(loaded)
    return sources, env, loaded


def test_bad_file_runs_on_the_copy(tmp_path: Path, state: Path) -> None:
    """With a broken file the same effective values come from the copy, and the problems of the file come along."""
    sources, env, good = kept(tmp_path, state)
    sources.main.write_text("wfm: [")
    loaded = load_with_last_good(sources, env, {})
    assert loaded.is_last_good
    assert loaded.config == good.config
    assert loaded.fingerprint == good.fingerprint
    assert loaded.files == (state / NAME,)
    assert [str(p).split(": ")[0] for p in loaded.problems] == [f"{sources.main}:1"]
    assert str(loaded.origin("wfm.url")).startswith(f"{state / NAME}:")


def test_missing_file_runs_on_the_copy(tmp_path: Path, state: Path) -> None:
    """A named file that is gone is a broken configuration, not an empty one."""
    sources, env, good = kept(tmp_path, state)
    sources.main.unlink()
    assert load_with_last_good(sources, env, {}).config == good.config


def test_good_file_wins(tmp_path: Path, state: Path) -> None:
    """The copy is not looked at while the files are good."""
    sources, env, _ = kept(tmp_path, state)
    sources.main.write_text("")
    loaded = load_with_last_good(sources, env, {})
    assert not loaded.is_last_good
    assert loaded.config.wfm.url is None


def test_no_copy(tmp_path: Path, state: Path) -> None:
    """Without a copy the error is that of the files alone."""
    sources = write(tmp_path, "wfm: [")
    with pytest.raises(ConfigError) as caught:
        load_with_last_good(sources, {"STATE_DIRECTORY": str(state)}, {})
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("damage", [b"wfm: [", b"\0" * 50, b"\xff", b"future: {setting: 1}\n", b"x" * (2 << 20)])
def test_damaged_copy(tmp_path: Path, state: Path, damage: bytes) -> None:
    """A copy that cannot be used is never half used: the error has the problems of both."""
    sources, env, _ = kept(tmp_path, state)
    (state / NAME).write_bytes(damage)
    sources.main.write_text("wfm: [")
    with pytest.raises(ConfigError) as caught:
        load_with_last_good(sources, env, {})
    assert [problem.file for problem in caught.value.problems] == [str(sources.main), str(state / NAME)]


def test_copy_is_a_link(tmp_path: Path, state: Path) -> None:
    """A link in the place of the copy is not followed."""
    sources, env, _ = kept(tmp_path, state)
    (state / NAME).rename(tmp_path / "elsewhere")
    (state / NAME).symlink_to(tmp_path / "elsewhere")
    sources.main.write_text("wfm: [")
    with pytest.raises(ConfigError):
        load_with_last_good(sources, env, {})


def test_written_only_when_changed(tmp_path: Path, state: Path) -> None:
    """The same configuration is not written again (flash wears); a change is; mode 0600."""
    _, env, loaded = kept(tmp_path, state)
    assert (state / NAME).stat().st_mode & 0o7777 == 0o600
    before = (state / NAME).stat().st_ino
    assert not keep_last_good(loaded)
    assert (state / NAME).stat().st_ino == before
    assert keep_last_good(load(write(tmp_path, "log: {level: debug}"), env, {}))
    assert "https" not in (state / NAME).read_text()


def test_the_copy_is_not_made_of_itself(tmp_path: Path, state: Path) -> None:
    """Running on the copy leaves it alone, whatever the variables say."""
    sources, env, _ = kept(tmp_path, state)
    sources.main.write_text("wfm: [")
    before = (state / NAME).read_bytes()
    loaded = load_with_last_good(sources, env | {"MARGOD_WFM_URL": "https://b"}, {})
    assert loaded.config.wfm.url == "https://b"
    assert not keep_last_good(loaded)
    assert (state / NAME).read_bytes() == before


def test_bad_variable_runs_on_the_copy(tmp_path: Path, state: Path) -> None:
    """A bad MARGOD_WFM_URL leaves the copy's URL in force and is among the problems once."""
    sources, env, good = kept(tmp_path, state)
    loaded = load_with_last_good(sources, env | {"MARGOD_WFM_URL": "http://b"}, {})
    assert loaded.config == good.config
    assert [problem.file for problem in loaded.problems] == ["MARGOD_WFM_URL"]


def test_found_where_the_broken_file_says(tmp_path: Path, state: Path) -> None:
    """state.directory is taken from what is readable of the files, so that the copy is found there."""
    text = f"state: {{directory: {state}}}\nwfm: {{url: https://a}}\n"
    sources = write(tmp_path, text)
    assert keep_last_good(load(sources, {}, {}))
    sources.main.write_text(text.replace("https://a", "http://a"))
    assert load_with_last_good(sources, {}, {}).config.wfm.url == "https://a"


def test_found_where_the_caller_says(tmp_path: Path, state: Path) -> None:
    """At reload the daemon knows its state directory; a file broken beyond reading does not hide the copy."""
    sources = write(tmp_path, f"state: {{directory: {state}}}\nwfm: {{url: https://a}}\n")
    assert keep_last_good(load(sources, {}, {}))
    sources.main.write_text("\0")
    with pytest.raises(ConfigError):
        load_with_last_good(sources, {"STATE_DIRECTORY": str(tmp_path)}, {})
    loaded = load_with_last_good(sources, {}, {}, state_directory=state)
    assert loaded.config.wfm.url == "https://a"
    assert loaded.config.state.directory == state


def test_variables_and_arguments_are_in_the_copy(tmp_path: Path, state: Path) -> None:
    """The copy is self-contained: a URL that came by --url is there when the argument is gone."""
    sources, env = write(tmp_path, ""), {"STATE_DIRECTORY": str(state)}
    assert keep_last_good(load(sources, env, {"wfm.url": "https://a"}))
    assert str(state) not in (state / NAME).read_text()
    sources.main.write_text("wfm: [")
    assert load_with_last_good(sources, env, {}).config.wfm.url == "https://a"


def test_state_directory_of_systemd_counts_on_the_copy(tmp_path: Path, state: Path) -> None:
    """On the copy, too, STATE_DIRECTORY and RUNTIME_DIRECTORY take the place of the defaults."""
    sources, env, _ = kept(tmp_path, state)
    sources.main.write_text("wfm: [")
    loaded = load_with_last_good(sources, env | {"RUNTIME_DIRECTORY": "/run/other"}, {})
    assert (loaded.config.state.directory, loaded.config.local.directory) == (state, Path("/run/other"))


def test_not_writable(tmp_path: Path, state: Path) -> None:
    """If it cannot be stored, that is a StateNotWritable, which the daemon lives with."""
    loaded = load(write(tmp_path, GOOD), {"STATE_DIRECTORY": str(state / "missing")}, {})
    with pytest.raises(StateNotWritable):
        keep_last_good(loaded)
