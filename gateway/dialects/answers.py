"""Judges a vendor's whole answer: is it one, did it finish, was it filtered, what does it say was used.

How each dialect is judged is in `judging`; to add one, write its module there and give it a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.dialects.judging import anthropic, chat, dashscope, gemini, lists, responses
from gateway.dialects.judging.verdict import Verdict

__all__ = ["Verdict", "judge"]

_JUDGES: dict[str, Callable[[bytes, int | None], Verdict]] = {
    "openai.chat": chat.judge,
    "openai.completions": chat.judge,
    "openai.responses": responses.judge,
    "anthropic.messages": anthropic.judge,
    "gemini.generate": gemini.judge,
    "dashscope.generation": dashscope.judge,
    "minimax.chat": chat.judge,
    **{dialect: partial(lists.judge, dialect) for dialect in lists.LISTS},
}


def judge(dialect: str, body: bytes, expected: int | None = None) -> Verdict:
    """The verdict on the body of a 2xx answer that is no stream.

    `expected`: how many vectors are due. KeyError: answers of this dialect cannot be judged.
    """
    if body[:3] == b"\xef\xbb\xbf":
        body = body[3:]
    return _JUDGES[dialect](body, expected)
