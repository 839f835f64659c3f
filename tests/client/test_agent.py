"""What both clients of an agent have in common, against the real server."""

from __future__ import annotations

from typing import Any

import pytest

from margod.client.agent import is_news

STATE: dict[str, object] = {"manifest_version": 1, "commit": "a" * 40, "fetched_at": "2026-11-21T18:00:00Z"}
WANTED: Any = {"manifestVersion": 1, "commit": "a" * 40, "fetched_at": "2026-11-21T18:00:00Z"}


@pytest.mark.parametrize(
    ("after", "changes", "expected"),
    [
        (None, {}, True),
        (1, {}, False),
        (0, {}, True),
        (1, {"commit": "b" * 40}, False),
        (WANTED, {}, False),
        (WANTED, {"adopted": 1, "checked_at": "2026-11-21T18:09:00Z"}, False),
        (WANTED, {"manifest_version": 2}, True),
        (WANTED, {"commit": "b" * 40}, True),
        (WANTED, {"fetched_at": "2026-11-21T18:09:00Z"}, True),
        (WANTED, {"commit": "b" * 40, "complete": False}, False),
        (WANTED, {"manifest_version": None, "commit": None, "fetched_at": None}, False),
    ],
)
def test_another_desired_state_of_the_same_number(after: Any, changes: dict[str, object], expected: bool) -> None:
    """By the document that was worked by it is news, whatever its number is; by the number alone it is not."""
    status = {"desired_state": {**STATE, "complete": True, **changes}}
    assert is_news(status, after) is expected
