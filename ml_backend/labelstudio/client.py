"""The requests to Label Studio that we need. The SDK does authentication (legacy and personal access tokens)."""

import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError

from ml_backend.errors import ConfigError, LabelStudioError

PAGE = 100
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
        self.public = (public or url).rstrip("/")
        self._media = urlsplit(self.public).path.rstrip("/")
        connection = httpx.Client(
            timeout=TIMEOUT_SECONDS,
            follow_redirects=True,
            verify=_trusted(authority),
            event_hooks={"response": [self._refuse_exchange]},
        )
        try:
            # Without the slash the SDK exchanges a personal access token at the root, whatever path comes behind it.
            self._sdk = LabelStudio(base_url=f"{self.url}/", api_key=token, httpx_client=connection)
        except ApiError:  # an access token that says itself that it is no good
            raise LabelStudioError(f"LABEL_STUDIO_API_KEY: has expired or is damaged; {TOKEN_REMEDY}") from None

    def whoami(self) -> str:
        """Whose token it is, and what Label Studio's version is, in words."""
        user = self._request("GET", "api/current-user/whoami")
        version = self._request("GET", "api/version")
        return f"{version.get('release', 'unknown version')} at {self.url}, the token is {user['email']}'s"

    def project(self, project_id: int) -> dict[str, Any]:
        """The project's title, label_config, created_at, …"""
        project: dict[str, Any] = self._request("GET", f"api/projects/{project_id}/")
        return project

    def projects(self, title: str) -> list[dict[str, Any]]:
        """The projects of exactly that title, which need not be one."""
        found: list[dict[str, Any]] = []
        for number in count(1):
            page = self._request("GET", "api/projects/", params={"title": title, "page": number, "page_size": PAGE})
            found += [project for project in page["results"] if project["title"] == title]
            if not page.get("next"):
                return found
        raise AssertionError("unreachable")

    def create_project(self, **fields: Any) -> int:
        """Make a project; returns its number."""
        return int(self._request("POST", "api/projects/", json=fields)["id"])

    def update_project(self, project_id: int, **fields: Any) -> None:
        """Change a project's title, label_config, maximum_annotations, …"""
        self._request("PATCH", f"api/projects/{project_id}/", json=fields)

    def models(self, project_id: int) -> list[dict[str, Any]]:
        """The ML backends that are connected to a project."""
        found: list[dict[str, Any]] = self._request("GET", "api/ml", params={"project": project_id})
        return found

    def save_model(self, model_id: int | None, **fields: Any) -> int:
        """Connect an ML backend, or change one that is; returns its number. Label Studio asks it for its health and
        sets it up meanwhile."""
        method, path = ("POST", "api/ml") if model_id is None else ("PATCH", f"api/ml/{model_id}")
        return int(self._request(method, path, json=fields)["id"])

    def start_training(self, model_id: int) -> None:
        """Press Start Training."""
        self._request("POST", f"api/ml/{model_id}/train", json={})

    def project_page(self, project_id: int) -> str:
        """Where people label a project's tasks."""
        return f"{self.public}/projects/{project_id}/"

    def task_page(self, project_id: int, task_id: int) -> str:
        """Where a person opens a task."""
        return f"{self.public}/projects/{project_id}/data?task={task_id}"

    def tasks(self, project_id: int) -> Iterator[dict[str, Any]]:
        """All tasks with data, meta and annotations, in the order of their ids; those that are deleted meanwhile move
        no other out of sight, since each page begins behind the last task that was read."""
        last = 0
        while True:
            behind = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last}
            query = {"filters": {"conjunction": "and", "items": [behind]}, "ordering": ["tasks:id"]}
            params = {"project": project_id, "fields": "all", "page_size": PAGE, "query": json.dumps(query)}
            page = self._request("GET", "api/tasks/", params=params)["tasks"]
            yield from page
            if len(page) < PAGE:
                return
            last = max(task["id"] for task in page)

    def create_tasks(self, project_id: int, tasks: list[dict[str, Any]]) -> list[int]:
        """Import tasks (data, meta); returns their ids in the same order."""
        path = f"api/projects/{project_id}/import"
        ids: list[int] = self._request("POST", path, params={"return_task_ids": "true"}, json=tasks)["task_ids"]
        return ids

    def update_task(self, task_id: int, data: dict[str, Any], meta: dict[str, Any]) -> None:
        """Replace a task's data and meta."""
        self._request("PATCH", f"api/tasks/{task_id}/", json={"data": data, "meta": meta})

    def offer_again(self, task_id: int, annotators: int) -> None:
        """Offer a task that counts as done to people who have not answered it, until so many have."""
        self._request("PATCH", f"api/tasks/{task_id}/", json={"overlap": annotators, "is_labeled": False})

    def delete_task(self, task_id: int) -> None:
        """Remove a task."""
        self._request("DELETE", f"api/tasks/{task_id}/")

    def upload(self, project_id: int, file: Path, name: str) -> str:
        """Upload a file; returns the address, relative to Label Studio, at which logged-in users can read it."""
        with file.open("rb") as stream:
            answer = self._request(
                "POST",
                f"api/projects/{project_id}/import",
                params={"commit_to_project": "false"},
                files={"file": (name, stream, "video/mp4")},
            )
        stored = self._request("GET", f"api/import/file-upload/{answer['file_upload_ids'][0]}")
        return f"{self._media}/data/{stored['file']}"

    def uploads(self, project_id: int) -> dict[str, int]:
        """Addresses of all files uploaded to the project, with their numbers."""
        answer = self._request("GET", f"api/projects/{project_id}/file-uploads", params={"all": "true"})
        return {f"{self._media}/data/{entry['file']}": int(entry["id"]) for entry in answer}

    def delete_uploads(self, project_id: int, numbers: Sequence[int]) -> None:
        """Remove uploaded files."""
        for begin in range(0, len(numbers), PAGE):
            body = {"file_upload_ids": list(numbers[begin : begin + PAGE])}
            self._request("DELETE", f"api/projects/{project_id}/file-uploads", json=body)

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """The project's webhooks."""
        hooks: list[dict[str, Any]] = self._request("GET", "api/webhooks/", params={"project": project_id})
        return hooks

    def update_webhook(self, webhook_id: int, **fields: Any) -> None:
        """Change a webhook's headers or actions."""
        self._request("PATCH", f"api/webhooks/{webhook_id}/", json=fields)

    def views(self, project_id: int) -> list[dict[str, Any]]:
        """The tabs of a project's Data Manager."""
        found: list[dict[str, Any]] = self._request("GET", "api/dm/views/", params={"project": project_id})
        return found

    def save_view(self, project_id: int, view_id: int | None, data: dict[str, Any]) -> None:
        """Make a tab of the Data Manager, or change one."""
        method, path = ("POST", "api/dm/views/") if view_id is None else ("PATCH", f"api/dm/views/{view_id}/")
        self._request(method, path, json={"project": project_id, "data": data})

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

    def _request(self, method: str, path: str, **body: Any) -> Any:
        """What Label Studio answers. A request that may be repeated without harm is, for a patient client."""
        waits = iter(WAITS if self._waiting is not None else ())
        while True:
            if method != "GET":
                self._check()
            try:
                return self._request_once(method, path, **body)
            except AwayError as error:
                wait = None if method == "POST" else next(waits, None)
                if wait is None:
                    raise
                self.wait(error, wait)

    def wait(self, error: "AwayError", seconds: float) -> None:
        """Wait until Label Studio may be back; raises `error` if this client is not to."""
        if self._waiting is None:
            raise error
        self._waiting(f"waiting for Label Studio: {error}")
        time.sleep(max(seconds, error.retry_after))

    def _request_once(self, method: str, path: str, **body: Any) -> Any:
        try:
            # The generated methods parse every task into models that lack our meta; this is what they call. It must
            # not repeat by itself: an import that was done, and whose answer was lost, would be done twice.
            response = self._sdk._client_wrapper.httpx_client.request(
                path, method=method, request_options={"max_retries": 0}, **body
            )
        except ApiError as error:  # from the exchange of a personal access token
            raise LabelStudioError(f"Label Studio at {self.url} refuses the access token; {TOKEN_REMEDY}") from error
        except ValueError:  # the same, where a page came for an answer
            raise LabelStudioError(
                f"Label Studio at {self.url} answers the exchange of the access token with no JSON; {IS_IT_THERE}"
            ) from None
        except httpx.HTTPError as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise AwayError(
                f"Label Studio at {self.url} cannot be reached ({reason}); is it running and LABEL_STUDIO_URL right? "
                "Nothing is lost: run again"
            ) from None
        return self._understood(method, path, response)

    def _refuse_exchange(self, response: httpx.Response) -> None:
        """The SDK exchanges a personal access token for one of a few minutes: it tells no busy server from a wrong
        token."""
        if response.request.url.path.endswith("api/token/refresh/"):
            response.read()
            self._refuse_away("the exchange of the access token", response)

    def _refuse_away(self, what: str, response: httpx.Response) -> None:
        if response.status_code in (408, 429) or response.status_code >= 500:
            after = response.headers.get("retry-after", "")
            raise AwayError(
                f"Label Studio at {self.url}: {what} failed ({response.status_code}): {_detail(response)}; nothing "
                "is lost: run again",
                float(after) if after.isdecimal() else 0.0,
            )

    def _understood(self, method: str, path: str, response: httpx.Response) -> Any:
        status, what = response.status_code, f"Label Studio at {self.url}"
        if status in (400, 403) and "reserved network" in response.text:
            raise LabelStudioError(
                f"{what} refuses addresses of its own machine and of private networks; start it with "
                "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"
            )
        if status in (401, 403):
            raise LabelStudioError(f"{what} refuses the access token; {TOKEN_REMEDY}")
        if status == 404 and "/projects/" in path:
            raise GoneError(f"{what} has no {path.split('api/')[-1]}; check the project's number")
        if status == 404 and path == "api/tasks/":
            raise GoneError(f"{what} has no such project")
        if status == 413:
            raise LabelStudioError(
                f"{what}: {method} {path} is too large for a proxy in front of it (413); raise the proxy's limit "
                "(nginx: client_max_body_size 50m)"
            )
        self._refuse_away(f"{method} {path}", response)
        if status >= 400:
            raise LabelStudioError(f"{what}: {method} {path} failed ({status}): {_detail(response)}")
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise LabelStudioError(
                f"{what} answers {method} {path} with {'a web page' if _is_page(response) else 'no JSON'}; "
                f"{IS_IT_THERE}"
            ) from None


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


def _is_page(response: httpx.Response) -> bool:
    return "html" in response.headers.get("content-type", "") or response.text.lstrip()[:1] == "<"
