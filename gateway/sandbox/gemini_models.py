"""What the generations of Gemini can do: each thinks in its own way, or not at all."""

from __future__ import annotations

import re
from typing import NamedTuple


class Model(NamedTuple):
    """`budgets`: the least and the most of a thinking budget; `levels`: of thinking, since Gemini 3, which also checks
    signatures; `sleeps`: thinking can be switched off; `fetches`: takes web addresses as files; `shapes`: JSON as the
    answer's form beside tools.
    """

    budgets: tuple[int, int] | None = None
    levels: tuple[str, ...] = ()
    sleeps: bool = True
    fetches: bool = True
    shapes: bool = True


_ALL = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
# The first row that fits a name counts.
MODELS: tuple[tuple[str, Model], ...] = (
    (r"gemini-2\.5-pro", Model((128, 32768), sleeps=False, shapes=False)),
    (r"gemini-2\.5-flash-lite", Model((512, 24576), shapes=False)),
    (r"gemini-2\.5-flash-image", Model(shapes=False)),
    (r"gemini-2\.5", Model((1, 24576), shapes=False)),
    (r"gemini-[12]\.", Model(fetches=False, shapes=False)),
    (r"gemini-[3-9][\w.]*-pro", Model((1, 32768), _ALL[1:], sleeps=False)),
    (r"gemini-[3-9]", Model((1, 32768), _ALL)),
)
_OTHER = Model((1, 32768))


def model_of(name: str) -> Model:
    return next((model for pattern, model in MODELS if re.match(pattern, name)), _OTHER)
