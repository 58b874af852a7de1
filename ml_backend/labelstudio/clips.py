"""Files of tasks in an object storage, out of which Label Studio itself serves them, signed or through itself, as the
project's source storage there says: nothing is uploaded through it."""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from ml_backend.storage import entries, look_again, place, reading

KINDS = {"s3": "s3", "gs": "gcs"}
"""Protocols whose storages Label Studio resolves by bucket, and what it calls them."""


@dataclass(frozen=True)
class ClipStorage:
    """A folder for each project under `url`; `new`: files that are made from now on go there."""

    url: str
    new: bool

    def files(self, project_id: int, media: str) -> dict[str, str]:
        """Addresses in Label Studio, whose own path is `media`, of all of a project's files → their URLs."""
        folder = self._folder(project_id)
        look_again(folder)
        with reading(folder):
            urls = [str(file) for file in entries(folder)] if folder.is_dir() else []
        return {self.address(project_id, url, media): url for url in urls}

    def put(self, project_id: int, file: Path, name: str) -> str:
        """Store a file; its URL. As Label Studio does with uploads, letters are put before its name."""
        target = self._folder(project_id) / f"{uuid4().hex[:8]}-{name}"
        with reading(target):
            cast(Any, target).fs.put_file(str(file), str(target))
        return str(target)

    def delete(self, urls: list[str]) -> None:
        """Remove files."""
        for file in map(place, urls):
            with reading(file):
                file.unlink(missing_ok=True)

    def address(self, project_id: int, url: str, media: str) -> str:
        """Where Label Studio serves it to those who may see the project; what it is called stands at the end."""
        coded = urlsafe_b64encode(url.encode()).decode()
        return f"{media}/projects/{project_id}/resolve/?fileuri={coded}&file=/{url.rpartition('/')[2]}"

    @property
    def kind(self) -> str:
        """What Label Studio calls such a storage."""
        return KINDS[self.url.partition("://")[0]]

    @property
    def bucket(self) -> str:
        """The storage's bucket."""
        return self.url.partition("://")[2].partition("/")[0]

    def _folder(self, project_id: int) -> Path:
        return place(f"{self.url.rstrip('/')}/{project_id}")
