"""The layers, held against the code: who may import whom, how long files and functions may be, which names are bad."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gateway"
MODULES = sorted(PACKAGE.rglob("*.py"))
BANNED = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
IMPURE = "asyncio aiohttp socket os time datetime random uuid logging ssl subprocess threading".split()

# Part: (what it may import of ours, what from outside besides the standard library). A part is a module or a package;
# None: anything. To add a module, add its name here first and think about who may know it.
WORDS = {"types", "errors"}
CONFIG = {
    "settings",
    "server_settings",
    "providers",
    "models",
    "prices",
    "fields",
    "addresses",
    "metered",
    "yaml_lines",
}
COUNTING = {"meter", "metrics", "access_log"}
TABLE: dict[str, tuple[set[str] | None, set[str] | None]] = {
    "errors": (set(), {"msgspec"}),
    "types": (set(), {"msgspec"}),
    "dialects": (WORDS | {"dialects"}, {"msgspec"}),
    "wire": (
        WORDS | {"wire"},
        {"aiohttp", "httptools", "aiofastnet", "aiohappyeyeballs", "brotli", "backports", "python_socks", "msgspec"},
    ),
    "store": (WORDS | {"store"}, None),
    **dict.fromkeys(CONFIG - {"yaml_lines"}, (WORDS | CONFIG, {"msgspec"})),
    "yaml_lines": (WORDS, {"yaml", "msgspec"}),
    **dict.fromkeys(COUNTING, (WORDS | COUNTING, {"msgspec", "prometheus_client"})),
    "admin_key": (WORDS, set()),
    "systemd": (set(), set()),
    "workers": (WORDS | COUNTING | {"systemd"}, {"msgspec"}),
    "auth": (WORDS, set()),
    "routing": (WORDS | CONFIG | {"routing"}, {"msgspec"}),
    "books": (WORDS | {"books", "store", "wire", "workers"}, {"msgspec"}),
    "caching": (WORDS | CONFIG | {"caching"}, {"msgspec", "numpy", "safetensors", "tokenizers"}),
    "relay": (WORDS | CONFIG | COUNTING | {"dialects", "wire"}, {"msgspec"}),
    "unified": (
        WORDS | CONFIG | COUNTING
        | {"auth", "books", "caching", "dialects", "features", "relay", "routing", "unified", "wire"},
        {"msgspec"},
    ),
    "stores": (WORDS | CONFIG | {"auth", "books", "caching", "store", "unified", "workers"}, set()),
    "features": (WORDS, {"msgspec"}),
    "reach": (WORDS, set()),
    "media": (WORDS | {"reach"}, {"aiohttp", "yarl"}),
    "commands": (None, {"msgspec"}),
    "admin": (WORDS | {"store", "settings", "providers", "prices", "admin"}, {"aiohttp", "msgspec"}),
    "sandbox": ({"sandbox"}, {"aiohttp", "brotli", "backports"}),
    "benchmark": ({"benchmark"}, None),
    "demo": (None, None),
    "app": (None, None),
    "serve": (None, None),
    "cli": (None, None),
    "__main__": (None, None),
    "__init__": (set(), set()),
}
# Only these may know the sandbox: it simulates vendors, the gateway proper must not.
KNOW_THE_SANDBOX = {"cli", "demo", "sandbox"}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module, dotted, with how many dots a relative one begins with."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "gateway":
                yield from ((f"gateway.{alias.name}", node.level) for alias in node.names)
            else:
                yield node.module or "", node.level


def ours(path: Path) -> set[str]:
    """The parts of the gateway that a module imports."""
    found = {module.split(".")[1] for module, _ in imports(path) if module.startswith("gateway.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_who_imports_whom(path: Path) -> None:
    allowed, outside = TABLE[part(path)]
    if allowed is not None:
        assert ours(path) <= allowed
    if outside is not None:
        foreign = {module.split(".")[0] for module, _ in imports(path)} - sys.stdlib_module_names - {"gateway"}
        assert foreign - {"compression"} <= outside
    if part(path) not in KNOW_THE_SANDBOX:
        assert "sandbox" not in ours(path)


@pytest.mark.parametrize("path", [path for path in MODULES if part(path) == "dialects"], ids=name)
def test_dialects_are_pure(path: Path) -> None:
    assert not {module.split(".")[0] for module, _ in imports(path)} & set(IMPURE)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_shape(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not BANNED & set(path.relative_to(PACKAGE).with_suffix("").parts)
    assert len(text.splitlines()) <= 500
    assert all(level == 0 for _, level in imports(path)), "absolute imports only"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_the_table_has_no_dead_lines_and_the_check_can_fail(tmp_path: Path) -> None:
    there = {part(path) for path in MODULES}
    assert there <= set(TABLE)
    assert set(TABLE) - there <= {"store"}  # not there yet
    sample = tmp_path / "sample.py"
    sample.write_text(
        "from . import a\nimport os.path\nfrom gateway import errors\ndef f():\n    from gateway.wire import x\n"
    )
    assert list(imports(sample)) == [("", 1), ("os.path", 0), ("gateway.errors", 0), ("gateway.wire", 0)]
    assert ours(sample) == {"errors", "wire"}
