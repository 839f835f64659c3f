"""What goes through the door, and what never does whatever is configured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from margod.model.door import Asked, DoorClosed, Opened, Rule, inwards, judge, named, outwards, read_rule

ID = "client-1:a"
OPEN = (
    Rule("GET", "/api/v1/clients/{clientId}/deployments"),
    Rule("GET", "/api/v1/clients/{clientId}/bundles/{digest}"),
)


def path(method: str, raw: str, *rules: Rule, uid: int = 1000, uids: dict[str, int] | None = None) -> Opened:
    """Judge one request."""
    return judge(Asked(method, raw, uid=uid), ID, rules or OPEN, uids or {})


def refused(method: str, raw: str, *rules: Rule, uid: int = 1000, uids: dict[str, int] | None = None) -> DoorClosed:
    """Judge one request that does not go through."""
    with pytest.raises(DoorClosed) as caught:
        path(method, raw, *rules, uid=uid, uids=uids)
    return caught.value


@pytest.mark.parametrize("name", ["{clientId}", ID])
def test_the_id_is_filled_in(name: str) -> None:
    """The placeholder and the id itself become the id as it stands in the WFM's paths; the rest goes out as it came."""
    opened = path("GET", f"/api/v1/clients/{name}/bundles/sha256:0f")
    assert opened == Opened("/api/v1/clients/client-1%3Aa/bundles/sha256:0f", OPEN[1].route)


@pytest.mark.parametrize(
    "raw",
    [
        *("", "/", "x", "//", "/a//b", "/a/", "/a/./b", "/a/../b", "/..", "/a..b", "/%2e%2e/x", "/a%2Fb", "/a%00"),
        *("/a\\b", "/a;b", "/a?b", "/a?", "/a#b", "/a b", "/a\tb", "/a\x00b", "/a\x7fb", "/\xe4", "/\u202e", "/a*"),
        *("/{x}", "/{clientId}x", "/{clientid}", "/a,b", "/" + "a" * 2048, "https://other/x", "/a\r\nX: y", "/a\n"),
    ],
)
def test_paths_that_could_mean_two_things(raw: str) -> None:
    """What another reader might read otherwise is refused before any rule is looked at, with 400."""
    everything = tuple(Rule("GET", "/" + "/".join(["{x}"] * n)) for n in range(1, 5))
    assert refused("GET", raw, *everything).status == 400


