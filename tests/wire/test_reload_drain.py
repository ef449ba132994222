"""SIGTERM drains, SIGHUP reloads; neither harms a running stream but for the limit of `drain_seconds`."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.wire.conftest import Dial, Start
from tests.wire.ends import End, connect
from tests.wire.messages import CHUNKED_HEAD, answer, chunks, head, read_answer, read_answer_head, request
from tests.wire.serving import Gateway
from tests.wire.test_requests import check_error
from tests.wire.test_websocket import HANDSHAKE, upgraded
from tests.wire.vendor import Vendor, once, serve

WORKERS = pytest.mark.parametrize("workers", [1, 2])


async def refuses(port: int) -> bool:
    try:
        end = await connect(port)
    except (ConnectionRefusedError, ConnectionResetError):  # a reset: it closed while we knocked
        return True
    end.reset()
    await end.wait_lost()
    return False


async def closes_its_listener(gateway: Gateway) -> None:
    async with asyncio.timeout(5):
        while not await refuses(gateway.port):
            await asyncio.sleep(0.02)


async def ended(gateway: Gateway) -> int:
    """The exit code, without holding up the vendor."""
    assert await gateway.settles(lambda: gateway.process.poll() is not None), "it does not end"
    return gateway.wait()


async def streaming(gateway: Gateway, vendor: Vendor, dial: Dial) -> tuple[End, End]:
    """A client in the middle of a stream, and the vendor's end of it."""
    vendor.script = once(CHUNKED_HEAD + b"4\r\nfirs\r\n", then="keep")
    client = await dial(gateway.port)
    await client.send(request())
    await client.read_until(b"firs\r\n")
    return client, vendor.connections[-1]


@WORKERS
async def test_running_stream_finishes(start: Start, dial: Dial, workers: int) -> None:
    gateway = start(workers=workers)
    async with Vendor(gateway.vendor_port) as vendor:
        pairs = [await streaming(gateway, vendor, dial) for _ in range(4)]
        gateway.signal(signal.SIGTERM)
        await closes_its_listener(gateway)
        for client, far in pairs:
            await far.send(b"4\r\nlast\r\n")
            assert await client.read_until(b"last\r\n") == b"4\r\nlast\r\n"
            assert gateway.process.poll() is None
            await far.send(b"0\r\n\r\n")
            assert await client.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"
        assert await ended(gateway) == 0
        assert [await client.wait_ended() for client, _ in pairs] == ["eof"] * len(pairs)
    assert "Traceback" not in gateway.stderr


async def test_running_answer_says_close_and_the_next_request_is_refused(start: Start, dial: Dial) -> None:
    gateway = start()
    async with Vendor(gateway.vendor_port, once(then="keep")) as vendor:
        client, other = await dial(gateway.port), await dial(gateway.port)
        await client.send(request())
        await vendor.wait_for(lambda: len(vendor.requests) == 1)
        await other.send(request(b"/echo/other"))
        await vendor.wait_for(lambda: len(vendor.requests) == 2)
        gateway.signal(signal.SIGTERM)
        await closes_its_listener(gateway)
        await vendor.connections[0].send(answer(b"done"))
        message = await read_answer(client)
        assert (message.body, [value.lower() for value in message.values(b"connection")]) == (b"done", [b"close"])
        await client.send(request(b"/echo/next"))
        rest = await client.read_to_end()
        assert b"draining" in rest or not rest  # closed after the answer that said so
        await vendor.connections[1].send(answer(b"done"))
        assert (await read_answer(other)).body == b"done"
        assert await ended(gateway) == 0
        assert [message.target for message in vendor.requests] == [b"/x", b"/other"]


