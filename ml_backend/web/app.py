"""The HTTP side: the protocol of a Label Studio ML backend, the status page and the export. Answers in milliseconds.

Who is let in is in `doors.py`, what a request may hold in `bodies.py`.
"""

import logging
import shutil
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, jsonify, redirect, render_template, request, send_file
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from ml_backend.clusters import participants_of
from ml_backend.errors import ConfigError, WeakHARError
from ml_backend.jobs import (
    CLIPS,
    MOST_CLIPS,
    Export,
    Jobs,
    LockedError,
    Project,
    Store,
    Wish,
    Wishes,
    begin_audit,
    client_for,
    clusters_folder,
    decide_meaning,
    end_audit,
    extra_params,
    job_status,
    project_answers,
    project_audit,
    project_counts,
    project_parameters,
    project_stamp,
    project_standing,
    project_status,
    project_thresholds,
    reconcile,
    webhook_secret,
)
from ml_backend.labelstudio import ANNOTATED, DELETED, Client, annotations_of, parse_label_config, plain
from ml_backend.settings import Settings
from ml_backend.storage import look_again, reading
from ml_backend.web import bodies, doors
from ml_backend.web.pages import Pages
from ml_backend.web.protocol import model_version, predictions, project_version, take_event, take_review_event
from ml_backend.web.refused import Refusals
from ml_backend.web.report import Part, last_page, project_report

log = logging.getLogger(__name__)

START_TRAINING = "START_TRAINING"
SHORTEST_TITLE, LONGEST_TITLE = 3, 50
LEAST_FREE = 64 * 2**20
"""Bytes; a job that writes vectors and clips needs more."""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; form-action 'self'; "
    "script-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Pages load and run nothing but our own script, and cannot be shown in another site's frame."""