@pytest.mark.parametrize(
    "raw",
    [
        *("/onboarding", "/api/v1/onboarding", "/api/v1/onboarding/certificate", "/x/onboardings", "/ONBOARDING"),
        *("/api/v1/clients/{clientId}/deployments/d/status", "/status", "/a/Status/b"),
        *("/api/v1/clients/{clientId}/capabilities", "/api/v1/clients/{clientId}/Capabilities/gw/child"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_what_is_never_opened(method: str, raw: str) -> None:
    """Onboarding, status and capabilities stay margod's own though a rule of any segments fits."""
    everything = Rule(method, "/" + "/".join(["{x}"] * raw.count("/")))
    assert refused(method, raw, everything).status == 403
    with pytest.raises(ValueError, match="cannot be opened"):
        read_rule(f"{method} {raw}")


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("POST", "/api/v1/clients/{clientId}/deployments"),
        ("get", "/api/v1/clients/{clientId}/deployments"),
        ("GET", "/api/v1/clients/another/deployments"),
        ("GET", "/api/v1/clients/{clientId}/bundles"),
        ("GET", "/api/v1/clients/{clientId}/bundles/x/y"),
        ("GET", "/api/v1/clients/{clientId}"),
    ],
)
def test_what_no_rule_opens(method: str, raw: str) -> None:
    """Another method, another client, more or fewer segments: 403."""
    assert refused(method, raw).status == 403


def test_users() -> None:
    """A rule for some users is open for them alone, by number and by name; a name that nobody has opens nothing."""
    rule = read_rule("POST /logs for collector 1001")
    assert rule == Rule("POST", "/logs", ("collector", "1001"))
    assert named([rule, *OPEN]) == ("collector",)
    assert path("POST", "/logs", rule, uid=1001).path == "/logs"
    assert path("POST", "/logs", rule, uid=7, uids={"collector": 7}).path == "/logs"
    for uid in (0, 7, -1, 65_534):
        refused("POST", "/logs", rule, uid=uid)
    refused("POST", "/logs", rule, uid=65_534, uids={"collector": 65_534})
    refused("POST", "/logs", rule, uid=-1, uids={"collector": -1})


@pytest.mark.parametrize(
    "text",
    [
        *("", "GET", "/x", "get /x", "CONNECT /x", "GET x", "GET /", "GET /x for", "GET /x  for a", "GET /x y"),
        *("GET /x for a ", "GET /x for 65534", "GET /x for a/b", "GET /a%20b", "GET /a/../b", "GET /a//b", "GET /a?b"),
        *("GET /{a b}", "GET /{", "GET /a{b}", "GET /x\n", "TRACE /x", "OPTIONS /x", "GET /ä"),
    ],
)
def test_rules_that_are_none(text: str) -> None:
    """What is no rule is refused where it is written."""
    with pytest.raises(ValueError):
        read_rule(text)


@pytest.mark.parametrize("text", ["GET /a", "PUT /a/{b}/c for d", "DELETE /api/{clientId}/x for 0 d.e-f"])
def test_rules_are_written_as_they_are_read(text: str) -> None:
    """`margod config show` says what the file says."""
    assert str(read_rule(text)) == text


def test_headers_inwards() -> None:
    """Nothing that says who asks, proves it or frames the message goes in."""
    given = {
        "accept": "application/json",
        "CONTENT-TYPE": "text/plain",
        "If-None-Match": '"x"',
        "if-match": "*",
        "Host": "evil",
        "Authorization": "Bearer x",
        "Signature": "sig1=:x:",
        "Signature-Input": "sig1=()",
        "Content-Digest": "sha-256=:x:",
        "Cookie": "a",
        "Connection": "x",
        "Transfer-Encoding": "chunked",
        "Content-Length": "5",
        "X-Forwarded-For": "1",
        "TE": "trailers",
        "Upgrade": "h2c",
        "Expect": "100-continue",
        "Proxy-Authorization": "x",
        "X-Payload-Signature": "x",
        "User-Agent": "curl",
        "Forwarded": "x",
    }
    assert inwards(given) == {
        "Accept": "application/json",
        "Content-Type": "text/plain",
        "If-Match": "*",
        "If-None-Match": '"x"',
    }
    with pytest.raises(DoorClosed):
        inwards({"Accept": "a\x00b"})


def test_headers_outwards() -> None:
    """Cookies, proofs and what is about one connection stay here; what cannot be written as a header does too."""
    given = {
        "content-type": "application/json",
        "etag": '"x"',
        "retry-after": "5",
        "cache-control": "no-store",
        "set-cookie": "a=b",
        "connection": "close",
        "transfer-encoding": "chunked",
        "content-length": "3",
        "location": "https://x",
        "www-authenticate": "x",
        "signature": "x",
        "server": "x",
        "margod-error": "x",
        "last-modified": "\ufffd",
    }
    assert outwards(given) == {
        "Cache-Control": "no-store",
        "Content-Type": "application/json",
        "ETag": '"x"',
        "Retry-After": "5",
    }


@given(st.text(max_size=40), st.text(max_size=8))
def test_whatever_is_asked(raw: str, method: str) -> None:
    """Any path is either refused or sent without a byte that a second reader could take apart differently."""
    try:
        opened = path(method, "/" + raw, Rule("GET", "/{a}"), Rule("GET", "/{a}/{b}"))
    except DoorClosed:
        return
    assert method == "GET"
    assert opened.path == "/" + raw
    assert set(opened.path) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~=+:@-/")
    assert "//" not in opened.path
    assert ".." not in opened.path
