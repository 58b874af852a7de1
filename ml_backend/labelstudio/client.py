"""The requests to Label Studio that we need. The SDK does authentication (legacy and personal access tokens)."""

import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from datetime import UTC, datetime
from itertools import count
from mimetypes import guess_type
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.request_options import RequestOptions

from ml_backend.errors import ConfigError, LabelStudioError
from ml_backend.labelstudio.clips import LOCAL_FILES, ClipStorage

T = TypeVar("T")
Upload = int | str
"""A file's number in Label Studio, or its URL in a storage."""

PAGE = 500
STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"
"""How Label Studio's filters write a time."""
EXCHANGE = "api/token/refresh/"
"""Where a personal access token becomes one that is good for some minutes."""
WHOAMI = "api/current-user/whoami"
WAITS = (1, 2, 4, 8, 15, 30, *[60] * 60)
"""Seconds between one try and the next while Label Studio is away: an hour in all."""
TIMEOUT_SECONDS = 60
IS_IT_THERE = "is LABEL_STUDIO_URL its address, and no login or proxy between?"
TOKEN_REMEDY = "set LABEL_STUDIO_API_KEY to an access token of a user of the project (Account & Settings)"


class GoneError(LabelStudioError):
    """Label Studio has no such project, any more, or its user may not see it."""


