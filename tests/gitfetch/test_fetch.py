"""The child process against git's own server over TLS: what it brings, and what it refuses to bring."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
import trustme

from margod.gitfetch import Failed, Fetched, Job, Limits, ProxyAt, Tls, fetch
from tests.support.gitserver import BACKEND, GitServer
from tests.support.proxyserver import ProxyServer

pytestmark = pytest.mark.skipif(not BACKEND.exists(), reason="needs git (apt-get install git)")

FILES = {"a.yaml": b"kind: A\n", "deep/er/b.yaml": b"\x00\xff" * 300, "empty": b"", "README": b"x", "readme": b"y"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """Return a running server with an empty repository."""
    with GitServer(tmp_path) as running:
        yield running


def job(server: GitServer, **other: Any) -> Job:
    """Return the job of fetching its main branch."""
    made = Job(server.url, "main", server.ca_file.read_text(), "oauth2", "token-1")
    return replace(made, **other)


async def fetched(made: Job) -> Fetched:
    """Return what is fetched."""
    result = await fetch(made)
    assert isinstance(result, Fetched), result
    return result


async def failed(made: Job) -> Failed:
    """Return why nothing is."""
    result = await fetch(made)
    assert isinstance(result, Failed), result
    assert "token-1" not in result.detail
    return result


def limited(server: GitServer, **bounds: Any) -> Job:
    """Return a job with other bounds."""
    return job(server, limits=Limits(**bounds))


async def test_files_come_as_they_are(server: GitServer) -> None:
    """Every byte of every file, by protocol v2, with history cut off at one commit."""
    first = server.commit({"old": b"history" * 100})
    commit = server.commit(FILES, parent=first)
    result = await fetched(job(server))
    assert result == Fetched(commit, FILES)
    assert server.users == ["oauth2"] * 3
    assert [request.split("?")[0].split("/")[-1] for request in server.requests] == ["refs", *["git-upload-pack"] * 2]


async def test_a_branch_that_stayed_is_not_fetched(server: GitServer) -> None:
    """Two requests tell it, and no pack is made."""
    commit = server.commit(FILES)
    assert await fetched(job(server, known=commit)) == Fetched(commit, None)
    assert len(server.requests) == 2


async def test_a_branch_that_went_on_is_no_rewind(server: GitServer) -> None:
    """Over some commits, too; a merge counts by any of its parents."""
    known = before = server.commit(FILES)
    for number in range(5):
        before = server.commit({**FILES, "n": b"%d" % number}, parent=before)
    side = server.commit({"side": b"s"}, branch="side")
    tree = server.git("rev-parse", f"{before}^{{tree}}")
    merged = server.git("commit-tree", tree, "-p", side, "-p", before, "-m", "merge")
    server.git("update-ref", "refs/heads/main", merged)
    result = await fetched(job(server, known=known))
    assert (result.commit, result.rewound) == (merged, False)


@pytest.mark.parametrize("filters", [False, True])
async def test_rewritten_history_is_told(server: GitServer, filters: bool) -> None:
    """Amended, set back, and another history altogether, whether the server keeps the old commit or not."""
    server.git("config", "uploadpack.allowFilter", str(filters).lower())
    first = server.commit({"a": b"1"})
    second = server.commit({"a": b"2"}, parent=first)
    amended = server.commit({"a": b"3"}, parent=first)
    assert (await fetched(job(server, known=second))).rewound
    server.git("update-ref", "refs/heads/main", first)
    assert (await fetched(job(server, known=amended))).rewound
    server.commit({"a": b"4"})
    assert (await fetched(job(server, known=first))).rewound
    server.git("update-ref", "refs/heads/main", second)
    assert (await fetched(job(server, known="ab" * 20))).rewound
    assert not (await fetched(job(server, known=first))).rewound


async def test_a_server_of_before_protocol_2(server: GitServer) -> None:
    """A proxy that drops the Git-Protocol header leaves version 0, with the same files and the same judgement."""

    def forget(handler: Any) -> bool:
        del handler.headers["Git-Protocol"]
        return False

    server.before = forget
    first = server.commit({"a": b"1"})
    second = server.commit(FILES, parent=first)
    assert await fetched(job(server, known=first)) == Fetched(second, FILES)
    assert (await fetched(job(server, known="ab" * 20))).rewound


async def test_many_files_in_deltas(server: GitServer) -> None:
    """What git packs as deltas of one another is what it was."""
    lines = [b"line %d of something that is said often\n" % number for number in range(400)]
    files = {f"d{n % 7}/f{n}.yaml": b"".join(lines[: 200 + n]) + b"%d" % n for n in range(60)}
    server.commit(files)
    server.git("repack", "-adfq", "--depth=50", "--window=50")
    assert (await fetched(job(server))).files == files


# Who is there


@pytest.mark.parametrize(("token", "code"), [("token-2", "unauthorized"), ("", "unauthorized")])
async def test_a_refused_token(server: GitServer, token: str, code: str) -> None:
    """Is told from everything else."""
    server.commit(FILES)
    assert (await failed(job(server, token=token))).code == code


async def test_a_token_that_is_rotated_while_it_fetches(server: GitServer) -> None:
    """Between two requests of one fetch: refused, and nothing half."""
    server.commit(FILES)

    def rotate(_handler: Any) -> bool:
        if len(server.requests) == 3:
            server.tokens = {"token-2"}
        return False

    server.before = rotate
    assert (await failed(job(server))).code == "unauthorized"
    assert (await fetched(job(server, token="token-2"))).files == FILES


async def test_another_ca_is_not_trusted(server: GitServer) -> None:
    """Nothing is asked of a server whose certificate another CA made, and the system's store has no say."""
    server.commit(FILES)
    other = trustme.CA().cert_pem.bytes().decode()
    assert (await failed(job(server, ca=other))).code == "untrusted"
    assert (await failed(job(server, ca=""))).code == "untrusted"
    wrong_host = server.url.replace("localhost", "127.0.0.2")
    assert (await failed(job(server, url=wrong_host))).code in {"untrusted", "unreachable"}
    assert server.requests == []


