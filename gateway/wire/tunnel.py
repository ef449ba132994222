"""A WebSocket after its 101: bytes both ways, untouched, each side closing its own direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import types

if TYPE_CHECKING:
    from gateway.wire.plan import Record
    from gateway.wire.pump import Exchange


class Tunnel:
    __slots__ = ("_client_done", "_exchange", "_record", "_upstream_done")

    def __init__(self, exchange: Exchange, record: Record) -> None:
        self._exchange = exchange
        self._record = record
        self._client_done = False
        self._upstream_done = False

    def up(self, data: bytes) -> None:
        upstream = self._exchange.upstream
        if upstream is not None:
            upstream.transport.write(data)
            self._record.frames_up(data)

    def down(self, data: bytes) -> None:
        self._exchange.client.write(data)
        self._record.frames_down(data)

    def client_eof(self) -> bool:
        """The client closed its direction. Returns whether the other one goes on."""
        upstream = self._exchange.upstream
        self._client_done = True
        if self._upstream_done or upstream is None or not upstream.transport.can_write_eof():
            self._exchange.close_tunnel(types.END_COMPLETE, reset=False)
            return False
        upstream.transport.write_eof()
        return True

    def upstream_eof(self) -> bool:
        self._upstream_done = True
        transport = self._exchange.client.transport
        if self._client_done or transport is None or not transport.can_write_eof():
            self._exchange.close_tunnel(types.END_COMPLETE, reset=False)
            return False
        transport.write_eof()
        return True

    def lost(self, exc: Exception | None) -> None:
        """The vendor's connection is gone: cleanly after both said goodbye, else it shows as a cut."""
        if exc is None or self._upstream_done:
            self._exchange.close_tunnel(types.END_COMPLETE, reset=False)
        else:
            self._exchange.close_tunnel(types.END_VENDOR_TRUNCATED, reset=True)
