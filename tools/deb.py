"""`make deb`: the Debian packages margod and margod-devwfm, into dist/. Needs dpkg-deb and the Debian's own Python.

    deb.py [--out FOLDER] [--version VERSION] [--fast] | --dependencies

The dependencies are the wheels of requirements/runtime.lock, checked against its hashes; they are installed and
compiled once and kept under .cache/. The same sources on the same Debian give the same bytes. What is decided here,
and why, is in docs/decisions/0015-debian-package.md.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[1]
PREFIX: Final = "/usr/lib/margod"
OF_DEVWFM: Final = ("devwfm", "demo")
"""The parts of the Python package that are in margod-devwfm."""

_LOCK: Final = PROJECT / "requirements" / "runtime.lock"
_SCRIPTS: Final = PROJECT / "packaging" / "deb"
_UNITS: Final = ("margod.service", "margod-wait-enrolled.service", "margod-enrolled.target")
_LAUNCHER: Final = f"""\
#!{PREFIX}/bin/python -IB
from margod.cli import main

raise SystemExit(main())
"""
_LISTS: Final = {"RECORD", "REQUESTED", "direct_url.json"}
"""What pip notes of an installation, which dpkg knows better."""
_UNUSED: Final = ("urllib3", "urllib3-*.dist-info")
"""What dulwich asks for and margod never imports (docs/decisions/0023-git.md): nobody has to keep it up to date."""

_DOCUMENTS: Final = (
    "README.md",
    "docs/operations.md",
    "docs/agent.md",
    "docs/example_agent.py",
    "docs/decisions/0011-clock.md",
    "docs/decisions/0015-debian-package.md",
)
"""What hints name, and what these documents link."""


@dataclass(frozen=True)
class Debian:
    """The Debian that the packages are for: the one this runs on."""

    python: str  # python3.11
    architecture: str
    release: str

    @classmethod
    def here(cls) -> Debian:
        """Ask the system. Raises SystemExit where it is no Debian with a Python."""
        if shutil.which("dpkg-deb") is None:
            raise SystemExit("make deb: no dpkg-deb; packages are built on the Debian that they are for")
        interpreter = Path("/usr/bin/python3").resolve()
        if not re.fullmatch(r"python3\.\d+", interpreter.name):
            raise SystemExit("make deb: no /usr/bin/python3; install it once with: apt-get install python3")
        known = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
        release = known.get("ID", "linux").strip('"') + known.get("VERSION_ID", "").strip('"')
        release = release.replace("debian", "deb")
        return cls(interpreter.name, _output("dpkg", "--print-architecture"), release)

    @property
    def interpreter(self) -> str:
        """The path of Debian's own Python."""
        return f"/usr/bin/{self.python}"

    @property
    def site(self) -> str:
        """Where modules are, seen from the package's root."""
        return f"{PREFIX}/lib/{self.python}/site-packages".lstrip("/")


@dataclass(frozen=True)
class Package:
    """What the control file says of a package."""

    name: str
    version: str
    architecture: str
    about: str
    needs: str


def main() -> None:
    """Build both packages and print their paths."""
    from margod import __version__

    parser = argparse.ArgumentParser(prog="deb.py", description="Build the Debian packages.")
    parser.add_argument("--out", type=Path, default=PROJECT / "dist")
    parser.add_argument("--version", default=__version__, help="instead of margod's own")
    parser.add_argument("--fast", action="store_true", help="compress little; for tests")
    parser.add_argument("--dependencies", action="store_true", help="only make what is kept under .cache/")
    args = parser.parse_args()
    if args.dependencies:
        os.umask(0o022)
        _dependencies(Debian.here())
        return
    for path in build(args.out, args.version, fast=args.fast):
        print(os.path.relpath(path))


