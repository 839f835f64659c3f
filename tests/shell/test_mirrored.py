"""What the mirrors of every generation have in common: a disk that fails at the opening."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from margod.model import reasons
from margod.model.errors import MargodError
from tests.shell.test_mirroring import A, B, enrolled


@pytest.mark.parametrize("call", ["exists", "glob"])
async def test_a_disk_that_fails_at_the_opening(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error like others for whoever opens or polls: the lane goes on, and the next poll makes it good."""
    async with enrolled(tmp_path) as device:

        def fail(path: Path, *_rest: object) -> None:
            raise OSError(errno.EIO, "Input/output error", str(path))

        with monkeypatch.context() as patched:
            (tmp_path / "state" / "mirror").mkdir(mode=0o700)
            patched.setattr(Path, call, fail)
            with pytest.raises(MargodError, match="Input/output error") as caught:
                await device.mirroring.open()
            found = await device.poll()
        assert caught.value.reason is reasons.STATE_UNUSABLE
        if call == "glob":  # a poll makes the directory, whether it exists or not
            assert (found.outcome.reason, "Input/output error" in found.outcome.detail) == (caught.value.reason, True)
        assert (await device.taken()).changed is (call == "glob")
        assert await device.texts() == {"a": A, "b": B}
