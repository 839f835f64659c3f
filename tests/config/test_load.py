"""Files, variables and arguments put together: who wins, where a value comes from, every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.config import Config, Sources, load
from margod.model.errors import ConfigError
from tests.config.support import problems, write

NOWHERE = Sources(Path("/nonexistent/margod.yaml"))


def test_defaults() -> None:
    """Without any file the settings are those of the contract."""
    loaded = load(NOWHERE, {}, {})
    assert loaded.config == Config()
    assert loaded.config.wfm.url is None
    assert loaded.config.wfm.timeout == 30.0
    assert loaded.config.identity.lifetime == 7300 * 86_400.0
    assert loaded.config.state.directory == Path("/var/lib/margod")
    assert (loaded.files, loaded.problems, loaded.is_last_good) == ((), (), False)
    assert str(loaded.origin("wfm.timeout")) == "default"


def test_later_wins_per_key(tmp_path: Path) -> None:
    """Drop-ins lie over the main file key by key, not section by section; origins name file and line."""
    sources = write(
        tmp_path,
        "wfm:\n  url: https://a\n  timeout: 10s\n",
        **{"10-site": "wfm:\n  timeout: 20s\n", "20-lab": "log:\n  level: debug\nwfm:\n  timeout: 40s\n"},
    )
    loaded = load(sources, {}, {})
    assert loaded.config.wfm.url == "https://a"
    assert loaded.config.wfm.timeout == 40.0
    assert str(loaded.origin("wfm.url")) == f"{tmp_path}/margod.yaml:2"
    assert str(loaded.origin("wfm.timeout")) == f"{tmp_path}/conf.d/20-lab.yaml:4"
    assert len(loaded.files) == 3


def test_null_takes_back(tmp_path: Path) -> None:
    """`null` in a drop-in takes back an optional setting; it is no value for one that has a default."""
    sources = write(tmp_path, "trust: {ca_file: /a}", site="trust: {ca_file: null}")
    assert load(sources, {}, {}).config.trust.ca_file is None
    write(tmp_path, "", site="trust:\n  ca_file:\n  system: ~\n")
    assert problems(sources) == [
        "conf.d/site.yaml:2: trust.ca_file: has no value (give it one, or comment the line out)",
        "conf.d/site.yaml:3: trust.system: expected true or false, not nothing "
        "(comment the line out to have the default)",
    ]


def test_url_precedence(tmp_path: Path) -> None:
    """--url before MARGOD_WFM_URL before the files; an empty variable is unset, an empty argument a mistake."""
    sources = write(tmp_path, "wfm: {url: https://file}")
    env = {"MARGOD_WFM_URL": "https://variable/"}
    assert str(load(sources, {"MARGOD_WFM_URL": ""}, {}).origin("wfm.url")) == f"{tmp_path}/margod.yaml:1"
    loaded = load(sources, env, {})
    assert (loaded.config.wfm.url, str(loaded.origin("wfm.url"))) == ("https://variable", "MARGOD_WFM_URL")
    loaded = load(sources, env, {"wfm.url": "https://argument"})
    assert (loaded.config.wfm.url, str(loaded.origin("wfm.url"))) == ("https://argument", "--url")
    assert problems(sources, env, wfm__url="") == [
        "--url: wfm.url: is empty (write it as https://wfm.example, or remove the line)"
    ]


def test_problems_name_variable_and_argument(tmp_path: Path) -> None:
    """What is wrong outside the files names its place, never the value (it may hold a password)."""
    found = problems(write(tmp_path, ""), {"MARGOD_WFM_URL": "https://u:secret@h"}, wfm__url="http://u:secret@h")
    assert [line.split(": ")[:2] for line in found] == [["MARGOD_WFM_URL", "wfm.url"], ["--url", "wfm.url"]]
    assert "secret" not in "".join(found)


def test_directories_of_systemd(tmp_path: Path) -> None:
    """STATE_DIRECTORY and RUNTIME_DIRECTORY replace the defaults, the first of several; a file still wins."""
    env = {"STATE_DIRECTORY": "/s/one:/s/two", "RUNTIME_DIRECTORY": "/r"}
    loaded = load(NOWHERE, env, {})
    assert loaded.config.state.directory == Path("/s/one")
    assert loaded.config.local.directory == Path("/r")
    assert str(loaded.origin("state.directory")) == "STATE_DIRECTORY"
    loaded = load(write(tmp_path, "state: {directory: /mine}"), env, {})
    assert loaded.config.state.directory == Path("/mine")
    assert problems(NOWHERE, {"STATE_DIRECTORY": "relative"})[0].startswith("STATE_DIRECTORY: state.directory: ")


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    """One run names everything: shape and values, by file and line, then variables, arguments and contradictions."""
    sources = write(
        tmp_path,
        "wfm:\n  url: http://a\n  timeout: -5s\n  colour: red\ntls:\n  minimum_version: 1.3\n  maximum_version: 1.2\n",
        a="- list\n",
        b="identity:\n\n  key_file: /k\n",
        c="device: {cores: many}\nlog: {level: loud}\n",
        d="wfm: [\n",
    )
    found = problems(sources, {"MARGOD_WFM_URL": "https://:99999"})
    assert [line.split(": ")[0] for line in found] == [
        "margod.yaml:2",
        "margod.yaml:3",
        "margod.yaml:4",
        "conf.d/a.yaml:1",
        "conf.d/c.yaml:1",
        "conf.d/c.yaml:2",
        "conf.d/d.yaml:2",
        "MARGOD_WFM_URL",
        "conf.d/b.yaml:3",
        "margod.yaml:6",
    ]


@pytest.mark.parametrize("wrong", ["key_file: /k", "certificate_file: /c"])
def test_key_and_certificate_belong_together(tmp_path: Path, wrong: str) -> None:
    """One without the other is a problem at the one that is there; in two files both is fine."""
    sources = write(tmp_path, f"identity:\n  {wrong}\n")
    found = problems(sources)
    assert len(found) == 1
    assert found[0].startswith(f"margod.yaml:2: identity.{wrong.partition(':')[0]}: is set and identity.")
    load(write(tmp_path, "identity: {key_file: /k}", site="identity: {certificate_file: /c}"), {}, {})


@pytest.mark.parametrize("rest", ["", "  ca_file: /ca.pem\n"])
def test_unseen_and_any_name_are_not_combined(tmp_path: Path, rest: str) -> None:
    """A root CA that nobody compared cannot be declared to vouch for WFMs only; with `ask` a person has compared."""
    both = f"trust:\n  first_use: accept\n  ca_is_wfm_only: true\n{rest}"
    assert problems(write(tmp_path, both)) == [
        "margod.yaml:3: trust.ca_is_wfm_only: is true while trust.first_use is accept: nobody vouches for what a root "
        "CA taken unseen vouches for (set trust.first_use to off and name the root CA in trust.ca_file)"
    ]
    assert load(write(tmp_path, both.replace("accept", "ask")), {}, {}).config.trust.ca_is_wfm_only


def test_tls_versions_in_order(tmp_path: Path) -> None:
    """A minimum above the maximum is a problem at whichever was set."""
    assert problems(write(tmp_path, "tls:\n  maximum_version: '1.2'\n  minimum_version: '1.3'\n")) == [
        "margod.yaml:3: tls.minimum_version: tls.minimum_version 1.3 is above tls.maximum_version 1.2 (swap them)"
    ]
    assert load(write(tmp_path, "tls: {maximum_version: 1.2}"), {}, {}).config.tls.maximum_version == "1.2"


def test_fingerprint(tmp_path: Path) -> None:
    """It changes exactly when an effective value does, not with comments, order or spelling."""
    first = load(write(tmp_path, "wfm: {timeout: 60s, url: https://a/}"), {}, {}).fingerprint
    again = load(
        write(tmp_path, "# x\nwfm:\n  url: https://A\n  timeout: 1m\nlog: {level: info}\n"), {}, {}
    ).fingerprint
    other = load(write(tmp_path, "wfm: {timeout: 61s, url: https://a/}"), {}, {}).fingerprint
    assert first == again
    assert first != other


def test_the_error_is_for_a_person(tmp_path: Path) -> None:
    """The message counts the problems and has one on each line; the code is 78's reason."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "wfm: {url: http://a, timeout: 5}"), {}, {})
    lines = caught.value.message.splitlines()
    assert lines[0] == "configuration: 2 problems"
    assert lines[1] == f"  {tmp_path}/margod.yaml:1: wfm.url: is http, which is not protected (begin it with https://)"
    assert len(lines) == 3


def test_a_secret_in_the_place_of_its_file_is_not_shown(tmp_path: Path) -> None:
    """What is written where the file that holds it belongs gets into no message, and so into no journal."""
    text = "wfm: {proxy_credentials_file: 'plant:s3cret'}\ndesired_state: {git: {token_file: ghp_s3cret}}"
    found = problems(write(tmp_path, text))
    assert len(found) == 2
    assert all("expected an absolute path (begin it with a slash)" in each for each in found), found
    assert "s3cret" not in str(found)
