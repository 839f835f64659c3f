"""Trees as objects: which names are files, and what a commit is reached from."""

from __future__ import annotations

import pytest

from margod.gitfetch.job import HOSTILE, MALFORMED, Limits, Refusal
from margod.gitfetch.pack import BLOB, COMMIT, TREE, Object
from margod.gitfetch.trees import descends, files_of

TIP, ROOT, INNER, FILE = (f"{number:040x}" for number in range(1, 5))


def objects(*entries: tuple[bytes, bytes, str]) -> dict[str, Object]:
    """Return a commit, its root folder of these entries, one folder and one file."""

    def folder(*inside: tuple[bytes, bytes, str]) -> bytes:
        return b"".join(mode + b" " + name + b"\0" + bytes.fromhex(target) for mode, name, target in inside)

    return {
        TIP: (COMMIT, f"tree {ROOT}\nparent {'ab' * 20}\n\nparent {'cd' * 20}\n".encode()),
        ROOT: (TREE, folder(*entries)),
        INNER: (TREE, folder((b"100644", b"config", FILE))),
        FILE: (BLOB, b"x"),
    }


def refused(found: dict[str, Object]) -> str:
    """Return the code with which a tree is refused."""
    with pytest.raises(Refusal) as caught:
        files_of(TIP, found, Limits())
    return caught.value.code


@pytest.mark.parametrize(
    "name",
    [
        *(b"..", b".", b"", b".git", b".GIT", b".git ", b".git.", b"git~1", b"...", b" "),
        *(b"a/b", b"../../etc/passwd", b"/etc/passwd", b"a\\b", b"new\nline", b"\x1b[31mred", b"\xff\xfe", b"n" * 256),
        *(each.encode() for each in ("right\u202eleft", ".g\u200cit", "\u2028")),
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_a_name_that_is_no_plain_file_refuses_the_tree(name: bytes, folder: bool) -> None:
    """As a file and as a folder; nothing else of the tree is taken either."""
    bad = (b"40000", name, INNER) if folder else (b"100644", name, FILE)
    assert refused(objects((b"100644", b"good", FILE), bad)) == HOSTILE


@pytest.mark.parametrize("name", ["a", ".gitignore", "git", "a b", "ü", "日本", "-rf", "~", "con", "x" * 255, "a:b"])
def test_names_of_files(name: str) -> None:
    """What people call their files is taken."""
    assert files_of(TIP, objects((b"100644", name.encode(), FILE)), Limits()) == ({name: b"x"}, ())


@pytest.mark.parametrize(
    "found",
    [
        {},
        {TIP: (BLOB, b"x")},
        {TIP: (COMMIT, b"")},
        {TIP: (COMMIT, b"tree ../../x\n\n")},
        objects((b"100644", b"a", INNER)),
        objects((b"40000", b"a", FILE)),
        objects((b"100644", b"a", "ff" * 20)),
        {**objects(), ROOT: (TREE, b"100644 a\0short")},
        {**objects(), ROOT: (TREE, b"no blank")},
        {**objects(), ROOT: (TREE, b"100644123456789 a\0" + bytes(20))},
    ],
    ids=range(10),
)
def test_what_is_not_whole_is_malformed(found: dict[str, Object]) -> None:
    """A missing object, or one of another type; nothing of it is taken."""
    assert refused(found) == MALFORMED


def test_a_folder_that_holds_itself_ends() -> None:
    """No honest hash makes one; it ends at the bound for depth."""
    assert refused({**objects(), ROOT: (TREE, b"40000 a\0" + bytes.fromhex(ROOT))}) == "too-large"


def test_descent_is_by_parents_alone() -> None:
    """What a commit's message says is no parent; a loop ends."""
    found = objects()
    assert descends(TIP, TIP, found)
    assert descends(TIP, "ab" * 20, found)
    assert not descends(TIP, "cd" * 20, found)
    looped = {**found, "ab" * 20: (COMMIT, f"tree {ROOT}\nparent {TIP}\n\n".encode())}
    assert not descends(TIP, "cd" * 20, looped)
