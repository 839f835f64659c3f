"""Structured fields: RFC 9651's rules by hand, and another implementation as the judge."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Any

import http_sf
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from margod.devwfm.structured import (
    Date,
    DisplayString,
    InnerList,
    Item,
    Malformed,
    Token,
    dictionary,
    serialise,
)

PARSED = [
    ("", {}),
    ("a=1", {"a": Item(1)}),
    ("a=-15, b=0.125", {"a": Item(-15), "b": Item(Decimal("0.125"))}),
    ("a", {"a": Item(True)}),
    ("a;x;y=?0", {"a": Item(True, {"x": True, "y": False})}),
    ('a="q\\"b\\\\"', {"a": Item('q"b\\')}),
    ("a=tok/en:1", {"a": Item(Token("tok/en:1"))}),
    ("a=:aGk=:", {"a": Item(b"hi")}),
    ("a=@1659578233", {"a": Item(Date(1659578233))}),
    ('a=%"f%c3%bcr"', {"a": Item(DisplayString("für"))}),
    ("a=()", {"a": InnerList(())}),
    ('a=( "x"  "y";p );q=1', {"a": InnerList((Item("x"), Item("y", {"p": True})), {"q": 1})}),
    ("a=1 ,\tb=2", {"a": Item(1), "b": Item(2)}),
    ("a=1,a=2", {"a": Item(2)}),
]


@pytest.mark.parametrize(("text", "members"), PARSED)
def test_parses(text: str, members: object) -> None:
    """Every type, parameters, inner lists and optional white space are read as RFC 9651 4.2 says."""
    found = dictionary(text)
    assert found == members
    assert [type(m.value) for m in found.values() if isinstance(m, Item)] == [
        type(m.value) for m in dict(members).values() if isinstance(m, Item)
    ]


REFUSED = [
    "A=1", "a=", "a=1,", ",a=1", "a=1 b=2", "a==1", "a=1;", "a=1;X", 'a="x', 'a="\\x"', 'a="\x7f"', "a=:aGk:",
    "a=:a Gk=:", "a=:aGl=:", "a=:====:", "a=?2", "a=1234567890123456", "a=1.", "a=1.2345", "a=1234567890123.0", "a=-",
    'a=("x""y")', "a=(1", "a=(1,2)", "a=@1.5", 'a=%"%C3"', 'a=%"%ff"', 'a="ü"', "a=1\n", "a=(1 (2))", "a;", "a=\x00",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text: str) -> None:
    """What breaks the grammar, or is base64 that is not canonical, is refused whole."""
    with pytest.raises(Malformed):
        dictionary(text)


@pytest.mark.parametrize(
    ("member", "text"),
    [
        (Item(Decimal("1.0")), "1.0"),
        (Item(Decimal("1.50")), "1.5"),
        (Item(True), "?1"),
        (InnerList((Item("@method"), Item("x", {"key": "a"})), {"created": 1, "keyid": 'k"'}),
         '("@method" "x";key="a");created=1;keyid="k\\""'),
        (Item(b"\x00\xff", {"p": True}), ":AP8=:;p"),
        (Item(Token("a/b")), "a/b"),
        (Item(DisplayString('ü"%')), '%"%c3%bc%22%25"'),
    ],
)  # fmt: skip
def test_serialises(member: Item | InnerList, text: str) -> None:
    """The canonical form of RFC 9651 4.1, with parameters in their order."""
    assert serialise(member) == text


PIECES = st.sampled_from(
    [
        "a=",
        "b",
        ";p",
        "=",
        ",",
        ", ",
        " ",
        "(",
        ")",
        '"x"',
        '"@method"',
        ":aGk=:",
        ":aGk:",
        "1",
        "-2",
        "1.5",
        "?1",
        "tok",
        "@12",
        '%"a"',
        '"',
        "\\",
        "*k",
        "sig1=",
        "created",
        "\t",
        ".",
        "0",
        "é",
    ]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
@example('sig1=("@method" "content-digest";sf);created=1;keyid="k"')
def test_agrees_with_another_implementation(text: str) -> None:
    """Whatever we accept, http-sf accepts and writes in the same way; what it refuses, we refuse."""
    try:
        ours = dictionary(text)
    except Malformed:
        return
    theirs: Any = http_sf.parse(text.encode(), tltype="dictionary")
    assert list(theirs) == list(ours)
    assert not ours or http_sf.ser(theirs) == ", ".join(
        f"{key}{serialise(value)[2:]}"
        if isinstance(value, Item) and value.value is True
        else f"{key}={serialise(value)}"
        for key, value in ours.items()
    )


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_refuses_no_more_than_another_implementation(text: str) -> None:
    """What http-sf accepts we accept, but for base64 without its padding."""
    try:
        http_sf.parse(text.encode(), tltype="dictionary")
    except Exception:
        return
    if ":aGk:" not in text:
        dictionary(text)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_never_raises_anything_else(text: str) -> None:
    """Any text is parsed or refused as malformed."""
    with contextlib.suppress(Malformed):
        dictionary(text)
