"""The limits of a key: requests and tokens within any 60 seconds, and calls at a time.

The window slides: what was taken leaves it 60 seconds later. What is taken within a quarter of a second shares one
bucket and leaves with the last of it. So no 60 seconds ever see more than the limit; a lone call leaves on time, one in
a dense crowd up to a quarter of a second late; and a key holds at most 241 buckets, however busy it is.
"""

from __future__ import annotations

import datetime
import functools
import math
from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from gateway.errors import RateLimited
from gateway.types import Caller

SPAN = 60.0  # seconds
GRAIN = 0.25
# When a running call ends, nobody knows; clients that wait this long do not hammer.
_BUSY_SECONDS = 1.0
_LOOKS = 2  # old windows looked at for each new one: more than one, so that idle ones go faster than new ones come


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """Where a key stands with its limits. None: no limit of this kind. Resets: seconds until all is free again."""

    requests_limit: int | None = None
    requests_remaining: int = 0
    requests_reset: float = 0.0
    tokens_limit: int | None = None
    tokens_remaining: int = 0
    tokens_reset: float = 0.0


class _Bucket:
    """What was taken within a grain of time."""

    __slots__ = ("first", "last", "requests", "tokens", "inside")

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self.requests = self.tokens = 0
        self.inside = True  # the window still counts it

    def left(self, now: float) -> float:
        """Seconds until it leaves the window; the sum's rounding must not make them more than 60."""
        return min(SPAN, max(0.0, self.last + SPAN - now))


class _Window:
    """The last 60 seconds of one key; `running` counts its calls under way."""

    __slots__ = ("buckets", "requests", "tokens", "running")

    def __init__(self) -> None:
        self.buckets: deque[_Bucket] = deque()
        self.requests = self.tokens = self.running = 0

    def slide(self, now: float) -> None:
        """Lets go of what is 60 seconds old."""
        buckets = self.buckets
        while buckets and buckets[0].last + SPAN <= now:
            bucket = buckets.popleft()
            bucket.inside = False
            self.requests -= bucket.requests
            self.tokens -= bucket.tokens

    def take(self, now: float, tokens: int) -> _Bucket:
        buckets = self.buckets
        if not buckets or now >= buckets[-1].first + GRAIN:
            buckets.append(_Bucket(now))
        bucket = buckets[-1]
        bucket.last = now
        self.running += 1
        self.correct(bucket, 1, tokens)
        return bucket

    def correct(self, bucket: _Bucket, requests: int, tokens: int) -> None:
        if bucket.inside:
            bucket.requests += requests
            bucket.tokens += tokens
            self.requests += requests
            self.tokens += tokens

    def wait(self, now: float, requests: int, tokens: int) -> float:
        """Seconds until so much has left the window."""
        for bucket in self.buckets:
            requests -= bucket.requests
            tokens -= bucket.tokens
            if requests <= 0 and tokens <= 0:
                return bucket.left(now)
        return SPAN

    def standing(self, now: float, rpm: int | None, tpm: int | None) -> Standing:
        reset = self.buckets[-1].left(now) if self.buckets else 0.0
        return Standing(
            rpm, max(0, rpm - self.requests) if rpm is not None else 0, reset,
            tpm, max(0, tpm - self.tokens) if tpm is not None else 0, reset,
        )  # fmt: skip


class _Lease:
    """What a call under way has taken."""

    __slots__ = ("window", "bucket", "tokens")

    def __init__(self, window: _Window, bucket: _Bucket, tokens: int) -> None:
        self.window, self.bucket, self.tokens = window, bucket, tokens


