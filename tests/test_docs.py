"""The documents, held against the code: what they name exists, and what exists is named."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway import app as _everything  # noqa: F401 - so that all kinds of errors are there
from gateway import errors, features, media, models, types
from gateway.cli import main
from gateway.dialects import conversion
from gateway.dialects.chat.conversion import read
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.error_forms import error_body
from gateway.errors import GatewayError
from gateway.metrics import Metrics
from gateway.providers import DIALECTS
from gateway.routing.rules import Facts
from gateway.server_settings import ServerSettings
from gateway.settings import check
from gateway.store.ledger import LOCK
from gateway.store.sqlite import FILE
from gateway.unified import kept, pictures, requests, responses
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


def test_errors_look_as_told() -> None:
    bodies = {
        surface.name: msgspec.json.decode(error_body(surface.form, 400, "no", "bad_request", request_id="r"))
        for surface in SURFACES
    }
    (rows,) = (rows for head, *rows in _tables(UNIFIED) if head[:2] == ["surface", "body"])
    told = {name: re.findall(r'"(\w+)"', row[1]) for row in rows for name in row[0].split(", ")}
    assert told.keys() == bodies.keys()
    for name, body in bodies.items():
        assert sorted(told[name]) == sorted([*body, *body["error"], *(["error"] * ("type" in body))]), name


def test_what_stays_behind_at_a_vendor_of_another_dialect() -> None:
    (words,) = re.findall(r"what speaks of yours stays behind as\s+well: (.+?)\. ", UNIFIED, re.DOTALL)
    told = {prefix.lower() for prefix in re.findall(r"`([\w-]+)\*`", words)}
    assert told == {prefix.decode() for prefix in requests._FOREIGN}


def test_what_the_access_log_and_the_books_say() -> None:
    for field in (*UnifiedLine.__struct_fields__, *Tried.__struct_fields__):
        assert f"`{field}`" in OPERATIONS, field
    for word in (*types.OUTCOMES, *types.END_REASONS):
        assert re.search(rf"\b{word}\b", OPERATIONS), word
    kept_files = [f"{name}.{ending}" for name in ("cache", "kept", "responses") for ending in ("db", "lock")]
    for file in (FILE, LOCK, *kept_files, "admin-key.sha256"):
        assert f"`{file}`" in OPERATIONS, file
    for surface in {surface.name for surface in SURFACES}:
        assert re.search(rf"^\| `surface` \| .*`{surface}`", OPERATIONS, re.MULTILINE), surface


def test_every_key_of_the_configuration_is_told() -> None:
    structs: list[type[msgspec.Struct]] = [
        ServerSettings, models.Model, models.Target, types.Features, models.Cache, models.Semantic, models.When,
        models.Rule,
    ]  # fmt: skip
    for field in {field for struct in structs for field in struct.__struct_fields__} - {"name"}:
        assert re.search(rf"`[^`]*\b{field}\b[^`]*`", PROVIDERS), field
    assert {"base_url", "quirks", "speaks"} <= set(re.findall(r"^\| `(\w+)` \|", PROVIDERS, re.MULTILINE))
    for dialect in DIALECTS:
        assert dialect in PROVIDERS, dialect
    for choice in (*models.KINDS, *models.STRATEGIES, *(set(Facts.__struct_fields__) - {"model"})):
        assert re.search(rf"\b{choice}\b", PROVIDERS), choice


def test_keys_of_the_server_that_do_nothing_yet() -> None:
    unused = {field for field in ServerSettings.__struct_fields__ if not re.search(rf"\bserver\.{field}\b", SOURCE)}
    (row,) = re.findall(r"^\| not used yet \| (.*)$", OPERATIONS, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == unused
    told = re.findall(r"^\| (`[^|]*) \|.*not used yet", PROVIDERS, re.MULTILINE)
    assert {name for names in told for name in re.findall(r"`(\w+)`", names)} == unused


def test_features_that_are_shipped() -> None:
    ((head, *rows),) = (table for table in _tables(PROVIDERS) if table[0][0] == "models such as")
    fields = [name.strip("`") for name in head[1:]]
    reached = set()
    for names, *cells in rows:
        said = {field: cell.strip("`").replace(",", "") for field, cell in zip(fields, cells, strict=True) if cell}
        for name in re.findall(r"`([^`]+)`", names):
            shipped = msgspec.structs.asdict(features.features(name))
            assert {field: str(value).lower() for field, value in shipped.items() if value is not None} == said, name
            reached.add(next(row for row in features._ROWS if re.search(row[0], name.lower())))
    assert reached == set(features._ROWS), "rows of which the table shows no model"


def test_bounds_of_what_is_kept_and_fetched() -> None:
    def mib(size: int) -> str:
        return f"{size >> 20} MiB" if size < 1 << 30 else f"{size >> 30} GiB"

    for file, size in (("kept.db", kept.MAX_FILE), ("responses.db", responses.MAX_FILE)):
        (row,) = re.findall(rf"^\| `{re.escape(file)}`.*$", OPERATIONS, re.MULTILINE)
        assert mib(size) in row, file
    assert f"{mib(responses.MAX_ENTRY)}, else it is not stored" in OPERATIONS
    page = TEXTS["threat-model.md"]
    each = f"{mib(media.MAX_BYTES)} and {media.SECONDS:g} s each, {pictures.MOST}"
    assert f"{each} and {mib(pictures.MAX_BYTES)} a request" in OPERATIONS
    assert f"{each} pictures" in page
    assert f"at most {media.MAX_REDIRECTS} redirects" in page
    turns = f"{mib(kept.MAX_ENTRY)} a turn, {kept.MAX_ENTRIES:,} turns a key and {mib(kept.MAX_MEMORY)} in memory"
    assert f"{turns}, {mib(kept.MAX_FILE)} in `kept.db`" in page
    assert f"{mib(responses.MAX_ENTRY)} a response, {mib(responses.MAX_FILE)} in `responses.db`" in page


# -- what conversions lose ---------------------------------------------------------------------------------------------


def test_the_page_of_dialects_is_what_the_code_says() -> None:
    script = ROOT / "scripts" / "dialects"
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, encoding="utf-8", check=True)
    assert TEXTS["dialects.md"] == printed.stdout, "run scripts/dialects > docs/dialects.md"


def test_every_loss_is_told() -> None:
    tables = {f"A client of `{name}`": surface.LOSSES for name, surface in conversion.SURFACES.items()}
    tables |= {f"A vendor of `{name}`": vendor.LOSSES for name, vendor in conversion.VENDORS.items()}
    for shape, head in (
        ("openai.embeddings", "openai.embeddings"), ("gemini.batch", "gemini.embed, several at once"),
    ):  # fmt: skip
        found = conversion.lists(shape, "cohere.embed")
        assert found is not None
        tables[head] = found.LOSSES
    for head, losses in tables.items():
        _, _, section = TEXTS["dialects.md"].partition(f"### {head}\n")
        rows = next(_tables(section))[1:]
        for name in losses:
            field, _, use = name.partition(" ")
            cell = "all others" if name == "*" else f"`{field}` {use}".strip()
            assert any(row[0] == cell and losses[name] == f"{row[1]}: {row[2]}" for row in rows), (head, name)


def test_the_converted_request_that_is_shown() -> None:
    page = TEXTS["life-of-a-request.md"]
    asked, expected = map(msgspec.json.decode, _fenced(page, "json"))
    pair = conversion.chats("anthropic.messages", "openai.chat")
    assert pair is not None
    aim = Aim(expected["model"], features.features(expected["model"]))
    sent = pair.request(read(pair.surface, asked, asked["model"]), aim)
    assert msgspec.json.decode(sent.body) == expected
    assert f"`x-gateway-dropped: {', '.join(sent.dropped)}`" in page


def test_which_conversion_is_taken() -> None:
    (words,) = re.findall(r"\[conversion\]\(dialects\.md\) loses least to: of (.*?) the first", PROVIDERS, re.DOTALL)
    assert re.findall(r"`([\w.]+)`", words) == list(conversion.VENDORS)


def test_every_surface_is_in_the_table() -> None:
    for surface in SURFACES:
        row = next(line for line in UNIFIED.splitlines() if line.startswith(f"| {surface.name} |"))
        path, _, method = surface.path.rpartition(":")
        assert surface.path in row or (path in row and f"`:{method}`" in row), surface.path
