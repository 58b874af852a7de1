"""A project's export as one file, made beside requests where it takes long, and kept until the next."""

import hashlib
import json
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ml_backend.errors import ConfigError, WeakHARError
from ml_backend.export import FORMATS
from ml_backend.files import disk_errors, private_folder, written_atomically
from ml_backend.jobs.projects import client_for, export_project, exports_folder, project_parameters, takes_long
from ml_backend.jobs.reconciliation import reconcile
from ml_backend.jobs.store import Project, Store
from ml_backend.labels import parse_threshold
from ml_backend.settings import Settings

STALE = 300.0
"""Seconds without news after which an export is taken for interrupted."""


@dataclass(frozen=True)
class Export:
    """What is exported: a project with a threshold, in a format."""

    project_id: int
    threshold: str
    file_format: str
    folder: str

    @classmethod
    def of(
        cls, settings: Settings, project: Project, threshold: str | None = None, file_format: str | None = None
    ) -> "Export":
        """With the project's threshold and as Parquet unless something else is asked for; ConfigError if there is no
        such."""
        wanted = threshold or project_parameters(settings, project).threshold
        if file_format and file_format not in FORMATS:
            raise ConfigError(f"format: '{file_format}' is not known; known are {', '.join(FORMATS)}")
        return cls(
            project.id,
            str(parse_threshold(wanted)),
            file_format or FORMATS[0],
            str(exports_folder(settings, project.id)),
        )

    @property
    def archive(self) -> Path:
        """The file."""
        name = hashlib.sha256(f"{self.threshold} {self.file_format}".encode()).hexdigest()[:16]
        return Path(self.folder) / f"{name}.zip"

    def takes_long(self, settings: Settings) -> bool:
        """True where nobody should wait for it."""
        return takes_long(settings, self.project_id)

    def state(self) -> dict[str, Any]:
        """`state` (not started, running, done, failed), how much of what total is done, and a message."""
        file = self.archive.with_suffix(".json")
        found: dict[str, Any] = {"state": "not started", "done": 0, "total": 0, "message": ""}
        if file.is_file():
            found |= json.loads(file.read_text(encoding="utf-8"))
        if found["state"] == "running" and time.time() - found.get("at", 0.0) > STALE:
            found |= {"state": "failed", "message": "it was interrupted; export again"}
        return found

    def note(self, state: str, done: float = 0, total: float = 0, message: str = "") -> None:
        """Write down how far it is."""
        private_folder(Path(self.folder))
        with written_atomically(self.archive.with_suffix(".json")) as temporary:
            found = {"state": state, "done": done, "total": total, "message": message, "at": time.time()}
            temporary.write_text(json.dumps(found), encoding="utf-8")

    def write(self, store: Store, settings: Settings, noting: bool = False) -> Path:
        """Write the file from what the store holds, and return it."""
        private_folder(Path(self.folder))
        with disk_errors(self.archive), TemporaryDirectory(dir=self.folder, prefix=".") as folder:
            target = Path(folder) / "export"
            progress = (lambda done, total: self.note("running", done, total)) if noting else (lambda *_: None)
            export_project(
                store, settings, self.project_id, target, self.threshold, self.file_format, progress, listed=False
            )
            with written_atomically(self.archive) as temporary, zipfile.ZipFile(temporary, "w") as bundle:
                for file in sorted(path for path in target.rglob("*") if path.is_file()):
                    how = zipfile.ZIP_STORED if file.suffix == ".parquet" else zipfile.ZIP_DEFLATED
                    bundle.write(file, file.relative_to(target), how)
        return self.archive

    def run(self, store: Store, settings: Settings) -> None:
        """What the worker does: read the annotations back, then write the file, saying how far it is."""
        try:
            self.note("running", message="reading annotations")
            reconcile(store, client_for(settings, store.project(self.project_id)), self.project_id)
            self.write(store, settings, noting=True)
            self.note("done", 1, 1)
        except WeakHARError as error:
            self.note("failed", message=str(error))
        except Exception as error:
            self.note("failed", message=f"internal error: {type(error).__name__}: {error}; see the worker's log")
            raise
