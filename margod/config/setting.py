"""One setting, or one section of them: an attrs field, and in its metadata what is to be known of it."""

from __future__ import annotations

from typing import Any

import attrs

from margod.config.values import Kind


@attrs.frozen(kw_only=True)
class Setting:
    """What is to be known of one setting. `default` is the value itself, None where there is none."""

    section: str
    """Its section, with the one around it if there is one: `schedule.polling`."""
    name: str
    kind: Kind
    default: Any
    doc: str
    example: str | int | bool | None
    """What the sample shows where there is no default."""
    environment: str | None
    """A variable that overrides the files."""
    argument: str | None
    """A command-line argument that overrides the files and the variable."""
    default_from: str | None
    """A variable, set by systemd, that takes the place of the default; of several paths the first counts."""

    @property
    def key(self) -> str:
        """The name with its section: `wfm.url`."""
        return f"{self.section}.{self.name}"


def section(of: type) -> Any:
    """Return the field of a section whose settings are the fields of `of`."""
    return attrs.field(factory=of, metadata={"class": of})


def setting(
    kind: Kind,
    default: Any,
    doc: str,
    *,
    example: str | int | bool | None = None,
    environment: str | None = None,
    argument: str | None = None,
    default_from: str | None = None,
) -> Any:
    """Return the field of a setting."""
    about = {
        "kind": kind,
        "doc": doc,
        "example": example,
        "environment": environment,
        "argument": argument,
        "default_from": default_from,
    }
    return attrs.field(default=default, metadata=about)
