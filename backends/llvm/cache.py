"""Compiled objects on disk, found again by everything that they depend on, and never trusted.

An entry is one file: a magic line, the SHA-256 of the rest, the full key (text, compared byte for byte), the object.
The folder is the user's own (mode 0700). A file that is torn, foreign or changed counts as absent and is recomputed.
Writes go to a temporary file that replaces the entry at once. CHAINRULE_CACHE_DIR moves the folder; CHAINRULE_NO_CACHE
turns it off.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"chainrule object 1\n"
_SUFFIX = ".obj"
_SWEPT = "swept"  # a file whose time is that of the last sweep
_SWEEP_EVERY_S = 3600.0
_STALE_S = 3600.0  # a temporary file older than this was left by a process that died


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the cache."""

    path: Path
    size_bytes: int
    used_s: float


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of entries. folder None: nothing is kept."""

    folder: Path | None

    def get(self, key: str) -> bytes | None:
        """The object stored under the key; None if there is none or the file is not exactly what was written."""
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        found = _unpack(data, key)
        if found is None:
            _remove(path)
            return None
        return found

    def put(self, key: str, data: bytes) -> bool:
        """Stores an object; False when the disk does not let us, which is no error."""
        if self.folder is None:
            return False
        return _write(self._path(key), _pack(key, data))

    def entries(self) -> list[Entry]:
        """All entries, most recently written first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        found: list[Entry] = []
        for file in os.scandir(self.folder):
            if not file.name.endswith(_SUFFIX):
                continue
            try:
                status = file.stat()
            except OSError:
                continue
            found.append(Entry(Path(file.path), status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: -entry.used_s)

    def clear(self) -> int:
        """Deletes the entries and left-over temporary files; returns how many."""
        count = 0
        if self.folder is not None and self.folder.is_dir():
            for path in [*self.folder.glob("*" + _SUFFIX), *self.folder.glob("*.tmp")]:
                count += _remove(path)
        return count

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / (hashlib.sha256(key.encode()).hexdigest() + _SUFFIX)


def default_cache() -> Cache:
    """The user's cache, made when missing; an unusable or foreign folder gives a cache that keeps nothing."""
    if os.environ.get("CHAINRULE_NO_CACHE", "") not in ("", "0"):
        return Cache(None)
    folder = cache_folder()
    return Cache(folder if _own(folder) else None)


def cache_folder() -> Path:
    """Where entries go: CHAINRULE_CACHE_DIR, else the platform's cache folder."""
    asked = os.environ.get("CHAINRULE_CACHE_DIR", "")
    if asked:
        return Path(asked).expanduser() / "objects"
    import platformdirs

    return Path(platformdirs.user_cache_dir("chainrule")) / "objects"


def _own(folder: Path) -> bool:
    """Makes the folder, and says whether it is a real folder of this user that nobody else may enter."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            return False
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError:
        return False
    return True


def _pack(key: str, data: bytes) -> bytes:
    text = key.encode()
    body = len(text).to_bytes(8, "little") + text + data
    return _MAGIC + hashlib.sha256(body).digest() + body


def _unpack(raw: bytes, key: str) -> bytes | None:
    start = len(_MAGIC)
    if raw[:start] != _MAGIC or len(raw) < start + 40:
        return None
    digest, body = raw[start : start + 32], raw[start + 32 :]
    if hashlib.sha256(body).digest() != digest:
        return None
    size = int.from_bytes(body[:8], "little")
    if body[8 : 8 + size] != key.encode():
        return None
    return body[8 + size :]


def _write(path: Path, raw: bytes) -> bool:
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        # No fsync: after a power cut a torn entry fails its hash and is recomputed.
        os.replace(temporary, path)
    except OSError:
        if temporary:
            _remove(Path(temporary))
        return False
    return True


def sweep_if_due(cache: Cache, max_bytes: int) -> int:
    """`sweep`, unless there was one within the last hour: it looks at every file, which took 10 s for 227,000."""
    if cache.folder is None:
        return 0
    stamp = cache.folder / _SWEPT
    try:
        if abs(time.time() - stamp.stat().st_mtime) < _SWEEP_EVERY_S:
            return 0
    except OSError:
        pass  # there was none yet
    try:
        stamp.touch()
    except OSError:
        return 0
    return sweep(cache, max_bytes)


def sweep(cache: Cache, max_bytes: int) -> int:
    """Deletes the oldest entries beyond a total size, and stale temporary files; returns how many files went."""
    if cache.folder is None:
        return 0
    count = 0
    now = time.time()
    for path in cache.folder.glob("*.tmp"):
        try:
            old = now - path.stat().st_mtime > _STALE_S
        except OSError:
            continue
        if old:
            count += _remove(path)
    for path in _beyond(cache.entries(), max_bytes):
        count += _remove(path)
    return count


def _beyond(entries: Sequence[Entry], max_bytes: int) -> list[Path]:
    total = 0
    over: list[Path] = []
    for entry in entries:
        total += entry.size_bytes
        if total > max_bytes:
            over.append(entry.path)
    return over


def _remove(path: Path) -> int:
    try:
        path.unlink()
    except OSError:
        return 0
    return 1
