"""Everything that speaks with Label Studio. In come labels, as clips to ask for, and what Label Studio says; out come
tasks there, and a project's classes and answers here.

Other rooms use `Client`, the requests we need; `parse_label_config` with `LabelConfig`, which
understands what was `Given` by what choices mean; `offers_of` and `with_order` for what is asked;
`task_of` with its `Media`, `drop_stale`,
`rename_clip` and `refresh` for tasks, and `clip_of_task`, `place_of_task` and `place_of` back;
`review_config` with `channels_of`, `prediction_of` with `is_prediction`, `import_tasks` and `task_meta` for
recordings that people go through;
`labelling_config`, `connect`, `describe_model` and `arrange_columns` for a project that is to be;
`read_project` with `Snapshot` and, for webhooks, `annotations_of`, `answers_of_event`, `deleted_by_event`,
`asks_for_sync`, `ACTIONS`."""

from ml_backend.labelstudio.answers import (
    ACTIONS,
    ANNOTATED,
    DELETED,
    TASKS_DELETED,
    Snapshot,
    TaskAnswer,
    annotations_of,
    answers_of_event,
    asks_for_sync,
    deleted_by_event,
    read_project,
    seconds_of,
)
from ml_backend.labelstudio.client import Client, GoneError
from ml_backend.labelstudio.clips import ClipStorage
from ml_backend.labelstudio.colours import class_colours
from ml_backend.labelstudio.config import (
    CONFIGS,
    NO_CLASS,
    Given,
    LabelConfig,
    labelling_config,
    parse_label_config,
    plain,
)
from ml_backend.labelstudio.connecting import Connected, arrange_columns, connect, describe_model
from ml_backend.labelstudio.offers import (
    Offer,
    Place,
    audit_offer,
    is_upload_of,
    offers_of,
    place_of,
    upload_names,
    with_order,
    without_names,
)
from ml_backend.labelstudio.review import FRAME_RATE, channels_of, is_prediction, prediction_of, review_config
from ml_backend.labelstudio.tasks import (
    NAMED,
    Media,
    as_written,
    clip_of_task,
    drop_stale,
    import_tasks,
    place_of_task,
    refresh,
    rename_clip,
    shown_by,
    task_meta,
    task_of,
)

__all__ = [
    "ACTIONS",
    "ANNOTATED",
    "CONFIGS",
    "DELETED",
    "FRAME_RATE",
    "NAMED",
    "NO_CLASS",
    "TASKS_DELETED",
    "Client",
    "ClipStorage",
    "Connected",
    "Given",
    "GoneError",
    "LabelConfig",
    "Media",
    "Offer",
    "Place",
    "Snapshot",
    "TaskAnswer",
    "annotations_of",
    "answers_of_event",
    "arrange_columns",
    "as_written",
    "asks_for_sync",
    "audit_offer",
    "channels_of",
    "class_colours",
    "clip_of_task",
    "connect",
    "deleted_by_event",
    "describe_model",
    "drop_stale",
    "import_tasks",
    "is_prediction",
    "is_upload_of",
    "labelling_config",
    "offers_of",
    "parse_label_config",
    "place_of",
    "place_of_task",
    "plain",
    "prediction_of",
    "read_project",
    "refresh",
    "rename_clip",
    "review_config",
    "seconds_of",
    "shown_by",
    "task_meta",
    "task_of",
    "upload_names",
    "with_order",
    "without_names",
]
