"""One document: its shape, its limits, and the lines that problems name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.config.document import DEEPEST, MOST_NODES, Entry, parse
from margod.config.values import Raw


def problems(text: str | bytes) -> list[str]:
    """Return the problems of a document, as they are shown."""
    data = text.encode() if isinstance(text, str) else text
    return [str(problem) for problem in parse(data, "f")[1]]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# only a comment\n", "---\n", "null\n", "{}", "wfm:\ntrust:\n", "wfm: {}\n", "\ufeff"]
)
def test_empty(text: str) -> None:
    """Nothing set, in any of its spellings, is no problem."""
    assert parse(text.encode(), "f") == ([], [])


def test_entries() -> None:
    """Values come with their spelling, YAML's type and the line of their key; a byte order mark is passed over."""
    text = "\ufeff# head\nwfm:\n  url: 'https://a'\n  timeout:\n    30s\n"
    text += "tls: {minimum_version: 1.20,\n strict_x509: yes}\n"
    assert parse(text.encode(), "f") == (
        [
            Entry("wfm.url", Raw("https://a"), 3),
            Entry("wfm.timeout", Raw("30s"), 4),
            Entry("tls.minimum_version", Raw("1.20", "number"), 6),
            Entry("tls.strict_x509", Raw("yes", "boolean"), 7),
        ],
        [],
    )


def test_a_section_in_a_section() -> None:
    """Its settings have both names in their key; a list of texts keeps the commas in them."""
    text = "schedule:\n  polling:\n    rate: 5m\n  downtime:\n    - Sat,Sun 00:00-24:00\n    - 22:00-06:00\n"
    windows = Raw("", "list", ("Sat,Sun 00:00-24:00", "22:00-06:00"))
    assert parse(text.encode(), "f") == (
        [Entry("schedule.polling.rate", Raw("5m"), 3), Entry("schedule.downtime", windows, 4)],
        [],
    )
    assert parse(b"schedule:\n  polling:\n", "f") == ([], [])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- wfm\n", "f:1: expected sections such as `wfm:`, not a list"),
        ("wfm\n", "f:1: expected sections such as `wfm:`, not a single value"),
        ("wfm: 5\n", "f:1: wfm: expected settings below it, not a single value"),
        ("\nwfm: [a]\n", "f:2: wfm: expected settings below it, not a list"),
        ("wfn:\n  url: a\n", "f:1: wfn: is not a section (did you mean wfm?)"),
        ("wfm:\n  ulr: a\n", "f:2: wfm.ulr: is not a setting (did you mean url?)"),
        ("tls:\n  strict-x509: a\n", "f:2: tls.strict-x509: is not a setting (did you mean strict_x509?)"),
        ("url: a\n", "f:1: url: is not a section (write `url:` indented below `wfm:`)"),
        ("wfm.url: a\n", "f:1: wfm.url: is not a section (write `url:` indented below `wfm:`)"),
        ("log:\n  strict_x509: a\n", "f:2: log.strict_x509: is not a setting (did you mean tls.strict_x509?)"),
        ("schedule:\n  polling: 5m\n", "f:2: schedule.polling: expected settings below it, not a single value"),
        ("schedule:\n  polling:\n    rat: 5m\n", "f:3: schedule.polling.rat: is not a setting (did you mean rate?)"),
        ("schedule:\n  poling: {}\n", "f:2: schedule.poling: is not a setting (did you mean polling?)"),
        ("schedule:\n  rate: 5m\n", "f:2: schedule.rate: is not a setting (write `rate:` indented below `polling:`)"),
        (
            "rate: 5m\n",
            "f:1: rate: is not a section (write `rate:` indented below `polling:` indented below `schedule:`)",
        ),
        ("polling:\n  rate: 5m\n", "f:1: polling: is not a section (write `polling:` indented below `schedule:`)"),
        ("schedule.polling:\n  rate: 5m\n", "f:1: schedule.polling: is not a section (write `polling:` indented below"),
        ("schedule:\n  polling.rate: 5m\n", "f:2: schedule.polling.rate: is not a setting"),
        ("schedule:\n  polling:\n    rate: 5m\n    rate: 6m\n", "f:4: schedule.polling.rate: stands twice, first in"),
        ("log:\n  zzz: a\n", "f:2: log.zzz: is not a setting (there are level, format)"),
        ("log:\n  level: a\n  level: b\n", "f:3: log.level: stands twice, first in line 2 (remove one of them)"),
        ("log:\n  level: a\nlog:\n  format: b\n", "f:3: log: stands twice, first in line 1 (remove one of them)"),
        ("log:\n  <<: {level: a}\n", "f:2: log: merge keys (<<) are not taken here"),
        ("log:\n  yes: a\n", "f:2: log: a key must be a plain name"),
        ("1: a\n", "f:1: a key must be a plain name"),
        ("? [a]\n: b\n", "f:1: a key must be a plain name"),
        ("log: &a\n  level: x\n", "f:1: has an anchor or alias (& or *), which is not taken here"),
        ("log: *a\n", "f:1: has an anchor or alias (& or *), which is not taken here"),
        ("log: {}\n---\nlog: {}\n", "f:2: is not YAML: but found another document"),
        ("wfm:\n  url: 'a\n", "f:3: is not YAML: found unexpected end of stream"),
        ("wfm:\n\turl: a\n", "(indent with spaces, not with tabs)"),
        ("wfm:\n  url: a\n\ttimeout: 30s\n", "(indent with spaces, not with tabs)"),
        ("wfm: {{{\n", "f:2: is not YAML"),
        (b"wfm:\n  url: \xff\n", "f:2: is not UTF-8 (save it as UTF-8)"),
        ("wfm: {}\n".encode("utf-16"), "f:1: is not UTF-8"),
        ("wfm:\n  url: a\0b\n", "f:2: has the character U+0000, which is not text"),
        ("wfm:\n\n  url: \x1b[31m\n", "f:3: has the character U+001B, which is not text"),
        ("\0" * 1000, "f:1: has the character U+0000"),
        ('wfm: {url: "\\U00110000"}\n', "f: is not YAML: chr() arg not in range"),
        ("wfm:\n  url: !!python/object/apply:os.system [id]\n  x: 1\n", "f:3: wfm.x: is not a setting"),
    ],
)
def test_wrong_shape(text: str | bytes, shown: str) -> None:
    """Each wrong shape is one problem, with its line and what to do."""
    found = problems(text)
    assert len(found) == 1, found
    assert shown in found[0]


