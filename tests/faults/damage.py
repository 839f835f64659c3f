"""Damage to what is stored: every file, cut, emptied, flipped, swapped, replaced by something else, given away.

In breadth through the vault, in samples through the daemon. Whatever happens: noticed or harmless, survived by the
generation before, set aside, shown, and never answered with a new identity.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from margod.config.last_good import NAME as LAST_GOOD
from margod.shell.ground import RUNTIME
from margod.shell.retired import FILE as RETIRED
from margod.shell.retired import encode_file
from margod.vault.generation import _sum
from tests.faults.campaign import Run, promise
from tests.faults.children import Look, look
from tests.faults.errors import yaml
from tests.faults.onboardings import Device, a_wfm
from tests.faults.zygote import Quick
from tests.support.zygote import Zygote
from tests.vault.support import IDENTITY, answer, enrolled, opened

Damage = Callable[[Path], None]

CLIENT = b"client-1"


def files_of(directory: Path) -> list[Path]:
    """Return every regular file below a state directory, the lock apart: it is empty and made anew."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "lock")


def cuts(data: bytes, rng: random.Random, most: int) -> Iterator[tuple[str, bytes]]:
    """Yield the content cut at every length, or at `most` of them with the ends among these."""
    lengths = range(len(data))
    for length in lengths if len(data) <= most else sorted({0, 1, len(data) - 1, *rng.sample(lengths, most)}):
        yield f"cut to {length} of {len(data)}", data[:length]


def flips(data: bytes, rng: random.Random, most: int) -> Iterator[tuple[str, bytes]]:
    """Yield the content with one bit flipped: every bit, or `most` of them."""
    bits = range(8 * len(data))
    for bit in bits if len(bits) <= most else rng.sample(bits, most):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(flipped)


def _elsewhere(path: Path) -> None:
    kept = path.with_name(f"{path.name}.elsewhere")
    path.rename(kept)
    path.symlink_to(kept)


def _written(data: bytes) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(data)

    return damage


def _made(how: str) -> Damage:
    """Return what puts something where nothing is."""

    def damage(path: Path) -> None:
        path.touch()
        KINDS[how](path)

    return damage


def _full(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "x").write_bytes(b"x")


def _with_mode(mode: int) -> Damage:
    return lambda path: path.chmod(mode)


def _given_away(path: Path) -> None:
    os.chown(path, 65534, 65534)


def _replaced(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path) -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return damage


KINDS: dict[str, Damage] = {
    "missing": _replaced(lambda path: None),
    "a directory": _replaced(lambda path: path.mkdir(mode=0o700)),
    "a full directory": _replaced(_full),
    "a symbolic link": _elsewhere,
    "a dangling link": _replaced(lambda path: path.symlink_to("/nowhere")),
    "a loop": _replaced(lambda path: path.symlink_to(path)),
    "a FIFO": _replaced(lambda path: os.mkfifo(path, 0o600)),
    "a huge file": lambda path: os.truncate(path, 1 << 33),
    "zeros": lambda path: _written(bytes(path.stat().st_size))(path),
    "longer": lambda path: _written(path.read_bytes() + b"\0" * 17)(path),
}
if os.geteuid() == 0:
    KINDS["/dev/zero"] = _replaced(lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)))
    KINDS["a block device"] = _replaced(lambda path: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(240, 77)))

MODES = (0o000, 0o200, 0o300, 0o100, 0o444, 0o640, 0o644, 0o660, 0o666, 0o604, 0o755, 0o777, 0o4777, 0o601)


def damage(run: Run) -> None:
    """Damage each file in each way, alone; then two or three at once, at random."""
    _root(run)
    rng, base = run.rng, run.place / "base"
    enrolled(base)
    (base / RUNTIME).write_bytes(b'{"attempt": "1"}')
    (base / LAST_GOOD).write_bytes(b"log: {level: info}\n")
    for file in (RUNTIME, LAST_GOOD):
        (base / file).chmod(0o600)
    for path in files_of(base):
        name = str(path.relative_to(base))
        for how, data in (
            *cuts(path.read_bytes(), rng, run.of(512, 12)),
            *flips(path.read_bytes(), rng, run.of(800, 12)),
        ):
            one(run, base, f"{name} {how}", {name: _written(data)})
        for how, act in KINDS.items():
            one(run, base, f"{name} is {how}", {name: act})
    _swaps(run, base)
    _directories(run, base)
    _rights(run, base, rng)
    _together(run, base, rng)


def one(run: Run, base: Path, where: str, acts: dict[str, Damage]) -> None:
    """Copy the vault, damage it, load it twice, and check both."""
    directory = run.place / "damaged"
    shutil.copytree(base, directory, symlinks=True)
    try:
        for name, act in acts.items():
            act(directory / name)
        lives = {name.split("/", maxsplit=1)[0] for name in acts}
        check(run, directory, where, both=lives >= {"gen-000001", "gen-000002"}, log="answer.log" in lives)
        run.count("vaults damaged")
    finally:
        shutil.rmtree(directory)


