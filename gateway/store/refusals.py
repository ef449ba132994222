"""Why a call is refused for money, in words that say what to do."""

from __future__ import annotations

from gateway.errors import BudgetSpent, NoCredit

_NANO = 10**9


def no_credit(available: int, amount: int) -> NoCredit:
    """Too little for a call that may cost `amount`; below zero nothing starts at all."""
    return NoCredit(
        f"this call may cost up to {plain(amount)} credits and the account has {plain(available)} available; "
        "lower the maximum of tokens, or have credits added (gateway credits grant ACCOUNT AMOUNT)"
    )


def budget_spent(budget: int, period: str | None, used: int, amount: int) -> BudgetSpent:
    """`used` of the budget is spent or held."""
    wait = f", wait for the next {period} (UTC)" if period else ""
    return BudgetSpent(
        f"this call may cost up to {plain(amount)} credits, and {plain(used)} of this key's budget of {plain(budget)} "
        f"credits{f' a {period}' if period else ''} are spent or held; lower the maximum of tokens{wait}, "
        "or have the budget raised (gateway keys update ID --budget CREDITS)"
    )


def plain(amount: int) -> str:
    """Nano-credits as credits, without needless zeros."""
    whole, rest = divmod(abs(amount), _NANO)
    digits = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
    return f"-{digits}" if amount < 0 else digits
