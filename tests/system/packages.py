"""The Debian packages of this margod as `make deb` builds them, and older ones to upgrade from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.system.installation import PROJECT

OLDER: Final = "0.0.1"


class Packages:
    """`margod` and `devwfm` are files in `folder`, `older` and `older_devwfm` those of the version before."""

    def __init__(self, folder: Path) -> None:
        """Build them, compressed little. Takes seconds, the first time a minute."""
        self.folder = folder
        folder.chmod(0o755)
        self.margod, self.devwfm = build(folder)
        self.older, self.older_devwfm = (self._aged(package) for package in (self.margod, self.devwfm))

    def _aged(self, package: Path) -> Path:
        """Return a copy that says it is older, and has a module that the new one has not."""
        name, version, rest = package.name.split("_")
        made = self.folder / f"{name}_{OLDER}_{rest}"
        root = self.folder / "aged"
        run("dpkg-deb", "--raw-extract", package, root)
        control = root / "DEBIAN/control"
        control.write_text(control.read_text().replace(version, OLDER))
        site = next(root.glob("usr/lib/margod/lib/python3.*/site-packages/margod"))
        (site / f"gone_{name.replace('-', '_')}.py").write_text("")
        run("dpkg-deb", "--root-owner-group", "-Znone", "--build", root, made)
        run("rm", "-r", root)
        return made


def build(folder: Path) -> tuple[Path, Path]:
    """Run `make deb`'s program; return margod and margod-devwfm."""
    run(sys.executable, PROJECT / "tools/deb.py", "--fast", "--out", folder)
    return next(folder.glob("margod_*.deb")), next(folder.glob("margod-devwfm_*.deb"))


def run(*command: str | Path) -> str:
    """Run a program and return what it prints; RuntimeError with its words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=PROJECT)
    if done.returncode:
        raise RuntimeError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
