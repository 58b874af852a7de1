"""`weakhar doctor`: what must be in place between Label Studio, the backend and this machine, line by line."""

import platform
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import httpx
import typer

from ml_backend import __version__
from ml_backend.cli.shared import Backend, opened, out, why_silent
from ml_backend.errors import WeakHARError
from ml_backend.files import remove, written_atomically
from ml_backend.storage import url_of

if TYPE_CHECKING:
    from ml_backend.jobs import Project, Store
    from ml_backend.settings import Settings

LEAST_GIGABYTES = 2.0
Look = tuple[str, Callable[[], str]]
"""What is looked at; and what is found, a WeakHARError says what is wrong and how to mend it."""


def doctor(backend: Backend = "http://127.0.0.1:9090") -> None:
    """Look whether Label Studio, token, webhooks, backend, disk, GPU and weights are right; exit status 1 if one is
    not."""
    settings, store = opened()
    wrong = 0
    for what, look in _looks(settings, store, backend.rstrip("/")):
        try:
            mark, style, found = "ok", "green", look()
        except WeakHARError as error:
            mark, style, found, wrong = "no", "red", str(error), wrong + 1
        out.print(f"[{style}]{mark}[/] {what}: ", end="", highlight=False)
        out.print(found, markup=False, highlight=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


def _looks(settings: "Settings", store: "Store", backend: str) -> Iterator[Look]:
    yield "versions", lambda: f"weakhar {__version__}, Python {platform.python_version()}"
    yield "data", partial(_disk, settings)
    yield "recordings", partial(_recordings, settings)
    if settings.ray_address:
        yield "Ray", partial(_ray, settings)
    yield "computing", _device
    yield "weights", partial(_weights, settings)
    yield "backend", partial(_backend, backend)
    yield "Label Studio", partial(_label_studio, settings)
    for project in store.projects():
        yield f"project {project.id}", partial(_title, settings, project)
        yield f"project {project.id}, model", partial(_model, settings, project)
        yield f"project {project.id}, webhook", partial(_webhook, settings, store, project)


def _disk(settings: "Settings") -> str:
    tried = settings.model_dir / "doctor"
    with written_atomically(tried) as temporary:
        temporary.touch()
    remove(tried)
    free = shutil.disk_usage(settings.model_dir).free / 2**30
    if free < LEAST_GIGABYTES:
        raise WeakHARError(f"{settings.model_dir} has {free:.1f} GB left; free some space, or move MODEL_DIR")
    url = url_of(settings.model_dir)
    return f"{url + ', copied to ' if url else ''}{settings.model_dir}, {free:.0f} GB free"


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"on {torch.cuda.get_device_name()}"
    return "on the processor; there is no GPU that torch can use"


def _recordings(settings: "Settings") -> str:
    from ml_backend.recordings import missing_folder

    if said := missing_folder(settings.data_dir):
        raise WeakHARError(f"WEAKHAR_DATA_DIR: {said}")
    return f"projects name their dataset in {settings.data_dir}"


def _ray(settings: "Settings") -> str:
    from ml_backend.spread import cluster_in_words

    return cluster_in_words(settings.ray_address, settings.model_dir)


def _weights(settings: "Settings") -> str:
    """Loads the backbone that is the default: what a job would need first."""
    from ml_backend.embeddings import embedders

    parameters = settings.parameters()
    for part in embedders(settings, parameters):
        part.load()
    return f"{parameters.backbone} can be loaded"


def _backend(url: str) -> str:
    if reason := why_silent(url):
        raise WeakHARError(f"{url} does not answer ({reason}); start `weakhar serve`, or name it in --backend")
    return f"answers at {url}"


def _label_studio(settings: "Settings") -> str:
    from ml_backend.labelstudio import Client

    client = Client(settings.label_studio_url, settings.label_studio_api_key, authority=settings.label_studio_ca)
    return client.whoami()


def _title(settings: "Settings", project: "Project") -> str:
    from ml_backend.jobs import client_for

    return f"'{client_for(settings, project).project(project.id)['title']}'"


def _model(settings: "Settings", project: "Project") -> str:
    """What Label Studio thinks of the connection, which it tries when it is asked."""
    from ml_backend.jobs import client_for

    models = client_for(settings, project).models(project.id)
    own = next((model for model in models if model["url"].rstrip("/") == project.backend_url), None)
    if own is None:
        raise WeakHARError("weakhar is no model of it (any more); connect it again, by `weakhar connect`")
    if own.get("state") != "CO":
        reason = " ".join(str(own.get("error_message") or own.get("state")).split())[:300]
        raise WeakHARError(
            f"Label Studio does not reach {project.backend_url} ({reason}); if that is private, start it with "
            "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"
        )
    return f"Label Studio reaches {project.backend_url}"


def _webhook(settings: "Settings", store: "Store", project: "Project") -> str:
    """Send an event that means nothing the way that Label Studio's go."""
    from ml_backend.jobs import SECRET_HEADER, client_for, webhook_secret

    address = f"{project.backend_url}/webhook"
    hooks = client_for(settings, project).webhooks(project.id)
    own = next((hook for hook in hooks if hook["url"].rstrip("/") == address), None)
    if own is None:
        raise WeakHARError("Label Studio has no webhook to us; connect the model again (Settings, Model)")
    if not own.get("is_active", True):
        raise WeakHARError("the webhook is switched off; switch it on (Settings, Webhooks)")
    headers = own.get("headers") or {}
    try:
        answer = httpx.post(
            address, json={"action": "DOCTOR", "project": {"id": project.id}}, headers=headers, timeout=5
        )
    except httpx.HTTPError as error:
        raise WeakHARError(f"{address} does not answer ({error}); start `weakhar serve`") from None
    if answer.status_code == 401 and headers.get(SECRET_HEADER) != webhook_secret(store, project.id):
        raise WeakHARError("the webhook's secret is another; open Settings, Model in Label Studio, which renews it")
    if answer.status_code >= 300:
        raise WeakHARError(f"{address} answers {answer.status_code}: {answer.text.strip()[:200]}")
    return "an event arrives"
