"""The file of a Git token: whose links lead to it, and when it is another one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from margod.shell.gitplace import TokenFile


def test_a_link_of_another_user_is_no_way_to_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can replace the file could have any secret that margod may read sent to the Git server."""
    (tmp_path / "secret").write_text("of-something-else")
    link = tmp_path.resolve() / "token"
    link.symlink_to(tmp_path / "secret")
    file = TokenFile()
    assert file.read(link) == "of-something-else"
    if os.geteuid() == 0:
        os.chown(link, 4242, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with capture_logs() as logs:
        assert file.read(link) == ""
    (entry,) = logs
    assert (entry["event"], entry["code"]) == ("git-token-file", "git-token-file-unusable")
    assert "symbolic link of another user" in entry["detail"]


def test_what_is_wrong_with_the_file_is_a_warning_until_it_is_right(tmp_path: Path) -> None:
    """Of the file that is named, whether a poll reads it or it is only seen to be another; the journal has it once."""
    path, file = tmp_path / "token", TokenFile()
    with capture_logs() as logs:
        assert file.warnings(path) == ()
        file.look(path)  # before the first poll
        file.read(path)
        (warned,) = file.warnings(path)
        assert (warned.reason.code, len(logs)) == ("git-token-file-unusable", 1)
        assert f"{path}: No such file or directory." in warned.message
        assert file.warnings(tmp_path / "other") == file.warnings(None) == ()
        path.write_text("two words")
        assert file.changed(path)
        (warned,) = file.warnings(path)
        assert "not one token" in warned.message
        path.write_text("token-of-another-length")
        assert file.changed(path)
        assert file.warnings(path) == ()


def test_another_token_is_told_once(tmp_path: Path) -> None:
    """However long no poll reads it, in a downtime or without polls; what was never read is no other one."""
    path, file = tmp_path / "token", TokenFile()
    path.write_text("token-1")
    assert [file.changed(path) for _ in range(2)] == [False, False]
    file.read(path)
    assert not file.changed(path)
    for number in (2, 3):
        path.write_text(f"token-{number}" * number)
        assert [file.changed(path) for _ in range(3)] == [True, False, False]
    file.read(path)
    path.unlink()
    assert [file.changed(path) for _ in range(2)] == [True, False]
    assert not file.changed(None)
