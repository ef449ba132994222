"""The `gateway` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from gateway import __version__
from gateway.commands import CannotDo, parsers
from gateway.errors import GatewayError

_DATA = "./.gateway"
_RAW = argparse.RawDescriptionHelpFormatter

_ABOUT = """An edge gateway for every AI vendor.

Calls to http://HOST:PORT/{provider}/{the vendor's own path} pass through byte for byte, with the vendor's own key;
tokens by provider and model are counted at /metrics. Calls to http://HOST:PORT/v1/... take a gateway key for every
model; keys, credits and usage are looked after with the commands below, while the gateway runs or not."""

_EXAMPLES = """examples:
  gateway demo                            try everything offline, with simulated vendors
  gateway serve --config providers.yaml   serve on 127.0.0.1:8080
  gateway check --config providers.yaml   find mistakes in the configuration
  gateway keys create --name alice        issue a key
  gateway credits grant alice 100         and give it something to spend
  gateway usage --since 24h               see what was used

Every option of serve also comes from the environment: GATEWAY_CONFIG, GATEWAY_HOST, GATEWAY_PORT, GATEWAY_WORKERS,
GATEWAY_DATA; the first and the last count for all commands. GATEWAY_ADMIN_KEY sets the admin key."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        code = command(options)
        sys.stdout.flush()
        return code
    except (CannotDo, GatewayError) as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has had enough
        return 0


def _parser() -> argparse.ArgumentParser:
    shared = parsers.shared_options()
    parser = argparse.ArgumentParser(
        prog="gateway", description=_ABOUT, epilog=_EXAMPLES, formatter_class=_RAW, parents=[shared]
    )
    parser.add_argument("--version", action="version", version=__version__)
    # Below the top these options have no defaults, so whatever level they are given at counts.
    parser.set_defaults(config=_env("CONFIG", None), data=_env("DATA", _DATA), json=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands, shared)
    _add_demo(commands, shared)
    _add_check(commands, shared)
    _add_sandbox(commands)
    _add_bench(commands)
    parsers.add(commands)
    return parser


def _add_serve(commands: parsers.Commands, shared: argparse.ArgumentParser) -> None:
    serve = commands.add_parser(
        "serve",
        parents=[shared],
        help="run the gateway",
        description="Runs the gateway. The first start with a data folder prints an admin key, once. SIGTERM drains: "
        "nothing new is taken, streams finish. SIGHUP reads the configuration again; a bad one is refused, the old one "
        "stays.",
    )
    serve.add_argument("--host", default=_env("HOST", "127.0.0.1"), help="address to listen on (default %(default)s)")
    serve.add_argument("--port", type=_port, default=_env("PORT", "8080"),
                       help="port to listen on; 0 takes a free one (default %(default)s)")  # fmt: skip
    serve.add_argument("--workers", type=_count, default=_env("WORKERS", "1"), metavar="N",
                       help="processes that share the port (default %(default)s)")  # fmt: skip
    serve.set_defaults(run=_serve)


def _add_demo(commands: parsers.Commands, shared: argparse.ArgumentParser) -> None:
    demo = commands.add_parser(
        "demo",
        parents=[shared],
        help="try it offline",
        description="Starts simulated vendors and a gateway in front of them, without the network and without keys, "
        "and prints its URL, an admin key and three curl lines that work as they stand.",
    )
    demo.add_argument("--port", type=_port, default="8080", help="the gateway's port (default %(default)s)")
    demo.set_defaults(run=_demo)


def _add_check(commands: parsers.Commands, shared: argparse.ArgumentParser) -> None:
    check = commands.add_parser(
        "check",
        parents=[shared],
        help="validate the configuration",
        description="Checks the configuration and names every mistake with its line and its remedy. "
        "Exit code 1 if there is one.",
    )
    check.set_defaults(run=_check)


def _add_sandbox(commands: parsers.Commands) -> None:
    sandbox = commands.add_parser(
        "sandbox",
        help="run the simulated vendors only",
        description="Runs simulated vendors for trying clients offline; GET /_sandbox tells how to script them.",
    )
    sandbox.add_argument("--port", type=_port, default="9000", help="port to listen on (default %(default)s)")
    sandbox.set_defaults(run=_sandbox)


def _add_bench(commands: parsers.Commands) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure the gateway on this machine",
        description="Measures calls straight to a vendor against calls through the gateway: added latency, "
        "CPU per request and event.",
    )
    bench.add_argument("--seconds", type=float, default=3.0, help="how long each row runs (default %(default)s)")
    bench.add_argument("--json", action="store_true", help="print JSON instead of a table")
    bench.set_defaults(run=_bench)


def _env(name: str, default: str | None) -> str | None:
    return os.environ.get(f"GATEWAY_{name}") or default


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers: give 1 to 256")
    return int(text)


# The imports stand in the commands so that each starts as fast as it can.


def _start(command: Callable[[], int]) -> int:
    """The exit code of a command that serves."""
    from gateway.serve import CannotStart

    try:
        return command()
    except CannotStart as exc:
        print(exc, file=sys.stderr)
        return 2


def _serve(options: argparse.Namespace) -> int:
    from gateway.serve import serve

    return _start(lambda: serve(options.config, options.host, options.port, options.workers, options.data))


def _demo(options: argparse.Namespace) -> int:
    from gateway.demo import demo

    return _start(lambda: demo(options.port, options.data))


def _check(options: argparse.Namespace) -> int:
    from gateway.settings import check

    errors, warnings = check(options.config, os.environ)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for error in errors:
        print(error, file=sys.stderr)
    if errors:
        return 1
    print("the configuration is good")
    return 0


def _sandbox(options: argparse.Namespace) -> int:
    from gateway.sandbox.app import run

    try:
        run("127.0.0.1", options.port)
    except OSError as exc:
        print(f"cannot listen on 127.0.0.1:{options.port}: {(exc.strerror or str(exc)).lower()}", file=sys.stderr)
        return 2
    return 0


def _bench(options: argparse.Namespace) -> int:
    from gateway.benchmark import run

    return run(options.seconds, options.json)
