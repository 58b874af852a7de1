"""Files that are either whole or absent: written to a temporary name beside the target, then renamed."""

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from ml_backend.errors import RecordingError, WeakHARError
from ml_backend.storage import (
    ETAG,
    by_ranges,
    cache_folder,
    drop_copy,
    is_remote,
    kind_of,
    reading,
    removed,
    stored,
    unsent,
)

try:
    import fcntl
except ImportError:
    raise SystemExit(
        "weakhar runs on Linux and macOS, whose file locks it needs; on Windows use its container"
    ) from None

HIDDEN = re.compile(r"\.[0-9a-f]{12}(\..*)?")
"""What things are called while they are written."""
IDLE_SECONDS = 3600.0
"""After which nobody is taken to be writing any more."""
_told: dict[tuple[Path, int, int], str] = {}


class DiskError(WeakHARError):
    """A file cannot be written: the disk is full or the folder is read-only."""

    status = 507


def check_present(path: Path) -> None:
    """RecordingError if a user's file is not there, or empty."""
    with reading(path):
        kind, size = kind_of(path)
    if kind != "file":
        raise RecordingError(f"{path}: {'is a folder; name a file in it' if kind else 'no such file'}")
    if size == 0:
        raise RecordingError(f"{path}: the file is empty; copy it again or remove it")


def private_folder(folder: Path) -> None:
    """A folder that nobody else on the machine may look into: tokens and pictures of people lie there."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(PermissionError):  # another user's, which they shared with us
        folder.chmod(0o700)


def private_file(path: Path) -> None:
    """A file that nobody else on the machine may read; made if it is missing."""
    private_folder(path.parent) if not path.parent.is_dir() else None
    path.touch(mode=0o600)
    with suppress(PermissionError):
        path.chmod(0o600)


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """A temporary path in `path`'s folder, renamed to `path` at the end; on an error nothing is left.

    The temporary name keeps the suffix, since video containers are chosen by it. May be made a folder.
    """
    temporary = path.with_name(f"{_hidden()}{path.suffix}")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            unsent(path)
            if path.is_dir():
                _replace_folder(temporary, path)
            else:
                os.replace(temporary, path)
        stored(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a DiskError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskError(f"{path}: the disk is full; free some space and run again, nothing is lost") from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise DiskError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
        raise


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder for a while; what killed processes left beside it is swept."""
    private_folder(parent)
    sweep(parent)
    folder = parent / _hidden()
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hidden() -> str:
    return f".{uuid4().hex[:12]}"


def sweep(folder: Path, idle: float = IDLE_SECONDS) -> list[Path]:
    """Remove what killed processes left in a folder while they wrote something whole: what nobody wrote to for so
    many seconds. Returns the others, which may be at work."""
    kept = []
    for left in folder.glob(".*") if folder.is_dir() else ():
        if HIDDEN.fullmatch(left.name) and left.suffix != ETAG:
            with suppress(FileNotFoundError):  # its process lives, and is done with it
                newest = max(one.stat().st_mtime for one in (left, *left.rglob("*")))
                if time.time() - newest >= idle:
                    drop_copy(left)
                else:
                    kept.append(left)
    return kept


def _replace_folder(new: Path, old: Path) -> None:
    retired = old.with_name(_hidden())
    os.replace(old, retired)
    os.replace(new, old)
    shutil.rmtree(retired)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever holds it; a killed holder lets go."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def remove(path: Path) -> None:
    """Remove a file or a folder that `written_atomically` made."""
    removed(path)
    drop_copy(path)


def content_key(path: Path) -> str:
    """SHA-256 of a file's content, the first 32 hex digits."""
    status = path.stat()
    return _content_key(path.absolute(), status.st_size, status.st_mtime_ns)


def remember_content(path: Path, key: str) -> None:
    """Tell this process, of a file by URL this machine, the key of a file that it would read whole to know."""
    status = path.stat()
    if not is_remote(path):
        _told[path.absolute(), status.st_size, status.st_mtime_ns] = key
        return
    with written_atomically(_remembered_content(path, status.st_size, status.st_mtime_ns)) as temporary:
        temporary.write_text(key, encoding="utf-8")


@lru_cache(4096)
def _content_key(path: Path, size: int, modified: int) -> str:
    if not is_remote(path):
        if (told := _told.get((path, size, modified))) is not None:
            return told
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
    known = _remembered_content(path, size, modified)
    if not known.is_file():
        with reading(path), by_ranges(path) as stream:
            remember_content(path, hashlib.file_digest(stream, "sha256").hexdigest()[:32])
    return known.read_text(encoding="utf-8")


def _remembered_content(path: Path, size: int, modified: int) -> Path:
    return cache_folder() / "content" / hashlib.sha256(f"{path} {size} {modified}".encode()).hexdigest()


def safe_name(name: str) -> str:
    """A file name for any text: letters, digits, `-` and `_` stay, and a hash keeps different names apart."""
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)[:40]
    if readable == name:
        return name
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"
