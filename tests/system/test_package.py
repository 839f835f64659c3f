"""The Debian packages: what is in them, and what they do to a real systemd when they come, change and go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.box import Box, Result
from tests.system.packages import OLDER, Packages, build, run
from tests.system.service import Service

pytestmark = pytest.mark.system

MARGOD = "/usr/bin/margod"
_DPKG = ("--no-triggers", "--force-unsafe-io")
"""Debian's index of all manual pages is not made anew each time; the box has no disk to wait for."""


class Device:
    """A box on which packages are installed, as a person does it with dpkg."""

    def __init__(self, box: Box) -> None:
        """Take a box without margod."""
        self.box = box
        self.service = Service(box, MARGOD)

    def install(self, *packages: Path) -> Result:
        """Install or upgrade; a changed configuration stays."""
        files = [f"/mnt/packages/{package.name}" for package in packages]
        return self.box.run("dpkg", *_DPKG, "--force-confold", "--install", *files, timeout=120)

    def clear(self) -> None:
        """Remove the packages and everything that a device knows."""
        self.box.shell(
            "systemctl stop devwfm.service 2>/dev/null || true\n"
            f"dpkg {' '.join(_DPKG)} --purge margod-devwfm margod >/dev/null 2>&1\n"
            "rm -rf /var/lib/margod /etc/margod /srv/devwfm /tmp/evil; systemctl reset-failed",
            timeout=60,
        )

    def identity(self) -> str:
        """Return the sums of everything that is stored of key, certificate and enrolment."""
        return self.box.shell("cd /var/lib/margod && find gen-* -type f | sort | xargs sha256sum").stdout


@pytest.fixture
def device(bare_box: Box) -> Iterator[Device]:
    """Give a device without margod, and without what an earlier test left."""
    fresh = Device(bare_box)
    fresh.clear()
    yield fresh
    assert "Traceback" not in fresh.service.journal()


def _links(document: Path) -> list[Path]:
    """Return the files that a document in Markdown links."""
    named = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    return [(document.parent / name).resolve() for name in named]


def contents(package: Path) -> dict[str, str]:
    """Return path -> rights and owner of what is in a package."""
    rows = (line.split(None, 5) for line in run("dpkg-deb", "--contents", package).splitlines())
    return {row[5].split(" -> ")[0].removeprefix("."): f"{row[0]} {row[1]}" for row in rows}


def test_the_development_wfm_is_in_a_package_of_its_own(packages: Packages) -> None:
    """margod has nothing of devwfm and the demo; margod-devwfm has nothing else; no file is in both."""
    main, side = contents(packages.margod), contents(packages.devwfm)
    ours = [path.split("site-packages/margod/")[1] for path in main if "site-packages/margod/" in path]
    assert not [path for path in ours if path.startswith(("devwfm/", "demo/"))]
    theirs = [path.split("site-packages/margod/")[1] for path in side if "site-packages/margod/" in path]
    assert {path.split("/")[0] for path in theirs if path} == {"devwfm", "demo"}
    assert not {path for path in main if not path.endswith("/")} & {path for path in side if not path.endswith("/")}


def test_git_is_inside_and_nothing_that_nobody_imports(packages: Packages) -> None:
    """dulwich comes along; urllib3, which it names and margod goes without, does not."""
    modules = {path.split("site-packages/")[1].split("/")[0] for path in contents(packages.margod) if "site-p" in path}
    assert "dulwich" in modules
    assert {module for module in modules if module.startswith("urllib3")} == set()
    kib = int(run("dpkg-deb", "--field", packages.margod, "Installed-Size"))
    assert kib < 55 << 10, "55 MiB: what a gateway's flash is asked for"


def test_every_file_is_roots_and_compiled(packages: Packages) -> None:
    """No set-user-id, nothing that others may write, a .pyc for each .py, man pages and documents in their places."""
    for package in (packages.margod, packages.devwfm):
        files = contents(package)
        for path, rights in files.items():
            assert rights.endswith("root/root"), path
            assert rights[0] == "l" or (rights[8] != "w" and rights[5] != "w" and "s" not in rights[:10]), path
        sources = [path for path in files if path.endswith(".py") and not path.startswith("/usr/share/doc/")]
        assert sources
        tag = f"cpython-{re.findall(r'/python3.([0-9]+)/', sources[0])[0].zfill(2)}".replace("cpython-", "cpython-3")
        for path in sources:
            folder, name = path.rsplit("/", 1)
            assert f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc" in files
    files = contents(packages.margod)
    assert {"/usr/share/man/man8/margod.8.gz", "/usr/share/man/man5/margod.yaml.5.gz"} <= files.keys()
    assert files["/etc/margod/margod.yaml"].startswith("-rw-r-----")


