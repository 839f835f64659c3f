"""What the store's tests share."""

from __future__ import annotations

from pathlib import Path


def names(directory: Path) -> list[str]:
    """Return the names in `directory`, in order."""
    return sorted(path.name for path in directory.iterdir())