def build(out: Path, version: str, *, fast: bool = False) -> list[Path]:
    """Build margod and margod-devwfm of this version into `out`. Raises SystemExit in words where it cannot."""
    os.umask(0o022)
    debian = Debian.here()
    full = f"{version}+{debian.release}"
    epoch = _epoch()
    dependencies = _dependencies(debian)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="margod-deb-") as scratch:
        whole, devwfm = Path(scratch, "margod"), Path(scratch, "margod-devwfm")
        for root in (whole, devwfm):
            root.mkdir()
            root.chmod(0o755)
        _put_environment(whole, debian, dependencies)
        _put_system_files(whole)
        _put_documents(whole, "margod", epoch)
        _put_documents(devwfm, "margod-devwfm", epoch)
        for part in OF_DEVWFM:
            target = devwfm / debian.site / "margod" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            (whole / debian.site / "margod" / part).rename(target)
        for script in ("postinst", "prerm", "postrm"):
            _put(_SCRIPTS / f"margod.{script}", whole / "DEBIAN" / script, 0o755)
        (whole / "DEBIAN/conffiles").write_text("/etc/margod/margod.yaml\n")
        needs = f"{debian.python}, libc6 (>= {_glibc(dependencies)}), libgcc-s1, libstdc++6, systemd (>= 252), tzdata"
        main = Package("margod", full, debian.architecture, _ABOUT, needs)
        side = Package("margod-devwfm", full, "all", _ABOUT_DEVWFM, f"margod (= {full})")
        return [_pack(main, whole, out, epoch, fast=fast), _pack(side, devwfm, out, epoch, fast=fast)]


_ABOUT: Final = """\
Section: net
Recommends: ca-certificates
Suggests: margod-devwfm
Description: Margo onboarding daemon
 Brings an industrial edge gateway under the management of a Margo Workload
 Fleet Manager (WFM), unattended, and keeps that identity for years: root CA,
 key, signed onboarding request, approval, client id, capabilities.
"""
_ABOUT_DEVWFM: Final = """\
Section: devel
Enhances: margod
Description: development fleet manager for margod
 A Margo Workload Fleet Manager to develop against (margod devwfm) and the
 whole onboarding on one machine (margod demo). Not for production, and not
 for a device in the field.
"""


