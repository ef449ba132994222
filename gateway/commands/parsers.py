"""What may be typed after `gateway keys`, `credits`, `usage`, `prices` and `models`.

Only argparse is imported here: what a command needs is imported when it runs, so that each starts fast. `--config`,
`--data` and `--json` are known at every level and have no defaults below the top, so they may stand anywhere.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Any

from gateway.commands import arguments

Commands = Any  # argparse's own name for the type is private
_Run = Callable[[argparse.Namespace], int]

_KEYS_ABOUT = """Keys open the unified surfaces (/v1/...): one key for every model. A key belongs to an account, which
pays for its calls. Changes act on a running gateway within 5 seconds."""
_KEYS_EXAMPLES = """examples:
  gateway keys create --name alice --models deepseek-chat,kimi-k2 --budget 10/day
  gateway keys update key_0123456789abcdef --rpm 60 --expires 2030-01-31
  gateway keys update key_0123456789abcdef --budget none --models all
  gateway keys revoke key_0123456789abcdef"""
_CREDITS_ABOUT = """Accounts hold credits. A call sets aside what it can cost at most (held), and is charged what it did
cost. Every change is an entry that is never altered: available = the sum of all entries, balance = available + held."""
_CREDITS_EXAMPLES = """examples:
  gateway credits grant alice 100 --note "order 4711"
  gateway credits grant alice -2.50 --note "corrects the grant of May"
  gateway credits history alice --since 24h
  gateway credits verify"""
_SINCE = "a date or time (UTC unless it says otherwise), or how long ago: 90m, 24h, 7d"
_ID = "as `gateway keys list` shows it"


def shared_options() -> argparse.ArgumentParser:
    """Which instance is meant; a parent for every parser."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    about = "configuration, laid over the shipped one (default ./providers.yaml if there)"
    parser.add_argument("--config", metavar="FILE", help=about)
    parser.add_argument("--data", metavar="DIR", help="data folder (default ./.gateway)")
    return parser


def add(commands: Commands) -> None:
    """Adds all of them."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, parents=[shared_options()])
    shared.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _add_keys(commands, shared)
    _add_credits(commands, shared)
    about = "Sums what calls used and cost, as charged to accounts."
    usage = _leaf(commands, "usage", "what was used, and what it cost", about, shared, "usage", "usage",
                  "gateway usage --by key --since 7d")  # fmt: skip
    usage.add_argument("--by", choices=("model", "provider", "key", "account", "day"), default="model",
                       help="one row for each (default %(default)s)")  # fmt: skip
    usage.add_argument("--since", metavar="T", type=arguments.since, help=_SINCE)
    about = "Shows what each configured model costs: credits per million tokens or characters, or per one of a unit."
    _leaf(commands, "prices", "what the models cost", about, shared, "prices", "prices", "gateway prices --json")
    about = "Shows the configured models, where each goes, and which targets cannot be used because no key is set."
    _leaf(commands, "models", "the models and where they go", about, shared, "models", "models", "gateway models")


def _add_keys(commands: Commands, shared: argparse.ArgumentParser) -> None:
    verbs = _group(commands, "keys", "issue, list, change and revoke gateway keys", _KEYS_ABOUT, _KEYS_EXAMPLES, shared)
    values = _key_values()

    about = "Issues a key. The key and its callback secret are shown only this once: the key is kept as a hash."
    create = _leaf(verbs, "create", "issue a key", about, shared, "keys", "create",
                   "gateway keys create --name alice --rpm 60 --budget 10/day", values)  # fmt: skip
    create.set_defaults(disabled=None)

    about = "Shows all keys, revoked ones too, never a key itself."
    _leaf(verbs, "list", "show all keys", about, shared, "keys", "every", "gateway keys list --json")

    about = "Changes a key. What is not given stays as it is."
    update = _leaf(verbs, "update", "change a key", about, shared, "keys", "update",
                   "gateway keys update key_0123456789abcdef --rpm none --disable", values)  # fmt: skip
    update.add_argument("id", metavar="ID", help=_ID)
    switch = update.add_mutually_exclusive_group()
    switch.add_argument("--disable", dest="disabled", action="store_true", default=None, help="refuse its calls")
    switch.add_argument("--enable", dest="disabled", action="store_false", default=None, help="take them again")

    about = "Revokes a key for good; calls that are running are finished. To stop one for now: update ID --disable."
    revoke = _leaf(verbs, "revoke", "withdraw a key for good", about, shared, "keys", "revoke",
                   "gateway keys revoke key_0123456789abcdef")  # fmt: skip
    revoke.add_argument("id", metavar="ID", help=_ID)


def _key_values() -> argparse.ArgumentParser:
    """What create and update can set; nothing is set that is not given."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("--name", metavar="N", help="what people call it (default: its id)")
    add("--account", metavar="A", help="who pays (default: the name)")
    add("--models", metavar="M,M", type=arguments.models, help="the models that it may use, or all (default)")
    add("--rpm", metavar="N", type=arguments.whole, help="most requests a minute, or none for no limit (default)")
    add("--tpm", metavar="N", type=arguments.whole, help="most tokens a minute, or none (default)")
    add("--concurrency", metavar="N", type=arguments.whole, help="most calls at the same time, or none (default)")
    add("--budget", metavar="C[/day|/month]", type=arguments.budget,
        help="credits that it may spend in all, a day or a month (UTC), or none (default)")  # fmt: skip
    add("--expires", metavar="ISO8601", type=arguments.moment,
        help="date or time (UTC unless it says otherwise) from which it is refused, or none (default)")  # fmt: skip
    return parser


