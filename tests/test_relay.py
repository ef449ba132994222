"""What becomes of a request: the provider in its path, the vendor's target, the pool, what is metered."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.access_log import AccessLog
from gateway.app import _TOOLS as TOOLS
from gateway.errors import BadRequest, GatewayError, UnknownProvider
from gateway.meter import Journal
from gateway.metrics import Metrics
from gateway.providers import Table
from gateway.relay import Passthrough, Pools, provider_label
from gateway.settings import load
from gateway.wire.head import Request, parse_request
from gateway.wire.plan import NEVER, Plan

CONFIG = """
providers:
  plain: {base_url: "http://plain.test", aliases: [also], max_connections: 7}
  based: {base_url: "https://based.test:8443/base"}
  split:
    base_url: https://split.test
    hosts: {/ws/: "wss://sockets.test/v9"}
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    path: Path = tmp_path_factory.mktemp("config") / "providers.yaml"
    path.write_text(CONFIG)
    return Table(load(str(path), {}).providers)


class Desk:
    def __init__(self, table: Table) -> None:
        self.pools = Pools()
        self.metrics = Metrics()
        self.walk = Passthrough(table, self.pools, Journal(self.metrics, AccessLog("off"), TOOLS, "r"), 5.0, 3)

    def plan(self, target: bytes, method: bytes = b"GET", fields: bytes = b"") -> Plan | None:
        return self.walk.route(asked(target, method, fields))


def asked(target: bytes, method: bytes = b"GET", fields: bytes = b"", version: bytes = b"1.1") -> Request:
    return parse_request(method + b" " + target + b" HTTP/" + version + b"\r\nHost: me\r\n" + fields + b"\r\n")


@pytest.fixture
def desk(table: Table) -> Desk:
    return Desk(table)


@pytest.mark.parametrize(
    ("target", "line", "origin"),
    [
        (b"/plain/a/b?c=d", b"/a/b?c=d", b"plain.test"),
        (b"/also/a", b"/a", b"plain.test"),
        (b"/plain", b"/", b"plain.test"),
        (b"/plain/", b"/", b"plain.test"),
        (b"/plain?x", b"/?x", b"plain.test"),
        (b"/plain//a//b", b"//a//b", b"plain.test"),
        (b"/plain/a/../%2e%2E/;b=%zz?%", b"/a/../%2e%2E/;b=%zz?%", b"plain.test"),
        (b"/plain/http://other.test/", b"/http://other.test/", b"plain.test"),
        (b"/based/a?b", b"/base/a?b", b"based.test:8443"),
        (b"/based", b"/base/", b"based.test:8443"),
        (b"/based/a?x=../..", b"/base/a?x=../..", b"based.test:8443"),
        (b"/split/ws/a", b"/v9/ws/a", b"sockets.test"),
        (b"/split/wsa", b"/wsa", b"split.test"),
    ],
)
def test_the_vendors_target(desk: Desk, target: bytes, line: bytes, origin: bytes) -> None:
    plan = desk.plan(target)
    assert plan is not None
    assert plan.before == b"GET " + line + b" HTTP/1.1\r\nHost: " + origin + b"\r\n\r\n"
    assert plan.pool.destination.authority == origin
    assert plan.epoch == 3


@pytest.mark.parametrize("path", [b"/..", b"/a/./b", b"/%2e%2e/a", b"/a/.%2E", b"/a\\..\\b", b"/a/..%2f"])
def test_nobody_climbs_out_of_a_base_path(desk: Desk, path: bytes) -> None:
    with pytest.raises(BadRequest):
        desk.plan(b"/based" + path)
    assert desk.plan(b"/plain" + path) is not None


@pytest.mark.parametrize("target", [b"/healthz", b"/metrics", b"/v1/chat/completions", b"/v1?x", b"/readyz/"])
def test_the_gateways_own_paths_are_nobodys_plan(desk: Desk, target: bytes) -> None:
    assert desk.plan(target) is None


@pytest.mark.parametrize("target", [b"/nobody/x", b"/", b"//plain/x", b"/Plain/x", b"/pl%61in/x", b"/plain%2Fx"])
def test_unknown_providers(desk: Desk, target: bytes) -> None:
    with pytest.raises(UnknownProvider):
        desk.plan(target)


