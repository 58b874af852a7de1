"""The HTTP side: the protocol of a Label Studio ML backend, the status page and the export. Answers in milliseconds.

With BASIC_AUTH_USER and BASIC_AUTH_PASS set every address but `/health` asks for them; Label Studio's webhook, which
sends none, is let in by a secret header that the backend has put on it.
"""

import hmac
import io
import logging
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask, Response, jsonify, render_template, request, send_file
from werkzeug.exceptions import HTTPException

from ml_backend.errors import ConfigError, WeakHARError
from ml_backend.jobs import (
    SECRET_HEADER,
    Jobs,
    Store,
    client_for,
    export_project,
    extra_params,
    project_status,
    project_thresholds,
    reconcile,
    webhook_secret,
)
from ml_backend.labelstudio import parse_label_config
from ml_backend.settings import Settings
from ml_backend.web.protocol import model_version, predictions, project_number, project_version, take_event
from ml_backend.web.report import project_report

log = logging.getLogger(__name__)


def create_app(settings: Settings, store: Store, jobs: Jobs) -> Flask:
    """The WSGI application."""
    app = Flask(__name__)

    @app.before_request
    def authorise() -> Response | None:
        if not settings.auth_required or request.endpoint == "health" or _authorised(settings):
            return None
        return Response("authorisation required\n", 401, {"WWW-Authenticate": 'Basic realm="weakhar"'})

    @app.errorhandler(WeakHARError)
    def known_error(error: WeakHARError) -> tuple[Response, int]:
        return jsonify(error=str(error)), error.status

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="UP", model_class="WeakHAR")

    @app.post("/setup")
    def setup() -> Response:
        body = _body()
        if not body.get("project"):  # label-studio-ml's clients may ask for the version alone
            return jsonify(model_version=model_version(settings.parameters()))
        project_id = _project_id(body["project"])
        extra = extra_params(settings, body.get("extra_params"))
        parse_label_config(body.get("schema") or "")
        fields = {"label_config": body["schema"], "backend_url": request.host_url.rstrip("/")}
        store.set_extra_params(project_id, extra)
        if not settings.label_studio_url:
            fields |= {"hostname": body.get("hostname") or "", "access_token": body.get("access_token") or ""}
        store.save_project(project_id, **fields)
        jobs.request_connect(project_id)
        return jsonify(model_version=project_version(store, settings, store.project(project_id)))

    @app.post("/predict")
    def predict() -> Response:
        body = _body()
        project_id = _project_id(body.get("project"))
        return jsonify(results=predictions(store, settings, project_id, body.get("tasks") or []))

    @app.post("/webhook")
    def webhook() -> tuple[Response, int]:
        body = _body()
        project_id = _project_id((body.get("project") or {}).get("id"))
        store.project(project_id)
        return jsonify(take_event(store, jobs, project_id, body.get("action", ""), body)), 201

    @app.post("/train")
    def train() -> tuple[Response, int]:
        project_id = _project_id(_body().get("project"))
        store.project(project_id)
        return jsonify(take_event(store, jobs, project_id, "START_TRAINING", {})), 201

    @app.route("/versions", methods=["GET", "POST"])
    def versions() -> Response:
        body = request.get_json(silent=True) or {}
        known = {project.id: project for project in store.projects()}
        project = known.get(_project_id(body["project"])) if body.get("project") else None
        version = project_version(store, settings, project) if project else model_version(settings.parameters())
        return jsonify(versions=[version])

    @app.get("/")
    def status_page() -> str:
        reports = [project_report(store, settings, project) for project in store.projects()]
        busy = any(report.status["active"] for report in reports)
        return render_template("status.html", reports=reports, standalone=False, refresh=busy, table=None)

    @app.get("/status/<int:project_id>")
    def status(project_id: int) -> Response:
        return jsonify(project_status(store, settings, store.project(project_id)))

    @app.get("/report/<int:project_id>")
    def report(project_id: int) -> str:
        """One project's page to keep as a file: it loads nothing and asks for nothing."""
        project = store.project(project_id)
        table = project_thresholds(store, settings, project_id)
        reports = [project_report(store, settings, project)]
        return render_template("status.html", reports=reports, standalone=True, refresh=False, table=table)

    @app.get("/thresholds/<int:project_id>")
    def thresholds(project_id: int) -> Response:
        return jsonify(project_thresholds(store, settings, project_id))

    @app.get("/export/<int:project_id>")
    def export(project_id: int) -> Response:
        project = store.project(project_id)
        reconcile(store, client_for(settings, project), project_id)
        with TemporaryDirectory(prefix="weakhar-export-") as folder:
            target = Path(folder) / "export"
            threshold, file_format = request.args.get("threshold"), request.args.get("format", "parquet")
            export_project(store, settings, project_id, target, threshold, file_format)
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
                for file in sorted(path for path in target.rglob("*") if path.is_file()):
                    bundle.write(file, file.relative_to(target))
        archive.seek(0)
        name = f"weakhar-project-{project_id}.zip"
        return send_file(archive, mimetype="application/zip", as_attachment=True, download_name=name)

    return app


def _authorised(settings: Settings) -> bool:
    secret = request.headers.get(SECRET_HEADER)
    if secret and request.endpoint == "webhook":
        return hmac.compare_digest(secret.encode(), webhook_secret(settings).encode())
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    user = hmac.compare_digest((given.username or "").encode(), settings.basic_auth_user.encode())
    return user and hmac.compare_digest((given.password or "").encode(), settings.basic_auth_pass.encode())


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise ConfigError(f"{request.path}: expected a JSON object as body")
    return body


def _project_id(project: Any) -> int:
    try:
        return project_number(project["id"] if isinstance(project, dict) else project)
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f'{request.path}: field "project" must name a project, got {project!r}') from None
