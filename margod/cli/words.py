"""A status document in words, for a person at a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import Final

from margod.client import DowntimeDocument, StatusDocument, exit_code
from margod.client.documents import DesiredStateDocument, ReportStateDocument
from margod.model.text import duration

WIDTH: Final = 80
_INDENT: Final = 13
_COLOURS: Final = {0: "32", 3: "36", 4: "33", 5: "31"}
_SIDES: Final = {"device": "this device", "network": "the network", "wfm": "the WFM"}

_DISCOVERING: Final = {
    "no-url": "when wfm.url is set (margod reload)",
    "several-wfms": "when one is chosen, or wfm.url is set (margod reload)",
}


def describe(status: StatusDocument, *, colour: bool, now: float | None = None) -> str:
    """Return the status in lines of at most 80 columns, ended by a newline.

    `now` (Unix seconds) adds how long ago and how soon; leave it out where the text stays on the screen and would age.
    """
    rows: list[tuple[str, str]] = [
        ("State", f"{status['state']} since {_time(status['since'], now)}"),
        ("What", status["message"]),
    ]
    if status["reason"] != status["state"]:
        rows.append(("Code", status["reason"]))
    if status["detail"]:  # the server's words begin with its HTTP status; everything else is our own
        said = status["detail"].partition(": ")[2] if status["detail"].startswith("HTTP ") else ""
        rows.append(("Said", f'"{said}"') if said else ("Detail", status["detail"]))
    if side := _SIDES.get(status["side"]):
        rows.append(("Whose side", side))
    rows.append(("Next", _next(status, now)))
    if status["hint"]:
        rows.append(("What to do", status["hint"]))
    error = status["last_error"]
    if error is not None and (error["code"], error["detail"]) != (status["reason"], status["detail"]):
        said = f' "{error["detail"]}"' if error["detail"] else ""
        rows.append(("Last error", f"{error['code']}, {_time(error['at'], now)}: {error['message']}{said}"))
        if error["hint"] and error["hint"] != status["hint"]:
            rows.append(("What helps", error["hint"]))
    rows += [
        ("Connection", f"{status['connection']} since {_time(status['connection_since'], now)}"),
        ("WFM", status["wfm"]["url"] or "none configured"),
        *([("Proxy", proxy)] if (proxy := status["wfm"].get("proxy")) else []),
        ("Clock", clock(status)),
        *_downtime(status),
        *_seen(status),
        *_anchors(status),
        ("Client id", status["client_id"] or "none yet"),
    ]
    if status["device_id"] and status["device_id"] != status["client_id"]:
        rows.append(("Device id", status["device_id"]))
    identity = status["identity"]
    rows.append(("Certificate", identity["fingerprint"] if identity else "none yet"))
    if identity:
        rows.append(("", f"{identity['subject']}, valid until {identity['not_after'][:10]}"))
    rows += _reported(status)
    rows += _rotation(status, now)
    rows += _desired(status, now)
    rows += _outbox(status, now)
    for warning, following in zip(status["warnings"], [*status["warnings"][1:], None], strict=False):
        rows.append(("Warning", f"{warning['code']}: {warning['message']}"))
        if warning["hint"] and not (following and following["hint"] == warning["hint"]):
            rows.append(("What helps", warning["hint"]))
    text = "\n".join(_row(label, words) for label, words in rows) + "\n"
    if not colour:
        return text
    code = _COLOURS[exit_code(status["state"], status["reason"])]
    return text.replace(status["state"], f"\x1b[1;{code}m{status['state']}\x1b[0m", 1)


def line(status: StatusDocument) -> str:
    """Return the status on one line, without the time at which it is printed."""
    parts = [status["state"], status["reason"], f"connection={status['connection']}", f"attempt={status['attempt']}"]
    if status["next_attempt_at"]:
        parts.append(f"next={status['next_attempt_at']}")
    parts += [f"warning={warning['code']}" for warning in status["warnings"]]
    return shown(" ".join(parts))


def clock(status: StatusDocument) -> str:
    """Return what the clock is worth, on one line."""
    found = status["clock"]
    kept = {True: "synchronised", False: "not synchronised", None: "perhaps synchronised"}[found["synchronised"]]
    words = ["plausible" if found["plausible"] else "cannot be right", kept]
    if found["source"] == "wfm":
        words.append("margod works with the WFM's time")
    offset = found["offset_seconds"]
    if offset is not None and abs(offset) > 5.0:
        side = "behind" if offset > 0 else "ahead of"
        used = ", whose time the signatures bear" if found["offset_used"] else ""
        words.append(f"{duration(abs(offset))} {side} the WFM's{used}")
    return ", ".join(words)


def downtime(found: DowntimeDocument) -> str:
    """Return whether it is downtime, until when and what ends it, on one line; "" if there is none and will be none."""
    if not found["active"]:
        return f"none; the next begins at {_time(found['next_at'], None)}" if found["next_at"] else ""
    until = _time(found["until"], None) if found["until"] else "further notice"
    by_hand = found["operator_until"] is not None
    return f"until {until}; " + ("`margod downtime stop` ends it" if by_hand else "schedule.downtime says so")


def waits(status: StatusDocument) -> list[str]:
    """Return why reports of deployments wait at the moment, and when they go out; nothing if they are on their way."""
    error, at = status["outbox"]["last_error"], status["outbox"]["next_attempt_at"]
    if status["downtime"]["active"]:
        return [f"They wait for the end of the downtime: {downtime(status['downtime'])}."]
    if status["state"] != "enrolled":
        return [f"They wait until this device is enrolled; it is {status['state']}: {status['message']}"]
    said = f' "{error["detail"]}"' if error and error["detail"] else ""
    found = [f"They wait because of {error['code']}: {error['message']}{said}"] if error else []
    return [*found, f"The next attempt is at {_time(at, None)}; `margod retry` tries now."] if at else found


def shown(text: str) -> str:
    """Return `text` with nothing in it that steers a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _next(status: StatusDocument, now: float | None) -> str:
    at = status["next_attempt_at"]
    if _is_silent(status) and status["state"] not in ("waiting-for-clock", "discovering"):
        until = status["downtime"]["until"]
        return f"after the downtime, from {_time(until, None)} on" if until else "after the downtime"
    if status["state"] == "enrolled" and at is None:
        return "nothing to be done"
    if status["state"] == "waiting-for-clock":
        return "when the clock is set; looked at every few seconds"
    if status["state"] == "discovering":
        return _DISCOVERING.get(status["reason"], "when a WFM is seen, or wfm.url is set (margod reload)")
    if at is None:
        return "waiting for an answer" if status["state"] != "starting" else "starting"
    which = f"attempt {status['attempt'] + 1}"
    if (seconds := _seconds(at)) is None or now is None:
        return f"{which} at {_time(at, None)}"
    if seconds <= now:
        return f"{which} now"
    return f"{which} in {duration(seconds - now)}, at {_time(at, None)}"