def create_app(settings: Settings, store: Store, jobs: Jobs) -> Flask:
    """The WSGI application."""
    app = Flask(__name__)
    app.add_template_filter(clock)
    app.config["MAX_CONTENT_LENGTH"] = bodies.MOST_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = bodies.MOST_BYTES

    @app.before_request
    def enter() -> Response | None:
        if any(number > bodies.MOST for number in (request.view_args or {}).values() if isinstance(number, int)):
            raise ConfigError(f"{request.path}: no project has that number")
        if not all(bodies.is_plain_text(text) for pair in request.args.items(multi=True) for text in pair):
            raise ConfigError(f"{request.path}: holds text with a zero byte, or that is no Unicode")
        refused = doors.refusal(settings)
        if refused is None:
            request.get_data()  # all of it, while there is still a clock on it
            doors.has_arrived()
        return refused

    refusals = Refusals(settings.model_dir)

    @app.after_request
    def harden(response: Response) -> Response:
        if request.endpoint == "setup" and response.status_code in (200, 400, 401, 403):
            with suppress(OSError):  # a full disk must not keep anybody out
                refusals.note(request.remote_addr or "", _why_refused(response))
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    @app.errorhandler(WeakHARError)
    def known_error(error: WeakHARError) -> tuple[Response, int]:
        log.warning("%s refused (%s): %s", request.path, error.status, " ".join(str(error).split()))
        return jsonify(error=str(error)), error.status

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="UP", model_class="WeakHAR")

    @app.get("/metrics")
    def metrics() -> Response:
        return jsonify({})

    @app.post("/setup")
    def setup() -> Response:
        body = bodies.body_as(bodies.Setup)
        if body.project is None:  # label-studio-ml's clients may ask for the version alone
            return jsonify(model_version=model_version(settings.parameters()))
        extra = extra_params(settings, body.extra_params)
        parse_label_config(body.label_config)
        fields = {"label_config": body.label_config, "backend_url": request.host_url.rstrip("/")}
        if body.hostname and not body.hostname.strip().startswith(("http://", "https://")):
            raise ConfigError(f'{request.path}: field "hostname" is no address')
        where = {"hostname": (body.hostname or "").strip()}
        fields |= where if settings.label_studio_url else _address(store, body)
        store.save_project(body.project, **fields)
        store.set_extra_params(body.project, extra)
        jobs.request_connect(body.project)
        return jsonify(model_version=project_version(store, settings, store.project(body.project)))

    @app.post("/predict")
    def predict() -> Response:
        body = bodies.body_as(bodies.Predict)
        return jsonify(results=predictions(store, settings, body.project, body.tasks))

    @app.post("/webhook")
    def webhook() -> tuple[AnyResponse, int]:
        known = not settings.auth_required or doors.has_password(settings)
        try:
            payload = bodies.json_body()
            event = bodies.checked(bodies.Event, payload)
            project = store.told_by(event.project)
        except ConfigError:
            if known:
                raise
            return doors.unauthorised(), 401
        if not known and not doors.has_secret(webhook_secret(store, project.id)):
            return doors.unauthorised(), 401
        if not known and event.action == START_TRAINING:
            return doors.unauthorised(), 401
        annotations = annotations_of(payload)
        if event.action in (*ANNOTATED, DELETED) and not annotations:
            raise ConfigError(f'{request.path}: field "annotation" is missing')
        for annotation in annotations:
            bodies.checked(bodies.Annotation if event.action == DELETED else bodies.Answered, annotation)
        try:
            if event.project != project.id:
                return _done(take_review_event(store, jobs, project, event.action, payload))
            return _done(take_event(store, jobs, project, event.action, payload))
        except LockedError:
            jobs.request_sync(project.id)  # Label Studio does not send it again
            raise

    @app.post("/train")
    def train() -> tuple[Response, int]:
        project = store.project(_named(bodies.body_as(bodies.Project)))
        return _done(take_event(store, jobs, project, START_TRAINING, {}))

    @app.route("/versions", methods=["GET", "POST"])
    def versions() -> Response:
        asked = bodies.body_as(bodies.Project).project if request.get_data() else None
        known = {project.id: project for project in store.projects()}
        project = known.get(asked) if asked is not None else None
        version = project_version(store, settings, project) if project else model_version(settings.parameters())
        return jsonify(versions=[version])

    def made(project: Project, part: Part, standalone: bool = False) -> str:
        client = _label_studio(settings, project)
        return render_template(
            "project.html",
            project=project,
            report=project_report(store, settings, project, part),
            standalone=standalone,
            project_page=client.project_page(project.id) if client else "#",
            task_page=partial(client.task_page, project.id) if client else lambda _task: "#",
            review_page=client.project_page(project.review_project) if client and project.review_project else "",
        )

    def made_aside(project: Project, part: Part) -> str:
        with app.app_context():
            return made(project, part)

    def summary(project: Project, _part: Part) -> tuple[str, bool]:
        return render_template("summary.html", project=project, counts=project_counts(store, project.id)), True

    pages = Pages(made_aside, lambda project: project_stamp(store, settings, project))
    one_at_a_time = threading.Lock()
    wishes, can_connect = Wishes(settings), bool(settings.label_studio_url and settings.label_studio_api_key)

    @app.get("/")
    def status_page() -> str | Response:
        if request.accept_mimetypes.best_match(("text/html", "application/json")) == "application/json":
            return health()  # as other ML backends answer here
        with one_at_a_time:  # eight browsers that look at once must not keep a webhook waiting
            projects = store.projects()
            several = "project" not in request.args and len(projects) > 1
            if "project" in request.args:
                projects = [store.project(_number(request.args["project"]))]
            summed = summary if several else pages.page
            known = [] if several else [participants_of(clusters_folder(settings, one.id)) for one in projects]
            last = last_page(max(map(len, known), default=0))
            number = max(1, min(_number(request.args.get("page", "1"), "page"), last))
            part = Part(number, request.args.get("find", "").strip()[:100])
            shown = [(project, job_status(store, project), summed(project, part)) for project in projects]
            sections = [
                (project, _with_next_step(settings, project, status), page) for project, status, (page, _) in shown
            ]
            busy = any(status["active"] or not fresh for _, status, (_, fresh) in shown)
            busy = busy or any(one["state"] == "running" for one in wishes.listed())
            return render_template(
                "status.html",
                sections=sections,
                several=several,
                one="project" in request.args,
                standalone=False,
                refresh=busy,
                table=None,
                disk=_disk(settings),
                refused=refusals.listed(),
                wishes=wishes.listed(),
                folders=_folders(settings) if can_connect and "project" not in request.args else None,
                address=request.url_root.rstrip("/"),
            )

    @app.get("/status/<int:project_id>")
    def status(project_id: int) -> Response:
        project = store.project(project_id)
        return jsonify({**project_status(store, settings, project), **_target(store, settings, project)})

    @app.get("/report/<int:project_id>")
    def report(project_id: int) -> str:
        """One project's page to keep as a file: it loads nothing and asks for nothing."""
        project = store.project(project_id)
        table = project_thresholds(store, settings, project_id)
        sections = [(project, job_status(store, project), made(project, Part(0), standalone=True))]
        return render_template("status.html", sections=sections, standalone=True, refresh=False, table=table)

    @app.post("/connect")
    def connect() -> AnyResponse:
        """Bring a study into Label Studio; a form of the status page."""
        _from_own_page()
        if not can_connect:
            raise ConfigError("set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY where weakhar is started")
        jobs.request_study(_wished())
        return redirect(".")

    @app.post("/retry/<int:project_id>")
    def retry(project_id: int) -> AnyResponse:
        """Start the job again; a form of the status page."""
        _from_own_page()
        jobs.start(store.project(project_id).id)
        return redirect(_page_of(project_id))

    @app.post("/cancel/<int:project_id>")
    def cancel(project_id: int) -> AnyResponse:
        """End the project's job; a form of the status page."""
        _from_own_page()
        store.project(project_id)
        store.cancel_job(project_id)
        return redirect(_page_of(project_id))

    @app.post("/meanings/<int:project_id>")
    def meanings(project_id: int) -> AnyResponse:
        """Say what a choice means that is no class; a form of the status page."""
        _from_own_page()
        choice, means = (plain(request.form.get(name, "")) for name in ("choice", "means"))
        if not choice or not all(map(bodies.is_plain_text, (choice, means))):
            raise ConfigError(f'{request.path}: field "choice" is missing')
        decide_meaning(store, project_id, choice, means)
        return redirect(_page_of(project_id))

    @app.post("/audit/<int:project_id>")
    def audit(project_id: int) -> AnyResponse:
        """Draw clips to see how right the labels are; a form of the status page."""
        _from_own_page()
        clips = _number(_wish("clips") or str(CLIPS), "clips")
        if not 0 < clips <= MOST_CLIPS:
            raise ConfigError(f"{request.path}: clips: {clips} are not 1 to {MOST_CLIPS}")
        begin_audit(store, settings, project_id, clips)
        jobs.request_sync(project_id)
        return redirect(_page_of(project_id))

    @app.post("/audit/<int:project_id>/close")
    def close_audit(project_id: int) -> AnyResponse:
        """End the audit; a form of the status page."""
        _from_own_page()
        end_audit(store, settings, project_id)
        return redirect(f"../{_page_of(project_id)}")

    @app.post("/review/<int:project_id>")
    def review(project_id: int) -> AnyResponse:
        """Make recordings ready to be gone through in Label Studio; a form of the status page."""
        _from_own_page()
        jobs.request_review(store.project(project_id).id)
        return redirect(_page_of(project_id))

    @app.get("/thresholds/<int:project_id>")
    def thresholds(project_id: int) -> Response:
        return jsonify(project_thresholds(store, settings, project_id))

    @app.get("/export/<int:project_id>")
    def export(project_id: int) -> AnyResponse:
        """The dataset as one file; of a project that takes long, where `POST` has got to."""
        wanted = Export.of(settings, store.project(project_id), _wish("threshold"), _wish("format"))
        if not wanted.takes_long(settings):
            reconcile(store, client_for(settings, store.project(project_id)), project_id)
            return _file(wanted.write(store, settings), project_id)
        state = wanted.state()
        if state["state"] == "done":
            return _file(wanted.archive, project_id)
        if "text/html" in request.headers.get("Accept", "") and state["state"] != "not started":
            page = render_template("export.html", state=state, project=project_id, active=state["state"] == "running")
            return Response(page, 200 if state["state"] == "failed" else 202)
        answer = jsonify(**state, start=f"POST {request.path}")
        answer.status_code = 202
        return answer

    @app.post("/export/<int:project_id>")
    def start_export(project_id: int) -> AnyResponse:
        """Start an export, or find the one that is at work: 202, and where to look."""
        form = bool(request.form)
        if form:
            _from_own_page()
        wanted = Export.of(settings, store.project(project_id), _wish("threshold"), _wish("format"))
        query = urlencode({"threshold": wanted.threshold, "format": wanted.file_format})
        if wanted.takes_long(settings):
            jobs.request_export(wanted)
        if form:
            return redirect(f"{project_id}?{query}", 303)
        answer = jsonify(**wanted.state(), location=f"{request.path}?{query}")
        answer.status_code = 202
        return answer

    @app.post("/seen/<int:project_id>")
    def seen(project_id: int) -> AnyResponse:
        """The news of new classes were read; a form of the status page."""
        _from_own_page()
        store.classes_are_known(project_id)
        return redirect(_page_of(project_id))

    return app


