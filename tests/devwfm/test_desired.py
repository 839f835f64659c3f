"""The desired state of the development WFM: what is deployed, how it is asked for, and each way to spoil it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from margod.devwfm.desired import BUNDLE, MANIFEST, SPOILS
from margod.devwfm.problems import DevWfmError, NotFound
from margod.devwfm.server import DevServer
from tests.devwfm.running import running
from tests.devwfm.test_process import run
from tests.support.device import Device, Reply
from tests.support.devwfm import DevWfm

TEXT = b"kind: ApplicationDeployment\nmetadata: {name: one}\n"
OTHER = b"kind: ApplicationDeployment\nmetadata: {name: two}\n"


def digest(data: bytes) -> str:
    """Return the digest as the wire writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Asking:
    """An onboarded device that asks for its desired state."""

    def __init__(self, device: Device, client_id: str) -> None:
        self._device, self._base = device, f"/api/v1/clients/{client_id}"

    async def get(self, path: str, **headers: str) -> Reply:
        """GET a route of this client, signed."""
        request = self._device.sign("GET", self._base + path)
        request.headers["Accept"] = MANIFEST
        request.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return await self._device.send(request)


async def asking(server: DevServer) -> Asking:
    """Onboard a device."""
    device = Device(server.url, server.ca_file)
    return Asking(device, (await device.onboard()).json()["clientId"])


@pytest.mark.parametrize("like", ["spec", "sandbox-2026"])
async def test_what_is_deployed_is_given(like: str, tmp_path: Path) -> None:
    """The version rises with each change and only then; digests, bundle and single files are what the manifest says."""
    async with running(tmp_path, like=like, prefix="/some/prefix") as server:
        control = server.desired
        assert control.deploy("a", TEXT)["version"] == 2
        assert control.deploy("a", TEXT)["version"] == 2
        assert control.deploy("b", OTHER)["version"] == 3
        device = await asking(server)
        answer = await device.get("/deployments")
        manifest, etag = answer.json(), answer.headers["etag"]
        assert manifest["manifestVersion"] == 3
        assert [(d["deploymentId"], d["digest"]) for d in manifest["deployments"]] == [
            ("a", digest(TEXT)),
            ("b", digest(OTHER)),
        ]
        assert all(d["url"].startswith("/api/v1/clients/") for d in manifest["deployments"])
        assert (await device.get("/deployments", If_None_Match=etag)).status == 304
        bundle = await device.get(f"/bundles/{manifest['bundle']['digest']}")
        assert bundle.headers["content-type"].split(";")[0] == BUNDLE
        assert digest(bundle.body) == manifest["bundle"]["digest"]
        assert ("etag" in bundle.headers) is (like == "spec")
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bundle.body))) as tar:
            assert {tar.extractfile(m).read() for m in tar} == {TEXT, OTHER}  # type: ignore[union-attr]
        assert (await device.get(f"/deployments/a/{digest(TEXT)}")).body == TEXT
        assert (await device.get(f"/deployments/a/{digest(OTHER)}")).status == 404
        assert (await device.get(f"/bundles/{digest(b'')}")).status == 404
        assert control.remove("a")["version"] == 4
        assert (await device.get("/deployments", If_None_Match=etag)).status == 200
        with pytest.raises(NotFound):
            control.remove("a")
        for name, text in (("../x", TEXT), ("", TEXT), ("fine", b"")):
            with pytest.raises(DevWfmError):
                control.deploy(name, text)


async def test_it_is_kept(tmp_path: Path) -> None:
    """A restart of the development WFM forgets neither version nor deployments."""
    for _ in range(2):
        async with running(tmp_path) as server:
            assert server.desired.deploy("a", TEXT)["version"] == 2


async def test_each_spoil_spoils_its_own(tmp_path: Path) -> None:
    """Every name changes what a device gets; the digest of the bundle is right unless that is what is spoilt."""
    async with running(tmp_path) as server:
        server.desired.deploy("a", TEXT)
        device = await asking(server)

        async def seen() -> list[object]:
            answer = await device.get("/deployments")
            manifest = answer.json()
            bundle = manifest["bundle"] and await device.get(f"/bundles/{manifest['bundle']['digest']}")
            one = await device.get(f"/deployments/a/{digest(TEXT)}")
            right = bundle and bundle.status == 200 and digest(bundle.body) == manifest["bundle"]["digest"]
            assert right or server.desired.spoils[0] in {
                *("bundle-mismatch", "bundle-404", "bundle-none", "version-back", "version-still"),
            }
            return [answer.body, answer.headers.get("etag"), bundle and bundle.body, one.body]

        plain = await device.get("/deployments")
        bundle = await device.get(f"/bundles/{plain.json()['bundle']['digest']}")
        right = [plain.body, plain.headers["etag"], bundle.body, TEXT]
        for name in SPOILS:
            server.desired.spoil([name])
            assert await seen() != right, name
        server.desired.spoil([])
        with pytest.raises(DevWfmError, match="not one of"):
            server.desired.spoil(["size", "nonsense"])


@pytest.mark.e2e
async def test_a_person_deploys(tmp_path: Path) -> None:
    """deploy, deployments, remove and spoil on the command line; what cannot be is said in a line."""
    directory = tmp_path / "wfm"
    where = ("--directory", str(directory))
    file = tmp_path / "pump.yaml"
    file.write_bytes(TEXT)
    async with DevWfm(directory):
        code, out, err = await run("deploy", str(file), *where)
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "manifest version 2, deployments: 1",
            f"  {'pump':40}  {digest(TEXT)[:19]}  {len(TEXT)} bytes",
        ]
        assert (await run("deploy", "-", "--id", "fan", *where, stdin=OTHER))[1].startswith("manifest version 3,")
        listed = json.loads((await run("deployments", "--json", *where))[1])
        assert [d["id"] for d in listed["deployments"]] == ["fan", "pump"]
        assert (await run("remove", "pump", *where))[1].startswith("manifest version 4, deployments: 1")
        assert (await run("remove", "pump", *where))[2] == "margod devwfm: no deployment pump is wanted\n"
        assert (await run("deploy", "-", *where, stdin=TEXT))[0] == 1
        assert (await run("deploy", str(tmp_path / "none"), *where))[0] == 1
        assert await run("spoil", "bomb", "size", *where) == (0, "spoilt: bomb, size\n", "")
        assert await run("spoil", *where) == (0, "spoilt: nothing\n", "")
        assert (await run("spoil", "odd", *where))[0] == 1
        assert (await run("spoil", "list", *where))[1].split()[0] == "algorithm"