def _is_silent(status: StatusDocument) -> bool:
    found = status.get("downtime")  # an older daemon has none
    return bool(found) and found["active"]


def _downtime(status: StatusDocument) -> list[tuple[str, str]]:
    return [("Downtime", downtime(status["downtime"]))] if _is_silent(status) else []


def _seen(status: StatusDocument) -> list[tuple[str, str]]:
    if status["state"] != "discovering":
        return []
    found = [f"{one['instance']}  ({one['host']}:{one['port']}{one['path']})" for one in status["discovery"]["seen"]]
    return [("Seen" if not at else "", words) for at, words in enumerate(found)]


def _anchors(status: StatusDocument) -> list[tuple[str, str]]:
    trust = status["trust"]
    rows = []
    for anchor in trust["offered"]:
        rows.append(
            ("Offered CA", f"{anchor['subject']}, valid {anchor['not_before'][:10]} to {anchor['not_after'][:10]}")
        )
        rows.append(("", anchor["fingerprint"]))
    for root in trust["staged"]:
        left = f"for {duration(root['seconds_left'])} more" if root["seconds_left"] else "and presented"
        rows.append(("Staged CA", f"{root['subject']}, in use once it was offered {left} (margod trust show)"))
        rows.append(("", root["fingerprint"]))
    if presented := trust["presented"]:
        rows.append(("Presented", f"{presented['subject']}, issued by {presented['issuer']}, not trusted"))
        rows.append(("", presented["fingerprint"]))
    if not trust["anchors"]:
        return [("Root CA", "the system's CA store" if trust["source"] == "system" else "none yet"), *rows]
    for anchor in trust["anchors"]:
        rows.append(("Root CA", f"{anchor['subject']}, valid until {anchor['not_after'][:10]}"))
        rows.append(("", anchor["fingerprint"]))
    return rows


