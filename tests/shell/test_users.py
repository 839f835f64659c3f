"""The numbers of users whom rules name, from a name service that hangs, and from one that does not."""

from __future__ import annotations

import asyncio
import pwd
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from margod.model.door import DoorError
from margod.model.reasons import DOOR_BUSY
from margod.shell import users
from margod.shell.users import Users


class Service:
    """A name service that knows `ann` and answers once it is let."""

    def __init__(self) -> None:
        self.begun, self.let = threading.Event(), threading.Event()
        self.asked: list[str] = []

    def __call__(self, name: str) -> SimpleNamespace:
        """Stand in for pwd.getpwnam."""
        self.asked.append(name)
        self.begun.set()
        self.let.wait(20)
        if name != "ann":
            raise KeyError(name)
        return SimpleNamespace(pw_uid=7)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The service that this system has for the test."""
    found = Service()
    monkeypatch.setattr(pwd, "getpwnam", found)
    yield found
    found.let.set()


async def test_asked_once_and_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is kept for some minutes; that a name is nobody's is asked again each time."""
    service.let.set()
    known = Users()
    for _ in range(2):
        assert await known.numbers(("ann", "bob")) == {"ann": 7}
    assert service.asked == ["ann", "bob", "bob"]
    monkeypatch.setattr(users, "KEPT", 0.0)
    fresh = Users()
    for _ in range(2):
        assert await fresh.numbers(("ann",)) == {"ann": 7}
    assert service.asked[3:] == ["ann", "ann"]
    known.close()
    fresh.close()


async def test_a_service_that_hangs(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is told so in time, none of them asks once more, and its answer is used when it comes."""
    monkeypatch.setattr(users, "PATIENCE", 0.01)
    known = Users()
    for _ in range(3):
        with pytest.raises(DoorError) as refused:
            await known.numbers(("ann",))
        assert (refused.value.reason, refused.value.status) == (DOOR_BUSY, 503)
    assert await asyncio.to_thread(service.begun.wait, 20)
    assert service.asked == ["ann"]
    monkeypatch.setattr(users, "PATIENCE", 20.0)
    waiting = [asyncio.ensure_future(known.numbers(("ann",))) for _ in range(2)]
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    service.let.set()
    assert await waiting[1] == {"ann": 7}
    assert service.asked == ["ann"]
    known.close()


async def test_closed_while_it_hangs(service: Service) -> None:
    """A stop does not wait for it; who waits is told that nothing comes any more."""
    known = Users()
    waits = asyncio.ensure_future(known.numbers(("ann",)))
    await asyncio.sleep(0)
    assert await asyncio.to_thread(service.begun.wait, 20)
    known.close()
    with pytest.raises(DoorError):
        await waits
