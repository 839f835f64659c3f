"""Lists in the settings: what they take in place of, beside or out of what is found, and paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.config import lists
from margod.config.refusal import Refusal
from margod.config.values import Raw
from margod.protocols.token import Origins, read_place
from tests.config.support import problems, write

WORDS = lists.amendments(("oci", "wasm"), details=2)


def listed(*items: str) -> Raw:
    """Return a list as the document gives it."""
    return Raw(",".join(items), "list", items)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (Raw("oci"), ("oci",)),
        (Raw("oci, wasm,oci"), ("oci", "wasm")),
        (listed("+oci:Example Works:M-1", "-wasm"), ("+oci:Example Works:M-1", "-wasm")),
        (Raw("none"), ("none",)),
    ],
)
def test_what_is_taken(raw: Raw, value: tuple[str, ...]) -> None:
    """As one text with commas or as a list; what is written is read again."""
    assert WORDS.read(raw) == value
    assert WORDS.read(Raw(str(WORDS.write(value)))) == value


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (Raw("docker"), "not 'docker'"),
        (Raw("+oci, wasm"), "at once"),
        (listed("none", "oci"), "says none and something else"),
        (Raw("oci:a:b:c"), "not 'oci:a:b:c'"),
        (listed("oci:a,b"), "a comma within an entry"),
        (Raw("oci: x"), "spaces at an end"),
        (Raw("", "list"), "a list"),
        (Raw("5", "integer"), "a number"),
        (Raw("oci,,wasm"), "expected"),
        (listed(*[f"oci:{at}" for at in range(lists.MOST + 1)]), f"at most {lists.MOST}"),
    ],
)
def test_what_is_refused(raw: Raw, says: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(Refusal) as caught:
        WORDS.read(raw)
    assert says in str(caught.value) + str(caught.value.hint)


def test_names_and_paths() -> None:
    """Names are of a fixed set; paths are absolute."""
    fields = lists.names("memory", "storage")
    assert fields.read(Raw("storage, memory")) == ("storage", "memory")
    with pytest.raises(Refusal):
        fields.read(Raw("serial_number"))
    paths = lists.paths()
    assert paths.read(listed("/a", "/b/c.json")) == (Path("/a"), Path("/b/c.json"))
    assert paths.read(Raw(str(paths.write((Path("/a"), Path("/b")))))) == (Path("/a"), Path("/b"))
    with pytest.raises(Refusal):
        paths.read(listed("/a", "b"))


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (Raw("login.example"), ("login.example",)),
        (Raw("Login.Example:443, git.example:8443"), ("login.example", "git.example:8443")),
        (listed("[2001:DB8::1]:8443", "192.0.2.7"), ("[2001:db8::1]:8443", "192.0.2.7")),
    ],
)
def test_hosts_in_their_normal_form(raw: Raw, value: tuple[str, ...]) -> None:
    """What is listed here is what a token endpoint's URL is compared with (protocols/token/origins.py)."""
    assert lists.authorities().read(raw) == value
    own = "https://wfm.example"
    for host in value:
        assert Origins.of(own, value).check(read_place(f"https://{host}/t")).authority == host


@pytest.mark.parametrize(
    "raw",
    [
        Raw("https://login.example"),
        Raw("login.example/oauth"),
        Raw("user@login.example"),
        Raw("login.example:0"),
        Raw("login.example:99999"),
        Raw("two words"),
        Raw("*.example"),
        Raw("[not-an-address]"),
        Raw("", "list"),
        Raw("5", "integer"),
        listed(*[f"h{at}.example" for at in range(lists.MOST + 1)]),
    ],
    ids=str,
)
def test_what_is_no_host(raw: Raw) -> None:
    """No URL, no user, no pattern: a secret goes to hosts that are written out."""
    with pytest.raises(Refusal):
        lists.authorities().read(raw)


@pytest.mark.parametrize(
    ("entry", "shown"),
    [("5", "5"), ("null", "null"), ("true", "true"), ("[a.test]", "a list"), ("{a: b}", "a mapping")],
)
def test_an_entry_that_is_no_text(tmp_path: Path, entry: str, shown: str) -> None:
    """It is named, and not the list that it stands in."""
    (said,) = problems(write(tmp_path, f"token: {{allowed_hosts: [git.test, {entry}]}}"))
    assert f"token.allowed_hosts: has an entry that is no text: {shown} (put each entry into quotes)" in said


def test_an_empty_text(tmp_path: Path) -> None:
    """It is empty, which nobody has to count."""
    (said,) = problems(write(tmp_path, 'desired_state: {git: {branch: ""}}'))
    assert "desired_state.git.branch: is empty; expected a branch name" in said
