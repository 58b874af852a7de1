"""Files of tasks in an object storage, or in a folder that Label Studio sees too, out of which it serves them itself:
nothing is uploaded through it."""

import shutil
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote
from uuid import uuid4

from ml_backend.files import sweep, written_atomically
from ml_backend.storage import StorageError, entries, is_remote, look_again, place, reading

KINDS = {"s3": "s3", "gs": "gcs"}
"""Protocols whose storages Label Studio resolves by bucket, and what it calls them."""
LOCAL_FILES = "data/local-files/"
"""Where Label Studio serves files of its own machine."""


@dataclass(frozen=True)
class ClipStorage:
    """A folder for each project under `url`; `new`: files that are made from now on go there.

    A folder `file:///root/clips` is served where Label Studio's LOCAL_FILES_DOCUMENT_ROOT is what lies at `/root`."""

    url: str
    new: bool

    def files(self, project_id: int, media: str) -> dict[str, str]:
        """Addresses in Label Studio, whose own path is `media`, of all of a project's files → their URLs."""
        folder = self._folder(project_id)
        look_again(folder)
        with self._reached(folder):
            if self.is_local:
                sweep(folder)
            names = [file.name for file in entries(folder)] if folder.is_dir() else []
        urls = [self._url(project_id, name) for name in names]
        return {self.address(project_id, url, media): url for url in urls}

    def put(self, project_id: int, file: Path, name: str) -> str:
        """Store a file; its URL. As Label Studio does with uploads, letters are put before its name."""
        url = self._url(project_id, f"{uuid4().hex[:8]}-{name}")
        target = place(url)
        with self._reached(target):
            if is_remote(target):
                cast(Any, target).fs.put_file(str(file), str(target))
            else:
                with written_atomically(target) as temporary:
                    shutil.copyfile(file, temporary)
        return url

    def delete(self, urls: list[str]) -> None:
        """Remove files."""
        for file in map(place, urls):
            with self._reached(file):
                file.unlink(missing_ok=True)

    def address(self, project_id: int, url: str, media: str) -> str:
        """Where Label Studio serves it to those who may see the project; what it is called stands at the end."""
        if self.is_local:
            return f"{media}/{LOCAL_FILES}?d={quote(self.name)}/{project_id}/{quote(url.rpartition('/')[2])}"
        coded = urlsafe_b64encode(url.encode()).decode()
        return f"{media}/projects/{project_id}/resolve/?fileuri={coded}&file=/{url.rpartition('/')[2]}"

    @contextmanager
    def _reached(self, path: Path) -> Iterator[None]:
        """StorageError where the storage, or the folder, cannot be read or written."""
        if self.is_local and not place(self.url).parent.is_dir():
            raise StorageError(
                f"WEAKHAR_CLIPS_URL {self.url}: the folder above it is not there; mount it, or correct it"
            )
        try:
            with reading(path):
                yield
        except OSError as error:
            if not self.is_local:
                raise
            raise StorageError(f"WEAKHAR_CLIPS_URL: {path}: {error.strerror or error}") from error

    @property
    def is_local(self) -> bool:
        """True for a folder."""
        return self.url.startswith("file://")

    @property
    def kind(self) -> str:
        """What Label Studio calls such an object storage."""
        return KINDS[self.url.partition("://")[0]]

    @property
    def bucket(self) -> str:
        """The object storage's bucket."""
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def name(self) -> str:
        """What the folder itself is called."""
        return self.url.rstrip("/").rpartition("/")[2]

    def _folder(self, project_id: int) -> Path:
        return place(self._url(project_id))

    def _url(self, project_id: int, *name: str) -> str:
        return "/".join([self.url.rstrip("/"), str(project_id), *name])
