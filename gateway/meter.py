"""Metering of one exchange: what it used, how long it took, how it ended; counters and the access line.

A `PassRecord` watches a pass-through exchange (see `wire.pump.Record`). It is fed after each write, so nothing here can
delay a byte; whatever it is fed, it raises nothing. All that it keeps are numbers and a bounded reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Protocol

import msgspec

from gateway.access_log import AccessLog
from gateway.errors import GatewayError
from gateway.metrics import Metrics, Series
from gateway.types import END_CLIENT_LEFT, END_COMPLETE, SURFACE_PASSTHROUGH, Usage


class UsageReader(Protocol):
    """Reads one answer's usage (see `dialects`)."""

    @property
    def model(self) -> str | None: ...
    def feed(self, data: bytes) -> None: ...
    def finish(self) -> Usage | None: ...


class ModelReader(Protocol):
    """Reads the model's name off a request's body."""

    model: str | None
    done: bool

    def feed(self, data: bytes) -> None: ...


class SocketReader(Protocol):
    """Reads a WebSocket's usage."""

    model: str | None

    def feed_down(self, data: bytes) -> Sequence[Usage]: ...
    def feed_up(self, data: bytes) -> None: ...


class Inflater(Protocol):
    def feed(self, data: bytes) -> Iterable[bytes]: ...


class Answer(Protocol):
    """What a record needs of a response's head."""

    status: int
    content_type: bytes
    content_encoding: bytes


class Tools(msgspec.Struct, frozen=True):
    """The readers, given from outside: the meter itself knows no dialect and no compression."""

    usage: Callable[[str, bytes], UsageReader]
    model: Callable[[bytes], ModelReader]
    model_of: Callable[[bytes], str | None]  # the same for a whole body; None: not that simple, use `model`
    socket: Callable[[bytes], SocketReader]
    inflate: Callable[[bytes], Inflater | None]


class AccessLine(msgspec.Struct, omit_defaults=True):
    """One line of the access log; seconds and bytes."""

    time: str
    request_id: str
    surface: str
    provider: str
    model: str
    status: int
    bytes_up: int
    bytes_down: int
    ttfb: float | None
    duration: float
    usage: dict[str, float] | None = None
    cost: str | None = None
    end: str = ""
    error: str = ""


_encode = msgspec.json.Encoder().encode


class Journal:
    """Where a process's records end: counters, access log, request ids."""

    def __init__(self, metrics: Metrics, log: AccessLog, tools: Tools, prefix: str) -> None:
        self.metrics = metrics
        self.log = log
        self.tools = tools
        self._prefix = prefix
        self._count = 0
        self._second = 0
        self._stamp = ""

    def request_id(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count:x}"

    def timestamp(self) -> str:
        """Now, as RFC 3339 in UTC with milliseconds."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}Z"

    def line(
        self, series: Series, model: str, status: int, up: int, down: int, ttfb: float | None, duration: float,
        usage: Usage | None = None, end: str = "", error: str = "", request_id: str = "",
    ) -> None:  # fmt: skip
        if not self.log.enabled:
            return
        self.log.write(_encode(AccessLine(
            self.timestamp(), request_id or self.request_id(), series.surface, series.provider, model, status, up, down,
            None if ttfb is None else round(ttfb, 6), round(duration, 6), units(usage), None, end, error,
        )))  # fmt: skip

    def refused(self, provider: str, error: GatewayError) -> str:
        """Records a request that was refused before it had an exchange; returns its id."""
        series = self.metrics.series(SURFACE_PASSTHROUGH, provider)
        series.model("").request(error.status)
        request_id = self.request_id()
        self.line(series, "", error.status, 0, 0, None, 0.0, error=error.code, request_id=request_id)
        return request_id


def units(usage: Usage | None) -> dict[str, float] | None:
    if usage is None:
        return None
    units: dict[str, float] = {
        "input": usage.input, "cached_input": usage.cached_input, "cache_write": usage.cache_write,
        "output": usage.output, "reasoning": usage.reasoning,
    }  # fmt: skip
    return units | usage.extra_units


class Watch(msgspec.Struct, frozen=True):
    """What all exchanges of one plan have in common. `dialect` None: not metered; `content_type`: the request's."""

    journal: Journal
    series: Series
    dialect: str | None
    model: str | None
    content_type: bytes
    reads_model: bool  # whether the model's name has to be found in the request's body
    quick: Callable[[bytes], tuple[str | None, Usage] | None] | None = None  # reads the plain case of a whole JSON body


