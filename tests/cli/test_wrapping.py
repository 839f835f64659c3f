"""Lines for a terminal of 80 columns."""

from __future__ import annotations

from margod.cli.wrapping import WIDTH, wrapped


def test_wrapped() -> None:
    """Broken between words, further in, line by line; a path stays whole and what is short as it is."""
    path = "/" + "x" * 100
    text = "configuration: 1 problem\n  " + "word " * 30 + path
    lines = wrapped(text).split("\n")
    assert lines[0] == "configuration: 1 problem"
    assert lines[1].startswith("  word")
    assert all(line.startswith("    ") for line in lines[2:])
    assert [line.strip() for line in lines if len(line) > WIDTH] == [path]
    assert " ".join(text.split()) == " ".join(" ".join(lines).split())
    assert wrapped("one line") == "one line"