async def test_nobody_is_there(server: GitServer) -> None:
    """A port without a server."""
    gone = server.url.replace(str(server.port), "1")
    assert (await failed(job(server, url=gone))).code == "unreachable"


async def test_no_branch(server: GitServer) -> None:
    """An empty repository, and one without this branch; a branch is never a pattern."""
    assert (await failed(job(server))).code == "no-branch"
    server.commit(FILES, branch="mainly")
    assert (await failed(job(server))).code == "no-branch"


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [
        (401, {}, "unauthorized"),
        (403, {}, "unauthorized"),
        (404, {}, "not-found"),
        (410, {}, "not-found"),
        (301, {"Location": "https://evil.example/info/refs?service=git-upload-pack"}, "redirected"),
        (307, {"Location": "/elsewhere.git/info/refs?service=git-upload-pack"}, "redirected"),
        (429, {"Retry-After": "7"}, "busy"),
        (503, {}, "busy"),
        (418, {}, "malformed"),
        (200, {"Content-Type": "text/html"}, "malformed"),
        (200, {}, "malformed"),
        (200, {"Content-Type": "text/plain"}, "malformed"),
        (200, {"Content-Type": "application/x-git-upload-pack-advertisement"}, "malformed"),
    ],
)
async def test_answers_that_are_no_repository(
    server: GitServer, status: int, headers: dict[str, str], code: str
) -> None:
    """Each has its word, at the first request as at the last; no redirect is followed, and no dumb server asked."""
    server.commit(FILES)
    for at in (1, 3):
        server.requests.clear()

        def answer(handler: Any, at: int = at) -> bool:
            if len(server.requests) < at:
                return False
            handler.answer(status, b"<html>token-1</html>", headers)
            return True

        server.before = answer
        result = await failed(job(server))
        assert result.code == code
        assert len(server.requests) == at
        assert result.retry_after == (7.0 if status == 429 else None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"0000",
        b"zzzz",
        b"001e# service=git-upload-pack\n",
        b"001e# service=git-upload-pack\n0000",
        b"001e# service=git-upload-pack\n0000000dversion 2\n0000",
        b"000eversion 2\n0000",
        b"000eversion 9\n0000",
        b"fff0" + b"A" * 100,
        b"001e# service=git-upload-pack\n0000" + b"003dERR token-1 is not what I like, and I say so at length\n"[:61],
        os.urandom(5000),
    ],
    ids=range(11),
)
async def test_bytes_that_are_not_git(server: GitServer, body: bytes) -> None:
    """Whatever is said after the right media type ends in a word, without the token and without a traceback."""
    content = {"Content-Type": "application/x-git-upload-pack-advertisement"}
    server.before = lambda handler: handler.answer(200, body, content) or True
    assert (await failed(job(server))).code in {"malformed", "no-branch"}


