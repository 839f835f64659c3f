"""The file of a Git token: whose links lead to it."""

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
