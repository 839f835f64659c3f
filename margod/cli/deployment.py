"""`margod deployment`: report what became of a deployment, and look after reports that the WFM has not taken."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from margod.cli.options import add_socket_options, agent_client, client
from margod.cli.words import shown, waits
from margod.cli.wrapping import say, wrapped
from margod.client import RequestRefused
from margod.model.deployment import DeploymentState, overall

if TYPE_CHECKING:
    from margod.cli.options import Subparsers
    from margod.client import Client
    from margod.client.documents import ReportDocument

STATES: Final = ("pending", "installing", "installed", "failed", "removing", "removed")
FILE_LIMIT: Final = 256 << 10
"""Bytes of a report."""
_CODES: Final = "Exit codes: 0 done, 1 daemon not reachable or it refused, 2 usage."
_FORM: Final = """\
The file is the specification's deployment status as JSON:
  {"components": [{"name": "web", "state": "failed",
                   "error": {"code": "E1", "message": "no such image"}}]}
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its own."""
    parser = subparsers.add_parser(
        "deployment",
        help="report a deployment, see what the WFM has not been told yet",
        description="Report what became of a deployment, and look after the reports that the WFM has not taken.",
        epilog=_CODES,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    report = _command(commands, "report", _report, "report what became of a deployment", f"{_FORM}\n{_CODES}")
    report.formatter_class = argparse.RawDescriptionHelpFormatter
    report.add_argument("id", metavar="ID", help="the deployment's id, as the desired state has it")
    what = report.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", metavar="FILE", help="the report, - for standard input")
    what.add_argument("--state", choices=STATES, metavar="STATE", help=f"one of {', '.join(STATES)}")
    report.add_argument(
        "--component",
        action="append",
        default=[],
        type=_component,
        metavar="NAME=STATE",
        help="with --state: a component of it; may be repeated",
    )
    report.add_argument("--message", metavar="TEXT", help="with --state: what went wrong")
    listing = _command(commands, "list", _list, "list the reports that the WFM has not taken", _CODES)
    listing.add_argument("--json", action="store_true", help="print a list of objects")
    for name, run, says in (
        ("retry", _retry, "have parked reports sent again (root)"),
        ("drop", _drop, "remove a report, or all that are parked (root)"),
    ):
        which = _command(commands, name, run, says, _CODES).add_mutually_exclusive_group(required=True)
        which.add_argument("number", nargs="?", type=int, metavar="N", help="the number in `margod deployment list`")
        which.add_argument("--all", action="store_true", help="all that are parked")


def _command(commands: Subparsers, name: str, run: object, says: str, epilog: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.", epilog=epilog)
    add_socket_options(command)
    command.set_defaults(run=run)
    return command


def _component(text: str) -> tuple[str, str]:
    name, equals, state = text.rpartition("=")
    if not equals or not name or state not in STATES:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=STATE with one of {', '.join(STATES)}")
    return name, state


def _report(args: argparse.Namespace) -> int:
    if args.file is not None and (args.component or args.message):
        print("margod: --component and --message go with --state", file=sys.stderr)
        return 2
    body = _made(args) if args.file is None else _read(args.file)
    if body is None:
        return 1
    try:
        taken = agent_client(args).report(args.id, body)
    except RequestRefused as error:
        if args.file is not None or error.reason.code != "report-invalid":
            raise
        said = _in_options(error.message, args)
        raise RequestRefused(error.status, error.reason, said, "See `margod deployment report --help`.") from None
    notes = taken.get("notes", [])
    told = "; the WFM is told in its turn" if not notes else "; not all of it is told to the WFM"
    print(f"Taken as report {taken['number']}{told}.")
    for note in [*notes, *_contradicted(args)]:
        print(wrapped(shown(f"note: {note}"), 6))
    return 0


def _contradicted(args: argparse.Namespace) -> list[str]:
    """Return a sentence where the components make another state than the one that was given."""
    worst = overall([DeploymentState(state) for _, state in args.component])
    if worst is None or worst.value == args.state:
        return []
    named = ", ".join(f"{name}={state}" for name, state in args.component if state == worst.value)
    return [f"reported as {worst.value}, not {args.state}: the state follows from the components ({named})"]


def _in_options(message: str, args: argparse.Namespace) -> str:
    """Return the daemon's words about a body that was made here with the options instead of its fields."""

    def component(found: re.Match[str]) -> str:
        at = int(found[1])
        return f"--component {'='.join(args.component[at])}:" if at < len(args.component) else "--component:"

    for field, option in (("deploymentId", "ID"), ("status.error.message", "--message"), ("components", "--component")):
        message = message.replace(f"{field}:", f"{option}:")
    return re.sub(r"components\[(\d{1,6})\][a-z.]*:", component, message)


def _made(args: argparse.Namespace) -> bytes:
    status: dict[str, object] = {"state": args.state}
    if args.message:
        status["error"] = {"message": args.message}
    components = [{"name": name, "state": state} for name, state in args.component]
    return json.dumps({"deploymentId": args.id, "status": status, "components": components}).encode()


def _read(name: str) -> bytes | None:
    try:
        with sys.stdin.buffer if name == "-" else Path(name).open("rb") as stream:
            body = stream.read(FILE_LIMIT + 1)
    except OSError as error:
        print(f"margod: {shown(name)}: {error.strerror or error}", file=sys.stderr)
        return None
    if len(body) > FILE_LIMIT:
        print(f"margod: {shown(name)}: a report is at most {FILE_LIMIT} bytes long", file=sys.stderr)
        return None
    return body


def _list(args: argparse.Namespace) -> int:
    found = _all(agent_client(args))
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    if not found:
        print("The WFM has been told everything.")
        return 0
    print(f"{'No':>6}  {'Deployment':36}  {'State':10}  {'Reported'}")
    for report in found:
        at = f"{report['at'][:10]} {report['at'][11:19]}"
        print(f"{report['number']:>6}  {shown(report['deployment_id'])[:36]:36}  {report['state']:10}  {at}")
        if report["parked"]:
            said = f"parked, {report['parked']}: {report['detail']}".removesuffix(": ")
            overtaken = " (overtaken by a later report)" if report["overtaken"] else ""
            print(wrapped(f"        {shown(said)}{overtaken}", 0))
    if not all(report["parked"] for report in found):
        for line in waits(agent_client(args).status()):
            print(wrapped(shown(line)))
    return 0


def _all(daemon: Client) -> list[ReportDocument]:
    """Return every report, page by page."""
    found: list[ReportDocument] = []
    while page := daemon.reports(found[-1]["number"] if found else 0)["reports"]:
        found += page
    return found


def _retry(args: argparse.Namespace) -> int:
    say(shown(client(args, admin=True).retry_reports(None if args.all else args.number)["message"]))
    return 0


def _drop(args: argparse.Namespace) -> int:
    say(shown(client(args, admin=True).drop_reports(None if args.all else args.number)["message"]))
    return 0