def _put_environment(root: Path, debian: Debian, dependencies: Path) -> None:
    """Lay down the virtual environment: margod beside its dependencies, compiled, for Debian's own interpreter."""
    home = root / PREFIX.lstrip("/")
    site = root / debian.site
    site.parent.mkdir(parents=True)
    shutil.copytree(dependencies, site, symlinks=True)
    for source in _sources():
        _put(PROJECT / source, site / source, 0o644)
    _compile(debian, site / "margod", root)
    (home / "bin").mkdir()
    (home / "bin/python").symlink_to(debian.interpreter)
    (home / "bin/margod").write_text(_LAUNCHER)
    (home / "bin/margod").chmod(0o755)
    version = debian.python.removeprefix("python")
    (home / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n")
    (root / "usr/bin").mkdir()
    (root / "usr/bin/margod").symlink_to(f"..{PREFIX.removeprefix('/usr')}/bin/margod")


def _put_system_files(root: Path) -> None:
    """Lay down units, user, directories and the sample configuration."""
    for name in _UNITS:
        unit = root / "usr/lib/systemd/system" / name
        _put(PROJECT / "systemd" / name, unit, 0o644)
        unit.write_text(for_package(unit.read_text()))
    for kind in ("sysusers.d", "tmpfiles.d"):
        _put(PROJECT / "systemd" / kind / "margod.conf", root / "usr/lib" / kind / "margod.conf", 0o644)
    _put(PROJECT / "config/margod.yaml", root / "etc/margod/margod.yaml", 0o640)
    (root / "etc/margod/conf.d").mkdir(mode=0o750)
    (root / "etc/margod").chmod(0o750)


def for_package(unit: str) -> str:
    """Return the text of a unit for the package's place instead of /opt/margod."""
    return unit.replace("ExecPaths=/opt/margod /usr", "ExecPaths=/usr").replace("/opt/margod/bin/", f"{PREFIX}/bin/")


def _put_documents(root: Path, package: str, epoch: int) -> None:
    """Lay down copyright and changelog; for margod itself man pages, README and docs too, placed as they are here."""
    folder = root / "usr/share/doc" / package
    _put(PROJECT / "LICENSE", folder / "copyright", 0o644)
    _zip(PROJECT / "CHANGELOG.md", folder / "changelog.gz", epoch)
    if package != "margod":
        return
    for name in _DOCUMENTS:
        _put(PROJECT / name, folder / name, 0o644)
    with tempfile.TemporaryDirectory() as pages:
        subprocess.run([sys.executable, PROJECT / "tools/manpages.py", pages], check=True, cwd=PROJECT)
        for page in Path(pages).iterdir():
            _zip(page, root / f"usr/share/man/man{page.suffix[1:]}" / f"{page.name}.gz", epoch)


def _pack(package: Package, root: Path, out: Path, epoch: int, *, fast: bool) -> Path:
    """Write the control files of `root` and make its package."""
    files = sorted(path for path in _walk(root) if path.is_file() and not path.is_symlink())
    installed = [path for path in files if path.relative_to(root).parts[0] != "DEBIAN"]
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in installed]
    control = root / "DEBIAN"
    control.mkdir(exist_ok=True)
    (control / "md5sums").write_text("".join(line for line in sums if "  etc/" not in line))
    size = sum(-(-path.stat().st_size // 1024) for path in installed)
    (control / "control").write_text(
        f"Package: {package.name}\nVersion: {package.version}\nArchitecture: {package.architecture}\n"
        f"Maintainer: The maintainers of margod\nInstalled-Size: {size}\nDepends: {package.needs}\n"
        f"Priority: optional\n{package.about}"
    )
    for path in [*_walk(root), root]:
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    made = out / f"{package.name}_{package.version}_{package.architecture}.deb"
    compression = ["-Zgzip", "-z1"] if fast else ["-Zxz", "--threads-max=1"]
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", *compression, "--build", root, made],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
    )
    return made


def _dependencies(debian: Debian) -> Path:
    """Return a folder with the locked dependencies, installed and compiled, made where it is not there yet."""
    version = _output(debian.interpreter, "-VV")
    recipe = Path(__file__).read_bytes()
    key = hashlib.sha256(b"\0".join([version.encode(), recipe, _LOCK.read_bytes()])).hexdigest()[:16]
    cache = PROJECT / ".cache" / "deb"
    cache.mkdir(parents=True, exist_ok=True)
    ready = cache / key
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.is_dir():
            building = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
            try:
                _install(debian, building)
                building.rename(ready)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return ready / debian.site


def _install(debian: Debian, root: Path) -> None:
    """Install the locked wheels below `root`, checked against their hashes, and compile them."""
    site = root / debian.site
    pip = [sys.executable, "-m", "pip", "--python", debian.interpreter, "install", "--quiet", "--target", str(site)]
    options = ["--require-hashes", "--only-binary=:all:", "--no-compile", "--no-deps", "--root-user-action=ignore"]
    done = subprocess.run([*pip, *options, "--requirement", str(_LOCK)], check=False)
    if done.returncode:
        raise SystemExit("make deb: the dependencies could not be installed")
    shutil.rmtree(site / "bin", ignore_errors=True)  # commands of theirs, for other interpreters
    for pattern in _UNUSED:
        for folder in site.glob(pattern):
            shutil.rmtree(folder)
    for path in list(_walk(site)):
        if path.parent.suffix == ".dist-info" and path.name in _LISTS:
            path.unlink()
        else:
            path.chmod(0o755 if path.is_dir() else 0o644)
    site.chmod(0o755)
    _compile(debian, site, root)


def _compile(debian: Debian, folder: Path, root: Path) -> None:
    """Compile what is in `folder` for where it will be. Checked against nothing, so root's commands never write one."""
    command = [debian.interpreter, "-s", "-m", "compileall", "-q", "-s", str(root), "-p", "/"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    subprocess.run([*command, "--invalidation-mode=unchecked-hash", str(folder)], check=True, env=environment, cwd="/")


def _glibc(dependencies: Path) -> str:
    """Return the version of glibc that the wheels need, by the most modest tag of each."""
    needed = [(2, 17)]
    for wheel in dependencies.glob("*.dist-info/WHEEL"):
        tags = re.findall(r"^Tag: .*manylinux_(\d+)_(\d+)_", wheel.read_text(), re.MULTILINE)
        if tags:
            needed.append(min((int(major), int(minor)) for major, minor in tags))
    return ".".join(map(str, max(needed)))


def _sources() -> list[Path]:
    """Return the files of the package margod, from the project's folder, without what running it left there."""
    found = (path.relative_to(PROJECT) for path in sorted((PROJECT / "margod").rglob("*")) if path.is_file())
    return [path for path in found if "__pycache__" not in path.parts]


def _epoch() -> int:
    from margod import RELEASED

    return int(os.environ.get("SOURCE_DATE_EPOCH") or RELEASED)


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        yield from (Path(folder, name) for name in (*folders, *files))


def _put(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _zip(source: Path, target: Path, epoch: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(source.read_bytes(), 9, mtime=epoch))


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
