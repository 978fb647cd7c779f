"""The cache on disk gives back what was put under exactly that key, or nothing."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chainrule.backends.llvm.cache import Cache, cache_folder, default_cache, sweep, sweep_if_due


def test_what_was_put_is_found_under_its_key_only(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.get("a") is None
    assert cache.put("a", b"code") and cache.put("b", b"")
    assert cache.get("a") == b"code" and cache.get("b") == b"" and cache.get("c") is None
    assert cache.put("a", b"new") and cache.get("a") == b"new"
    assert len(cache.entries()) == 2 and not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "grow", "foreign"])
def test_damaged_entries_count_as_absent_and_are_removed(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    cache.put("key", b"0123456789" * 100)
    path = cache.entries()[0].path
    raw = path.read_bytes()
    changed = {
        "flip": raw[:200] + bytes([raw[200] ^ 4]) + raw[201:],
        "cut": raw[:-1],
        "empty": b"",
        "grow": raw + b"x",
        "foreign": b"something else" * 20,
    }[damage]
    path.write_bytes(changed)
    assert cache.get("key") is None
    assert not path.exists()
    assert cache.put("key", b"again") and cache.get("key") == b"again"


def test_an_entry_moved_to_another_keys_name_is_not_believed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("a", b"code of a")
    a = cache.entries()[0].path
    cache.put("b", b"code of b")
    b = next(e.path for e in cache.entries() if e.path != a)
    os.replace(a, b)
    assert cache.get("b") is None


def test_the_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CHAINRULE_NO_CACHE", raising=False)
    cache = default_cache()
    assert cache.folder == cache_folder()
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700
    cache_folder().chmod(0o755)
    default_cache()
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700


def test_a_link_or_file_in_place_of_the_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAINRULE_NO_CACHE", raising=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "objects").symlink_to(tmp_path / "other")
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path / "cache"))
    assert default_cache().folder is None
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path / "file"))
    assert default_cache().folder is None


def test_no_cache_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_NO_CACHE", "1")
    cache = default_cache()
    assert cache.folder is None and not cache.put("a", b"x") and cache.get("a") is None
    assert cache.entries() == [] and cache.clear() == 0 and sweep(cache, 0) == 0


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    assert not Cache(tmp_path / "missing").put("a", b"x")
    assert Cache(tmp_path / "missing").get("a") is None


def test_clear_and_sweep_remove_files(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for i in range(4):
        cache.put(str(i), bytes(1000))
        path = max(cache.entries(), key=lambda e: e.used_s).path
        os.utime(path, (1000.0 + i, 1000.0 + i))
    old, new = tmp_path / "old.tmp", tmp_path / "new.tmp"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 7200,) * 2)
    assert sweep(cache, 2500) == 3 and new.exists() and not old.exists()
    assert [cache.get(str(i)) is not None for i in range(4)] == [False, False, True, True]
    assert cache.clear() == 3 and cache.entries() == []


def test_a_sweep_is_due_once_an_hour(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for due in (True, False, True):
        cache.put("a", bytes(1000))
        assert sweep_if_due(cache, 500) == due
        if not due:
            os.utime(tmp_path / "swept", (time.time() - 7200,) * 2)
    assert cache.get("a") is None and sweep_if_due(Cache(None), 0) == 0 and sweep_if_due(Cache(tmp_path / "no"), 0) == 0


def test_writers_at_once_leave_a_whole_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: (cache.put("key", b"same" * 5000), cache.get("key")), range(64)))
    assert all(put for put, _ in results) and all(got == b"same" * 5000 for _, got in results)