def check(run: Run, directory: Path, where: str, *, both: bool, log: bool) -> None:
    """Look twice. `both`: neither generation need be left; `log`: the log was damaged as well as a generation."""
    before = _inventory(directory)
    found = look(directory)
    if found.refused:
        promise(found.refused == "state-unusable", f"{where}: {found}")
        promise(_inventory(directory) == before, f"{where}: refused, and changed all the same")
        run.count("refused with the command that mends it", "`" in found.said[0])
        return
    _judge(where, found, both=both, log=log)
    again = look(directory)
    promise(again.view == found.view, f"{where}: {found.view} at first, then {again.view}")
    if found.view is not None and not found.view.damaged and not found.view.newer:
        with opened(directory) as vault:
            vault.append(answer("client-7"))
        kept = look(directory).view
        promise(kept is not None and kept.get("enrolment.json") == b"client-7", f"{where}: the next answer is lost")
    run.count("noticed and shown", bool(found.findings))
    run.count("without any harm", not found.findings)
    run.count("nothing left: damaged, and said so", found.view is not None and found.view.damaged)


def _judge(where: str, found: Look, *, both: bool, log: bool) -> None:
    view = found.view
    assert view is not None
    if view.damaged:
        promise(both, f"{where}: a generation was whole, and none was used: {found}")
        promise(not view.records, f"{where}: records of a damaged vault: {view}")
        promise("state-damaged" in found.findings, f"{where}: in silence")
        return
    promise(view.get("identity.key") == IDENTITY["identity.key"], f"{where}: the key is another or gone: {found}")
    promise(view.get("identity.crt") == IDENTITY["identity.crt"], f"{where}: the certificate does not match: {found}")
    promise(view.binding == "a", f"{where}: bound to {view.binding!r}")
    if view.get("enrolment.json") != CLIENT:
        promise(log and view.get("enrolment.json") is None, f"{where}: the client id is lost: {found}")
    if view.get("report.json") is None and where != "gen-000002 is missing":  # nothing tells that it ever was there
        promise("state-damaged" in found.findings, f"{where}: fell back in silence")


def _swaps(run: Run, base: Path) -> None:
    """Give each generation the files of the other, one by one and all."""
    older, newer = base / "gen-000001", base / "gen-000002"
    for target, source in ((newer, older), (older, newer)):
        for path in sorted(source.iterdir()):
            name = f"{target.name}/{path.name}"
            one(run, base, f"{name} from the other generation", {name: _written(path.read_bytes())})

    def exchange(directory: Path) -> None:
        (directory / "gen-000001").rename(directory / "x")
        (directory / "gen-000002").rename(directory / "gen-000001")
        (directory / "x").rename(directory / "gen-000002")

    directory = run.place / "damaged"
    shutil.copytree(base, directory)
    exchange(directory)
    check(run, directory, "the generations exchanged", both=True, log=False)
    shutil.rmtree(directory)


def _directories(run: Run, base: Path) -> None:
    """Replace each directory by something else, or take it away."""
    for name in ("gen-000001", "gen-000002"):
        for how in ("missing", "a symbolic link", "a dangling link", "a FIFO", "a directory", "a full directory"):
            one(run, base, f"{name} is {how}", {name: KINDS[how]})
    for name in ("quarantine", "gen-000003", "gen-999999999999999999", ".gen-000003.new", ".answer.log.new"):
        for how in ("a directory", "a loop", "a FIFO", "a full directory"):
            one(run, base, f"{name} is {how}", {name: _made(how)})
        one(run, base, f"{name} is a file", {name: _written(b"x")})


def _rights(run: Run, base: Path, rng: random.Random) -> None:
    """Change the mode of everything, and its owner: refused with the command, nothing changed."""
    everything = ["", *(str(path.relative_to(base)) for path in sorted(base.rglob("*")))]
    for name in everything:
        for mode in rng.sample(MODES, run.of(len(MODES) * 2, 3) if run.scale < 0.5 else len(MODES)):
            one(
                run,
                base,
                f"{name or 'the directory'} with mode {mode:o}",
                {name: _with_mode(mode)},
            )
        if os.geteuid() == 0:
            one(run, base, f"{name or 'the directory'} of nobody", {name: lambda path: os.chown(path, 65534, 65534)})


def _together(run: Run, base: Path, rng: random.Random) -> None:
    """Two or three damages at once."""
    names = [str(path.relative_to(base)) for path in files_of(base)]
    for _ in range(run.of(3000, 60)):
        chosen = rng.sample(names, rng.choice((2, 2, 3)))
        acts, told = {}, []
        for name in chosen:
            how = rng.choice([*KINDS, "flipped", "cut"])
            told.append(f"{name}: {how}")
            acts[name] = KINDS[how] if how in KINDS else _random(how, rng)
        one(run, base, "; ".join(told), acts)


def _random(how: str, rng: random.Random) -> Damage:
    def act(path: Path) -> None:
        data = path.read_bytes()
        if data:
            path.write_bytes(next(iter((flips if how == "flipped" else cuts)(data, rng, 1)))[1])

    return act


