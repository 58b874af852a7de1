"""The job and what is remembered. In come a project's parameters and its dataset folder; out come tasks in Label
Studio, a copy of the answers in the store, and on request an export. All rooms before this one meet in
`pipeline.py`.

Other rooms use `runtime` (settings, store and queue of this process), `Jobs` (the queue), `open_store` with `Store`
and `Project`; `run_project` and `sync_project`, the job itself, and of it
`embed_and_cluster`; `project_labels`, `project_status`,
`export_project`, `project_thresholds`, `project_parameters`, `client_for` for one project; `apply_webhook` and
`reconcile` for answers; `checked_parameters`, `check_study` and `usable_recordings` for what a user gives.
"""

from ml_backend.jobs.checks import check_study, checked_parameters, usable_recordings
from ml_backend.jobs.pipeline import embed_and_cluster, run_project, sync_project
from ml_backend.jobs.projects import (
    client_for,
    clusters_folder,
    export_project,
    project_labels,
    project_parameters,
    project_status,
    project_thresholds,
)
from ml_backend.jobs.queue import SECRET_HEADER, Jobs, webhook_secret
from ml_backend.jobs.reconciliation import apply_webhook, reconcile
from ml_backend.jobs.runtime import runtime
from ml_backend.jobs.store import (
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    BusyError,
    Project,
    Store,
    open_store,
    project_overrides,
)

__all__ = [
    "DONE",
    "FAILED",
    "QUEUED",
    "RUNNING",
    "SECRET_HEADER",
    "BusyError",
    "Jobs",
    "Project",
    "Store",
    "apply_webhook",
    "check_study",
    "checked_parameters",
    "client_for",
    "clusters_folder",
    "embed_and_cluster",
    "export_project",
    "open_store",
    "project_labels",
    "project_overrides",
    "project_parameters",
    "project_status",
    "project_thresholds",
    "reconcile",
    "run_project",
    "runtime",
    "sync_project",
    "usable_recordings",
    "webhook_secret",
]
