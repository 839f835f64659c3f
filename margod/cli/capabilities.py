"""`margod capabilities`: what this device reports of itself, where each value comes from, and what has changed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from margod.cli.options import add_socket_options, client
from margod.cli.words import shown
from margod.cli.wrapping import wrapped

if TYPE_CHECKING:
    from margod.cli.options import Subparsers
    from margod.client.documents import CapabilitiesDocument, CapabilityDocument

DIFFERS: Final = 3
"""With --diff: the WFM has not all of it."""
INVALID: Final = 5
"""A manifest that somebody wrote cannot be reported: mend it here."""
_STATES: Final = {
    "accepted": "as the WFM has it",
    "new": "not reported yet",
    "changed": "changed since it was reported",
    "to-be-removed": "to be removed at the WFM",
    "kept": "as the WFM has it; its manifest cannot be used",
}
_NOTHING: Final = {
    "interfaces": "none",
    "peripherals": "none",
    "runtimes": "none, not reported",
    "deployment_types": "none, not reported",
    "otel_collector": "not reported",
}
"""What stands for an empty list: it is reported as such, or the specification wants one entry at least."""
_UNITS: Final = (("Gi", 2**30), ("Mi", 2**20))


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "capabilities",
        help="show what this device reports of itself, and why",
        description="Show what would be reported now, where each value comes from, and the devices behind this one.",
        epilog="Exit codes: 0 done (with --diff: the WFM has all of it), 1 daemon not reachable, 2 usage, 3 with "
        "--diff: something is not accepted yet, 5 a manifest cannot be used.",
    )
    parser.add_argument("--diff", action="store_true", help="show only what differs from what the WFM took last")
    parser.add_argument("--json", action="store_true", help="print the capabilities document (schema 1)")
    parser.add_argument(
        "--here",
        action="store_true",
        help="look as this user, by the configuration, without the daemon; what the WFM took is not known then",
    )
    add_socket_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the document in words, or as it is."""
    found = _here() if args.here else client(args).capabilities()
    changes = list(differences(found))
    if args.json:
        print(json.dumps({**found, "differences": changes} if args.diff else found, indent=2, ensure_ascii=False))
    elif args.diff:
        for change in changes:
            print(wrapped(shown(change)))
        if changes and not args.here:
            print(wrapped(_when(found)))
        elif not changes and not found["problems"]:
            print("The WFM has all of it as it is.")
    else:
        _show(found)
    for problem in found["problems"] if not args.json else ():
        _row("Problem", problem)
    if found["problems"]:
        return INVALID
    return DIFFERS if args.diff and changes else 0


def differences(found: CapabilitiesDocument) -> Iterator[str]:
    """Yield a line for each value that the WFM does not have as it is, `path: old -> new`, and for each device."""
    if found["manifest"] is not None:
        old, new = (dict(_leaves(found[which] or {}, "")) for which in ("accepted", "manifest"))
        for path in sorted(old.keys() | new.keys()):
            if old.get(path) != new.get(path):
                yield f"{path}: {old.get(path, 'nothing')} -> {new.get(path, 'nothing')}"
    for child in found["children"]:
        if child["state"] not in ("accepted", "kept"):
            yield f"{child['device_id']}: {_STATES[child['state']]}"


def _when(found: CapabilitiesDocument) -> str:
    """Return when what differs is reported."""
    if not found["settling"]:
        return "It is reported as soon as the WFM takes it: `margod status` shows what came of it."
    at = f"at {found['due_at']}" if found["due_at"] else "soon"
    return f"It is reported {at} if it holds until then (capabilities.settle); `margod reload` reports it now."


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and text of each value; a list is one value, as small as they are here."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, f"{path}.{name}" if path else str(name))
    else:
        yield path.removeprefix("properties."), json.dumps(value, ensure_ascii=False)


def _show(found: CapabilitiesDocument) -> None:
    if not found["values"] and found["manifest"] is not None:
        for path, text in _leaves(found["manifest"], ""):
            _row(path, f"{text:33} file", 52)
    before = ""
    for value in found["values"]:
        name = "" if value["name"] == before else value["name"]
        before = value["name"]
        by = f" ({', '.join(value['by'])})" if value["by"] else ""
        _row(name, f"{_text(value):33} {value['source']}{by}", 52)
    for child in found["children"]:
        _row("Behind it", f"{child['device_id']:33} {_STATES[child['state']]}", 52)
    for note in found["notes"]:
        _row("Not said", note)
    if found["settling"]:
        print(wrapped(f"A change is not reported yet. {_when(found)}"))


def _row(name: str, text: str, further: int = 18) -> None:
    """Print a row; what does not fit goes on in the column `further`."""
    line = shown(f"{name:18}{text}")
    print(wrapped(line, further - (len(line) - len(line.lstrip(" ")))))


def _text(found: CapabilityDocument) -> str:
    name: str = found["name"]
    value: Any = found["value"]
    if value is None and name in _NOTHING and found["source"] != "withheld":
        return _NOTHING[name]
    if value is None:
        return "the client id" if name == "device_id" else "-"
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values() if part)
    if name in ("memory", "storage"):
        unit, size = next((each for each in _UNITS if value >= each[1]), _UNITS[-1])
        return f"{value // size} {unit}"
    return str(value)


def _here() -> CapabilitiesDocument:
    import os  # heavy, as all that follows: not for those who ask the daemon
    from typing import cast

    from margod.config import Sources, load
    from margod.shell import described
    from margod.shell.device import device_of
    from margod.shell.ground import generation_of

    config = load(Sources.find(os.environ), os.environ, {}).config
    generation = generation_of(config)
    device = device_of(config, config.state.directory, generation)
    return cast("CapabilitiesDocument", described.document(device, generation, {}, None, settling=False))
