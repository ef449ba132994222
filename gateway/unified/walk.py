"""The walk of one unified call: caller, request, model, cache, admission, attempts, answer, settlement.

```
 caller ─► body ─► peek ─► model ─► cache ──hit──────────────► admit ─► replay ─► settle
                                      └─miss─► admit ─► attempts ─► answer ─► settle ─► the last bytes
                                                 ▲         │ one after the other until a good first byte
                                                 └─────────┴── every way out closes what was admitted, once
```

Read `_run` first. Nothing after `_first_answer` is tried again, and `close` is the one place where a hold ends. The
walk does not stop when its client leaves: the vendor's bill comes all the same (docs/money.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway import prices, types
from gateway.books.books import NO_HOLD
from gateway.books.limits import Standing, headers
from gateway.caching import cache
from gateway.dialects.error_forms import VendorError, error_event, scrubbed
from gateway.dialects.request import Peek, peek
from gateway.errors import BadRequest, BadUpstreamReply, GatewayError, Internal, NoTarget, UpstreamTimeout, place_of
from gateway.models import Model
from gateway.routing.health import KEY_REFUSED
from gateway.routing.router import Route
from gateway.types import Caller, Charge, Usage
from gateway.unified import outcomes
from gateway.unified.answers import LAST_CHUNK, field_value, head, piece, refusal
from gateway.unified.asked import Asked
from gateway.unified.attempts import VendorCall, failure_of, outcome_of
from gateway.unified.caching import CallCache
from gateway.unified.counting import Counting
from gateway.unified.outcomes import ESTIMATE, NOTHING, Ending
from gateway.unified.record import CallRecord
from gateway.unified.remembering import Remembering
from gateway.unified.reply import Reply, VendorRefused
from gateway.wire.call import Call, ClientLeft
from gateway.wire.decompress import decompressor
from gateway.wire.waiting import Walk

if TYPE_CHECKING:
    from gateway.caching.cache import Entry
    from gateway.unified.entry import CallHead, Unified

_log = logging.getLogger("gateway")
_ESTIMATED = b"x-gateway-estimated: true\r\n"
_MOST_OUTPUT = 4096  # tokens that an answer may have where neither the request nor the model says


class CallWalk:
    """Decides about one `wire.call.Call`, as its listener."""

    caller: Caller | None = None
    peek: Peek
    model: Model
    asked: Asked
    made: VendorCall  # of the last attempt
    reply: Reply | None = None
    route: Route | None = None  # of the last attempt
    cache: CallCache | None = None
    _admitted = False
    _closed = False
    _begun = False  # whether a piece of a stream has gone
    _hold = 0
    _dropped: tuple[str, ...] = ()
    _standing: Standing | None = None
    _time_is_up = False
    shared = False  # whether there is more than one vendor account that could answer

    def __init__(self, unified: Unified, head: CallHead, call: Call) -> None:
        self.unified = unified
        self.head = head
        self.call = call
        self.record = CallRecord(unified.journal, head.surface.name)
        self.after = Remembering(self)

    # -- what the call tells -------------------------------------------------------------------------------------------

    def start(self) -> None:
        Walk(self._run(), self._crashed).go()

    def client_left(self) -> None:
        self.call.deadline = self.unified.edge().now + self.unified.server.drain_on_disconnect

    def time_is_up(self) -> None:
        """The gateway stops, or a client that left has been waited for long enough."""
        if self._time_is_up:
            return
        self._time_is_up = True
        error = UpstreamTimeout("the gateway is stopping and could not wait any longer")
        if self.call.fetch is not None:
            self.call.fetch.abandon()
        self.call.body().fail(error)
        if self.reply is not None:
            self.reply.broken(error)

    # -- the walk ------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            self.caller = self.unified.caller(self.head.digest)
            self.record.identify(self.caller)
            surface = self.head.surface
            self.peek = peek(surface.read_as, await self.call.body(), self.head.model, surface.stream)
            self.model = self.unified.model(self.caller, self.peek, self.head)
            self.record.model = self.peek.model  # only names that exist: labels are bounded
            if surface.counts:
                await self._admit(NO_HOLD)
                await Counting(self).run()
                return
            kept = await self._look_into_cache() if self.model.cache is not None else None
            await self._admit(self._most() if kept is None else self._price_of_hit())
        except ClientLeft:
            self._end(types.END_CLIENT_LEFT, 499)
            self.call.cut_off()
            return
        except GatewayError as error:
            if self._admitted:
                await self.close(self._charge(self._nothing_seen(), _none))
            await self._refuse(error)
            return
        if kept is not None:
            await self._replay(kept)
            return
        try:
            reply = await self._first_answer()
        except GatewayError as error:
            await self.close(self._charge(self._nothing_seen(), _none))
            await self._refuse(error)
            return
        if reply.stream is None:
            await self._pass_document(reply)
        else:
            await self._pass_stream(reply)

    async def _admit(self, amount: int) -> None:
        """Takes from the limits and holds the money, or raises; from here on `close` is owed."""
        assert self.caller is not None
        tokens = 0
        if self.caller.tpm is not None and amount != NO_HOLD:
            tokens = self.peek.input_tokens + self._most_output() * self.peek.n
        self._standing = await self.unified.books.admit(self.caller, self.record.request_id, tokens, amount)
        self._hold = amount
        self._admitted = True
        self.asked = Asked(self.unified, self.head, self.peek, self.caller, self.record.request_id)

    def _most(self) -> int:
        """The most that the call can cost: what is held."""
        price = self.model.price
        if not (price.rates or price.tables):
            return 0
        return prices.most(
            price, self.peek.input_tokens, self._most_output(), self.peek.n, documents=self._documents()
        )

    def _most_output(self) -> int:
        if not self.head.surface.streams:
            return 0  # vectors and scores are no tokens
        return self.peek.max_output or self.model.features.max_output or _MOST_OUTPUT

    def _documents(self) -> int:
        return self.peek.count if self.head.surface.dialect == "jina.rerank" else 0

    # -- attempts ------------------------------------------------------------------------------------------------------

    async def _first_answer(self) -> Reply:
        """The first good answer: a document that was judged, or a stream that has begun well. Raises GatewayError."""
        unified, surface = self.unified, self.head.surface
        usable = unified.usable(surface)
        last: GatewayError | None = None
        self.shared = unified.router.shared(self.model)
        maker = await self.asked.maker(self.model) if self.shared else None
        for route in unified.router.routes(self.model, usable, maker):
            if self.call.left or self._time_is_up:
                break
            try:
                return await self.tried(route)
            except GatewayError as error:
                failover = failure_of(error).failover
                if not failover and (rest := self._foreign(route, maker)) is not None:
                    # What is refused is most likely what another account made, and that one will take it again.
                    last = last or NoTarget("the vendor account that began this conversation rests", retry_after=rest)
                    continue
                last = error.with_traceback(None)  # its frames lead to the attempt's reply, and that back to the error
                if not failover or type(error) is BadRequest:
                    break
        if last is None:
            last = NoTarget(
                "every target of this model rests after failures, or has no key; try again in a moment",
                retry_after=unified.router.wakes(self.model, usable),
            )
        try:
            raise last
        finally:
            del last  # its traceback leads back to this frame, and so to the whole request

    async def tried(self, route: Route) -> Reply:
        """One attempt; what came of it is learned and counted. Raises GatewayError."""
        self.route = route
        route.begin()
        try:
            reply = await self._attempt(route)
        except GatewayError as error:
            failure = failure_of(error)
            if not self._time_is_up and (not self.head.surface.counts or failure.kind == KEY_REFUSED):
                route.failed(failure)
            self.attempt_done(error)
            raise
        except BaseException:
            route.done()
            raise
        if not self.head.surface.counts:  # what counts has limits, faults and a speed of its own at vendors
            route.succeeded(self.record.seconds_to_answer)
        return reply

    async def _attempt(self, route: Route) -> Reply:
        call = self.call
        made = self.made = VendorCall(self.asked, self.model, route)
        await made.prepare()
        reply = self.reply = Reply(
            route.dialect, made.hides_usage, self.peek.n, decompressor, self._write_piece, self.record.answered,
            self.head.array and self.head.surface.dialect == route.dialect,
        )  # fmt: skip
        made.reply(reply)
        self.after.listen(reply)
        fetch = call.fetch = made.fetch(reply)
        self.record.handed()
        fetch.start(made.request)
        try:
            await reply.begun
            if reply.stream is None and not self.head.surface.counts:
                made.judge(reply)
        except GatewayError:
            fetch.abandon()
            call.fetch = None
            raise
        self._dropped = made.dropped
        return reply

    def _foreign(self, route: Route, maker: str | None) -> float | None:
        """For how long the account rests that made what the route's vendor was sent as it came; None: no other did."""
        if maker in (None, route.account) or route.dialect != self.head.surface.dialect:
            return None
        return self.unified.router.rests(self.model, maker)

    def attempt_done(self, error: GatewayError | None) -> None:
        assert self.route is not None
        self.route.done()
        self.record.attempt(self.route.provider.id, outcome_of(error))

    # -- answers -------------------------------------------------------------------------------------------------------

    async def _pass_document(self, reply: Reply) -> None:
        call, verdict = self.call, reply.verdict
        assert verdict is not None
        self.attempt_done(None)
        charge = self._charge(
            Ending(finished=True, filtered=verdict.filtered, left=call.left, usage=verdict.usage, zero=verdict.zero),
            lambda: verdict.output_tokens,
        )
        lines = self._lines() + b"x-gateway-cost: %b\r\n" % prices.decimal(charge.cost).encode()
        if charge.estimated:
            lines += _ESTIMATED
        body = self.made.written(reply, charge.usage or Usage())
        await self.after.document(reply, body)
        if self.cache is not None:
            self.cache.take(body)
            self.cache.keep(reply.content_type, charge, streamed=False)
        await self.close(charge)
        self.record.first_byte()
        call.write(head(reply.status, reply.content_type, lines, len(body), self._keeps()) + body)
        self._finish()

    async def _pass_stream(self, reply: Reply) -> None:
        call, stream = self.call, reply.stream
        assert stream is not None
        content_type = self.made.content_type(reply)
        call.write(head(reply.status, content_type, self._lines(), None, self._keeps(), call.plan.old))
        self.record.first_byte()
        self._write_piece(reply.go_live())
        if call.client.full and not call.left and call.fetch is not None:
            call.fetch.pause()
        await reply.over
        reply.read_end()
        ending = Ending(
            finished=stream.finished, filtered=stream.filtered, error=reply.failed, left=call.left,
            given_up=self._time_is_up and not stream.ended, usage=stream.usage(), zero=stream.zero,
        )  # fmt: skip
        charge = self._charge(ending, stream.output_tokens_estimate)
        await self.close(charge)
        if not stream.finished or reply.failed:
            self._cut_stream(reply)
            return
        end = reply.pass_on(charge.usage or Usage())
        await self.after.stream(reply, end)
        # The charge is safe: now the client may see the end.
        self._write_piece(end)
        await reply.closed
        self.attempt_done(None)
        if self.cache is not None:
            self.cache.keep(content_type, charge, streamed=True)
        if not call.plan.old:
            call.write(LAST_CHUNK)
        self._finish()

    def _cut_stream(self, reply: Reply) -> None:
        """An error in the middle is told in the client's own form; with or without one, the cut must show."""
        call = self.call
        error = reply.broken_by or BadUpstreamReply("the vendor's stream ended without a finish")
        told = self._told(error, reply.transform is not None)
        if told is not None and not call.left:
            self._write_piece(error_event(self.head.surface.dialect, told, self.head.array, self._begun))
        if call.fetch is not None:
            call.fetch.abandon()
        self.attempt_done(error)
        if call.left:
            reason = types.END_CLIENT_LEFT
        elif self._time_is_up:
            reason = types.END_LIMIT
        elif isinstance(error, UpstreamTimeout):
            reason = types.END_IDLE_TIMEOUT
        else:
            reason = types.END_VENDOR_TRUNCATED
        self._end(reason, 200, error.code)
        call.cut_off()

    def answer(self, body: bytes, estimated: bool) -> None:
        """A whole answer that was not charged."""
        lines = self._lines() + (_ESTIMATED if estimated else b"")
        self.record.first_byte()
        self.call.write(head(200, b"application/json", lines, len(body), self._keeps()) + body)
        self._finish()

    def _told(self, error: GatewayError, converted: bool) -> VendorError | None:
        """What the client is told in the middle of a stream; of the vendor's own bytes only its own errors."""
        if isinstance(error, VendorRefused):
            return self._cleaned(error).error
        return VendorError(error.status, error.message, code=error.code) if converted else None

    def _write_piece(self, data: bytes) -> None:
        if data:
            self._begun = True
            self.call.write(piece(data, self.call.plan.old))
            if self.cache is not None:
                self.cache.take(data)

    # -- the cache -----------------------------------------------------------------------------------------------------

    async def _look_into_cache(self) -> Entry | None:
        self.cache = CallCache(self)
        return await self.cache.look()

    def _price_of_hit(self) -> int:
        return self.model.cache.price if self.model.cache is not None else 0

    async def _replay(self, entry: Entry) -> None:
        assert self.caller is not None
        call, cost = self.call, self._price_of_hit()
        await self.close(Charge(
            self.record.request_id, self.caller.account, self.caller.key_id, types.OUTCOME_CACHED, cost,
            self.peek.model, entry.provider,
        ))  # fmt: skip
        lines = self._lines() + self.unified.marks(entry.provider, entry.model)
        self.record.first_byte()
        if not entry.streamed:
            lines += b"x-gateway-cost: %b\r\n" % prices.decimal(cost).encode()
            call.write(head(200, entry.content_type, lines, len(entry.body), self._keeps()) + entry.body)
        else:
            call.write(head(200, entry.content_type, lines, None, self._keeps(), call.plan.old))
            for data in cache.pieces(entry):
                call.write(piece(data, call.plan.old))
            if not call.plan.old:
                call.write(LAST_CHUNK)
        self._finish()

    # -- money ---------------------------------------------------------------------------------------------------------

    def _nothing_seen(self) -> Ending:
        """No answer came: nothing is charged, whoever is to blame."""
        return Ending(error=not self.call.left, left=self.call.left, given_up=True, zero=True)

    def _charge(self, ending: Ending, output_tokens: Callable[[], int]) -> Charge:
        """What the call is charged, by how it ended."""
        assert self.caller is not None
        outcome, basis = outcomes.outcome(ending)
        if outcome == types.OUTCOME_CLIENT_LEFT and not self.record.tried and self.reply is None:
            outcome = types.OUTCOME_CANCELLED  # no vendor was called
        usage, estimated = ending.usage, False
        if basis == ESTIMATE:
            usage, estimated = Usage(self.peek.input_tokens, output=output_tokens()), True
            if outcome == types.OUTCOME_NO_USAGE and self.unified.server.missing_usage == "free":
                basis = NOTHING
        cost = 0
        parts: tuple[prices.Part, ...] = ()
        if basis != NOTHING and usage is not None:
            cost, parts = prices.cost(self.model.price, usage, documents=self._documents())
        if ending.given_up and usage is not None:
            estimated = True  # what was seen is not the vendor's last word
            if cost > self._hold:
                cost, parts = self._hold, ()
        self.record.usage, self.record.estimated = usage, estimated
        return Charge(
            self.record.request_id, self.caller.account, self.caller.key_id, outcome, cost, self.peek.model,
            self.route.provider.id if self.route is not None else "", usage, parts, estimated,
        )  # fmt: skip

    async def close(self, charge: Charge) -> None:
        """Closes the hold, once; returns when that is durable."""
        if self._closed or not self._admitted:
            return
        self._closed = True
        self.record.cost, self.record.outcome = charge.cost, charge.outcome
        await self.unified.books.close(charge, charge.usage.total if charge.usage is not None else 0)

    # -- the head and the end ------------------------------------------------------------------------------------------

    def _lines(self) -> bytes:
        """The gateway's own header lines of an answer."""
        route = self.route
        request_id = self.record.request_id.encode()
        lines = [b"x-request-id: ", request_id, b"\r\n", self.head.fields]
        if self.head.surface.form == "anthropic":
            lines.append(b"request-id: %b\r\n" % request_id)  # where its SDK looks for it
        if route is not None:
            lines.append(self.unified.marks(route.provider.id, route.target.model))
        if self._admitted:
            lines.append(b"x-gateway-attempts: %d\r\n" % self.record.attempts)
        if self.cache is not None:
            lines.append(b"x-gateway-cache: %b\r\n" % self.cache.result.encode())
        if self._dropped:
            lines.append(b"x-gateway-dropped: %b\r\n" % field_value(", ".join(self._dropped)))
        if self._standing is not None:
            lines.append(headers(self._standing, self.head.surface.dialect, self.unified.now()))
        return b"".join(lines)

    def _keeps(self) -> bool:
        """Whether the client's connection lasts beyond this answer."""
        call = self.call
        if call.client.edge.draining:
            call.keep_client = False
        return call.keep_client

    async def _refuse(self, error: GatewayError) -> None:
        """Answers with an error; the hold, if there was one, is closed."""
        if isinstance(error, VendorRefused):
            error = self._cleaned(error)
        if self._standing is None and self.caller is not None:
            self._standing = await self.unified.books.standing(self.caller)
        answer = refusal(
            self.head.surface.form, error, self.record.request_id, self._lines(), self._keeps()
        )
        self.record.first_byte()
        self._end(types.END_CLIENT_LEFT if self.call.left else "", answer.status, error.code)
        self.call.refuse(answer.data)

    def _cleaned(self, error: VendorRefused) -> VendorRefused:
        secrets = list(self.unified.secrets())
        return error.cleaned(lambda text: scrubbed(text, secrets))

    def _finish(self) -> None:
        self._end(types.END_CLIENT_LEFT if self.call.left else types.END_COMPLETE, 200)
        self.call.finish()

    def _end(self, reason: str, status: int, error: str = "") -> None:
        self.reply = self.cache = None  # they hold the walk as the walk holds them: no collector shall be needed
        self.record.end(reason, status, self.call.bytes_up, self.call.bytes_down, error)

    def _crashed(self, exc: Exception) -> None:
        """A mistake of ours: told without its values; nothing is charged."""
        _log.error("%s %s: the call is given up", type(exc).__name__, place_of(exc))
        if self.call.fetch is not None:
            self.call.fetch.abandon()
        if self.route is not None:
            self.route.done()
        Walk(self._after_crash(), lambda _: self.call.cut_off()).go()

    async def _after_crash(self) -> None:
        if self._admitted:
            await self.close(self._charge(Ending(error=True), _none))
        if self.call.begun:
            self._end(types.END_VENDOR_TRUNCATED, 200, Internal.code)
            self.call.cut_off()
        elif not self.call.ended:
            await self._refuse(Internal("the gateway failed; its log says where"))


def _none() -> int:
    return 0
