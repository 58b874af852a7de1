"""The requests to Label Studio that we need. The SDK does authentication (legacy and personal access tokens)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError

from ml_backend.errors import LabelStudioError

PAGE = 100
TIMEOUT_SECONDS = 60
TOKEN_REMEDY = "set LABEL_STUDIO_API_KEY to an access token of a user of the project (Account & Settings)"


class Client:
    """Label Studio at `url`; every method raises LabelStudioError with what to do where it fails."""

    def __init__(self, url: str, token: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise LabelStudioError(
                f"LABEL_STUDIO_URL: '{url}' is no address; expected one such as http://localhost:8080"
            )
        if not token:
            raise LabelStudioError(f"LABEL_STUDIO_API_KEY: no access token for {url}; {TOKEN_REMEDY}")
        self.url = url.rstrip("/")
        self._sdk = LabelStudio(base_url=self.url, api_key=token, timeout=TIMEOUT_SECONDS)

    def project(self, project_id: int) -> dict[str, Any]:
        """The project's title, label_config, created_at, …"""
        project: dict[str, Any] = self._request("GET", f"api/projects/{project_id}/")
        return project

    def task_page(self, project_id: int, task_id: int) -> str:
        """Where a person opens a task."""
        return f"{self.url}/projects/{project_id}/data?task={task_id}"

    def tasks(self, project_id: int) -> Iterator[dict[str, Any]]:
        """All tasks with data, meta and annotations, page by page."""
        page = 1
        while True:
            params = {"project": project_id, "fields": "all", "page": page, "page_size": PAGE}
            answer = self._request("GET", "api/tasks/", params=params)
            yield from answer["tasks"]
            if page * PAGE >= answer["total"]:
                return
            page += 1

    def create_tasks(self, project_id: int, tasks: list[dict[str, Any]]) -> list[int]:
        """Import tasks (data, meta); returns their ids in the same order."""
        path = f"api/projects/{project_id}/import"
        ids: list[int] = self._request("POST", path, params={"return_task_ids": "true"}, json=tasks)["task_ids"]
        return ids

    def update_task(self, task_id: int, data: dict[str, Any], meta: dict[str, Any]) -> None:
        """Replace a task's data and meta."""
        self._request("PATCH", f"api/tasks/{task_id}/", json={"data": data, "meta": meta})

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
        return f"/data/{stored['file']}"

    def uploads(self, project_id: int) -> list[str]:
        """Addresses of all files uploaded to the project."""
        answer = self._request("GET", f"api/projects/{project_id}/file-uploads", params={"all": "true"})
        return [f"/data/{entry['file']}" for entry in answer]

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """The project's webhooks."""
        hooks: list[dict[str, Any]] = self._request("GET", "api/webhooks/", params={"project": project_id})
        return hooks

    def update_webhook(self, webhook_id: int, **fields: Any) -> None:
        """Change a webhook's headers or actions."""
        self._request("PATCH", f"api/webhooks/{webhook_id}/", json=fields)

    def _request(self, method: str, path: str, **body: Any) -> Any:
        try:
            # The generated methods parse every task into models that lack our meta; this is what they call.
            response = self._sdk._client_wrapper.httpx_client.request(path, method=method, **body)
        except (httpx.HTTPError, ApiError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise LabelStudioError(
                f"Label Studio at {self.url} cannot be reached ({reason}); is it running and LABEL_STUDIO_URL right? "
                "Nothing is lost: run again"
            ) from None
        if response.status_code in (401, 403):
            raise LabelStudioError(f"Label Studio at {self.url} refuses the access token; {TOKEN_REMEDY}")
        if response.status_code == 404 and "/projects/" in path:
            raise LabelStudioError(
                f"Label Studio at {self.url} has no {path.split('api/')[-1]}; check the project's number"
            )
        if response.status_code >= 400:
            detail = " ".join(response.text.split())[:300]
            raise LabelStudioError(
                f"Label Studio at {self.url}: {method} {path} failed ({response.status_code}): {detail}"
            )
        return response.json() if response.content else None
