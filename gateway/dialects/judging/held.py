"""What is common to all ways of streaming: the end of an answer is held back, and what is no stream is judged whole."""

from __future__ import annotations

from gateway.dialects import answers
from gateway.dialects.error_forms import VendorError
from gateway.dialects.judging.seen import CONTENT, END, Form, Seen
from gateway.dialects.judging.verdict import Verdict
from gateway.types import Usage

_JSON_LIMIT = 8 << 20  # of an answer that is no stream, though one was asked for


class Held(Seen):
    """One answer as it passes; its end waits for `finish`."""

    __slots__ = ("_carry", "_held", "_json", "_over", "_size", "_verdict")

    def __init__(self, form: Form, dialect: str, hide_usage: bool, choices: int) -> None:
        super().__init__(form, dialect, hide_usage, choices)
        self._json = False  # whether it is no stream: the first byte tells, whatever the content type says
        self._over = False
        self._carry = bytearray()  # an event that is not whole
        self._held: list[bytes] = []
        self._size = 0  # of what is held
        self._verdict: Verdict | None = None  # on what turned out to be no stream

    def end(self) -> None:
        """The vendor's stream is over, by no fault of the connection."""
        if self.error is not None or self._over:
            return
        self._over = True
        carry, self._carry = bytes(self._carry), bytearray()
        if self._json:
            self._judge_document(carry)
        elif carry:
            self._end_within(carry)
        if not (self.begun or self.finished or self.error):
            self._fail(VendorError(502, "the vendor's stream ended before it began"))

    def finish(self) -> bytes:
        """What was held back; to be called when the charge is safe. After the terminator, all else may just follow."""
        if self.ended:
            self._held.append(bytes(self._carry))
            self._carry.clear()
        else:
            self.end()
        held, self._held, self._size = b"".join(self._held), [], 0
        return held

    def usage(self) -> Usage | None:
        return super().usage() if self._verdict is None else self._verdict.usage

    @property
    def zero(self) -> bool:
        return super().zero if self._verdict is None else self._verdict.zero

    def output_tokens_estimate(self) -> int:
        return super().output_tokens_estimate() if self._verdict is None else self._verdict.output_tokens

    def _end_within(self, carry: bytes) -> None:
        """The stream is over, and this is the begin of an event."""
        raise NotImplementedError

    def _put(self, out: list[bytes], event: bytes, kind: int) -> None:
        if kind == CONTENT and not self.ended:
            if self._held:  # what seemed to be the end was not
                out += self._held
                self._held, self._size = [], 0
            out.append(event)
        elif kind == END or self._held or self.ended:
            self._held.append(event)
            self._size += len(event)
            while self._size > self._form.limit and len(self._held) > 1:
                self._size -= len(self._held[0])
                out.append(self._held.pop(0))
        else:
            out.append(event)

    def _fail(self, error: VendorError) -> None:
        self.error = error
        self.finished = False  # what seemed to be the end was not
        self._carry.clear()
        self._held, self._size = [], 0

    # -- documents -----------------------------------------------------------------------------------------------------

    def _collect(self, data: bytes) -> bytes:
        if len(self._carry) + len(data) > max(_JSON_LIMIT, self._form.limit):
            self._fail(VendorError(502, "the vendor answered with a document too large to read instead of a stream"))
        else:
            self._carry += data
        return b""

    def _judge_document(self, body: bytes) -> None:
        verdict = self._verdict = answers.judge(self._dialect, body)
        self.filtered = verdict.filtered
        self.finished = verdict.finished and verdict.error is None
        if verdict.error is not None:
            self._fail(verdict.error)
        else:
            self._held = [body]