async def test_idle_kept_alive_connection_gets_503_or_its_end(start: Start, dial: Dial) -> None:
    """As long as a stream keeps the process up, an idle connection is refused in words or already closed."""
    gateway = start()
    async with Vendor(gateway.vendor_port) as vendor:
        client, far = await streaming(gateway, vendor, dial)
        vendor.script = serve()
        idle = await dial(gateway.port)
        await idle.send(request())
        await read_answer(idle)
        gateway.signal(signal.SIGTERM)
        await closes_its_listener(gateway)
        await idle.send(request(b"/echo/next"))
        if idle.ended is None or idle.buffer:
            message = await read_answer(idle)
            check_error(message, 503, "draining")
            assert [value.lower() for value in message.values(b"connection")] == [b"close"]
        assert await idle.read_to_end() == b""
        await far.send(b"0\r\n\r\n")
        await client.read_until(b"0\r\n\r\n")
        assert await ended(gateway) == 0
        assert b"/next" not in [message.target for message in vendor.requests]


async def test_kept_alive_connection_with_pipelined_request_gets_503(start: Start, dial: Dial) -> None:
    """The second request is in the gateway before the drain, but had not begun."""
    gateway = start()
    async with Vendor(gateway.vendor_port) as vendor:
        client, far = await streaming(gateway, vendor, dial)
        gateway.signal(signal.SIGTERM)
        await closes_its_listener(gateway)
        await client.send(request(b"/echo/next"))
        await far.send(b"0\r\n\r\n")
        await client.read_until(b"0\r\n\r\n")
        check_error(await read_answer(client), 503, "draining")
        assert await client.read_to_end() == b""
        assert await ended(gateway) == 0
        assert len(vendor.requests) == 1


@WORKERS
async def test_streams_past_the_limit_are_cut_visibly(start: Start, dial: Dial, workers: int) -> None:
    gateway = start({"drain_seconds": 1}, workers=workers)
    async with Vendor(gateway.vendor_port) as vendor:
        client, far = await streaming(gateway, vendor, dial)
        vendor.script = once(head(b"HTTP/1.1 200 OK", []) + b"open", then="keep")
        other = await dial(gateway.port)
        await other.send(request())
        await other.read_until(b"open")
        gateway.signal(signal.SIGTERM)
        assert await client.read_to_end() == b""  # without the last chunk
        assert await other.wait_ended() == "reset"
        await far.wait_ended()
        assert await ended(gateway) == 0


async def test_websocket_past_the_limit_is_cut(start: Start, dial: Dial) -> None:
    gateway = start({"drain_seconds": 1})
    async with Vendor(gateway.vendor_port, upgraded) as vendor:
        client = await dial(gateway.port)
        await client.send(request(b"/echo/ws", fields=HANDSHAKE))
        await read_answer_head(client)
        gateway.signal(signal.SIGTERM)
        await closes_its_listener(gateway)
        await client.send(b"still here")
        assert await vendor.connections[0].read_exactly(10) == b"still here"
        await client.wait_ended()
        await vendor.connections[0].wait_ended()
        assert await ended(gateway) == 0


async def test_nothing_running_ends_at_once(start: Start, dial: Dial) -> None:
    gateway = start()
    async with Vendor(gateway.vendor_port):
        idle = await dial(gateway.port)
        await idle.send(request())
        await read_answer(idle)
        never = await dial(gateway.port)
        half = await dial(gateway.port)
        await half.send(b"GET /echo/x HTTP/1.1\r\n")
        gateway.signal(signal.SIGTERM)
        assert await ended(gateway) == 0
        for end in (idle, never, half):
            await end.wait_ended()


async def test_not_ready_in_drain(start: Start, dial: Dial) -> None:
    gateway = start()
    async with Vendor(gateway.vendor_port) as vendor:
        probe = await dial(gateway.port)
        await probe.send(request(b"/readyz"))
        assert (await read_answer(probe)).status == 200
        client, far = await streaming(gateway, vendor, dial)
        gateway.signal(signal.SIGTERM)
        await closes_its_listener(gateway)
        if probe.ended is None:
            await probe.send(request(b"/readyz"))
            assert (await read_answer(probe)).status == 503
        await far.send(b"0\r\n\r\n")
        await client.read_until(b"0\r\n\r\n")
        assert await ended(gateway) == 0


# SIGHUP