class Limits:
    """The windows of all keys. Nothing here waits: a check and what it takes are one step.

    A key is judged by the limits that its caller brings along: changed ones act at once, on the window as it is.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock  # monotonic seconds
        self._windows: OrderedDict[str, _Window] = OrderedDict()  # the longest without a call first
        self._leases: dict[str, _Lease] = {}

    def admit(self, caller: Caller, request_id: str, tokens: int) -> Standing | None:
        """Takes a request, its tokens and a place among the calls under way, or nothing: raises RateLimited.

        None for a key without limits.
        """
        if caller.rpm is None and caller.tpm is None and caller.concurrency is None:
            return None
        now = self._clock()
        tokens = max(0, tokens)
        window = self._window(caller.key_id, now)
        if request_id not in self._leases:  # the same call twice takes nothing more
            _check(window, caller, tokens, now)
            self._leases[request_id] = _Lease(window, window.take(now, tokens), tokens)
        return window.standing(now, caller.rpm, caller.tpm)

    def restore(self, caller: Caller, request_id: str, tokens: int) -> None:
        """Enters a call that was admitted before these windows began."""
        unlimited = caller.rpm is None and caller.tpm is None and caller.concurrency is None
        if unlimited or request_id in self._leases:
            return
        now = self._clock()
        window = self._window(caller.key_id, now)
        self._leases[request_id] = _Lease(window, window.take(now, tokens), tokens)

    def done(self, request_id: str, tokens: int | None) -> None:
        """The call has ended and used so many tokens (None: nobody knows, so what was taken stays). Counts once."""
        lease = self._leases.pop(request_id, None)
        if lease is not None:
            lease.window.running -= 1
            if tokens is not None:
                lease.window.correct(lease.bucket, 0, max(0, tokens) - lease.tokens)

    def undo(self, request_id: str) -> None:
        """The call did not come about: as if it had never been admitted."""
        lease = self._leases.pop(request_id, None)
        if lease is not None:
            lease.window.running -= 1
            lease.window.correct(lease.bucket, -1, -lease.tokens)

    def standing(self, caller: Caller) -> Standing | None:
        """Where the key stands, without taking anything."""
        if caller.rpm is None and caller.tpm is None and caller.concurrency is None:
            return None
        window = self._windows.get(caller.key_id) or _Window()
        now = self._clock()
        window.slide(now)
        return window.standing(now, caller.rpm, caller.tpm)

    @property
    def running(self) -> int:
        """Calls under way of keys with limits."""
        return len(self._leases)

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._windows)

    def _window(self, key_id: str, now: float) -> _Window:
        window = self._windows.get(key_id)
        if window is None:
            self._drop_idle(now)
            window = self._windows[key_id] = _Window()
        else:
            self._windows.move_to_end(key_id)
            window.slide(now)
        return window

    def _drop_idle(self, now: float) -> None:
        windows = self._windows
        for key_id in [key_id for key_id, _ in zip(windows, range(_LOOKS), strict=False)]:
            window = windows[key_id]
            window.slide(now)
            if window.running:
                windows.move_to_end(key_id)  # out of the way of the idle ones behind it
            elif not window.buckets:
                del windows[key_id]


def _check(window: _Window, caller: Caller, tokens: int, now: float) -> None:
    most, rpm, tpm = caller.concurrency, caller.rpm, caller.tpm
    if most is not None and window.running >= most:
        raise RateLimited(
            f"this key allows {most} calls at a time; try again when one has ended",
            kind="concurrency", retry_after=_BUSY_SECONDS,
        )  # fmt: skip
    requests_over = window.requests + 1 - rpm if rpm is not None else 0
    tokens_over = window.tokens + tokens - tpm if tpm is not None else 0
    if requests_over <= 0 and tokens_over <= 0:
        return
    if tpm is not None and tokens > tpm:
        raise RateLimited(
            f"this call may take {tokens} tokens, its longest answer included, and this key allows {tpm} a minute: it "
            "can never fit; allow a shorter answer (max_tokens) or send less",
            kind="tokens", retry_after=SPAN,
        )  # fmt: skip
    seconds = window.wait(now, requests_over, tokens_over)
    kind, what = "requests", f"{rpm} requests a minute"
    if requests_over <= 0:
        kind, what = "tokens", f"{tpm} tokens a minute and this call may take {tokens}, its longest answer included"
    raise RateLimited(f"this key allows {what}; try again in {math.ceil(seconds)} s", kind=kind, retry_after=seconds)


def _lines(limit: str, remaining: str, reset: str) -> tuple[bytes, bytes]:
    """The header lines of requests and of tokens: the limit, what remains of it, when all of it is free again."""
    lines = f"{limit}: %d\r\n{remaining}: %d\r\n{reset}: %b\r\n"
    return lines.replace("KIND", "requests").encode(), lines.replace("KIND", "tokens").encode()


_OPENAI = _lines("x-ratelimit-limit-KIND", "x-ratelimit-remaining-KIND", "x-ratelimit-reset-KIND")
_ANTHROPIC = _lines(
    "anthropic-ratelimit-KIND-limit", "anthropic-ratelimit-KIND-remaining", "anthropic-ratelimit-KIND-reset"
)


def headers(standing: Standing, dialect: str, now: float) -> bytes:
    """The rate-limit header lines of an answer in the client's dialect; `now` is the wall clock."""
    anthropic = dialect.startswith("anthropic")
    requests, tokens = _ANTHROPIC if anthropic else _OPENAI
    lines = b""
    if standing.requests_limit is not None:
        until = _until(standing.requests_reset, anthropic, now)
        lines = requests % (standing.requests_limit, standing.requests_remaining, until)
    if standing.tokens_limit is not None:
        until = _until(standing.tokens_reset, anthropic, now)
        lines += tokens % (standing.tokens_limit, standing.tokens_remaining, until)
    return lines


def _until(seconds: float, anthropic: bool, now: float) -> bytes:
    return _moment(math.ceil(now + seconds)) if anthropic else _duration(math.ceil(seconds * 1000))


@functools.lru_cache(maxsize=1024)
def _duration(milliseconds: int) -> bytes:
    """As OpenAI writes it: 120ms, 1s, 6m0s."""
    if 0 < milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, seconds = divmod(math.ceil(milliseconds / 1000), 60)
    return b"%dm%ds" % (minutes, seconds) if minutes else b"%ds" % seconds


@functools.lru_cache(maxsize=128)
def _moment(seconds: int) -> bytes:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
