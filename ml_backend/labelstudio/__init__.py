"""Everything that speaks with Label Studio. In come labels, as clips to ask for, and what Label Studio says; out come
tasks there, and a project's classes and answers here.

Other rooms use `Client`, the requests we need; `parse_label_config` with `LabelConfig`; `offers_of`, `create_task`,
`drop_stale` and `refresh` for tasks, and `clip_of_task` back; `read_project` with `Snapshot` and, for webhooks,
`answers_of_event`, `deleted_by_event`, `asks_for_sync`, `ACTIONS`.
"""

from ml_backend.labelstudio.answers import (
    ACTIONS,
    TASKS_DELETED,
    Snapshot,
    TaskAnswer,
    answers_of_event,
    asks_for_sync,
    deleted_by_event,
    read_project,
)
from ml_backend.labelstudio.client import Client
from ml_backend.labelstudio.config import LabelConfig, parse_label_config
from ml_backend.labelstudio.tasks import Offer, clip_of_task, create_task, drop_stale, offers_of, refresh

__all__ = [
    "ACTIONS",
    "TASKS_DELETED",
    "Client",
    "LabelConfig",
    "Offer",
    "Snapshot",
    "TaskAnswer",
    "answers_of_event",
    "asks_for_sync",
    "clip_of_task",
    "create_task",
    "deleted_by_event",
    "drop_stale",
    "offers_of",
    "parse_label_config",
    "read_project",
    "refresh",
]
