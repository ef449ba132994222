"""Rules: which name a request's own facts choose. The first that fits wins; all of its conditions must hold."""

from __future__ import annotations

import operator
from collections.abc import Callable

import msgspec

from gateway.models import Model, When

COMPARED: dict[str, Callable[[int, int], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}


class Facts(msgspec.Struct):
    """What rules may ask about a request. `model`: the name that the client sent; `key`: the name of its key."""

    model: str = ""
    key: str = ""
    task: str | None = None  # header x-gateway-task
    input_tokens: int | Callable[[], int] = 0  # counted only if a rule asks
    images: bool = False
    tools: bool = False

    def tokens(self) -> int:
        """The estimate of the input; counted once."""
        if not isinstance(self.input_tokens, int):
            self.input_tokens = self.input_tokens()
        return self.input_tokens


def fits(when: When, facts: Facts) -> bool:
    """Whether all conditions hold. Those that cost nothing come first."""
    for wanted, found in (
        (when.task, facts.task),
        (when.images, facts.images),
        (when.tools, facts.tools),
        (when.key, facts.key),
        (when.model, facts.model),
    ):
        if wanted is not None and wanted != found:
            return False
    if when.input_tokens is None:
        return True
    sign, number = when.input_tokens
    return COMPARED[sign](facts.tokens(), number)


def chosen(model: Model, facts: Facts) -> str | None:
    """The name that a model's rules lead to, else its `use`; None: the model itself is meant."""
    for rule in model.rules:
        if fits(rule.when, facts):
            return rule.use
    return model.use