def _done(result: dict[str, Any]) -> tuple[Response, int]:
    """The answer to an event, in the shape of other ML backends: a job of that name Label Studio would ask for again
    and again."""
    return jsonify(result=result, status="ok"), 201


def _number(text: str, what: str = "project") -> int:
    if not (text.isdecimal() and len(text) < 19):
        raise ConfigError(f"{request.path}: {what}: '{text}' is no number of one")
    return int(text)


def _page_of(project_id: int) -> str:
    """A project's page, as seen from a form's address, also under a proxy's sub-path."""
    return f"../?project={project_id}"


def _wish(name: str) -> str | None:
    """What a form or an address asks for."""
    value = request.form.get(name, request.args.get(name))
    if value is not None and not bodies.is_plain_text(value):
        raise ConfigError(f"{request.path}: holds text with a zero byte, or that is no Unicode")
    return value


def _wished() -> Wish:
    """What the form for a new study asks for; what is wrong with its recordings a worker finds out."""
    title, dataset, classes, annotators, backend = (
        (_wish(name) or "").strip() for name in ("title", "dataset", "classes", "annotators", "backend")
    )
    for name, value in (("title", title), ("dataset", dataset), ("backend", backend)):
        if not value:
            raise ConfigError(f'{request.path}: field "{name}" is empty')
    if not SHORTEST_TITLE <= len(title) <= LONGEST_TITLE:
        raise ConfigError(f"{request.path}: title: Label Studio takes {SHORTEST_TITLE} to {LONGEST_TITLE} letters")
    if not backend.startswith(("http://", "https://")):
        raise ConfigError(f"{request.path}: backend: '{backend}' is no address")
    own = _wish("own_labels") is not None
    return Wish(
        title=title,
        dataset=dataset,
        backend=backend,
        classes=() if own or not classes else tuple(classes.split(",")),
        classes_from=dataset if own else "",
        annotators=_number(annotators, "annotators") or None if annotators else None,
    )