async def test_a_server_that_sends_for_a_pack_elsewhere(server: GitServer) -> None:
    """`packfile-uris` of another host is not fetched."""
    server.commit(FILES)
    asked: list[str] = []

    def offer(handler: Any) -> bool:
        asked.append(handler.path)
        if b"command=fetch" not in handler.body:
            return False
        said = b"f" * 40 + b" https://evil.example/pack.pack\n"
        lines = [b"packfile-uris\n", b"https://evil.example/p sha1 " + b"f" * 40 + b"\n", said]
        body = b"".join(b"%04x" % (len(line) + 4) + line for line in lines) + b"0000"
        handler.answer(200, body, {"Content-Type": "application/x-git-upload-pack-result"})
        return True

    server.before = offer
    assert (await failed(job(server))).code in {"redirected", "malformed"}


async def test_through_a_proxy(server: GitServer) -> None:
    """By CONNECT, with its own authorization; what is in the tunnel is TLS to the repository."""
    commit = server.commit(FILES)
    async with ProxyServer(authorization="Basic cDpx") as proxy:
        through = job(server, proxy=ProxyAt("127.0.0.1", proxy.port, "Basic cDpx"))
        assert (await fetched(through)).commit == commit
        assert all(head.startswith(b"CONNECT localhost:") for head in proxy.asked)
        assert b"token" not in b"".join(proxy.asked)
        refused = replace(through, proxy=ProxyAt("127.0.0.1", proxy.port))
        assert (await failed(refused)).code == "unreachable"


# Bounds


@pytest.mark.parametrize(
    ("bound", "says"),
    [
        ({"pack": 2_000}, "pack"),
        ({"objects": 3}, "objects"),
        ({"inflated": 2_000}, "unpacks"),
        ({"object": 500}, "object"),
        ({"entries": 4}, "files and folders"),
        ({"total": 600}, "together"),
        ({"depth": 1}, "deep"),
        ({"path": 10}, "path"),
        ({"refs": 100}, "says more"),
    ],
    ids=lambda b: next(iter(b)) if isinstance(b, dict) else "",
)
async def test_every_bound_refuses_the_whole(server: GitServer, bound: dict[str, int], says: str) -> None:
    """One byte or one file too many, and there is nothing, with a word that says which bound it was."""
    server.commit({**FILES, "big": os.urandom(3_000)})
    result = await failed(limited(server, **bound))
    assert (result.code, says in result.detail) == ("too-large", True), result


async def test_a_huge_blob_is_not_inflated(server: GitServer) -> None:
    """Zeros are a thousandth on the wire; their size is read before they are made."""
    server.git("config", "core.bigFileThreshold", "2g")
    blob = _loose_zeros(server, 64 << 20)
    server.commit_tree(server.tree([("100644", b"zeros", blob)]))
    result = await failed(limited(server, memory=64 << 20))
    assert (result.code, "object" in result.detail) == ("too-large", True), result


