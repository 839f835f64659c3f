"""The daemon as a process that is looked over at its end: no secret of it may have been shown anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.daemon import Daemon


class CheckedDaemon(Daemon):
    """A `Daemon` with an environment of its own and `wfm.timeout` settable."""

    def __init__(
        self,
        directory: Path,
        *,
        url: str,
        ca_file: Path | None = None,
        wfm: str = "timeout: 5s",
        yaml: str = "",
        env: dict[str, str] | None = None,
    ) -> None:
        """`wfm` and `yaml` go into the configuration as they are, `env` into the environment at every start."""
        directory.mkdir(exist_ok=True)
        super().__init__(directory, ca_file=ca_file, yaml=f'wfm: {{url: "{url}", {wfm}}}\n{yaml}')
        self._env = env
        self._shown: list[str] = []

    async def __aenter__(self) -> Self:
        """Start it and wait for its socket."""
        await self.start(env=self._env)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, and see that it still served its status and showed no traceback and no secret."""
        try:
            if error is None:
                self._shown.append(json.dumps(await self.status()))
                self._shown.append(json.dumps(await self.get("/v1/identity")))
        finally:
            await super().__aexit__(kind, error, trace)
        if error is None:
            self.check()

    async def retry(self) -> dict[str, Any]:
        """Have it make the next attempt now."""
        answer = await super().retry()
        self._shown.append(json.dumps(answer))
        return answer

    async def restart(self) -> None:
        """Start it again, in the same environment."""
        await self.start(env=self._env)

    def memory(self, field: str = "VmRSS") -> int:
        """Return a line of /proc/PID/status, in KiB; VmHWM is the highest VmRSS so far."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
        raise AssertionError(f"no {field}")

    def check(self) -> None:
        """Look for lines of the private key, and for characters that steer a terminal, in all that was shown."""
        keys = list(self.state.glob("gen-*/identity.key"))
        assert keys
        secret = {line for key in keys for line in key.read_text().splitlines()}
        shown = "\n".join([*self.journal, *self._shown])
        assert not [line for line in secret if line in shown]
        assert "PRIVATE KEY" not in shown
        assert not [c for c in shown.replace("\n", "") if not c.isprintable()]


def failed(status: dict[str, Any], state: str, reason: str, connection: str) -> str:
    """Check the whole of a status document of a device that failed at something; return the detail of the failure."""
    found = (status["state"], status["last_error"]["code"], status["connection"])
    assert found == (state, reason, connection), status
    assert status["reason"] == reason, status
    assert status["next_attempt_at"], status
    assert status["message"], status
    detail: str = status["last_error"]["detail"]
    assert detail == status["detail"]
    assert detail.isprintable()
    assert len(detail) <= 200
    return detail
