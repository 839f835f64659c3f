"""`margod demo`: the whole onboarding on this machine, against the bundled development WFM."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from margod.cli.exits import FAILED, USAGE
from margod.cli.parts import require_devwfm

if TYPE_CHECKING:
    from margod.cli.options import Subparsers
    from margod.demo.screen import Screen
    from margod.demo.stage import Stage
    from margod.demo.story import Options


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo",
        help="show the whole onboarding against a development WFM",
        description="Start a development WFM and the daemon in a temporary directory on loopback, and show how the "
        "device is onboarded, approved, killed and started again. Nothing is left behind.",
        epilog="Exit codes: 0 all went as it must, 1 it did not, 130 Ctrl-C.",
    )
    parser.add_argument("--reject", action="store_true", help="show what happens to a device that is rejected")
    parser.add_argument(
        "--like",
        choices=("spec", "sandbox-2025", "sandbox-2026"),
        default="spec",
        help="let the WFM deviate as real servers do (default: spec)",
    )
    parser.add_argument(
        "--protocol",
        choices=("signed", "token"),
        default="signed",
        help="token: the first drafts' generation, with a client secret and the desired state in Git (default: signed)",
    )
    parser.add_argument("--approval", choices=("manual", "auto"), help="who approves: a person (default), or nobody")
    parser.add_argument("--agent", action="store_true", help="then show a program at work: wanted, installed, reported")
    parser.add_argument("--keep", action="store_true", help="keep the temporary directory and print its path")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the onboarding; 0 if every step went as it must, 1 if not, 128 + the signal's number if stopped."""
    if args.reject and args.like == "sandbox-2026":
        return _usage("--reject: a server like sandbox-2026 accepts every device, nobody can reject one")
    if args.reject and args.approval == "auto":
        return _usage("--reject and --approval auto contradict each other")

    if args.reject and args.agent:
        return _usage("--reject and --agent contradict each other: nothing runs on a device that was rejected")

    if args.protocol == "token" and (args.agent or args.like != "spec"):
        return _usage("--protocol token goes with neither --agent nor --like: both are of the generation `signed`")

    require_devwfm()
    from margod.demo.asking import someone_is_there
    from margod.demo.screen import Screen
    from margod.demo.stage import Stage
    from margod.demo.stopping import Signals, Stopped
    from margod.demo.story import Options

    began = time.monotonic()
    screen = Screen(sys.stdout, lambda: time.monotonic() - began)
    signals = Signals()
    stage = Stage(signals, keep=args.keep)
    options = Options(args.like, args.approval or "manual", args.reject, someone_is_there(), args.agent, args.protocol)
    last_word: str | None = None
    code = 0
    with signals.handled():
        try:
            last_word = _told(stage, screen, options)
        except Stopped as stopped:
            code = 128 + stopped.number
        except BrokenPipeError:
            raise
        except OSError as error:  # our own output cannot be written: everything else was met before
            print(f"margod demo: {error}", file=sys.stderr)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            left = stage.close()
    if code:
        screen.end("wait", f"Stopped. Everything the demo started has ended. {left}")
    elif last_word is None:
        code = FAILED
        screen.end("dim", f"Everything the demo started has ended. {left}")
    else:
        screen.end("good", last_word)
        screen.note(f"{time.monotonic() - began:.1f} s. Everything the demo started has ended. {left}")
        own = "--agent, --protocol token, --like sandbox-2025, " if args.protocol == "signed" else ""
        screen.note(f"Other ways: {own}--reject, --approval auto, --keep.")
    return code


def _told(stage: Stage, screen: Screen, options: Options) -> str | None:
    """Tell the story and return its last word; None, after the explanation, if it went wrong."""
    from margod.demo.stage import explained
    from margod.demo.story import Story

    screen.title(
        "margod demo",
        f"A device and a development WFM{_kind(options)}, as two real processes on this machine.",
    )
    try:
        stage.open()
        return Story(stage, screen, options).tell()
    except BrokenPipeError:
        raise
    except Exception as error:
        screen.failed(explained(error), stage.journals())
        return None


def _kind(options: Options) -> str:
    return "" if options.like == "spec" else f" that deviates like {options.like}"


def _usage(says: str) -> int:
    print(f"margod demo: {says}", file=sys.stderr)
    return USAGE