class PassRecord:
    """Watches one exchange. Most of its fields keep their defaults in most exchanges: class attributes cost nothing."""

    _handed = 0.0
    _asked = 0.0
    _first = 0.0
    _up = 0
    _down = 0
    _request: ModelReader | None = None
    _reader: UsageReader | None = None
    _inflater: Inflater | None = None
    _socket: SocketReader | None = None
    _usage: Usage | None = None
    _found: tuple[str | None, Usage] | None = None  # the answer's model and usage, where they were read in one go
    wants_body = False

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._started = perf_counter()
        self._model = watch.model
        if watch.reads_model:
            self.wants_body = True

    # -- up

    def body(self, piece: bytes) -> None:
        request = self._request
        if request is None:
            watch = self._watch
            self._model = watch.journal.tools.model_of(piece)
            if self._model is not None:
                self.wants_body = False
                return
            request = self._request = watch.journal.tools.model(watch.content_type)
        request.feed(piece)
        if request.done or request.model is not None:
            self._model = request.model
            self._request = None
            self.wants_body = False

    def handed(self) -> None:
        self._handed = perf_counter()

    def sent(self, size: int) -> None:
        self._up += size

    # -- down

    def head(self, response: Answer) -> None:
        self._asked = perf_counter()
        watch = self._watch
        if watch.dialect is not None and 200 <= response.status < 300:
            tools = watch.journal.tools
            if response.content_encoding:
                self._inflater = tools.inflate(response.content_encoding)
                if self._inflater is None:
                    return  # an unknown coding: the answer counts as one without usage
            self._reader = tools.usage(watch.dialect, response.content_type)

    def whole(self, response: Answer, body: bytes, size: int) -> None:
        """Head and body at once, already written: what most answers that are no streams come as."""
        quick = self._watch.quick
        if (
            quick is not None
            and response.status == 200
            and not response.content_encoding
            and b"json" in response.content_type
            and (found := quick(body)) is not None
        ):
            self._asked = self._first = perf_counter()
            self._down = size
            self._found = found
            return
        self.head(response)
        self._first = self._asked
        self.feed(body, size)

    def feed(self, piece: bytes, size: int) -> None:
        self._down += size
        if not self._first:
            self._first = perf_counter()
        reader = self._reader
        if reader is None or not piece:
            return
        if self._inflater is None:
            reader.feed(piece)
        else:
            for part in self._inflater.feed(piece):
                reader.feed(part)

    # -- WebSocket

    def opened(self, extensions: bytes) -> None:
        self._watch.series.sessions += 1
        self._socket = self._watch.journal.tools.socket(extensions)
        if self._model is not None:
            self._socket.model = self._model  # known from the URL: what the client sends need not be read

    def frames_up(self, data: bytes) -> None:
        self._up += len(data)
        self._watch.series.ws_up += len(data)
        if self._socket is not None:
            self._socket.feed_up(data)

    def frames_down(self, data: bytes) -> None:
        self._down += len(data)
        series = self._watch.series
        series.ws_down += len(data)
        if self._socket is not None:
            for usage in self._socket.feed_down(data):
                series.usage["vendor"] += 1
                series.model(self._model or self._socket.model or "").count(usage)
                self._usage = usage if self._usage is None else added(self._usage, usage)

    # -- the end

    def end(self, reason: str, status: int, error: str) -> None:
        """`reason` is empty where no answer had begun; `status` is what the client saw (499: it left before that)."""
        now = perf_counter()
        watch = self._watch
        series = watch.series
        name = self._model
        usage = None
        if self._socket is not None:
            series.sessions -= 1
            name = name or self._socket.model
        elif watch.dialect is not None:
            if self._request is not None:
                name = self._request.model
            if self._found is not None:
                usage = self._usage = self._found[1]
                name = name or self._found[0]
            elif not error and 200 <= status < 300:
                usage = self._usage = self._read_usage(reason)
                if name is None and self._reader is not None:
                    name = self._reader.model
        model = series.models.get(name or "") or series.model(name or "")
        if usage is not None:
            series.usage["vendor"] += 1
            model.count(usage)
        model.request(status)
        duration = now - self._started
        first = added = -1.0
        if self._first:
            first = self._first - self._started
            if self._handed:
                added = self._handed - self._started + self._first - self._asked
        series.time(duration, first, added)
        if reason:
            series.ends[reason] += 1
        series.attempt(error or (reason if reason == END_CLIENT_LEFT else "ok"))
        if watch.journal.log.enabled:
            ttfb = first if first >= 0 else None
            watch.journal.line(
                series, name or "", status, self._up, self._down, ttfb, duration, self._usage, reason, error
            )

    def _read_usage(self, reason: str) -> Usage | None:
        """The answer's usage; a complete answer without any counts as `none`, nothing is estimated."""
        usage = self._reader.finish() if self._reader is not None else None
        if usage is None and reason == END_COMPLETE:
            self._watch.series.usage["none"] += 1
        return usage


def added(a: Usage, b: Usage) -> Usage:
    """The sum of two usages."""
    units = dict(a.extra_units)
    for unit, number in b.extra_units.items():
        units[unit] = units.get(unit, 0) + number
    return Usage(
        a.input + b.input, a.cached_input + b.cached_input, a.cache_write + b.cache_write, a.output + b.output,
        a.reasoning + b.reasoning, units,
    )  # fmt: skip
