"""`margod config check | show | schema` as real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import margod
from margod.config import json_schema
from margod.config.settings import SETTINGS
from tests.config.support import write
from tests.config.test_files import open_directory as open_directory  # noqa: PLC0414 - a fixture
from tests.config.test_settings import SAMPLE

CODE = "import sys; from margod.cli import main; sys.exit(main())"


AS_NOBODY = (  # once as root for the imports: where this Python is installed nobody else may read
    "import os, sys; from margod.cli import main; main([*sys.argv[1:2], 'schema'])\n"
    "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main())"
)


def run(*arguments: str | Path, code: str = CODE, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `margod config ARGUMENTS` with nothing of margod in the environment but `env`."""
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(margod.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "config", *map(str, arguments)],
        check=False,
        capture_output=True,
        timeout=60,
        env=clean | env,
        encoding="utf-8",
    )


def words(text: str) -> str:
    """Return a text as it is before its lines are broken."""
    return " ".join(text.split())


def test_check_good(tmp_path: Path) -> None:
    """A good configuration is said to be, with the files that were read; 0."""
    write(tmp_path, SAMPLE.read_text(), site="wfm: {url: 'https://wfm.test'}")
    ran = run("check", tmp_path / "margod.yaml")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"configuration: ok ({tmp_path}/margod.yaml, {tmp_path}/conf.d/site.yaml)\n"


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        ("discovery: {server_names: wfm.test}", ["no wfm.url"]),
        ("", ["no wfm.url", "discovery.server_names"]),
        ("trust: {ca_is_wfm_only: true}", ["no wfm.url"]),
        ("discovery: {enabled: false}", ["neither wfm.url nor discovery.enabled"]),
    ],
)
def test_check_without_a_url(tmp_path: Path, text: str, noted: list[str]) -> None:
    """What holds and yet leaves the device discovering, or untrusted, is noted; 0 all the same."""
    write(tmp_path, text)
    ran = run("check", tmp_path / "margod.yaml")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert all(len(line) <= 80 for line in ran.stdout.splitlines()[1:])
    first, *notes = re.sub(r"\n {6}", " ", ran.stdout).splitlines()
    assert first.startswith("configuration: ok")
    assert len(notes) == len(noted)
    assert all(note.startswith("note: ") and words in note for note, words in zip(notes, noted, strict=True))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_check_without_rights(open_directory: Path) -> None:
    """A user who may not read the file is told what it needs."""
    (open_directory / "margod.yaml").touch(mode=0o600)
    ran = run("check", open_directory / "margod.yaml", code=AS_NOBODY)
    assert ran.returncode == 78
    assert "cannot be read: permission denied (named by the command line; use root, or " in words(ran.stderr)


def test_check_bad(tmp_path: Path) -> None:
    """Every problem is a line of its own on stderr, nothing on stdout; 78; never a traceback, never a password."""
    write(tmp_path, "wfm: {url: 'https://u:secret@h', ulr: 1}\n", site="[" * 100_000, z="\0")
    ran = run("check", MARGOD_CONFIG=str(tmp_path / "margod.yaml"), MARGOD_WFM_URL="http://h")
    assert (ran.returncode, ran.stdout) == (78, "")
    lines = re.sub(r"\n {4,}", " ", ran.stderr).splitlines()
    assert len(lines) < len(ran.stderr.splitlines()), "and goes on further in"
    assert lines[0] == "configuration: 5 problems"
    places = ["margod.yaml:1", "margod.yaml:1", "conf.d/site.yaml:1", "conf.d/z.yaml:1"]
    assert [line.split(": ")[0] for line in lines[1:5]] == [f"  {tmp_path}/{place}" for place in places]
    assert lines[5] == "  MARGOD_WFM_URL: wfm.url: is http, which is not protected (begin it with https://)"
    assert "secret" not in ran.stderr


def test_check_missing(tmp_path: Path) -> None:
    """A file that is named and not there is 78, and says who named it."""
    ran = run("check", tmp_path / "margod.yaml")
    assert ran.returncode == 78
    assert "no such file or directory (named by the command line)" in words(ran.stderr)


def test_check_config_option(tmp_path: Path) -> None:
    """The file may be named as for `margod run`, too; not twice, and what is not known has this command's usage."""
    write(tmp_path, "wfm: {url: 'https://wfm.test'}")
    file = tmp_path / "margod.yaml"
    for action, said in (("check", "configuration: ok ("), ("show", "wfm:")):
        ran = run(action, "--config", file)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert said in ran.stdout
        for wrong in (("--config", file, file), ("--conf.d", file), (file, file)):
            ran = run(action, *wrong)
            assert (ran.returncode, ran.stdout) == (2, "")
            assert ran.stderr.startswith(f"usage: margod config {action} ")


def test_check_url_argument(tmp_path: Path) -> None:
    """--url is checked as `margod run --url` would."""
    write(tmp_path, "")
    ran = run("check", tmp_path / "margod.yaml", "--url", "https://h:99999")
    assert ran.returncode == 78
    assert "--url: wfm.url: has a port that is not a number from 1 to 65535" in words(ran.stderr)


def test_show(tmp_path: Path) -> None:
    """Every effective value with its place, as YAML; variables and arguments are named."""
    write(tmp_path, "log:\n  level: debug\n")
    ran = run("show", MARGOD_CONFIG=str(tmp_path / "margod.yaml"), MARGOD_WFM_URL="https://H/", STATE_DIRECTORY="/s")
    assert (ran.returncode, ran.stderr) == (0, "")
    shown = yaml.safe_load(ran.stdout)
    polling = shown["schedule"].pop("polling")
    shown["schedule.polling"] = polling
    shown["desired_state.git"] = shown["desired_state"].pop("git")
    assert {f"{section}.{name}" for section, of in shown.items() for name in of} == set(SETTINGS)
    origins = {line.split("#")[0].strip(): line.split("# ")[1] for line in ran.stdout.splitlines() if "# " in line}
    assert origins['url: "https://h"'] == "MARGOD_WFM_URL"
    assert origins["level: debug"] == f"{tmp_path}/margod.yaml:2"
    assert origins['directory: "/s"'] == "STATE_DIRECTORY"
    assert origins["timeout: 30s"] == "default"


def test_show_bad(tmp_path: Path) -> None:
    """A broken configuration has no effective values: the problems and 78."""
    write(tmp_path, "x: 1")
    ran = run("show", tmp_path / "margod.yaml")
    assert (ran.returncode, ran.stdout) == (78, "")
    assert "configuration: 1 problem\n" in ran.stderr


def test_show_on_a_terminal_without_utf8(tmp_path: Path) -> None:
    """What the terminal cannot show is escaped in YAML's own way instead of ending in a traceback."""
    write(tmp_path, 'device: {vendor: "Süd 😀"}')
    ran = run("show", tmp_path / "margod.yaml", PYTHONIOENCODING="ascii")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert 'vendor: "S\\xfcd \\U0001f600"' in ran.stdout
    assert yaml.safe_load(ran.stdout)["device"]["vendor"] == "Süd 😀"


def test_schema() -> None:
    """The schema is printed as JSON, whatever the configuration is like."""
    ran = run("schema", MARGOD_CONFIG="/nonexistent/margod.yaml")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == json_schema()


def test_usage() -> None:
    """Without an action it is a usage error; 2."""
    ran = run()
    assert ran.returncode == 2
    assert "check|show|schema" in ran.stderr