def _inventory(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in sorted(directory.rglob("*")):
        about = path.lstat()
        small = stat.S_ISREG(about.st_mode) and about.st_size < 1 << 20
        if path.name != "lock":  # any opening makes it
            found[str(path)] = (about.st_mode, about.st_uid, about.st_size, path.read_bytes() if small else b"")
    return found


def damaged_daemons(run: Run) -> None:
    """Start an enrolled device on each kind of damage: enrolled as it was, or blocked; never as somebody else."""
    _root(run)
    asyncio.run(_daemons(run))


def _root(run: Run) -> None:
    if os.geteuid() != 0:
        run.gaps.append("devices and other owners need root")


async def _daemons(run: Run) -> None:
    rng = run.rng
    async with a_wfm(run.place / "wfm") as wfm, Zygote() as zygote:
        home = run.place / "device"
        home.mkdir()
        daemon = Quick(zygote, home, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml("device"))
        device = Device("device", daemon, wfm)
        await daemon.start()
        before = await daemon.until("enrolled")
        device.look()
        await daemon.stop()
        base = run.place / "base"
        daemon.state.rename(base)
        (base / RETIRED).write_bytes(encode_file(["ab" * 32]))
        names = [str(path.relative_to(base)) for path in files_of(base)]
        cases: list[tuple[str, dict[str, Damage]]] = [
            (f"{name} is {how}", {name: KINDS[how] if how in KINDS else _random(how, rng)})
            for name in names
            for how in (*KINDS, "flipped", "cut")
        ]
        newest = sorted(path.name for path in base.glob("gen-*"))
        cases += [
            (f"every key is {how}", {f"{name}/identity.key": act for name in newest}) for how, act in KINDS.items()
        ]
        cases.append(("a newer format", {newest[-1]: _newer}))
        if os.geteuid() == 0:
            cases += [(f"{name} of nobody", {name: _given_away}) for name in ("", *newest)]
        cases += [(f"{name} is open to all", {name: _with_mode(0o777)}) for name in ("", *newest)]
        for where, acts in rng.sample(cases, run.of(len(cases), 8)):
            shutil.copytree(base, daemon.state)
            for name, act in acts.items():
                act(daemon.state / name)
            await _one_daemon(run, device, where, before)
            shutil.rmtree(daemon.state)
        await _second_daemons(run, device, base, zygote)


async def _one_daemon(run: Run, device: Device, where: str, before: dict[str, object]) -> None:
    daemon = device.daemon
    assert isinstance(daemon, Quick)
    await daemon.start()
    status = await daemon.until_status(lambda status: status["state"] in ("enrolled", "blocked"), "settled")
    said = {status["reason"], *(warning["code"] for warning in status["warnings"])}
    if status["state"] == "enrolled":
        for key in ("client_id", "identity"):
            promise(status[key] == before[key], f"{where}: {key} was {before[key]}, is {status[key]}")
        run.count("daemons enrolled as before, warned", "state-damaged" in said)
        run.count("daemons enrolled as before, no harm", "state-damaged" not in said)
    else:
        promise(said & {"state-damaged", "state-unusable", "state-newer"}, f"{where}: {said}")
        promise(status["identity"] is None, f"{where}: blocked, and shows an identity")
        run.count("daemons blocked, saying why")
    promise(device.onboardings() == [201], f"{where}: onboarded again: {device.onboardings()}")
    promise(len(await device.wfm.clients()) == 1, f"{where}: a new identity")
    promise(not [line for line in daemon.lines if "Traceback" in line], f"{where}: {daemon.lines}")
    await daemon.stop()
    run.count("daemons started on damage")


def _newer(generation: Path) -> None:
    manifest = json.loads((generation / "manifest.json").read_bytes())
    manifest = {**manifest, "format": 2, "more": ["x"]}
    manifest["sum"] = _sum(manifest)
    (generation / "manifest.json").write_text(json.dumps(manifest))


async def _second_daemons(run: Run, device: Device, base: Path, zygote: Zygote) -> None:
    """Start a second margod on the same directory at random moments of the first one's start: it ends with 75."""
    shutil.copytree(base, device.daemon.state)
    async with Zygote() as other:
        for turn in range(run.of(40, 2)):
            second_home = run.place / f"second-{turn}"
            second_home.mkdir()
            second = Quick(other, second_home, url=device.wfm.url, ca_file=device.wfm.ca_file, yaml=yaml("device"))
            second.options[-1] = str(device.daemon.state)
            await device.daemon.start()
            await asyncio.sleep(run.rng.uniform(0.0, 0.05) * (turn % 3))
            await second.start(wait=False)
            code = await second.ended()
            promise(code == 75, f"a second margod on the directory ended with {code}")
            await device.daemon.until("enrolled")
            await device.daemon.stop()
            run.count("second daemons turned away")
    promise(device.onboardings() == [201], f"with a second daemon: {device.onboardings()}")
