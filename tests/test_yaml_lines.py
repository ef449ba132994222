"""Files that are not what they should be: one clear error with its line, however hostile the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems(text: str | bytes) -> list[str]:
    Path("mine.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    errors, _ = settings.check("mine.yaml", {})
    return errors


FILE_ERRORS = {
    "- a list\n": (1, "is a list, not a map"),
    "just text\n": (1, "is a single value, not a map"),
    "providers:\n  - a\n": (2, "is a list, not a map"),
    "providers: text\n": (1, "is a single value, not a map"),
    "provider: {}\n": (1, "did you mean providers?"),
    "server: {}\nserver: {}\n": (2, "already on line 1"),
    "providers:\n  openai: {base_url: 'http://a'}\n\n  openai: {base_url: 'http://c'}\n": (4, "already on line 2"),
    "a: [b\nc: d\n": (2, "not valid YAML"),
    "a: 'b\n": (2, "not valid YAML"),
    "server:\n\tcredits: true\n": (2, "spaces, not tabs"),
    "server:\n  credits: true\n credits: false\n": (3, "not valid YAML"),
    "server: {}\n---\nserver: {}\n": (2, "second document"),
    "server: !!python/object/apply:os.system ['true']\n": (1, "tags"),
    "server: *nowhere\n": (1, "alias *nowhere"),
    "server: &me {a: *me}\n": (1, "alias *me"),
    "? [a]\n: b\n": (1, "a key must be text"),
    "on: {}\n": (1, "unknown key"),
    "providers: {nope: null}\n": (1, "no shipped entry 'nope'"),
    "providers: {opena: null}\n": (1, "did you mean openai?"),
    "models: {nope: null}\n": (1, "no shipped entry 'nope'"),
}


@pytest.mark.parametrize(("text", "said"), FILE_ERRORS.items())
def test_file_errors(text: str, said: tuple[int, str]) -> None:
    found = problems(text)
    assert any(line.startswith(f"mine.yaml:{said[0]}: ") and said[1] in line for line in found), found


def _laughs(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "deep lists": (b"x: " + b"[" * 1_000_000, 1, "nested deeper"),
    "deep maps": (b"{a: " * 1000, 1, "nested deeper"),
    "deep blocks": (b"- " * 100_000, 1, "nested deeper"),
    "deep indentation": (b"".join(b" " * n + b"a:\n" for n in range(100)), 33, "nested deeper"),
    "billion laughs": (_laughs(20, 10).encode(), 6, "stands for more than"),
    "many values": (b"x: [" + b"1," * 200_000 + b"1]", 1, "stands for more than"),
    "huge": (b"# " + b"x" * (4 << 20), 1, "larger than 4 MiB"),
    "latin-1": (b"server:\n  database: caf\xe9\n", 2, "not UTF-8"),
    "utf-16": ("server: {}".encode("utf-16"), 1, "not UTF-8"),
    "NUL": (b"server: {}\n\x00", 2, "control character U+0000"),
    "escape": (b"server: {}\n\n# \x1b[31m\n", 3, "control character U+001B"),
    "surrogate": (b"a: \xed\xa0\x80", 1, "not UTF-8"),
}


@pytest.mark.parametrize(("data", "line", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_give_one_clear_error(data: bytes, line: int, said: str) -> None:
    found = problems(data)
    assert len(found) == 1
    assert found[0].startswith(f"mine.yaml:{line}: ")
    assert said in found[0]


def test_mark_of_byte_order_is_no_part_of_the_file() -> None:
    assert problems("\ufeffserver: {credits: true}\n") == []


def test_folder_in_place_of_a_file() -> None:
    Path("mine.yaml").mkdir()
    errors, _ = settings.check("mine.yaml", {})
    assert errors == ["mine.yaml:1: cannot be read (Is a directory); give the path of a readable file"]