def test_all_problems_in_order_of_lines() -> None:
    """One wrong place does not hide the others."""
    text = "wfn: {}\nlog:\n  x: 1\n  level: debug\n  level: info\n[a]: 1\ntls: 4\n"
    assert [problem.line for problem in parse(text.encode(), "f")[1]] == [1, 3, 5, 6, 7]
    assert [entry.key for entry in parse(text.encode(), "f")[0]] == ["log.level"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("{a: " * 100_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
        ("".join(" " * i + "a:\n" for i in range(1000)), "nested too deeply"),
        ("[" + "1," * 100_000 + "]", f"more than {MOST_NODES}"),
        ("".join(f"k{i}: 1\n" for i in range(50_000)), f"more than {MOST_NODES}"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", "anchor or alias"),
    ],
)
def test_bounded(text: str, shown: str) -> None:
    """Depth, width and references are bounded while composing: one problem, in time that does not grow."""
    found = problems(text)
    assert len(found) == 1
    assert shown in found[0]


def test_depth_that_is_used_is_taken() -> None:
    """The bound is above what is looked at: a value nested a little is named as a wrong type, with its key."""
    nested = "[" * (DEEPEST - 2) + "]" * (DEEPEST - 2)
    assert parse(f"wfm: {{url: {nested}}}".encode(), "f")[0] == [Entry("wfm.url", Raw("", "list", stray="a list"), 1)]


def test_foreign_text_is_cleaned() -> None:
    """Names from the file cannot steer a terminal or flood it."""
    found = problems('log:\n  "a\\nb\\e[31m\\u202e' + "x" * 10_000 + '": 1\n')
    assert len(found) == 1
    assert found[0].isprintable()
    assert len(found[0]) < 250


# Every one-character indicator, and words that PyYAML reads by special rules.
fragments = st.sampled_from("\n \t-[]{}'\"|>&*!%#?:,~\ufeff\x85\u2028") | st.sampled_from(
    [
        "wfm:",
        "  ",
        "url",
        ": ",
        "- ",
        "&a",
        "*a",
        "!!",
        "\\U0011FFFF",
        "\\x",
        "---",
        "<<",
        "1:2",
        "2026-01-01",
        "%YAML 1.1",
    ]
)


@given(st.one_of(st.binary(max_size=80), st.lists(fragments, max_size=25).map(lambda parts: "".join(parts).encode())))
def test_any_bytes(data: bytes) -> None:
    """Whatever the bytes: entries and problems, every problem on one printable line, never an exception."""
    for problem in parse(data, "f")[1]:
        assert str(problem).isprintable()