async def serves(gateway: Gateway, provider: bytes) -> bool:
    """Whether every worker knows the provider: several fresh connections in a row get an answer."""
    for _ in range(8):
        end = await connect(gateway.port)
        await end.send(request(b"/" + provider + b"/x"))
        status = (await read_answer(end)).status
        end.reset()
        await end.wait_lost()
        if status != 200:
            return False
    return True


async def becomes(gateway: Gateway, provider: bytes, served: bool) -> None:
    async with asyncio.timeout(5):
        while await serves(gateway, provider) is not served:
            await asyncio.sleep(0.05)


@WORKERS
async def test_reload_takes_new_providers_and_leaves_streams_alone(start: Start, dial: Dial, workers: int) -> None:
    gateway = start(workers=workers)
    async with Vendor(gateway.vendor_port) as vendor:
        pairs = [await streaming(gateway, vendor, dial) for _ in range(4)]
        vendor.script = serve()
        assert not await serves(gateway, b"newcomer")
        gateway.providers["newcomer"] = {"base_url": f"http://127.0.0.1:{gateway.vendor_port}/new"}
        gateway.write_config()
        gateway.signal(signal.SIGHUP)
        await becomes(gateway, b"newcomer", True)
        assert vendor.requests[-1].target == b"/new/x"
        for client, far in pairs:
            assert not client.ended
            await far.send(chunks([b"last"]))
            assert await client.read_until(b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"
            vendor.script = serve(answer(b"again"))
            await client.send(request(b"/newcomer/x"))
            assert (await read_answer(client)).status == 200
        assert gateway.stop() == 0, gateway.stderr


async def test_reload_forgets_providers_but_not_their_streams(start: Start, dial: Dial) -> None:
    gateway = start()
    async with Vendor(gateway.vendor_port) as vendor:
        client, far = await streaming(gateway, vendor, dial)
        vendor.script = serve()
        assert await serves(gateway, b"based")
        del gateway.providers["echo"]
        gateway.write_config()
        gateway.signal(signal.SIGHUP)
        await becomes(gateway, b"echo", False)
        assert await serves(gateway, b"based")
        await far.send(chunks([b"last"]))
        assert await client.read_until(b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"
        await client.send(request())
        check_error(await read_answer(client), 404, "unknown_provider")


@pytest.mark.parametrize(
    ("bad", "line", "workers"),
    [
        ("providers:\n  echo:\n    base_url: http://x\n    bse_url: y\n", 4, 1),
        ("server:\n  drain_seconds: soon\n", 2, 2),
        ("a\n  b: [\n", 2, 1),
    ],
)
async def test_bad_file_is_refused_with_its_line_and_the_old_one_stays(
    start: Start, bad: str, line: int, workers: int
) -> None:
    gateway = start(workers=workers)
    async with Vendor(gateway.vendor_port):
        assert await serves(gateway, b"echo")
        gateway.config.write_text(bad)
        gateway.signal(signal.SIGHUP)
        assert await gateway.settles(lambda: "providers.yaml:" in gateway.stderr), gateway.stderr
        told = gateway.stderr.partition("providers.yaml:")[2]
        assert abs(int(told.partition(":")[0]) - line) <= 1, told
        assert await serves(gateway, b"echo")
        gateway.providers["newcomer"] = {"base_url": f"http://127.0.0.1:{gateway.vendor_port}"}
        gateway.write_config()
        gateway.signal(signal.SIGHUP)
        await becomes(gateway, b"newcomer", True)
        assert gateway.stop() == 0, gateway.stderr


async def test_reload_without_a_change_keeps_pooled_connections(start: Start, dial: Dial) -> None:
    gateway = start()
    async with Vendor(gateway.vendor_port) as vendor:
        client = await dial(gateway.port)
        await client.send(request())
        await read_answer(client)
        gateway.providers["newcomer"] = {"base_url": f"http://127.0.0.1:{gateway.vendor_port}/new"}
        gateway.write_config()
        gateway.signal(signal.SIGHUP)
        await becomes(gateway, b"newcomer", True)
        assert not client.ended
        await client.send(request())
        assert (await read_answer(client)).body == b"ok"
        assert vendor.problems == []