class AwayError(LabelStudioError):
    """Label Studio, or a proxy in front of it, is away or busy, which may heal; retry_after: seconds that it asks
    for."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Client:
    """Label Studio at `url`; every method raises LabelStudioError with what to do where it fails.

    `public` is its address as it calls itself, which may have another path, behind a proxy; `authority` the file of a
    private certificate authority.
    """

    def __init__(self, url: str, token: str, public: str = "", authority: Path | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise LabelStudioError(
                f"LABEL_STUDIO_URL: '{url}' is no address; expected one such as http://localhost:8080"
            )
        if not token:
            raise LabelStudioError(f"LABEL_STUDIO_API_KEY: no access token for {url}; {TOKEN_REMEDY}")
        self.url = url.rstrip("/")
        self._waiting: Callable[[str], None] | None = None
        self._check: Callable[[], None] = lambda: None
        self._clips: ClipStorage | None = None
        self._serving = set[int]()
        self.public = (public or url).rstrip("/")
        self._media = urlsplit(self.public).path.rstrip("/")
        connection = httpx.Client(
            timeout=TIMEOUT_SECONDS,
            follow_redirects=True,
            verify=_trusted(authority),
            event_hooks={"response": [self._understand]},
        )
        try:
            # Without the slash the SDK exchanges a personal access token at the root, whatever path comes behind it.
            self._sdk = LabelStudio(base_url=f"{self.url}/", api_key=token, httpx_client=connection)
        except ApiError:  # an access token that says itself that it is no good
            raise LabelStudioError(f"LABEL_STUDIO_API_KEY: has expired or is damaged; {TOKEN_REMEDY}") from None

    def whoami(self) -> str:
        """Whose token it is, and what Label Studio's version is, in words."""
        user = self._read(self._sdk.users.whoami)
        version = self._read(self._sdk.versions.get)
        return f"{version.release or 'unknown version'} at {self.url}, the token is {user.email}'s"

    def project(self, project_id: int) -> dict[str, Any]:
        """The project's title, label_config, …"""
        return self._read(self._sdk.projects.get, project_id).model_dump()

    def projects(self, title: str) -> list[dict[str, Any]]:
        """The projects of exactly that title, which need not be one."""
        found: list[dict[str, Any]] = []
        for number in count(1):
            page: Any = self._read(self._sdk.projects.list, title=title, page=number, page_size=PAGE)
            found += [project.model_dump() for project in page.items if project.title == title]
            if not page.response.next:  # the SDK finds the last page by asking for one more, which fails
                return found
        raise AssertionError("unreachable")

    def create_project(self, **fields: Any) -> int:
        """Make a project; returns its number."""
        made: Any = self._make(self._sdk.projects.create, **fields)
        return int(made.id)

    def update_project(self, project_id: int, **fields: Any) -> None:
        """Change a project's title, label_config, maximum_annotations, …"""
        self._change(self._sdk.projects.update, project_id, **fields)

    def models(self, project_id: int) -> list[dict[str, Any]]:
        """The ML backends that are connected to a project."""
        return [model.model_dump() for model in self._read(self._sdk.ml.list, project=project_id)]

    def save_model(self, model_id: int | None, **fields: Any) -> int:
        """Connect an ML backend, or change one that is; returns its number. Label Studio asks it for its health and
        sets it up meanwhile."""
        if model_id is None:
            return int(self._make(self._sdk.ml.create, **fields).id)
        self._change(self._sdk.ml.update, model_id, **fields)
        return model_id

    def start_training(self, model_id: int) -> None:
        """Press Start Training."""
        self._make(self._sdk.ml.train, model_id)

    def project_page(self, project_id: int) -> str:
        """Where people label a project's tasks."""
        return f"{self.public}/projects/{project_id}/"

    def task_page(self, project_id: int, task_id: int) -> str:
        """Where a person opens a task."""
        return f"{self.public}/projects/{project_id}/data?task={task_id}"

    def tasks(self, project_id: int, since: float | None = None) -> Iterator[dict[str, Any]]:
        """All tasks with data, meta and annotations, or those in which something changed after `since`, in seconds
        since 1970 by Label Studio's clock; in the order of their ids: those that are deleted meanwhile move no other
        out of sight, since each page begins behind the last task that was read."""
        last = 0
        stamp = datetime.fromtimestamp(since or 0, UTC).strftime(STAMP)
        after = {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": stamp}
        while True:
            behind = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last}
            items = [behind, after] if since else [behind]
            query = json.dumps({"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]})
            page: Any = self._read(self._sdk.tasks.list, project=project_id, page_size=PAGE, query=query)
            yield from (task.model_dump() for task in page.items)
            if not page.items:  # a short one may be as long as Label Studio allows
                return
            last = max(task.id for task in page.items)

    def task(self, task_id: int) -> dict[str, Any]:
        """A task with data, meta and annotations."""
        return self._read(self._sdk.tasks.get, str(task_id)).model_dump()

    def create_tasks(self, project_id: int, tasks: list[dict[str, Any]]) -> list[int]:
        """Import tasks (data, meta); returns their ids in the same order."""
        call = self._sdk.projects.import_tasks
        made: Any = self._make(call, project_id, request=tasks, return_task_ids=True)
        return list(made.task_ids)

    def update_task(self, task_id: int, data: dict[str, Any], meta: dict[str, Any]) -> None:
        """Replace a task's data and meta."""
        self._change(self._sdk.tasks.update, str(task_id), data=data, meta=meta)

    def offer_again(self, task_id: int, annotators: int) -> None:
        """Offer a task that counts as done to people who have not answered it, until so many have."""
        self._change(self._sdk.tasks.update, str(task_id), overlap=annotators, is_labeled=False)

    def delete_task(self, task_id: int) -> None:
        """Remove a task."""
        self._change(self._sdk.tasks.delete, str(task_id))

    def storing(self, clips: ClipStorage) -> "Client":
        """The same for a project whose files lie in an object storage, or did."""
        other = copy(self)
        other._clips = clips
        return other

    def upload(self, project_id: int, file: Path, name: str) -> str:
        """Upload a file, or store it; returns the address, relative to Label Studio, at which logged-in users can
        read it."""
        if self._clips is not None and self._clips.new:
            return self._store(project_id, self._clips, file, name)
        with file.open("rb") as stream:
            kind = guess_type(name)[0] or "application/octet-stream"
            sent = self._make(self._send_file, project_id, (name, stream, kind))
        stored = self._read(self._sdk.files.get, sent.json()["file_upload_ids"][0])
        return f"{self._media}/data/{stored.file}"

    def _store(self, project_id: int, clips: ClipStorage, file: Path, name: str) -> str:
        """ConfigError if Label Studio would not serve the project's files out of the storage; looks once."""
        known = project_id in self._serving
        if not known and not clips.is_local:
            self._check_serves(project_id, clips)
        self._check()
        url = clips.put(project_id, file, name)
        address = clips.address(project_id, url, self._media)
        try:
            if not known and clips.is_local:
                self._check_served(project_id, clips, address)
        except BaseException:
            clips.delete([url])  # else the next job would take it for one that is served
            raise
        self._serving.add(project_id)
        return address

    def _check_serves(self, project_id: int, clips: ClipStorage) -> None:
        """ConfigError if the project has no storage of the bucket."""
        listed = self._read(getattr(self._sdk.import_storage, clips.kind).list, project=project_id)
        if not any(storage.bucket == clips.bucket for storage in listed):
            raise ConfigError(
                f"clips: project {project_id} in Label Studio has no source storage of bucket {clips.bucket}; "
                'add one there under Settings, Cloud Storage (it need not be synced), or leave out "clips"'
            )

    def _check_served(self, project_id: int, clips: ClipStorage, address: str) -> None:
        """ConfigError if a file is not to be had at its address: its document root cannot be asked for."""
        status = self._read(self._status_of, address)
        if status != httpx.codes.OK:
            raise ConfigError(
                f"clips: Label Studio does not serve {clips.url} to project {project_id} ({status}); add a source "
                f"storage of local files with the folder {clips.name}/{project_id} there under Settings, Cloud "
                f"Storage, and start Label Studio with LOCAL_FILES_SERVING_ENABLED=true and the folder above "
                f'{clips.name} as LOCAL_FILES_DOCUMENT_ROOT; or leave out "clips"'
            )

    def _status_of(self, address: str, request_options: RequestOptions) -> int:
        """What Label Studio answers who asks for a file."""
        path = address.removeprefix(self._media).lstrip("/")
        request = self._sdk._client_wrapper.httpx_client.request
        return int(request(path, method="GET", request_options=request_options).status_code)

    def uploads(self, project_id: int) -> dict[str, Upload]:
        """Addresses of all files uploaded to the project, or stored for it, with their numbers or URLs."""
        files = self._read(self._sdk.files.list, project_id, all_=True)
        stored = self._clips.files(project_id, self._media) if self._clips is not None else {}
        return {**{f"{self._media}/data/{file.file}": int(file.id) for file in files}, **stored}

    def delete_uploads(self, project_id: int, uploads: Sequence[Upload]) -> None:
        """Remove uploaded, or stored, files."""
        numbers = [one for one in uploads if isinstance(one, int)]
        urls = [one for one in uploads if isinstance(one, str)]
        if urls and self._clips is not None:
            self._check()
            self._clips.delete(urls)
        for begin in range(0, len(numbers), PAGE):
            named = {"additional_body_parameters": {"file_upload_ids": list(numbers[begin : begin + PAGE])}}
            self._change(self._sdk.files.delete_many, project_id, request_options=named)

    def predict(self, task_id: int, prediction: dict[str, Any]) -> None:
        """Give a task a prediction (result, score, model_version)."""
        self._make(self._sdk.predictions.create, task=task_id, **prediction)

    def delete_prediction(self, prediction_id: int) -> None:
        """Remove a prediction."""
        self._change(self._sdk.predictions.delete, prediction_id)

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """The project's webhooks."""
        return [hook.model_dump() for hook in self._read(self._sdk.webhooks.list, project=str(project_id))]

    def create_webhook(self, project_id: int, **fields: Any) -> None:
        """Have a project's events sent to `url`."""
        self._make(self._sdk.webhooks.create, project=project_id, **fields)

    def update_webhook(self, webhook_id: int, **fields: Any) -> None:
        """Change a webhook's headers or actions."""
        self._change(self._sdk.webhooks.update, webhook_id, **fields)

    def views(self, project_id: int) -> list[dict[str, Any]]:
        """The tabs of a project's Data Manager."""
        return [view.model_dump() for view in self._read(self._sdk.views.list, project=project_id)]

    def save_view(self, project_id: int, view_id: int | None, data: dict[str, Any]) -> None:
        """Make a tab of the Data Manager, or change one."""
        if view_id is None:
            self._make(self._sdk.views.create, project=project_id, data=data)
        else:
            self._change(self._sdk.views.update, str(view_id), project=project_id, data=data)

    def patient(self, waiting: Callable[[str], None]) -> "Client":
        """The same client, which waits where Label Studio is away for a while, and says so each time."""
        other = copy(self)
        other._waiting = waiting
        return other

    def fenced(self, check: Callable[[], None]) -> "Client":
        """The same client, which calls `check` before it changes anything."""
        other = copy(self)
        other._check = check
        return other

    def check(self) -> None:
        """Raise what a fenced client raises before it changes anything, where that is no longer allowed."""
        self._check()

    def _read(self, call: Callable[..., T], *asked: Any, **fields: Any) -> T:
        """What a method of the SDK answers that changes nothing."""
        return self._patiently(lambda: self._once(call, *asked, **fields))

    def _change(self, call: Callable[..., T], *asked: Any, **fields: Any) -> T:
        """What a method of the SDK answers whose change may be made twice without harm."""
        return self._patiently(lambda: self._make(call, *asked, **fields))

    def _make(self, call: Callable[..., T], *asked: Any, **fields: Any) -> T:
        """What a method of the SDK answers that must not be called twice: what was done, and whose answer was lost,
        would be done again."""
        self._check()
        return self._once(call, *asked, **fields)

    def _patiently(self, ask: Callable[[], T]) -> T:
        for seconds in WAITS:
            try:
                return ask()
            except AwayError as error:
                self.wait(error, seconds)
        return ask()

    def wait(self, error: "AwayError", seconds: float) -> None:
        """Wait until Label Studio may be back; raises `error` if this client is not to."""
        if self._waiting is None:
            raise error
        self._waiting(f"waiting for Label Studio: {error}")
        time.sleep(max(seconds, error.retry_after))

    def _once(
        self, call: Callable[..., T], *asked: Any, request_options: dict[str, Any] | None = None, **fields: Any
    ) -> T:
        try:
            return call(*asked, request_options={**(request_options or {}), "max_retries": 0}, **fields)
        except httpx.HTTPError as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise AwayError(
                f"Label Studio at {self.url} cannot be reached ({reason}); is it running and LABEL_STUDIO_URL right? "
                "Nothing is lost: run again"
            ) from None

    def _send_file(
        self, project_id: int, file: tuple[str, BinaryIO, str], request_options: RequestOptions
    ) -> httpx.Response:
        """The SDK's import of tasks sends JSON only; this is what it calls for that."""
        return self._sdk._client_wrapper.httpx_client.request(
            f"api/projects/{project_id}/import",
            method="POST",
            params={"commit_to_project": "false"},
            files={"file": file},
            request_options=request_options,
        )

    def _understand(self, response: httpx.Response) -> None:
        """Raise what an answer says is wrong, in our words, before the SDK reads it."""
        if response.has_redirect_location:
            return
        response.read()
        method, path = response.request.method, response.request.url.path
        path = path.removeprefix(urlsplit(self.url).path).lstrip("/")
        if path == LOCAL_FILES and response.status_code < 500:
            return  # a file, or none: who asks will say what that means
        status, what = response.status_code, f"Label Studio at {self.url}"
        asked = "the exchange of the access token" if path == EXCHANGE else f"{method} {path}"
        if status in (400, 403) and "reserved network" in response.text:
            raise LabelStudioError(
                f"{what} refuses addresses of its own machine and of private networks; start it with "
                "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"
            )
        self._refuse_away(asked, response)
        if status == 404 and path in (EXCHANGE, WHOAMI):
            raise LabelStudioError(f"{what} does not know {path}, as any Label Studio does; {IS_IT_THERE}")
        if status in (401, 403) or (path == EXCHANGE and status >= 400):
            raise LabelStudioError(f"{what} refuses the access token; {TOKEN_REMEDY}")
        if status == 404 and "/projects/" in path:
            raise GoneError(f"{what} has no such project ({path.split('api/')[-1].strip('/')}); check its number")
        if status == 404 and path == "api/tasks/":
            raise GoneError(f"{what} has no such project; check its number")
        if status == 413:
            raise LabelStudioError(
                f"{what}: {asked} is too large for a proxy in front of it (413); raise the proxy's limit "
                "(nginx: client_max_body_size 50m)"
            )
        if status >= 400:
            raise LabelStudioError(f"{what}: {asked} failed ({status}): {_detail(response)}")
        if response.content and not _is_json(response):
            page = "a web page" if _is_page(response) else "no JSON"
            raise LabelStudioError(f"{what} answers {asked} with {page}; {IS_IT_THERE}")

    def _refuse_away(self, asked: str, response: httpx.Response) -> None:
        if response.status_code in (408, 429) or response.status_code >= 500:
            after = response.headers.get("retry-after", "")
            raise AwayError(
                f"Label Studio at {self.url}: {asked} failed ({response.status_code}): {_detail(response)}; nothing "
                "is lost: run again",
                float(after) if after.isdecimal() else 0.0,
            )


def _detail(response: httpx.Response) -> str:
    """What an answer says; of a page, of a proxy or a login, nothing is passed on."""
    return "a web page" if _is_page(response) else " ".join(response.text.split())[:300]


def _trusted(authority: Path | None) -> ssl.SSLContext:
    """Certificates that are believed: the system's usual ones, and those of a private authority."""
    context = httpx.create_ssl_context()
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"LABEL_STUDIO_CA: {authority} is no file of certificates ({error})") from None
    return context


def _is_json(response: httpx.Response) -> bool:
    try:
        response.json()
    except ValueError:
        return False
    return True


def _is_page(response: httpx.Response) -> bool:
    return "html" in response.headers.get("content-type", "") or response.text.lstrip()[:1] == "<"
