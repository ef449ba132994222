"""The admin key: given, made, kept as a hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gateway.admin_key import open_admin_key, open_data


def test_a_key_from_the_environment_is_used_and_not_written(tmp_path: Path) -> None:
    key, made = open_admin_key(tmp_path, {"GATEWAY_ADMIN_KEY": "any string \xe4"})
    assert made is None
    assert key.fits("any string \xe4")
    assert not key.fits("any string")
    assert not list(tmp_path.iterdir())


def test_a_key_is_made_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    key, made = open_admin_key(tmp_path, {})
    assert made is not None
    assert key.fits(made)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert made not in file.read_text()
    again, nothing = open_admin_key(tmp_path, {"GATEWAY_ADMIN_KEY": ""})
    assert nothing is None
    assert again.fits(made)
    assert not again.fits(made + "x")
    assert not again.fits(hashlib.sha256(made.encode()).hexdigest()), "the hash is no key"


def test_two_folders_have_two_keys(tmp_path: Path) -> None:
    keys = [open_admin_key(open_data(str(tmp_path / name)), {})[1] for name in "ab"]
    assert len(set(keys)) == 2


@pytest.mark.parametrize("content", [b"", b"\n", b"abc\n", b"\xff\xfe"])
def test_a_broken_file_does_not_lock_the_admin_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "admin-key.sha256").write_bytes(content)
    key, made = open_admin_key(tmp_path, {})
    assert made is not None
    assert key.fits(made)
    assert not key.fits("")


@pytest.mark.parametrize("odd", ["", "\udc80", "\U0001f511", "a" * 100_000])
def test_any_text_may_be_tried(tmp_path: Path, odd: str) -> None:
    assert not open_admin_key(tmp_path, {})[0].fits(odd)


def test_the_data_folder(tmp_path: Path) -> None:
    data = open_data(str(tmp_path / "a" / "b"))
    assert data.stat().st_mode & 0o777 == 0o700
    assert open_data(str(data)) == data
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="File exists|Not a directory"):
        open_data(str(tmp_path / "file"))
