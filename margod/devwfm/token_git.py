"""The Git repository of the development WFM: what is to be deployed as commits, served by dulwich's own server."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from dulwich.errors import GitProtocolError, HangupException
from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo
from dulwich.server import DictBackend, UploadPackHandler
from dulwich.web import make_wsgi_chain

BRANCH: Final = b"refs/heads/main"
_NOT_GIT: Final = (GitProtocolError, HangupException, ValueError, LookupError, AssertionError)
_WHO: Final = b"margod development WFM <wfm@localhost>"


class _Upload(UploadPackHandler):
    """dulwich's own, which would have every client take thin packs; git's own server does not ask for that."""

    @classmethod
    def required_capabilities(cls) -> tuple[bytes, ...]:
        return tuple(each for each in super().required_capabilities() if each != b"thin-pack")


class TokenRepository:
    """One bare repository in a directory, made when it is first opened. Each deployment is a file `<id>.yaml`."""

    def __init__(self, directory: Path) -> None:
        """Open or make it."""
        found = (directory / "HEAD").exists()
        self._repository = (
            Repo(str(directory)) if found else Repo.init_bare(str(directory), mkdir=not directory.exists())
        )
        self._repository.refs.set_symbolic_ref(b"HEAD", BRANCH)  # type: ignore[arg-type]  # a name is bytes here too
        served: dict[str, Any] = {"/": self._repository}
        self._serve = make_wsgi_chain(DictBackend(served), handlers={b"git-upload-pack": _Upload})

    def close(self) -> None:
        """Close its files."""
        self._repository.close()

    def bring(self, deployments: Mapping[str, bytes], *, rewind: bool = False) -> str:
        """Make the branch hold exactly these, by id; returns its commit. `rewind`: as history of its own."""
        store, tree = self._repository.object_store, Tree()
        for deployment_id, text in deployments.items():
            blob = Blob.from_string(text)
            store.add_object(blob)
            tree.add(f"{deployment_id}.yaml".encode(), 0o100644, blob.id)
        refs: Any = self._repository.refs
        tip: Any = refs.as_dict().get(BRANCH)
        if tip is not None and not rewind and store[tip].tree == tree.id:  # type: ignore[attr-defined]  # a tip is a commit
            return str(tip.decode())
        store.add_object(tree)
        commit = Commit()
        commit.tree, commit.parents = tree.id, [tip] if tip is not None and not rewind else []
        commit.author = commit.committer = _WHO
        commit.author_time = commit.commit_time = int(time.time())
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"desired state"
        store.add_object(commit)
        refs[BRANCH] = commit.id
        return commit.id.decode()

    def answer(
        self, method: str, path: str, query: str, fields: Mapping[str, str], body: bytes
    ) -> tuple[int, str, bytes]:
        """Answer a request for `path` below the repository: status, media type and body. Nobody can push."""
        asked = (method, path, query)
        if asked not in (("GET", "/info/refs", "service=git-upload-pack"), ("POST", "/git-upload-pack", "")):
            return 403, "text/plain", b"this repository can be fetched and nothing else"
        said: list[tuple[str, str]] = []

        def start(status: str, headers: list[tuple[str, str]], _exc: object = None) -> Any:
            said.append((status, dict(headers).get("Content-Type", "application/octet-stream")))
            return pieces.append

        pieces: list[bytes] = []
        environment: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": fields.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": fields.get("content-encoding", ""),
            "HTTP_GIT_PROTOCOL": fields.get("git-protocol", ""),
            "wsgi.input": BytesIO(body),
        }
        try:
            pieces += list(self._serve(environment, start))
        except (*_NOT_GIT, zlib.error, EOFError) as error:  # the last two: what was said to be compressed is not
            return 400, "text/plain", f"not Git as it is spoken here: {error}".encode()
        status, media = said[0]
        return int(status.split()[0]), media, b"".join(pieces)
