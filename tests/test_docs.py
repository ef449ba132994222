"""The documents, held against the code: what they name exists, and what exists is named."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway import errors, models, types
from gateway.cli import main
from gateway.dialects import conversion
from gateway.errors import GatewayError
from gateway.metrics import Metrics
from gateway.providers import DIALECTS
from gateway.routing.rules import Facts
from gateway.server_settings import ServerSettings
from gateway.settings import check
from gateway.store.ledger import LOCK
from gateway.store.sqlite import FILE
from gateway.unified.record import Tried, UnifiedLine
from gateway.unified.reply import VendorRefused
from gateway.unified.surfaces import SURFACES

ROOT = Path(__file__).parent.parent
CODE = ROOT / "gateway"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGES.md", *(ROOT / "docs").glob("*.md")])
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
EVERYTHING = "\n".join(TEXTS.values())
OPERATIONS, UNIFIED, PROVIDERS = (TEXTS[f"{name}.md"] for name in ("operations", "unified", "providers"))
SIMULATED = {"sandbox", "benchmark"}  # their names are not the gateway's
SOURCE = "\n".join(
    path.read_text(encoding="utf-8")
    for path in sorted(CODE.rglob("*.py"))
    if path.relative_to(CODE).parts[0] not in SIMULATED
)


def _fenced(text: str, language: str | None = None) -> Iterator[str]:
    """The code blocks of a page."""
    for named, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language is None or named == language:
            yield block


def _code(text: str) -> Iterator[str]:
    """Every piece of code: inline, and the lines of blocks (a line that ends in a backslash with the next one)."""
    for block in _fenced(text):
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def _tables(text: str) -> Iterator[list[list[str]]]:
    """The cells of each table, its head first."""
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split(" |")] for line in table.splitlines()]
        yield [rows[0], *rows[2:]]


# -- pages -------------------------------------------------------------------------------------------------------------


def _anchor(heading: str) -> str:
    plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return plain.replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), link


def test_the_readme_is_short_and_its_translation_complete() -> None:
    readme, chinese = TEXTS["README.md"], TEXTS["README.zh.md"]
    assert len(readme.splitlines()) < 200
    for sign in ("## ", "```", "| "):
        lines = [sum(line.startswith(sign) for line in text.splitlines()) for text in (readme, chinese)]
        assert lines[0] == lines[1], sign
    for block, translated in zip(_fenced(readme), _fenced(chinese), strict=True):
        if block.isascii():  # what is typed or printed is the same in any language, less its comments
            assert re.sub(r" *#.*", "", block) == re.sub(r" *#.*", "", translated)
    assert set(re.findall(r"\]\((?:\.\./)?(?:docs/)?([\w./-]+)", readme)) - {"README.zh.md"} == set(
        re.findall(r"\]\((?:\.\./)?([\w./-]+)", chinese)
    ) - {"README.md"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_files_and_names_of_the_code_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", text):
        places = (ROOT, CODE, CODE / "wire", CODE / "dialects", CODE / "store")
        assert any((place / name).exists() for place in places), name
    for holder, member in re.findall(r"`([A-Z][A-Za-z]+)\.([a-z_]+)`", text):
        assert re.search(rf"^class {holder}\b", SOURCE, re.MULTILINE), holder
        assert re.search(rf"\b{member}\b", SOURCE), (holder, member)


@pytest.mark.parametrize("name", TEXTS)
def test_examples_of_configurations_are_good(name: str, tmp_path: Path) -> None:
    for block in _fenced(TEXTS[name], "yaml"):
        file = tmp_path / "providers.yaml"
        file.write_text(block, encoding="utf-8")
        problems, _ = check(str(file), os.environ)
        assert problems == [], block


# -- commands ----------------------------------------------------------------------------------------------------------


def _help(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def _below(text: str) -> list[str]:
    """The commands that a help lists."""
    _, _, listed = text.partition("\ncommands:\n")
    return re.findall(r"^    ([a-z]+) ", listed, re.MULTILINE)


def _commands(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, ...], set[str]]:
    """Every command, with its options."""
    found: dict[tuple[str, ...], set[str]] = {}
    waiting: list[tuple[str, ...]] = [()]
    for words in waiting:
        text = _help(capsys, *words)
        found[words] = set(re.findall(r"(?<![\w-])--[a-z]+", text.partition("\nexample")[0]))
        waiting += [(*words, word) for word in _below(text)]
    return found


def _called(text: str) -> Iterator[list[str]]:
    """What stands behind `gateway` in commands."""
    for piece in _code(text):
        for call in re.findall(r"(?:^|[$;&] ?|-m |/)gateway((?: [^;&#]+)?)(?=$|[;&]|  +#)", piece.strip()):
            yield shlex.split(call.replace("[", " ").replace("]", " "))


def test_commands_and_options_exist_and_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    known = _commands(capsys)
    seen: set[tuple[str, ...]] = set()
    for words in _called(EVERYTHING):
        command: tuple[str, ...] = ()
        for word in words:
            if (*command, word) in known:
                command = (*command, word)
        assert command or all(word.startswith("--") for word in words), words
        wrong = {word for word in words if word.startswith("--")} - known[command]
        assert not wrong, (words, wrong)
        seen.add(command)
    groups = {words[:-1] for words in known if words}
    assert set(known) - groups - seen == set(), "commands that no page shows"
    options = set().union(*known.values()) - {"--help", "--version"}
    assert {option for option in options if option not in EVERYTHING} == set()


# -- names that programs read ------------------------------------------------------------------------------------------


def test_metrics() -> None:
    there = {family.name + ("_total" if family.kind == "counter" else "") for family in Metrics().snapshot()}
    named = set(re.findall(r"\b(?:gateway|gen_ai)_[a-z_]+", EVERYTHING))
    named.discard("gateway_error")  # the type of errors
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} == there
    assert there <= set(re.findall(r"`((?:gateway|gen_ai)_[a-z_]+)`", OPERATIONS))


def test_headers() -> None:
    pattern = r"x-gateway-[a-z]+\b"
    assert set(re.findall(pattern, EVERYTHING)) == set(re.findall(pattern, SOURCE))


def _classes(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield root
    for each in root.__subclasses__():
        yield from _classes(each)


def test_error_codes_and_their_statuses() -> None:
    there = {(each.code, str(each.status)) for each in _classes(errors.GatewayError) if each is not VendorRefused}
    there.add((VendorRefused.code, "as told"))  # the vendor's own, in its place
    told = {
        (code, row[1])
        for head, *rows in _tables(OPERATIONS)
        if head[0] == "code"
        for row in rows
        for code in re.findall(r"`(\w+)`", row[0])
    }
    assert told == there
    for_users = {
        (code, status)
        for status, codes in re.findall(r"^\| (\d{3}) ((?:`\w+`(?:, )?)+) \|", UNIFIED, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert len(for_users) > 20
    assert for_users < there


def test_what_the_access_log_and_the_books_say() -> None:
    for field in (*UnifiedLine.__struct_fields__, *Tried.__struct_fields__):
        assert f"`{field}`" in OPERATIONS, field
    for word in (*types.OUTCOMES, *types.END_REASONS):
        assert re.search(rf"\b{word}\b", OPERATIONS), word
    for file in (FILE, LOCK, "cache.db", "cache.lock", "admin-key.sha256"):
        assert f"`{file}`" in OPERATIONS, file


def test_every_key_of_the_configuration_is_told() -> None:
    structs: list[type[msgspec.Struct]] = [
        ServerSettings, models.Model, models.Target, models.Features, models.Cache, models.Semantic, models.When,
        models.Rule,
    ]  # fmt: skip
    for field in {field for struct in structs for field in struct.__struct_fields__} - {"name"}:
        assert re.search(rf"`[^`]*\b{field}\b[^`]*`", PROVIDERS), field
    assert {"base_url", "quirks", "speaks"} <= set(re.findall(r"^\| `(\w+)` \|", PROVIDERS, re.MULTILINE))
    for dialect in DIALECTS:
        assert dialect in PROVIDERS, dialect
    for choice in (*models.KINDS, *models.STRATEGIES, *(set(Facts.__struct_fields__) - {"model"})):
        assert re.search(rf"\b{choice}\b", PROVIDERS), choice


# -- what conversions lose ---------------------------------------------------------------------------------------------


def losses_table(surface: str) -> str:
    """The table of docs/unified.md, from the code: equal losses of several vendors share a row."""
    tables = {
        vendor: found.LOSSES for vendor in sorted(DIALECTS) if (found := conversion.find(surface, vendor)) is not None
    }
    rows: dict[tuple[str, str], list[str]] = {}
    for field in dict.fromkeys(field for losses in tables.values() for field in losses if field != "*"):
        for vendor, losses in tables.items():
            if field in losses:
                rows.setdefault((field, losses[field]), []).append(vendor)
    lines = ["| field | | at | why |", "|---|---|---|---|"]
    for (field, fate), vendors in rows.items():
        what, _, why = fate.partition(": ")
        named, use = re.fullmatch(r"(\w+)(.*)", field).groups()  # type: ignore[union-attr]
        at = "all" if len(vendors) == len(tables) else ", ".join(f"`{vendor}`" for vendor in vendors)
        lines.append(f"| `{named}`{use} | {what} | {at} | {why} |")
    return "\n".join(lines)


@pytest.mark.parametrize("surface", ["openai.embeddings", "jina.rerank"])
def test_losses_are_those_of_the_code(surface: str) -> None:
    expected = losses_table(surface)
    assert len(expected.splitlines()) > 5
    assert f"`{surface}`:\n\n{expected}\n\n" in UNIFIED, f"docs/unified.md needs this:\n{expected}"


def test_every_conversion_is_in_the_table_of_surfaces() -> None:
    for surface in SURFACES:
        row = next(line for line in UNIFIED.splitlines() if line.startswith(f"| {surface.name} |"))
        able = {dialect for dialect in DIALECTS if conversion.known(surface.dialect, dialect)}
        assert surface.path in row
        assert set(re.findall(r"`([a-z]+\.[a-z]+)`", row)) == able