def _target(store: Store, settings: Settings, project: Project) -> dict[str, Any]:
    """How far a project is from its target, where it has one."""
    try:
        if project_parameters(settings, project).target is None:
            return {}
        audit = project_audit(store, settings, project.id, project_answers(store, settings, project.id))
        standing = project_standing(store, settings, project, audit)
    except ConfigError:  # a labelling config that is no good yet
        return {}
    return {"target": standing.as_dict()} if standing is not None else {}


def _folders(settings: Settings) -> list[str]:
    """Folders in which recordings may be."""
    try:
        look_again(settings.data_dir)
        with reading(settings.data_dir):
            return sorted(one.name for one in settings.data_dir.iterdir() if one.is_dir() and one.name[0] != ".")
    except (OSError, WeakHARError):
        return []


def _with_next_step(settings: Settings, project: Project, status: dict[str, Any]) -> dict[str, Any]:
    """A job's status; of one that was never started with what to do, or what would be in its way."""
    if status["state"] != "not started":
        return status
    try:
        folder = settings.dataset_folder(project_parameters(settings, project))
        message = "press Start Training in Label Studio"
        look_again(folder)
        if not folder.is_dir():
            message = f"{folder}: no such folder; correct Extra params"
    except WeakHARError as error:
        message = str(error)
    return {**status, "message": message}


def _why_refused(response: Response) -> str | None:
    """Why a connection was refused; None where it was not."""
    if response.status_code == 200:
        return None
    if response.status_code == 401:
        return (
            "user and password are missing or wrong; write BASIC_AUTH_USER and BASIC_AUTH_PASS into the model's form"
        )
    return str((response.get_json(silent=True) or {}).get("error") or response.get_data(as_text=True).strip())


def _file(path: Path, project_id: int) -> Response:
    """The file, read while it is sent."""
    name = f"weakhar-project-{project_id}.zip"
    return send_file(path, mimetype="application/zip", as_attachment=True, download_name=name)


def _label_studio(settings: Settings, project: Project) -> Client | None:
    """A project's Label Studio, as far as it is known: for the addresses of its pages."""
    try:
        return client_for(settings, project)
    except WeakHARError:
        return None


def clock(seconds: float) -> str:
    """Such as 0:07.5 or 1:02:03.0: a time in a recording, as players show it."""
    minutes, tenths = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{tenths / 10:04.1f}" if hours else f"{minutes}:{tenths / 10:04.1f}"


def _disk(settings: Settings) -> str:
    """What is to be said of the disk; also where a full one keeps a job's state from being written."""
    free = shutil.disk_usage(settings.model_dir).free
    return f"{settings.model_dir}: the disk is full; free some space, nothing is lost" if free < LEAST_FREE else ""


def _from_own_page() -> None:
    if not doors.from_own_page():
        raise ConfigError(f"{request.path}: comes from another site's page; use the status page")


def _named(body: bodies.Project) -> int:
    if body.project is None:
        raise ConfigError(f'{request.path}: field "project" must name a project')
    return body.project


def _address(store: Store, body: bodies.Setup) -> dict[str, str]:
    """Where a project's Label Studio is, which whoever can reach us must not change."""
    known = next((project.hostname for project in store.projects() if project.id == body.project), "")
    hostname = (body.hostname or "").strip().rstrip("/")
    if known and hostname and known.rstrip("/") != hostname:
        raise ConfigError(
            f"{request.path}: project {body.project} belongs to another Label Studio; if that moved, set "
            "LABEL_STUDIO_URL"
        )
    return {"hostname": hostname or known, "access_token": (body.access_token or "").strip()}