def test_the_documents_lead_to_each_other(packages: Packages, tmp_path: Path) -> None:
    """What a hint or the README calls docs/..., and what the documents there link, is in the package at that place."""
    run("dpkg-deb", "--extract", packages.margod, tmp_path)
    folder = tmp_path.resolve() / "usr/share/doc/margod"
    readme = [link for link in _links(folder / "README.md") if link.is_relative_to(folder / "docs")]
    assert {folder / "docs/operations.md", folder / "docs/agent.md"} <= set(folder.rglob("docs/*.md"))
    found = [link for document in folder.rglob("docs/**/*.md") for link in _links(document)]
    assert found
    assert [link for link in readme + found if not link.is_file()] == []


def test_the_interpreter_is_bound(packages: Packages) -> None:
    """The packages ask for the very Python that they were compiled for, and come from nowhere else."""
    needs = run("dpkg-deb", "--field", packages.margod, "Depends").split(", ")
    python = Path("/usr/bin/python3").resolve().name
    assert python in [need.strip() for need in needs]
    version = run("dpkg-deb", "--field", packages.margod, "Version").strip()
    assert f"margod (= {version})" in run("dpkg-deb", "--field", packages.devwfm, "Depends")


def test_the_units_know_the_packages_place(packages: Packages, tmp_path: Path) -> None:
    """Nothing in them names /opt/margod, which the package does not have."""
    run("dpkg-deb", "--extract", packages.margod, tmp_path)
    units = {path.name: path.read_text() for path in (tmp_path / "usr/lib/systemd/system").iterdir()}
    assert units.keys() == {"margod.service", "margod-wait-enrolled.service", "margod-enrolled.target"}
    assert [name for name, text in units.items() if "/opt" in text] == []
    assert "\nExecStart=/usr/lib/margod/bin/margod run\n" in units["margod.service"]
    assert "\nExecPaths=/usr /bin /lib -/lib64\n" in units["margod.service"]


