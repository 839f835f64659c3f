"""What a kind raises for a value that it does not take."""

from __future__ import annotations

from margod.model.errors import SettingError


class Refusal(SettingError):
    """One value is not taken: `message` says what is wrong with it, `hint` how to write it (may be empty)."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Both are shown to a person: cleaned text, and never a password."""
        self.message = message
        self.hint = hint
        super().__init__(message)
