"""What the mirrors of every generation have in common: a disk that fails at the opening, a person's word that ends."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from margod.gitfetch import Fetched
from margod.model import reasons
from margod.model.errors import MargodError
from margod.protocols.token.access import Source, Try
from margod.protocols.token.credentials import GitAccess
from margod.shell.gitmirroring import GitMirroring
from margod.shell.mirrored import Failed
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


async def test_what_a_person_accepts_is_the_next_commit(tmp_path: Path) -> None:
    """Whichever that is, a move's first one too: history that is rewritten after it is held back again."""
    async with enrolled(tmp_path) as device:
        mirroring = GitMirroring(device.courier, device.shell.disk, device.shell.actions.ground)
        mirroring._for = device.courier.binding
        trying = Try(GitAccess("https://git.test/a.git", "token-1"), Source.STORED)

        async def take(commit: str, *, rewound: bool = False) -> bool:
            files = {f"{commit}.yaml": f"kind: {commit}\n".encode()}
            return await mirroring._take(Fetched(commit * 40, files, rewound), trying)

        try:
            assert await take("a")
            for goes_on in ("b", "c"):
                mirroring.accept()
                assert await take(goes_on, rewound=goes_on == "c")
                with pytest.raises(Failed, match="git-rewound"):
                    await take("d", rewound=True)
            assert mirroring.commit == "c" * 40
        finally:
            await device.shell.disk.run(mirroring.close)
