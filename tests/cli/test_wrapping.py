"""Lines for a terminal of 80 columns."""

from __future__ import annotations

import io

import pytest

from margod.cli.wrapping import WIDTH, say, wrapped


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


@pytest.mark.parametrize("terminal", [True, False])
def test_say(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's terminal gets lines of its width, a program the sentence as it is."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    text = "margod: " + "word " * 30 + "end\n  " + "hint " * 30 + "end"
    say(text, 2, to=stream)
    said = stream.getvalue()
    assert (max(map(len, said.splitlines())) <= WIDTH, said == f"{text}\n") == (terminal, not terminal)
    assert said.split() == text.split()
