"""The process that tests.support.zygote has: it makes margod's imports and then forks whatever it is asked for.

What a child finds is what a process of its own would: descriptors 0 to 2 and no others, the environment, the directory,
the limits and the mask of whoever asked, Python's own signal handlers, random numbers of its own. What it has in common
with its siblings is the interpreter's start: the modules, and the seed of `hash`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

import margod.cli
from margod.service import imports

IMPORTS: Final[dict[str, tuple[Sequence[str], Sequence[str]]]] = {
    "run": (
        ["margod.cli.run"],
        [
            *("asyncio", "structlog", "margod.config", "margod.daemon", "margod.model.errors"),
            *("margod.service.foreign", "margod.service.journal", "margod.service.cores", "margod.shell.settings"),
        ],
    ),
    "check": (["margod.cli.check", "asyncio", "margod.config"], ["margod.check"]),
    "devwfm": (["margod.cli.devwfm", "margod.devwfm.server"], []),
}
"""By command: what its module in margod.cli imports once it is asked to run, and then under service.imports.lean."""
_SOON: Final = ("http_message_signatures", "cryptography.hazmat.backends.openssl.backend", "encodings.idna")
"""What each of them imports at its first request, by which time it may be anything."""

LARGEST: Final = 1 << 17
"""Bytes of an order at most: far more than arguments and an environment have."""
_CHANNELS: Final = 4
"""Descriptors that come with an order: 0, 1 and 2 of the child, and a socket on which its id and its end are told."""
_PR_SET_PDEATHSIG: Final = 1


class _Children:
    """Those that run, by their pidfds and by the sockets on which somebody waits for them."""

    def __init__(self) -> None:
        self.poll = select.poll()
        self._replies: dict[int, int] = {}
        self._ids: dict[int, int] = {}
        self._of: dict[int, int] = {}

    def add(self, child: int, reply: int) -> None:
        """Tell whoever waits at `reply` its id, with a pidfd."""
        handle = os.pidfd_open(child)
        self._replies[handle], self._ids[handle], self._of[reply] = reply, child, handle
        self.poll.register(handle, select.POLLIN)
        self.poll.register(reply, 0)  # POLLHUP always counts: nobody waits any more
        with socket.socket(fileno=os.dup(reply)) as to:
            try:
                socket.send_fds(to, [str(child).encode()], [handle])
            except BrokenPipeError:
                self.kill(handle)

    def happened(self, descriptor: int) -> None:
        """Go on from what `poll` told."""
        if descriptor in self._replies:
            self.bury(descriptor)
        elif descriptor in self._of:
            self.poll.unregister(descriptor)
            self.kill(self._of[descriptor])

    def kill(self, handle: int) -> None:
        """Kill one; it is buried when its end is seen."""
        signal.pidfd_send_signal(handle, signal.SIGKILL)

    def bury(self, handle: int) -> None:
        """Wait for one, and tell its exit code."""
        _, status = os.waitpid(self._ids.pop(handle), 0)
        reply = self._replies.pop(handle)
        with suppress(BrokenPipeError):  # whoever asked does not want to know
            os.write(reply, str(os.waitstatus_to_exitcode(status)).encode())
        for each in (handle, reply):
            with suppress(KeyError):  # nobody waited any more
                self.poll.unregister(each)
            os.close(each)
        del self._of[reply]

    def end(self) -> None:
        """Kill them all."""
        for handle in list(self._replies):
            self.kill(handle)
            self.bury(handle)


def serve(orders: int) -> dict[str, Any] | None:
    """Fork what is asked for. Returns the order in every child; None here, once nobody can ask any more."""
    children, me = _Children(), os.getpid()
    children.poll.register(orders, select.POLLIN)
    while True:
        # Orders come last: what they open may have the number of what was closed for another event of the same look.
        for descriptor, _ in sorted(children.poll.poll(), key=lambda event: event[0] == orders):
            if descriptor != orders:
                children.happened(descriptor)
                continue
            with socket.socket(fileno=os.dup(orders)) as asked:
                data, given, _, _ = socket.recv_fds(asked, LARGEST, _CHANNELS)
            if not data:
                children.end()
                return None
            child = os.fork()
            if child == 0:
                _settle(me, given)
                return dict(json.loads(data))
            *streams, reply = given
            children.add(child, reply)
            for each in streams:
                os.close(each)


def _settle(parent: int, given: list[int]) -> None:
    """Let go of all that is the zygote's, and end with it."""
    _end_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    for number in range(3):
        os.dup2(given[number], number)
    os.closerange(3, max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _become(order: dict[str, Any], run: Callable[[], int]) -> NoReturn:
    """Run in the environment of whoever asked, and end as a process of its own does."""
    os.environ.clear()
    os.environ.update(order["environment"])
    os.umask(order["umask"])
    os.chdir(order["directory"])
    for number, limits in order["limits"]:
        if resource.getrlimit(number) != tuple(limits):
            resource.setrlimit(number, tuple(limits))
    signal.pthread_sigmask(signal.SIG_SETMASK, order["mask"])
    sys.path[0] = order["directory"]
    sys.argv = [str(Path(margod.__file__).with_name("__main__.py")), *order["arguments"]]
    sys.exit(run())


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _import(command: str) -> None:
    before, lean = IMPORTS[command]
    for name in before:
        import_module(name)
    with imports.lean() if lean else nullcontext():
        for name in lean:
            import_module(name)
    for name in _SOON:
        import_module(name)


def main(run: Callable[[], int] = margod.cli.main) -> None:
    """Serve the socket whose number is the second argument; the first is the command that all orders are for.

    `run` is what the children do.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks, and for the children
    command, orders, with_parent = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    if with_parent:
        _end_with_parent()
    _import(command)
    gc.freeze()  # no collection of a child's looks at these again, and so copies their pages
    order = serve(orders)
    if order is not None:
        _become(order, run)


if __name__ == "__main__":
    main()
