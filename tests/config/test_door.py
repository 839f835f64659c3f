"""The door's rules in the YAML: how what is no method is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.support import problems, write


@pytest.mark.parametrize(
    ("rule", "hint"),
    [("FETCH /x", "HEAD and OPTIONS are not forwarded"), ("get /x", "write GET"), ("HEAD /x", "HEAD and OPTIONS")],
)
def test_no_method(tmp_path: Path, rule: str, hint: str) -> None:
    """What is no method is named, with all that there are."""
    (said,) = problems(write(tmp_path, f"door: {{allow: '{rule}'}}"))
    method = rule.partition(" ")[0]
    assert f"{method} is no method that can be opened; they are GET, POST, PUT, PATCH and DELETE ({hint}" in said
