"""margod's man pages, from what the program says of itself: manpages.py FOLDER writes margod.8 and margod.yaml.5.

Commands and options come from the command line's own help, settings from the table of settings, so that neither page
can say something else than the program does.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from margod import RELEASED, __version__
from margod.cli import COMMANDS
from margod.config.render import scalar
from margod.config.setting import Setting
from margod.config.settings import SECTIONS, SETTINGS

_FILES: Final = (
    ("/etc/margod/margod.yaml", "the configuration: margod.yaml(5)"),
    ("/etc/margod/conf.d/*.yaml", "drop-ins, merged over it in the order of their names"),
    ("/var/lib/margod", "the device's key, certificate and enrolment. Losing it means onboarding the device anew"),
    ("/run/margod/status.sock", "status, for the group margod"),
    ("/run/margod/admin/admin.sock", "administration, for root"),
)

_DESCRIPTION: Final = (
    "margod takes an industrial edge gateway from power-on to an enrolled client of a Margo Workload Fleet Manager "
    "(WFM), unattended, and keeps that identity. The service margod.service runs it; the other commands look at it, "
    "ask it for something, or look for what is wrong. Lengths of time are written 500ms, 30s, 5m, 6h, 2d."
)


def main() -> None:
    """Write both pages."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "margod.8").write_text(margod_8())
    (folder / "margod.yaml.5").write_text(margod_yaml_5())


def margod_8() -> str:
    """Return margod(8)."""
    lines = [*_head("margod", "8", "brings a device under the management of a Margo fleet manager and keeps it there")]
    lines += [".SH SYNOPSIS", ".B margod", ".I COMMAND", "[options]", ".SH DESCRIPTION", _text(_DESCRIPTION)]
    lines.append(".SH COMMANDS")
    root = argparse.ArgumentParser(prog="margod")
    subparsers = root.add_subparsers()
    for name in COMMANDS:
        import_module(f"margod.cli.{name.replace('-', '_')}").add_parser(subparsers)
    helps = {action.dest: action.help or "" for action in subparsers._choices_actions}
    for name, parser in subparsers.choices.items():
        lines += _command(parser, helps[name])
    lines.append(".SH FILES")
    for path, what in _FILES:
        lines += [".TP", f".I {_text(path)}", _text(what)]
    return _end([*lines, ".SH SEE ALSO", ".BR margod.yaml (5),", ".BR systemctl (1),", ".BR journalctl (1)"])


def margod_yaml_5() -> str:
    """Return margod.yaml(5)."""
    lines = [*_head("margod.yaml", "5", "configuration of margod"), ".SH DESCRIPTION"]
    lines.append(
        _text(
            "/etc/margod/margod.yaml is YAML: sections with settings in them. Files in /etc/margod/conf.d that end in "
            ".yaml are merged over it in the order of their names, setting by setting. Every setting has a default or "
            "may be left out. `margod config check` names everything that is wrong with file, line and key, `margod "
            "config show` says where each value comes from, `margod reload` takes changes over while margod runs. "
            "Durations are written 30s, 5m, 6h, 20d; sizes 512 Mi, 59 Gi, 1 Ti; paths are absolute."
        )
    )
    for section, of in SECTIONS.items():
        lines += [f".SH {_text(section.upper())}", _text(" ".join((of.__doc__ or "").split()))]
        for setting in (s for s in SETTINGS.values() if s.section == section):
            lines += [".TP", f".B {_text(setting.key)}", _text(f"{setting.doc} {_default(setting)}")]
    return _end([*lines, ".SH SEE ALSO", ".BR margod (8)"])


def _default(setting: Setting) -> str:
    if setting.default is None:
        return f"No default. Example: {setting.example}"
    return f"Default: {scalar(setting, setting.default)}"


def _command(parser: argparse.ArgumentParser, says: str) -> list[str]:
    """Return a section of its own for one command, and one for each of the commands below it."""
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    lines = [f".SS {_text(parser.prog)}", ".RS", ".nf", *_folded(usage), ".fi", ".RE", ".PP"]
    text = parser.description or says
    lines.append(_text(text[:1].upper() + text[1:].removesuffix(".") + "."))
    below: argparse._SubParsersAction[argparse.ArgumentParser] | None = None
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = action
        elif action.help != argparse.SUPPRESS and "--help" not in action.option_strings:
            lines += [
                ".TP",
                f".B {_text(_names(action))}",
                _text((action.help or "see the description") % vars(action)),
            ]
    if parser.epilog:
        lines += [".PP", _text(parser.epilog)]
    if below is not None:
        helps = {action.dest: action.help or "" for action in below._choices_actions}
        for name, one in below.choices.items():
            lines += _command(one, helps.get(name, ""))
    return lines


def _names(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else None
    value = metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if not action.option_strings:
        return value
    return ", ".join(action.option_strings) + ("" if action.nargs == 0 else f" {value}")


def _folded(usage: str, width: int = 66) -> list[str]:
    lines = [""]
    for word in usage.split(" "):
        if len(lines[-1]) + len(word) >= width and lines[-1]:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return [_text(line) for line in lines]


def _head(name: str, section: str, what: str) -> list[str]:
    date = time.strftime("%Y-%m-%d", time.gmtime(RELEASED))
    return [f'.TH "{name}" "{section}" "{date}" "margod {__version__}"', ".SH NAME", f"{_text(name)} \\- {_text(what)}"]


def _text(text: str) -> str:
    """Return `text` as roff reads it: nothing in it is a request or an escape, dashes can be copied to a shell."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return f"\\&{safe}" if safe.startswith(".") else safe


def _end(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
