"""Which proxy is used with which credentials, out of configuration, environment and file."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from margod.config import Config
from margod.config.settings_wfm import Wfm
from margod.model.errors import MargodError
from margod.shell.proxy import choose

URL = "https://wfm.example"
ENV = {"HTTPS_PROXY": "http://me:s3cret@env.example:1"}


def basic(text: str) -> str:
    """The header for user:password."""
    return "Basic " + base64.b64encode(text.encode()).decode()


def chosen(env: dict[str, str], *, discovered: bool = False, **wfm: Any) -> tuple[str, str] | None:
    """Return address and header."""
    proxy = choose(Config(wfm=Wfm(**wfm)), env, URL, discovered=discovered)
    return None if proxy is None else (proxy.address, proxy.authorization)


def test_precedence(tmp_path: Path) -> None:
    """wfm.proxy counts before the environment, `none` before both, the file before a URL's credentials."""
    file = tmp_path / "c"
    file.write_text("you:other\r\n")
    given = "http://yaml.example:3128"
    assert chosen({}) is None
    assert chosen(ENV) == ("http://env.example:1", basic("me:s3cret"))
    assert chosen(ENV, proxy_credentials_file=file) == ("http://env.example:1", basic("you:other"))
    assert chosen(ENV, proxy=given) == (given, "")
    assert chosen({"NO_PROXY": "*"}, proxy=given) == (given, "")
    assert chosen({}, proxy=given, proxy_credentials_file=file) == (given, basic("you:other"))
    assert chosen(ENV, proxy="none", proxy_credentials_file=file) is None
    assert chosen(ENV, proxy=given, discovered=True) is None


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"s3cret", b":s3cret", b"me:s3cret\nmore", b"me:s3\x00", b"me:" + b"x" * 2000]
)
def test_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    """Anything but one line of user:password is refused, without showing it."""
    file = tmp_path / "c"
    file.write_bytes(content)
    with pytest.raises(MargodError) as caught:
        chosen({}, proxy="http://p:1", proxy_credentials_file=file)
    assert caught.value.code == "proxy-credentials-unreadable"
    assert str(file) in caught.value.message
    assert "s3" not in caught.value.diagnostics().replace(str(file), "")


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a directory and a FIFO end at once; a link is followed."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "c").write_text("me:pw:with:colons")
    (tmp_path / "link").symlink_to(tmp_path / "c")
    for name in ("missing", ".", "fifo"):
        with pytest.raises(MargodError):
            chosen({}, proxy="http://p:1", proxy_credentials_file=tmp_path / name)
    assert chosen({}, proxy="http://p:1", proxy_credentials_file=tmp_path / "link") == (
        "http://p:1",
        basic("me:pw:with:colons"),
    )


def test_a_link_of_another_user_is_no_way_to_the_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can replace the file could have any secret that margod may read sent to the proxy."""
    (tmp_path / "secret").write_text("of:something-else")
    link = tmp_path.resolve() / "link"
    link.symlink_to(tmp_path / "secret")
    mine, other = os.geteuid(), 4242
    if mine == 0:
        os.chown(link, other, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(MargodError) as caught:
        chosen({}, proxy="http://p:1", proxy_credentials_file=link)
    assert caught.value.code == "proxy-credentials-unreadable"
    for said in (str(link), "wfm.proxy_credentials_file", "symbolic link of another user"):
        assert said in caught.value.message
    assert "A symbolic link has to be root's or that user's" in (caught.value.hint or "")
    settings = Config(wfm=Wfm(proxy="http://p:1", proxy_credentials_file=link))
    proxy = choose(settings, {}, URL, user=os.lstat(link).st_uid)
    assert proxy is not None, "a check by root follows what the daemon's user does"
    assert proxy.authorization == basic("of:something-else")
