"""Through a proxy: what it is told, what goes through it, and whose fault a failure is."""

from __future__ import annotations

import asyncio
import base64
import socket

import pytest

from margod.model import reasons
from margod.model.wire import TransportFailure
from margod.wfm import Proxy, WfmClient
from margod.wfm.proxy import Reached, through_proxy
from margod.wfm.resolver import Resolver
from tests.support.patience import within
from tests.support.proxyserver import OPEN, ProxyServer, answers
from tests.support.rawserver import Certificates, RawServer
from tests.wfm.common import OK, answered, failed, get, post, says
from tests.wfm.common import answers as good

BASIC = "Basic " + base64.b64encode(b"gateway:s3cret").decode()


def client(certificates: Certificates, proxy: Proxy, timeout: float = 20.0) -> WfmClient:
    """A client through `proxy`, to whom no name resolves but the proxy's."""
    return WfmClient(certificates.client(), timeout=timeout, proxy=proxy, resolver=Resolver(_nothing))


def _nothing(host: str, port: int, family: socket.AddressFamily) -> list[object]:
    raise socket.gaierror(socket.EAI_NONAME, f"nobody resolves {host} here")


async def test_what_goes_out(certificates: Certificates) -> None:
    """The proxy learns host and port and its own header, the WFM everything else; one tunnel carries all requests."""
    async with (
        RawServer(good, context=certificates.server("wfm.example")) as server,
        ProxyServer() as proxy,
    ):
        device = client(certificates, Proxy(proxy.url, BASIC))
        url = f"https://wfm.example:{server.port}/a%2Fb"
        for _ in range(3):
            answered(await device.send(post(url, {"Signature": "x"})))
        await device.close()
        (head,) = proxy.asked
        lines = head.decode().split("\r\n")
        assert lines[0] == f"CONNECT wfm.example:{server.port} HTTP/1.1"
        assert f"Proxy-Authorization: {BASIC}" in lines
        assert f"Host: wfm.example:{server.port}" in lines
        assert [line for line in lines if line.startswith("User-Agent: margod/")]
        assert not [line for line in lines if "aiohttp" in line]
        assert not [line for line in lines if line.lower().startswith(("signature", "cookie"))]
        assert [request.line for request in server.requests] == ["POST /a%2Fb HTTP/1.1"] * 3
        sent = dict(server.requests[0].headers)
        assert sent.keys() == {"Signature", "Host", "Accept-Encoding", "Content-Length"}
        assert sent["Host"] == f"wfm.example:{server.port}"


async def test_ipv6_literal_of_the_wfm(certificates: Certificates) -> None:
    """An IPv6 address keeps its brackets in the CONNECT."""
    async with RawServer(good, context=certificates.server("::1")) as server, ProxyServer() as proxy:
        device = client(certificates, Proxy(proxy.url))
        answered(await device.send(get(f"https://[::1]:{server.port}/")))
        await device.close()
        assert proxy.asked[0].startswith(f"CONNECT [::1]:{server.port} HTTP/1.1\r\n".encode())
        assert b"proxy-authorization" not in proxy.asked[0].lower()