def test_what_the_plan_knows_of_the_request(desk: Desk) -> None:
    plan = desk.plan(b"/plain/x", b"POST", b"Content-Length: 5\r\nA: b\r\n")
    assert plan is not None
    assert plan.before.endswith(b"Content-Length: ")
    assert plan.after == b"\r\nA: b\r\n\r\n"
    assert (plan.keep_alive, plan.old, plan.chunked, plan.bodyless, plan.websocket) == (
        True,
        False,
        False,
        False,
        False,
    )
    plan = desk.plan(b"/plain/x", b"POST", b"Transfer-Encoding: chunked\r\nConnection: close\r\n")
    assert plan is not None
    assert (plan.keep_alive, plan.chunked, plan.after) == (False, True, b"")
    plan = desk.plan(b"/plain/x", b"HEAD")
    assert plan is not None
    assert plan.bodyless
    plan = desk.plan(b"/plain/x", fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    assert plan is not None
    assert plan.websocket
    plan = desk.walk.route(asked(b"/plain/x", version=b"1.0"))
    assert plan is not None
    assert (plan.old, plan.keep_alive) == (True, False)
    assert plan.before.startswith(b"GET /x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("target", "method", "wants"),
    [
        (b"/plain/v1/chat/completions", b"POST", True),
        (b"/plain/v1/chat/completions?x", b"POST", True),
        (b"/plain/v1/chat/completions", b"GET", False),
        (b"/plain/v1/files", b"POST", False),
        (b"/plain/v1beta/models/gemini-x:generateContent", b"POST", False),  # its model is in the path
    ],
)
def test_whose_body_is_read_for_the_models_name(desk: Desk, target: bytes, method: bytes, wants: bool) -> None:
    plan = desk.plan(target, method, b"Content-Length: 5\r\n")
    assert plan is not None
    assert plan.record().wants_body is wants


def test_one_pool_for_each_origin(desk: Desk) -> None:
    plans = [desk.plan(target) for target in (b"/plain/a", b"/also/b", b"/split/ws/a", b"/split/a")]
    first, second, sockets, other = (plan.pool for plan in plans if plan is not None)
    assert first is second
    assert first.limit == 7
    assert len({first, sockets, other}) == 3
    assert set(desk.pools.all()) == {first, sockets, other}
    assert ("plain", "idle", 0) in desk.pools.counts()


def test_retired_pools(desk: Desk) -> None:
    plans = [desk.plan(b"/plain/a"), desk.plan(b"/based/a")]
    kept, gone = (plan.pool for plan in plans if plan is not None)
    desk.pools.retire({"plain"})
    assert (kept.retired, gone.retired) == (False, True)
    assert desk.pools.all() == [kept]
    again = desk.plan(b"/based/a")
    assert again is not None
    assert again.pool is not gone


def test_a_door_in_front(table: Table, desk: Desk) -> None:
    class Closed(GatewayError):
        status, code = 401, "unauthorized"

    def permit(request: Request) -> None:
        if request.get(b"x-gateway-key") != b"open":
            raise Closed("no")

    walk = Passthrough(table, desk.pools, Journal(desk.metrics, AccessLog("off"), TOOLS, "r"), 5.0, 0, permit)
    with pytest.raises(Closed):
        walk.route(asked(b"/plain/x"))
    plan = walk.route(asked(b"/plain/x", fields=b"X-Gateway-Key: open\r\n"))
    assert plan is not None
    assert b"open" not in plan.before
    assert plan.epoch == NEVER, "a key may be revoked: the next request is asked again, though its head be the same"
    assert walk.route(asked(b"/healthz")) is None


@pytest.mark.parametrize(("target", "label"), [(b"/also/x", "plain"), (b"/nobody/x", ""), (b"/healthz", "")])
def test_refusals_are_counted_for_known_providers_only(table: Table, target: bytes, label: str) -> None:
    assert provider_label(table, asked(target)) == label
    assert provider_label(table, None) == ""
