"""A real repository behind TLS: git's own `http-backend`, and in front of it whatever a server can do wrong.

with GitServer(tmp_path) as server:
    commit = server.commit({"a.yaml": b"..."})
    ... server.url, server.ca_file, server.tokens ...
"""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import subprocess
import threading
import zlib
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

import trustme

BACKEND: Final = Path("/usr/lib/git-core/git-http-backend")
_ENV: Final = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "a"), ("EMAIL", "a@b"))
    },
}


class GitServer:
    """One bare repository at `url`; `tokens` are the passwords it takes, `before` may answer in its place."""

    def __init__(self, directory: Path) -> None:
        """Make an empty repository."""
        self.repository = directory / "git" / "device.git"
        self.repository.mkdir(parents=True)
        self.git("init", "-q", "--bare", "-b", "main")
        self.git("config", "http.receivepack", "false")
        self.tokens = {"token-1"}
        self.users: list[str] = []
        self.requests: list[str] = []
        self.before: Callable[[Any], bool] | None = None
        self._authority = trustme.CA()
        self.ca_file = directory / "git-ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"https://localhost:{self.port}/device.git"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def git(self, *arguments: str, data: bytes = b"") -> str:
        """Run git in the repository; returns what it prints."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.repository, env=_ENV, input=data, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def blob(self, data: bytes) -> str:
        """Store a blob."""
        return self._store(b"blob", data)

    def tree(self, entries: list[tuple[str, bytes, str]]) -> str:
        """Store a tree of (mode, name, id) exactly as given: nothing is checked, names may be what they like."""
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(each) for mode, name, each in entries)
        return self._store(b"tree", raw)

    def _store(self, kind: bytes, data: bytes) -> str:
        """Store an object as `git hash-object -w` does, without a process for each."""
        whole = b"%s %d\0%s" % (kind, len(data), data)
        name = hashlib.sha1(whole).hexdigest()
        file = self.repository / "objects" / name[:2] / name[2:]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(zlib.compress(whole, 1))
        return name

    def commit_tree(self, tree: str, *, parent: str | None = None, branch: str = "main") -> str:
        """Make a branch point to a commit of this tree."""
        parents = ["-p", parent] if parent else []
        made = self.git("commit-tree", tree, *parents, "-m", "x")
        self.git("update-ref", f"refs/heads/{branch}", made)
        return made

    def commit(self, files: Mapping[str, bytes], *, parent: str | None = None, branch: str = "main") -> str:
        """Make a branch point to a commit of these files, whose paths may have slashes."""
        return self.commit_tree(self._folder(files), parent=parent, branch=branch)

    def _folder(self, files: Mapping[str, bytes]) -> str:
        folders: dict[str, dict[str, bytes]] = {}
        entries: list[tuple[str, bytes, str]] = []
        for path, data in files.items():
            first, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(first, {})[rest] = data
            else:
                entries.append(("100644", path.encode(), self.blob(data)))
        entries += [("40000", name.encode(), self._folder(inner)) for name, inner in folders.items()]
        return self.tree(sorted(entries, key=lambda entry: entry[1] + (b"/" if entry[0] == "40000" else b"")))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._serve()

            do_POST = do_GET

            def _serve(self) -> None:
                server.requests.append(f"{self.command} {self.path}")
                length = int(self.headers.get("Content-Length") or 0)
                self.body = self.rfile.read(length)
                if self.headers.get("Transfer-Encoding") == "chunked":
                    self.body = self._chunks()
                before = server.before  # a test may take it away at this moment
                if before is not None and before(self):
                    self.close_connection = True
                    return
                user, _, password = (
                    base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic "))
                    .decode()
                    .partition(":")
                )
                if password not in server.tokens:
                    self.answer(401, b"no", {"WWW-Authenticate": 'Basic realm="git"'})
                    return
                server.users.append(user)
                self._backend()

            def _chunks(self) -> bytes:
                body = b""
                while size := int(self.rfile.readline().strip() or b"0", 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def _backend(self) -> None:
                path, _, query = self.path.partition("?")
                environment = {
                    **_ENV,
                    "GIT_PROJECT_ROOT": str(server.repository.parent),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "CONTENT_LENGTH": str(len(self.body)),
                    "REMOTE_USER": "device",
                }
                done = subprocess.run(
                    [str(BACKEND)], env=environment, input=self.body, capture_output=True, check=False
                )
                head, _, body = done.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
                self.answer(int(headers.pop("Status", "200").split()[0]), body, headers)

        return Handler
