"""Pass-through is byte-exact: what vendor and client receive directly and through the gateway is the same.

Every random exchange runs twice, straight to the vendor and through the gateway; the two sights are compared but for
what the contract says: Host, hop-by-hop fields, and what an HTTP/1.0 client cannot read.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.wire.ends import End, connect
from tests.wire.exchanges import NUMBER, Exchange, Reply, exchanges, forwarded, wants_trailers
from tests.wire.messages import CHUNKED, LENGTH, UNTIL_CLOSE, Fields, Message, read_answer
from tests.wire.serving import Gateway
from tests.wire.vendor import Vendor


@dataclass
class Sight:
    """One exchange as the two ends saw it."""

    request: Message
    answer: Message


class Playbook:
    """The vendor's side of a batch. Pooled connections outlive a batch, so each request looks up what is current."""

    def __init__(self) -> None:
        self.batch: list[Exchange] = []
        self.seen: dict[int, Message] = {}

    async def script(self, vendor: Vendor, end: End) -> None:
        while (message := await vendor.next_request(end)) is not None:
            number = int(message.value(NUMBER.lower()))
            assert number not in self.seen, f"exchange {number} came twice"
            self.seen[number] = message
            reply = self.batch[number].reply
            await end.send_pieces(reply.wire(message.method), reply.cuts)
            if reply.closes(message.method):
                end.close()
                return


PLAYBOOK = Playbook()


async def observe(batch: list[Exchange], vendor: Vendor, port: int, prefix: bytes) -> list[Sight]:
    """Run the batch over as few connections as its answers allow."""
    vendor.problems.clear()
    vendor.script = PLAYBOOK.script
    PLAYBOOK.batch, PLAYBOOK.seen = batch, {}
    sights: list[Sight] = []
    end: End | None = None
    for number, exchange in enumerate(batch):
        end = end or await connect(port)
        await end.send_pieces(exchange.wire(prefix, number), exchange.cuts)
        answer = await read_answer(end, exchange.method)
        sights.append(Sight(PLAYBOOK.seen[number], answer))
        ends = answer.framing == UNTIL_CLOSE or exchange.version == b"HTTP/1.0" and prefix
        if ends:
            assert await end.read_to_end() == b"", "bytes after the answer"
            end.close()
            await end.wait_lost()
            end = None
        else:
            assert not end.buffer, "bytes after the answer"
            assert not end.ended, "the connection did not live on"
    if end is not None:
        end.close()
        await end.wait_lost()
    return sights


def less(fields: Fields, *names: bytes) -> Fields:
    """The fields without those that frame the message or manage the connection: these are looked at one by one."""
    return [(name, value) for name, value in fields if name.lower() not in names]


def check_request(direct: Message, through: Message, host: bytes) -> None:
    assert through.line[:2] == direct.line[:2]
    assert through.line[2] == b"HTTP/1.1"
    assert less(through.fields, b"connection", b"te", b"transfer-encoding") == forwarded(direct.fields, host)
    assert through.values(b"te") == wants_trailers(direct)
    assert through.values(b"connection") in ([], wants_trailers(direct) and [b"TE"])
    assert (through.framing, through.body, through.trailers) == (direct.framing, direct.body, direct.trailers)


def check_answer(direct: Message, through: Message, version: bytes) -> None:
    assert through.line[1:] == direct.line[1:]
    assert less(through.fields, b"connection", b"transfer-encoding") == forwarded(direct.fields)
    assert through.body == direct.body
    if version == b"HTTP/1.1":
        assert through.framing == direct.framing
        assert through.trailers == direct.trailers
        assert [one.line[1:] for one in through.interim] == [one.line[1:] for one in direct.interim]
        assert [one.fields for one in through.interim] == [one.fields for one in direct.interim]
    else:
        framed = direct.framing if direct.framing != CHUNKED else UNTIL_CLOSE
        assert (through.framing, through.interim, through.trailers) == (framed, [], [])


async def compare(batch: list[Exchange], gateway: Gateway, vendor: Vendor) -> None:
    direct = await observe(batch, vendor, gateway.vendor_port, b"")
    through = await observe(batch, vendor, gateway.port, b"/echo")
    assert not vendor.problems, vendor.problems
    host = b"127.0.0.1:%d" % gateway.vendor_port
    for exchange, one, other in zip(batch, direct, through, strict=True):
        try:
            check_request(one.request, other.request, host)
            check_answer(one.answer, other.answer, exchange.version)
        except AssertionError as exc:
            exc.add_note(f"in {exchange}")
            raise


RANDOM = settings(
    max_examples=400,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate],  # making a hanging batch smaller would take minutes; the exchange is named anyway
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@RANDOM
@given(batch=st.lists(exchanges(), min_size=1, max_size=20))
async def test_random_exchanges_are_the_same_directly_and_through(
    batch: list[Exchange], gateway: Gateway, vendor: Vendor
) -> None:
    await compare(batch, gateway, vendor)


async def test_every_framing_with_every_framing(gateway: Gateway, vendor: Vendor) -> None:
    """All pairs of body and answer framing on one connection, whatever chance leaves out."""
    pieces = [b"first", b"\r\n0\r\n\r\n", b"last" * 5000]
    batch = []
    for framing, reply_framing, status in itertools.product(
        ("none", LENGTH, CHUNKED), (LENGTH, CHUNKED, UNTIL_CLOSE), (b"200", b"204", b"304", b"500")
    ):
        for method in (b"POST", b"HEAD", b"GET"):
            trailers = [(b"X-Sum", b"1"), (b"x-sum", b"2")]
            reply = Reply(
                status, b"", [(b"A", b"1"), (b"a", b"2")], reply_framing, pieces, trailers, [], [], [9, 9, 0, 50]
            )
            batch.append(
                Exchange(
                    method,
                    b"/v1/x?y",
                    b"HTTP/1.1",
                    [(b"B", b""), (b"b", b"")],
                    framing,
                    pieces,
                    trailers,
                    [b";x=y"],
                    [5, 0, 300],
                    reply,
                )
            )
    await compare(batch, gateway, vendor)