PAGE = b"<html>Welcome to the hotel</html>"
REFUSALS = {
    "401": (answers(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"), "proxy-refused"),
    "403": (answers(b"HTTP/1.1 403 Filtered\r\nContent-Length: 2\r\n\r\nno"), "proxy-refused"),
    "405": (answers(b"HTTP/1.0 405 Method Not Allowed\r\n\r\n"), "proxy-refused"),
    "407": (answers(b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"), "proxy-credentials-refused"),
    "500": (answers(b"HTTP/1.0 500 Unable to connect\r\n\r\n"), "proxy-no-route"),
    "502": (answers(b"HTTP/1.1 502 Bad Gateway\r\n\r\n" + PAGE), "proxy-no-route"),
    "503": (answers(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), "proxy-no-route"),
    "504": (answers(b"HTTP/1.1 504 Gateway Timeout\r\n\r\n"), "proxy-no-route"),
    "302": (answers(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n"), "proxy-failed"),
    "101": (answers(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n"), "proxy-failed"),
    "garbage": (answers(b"\x05\x00SSH-2.0\r\n\r\n"), "proxy-failed"),
    "TLS": (answers(b"\x15\x03\x01\x00\x02\x02\x46"), "proxy-failed"),
    "silence": (answers(b"", stay=True), "proxy-failed"),
    "close": (answers(b""), "proxy-failed"),
    "half a head": (answers(b"HTTP/1.1 200 OK\r\nX: "), "proxy-failed"),
    "endless head": (answers(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000), "proxy-failed"),
    "100 and nothing more": (answers(b"HTTP/1.1 100 Continue\r\n\r\n", stay=True), "proxy-failed"),
    "its credentials": (answers(b"HTTP/1.1 403 you are gateway:s3cret\r\n\r\n"), "proxy-refused"),
    "its header": (answers(f"HTTP/1.1 403 {BASIC}\r\n\r\n".encode()), "proxy-refused"),
    "its password": (answers(b"HTTP/1.1 407 s3cret is wrong\r\n\r\n"), "proxy-credentials-refused"),
}

SILENT = {"silence", "100 and nothing more"}
"""Those that say nothing more, which only the timeout ends."""


@pytest.mark.parametrize("name", REFUSALS)
async def test_proxy_says_no(certificates: Certificates, name: str) -> None:
    """No tunnel: the proxy is named and blamed, nothing was sent, in time, and its credentials are not repeated."""
    script, code = REFUSALS[name]
    async with RawServer(good, context=certificates.server()) as server, ProxyServer(script) as proxy:
        device = client(certificates, Proxy(proxy.url, BASIC), timeout=2.0 if name in SILENT else 20.0)
        async with within(4):
            result = await device.send(post(server.url + "/x"))
        assert failed(result) == (code, False)
        detail = getattr(result, "detail", "")
        assert detail.startswith(f"{proxy.url}: ")
        assert detail.isprintable()
        assert "s3cret" not in detail
        assert BASIC[6:] not in detail
        assert len(detail) <= 200
        assert len(proxy.asked) == 1
        assert server.connections == 0
        proxy.script = None
        answered(await device.send(post(server.url + "/x")))  # and once it opens the way, it goes on
        await device.close()


async def test_proxy_is_not_there(certificates: Certificates) -> None:
    """Refused, a name that does not resolve, and a host that drops: the proxy is unreachable, whatever the WFM is."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        where = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:  # the backlog is full: the next connection hangs
            each.setblocking(False)
            each.connect_ex(where)
        for address in (f"http://127.0.0.1:{port}", "http://nothing.example:3128", f"http://127.0.0.1:{where[1]}"):
            device = client(certificates, Proxy(address), timeout=0.7)
            result = await device.send(post("https://wfm.example/x"))
            assert failed(result) == ("proxy-unreachable", False)
            assert getattr(result, "detail", "").startswith(f"{address}: ")
            await device.close()
        for each in waiting:
            each.close()


async def test_nothing_is_sent_before_tls(certificates: Certificates) -> None:
    """Behind an open tunnel: another CA names the proxy that may inspect TLS, a portal's page fails, silence ends."""
    async with RawServer(good, context=Certificates().server()) as server, ProxyServer() as proxy:
        device = client(certificates, Proxy(proxy.url), timeout=2.0)
        result = await device.send(post(server.url + "/x"))
        assert failed(result) == ("tls-unknown-issuer", False)
        assert getattr(result, "detail", "").endswith(f"; through the proxy {proxy.url}, which may inspect TLS")
        assert server.requests == []
        for data, stay, code in ((PAGE, False, "tls-failed"), (b"", False, "tls-failed"), (b"", True, "timed-out")):
            proxy.script = answers(OPEN, stay=True)

            async def script(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = data, stay: bool = stay
            ) -> None:
                writer.write(OPEN)
                await reader.read(1)  # the ClientHello
                writer.write(data)
                if stay:
                    await reader.read()

            proxy.script = script
            result = await device.send(post(server.url + "/x"))
            assert failed(result) == (code, False)
            assert f"through the proxy {proxy.url}" in getattr(result, "detail", "")
        await device.close()


async def test_portal_page_right_behind_the_200(certificates: Certificates) -> None:
    """A portal that answers CONNECT by 200 and a page at once is not waited for longer than the timeout; not sent."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE)
    for stay in (False, True):
        async with ProxyServer(answers(page, stay=stay)) as proxy:
            device = client(certificates, Proxy(proxy.url), timeout=0.7)
            code, sent = failed(await device.send(post("https://wfm.example/x")))
            assert code in ("tls-failed", "timed-out")
            assert not sent
            await device.close()


async def test_sent_once_tls_stands(certificates: Certificates) -> None:
    """After the handshake a failure is the WFM's and says sent, with or without a proxy."""
    async with RawServer(says(OK + b"Conte", "close"), context=certificates.server()) as server, ProxyServer() as proxy:
        device = client(certificates, Proxy(proxy.url))
        assert failed(await device.send(post(server.url + "/x"))) == ("connection-lost", True)
        assert len(server.requests) == 1
        await device.close()
    lost = TransportFailure(reasons.CONNECTION_LOST, "x", sent=True)
    assert through_proxy(lost, OSError(), Proxy("http://p:1"), Reached.NOTHING) == lost  # however far it is said to be


async def test_stale_tunnel_is_noticed(certificates: Certificates) -> None:
    """A tunnel that was closed while idle is opened anew instead of losing a request."""
    async with RawServer(good, context=certificates.server()) as server, ProxyServer() as proxy:
        device = client(certificates, Proxy(proxy.url))
        answered(await device.send(post(server.url + "/x")))
        await server.close_connections()
        async with asyncio.timeout(60):
            while proxy.open:  # the close has to come through the proxy
                await asyncio.sleep(0.01)
        answered(await device.send(post(server.url + "/x")))
        assert len(proxy.asked) == 2
        await device.close()


async def test_close_ends_a_connect_under_way(certificates: Certificates) -> None:
    """A proxy that says nothing does not hold up a stop."""
    async with ProxyServer(answers(b"", stay=True)) as proxy:
        device = client(certificates, Proxy(proxy.url), timeout=60)
        sending = asyncio.create_task(device.send(post("https://wfm.example/x")))
        while not proxy.asked:
            await asyncio.sleep(0.01)
        async with within(2):
            await device.close()
            assert failed(await sending) == ("connection-lost", False)


def test_repr_has_no_credentials() -> None:
    """What is logged by accident shows no password."""
    assert "Basic" not in repr(Proxy("http://p:1", BASIC))
