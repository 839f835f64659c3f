"""`margod devwfm`: runs a development WFM, and tells a running one what to do."""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from margod.cli.parts import require_devwfm

_CODES = "Exit codes: 0 done, or stopped by a signal; 1 it cannot be done, or no development WFM runs there; 2 usage."


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `devwfm` and its own commands to the command line."""
    parser = subparsers.add_parser(
        "devwfm", help="a development WFM that really verifies (not for production)", epilog=_CODES
    )
    parser.set_defaults(run=_serve, directory=_default_directory())
    _add_serve_arguments(parser)
    commands = parser.add_subparsers(title="commands (default: serve)", metavar="COMMAND")
    serve = _command(commands, "serve", _serve, "run it in the foreground")
    _add_serve_arguments(serve)
    _command(commands, "list", _list, "list the devices that asked").add_argument("--json", action="store_true")
    for name, says in (("approve", "let a device in"), ("reject", "refuse or revoke it"), ("forget", "forget it")):
        command = _command(commands, name, _act, says)
        command.set_defaults(act=name)
        command.add_argument("id", help="request number, beginning of the fingerprint, or client id")
    upload = _command(commands, "upload", _upload, "approve a certificate before the device asks")
    upload.add_argument("certificate", type=Path, help="file of PEM, DER or base64 of either, - for standard input")
    statuses = _command(commands, "statuses", _statuses, "what devices report of their deployments, and in which order")
    statuses.add_argument("--json", action="store_true", help="with the whole reports, for a program")
    stats = _command(commands, "stats", _stats, "requests, connections and handshakes")
    stats.add_argument("--reset", action="store_true", help="begin again at zero")
    rotate = _command(commands, "rotate", _rotate, "offer or present another CA, or the first one again")
    rotate.add_argument(
        "act",
        choices=("offer", "present", "swap", "back"),
        metavar="{offer,present,swap,back}",
        help="offer it beside the first; present a chain under it; swap: both at once, the first is gone; back",
    )
    deploy = _command(commands, "deploy", _deploy, "want a deployment on every device")
    deploy.add_argument("file", type=Path, help="its YAML, - for standard input")
    deploy.add_argument("--id", metavar="ID", help="its id (default: the file's name without its ending)")
    _command(commands, "remove", _remove, "want a deployment no more").add_argument("id", help="its id")
    _command(commands, "deployments", _deployments, "list what is wanted").add_argument("--json", action="store_true")
    spoil = _command(commands, "spoil", _spoil, "make something wrong with the desired state on purpose")
    says = "what, in place of what was before; list: show what there is; nothing: all is well again"
    spoil.add_argument("names", nargs="*", metavar="NAME", help=says)
    tokens = _command(commands, "tokens", _tokens, "end tokens, or rewrite the repository (--protocol token)")
    tokens.add_argument(
        "act",
        choices=("revoke", "rotate", "rewind"),
        metavar="{revoke,rotate,rewind}",
        help="revoke: the bearer tokens end; rotate: the Git tokens; rewind: the branch gets a history of its own",
    )
    _add_fault_arguments(_command(commands, "fault", _fault, "break something on purpose"))


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: object, says: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=says, description=says, epilog=_CODES)
    command.set_defaults(run=run)
    if name != "serve":
        _add_directory(command)
    return command


def _add_directory(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: what is not given here leaves what stands before the command, or the default, in place.
    parser.add_argument("--directory", type=Path, default=argparse.SUPPRESS, help="where it keeps its CA and clients")


def _add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    _add_directory(parser)
    hidden: Any = argparse.SUPPRESS
    add = parser.add_argument
    add("--listen", default=hidden, type=_listen, metavar="HOST:PORT", help="127.0.0.1:0: the system chooses the port")
    add("--prefix", default=hidden, type=_prefix, metavar="PATH", help="path before every route, as /v1alpha2/margo")
    add(
        "--host",
        default=hidden,
        action="append",
        type=_host,
        metavar="NAME",
        help="another name for the certificate and the URL",
    )
    add("--approval", default=hidden, choices=("auto", "manual", "deny"), help="what happens to an unknown device")
    add("--pending", default=hidden, type=int, choices=(202, 403), help="answer while a person has not approved")
    add("--retry-after", default=hidden, type=int, metavar="SECONDS", help="Retry-After beside 202")
    add("--like", default=hidden, choices=("spec", "sandbox-2025", "sandbox-2026"), help="deviate as real servers do")
    add("--protocol", default=hidden, choices=("signed", "token"), help="the generation it speaks (default signed)")
    add("--token-lifetime", default=hidden, type=_seconds, metavar="SECONDS", help="token: of a bearer token (3600)")
    add("--git-lifetime", default=hidden, type=_seconds, metavar="SECONDS", help="token: of a Git token (3600)")
    add("--git-later", default=hidden, action="store_true", help="token: the onboarding names no repository")
    add(
        "--announce",
        default=hidden,
        nargs="?",
        const="margod development WFM",
        type=_instance,
        metavar="NAME",
        help="announce it on the network by multicast DNS; give --listen an address that others reach",
    )
    add("--quiet", default=hidden, action="store_true", help="no line on standard error for each request")
    add("--ready-fd", default=hidden, type=int, metavar="N", help="write the ready line to this descriptor too")


def _add_fault_arguments(parser: argparse.ArgumentParser) -> None:
    actions = (
        *("answer", "hang", "cut", "garbage", "endless", "slow", "redirect"),
        *("certificate", "tls12", "silent", "plain", "reset", "list", "clear"),
    )
    hidden: Any = argparse.SUPPRESS
    add = parser.add_argument
    add("action", choices=actions, metavar="ACTION", help=", ".join(actions))
    desired = ("deployments", "deployment", "bundle", "status")
    of_token = ("token", "git-access", "repository")
    routes = ("all", "certificate", "onboarding", "capabilities", *desired, *of_token, "other")
    add("--route", default=hidden, choices=routes)
    add("--deployment", default=hidden, metavar="ID", help="with --route status: only reports of this deployment")
    add("--times", default=hidden, type=int, help="how often (default 1); 0: until cleared")
    add("--when", default=hidden, choices=("before", "after"), help="before or after the request was acted on")
    add("--status", default=hidden, type=int, help="answer: the status (default 503)")
    add("--header", default=hidden, action="append", metavar="NAME: VALUE", dest="headers", type=_header)
    add("--body", default=hidden, help="answer, garbage: what is sent")
    add("--location", default=hidden, help="redirect: where to (default: to itself)")
    kinds = ("expired", "not-yet-valid", "wrong-host", "self-signed", "other-ca")
    add("--kind", default=hidden, choices=kinds, help="certificate: what is wrong with it")
    add("--seconds", default=hidden, type=float, help="slow: seconds between two bytes (default 1)")


def _serve(args: argparse.Namespace) -> int:
    require_devwfm()
    import asyncio

    from margod.devwfm.problems import DevWfmError
    from margod.devwfm.server import Settings, serve
    from margod.devwfm.token_routes import Lifetimes

    given = vars(args)
    names = ("listen", "prefix", "approval", "pending", "retry_after", "like", "quiet", "announce", "protocol")
    chosen = {name: given[name] for name in names if name in given}
    told = {"bearer": "token_lifetime", "git": "git_lifetime", "git_later": "git_later"}
    lifetimes = Lifetimes(**{name: given[option] for name, option in told.items() if option in given})
    hosts = tuple(given.get("host", ()))
    settings = Settings(directory=args.directory.absolute(), hosts=hosts, lifetimes=lifetimes, **chosen)
    try:
        asyncio.run(serve(settings, ready_fd=given.get("ready_fd")))
    except DevWfmError as error:
        return _failed(error)
    return 0


def _list(args: argparse.Namespace) -> int:
    answer = _call(args, "GET", "/v1/clients")
    if answer is None:
        return 1
    clients = answer["clients"]
    if args.json:
        print(json.dumps(clients, indent=2))
    elif not clients:
        print("No device has asked yet.")
    else:
        print(f"{'No':>3}  {'Fingerprint':16}  {'State':9}  Subject and client id")
    for client in [] if args.json else clients:
        print(
            f"{client['number']:>3}  {client['fingerprint'][:16]}  {client['state']:9}  {_cut(client['subject'], 44)}"
        )
        if client["client_id"]:
            print(f"{'':34}{_cut(client['client_id'], 44)}")
    return 0


def _act(args: argparse.Namespace) -> int:
    return _show_client(_call(args, "POST", f"/v1/clients/{quote(args.id, safe='')}/{args.act}"), args.act)


def _upload(args: argparse.Namespace) -> int:
    try:
        with sys.stdin.buffer if str(args.certificate) == "-" else args.certificate.open("rb") as stream:
            data = stream.read(65_537)
    except OSError as error:
        return _failed(f"{args.certificate}: {error.strerror}")
    if len(data) > 65_536:
        return _failed(f"{args.certificate}: more than 64 KiB is not a certificate")
    return _show_client(_call(args, "POST", "/v1/upload", _unwrapped(data)), "upload")


def _unwrapped(data: bytes) -> bytes:
    """Return what `margod identity export --format base64` wraps; anything else as it is."""
    try:
        return base64.b64decode(b"".join(data.split()), validate=True) or data
    except ValueError:  # PEM has dashes, DER bytes beyond ASCII
        return data


def _stats(args: argparse.Namespace) -> int:
    answer = _call(args, *(("POST", "/v1/stats/reset") if args.reset else ("GET", "/v1/stats")))
    if answer is not None:
        print(json.dumps(answer, indent=2))
    return 0 if answer is not None else 1


def _statuses(args: argparse.Namespace) -> int:
    answer = _call(args, "GET", "/v1/statuses")
    if answer is None:
        return 1
    statuses = answer["statuses"]
    if args.json:
        print(json.dumps(statuses, indent=2))
        return 0
    if not statuses:
        print("No deployment was reported yet.")
    words = {"again": "sent again", "back": "WENT BACK: an update, or out of order"}
    for status in statuses:
        line = f"{status['number']:>5}  {_cut(status['deployment_id'], 36):36}  {status['state']:10}"
        print(f"{line}  {words.get(status['came'], '')}".rstrip())
    return 0


def _rotate(args: argparse.Namespace) -> int:
    answer = _call(args, "POST", f"/v1/ca/{args.act}")
    if answer is None:
        return 1
    print(f"presented  {answer['presented']}")
    for file in answer["offered"]:
        print(f"offered    {file}")
    return 0


def _tokens(args: argparse.Namespace) -> int:
    answer = _call(args, "POST", f"/v1/tokens/{args.act}")
    if answer is None:
        return 1
    if "commit" in answer:
        print(f"The branch has another history now, at commit {answer['commit']}.")
    else:
        kind, count = "bearer" if args.act == "revoke" else "Git", answer["ended"]
        print(f"{count} {kind} token{'' if count == 1 else 's'} ended.")
    return 0


def _fault(args: argparse.Namespace) -> int:
    if args.action in {"list", "clear"}:
        answer = _call(args, "GET" if args.action == "list" else "DELETE", "/v1/faults")
    else:
        names = ("route", "times", "when", "status", "headers", "body", "location", "kind", "seconds", "deployment")
        fault = {name: getattr(args, name) for name in names if hasattr(args, name)}
        answer = _call(args, "POST", "/v1/faults", {"action": args.action, **fault})
    if answer is None:
        return 1
    for fault in answer["faults"]:
        left = fault["left"] or "until cleared"
        about = f" of {fault['deployment']}" if fault["deployment"] else ""
        print(f"{fault['action']} on {fault['route']}{about}, {fault['when']}, left: {left}")
    return 0


def _deploy(args: argparse.Namespace) -> int:
    try:
        with sys.stdin.buffer if str(args.file) == "-" else args.file.open("rb") as stream:
            data = stream.read((1 << 20) + 1)
    except OSError as error:
        return _failed(f"{args.file}: {error.strerror}")
    name = args.id or ("" if str(args.file) == "-" else args.file.stem)
    if not name:
        return _failed("give --id with what comes from standard input")
    return _show_desired(_call(args, "PUT", f"/v1/deployments/{quote(name, safe='')}", data))


def _remove(args: argparse.Namespace) -> int:
    return _show_desired(_call(args, "DELETE", f"/v1/deployments/{quote(args.id, safe='')}"))


def _deployments(args: argparse.Namespace) -> int:
    answer = _call(args, "GET", "/v1/deployments")
    if answer is not None and args.json:
        print(json.dumps(answer, indent=2))
        return 0
    return _show_desired(answer)


def _show_desired(answer: Any) -> int:
    if answer is None:
        return 1
    print(f"manifest version {answer['version']}, deployments: {len(answer['deployments']) or 'none'}")
    for each in answer["deployments"]:
        print(f"  {_cut(each['id'], 40):40}  {each['digest'][:19]}  {each['bytes']} bytes")
    return 0


def _spoil(args: argparse.Namespace) -> int:
    if args.names == ["list"]:
        require_devwfm()
        from margod.devwfm.desired import SPOILS

        for name, says in SPOILS.items():
            print(f"{name:16} {says}")
        print("All of the generation signed: with --protocol token there is no manifest, and nothing is spoilt.")
        return 0
    answer = _call(args, "PUT", "/v1/spoils", args.names)
    if answer is not None:
        print(f"spoilt: {', '.join(answer['spoils']) or 'nothing'}")
    return 0 if answer is not None else 1


def _call(args: argparse.Namespace, method: str, path: str, payload: object = None) -> Any:
    require_devwfm()
    from margod.devwfm.control import call
    from margod.devwfm.problems import DevWfmError

    try:
        return call(args.directory, method, path, payload)
    except DevWfmError as error:
        _failed(error)
        return None


def _show_client(client: Any, act: str) -> int:
    if client is None:
        return 1
    state = "forgotten" if act == "forget" else client["state"]
    print(f"{client['number']}  {client['fingerprint'][:16]}  {state}")
    return 0


def _failed(error: object) -> int:
    print(f"margod devwfm: {error}", file=sys.stderr)
    return 1


def _cut(text: str, width: int) -> str:
    from margod.model.text import clean

    return clean(text, width)


def _default_directory() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "margod-devwfm"


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 on")
    return int(text)


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host name or an address")
    return text


def _instance(text: str) -> str:
    if not text.isprintable() or not 1 <= len(text.encode()) <= 63 or text != text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of at most 63 bytes")
    return text


def _prefix(text: str) -> str:
    path = text.rstrip("/")
    if path and (not path.startswith("/") or not path.isascii() or any(c in path for c in "?# \\%")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path that begins with a slash")
    return path


def _header(text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME: VALUE")
    return [name.strip(), value.strip()]
