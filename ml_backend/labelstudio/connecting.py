"""A project of Label Studio with weakhar as its model: made, or found, and brought to what is wanted."""

import logging
from dataclasses import dataclass
from typing import Any

from ml_backend.errors import ConfigError, LabelStudioError
from ml_backend.labelstudio.client import Client
from ml_backend.labelstudio.config import parse_label_config

log = logging.getLogger(__name__)

HIDDEN = [
    *(f"tasks:data.{name}" for name in ("html", "video", "signals", "others", "about", "likely", "end_seconds")),
    *(f"tasks:data.{name}" for name in ("cluster", "cluster_clips")),
]
QUIET = [
    *("tasks:inner_id", "tasks:cancelled_annotations", "tasks:total_predictions", "tasks:annotations_ids"),
    *("tasks:predictions_score", "tasks:predictions_model_versions", "tasks:predictions_results"),
    *("tasks:file_upload", "tasks:storage_filename", "tasks:created_at", "tasks:updated_at", "tasks:updated_by"),
    *("tasks:avg_lead_time", "tasks:draft_exists", "tasks:allow_skip"),
]
BESIDE_A_CLIP = [
    *("tasks:data.recording", "tasks:data.start_seconds", "tasks:data.cluster_minutes", "tasks:completed_at"),
    *("tasks:annotators", "tasks:annotations_results"),
]
"""Columns of the Data Manager: ours that say nothing to people, Label Studio's that say little here, and those for
which there is no room beside an open task."""


LONGEST = 400
"""Letters of a model's description."""


@dataclass(frozen=True)
class Connected:
    """A project and its model; what was done, in words."""

    project: int
    model: int
    done: tuple[str, ...]


def connect(
    client: Client, title: str, label_config: str | None, annotators: int | None, model: dict[str, Any]
) -> Connected:
    """Make the project called `title`, or take the one that is called so, and connect the model to it.

    label_config: None keeps a project's own. One that people have begun to answer with stays as it is. model: url,
    extra_params, basic_auth_user, basic_auth_pass. ConfigError where several projects are called so.
    """
    found = client.projects(title)
    if len(found) > 1:
        numbers = ", ".join(str(project["id"]) for project in found)
        raise ConfigError(f"title: several projects are called '{title}' ({numbers}); rename one in Label Studio")
    wanted: dict[str, Any] = {} if annotators is None else {"maximum_annotations": annotators}
    if not found:
        if label_config is None:
            raise ConfigError(f"classes: there is no project '{title}' yet; name its classes, walking,jogging")
        project = client.create_project(title=title, label_config=label_config, **wanted)
        done = [f"project {project} was made"]
    else:
        project, done = int(found[0]["id"]), [f"project {found[0]['id']} was there"]
        if label_config is not None and not _same_classes(found[0]["label_config"], label_config):
            if found[0].get("total_annotations_number"):
                done.append("its classes stay, since people have begun to label; change them in Label Studio")
            else:
                wanted["label_config"] = label_config
                done.append("its labelling config was written anew")
        changed = {name: value for name, value in wanted.items() if found[0].get(name) != value}
        if changed:
            client.update_project(project, **changed)
    known = {one["url"].rstrip("/"): one for one in client.models(project)}
    own = known.get(model["url"].rstrip("/"))
    extra = {**((own or {}).get("extra_params") or {}), **model["extra_params"]}
    fields: dict[str, Any] = {"project": project, "title": "weakhar", **model, "extra_params": extra}
    if model.get("basic_auth_user"):
        fields["auth_method"] = "BASIC_AUTH"
    number = client.save_model(int(own["id"]) if own else None, **fields)
    done.append(f"the model at {model['url']} was {'there' if own else 'connected'}")
    return Connected(project, number, tuple(done))


def describe_model(client: Client, project_id: int, url: str, text: str, user: str, password: str) -> None:
    """Say something in the description of a project's model at `url`. Label Studio looks at the whole model again and
    sets it up when anything of it changes, so it is told all, and only where the text is another."""
    for model in client.models(project_id):
        if model["url"].rstrip("/") == url.rstrip("/") and (model.get("description") or "") != text[:LONGEST]:
            fields = {name: model[name] for name in ("project", "url", "title", "extra_params", "auth_method")}
            if user:
                fields |= {"basic_auth_user": user, "basic_auth_pass": password}
            client.save_model(int(model["id"]), **fields, description=text[:LONGEST])


def arrange_columns(client: Client, project_id: int) -> None:
    """Show in the Data Manager's first tab whose clip it is, when, what it stands for and what people answered; not
    the text that draws a clip. Done before the first tasks come: afterwards the columns are people's own. They are
    worth no job's failing."""
    hidden = {"explore": [*HIDDEN, *QUIET], "labeling": [*HIDDEN, *QUIET, *BESIDE_A_CLIP]}
    try:
        first: dict[str, Any] = next(iter(client.views(project_id)), {"id": None, "data": {"title": "Default"}})
        client.save_view(project_id, first["id"], {**first["data"], "hiddenColumns": hidden})
    except LabelStudioError as error:
        log.warning("project %s: the Data Manager's columns stay as they are: %s", project_id, error)


def _same_classes(xml: str, other: str) -> bool:
    """True if both configs offer the same classes; False where one is no good."""
    try:
        return parse_label_config(xml).classes == parse_label_config(other).classes
    except ConfigError:
        return False