def test_the_same_sources_give_the_same_bytes(packages: Packages, tmp_path: Path) -> None:
    """Whoever builds it again can compare."""
    for first, second in zip((packages.margod, packages.devwfm), build(tmp_path), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_man_pages_are_well_formed_and_say_everything(tmp_path: Path) -> None:
    """Every command, option and setting is there; what a formatter would stumble over is not."""
    import shutil
    import sys

    from margod.cli import COMMANDS
    from margod.config.settings import SETTINGS

    run(sys.executable, "tools/manpages.py", tmp_path)
    commands = (tmp_path / "margod.8").read_text()
    settings = (tmp_path / "margod.yaml.5").read_text()
    assert [name for name in COMMANDS if ".SS margod {}\n".format(name.replace("-", "\\-")) not in commands] == []
    assert ".B \\-\\-timeout TIME" in commands
    assert [key for key in SETTINGS if f".B {key}\n" not in settings] == []
    if shutil.which("mandoc"):
        run("mandoc", "-T", "lint", "-W", "warning", tmp_path / "margod.8", tmp_path / "margod.yaml.5")


def test_an_installation_makes_no_key_and_starts_nothing(device: Device, packages: Packages) -> None:
    """An image built with the package holds no identity; the first boot makes one, since the unit is enabled."""
    box = device.box
    device.install(packages.margod)
    assert device.service.show("UnitFileState") == "enabled"
    assert device.service.show("ActiveState") == "inactive"
    assert box.run("test", "-e", "/var/lib/margod", check=False).returncode == 1
    assert device.service.rights("/etc/margod") == "750 root:margod directory"
    assert device.service.rights("/etc/margod/conf.d") == "750 root:margod directory"
    assert device.service.rights("/etc/margod/margod.yaml") == "640 root:margod regular file"
    assert box.run(MARGOD, "config", "check").returncode == 0
    device.service.start()
    device.service.await_status(lambda status: status["state"] == "discovering")
    assert device.service.rights("/var/lib/margod") == "700 margod:margod directory"
    assert box.run("dpkg", "--verify", "margod").stdout == ""
    # What would take the interpreter away has to take margod away first.
    python = Path("/usr/bin/python3").resolve().name
    refused = box.run("dpkg", "--dry-run", "--remove", python, check=False)
    assert refused.returncode != 0
    assert f"margod depends on {python}" in refused.stderr


def test_roots_commands_take_nothing_from_where_root_stands(device: Device, packages: Packages) -> None:
    """Modules in the present folder or on PYTHONPATH are not imported, and nothing is written beside margod's own."""
    device.install(packages.margod)
    before = device.box.shell("find /usr/lib/margod | sort | sha256sum").stdout
    for name in ("json.py", "argparse.py", "sitecustomize.py", "usercustomize.py", "margod/__init__.py"):
        device.box.write(f"/tmp/evil/{name}", "open('/tmp/evil/taken', 'w').close()\n")
    poisoned = "cd /tmp/evil && PYTHONPATH=/tmp/evil PYTHONSTARTUP=/tmp/evil/json.py PYTHONUSERBASE=/tmp/evil margod"
    for command in ("--version", "config check", "identity show || true", "check --offline || true"):
        device.box.shell(f"{poisoned} {command}")
    assert device.box.run("test", "-e", "/tmp/evil/taken", check=False).returncode == 1
    assert device.box.shell("find /usr/lib/margod | sort | sha256sum").stdout == before
    refused = device.box.run(MARGOD, "devwfm", check=False)
    assert refused.returncode == 1
    assert "margod-devwfm" in refused.stderr


def test_the_package_speaks_token_and_fetches(device: Device, packages: Packages) -> None:
    """Onboarded by the packaged WFM that speaks `token`, the packaged margod fetches what is to be deployed."""
    service = device.service
    device.install(packages.margod, packages.devwfm)
    more = "  protocol: token\nschedule: {polling: {rate: 1s}}\n"
    service.point_at(service.start_wfm("auto", "--protocol", "token"), trusted=True, more=more)
    service.deploy("pump", "kind: ApplicationDeployment\n")
    service.start()
    status = service.await_status(lambda status: status["desired_state"]["deployments"] == 1)
    assert status["state"] == "enrolled"
    assert status["desired_state"]["commit"]


def test_an_upgrade_loses_nothing(device: Device, packages: Packages) -> None:
    """Key, client id and configuration stay, the new daemon runs, the WFM is asked nothing, old modules are gone."""
    service, box = device.service, device.box
    device.install(packages.older, packages.older_devwfm)
    assert OLDER in box.run("dpkg-query", "--show", "margod").stdout
    service.point_at(service.start_wfm("auto"), trusted=True)
    service.start()
    client = service.await_status(lambda status: status["state"] == "enrolled")["client_id"]
    # The report is stored before the identity is compared.
    service.await_status(lambda status: status["reason"] == "enrolled")
    identity, process = device.identity(), service.show("MainPID")
    configuration = box.run("cat", "/etc/margod/margod.yaml").stdout
    box.run(MARGOD, "devwfm", "stats", "--directory", "/srv/devwfm", "--reset")
    device.install(packages.margod, packages.devwfm)
    assert service.show("ActiveState") == "active"
    assert service.show("MainPID") != process
    assert service.await_status(lambda status: status["state"] == "enrolled")["client_id"] == client
    assert device.identity() == identity
    assert box.run("cat", "/etc/margod/margod.yaml").stdout == configuration
    assert service.rights("/etc/margod/margod.yaml") == "640 root:margod regular file"
    stats = box.run(MARGOD, "devwfm", "stats", "--directory", "/srv/devwfm").stdout
    assert '"onboarding"' not in stats
    assert box.shell("find /usr/lib/margod -name 'gone_*'").stdout == ""
    # What an operator has stopped and disabled is found so after the next one.
    box.run("systemctl", "disable", "--now", "margod.service")
    device.install(packages.margod)
    assert service.show("ActiveState") == "inactive"
    assert service.show("UnitFileState") == "disabled"
    assert device.identity() == identity


def test_the_identity_survives_a_purge(device: Device, packages: Packages) -> None:
    """Removed and purged, nothing runs and no file is left; installed again, the device is the same."""
    service, box = device.service, device.box
    device.install(packages.margod)
    service.start()
    service.await_status(lambda status: status["identity"])
    shown = box.run(MARGOD, "identity", "show").stdout
    box.run("dpkg", "--remove", "margod")
    assert service.show("LoadState") == "not-found"
    assert service.show("ActiveState") == "inactive"
    assert box.run("test", "-e", "/etc/margod/margod.yaml", check=False).returncode == 0
    identity = device.identity()
    box.run("rm", "/etc/margod/conf.d/box.yaml")
    purged = box.run("dpkg", "--purge", "margod")
    assert "rm -r /var/lib/margod" in purged.stderr
    assert box.shell("ls -d /usr/lib/margod /etc/margod /usr/bin/margod 2>/dev/null || true").stdout == ""
    assert box.shell("ls /etc/systemd/system/*.wants | grep margod || true").stdout == ""
    assert service.rights("/var/lib/margod") == "700 margod:margod directory"
    assert device.identity() == identity
    device.install(packages.margod)
    service.start()
    service.await_status(lambda status: status["identity"])
    assert box.run(MARGOD, "identity", "show").stdout == shown
