"""Which files are read, and each way in which one cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import margod
from margod.config import DEFAULT_FILE, Config, Sources, load
from margod.config.files import LARGEST, MOST_DROP_INS, read_all, shown
from tests.config.support import problems, write

NOBODY = 65534


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter (pytest's own are for their owner only)."""
    directory = Path(tempfile.mkdtemp(prefix="margod-config-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_find() -> None:
    """An argument names the main file before MARGOD_CONFIG does, and that before the default; empty is unset."""
    assert Sources.find({}) == Sources(DEFAULT_FILE)
    assert Sources.find({"MARGOD_CONFIG": ""}) == Sources(DEFAULT_FILE)
    assert Sources.find({"MARGOD_CONFIG": "/a.yaml"}) == Sources(Path("/a.yaml"), "MARGOD_CONFIG")
    assert Sources.find({"MARGOD_CONFIG": "/a.yaml"}, "/b.yaml") == Sources(Path("/b.yaml"), "the command line")
    assert Sources.find({}, "b.yaml").main == Path.cwd() / "b.yaml"


def test_missing_at_the_default_place(tmp_path: Path) -> None:
    """No file at the default place is the defaults; drop-ins still count."""
    assert load(Sources(tmp_path / "margod.yaml"), {}, {}).config == Config()
    write(tmp_path, None, site="log: {level: debug}")
    loaded = load(Sources(tmp_path / "margod.yaml"), {}, {})
    assert loaded.config.log.level == "debug"
    assert loaded.files == (tmp_path / "conf.d" / "site.yaml",)


def test_missing_where_it_was_named(tmp_path: Path) -> None:
    """A file that somebody named has to be there; the drop-ins beside it are still looked through."""
    sources = write(tmp_path, None, site="x: 1")
    assert problems(sources) == [
        "margod.yaml: cannot be read: no such file or directory (named by test)",
        "conf.d/site.yaml:1: x: is not a section (there are wfm, token, trust, discovery, tls, clock, identity, "
        "device, capabilities, onboarding, schedule, desired_state, state, outbox, local, door, log)",
    ]


def test_dangling_link_at_the_default_place(tmp_path: Path) -> None:
    """A link to nowhere is not the same as no configuration."""
    (tmp_path / "margod.yaml").symlink_to(tmp_path / "gone")
    assert read_all(Sources(tmp_path / "margod.yaml"))[1][0].message == "cannot be read: no such file or directory"


def test_link_is_followed(tmp_path: Path) -> None:
    """An operator may keep the file elsewhere."""
    (tmp_path / "real").write_text("log: {level: debug}")
    (tmp_path / "margod.yaml").symlink_to(tmp_path / "real")
    assert load(Sources(tmp_path / "margod.yaml", "test"), {}, {}).config.log.level == "debug"


def test_directory_and_fifo_and_device(tmp_path: Path) -> None:
    """What is no regular file is refused at once, a FIFO without waiting for a writer."""
    (tmp_path / "margod.yaml").mkdir()
    assert "a directory" in problems(Sources(tmp_path / "margod.yaml", "test"))[0]
    os.mkfifo(tmp_path / "fifo.yaml")
    assert "not a regular file" in problems(Sources(tmp_path / "fifo.yaml", "test"))[0]
    assert "not a regular file" in problems(Sources(Path("/dev/zero"), "test"))[0]


def test_ten_megabytes(tmp_path: Path) -> None:
    """A file above the limit is refused; one at the limit is read."""
    sources = write(tmp_path, "#" * (10 << 20))
    assert problems(sources) == [f"margod.yaml: cannot be read: larger than {LARGEST} bytes (named by test)"]
    sources.main.write_bytes(b"#" * (LARGEST - 1) + b"\n")
    assert read_all(sources)[1] == []


def test_drop_ins_by_name(tmp_path: Path) -> None:
    """Drop-ins apply in the order of their names; hidden ones and other endings are no drop-ins."""
    sources = write(tmp_path, "", b="", a="", **{".hidden": "x: 1"})
    (tmp_path / "conf.d" / "README").write_text("x: 1")
    (tmp_path / "conf.d" / "a.yaml.dpkg-old").write_text("x: 1")
    assert [path.name for path, _ in read_all(sources)[0]] == ["margod.yaml", "a.yaml", "b.yaml"]


def test_drop_in_that_would_be_passed_over(tmp_path: Path) -> None:
    """`.yml` in conf.d is said, not passed over in silence."""
    sources = write(tmp_path, "", a="")
    (tmp_path / "conf.d" / "z.yml").write_text("")
    assert problems(sources) == ["conf.d/z.yml: ends in .yml, so it would be passed over (rename it to .yaml)"]


def test_too_many_drop_ins(tmp_path: Path) -> None:
    """Their number is bounded."""
    sources = write(tmp_path, "", **{f"n{number}": "" for number in range(MOST_DROP_INS + 1)})
    assert problems(sources) == [f"conf.d: has more than {MOST_DROP_INS} drop-ins"]


def test_conf_d_that_is_a_file(tmp_path: Path) -> None:
    """A file in the place of conf.d is a problem."""
    sources = write(tmp_path, "")
    (tmp_path / "conf.d").write_text("")
    assert problems(sources) == ["conf.d: cannot be read: not a directory"]


@pytest.mark.skipif(os.geteuid() != 0, reason="drops to another user")
def test_unreadable(open_directory: Path) -> None:
    """A file without the right to read it is a problem, seen by a real process of another user, also for conf.d."""
    write(open_directory, "log: {level: debug}", site="")
    (open_directory / "margod.yaml").chmod(0o600)
    (open_directory / "conf.d" / "site.yaml").chmod(0o600)
    said = _check_as_nobody(open_directory)
    assert f"{open_directory}/margod.yaml: cannot be read: permission denied (named by test; use root, or give" in said
    assert f"{open_directory}/conf.d/site.yaml: cannot be read: permission denied" in said
    (open_directory / "conf.d").chmod(0o700)
    assert f"{open_directory}/conf.d: cannot be read: permission denied" in _check_as_nobody(open_directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="drops to another user")
def test_unreadable_directory_is_not_no_file(open_directory: Path) -> None:
    """If the default place may not be looked at, that is said; it is not taken for no configuration."""
    closed = open_directory / "etc"
    closed.mkdir(mode=0o700)
    assert f"{closed}/margod.yaml: cannot be read: permission denied" in _check_as_nobody(closed, named_by="")


def test_shown_path() -> None:
    """A path of any bytes can be printed."""
    assert shown(Path(os.fsdecode(b"/a\xff\n\x1b[31m/b"))).isprintable()
    assert shown(Path("/etc/margod/äöü.yaml")) == "/etc/margod/äöü.yaml"


def _check_as_nobody(directory: Path, named_by: str = "test") -> str:
    """Load the configuration of `directory` in a process of the user nobody; return what it says."""
    code = (
        "import os, sys\n"
        "from margod.config import Sources, load\n"
        "from margod.model.errors import ConfigError\n"
        "from pathlib import Path\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try: load(Sources(Path(sys.argv[1]), sys.argv[2]), {}, {})\n"
        "except ConfigError as error: print(error.message)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(directory / "margod.yaml"), named_by],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(margod.__file__).parents[1],
    )
    assert run.stderr == ""
    assert run.returncode == 0
    return run.stdout
