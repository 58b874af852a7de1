"""Folders by URL, such as `s3://bucket/folder`, by whatever file system fsspec has for it.

Recordings are read where they lie, videos by ranges: `place` gives a path that works as a local one does. What is
made goes into a copy on this machine, since it is mapped into memory and written piece by piece; each artifact that
is done goes to the storage as one object, so that it is there whole or not at all, and `fresh` fetches what others
made. Without URLs all of this does nothing.
"""

import hashlib
import logging
import os
import re
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from io import RawIOBase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from uuid import uuid4

from joblib import cpu_count
from platformdirs import user_cache_path

from ml_backend.errors import ConfigError, WeakHARError, one_line

BLOCK_BYTES = 4 << 20
"""Videos are read in such pieces, the next one ahead."""
FRESH_SECONDS = 2.0
"""What others made is looked for no more often."""
STORAGES = ("fsspec", "botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "adlfs", "azure")
LOGGING = ("gcsfs", "azure")
"""Which write stack traces, and what they guess, to the log; what is wrong comes as a StorageError."""
BY_NETWORK = (OSError, PermissionError, ConnectionError, TimeoutError)
"""Whose errors, and which of Python's own, mean that a storage cannot be read."""
FOLDER, ETAG, UNSENT = ".tar", ".etag", "unsent"
"""Of an object that holds a folder; of the file beside an artifact's copy that says which object it is, or that it is
on its way to the storage."""
DIED_SECONDS = 60.0
"""After which whoever was to send an artifact is taken for dead."""


class StorageError(WeakHARError):
    """An object storage cannot be reached, or refuses."""

    status = 502


def is_url(text: str) -> bool:
    """True for `s3://bucket/folder` and the like."""
    return "://" in text


def place(text: str | Path) -> Path:
    """A local path, or for a URL one that works as a local one does; ConfigError where nothing reads such."""
    if not isinstance(text, str):
        return text
    if not is_url(text):
        return Path(text)
    protocol, _, rest = text.partition("://")
    if protocol == "file":
        return Path(rest)
    if re.match(r"[^/@]*:[^/@]*@", rest):
        raise ConfigError(f"{protocol}://…@…: holds a password; leave it out, credentials come from the environment")
    try:
        from upath import UPath

        for library in LOGGING:
            logging.getLogger(library).setLevel(logging.CRITICAL)
        found = UPath(text)
        _ = found.fs
    except (ImportError, ValueError, OSError) as error:
        raise ConfigError(
            f"{text}: cannot be read by its URL ({one_line(error)}); s3:// needs universal-pathlib and s3fs, gs:// "
            "gcsfs, az:// adlfs: install them"
        ) from None
    return cast(Path, found)


def is_remote(path: Path) -> bool:
    """True for what `place` gives for a URL."""
    return not isinstance(path, Path)


def look_again(root: Path) -> None:
    """Forget what lies in a folder, and raise StorageError if it cannot be reached."""
    if is_remote(root):
        files: Any = root.fs  # type: ignore[attr-defined]
        files.invalidate_cache()
        with _answering(str(root)):
            files.exists(str(root))


def entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder, but not the empty object with the folder's own name and a slash, by which consoles mark
    folders that somebody made there."""
    marked = is_remote(folder)
    return (one for one in folder.iterdir() if not (marked and one.name == folder.name and not one.exists()))


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """The file for a reader that takes nothing but local ones: itself, or a copy for as long."""
    if not is_remote(path):
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with _answering(str(path)):
            cast(Any, path).fs.get_file(str(path), str(copy))
        yield copy


@contextmanager
def read_from(path: Path) -> Iterator[str | RawIOBase]:
    """What FFmpeg reads a file from: its name, or what gives it piece by piece."""
    if not is_remote(path):
        yield str(path)
        return
    with by_ranges(path) as stream:
        yield stream


def by_ranges(path: Path) -> RawIOBase:
    """A file by URL, read in pieces, the next one ahead; those that were read last are shared by all who read it."""
    return _Pieces(path)


@lru_cache(2)
def _file(path: Path, size: int, modified: int) -> Any:  # noqa: ARG001 - a changed file is another key
    # A part of a video a core, of which each needs a piece and the next, and all the container's index.
    options = {"maxblocks": 2 * cpu_count() + 4}
    return cast(Any, path).open("rb", block_size=BLOCK_BYTES, cache_type="background", cache_options=options)


class _Pieces(RawIOBase):
    """Reads where it stands from a file that others read elsewhere."""

    def __init__(self, path: Path) -> None:
        status = path.stat()
        self._asked = path, status.st_size, status.st_mtime_ns
        self._file, self._at = _file(*self._asked), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        until = self._at + len(buffer)
        try:
            piece = self._file.cache._fetch(self._at, until)
        except Exception:  # perhaps of a read ahead, long ago: the library tells of it again and again
            _file.cache_clear()
            self._file = _file(*self._asked)
            piece = self._file.cache._fetch(self._at, until)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def kind_of(path: Path) -> tuple[str, int]:
    """`file`, `directory` or nothing, and a file's size; of a URL also where others take each error for nothing."""
    if not is_remote(path):
        return ("file", path.stat().st_size) if path.is_file() else ("directory" if path.is_dir() else "", 0)
    try:
        info = cast(Any, path).fs.info(str(path))
    except FileNotFoundError:
        return "", 0
    return str(info["type"]), int(info.get("size") or 0)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a file system says of a URL that it cannot read into a StorageError that names it."""
    try:
        yield
    except Exception as error:
        by_storage = type(error).__module__.partition(".")[0] in STORAGES or type(error) in BY_NETWORK
        if not is_remote(path) or not by_storage:
            raise
        raise _unreached(str(path), error) from error


@contextmanager
def _answering(url: str) -> Iterator[None]:
    """The same where nothing but the storage is asked."""
    try:
        yield
    except (FileNotFoundError, WeakHARError):
        raise
    except Exception as error:
        raise _unreached(url, error) from error


def _unreached(url: str, error: Exception) -> StorageError:
    why = one_line(error) or type(error).__name__
    return StorageError(f"{url}: the storage does not answer as it should ({why}); check address and credentials")


@dataclass
class Mirror:
    """The copy in `local` of what lies under `url`."""

    local: Path
    url: str
    looked: dict[Path, float] = field(default_factory=dict)
    at_work: threading.RLock = field(default_factory=threading.RLock)

    @property
    def files(self) -> Any:
        """The storage's file system, which remembers no listings: others write there too."""
        import fsspec

        return fsspec.filesystem(self.url.partition("://")[0], use_listings_cache=False)

    def address(self, path: Path) -> str:
        """Where a file of the copy lies in the storage."""
        own = path.relative_to(self.local).as_posix()
        return self.url.rstrip("/") + ("" if own == "." else f"/{own}")

    def fetch(self, path: Path, now: bool) -> None:
        """Bring a file, or all in a folder, up to date: as it is `now`, or was a moment ago."""
        with self.at_work:
            if not now and time.monotonic() - self.looked.get(path, -FRESH_SECONDS) < FRESH_SECONDS:
                return
            self.local.mkdir(parents=True, exist_ok=True, mode=0o700)  # pictures of people
            for _ in range(3):
                with suppress(FileNotFoundError):  # replaced meanwhile
                    self._fetch(path)
                    break
            self.looked[path] = time.monotonic()

    def _fetch(self, path: Path) -> None:
        address = self.address(path)
        with _answering(address):
            there = self._listed(address)
        # A folder's own object comes before what was put beside it later.
        for url, etag in sorted(there.items(), key=lambda item: (not item[0].endswith(FOLDER), item[0])):
            target = self.local / url[len(self.url.rstrip("/")) + 1 :]
            folder = target.name.endswith(FOLDER)
            target = target.with_name(target.name.removesuffix(FOLDER)) if folder else target
            if _etag_of(target) not in (etag, UNSENT):
                with _answering(url):
                    self._get(url, target, folder)
                _note_etag(target, etag)
        for known in _known(path):
            if _etag_of(known) == UNSENT:
                if time.time() - _beside(known).stat().st_mtime > DIED_SECONDS:
                    self.send(known)
            elif self.address(known) not in there and self.address(known) + FOLDER not in there:
                drop_copy(known)

    def _listed(self, address: str) -> dict[str, str]:
        """Address → what tells versions apart, of all objects at and under an address."""
        files, protocol = self.files, self.url.partition("://")[0]
        found = dict(files.find(address, detail=True))
        if address != self.url.rstrip("/"):
            with suppress(FileNotFoundError):
                found[address + FOLDER] = files.info(address + FOLDER)
        return {
            f"{protocol}://{name.partition('://')[2] or name}": _version(info)
            for name, info in found.items()
            if info.get("type", "file") == "file" and not name.endswith("/")  # a mark, see `entries`
        }

    def _get(self, url: str, target: Path, folder: bool) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{uuid4().hex[:12]}")
        try:
            self.files.get_file(url, str(temporary))
            if not folder:
                temporary.replace(target)
                return
            unpacked, retired = (target.with_name(f".{uuid4().hex[:12]}") for _ in range(2))
            with tarfile.open(temporary) as archive:
                archive.extractall(unpacked, filter="data")
            with suppress(FileNotFoundError):
                target.replace(retired)
            try:
                unpacked.replace(target)
            except OSError:  # another process fetched it too
                shutil.rmtree(unpacked)
            shutil.rmtree(retired, ignore_errors=True)
        finally:
            temporary.unlink(missing_ok=True)

    def send(self, path: Path) -> None:
        """Put a file or a folder that is done into the storage, as one object."""
        address = self.address(path)
        with self.at_work, TemporaryDirectory() as folder, _answering(address):
            file, target = path, address
            if path.is_dir():
                file, target = Path(folder) / "packed", address + FOLDER
                with tarfile.open(file, "w") as archive:
                    archive.add(path, ".", filter=lambda one: None if one.name.endswith(ETAG) else one)
                for url in self._listed(address):
                    if url != target:  # what was put beside the folder's former content belongs to that
                        self.files.rm_file(url)
            try:
                self.files.put_file(str(file), target)
            except FileNotFoundError as error:
                raise StorageError(
                    f"{self.url}: cannot be written ({one_line(error)}); is the bucket there?"
                ) from error
            _note_etag(path, _version(self.files.info(target)))

    def delete(self, path: Path) -> None:
        """Remove a file or a folder from the storage."""
        address = self.address(path)
        with self.at_work, _answering(address):
            for url in self._listed(address):
                self.files.rm_file(url)


_mirrors: dict[Path, Mirror] = {}


def cache_folder() -> Path:
    """Where this machine keeps what it could fetch or make again."""
    return user_cache_path("weakhar", appauthor=False)


def mirror_of(url: str) -> Path:
    """The folder of this machine in which the copy of what lies under `url` is kept."""
    digest = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    local = cache_folder() / f"copy-{digest}"
    attach(local, url)
    return local


def attach(local: Path, url: str) -> None:
    """From now on `local` is the copy of what lies under `url`."""
    if local not in _mirrors:
        _mirrors[local] = Mirror(local, url)


def url_of(local: Path) -> str:
    """What a folder is the copy of; empty where of nothing."""
    return _mirrors[local].url if local in _mirrors else ""


def fresh(path: Path, now: bool = False) -> Path:
    """The path, with what other machines made there until `now`, or a moment ago."""
    if (mirror := _mirror(path)) is not None:
        mirror.fetch(path, now)
    return path


def unsent(path: Path) -> None:
    """To be said of every artifact before it is there: where its process dies, another sends it."""
    if _mirror(path) is not None:
        _note_etag(path, UNSENT)


def stored(path: Path) -> None:
    """To be said of every artifact that is done."""
    if (mirror := _mirror(path)) is not None:
        mirror.send(path)


def removed(path: Path) -> None:
    """To be said of every artifact before it is removed here: else who looks meanwhile would fetch it again."""
    if (mirror := _mirror(path)) is not None:
        mirror.delete(path)


def _mirror(path: Path) -> Mirror | None:
    """Whose copy a path lies in; nobody's where it, or a folder of it, is hidden: such are temporary."""
    found = next((one for local, one in _mirrors.items() if path.is_relative_to(local)), None) if _mirrors else None
    hidden = found is not None and any(part.startswith(".") for part in path.relative_to(found.local).parts)
    return None if hidden else found


def _version(info: dict[str, Any]) -> str:
    """What changes with an object's content; of file systems without such a tag, its size and time."""
    tag = next((info[name] for name in ("ETag", "etag", "e_tag", "md5Hash") if info.get(name)), None)
    return str(tag or f"{info.get('size')}-{info.get('mtime') or info.get('LastModified') or info.get('created')}")


def _etag_of(path: Path) -> str:
    file = _beside(path)
    return file.read_text(encoding="utf-8") if path.exists() and file.is_file() else ""


def _note_etag(path: Path, etag: str) -> None:
    _beside(path).write_text(etag, encoding="utf-8")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}{ETAG}")


def _known(path: Path) -> list[Path]:
    """What is here, at `path` and under it, of which the storage had a version."""
    beside = [_beside(path), *(path.rglob(f".*{ETAG}") if path.is_dir() else ())]
    return [one.with_name(one.name[1 : -len(ETAG)]) for one in beside if one.is_file()]


def drop_copy(path: Path) -> None:
    """Remove a file or a folder of this machine, with what is noted of it."""
    if path.is_dir():
        with suppress(FileNotFoundError):  # another process does the same
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)