def _reported(status: StatusDocument) -> list[tuple[str, str]]:
    """Return what the WFM has of the capabilities where that is not simply all of one device."""
    found: ReportStateDocument | None = status.get("capabilities")  # an older daemon has none
    if not found or not status["client_id"]:
        return []
    behind = {0: "", 1: "; one device is behind this one"}.get(
        found["children"], f"; {found['children']} devices are behind this one"
    )
    if found["settling"]:
        words = "a change is to hold before it is reported (margod capabilities --diff)"
    elif found["accepted"]:
        words = "as the WFM has them" if behind else ""
    else:
        words = "not all are accepted yet (margod capabilities --diff)"
    return [("Reported", words + behind)] if words else []


def _rotation(status: StatusDocument, now: float | None) -> list[tuple[str, str]]:
    rotation = status.get("rotation")
    if not rotation:
        return []
    at = rotation["next_attempt_at"]
    said = f"{rotation['state']} ({rotation['reason']}): {rotation['message']} {rotation['detail']}".rstrip()
    return [
        ("Rotation", f"begun {_time(rotation['since'], now)}"),
        ("", rotation["fingerprint"] or "a candidate that cannot be read"),
        ("", said if at is None else f"{said} Next attempt at {_time(at, None)}."),
    ]


def _desired(status: StatusDocument, now: float | None) -> list[tuple[str, str]]:
    """Return what is mirrored of the desired state, and why something is not; nothing before there is anything."""
    desired: DesiredStateDocument | None = status.get("desired_state")  # an older daemon has none
    if desired is None or (desired["manifest_version"] is None and desired["next_poll_at"] is None):
        return []
    rows = [("Desired", "not known yet")]
    if desired["manifest_version"] is not None and desired["fetched_at"] is not None:
        adopted = desired["adopted"]
        by = "not adopted yet" if adopted is None else f"adopted is {adopted}"
        if adopted == desired["manifest_version"]:
            by = "adopted"
        count = desired["deployments"]
        many = f"{count} deployment{'' if count == 1 else 's'}"
        rows = [("Desired", f"version {desired['manifest_version']}, {many}, {by}")]
        if desired.get("commit"):  # an older daemon has none
            rows.append(("", f"commit {desired['commit']}"))
        rows.append(("", f"since {_time(desired['fetched_at'], now)}"))
        if not desired["complete"]:
            rows.append(("", "A copy is damaged and is fetched again at the next poll."))
    if desired["next_poll_at"] is not None:
        rows.append(("", f"asked for next at {_time(desired['next_poll_at'], None)}"))
    if (error := desired["error"]) is not None:
        said = f' "{error["detail"]}"' if error["detail"] else ""
        rows += [("Not taken", f"{error['code']}: {error['message']}{said}"), ("What helps", error["hint"])]
    return rows


def _outbox(status: StatusDocument, now: float | None) -> list[tuple[str, str]]:
    """Return what waits for the WFM, if anything does; what is parked is a warning of its own."""
    outbox = status["outbox"]
    count = outbox["waiting"] or 0
    if not count and not outbox["last_error"]:
        return []
    said = f"{count} report{'' if count == 1 else 's'} of deployments wait{'s' if count == 1 else ''}"
    if outbox["oldest"]:
        said += f", the oldest since {_time(outbox['oldest'], now)}"
    rows = [("Outbox", said)]
    if error := outbox["last_error"]:
        rows.append(("", f"{error['code']}: {error['message']} {error['detail']}".rstrip()))
    if at := outbox["next_attempt_at"]:
        rows.append(("", f"Next attempt at {_time(at, None)}."))
    return rows


def _row(label: str, words: str) -> str:
    lines = textwrap.wrap(shown(words), WIDTH - _INDENT, break_on_hyphens=False) or [""]
    return f"\n{'':{_INDENT}}".join([f"{label:{_INDENT}}{lines[0]}", *lines[1:]])


def _time(text: str, now: float | None) -> str:
    """Return `2026-11-21 18:00:00 UTC`, with `(3m ago)` when `now` is given."""
    seconds = _seconds(text)
    if seconds is None:
        return text
    words = f"{text[:10]} {text[11:19]} UTC"
    return words if now is None else f"{words} ({duration(now - seconds)} ago)"


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except ValueError:
        return None