def _loose_zeros(server: GitServer, size: int) -> str:
    """Store a blob of zeros without ever having it."""
    head, part = b"blob %d\0" % size, bytes(1 << 20)
    named, packed = sha1(head), zlib.compressobj(9)
    pieces = [packed.compress(head)]
    for _ in range(size >> 20):
        named.update(part)
        pieces.append(packed.compress(part))
    name = named.hexdigest()
    file = server.repository / "objects" / name[:2] / name[2:]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"".join([*pieces, packed.flush()]))
    return name


async def test_a_hundred_thousand_files(server: GitServer) -> None:
    """One small blob under as many names: refused by their number."""
    blob = server.blob(b"x")
    server.commit_tree(server.tree([("100644", b"f%06d" % number, blob) for number in range(100_000)]))
    result = await failed(job(server))
    assert (result.code, "files and folders" in result.detail) == ("too-large", True)


async def test_folders_that_multiply(server: GitServer) -> None:
    """Ten levels of ten times the same folder are ten thousand million files in twelve objects."""
    tree = server.tree([("100644", b"f", server.blob(b"x"))])
    for _ in range(10):
        tree = server.tree([("40000", b"d%d" % number, tree) for number in range(10)])
    server.commit_tree(tree)
    assert (await failed(job(server))).code == "too-large"


async def test_a_server_that_never_ends(server: GitServer) -> None:
    """The time for all of it bounds what each piece of it does not."""

    def drip(handler: Any) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(1_000):
                handler.wfile.write(b"1")  # "1111": a line of 4,369 bytes
                handler.wfile.flush()
                time.sleep(0.05)
        return True

    server.before = drip
    assert (await failed(limited(server, seconds=6.0))).code == "timed-out"


# Hostile trees


@pytest.mark.parametrize("name", [b"..", b".git"])
async def test_a_name_that_is_no_plain_file_refuses_the_tree(server: GitServer, name: bytes) -> None:
    """Nothing else of the tree is taken either; every other such name is in test_trees.py."""
    blob = server.blob(b"x")
    inner = server.tree([("100644", b"config", blob)])
    server.commit_tree(server.tree([("100644", b"good", blob), ("40000", name, inner)]))
    assert (await failed(job(server))).code == "hostile"


