"""The job and what is remembered. In come a project's parameters and its dataset folder; out come tasks in Label
Studio, a copy of the answers in the store, and on request an export. All rooms before this one meet in
`pipeline.py`.

Other rooms use `runtime` (settings, store and queue of this process), `Jobs` (the queue), `open_store` with `Store`
and `Project`; `run_project` and `sync_project`, the job itself, and of it
`embed_and_cluster`; `project_labels`, `project_answers` with `GivenAnswers` and `Unused`, `project_config`,
`project_status`, `export_project`, `project_thresholds`, `unused_answers`, `project_parameters`, `client_for` for one
project; `open_review`, its recordings to go through, `import_labels` and `drop_imported` for labels
of other tools; `begin_audit`, `end_audit` and
`project_audit` with `AuditFound`, how right its labels are; `project_standing` and `round_is_due` towards a target;
`apply_webhook` and `reconcile` for answers; `checked_parameters`, `extra_params`, `parameters_in_force`,
`check_study` and `usable_recordings` for what a user gives; `connect_study` with `Wish`, and the `Wishes` of the
status page's form; `forget_participant`, `forget_project`, `back_up` and
`restore` for all that is kept; `folds_on_ray` for training."""

from ml_backend.jobs.answers import GivenAnswers, Unused, decide_meaning, project_config
from ml_backend.jobs.audits import CLIPS, MOST_CLIPS, AuditFound
from ml_backend.jobs.checks import check_study, checked_parameters, extra_params, usable_recordings
from ml_backend.jobs.connecting import Wish, Wishes, connect_study
from ml_backend.jobs.exports import Export
from ml_backend.jobs.imports import drop_imported, import_labels
from ml_backend.jobs.pipeline import embed_and_cluster, run_project, sync_project
from ml_backend.jobs.projects import (
    SECRET_HEADER,
    begin_audit,
    client_for,
    clusters_folder,
    end_audit,
    export_project,
    job_status,
    news_of_classes,
    parameters_in_force,
    project_answers,
    project_audit,
    project_counts,
    project_labels,
    project_parameters,
    project_stamp,
    project_status,
    project_thresholds,
    unused_answers,
    webhook_secret,
)
from ml_backend.jobs.queue import Jobs
from ml_backend.jobs.reconciliation import apply_webhook, reconcile
from ml_backend.jobs.reviews import open_review
from ml_backend.jobs.rounds import Standing, project_standing, round_is_due
from ml_backend.jobs.runtime import WEB_PATIENCE, runtime
from ml_backend.jobs.spread import folds_on_ray
from ml_backend.jobs.store import (
    DONE,
    FAILED,
    PATIENCE,
    QUEUED,
    RUNNING,
    BusyError,
    LockedError,
    Project,
    Store,
    open_store,
    project_overrides,
    set_by_hand,
)
from ml_backend.jobs.upkeep import back_up, forget_participant, forget_project, restore

__all__ = [
    "CLIPS",
    "DONE",
    "FAILED",
    "MOST_CLIPS",
    "PATIENCE",
    "QUEUED",
    "RUNNING",
    "SECRET_HEADER",
    "WEB_PATIENCE",
    "AuditFound",
    "BusyError",
    "Export",
    "GivenAnswers",
    "Jobs",
    "LockedError",
    "Project",
    "Standing",
    "Store",
    "Unused",
    "Wish",
    "Wishes",
    "apply_webhook",
    "back_up",
    "begin_audit",
    "check_study",
    "checked_parameters",
    "client_for",
    "clusters_folder",
    "connect_study",
    "decide_meaning",
    "drop_imported",
    "embed_and_cluster",
    "end_audit",
    "export_project",
    "extra_params",
    "folds_on_ray",
    "forget_participant",
    "forget_project",
    "import_labels",
    "job_status",
    "news_of_classes",
    "open_review",
    "open_store",
    "parameters_in_force",
    "project_answers",
    "project_audit",
    "project_config",
    "project_counts",
    "project_labels",
    "project_overrides",
    "project_parameters",
    "project_stamp",
    "project_standing",
    "project_status",
    "project_thresholds",
    "reconcile",
    "restore",
    "round_is_due",
    "run_project",
    "runtime",
    "set_by_hand",
    "sync_project",
    "unused_answers",
    "usable_recordings",
    "webhook_secret",
]
