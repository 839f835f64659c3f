"""docs/operations.md against the code: the events of the journal."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs/operations.md").read_text()
LEVELS = {"info", "warning", "error", "critical"}
WORD = re.compile("[a-z]+(-[a-z]+)*")


def words(node: ast.AST) -> Iterator[str]:
    """Yield the texts in an expression that can be an event."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and WORD.fullmatch(each.value):
            yield each.value


def logged(node: ast.AST) -> Iterator[str]:
    """Yield the events that a call logs, where they stand in it and are no debug lines."""
    if not isinstance(node, ast.Call) or not node.args:
        return
    name = ast.unparse(node.func)
    if (name.startswith("log.") and name.removeprefix("log.") in LEVELS) or name.startswith("getattr(log,"):
        yield from words(node.args[0])
    elif name.endswith("Note") and len(node.args) > 1 and ast.unparse(node.args[0]) != "Level.DEBUG":
        yield from words(node.args[1])


def documented() -> set[str]:
    """Return the events of the tables."""
    tables = re.findall(r"^\| event \| when \|\n\|---\|---\|\n((?:\|.*\n)+)", OPERATIONS, re.MULTILINE)
    assert tables
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()]
    return {word for cell in cells for word in re.findall("`([^`]+)`", cell)}


def test_events() -> None:
    """Every event that the daemon logs, debug lines apart, has its row, and every row is of a word in the code."""
    nodes = [
        node
        for path in (ROOT / "margod").rglob("*.py")
        if not {"devwfm", "demo"} & set(path.parts)
        for node in ast.walk(ast.parse(path.read_text()))
    ]
    events = {event for node in nodes for event in logged(node)}
    assert len(events) > 60, "they are found"
    assert sorted(events - documented()) == [], "not in docs/operations.md"
    known = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert sorted(documented() - known) == [], "not in the code"