def _add_credits(commands: Commands, shared: argparse.ArgumentParser) -> None:
    verbs = _group(commands, "credits", "grant credits, see and verify the books", _CREDITS_ABOUT, _CREDITS_EXAMPLES,
                   shared)  # fmt: skip

    about = "Adds credits to an account; a negative amount takes some away and is entered as `adjust`."
    grant = _leaf(verbs, "grant", "add credits", about, shared, "credits", "grant",
                  'gateway credits grant alice 12.50 --note "order 4711"')  # fmt: skip
    grant.add_argument("account", metavar="ACCOUNT", help="who gets them; a first grant opens it")
    grant.add_argument("amount", metavar="AMOUNT", type=arguments.amount,
                       help="credits, a plain decimal with at most nine places")  # fmt: skip
    grant.add_argument("--note", metavar="T", type=arguments.note, default="", help="kept with the entry")

    about = "Shows what an account has, what is held for running calls, and what is available."
    balance = _leaf(verbs, "balance", "show an account", about, shared, "credits", "balance",
                    "gateway credits balance alice")  # fmt: skip
    balance.add_argument("account", metavar="ACCOUNT")

    about = "Shows an account's entries, oldest first, and how each charge came about: units x price = cost."
    history = _leaf(verbs, "history", "show an account's entries", about, shared, "credits", "history",
                    "gateway credits history alice --since 24h")  # fmt: skip
    history.add_argument("account", metavar="ACCOUNT")
    history.add_argument("--since", metavar="T", type=arguments.since, help=_SINCE)

    about = "Checks the books from the first entry on. Exit code 1 if anything is wrong."
    _leaf(verbs, "verify", "check the books", about, shared, "credits", "verify", "gateway credits verify --json")


def _group(
    commands: Commands, name: str, title: str, about: str, examples: str, shared: argparse.ArgumentParser
) -> Commands:
    parser = commands.add_parser(name, help=title, description=about, epilog=examples, parents=[shared],
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _leaf(
    commands: Commands, name: str, title: str, about: str, shared: argparse.ArgumentParser, module: str, function: str,
    example: str, *parents: argparse.ArgumentParser,
) -> argparse.ArgumentParser:  # fmt: skip
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=title, description=about, epilog=f"example:\n  {example}", parents=[shared, *parents],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(run=_later(module, function))
    return parser


def _later(module: str, function: str) -> _Run:
    """A command that is imported when it runs."""

    def run(options: argparse.Namespace) -> int:
        code: int = getattr(importlib.import_module(f"gateway.commands.{module}"), function)(options)
        return code

    return run
