"""Imports point one way, as docs/architecture.md says, and no file is longer than one can keep in mind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "margod"
PURE = {"model", "engine", "protocols", "store"}
ALLOWED: dict[str, set[str]] = {
    "model": set(),
    "engine": {"model"},
    "protocols": {"model"},
    "store": {"model"},
    "client": {"model"},
    "config": {"model", "store"},
    "discovery": {"model"},
    "vault": PURE,
    "identity": PURE,
    "trust": PURE,
    "wfm": PURE,
    "capabilities": PURE,
    "deployments": PURE | {"vault"},
    "local": PURE,
    "gitfetch": {"model"},
    "service": PURE,
    "devwfm": {"model", "protocols", "client"},
}
FREE = {"shell", "check", "cli", "daemon", "demo", "__main__", "__init__"}
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    """Return the room that a file is in."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Yield the rooms that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "margod":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [a.name for a in node.names if (ROOT / a.name).is_dir()]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("margod."))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    """A room imports only what it may; relative imports do not hide one."""
    here = room(path)
    if here in FREE:
        assert here in {"cli", "demo"} or "devwfm" not in set(imported(path)), "the daemon does not know devwfm"
        return
    assert set(imported(path)) <= ALLOWED[here] | {here}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    """A file over 400 lines is two rooms."""
    assert len(path.read_text().splitlines()) <= 400


def test_pure_rooms_do_no_input_or_output() -> None:
    """Engine and protocols import nothing that reads a clock, a disk, a network or chance."""
    forbidden = {
        "os",
        "io",
        "socket",
        "ssl",
        "asyncio",
        "time",
        "pathlib",
        "subprocess",
        "aiohttp",
        "threading",
        "secrets",
    }
    for path in FILES:
        if room(path) in {"engine", "protocols"}:
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                assert not {name.split(".")[0] for name in names} & forbidden, path


def test_one_place_alone_deletes_at_the_wfm() -> None:
    """DELETE is written once: for `margod reset --unregister`, and for a device behind this one that was taken away."""
    holders = {
        str(path.relative_to(ROOT))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if "devwfm" not in path.as_posix() and isinstance(node, ast.Constant) and node.value == "DELETE"
    }
    assert holders == {"protocols/signed/unregister.py"}
    users = {str(path.relative_to(ROOT)) for path in FILES if "unregister_request(" in path.read_text()}
    assert users == {f"protocols/signed/{name}.py" for name in ("unregister", "capabilities", "generation")}