async def test_links_and_submodules_are_left_out_and_named(server: GitServer) -> None:
    """Out of the tree or inside of it; the files beside them come."""
    blob = server.blob(b"x")
    entries = [
        ("100644", b"good", blob),
        ("120000", b"inside", server.blob(b"good")),
        ("120000", b"out", server.blob(b"/etc/shadow")),
        ("160000", b"sub", "ab" * 20),
        ("100644", b"weights", server.blob(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")),
    ]
    server.commit_tree(server.tree(entries))
    result = await fetched(job(server))
    assert result.files == {"good": b"x"}
    assert [note.partition(":")[0] for note in result.notes] == ["inside", "out", "sub", "weights"]


async def test_two_of_one_name(server: GitServer) -> None:
    """A tree that git itself would never write."""
    entries = [("100644", b"a", server.blob(b"1")), ("100644", b"a", server.blob(b"2"))]
    server.commit_tree(server.tree(entries))
    assert (await failed(job(server))).code == "hostile"


async def test_an_unknown_mode(server: GitServer) -> None:
    """A device, a pipe."""
    server.commit_tree(server.tree([("060000", b"disk", server.blob(b"x"))]))
    assert (await failed(job(server))).code == "hostile"


async def test_attributes_and_hooks_have_no_say(server: GitServer) -> None:
    """Filters, line endings and hooks of the tree are files like others."""
    files = {
        ".gitattributes": b"* filter=evil eol=crlf\n",
        "hooks/post-checkout": b"#!/bin/sh\ntouch /tmp/x\n",
        "t": b"a\nb",
    }
    server.commit(files)
    assert (await fetched(job(server))).files == files


async def test_configuration_of_user_and_system_is_not_read(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy, a CA and another URL in it, in the environment and in HOME, change nothing."""
    server.commit(FILES)
    settings = '[url "https://evil.example/"]\n\tinsteadOf = https://localhost\n[http]\n\tproxy = http://127.0.0.1:1\n'
    (tmp_path / ".gitconfig").write_text(settings)
    for name, value in {
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": str(tmp_path / ".gitconfig"),
        "https_proxy": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
        "SSL_CERT_FILE": "/dev/null",
        "PYTHONPATH": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    assert (await fetched(job(server))).files == FILES


async def test_the_token_is_nowhere_to_be_seen(server: GitServer) -> None:
    """Not in the arguments nor the environment of any process, while the server looks; not in a URL."""
    server.commit(FILES)
    seen: list[bytes] = []

    def look(_handler: Any) -> bool:
        for process in Path("/proc").glob("[0-9]*"):
            for what in ("cmdline", "environ"):
                try:
                    seen.append((process / what).read_bytes())
                except OSError:
                    continue
        return False

    server.before = look
    secret = "glpat-0123456789"
    server.tokens = {secret}
    await fetched(job(server, token=secret))
    assert any(b"margod.gitfetch.child" in each for each in seen)
    assert not any(secret.encode() in each for each in seen)
    assert not any(secret in request for request in server.requests)
    assert secret not in repr(job(server, token=secret))


async def test_a_fetch_that_is_cancelled_leaves_no_process(server: GitServer) -> None:
    """The child is gone before the caller hears of it."""
    reached, let = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    children: list[int] = []

    def hold(_handler: Any) -> bool:
        children.extend(_children())
        loop.call_soon_threadsafe(reached.set)
        let.wait(60)
        return True

    server.before = hold
    task = asyncio.create_task(fetch(job(server)))
    try:
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        let.set()
    assert children
    assert not set(children) & set(_children())


def _children() -> list[int]:
    """Return the processes of fetches that this process started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"margod.gitfetch.child" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


DAY = 86_400.0


async def test_certificates_by_another_clock(server: GitServer) -> None:
    """Where the clock cannot be right, their times are judged by the one that was given, all else as ever."""
    commit = server.commit(FILES)
    now = time.time()
    assert (await fetched(job(server, tls=Tls(now=now)))).commit == commit
    for wrong in (now - 40_000 * DAY, now + 400_000 * DAY):
        result = await failed(job(server, tls=Tls(now=wrong)))
        assert (result.code, "not valid at this time" in result.detail) == ("untrusted", True)
    assert (await failed(job(server, ca=trustme.CA().cert_pem.bytes().decode(), tls=Tls(now=now)))).code == "untrusted"


async def test_tls_by_the_owners_rules(server: GitServer) -> None:
    """Versions as set; any name where the CA is for WFMs only; the system's store; the addresses that are known."""
    commit = server.commit(FILES)
    assert (await fetched(job(server, tls=Tls(minimum="1.3")))).commit == commit
    stranger = f"https://wfm.test:{server.port}/device.git"
    elsewhere = job(server, url=stranger, addresses=("127.0.0.99", "127.0.0.1"))
    assert (await failed(elsewhere)).code == "untrusted"
    assert (await fetched(replace(elsewhere, tls=Tls(any_name=True)))).commit == commit
    system = job(server, ca="", system=(str(server.ca_file), ""))
    assert (await fetched(system)).commit == commit
    assert (await failed(replace(system, system=("", "")))).code == "untrusted"
    assert (await failed(replace(system, system=("/nowhere", "/nowhere")))).code == "untrusted"


async def test_a_process_that_cannot_be_started(server: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and no exception."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert (await failed(job(server))).code == "unreachable"
