"""How many lines a `signed` onboarding runs through, between the loop and the wire: one is run under coverage.

Counted are the lines of statements that were executed, with the headers of what contains them; not blank lines,
comments, docstrings, or the branches for what did not happen. Storage, identity, trust, configuration and the local
sockets are behind their interfaces and not counted.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parent.parent
PATH: Final[dict[str, tuple[str, ...]]] = {
    "loop": ("daemon.py",),
    "shell": (
        "shell/lane.py",
        "shell/actions.py",
        "shell/exchange.py",
        "shell/ground.py",
        "shell/look.py",
        "shell/disk.py",
    ),
    "engine": (
        *("engine/enrolment.py", "engine/messages.py", "engine/policy.py", "engine/picture.py", "engine/failures.py"),
    ),
    "protocol": (
        *("protocols/__init__.py", "protocols/answers.py"),
        *("protocols/signed/bodies.py", "protocols/signed/generation.py", "protocols/signed/signature.py"),
    ),
    "wire": ("wfm/client.py", "model/wire.py", "model/outcome.py", "model/state.py"),
}
OFF_PATH: Final = (
    *("engine/verdicts.py", "engine/resume.py", "protocols/classify.py"),
    *("shell/bootstrap.py", "shell/first_contact.py", "shell/presenting.py"),
    *("wfm/failures.py", "wfm/handshake.py", "wfm/timeless.py", "wfm/unverified.py"),
)
"""What failures mean, and ways that an onboarding goes only where it is told to. That it does not is looked at."""


def count(url: str, ca_file: Path, timeout: float) -> dict[str, int]:
    """Onboard a device with the WFM at `url` under coverage; return the lines run through, by part of the path.

    Raises RuntimeError if it was not enrolled, or ran through a function in a module that is said not to be on the way.
    """
    with tempfile.TemporaryDirectory(prefix="margod-path-") as scratch:
        place = Path(scratch)
        (place / "m.yaml").write_text(f'wfm: {{url: "{url}"}}\ntrust: {{ca_file: {ca_file}}}\n')
        data = f"--data-file={place / 'coverage'}"
        command = [
            *(
                sys.executable,
                "-m",
                "coverage",
                "run",
                data,
                "--source",
                str(PROJECT / "margod"),
                "-m",
                "margod",
                "run",
            ),
            *(
                "--config",
                str(place / "m.yaml"),
                "--state-dir",
                str(place / "state"),
                "--runtime-dir",
                str(place / "run"),
            ),
        ]
        env = {"PATH": os.environ["PATH"], "HOME": scratch}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env, cwd=scratch) as process:
            assert process.stderr is not None
            enrolled = any("state=enrolled" in line for line in process.stderr)
            process.terminate()
            process.communicate(timeout=timeout)
        if not enrolled:
            raise RuntimeError("the device under coverage was not enrolled")
        report = [sys.executable, "-m", "coverage", "json", data, "-q", "-o", str(place / "report.json")]
        subprocess.run(report, check=True, timeout=timeout, cwd=PROJECT, env=env)
        files = json.loads((place / "report.json").read_text())["files"]
    executed = {name.split("margod/", 1)[-1]: set(about["executed_lines"]) for name, about in files.items()}
    if strayed := [name for name in OFF_PATH if enters(PROJECT / "margod" / name, executed.get(name, set()))]:
        raise RuntimeError(f"an onboarding ran through {', '.join(strayed)}")
    return {part: sum(run_through(PROJECT / "margod" / f, executed[f]) for f in names) for part, names in PATH.items()}


def enters(path: Path, executed: set[int]) -> bool:
    """Return whether a function in `path` was entered: one of the `executed` lines is in its body."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, functions)]
    return any(executed & set(range(node.body[0].lineno, (node.end_lineno or 0) + 1)) for node in nodes)


def run_through(path: Path, executed: set[int]) -> int:
    """Return the lines of the statements in `path` that begin at one of the `executed` lines."""
    lines: set[int] = set()
    _collect(ast.parse(path.read_text(encoding="utf-8")).body, executed, lines)
    return len(lines)


def _collect(body: list[ast.stmt], executed: set[int], lines: set[int]) -> bool:
    """Add the lines of what was executed in `body`; return whether anything was, definitions aside."""
    ran = False
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        inner = [
            part for name in ("body", "orelse", "finalbody", "handlers", "cases") for part in getattr(node, name, [])
        ]
        if not inner:
            if node.lineno in executed:
                lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
                ran = True
            continue
        parts = [part.body if isinstance(part, ast.ExceptHandler | ast.match_case) else [part] for part in inner]
        inside = [_collect(part, executed, lines) for part in parts]
        if any(inside) or (node.lineno in executed and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            first = min(part[0].lineno for part in parts)
            lines.update(range(node.lineno, max(first, node.lineno + 1)))
            ran = ran or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return ran
