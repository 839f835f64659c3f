"""The routes that the door opens beside its own, as people write them; `model/door.py` has the rules."""

from __future__ import annotations

from typing import Final

import attrs

from margod.config.refusal import Refusal
from margod.config.setting import setting as _setting
from margod.config.values import Kind, Raw, refuse_type
from margod.model.door import METHODS, Rule, read_rule
from margod.model.text import clean

MOST: Final = 64
"""Rules in the list."""

_EXPECTED: Final = "METHOD /route, METHOD /route for USER ..., or a list of these"
_NAMES: Final = "GET, POST, PUT, PATCH and DELETE"
_SCHEMA: Final = {"type": "string", "pattern": "^(GET|POST|PUT|PATCH|DELETE) /[!-~]+( for [!-~]+( [!-~]+)*)?$"}


def _read(raw: Raw) -> tuple[Rule, ...]:
    if raw.type not in ("text", "list") or not raw.text:
        raise refuse_type(raw, _EXPECTED, "quote each item of a list" if raw.type == "list" else "")
    rules = tuple(dict.fromkeys(_one(text.strip()) for text in raw.text.split(",")))
    if len(rules) > MOST:
        raise Refusal(f"has more than {MOST} routes")
    return rules


def _one(text: str) -> Rule:
    method, _, route = text.partition(" ")
    if route.startswith("/") and method not in METHODS.split("|"):
        hint = (
            f"write {method.upper()}" if method.upper() in METHODS.split("|") else "HEAD and OPTIONS are not forwarded"
        )
        raise Refusal(
            f"{clean(text, 90)!r}: {clean(method, 30)} is no method that can be opened; they are {_NAMES}", hint
        )
    try:
        return read_rule(text)
    except ValueError as error:
        raise Refusal(f"{clean(text, 90)!r}: {error}", "docs/agent.md has examples") from None


def _write(rules: tuple[Rule, ...]) -> str | list[str]:
    return str(rules[0]) if len(rules) == 1 else [str(rule) for rule in rules]


RULES: Final = Kind(
    _EXPECTED,
    {"anyOf": [_SCHEMA, {"type": "array", "items": _SCHEMA, "minItems": 1, "maxItems": MOST}]},
    _read,
    _write,
)
"""One route or a list; the value is a tuple of rules."""


@attrs.frozen(kw_only=True)
class DoorSettings:
    """What other programs on the device may ask the WFM through margod."""

    allow: tuple[Rule, ...] | None = _setting(
        RULES,
        None,
        "More routes of the WFM's device API that programs of the group margod-agent may use in the device's name, for "
        "everybody or for some users only: one, or a list. Onboarding, status and capabilities stay margod's own. "
        "Deployments and bundles may be read anyway, except with wfm.protocol: token, where they are in Git.",
        example="POST /api/v1/clients/{clientId}/logs for collector",
    )
