"""`chainrule cache ls|clear|dir`: the compiled objects that are kept on disk between runs.

CHAINRULE_CACHE_DIR moves the cache and CHAINRULE_NO_CACHE turns it off; ls and clear reach its files even then.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from chainrule.backends.llvm.cache import Cache, cache_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what to do with the cache."""
    actions = "ls: list the entries, newest first; clear: delete them; dir: print the folder"
    parser.add_argument("action", choices=("ls", "clear", "dir"), help=actions)


def run(arguments: argparse.Namespace) -> int:
    """Lists, clears or locates the cache. It makes no folder: a cache that was never used is empty."""
    cache = Cache(cache_folder())
    if arguments.action == "dir":
        print(json.dumps({"dir": str(cache.folder)}) if arguments.json else cache.folder)
    elif arguments.action == "clear":
        size_bytes = sum(entry.size_bytes for entry in cache.entries())
        count = cache.clear()
        if arguments.json:
            print(json.dumps({"deleted_files": count, "deleted_bytes": size_bytes}))
        else:
            print(f"deleted {count} {'file' if count == 1 else 'files'}, {size_text(size_bytes)}")
    else:
        list_entries(cache, as_json=arguments.json)
    return 0


def list_entries(cache: Cache, *, as_json: bool) -> None:
    """Prints name, size and time of writing of every entry; as JSON a list of objects, times in seconds since 1970."""
    entries = cache.entries()
    if as_json:
        rows = [{"name": e.path.name, "size_bytes": e.size_bytes, "written_s": e.used_s} for e in entries]
        print(json.dumps(rows, indent=2))
        return
    for entry in entries:
        written = datetime.fromtimestamp(entry.used_s, UTC).astimezone()
        print(f"{entry.path.stem[:16]}  {size_text(entry.size_bytes):>9}  {written:%Y-%m-%d %H:%M:%S}")
    total = size_text(sum(entry.size_bytes for entry in entries))
    print(f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {total}, in {cache.folder}")


def size_text(size_bytes: int) -> str:
    """A size for people to read, in units of 1024 bytes."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    if size_bytes < 1024 * 1024:
        return f"{size_bytes / 1024:.1f} KiB"
    return f"{size_bytes / (1024 * 1024):.1f} MiB"
