"""What is not meant for us: requests from elsewhere, too large, too deep, half sent; files that name others."""

import json
import os
import pickle
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import httpx
import jwt
import psutil
import pytest
import yaml
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as effort

from benchmarks.requests import CONFIG, REQUESTS, Asked, is_fault
from ml_backend import model
from ml_backend.embeddings import embedders
from ml_backend.embeddings.registry import Weights, load_backbone
from ml_backend.errors import ConfigError, LabelStudioError, RecordingError, WeakHARError
from ml_backend.files import private_file, private_folder
from ml_backend.jobs import Jobs, Store, checked_parameters, open_store, webhook_secret
from ml_backend.labelstudio import Client, class_colours
from ml_backend.labelstudio.client import AwayError
from ml_backend.recordings import find_recordings, probe
from ml_backend.sample import free_port, wait_for
from ml_backend.settings import Parameters, Settings, load_settings
from ml_backend.web import create_app
from ml_backend.web.app import clock

ELSEWHERE = {"REMOTE_ADDR": "10.0.0.7"}


def client_of(settings: Settings) -> tuple[FlaskClient, Store, Jobs]:
    store = open_store(settings.database, settings.model_dir)
    store.save_project(1, label_config=CONFIG)
    jobs = Jobs(settings, store)
    return create_app(settings, store, jobs).test_client(), store, jobs


@pytest.fixture
def web(settings: Settings) -> FlaskClient:
    return client_of(settings)[0]


def with_auth(settings: Settings) -> Settings:
    return settings.model_copy(update={"basic_auth_user": "u", "basic_auth_pass": "p"})


def test_other_machines_are_refused_until_there_is_a_password(settings: Settings) -> None:
    web, _, _ = client_of(settings)
    assert web.get("/").status_code == 200
    assert web.get("/", environ_base=ELSEWHERE).status_code == 403
    assert web.get("/health", environ_base=ELSEWHERE).status_code == 200
    assert web.get("/", headers={"X-Forwarded-For": "10.0.0.7"}).status_code == 403  # through a proxy
    insecure, _, _ = client_of(settings.model_copy(update={"insecure": True}))
    assert insecure.get("/", environ_base=ELSEWHERE).status_code == 200
    closed, _, _ = client_of(with_auth(settings))
    assert closed.get("/", environ_base=ELSEWHERE).status_code == 401
    assert closed.get("/").status_code == 401
    assert closed.get("/", environ_base=ELSEWHERE, auth=("u", "p")).status_code == 200
    assert closed.get("/", auth=("u", "q")).status_code == 401


def test_a_webhooks_secret_opens_one_door_of_one_project_and_starts_nothing(settings: Settings) -> None:
    web, store, _ = client_of(with_auth(settings))
    store.save_project(2, label_config=CONFIG)
    own, other = webhook_secret(store, 1), webhook_secret(store, 2)
    assert own != other
    assert own == webhook_secret(store, 1)

    def post(path: str, secret: str, action: str = "TASKS_DELETED", project: int = 1) -> int:
        body = {"project": {"id": project}, "action": action, "tasks": []}
        return web.post(path, json=body, headers={"X-Weakhar-Secret": secret}).status_code

    assert post("/webhook", own) == 201
    assert post("/webhook", other) == 401
    assert post("/webhook", own, project=2) == 401
    assert post("/webhook", own, "START_TRAINING") == 401
    assert post("/train", own) == 401
    assert store.job(1) is None


def test_forms_of_other_sites_are_refused(web: FlaskClient) -> None:
    for path, form in (
        ("/cancel/1", {}),
        ("/retry/1", {}),
        ("/meanings/1", {"choice": "squats", "means": "walking"}),
    ):
        assert web.post(path, data=form, headers={"Origin": "http://evil.example"}).status_code == 400
        assert web.post(path, data=form, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 400
        assert web.post(path, data=form, headers={"Origin": "http://localhost"}).status_code == 302
    simple = web.post("/train", data='{"project": 1}', content_type="text/plain")  # what a form may send anywhere
    assert simple.status_code == 400


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[" * 100_000, "expected a JSON object"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested deeper than 64 levels"),
        ('{"project": 99999999999999999999}', "beyond"),
        ('{"project": {"id": [1]}}', 'field "project"'),
        ('{"project": {"id": 1}, "action": "x\\u0000"}', "zero byte"),
        ('{"project": {"id": 1}, "action": "\\ud800"}', "no Unicode"),
        ('{"project": {"id": 1}, "action": 7}', 'field "action"'),
        ('{"project": {"id": 1}, "action": "ANNOTATION_CREATED"}', 'field "annotation" is missing'),
        ('{"project": {"id": 1}, "action": "ANNOTATION_CREATED", "annotation": {"id": 1}}', 'field "task"'),
        (
            '{"project": 1, "action": "ANNOTATION_CREATED", "annotation": {"id": 1, "task": 1, "updated_at": "x"}}',
            'field "updated_at"',
        ),
        ('{"project": NaN}', "expected a JSON object"),
        ('"text"', "expected a JSON object"),
    ],
)
def test_bodies_that_cannot_be_meant_are_refused_by_field(web: FlaskClient, body: str, reason: str) -> None:
    answer = web.post("/webhook", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert reason in answer.get_json()["error"]


def test_annotations_that_are_no_list_are_not_read_past_the_one_that_was_checked(web: FlaskClient) -> None:
    body = {"project": {"id": 1}, "action": "ANNOTATION_CREATED", "annotation": {"id": 1, "task": 1}}
    for several in ({"a": 1}, "text", 7):
        assert web.post("/webhook", json={**body, "annotations": several}).status_code == 201
    assert web.post("/webhook", json={**body, "annotations": [None]}).status_code == 400


def test_a_body_that_is_too_large_is_refused(web: FlaskClient) -> None:
    answer = web.post("/setup", data=b" " * (11 * 2**20), content_type="application/json")
    assert answer.status_code == 413


@pytest.fixture(scope="module")
def asked_anything(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """A server whose store lives as long as all requests."""
    return Asked(tmp_path_factory.mktemp("asked"))


@effort(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(REQUESTS)
def test_no_request_is_a_fault(asked_anything: Asked, asked: Any) -> None:
    assert not is_fault(asked, asked_anything.status(asked)), asked


def test_a_project_is_not_moved_to_another_label_studio(web: FlaskClient) -> None:
    body = {"project": 1, "schema": CONFIG, "hostname": "http://ls:8080", "access_token": "a"}
    assert web.post("/setup", json=body).status_code == 200
    answer = web.post("/setup", json={**body, "hostname": "http://evil.example"})
    assert answer.status_code == 400
    assert "belongs to another Label Studio" in answer.get_json()["error"]
    assert web.post("/setup", json={**body, "hostname": "javascript:alert(1)"}).status_code == 400
    assert web.post("/setup", json={**body, "access_token": "b"}).status_code == 200


class Page(BaseHTTPRequestHandler):
    """A login page, with status 200, wherever one asks."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>secret of an inner server</html>")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_a_web_page_in_place_of_an_answer_is_named_and_not_passed_on() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(LabelStudioError, match="with a web page; is LABEL_STUDIO_URL its address") as error:
            Client(f"http://127.0.0.1:{server.server_port}", "a" * 40).project(1)
        assert "secret" not in str(error.value)
    finally:
        server.shutdown()
        server.server_close()


class Exchange(Page):
    """Where a personal access token is exchanged: answers as it is told to, and notes what was asked."""

    answer: tuple[int, str, bytes]
    asked: list[str]

    def do_POST(self) -> None:
        self.asked.append(self.path)
        status, kind, body = self.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        ((401, "application/json", b'{"detail": "Token is invalid"}'), LabelStudioError, "refuses the access token"),
        ((502, "text/html", b"<html>secret"), AwayError, "exchange of the access token failed .502.: a web page"),
        ((503, "application/json", b'{"detail": "busy"}'), AwayError, "exchange of the access token failed .503."),
        ((404, "text/html", b"<html>secret"), LabelStudioError, "as any Label Studio does; is LABEL_STUDIO_URL its"),
        ((404, "application/json", b"{}"), LabelStudioError, "as any Label Studio does; is LABEL_STUDIO_URL its"),
        ((200, "text/html", b"<html>secret"), LabelStudioError, "with a web page; is LABEL_STUDIO_URL its address"),
    ],
)
def test_a_personal_access_token_is_exchanged_below_a_sub_path_and_a_busy_server_is_no_wrong_token(
    answer: tuple[int, str, bytes], error: type[LabelStudioError], told: str
) -> None:
    token = jwt.encode({"token_type": "refresh", "exp": 2**33}, "k" * 32)
    handler = type("Handler", (Exchange,), {"answer": answer, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(error, match=told) as raised:
            Client(f"http://127.0.0.1:{server.server_port}/ls", token).project(1)
    finally:
        server.shutdown()
        server.server_close()
    assert handler.asked == ["/ls/api/token/refresh/"]  # type: ignore[attr-defined]
    assert isinstance(raised.value, AwayError) == (error is AwayError)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"BASIC_AUTH_USER": "u"}, "BASIC_AUTH_USER is set and BASIC_AUTH_PASS is not"),
        ({"BASIC_AUTH_PASS": "geheim"}, "BASIC_AUTH_PASS is set and BASIC_AUTH_USER is not"),
        ({"LABEL_STUDIO_URL": "http://me:geheim@host:8080"}, "holds a user or password"),
    ],
)
def test_settings_that_leave_a_door_open_are_refused_without_repeating_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], reason: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=reason) as error:
        load_settings()
    assert "geheim" not in str(error.value)


def test_secrets_are_stripped_and_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", " geheim\r\n")
    assert load_settings().label_studio_api_key == "geheim"
    with pytest.raises(LabelStudioError) as error:
        Client("http://127.0.0.1:9", "gehe im\x01").project(1)
    assert "gehe" not in str(error.value)


def test_files_with_secrets_are_private(settings: Settings) -> None:
    client_of(settings)
    private_folder(settings.model_dir)
    assert stat.S_IMODE(settings.model_dir.stat().st_mode) == 0o700
    for name in ("weakhar.db", "queue.db"):
        assert stat.S_IMODE((settings.model_dir / name).stat().st_mode) == 0o600
    loose = settings.model_dir / "loose"
    loose.write_text("x")
    loose.chmod(0o644)
    private_file(loose)
    assert stat.S_IMODE(loose.stat().st_mode) == 0o600


def test_a_server_reads_nothing_outside_its_folders(dataset: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    source = next(dataset.glob("*/*.mp4"))
    for suffix in (".mp4", ".csv"):
        (outside / f"x{suffix}").write_bytes(source.with_suffix(suffix).read_bytes())
        (source.parent / f"linked{suffix}").symlink_to(outside / f"x{suffix}")
    roots = [dataset.parent]
    found, problems = find_recordings(dataset, Parameters(), roots)
    assert "linked" not in {recording.name for recording in found}
    assert any("lies outside WEAKHAR_DATA_DIR" in problem.message for problem in problems)
    assert "linked" in {recording.name for recording in find_recordings(dataset, Parameters())[0]}
    assert "linked" in {one.name for one in find_recordings(dataset, Parameters(), [*roots, outside])[0]}
    listed = [{"participant": "p", "video": "../../elsewhere/x.mp4", "imu": "/etc/passwd"}]
    (dataset / "dataset.yaml").write_text(yaml.safe_dump({"recordings": listed}))
    found, problems = find_recordings(dataset, Parameters(), roots)
    assert found == []
    assert "lies outside WEAKHAR_DATA_DIR" in problems[0].message


def test_a_video_file_names_no_other_file_or_address(dataset: Path, tmp_path: Path) -> None:
    source = next(dataset.glob("*/*.mp4"))
    scripts = {
        "concat.mp4": f"ffconcat version 1.0\nfile '{source}'\n",
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{source}\n#EXT-X-ENDLIST\n",
        "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(RecordingError, match="cannot be opened as a video"):
            probe(tmp_path / name)


def test_pictures_that_fill_the_memory_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16_384, 4_112, "yuvj420p"
        output.mux(stream.encode(av.VideoFrame(16_384, 4_112, "yuvj420p")))
        output.mux(stream.encode(None))
    with pytest.raises(RecordingError, match="larger than 8192"):
        probe(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nrecordings: [*b, *b]\n", "aliases"),
        ("recordings: " + "[" * 200 + "]" * 200, "nested deeper"),
        ("recordings: " + "[" * 100_000, "not valid YAML"),
    ],
)
def test_yaml_that_fills_memory_or_stack_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "dataset.yaml").write_text(text)
    _, problems = find_recordings(tmp_path, Parameters())
    assert reason in problems[0].message


def test_weights_that_changed_under_their_name_are_refused(settings: Settings) -> None:
    known = settings.model_dir / "weights.json"
    load_backbone("efficientnet_lite0", Weights(known=known))
    load_backbone("efficientnet_lite0", Weights(known=known))
    hashes = json.loads(known.read_text())
    assert len(hashes) == 1
    known.write_text(json.dumps(dict.fromkeys(hashes, "0" * 32)))
    with pytest.raises(ConfigError, match="its weights are not those that were used before"):
        embedders(settings, checked_parameters(settings))[0].load()


def test_a_message_that_nobody_signed_is_not_unpacked(settings: Settings, store: Store, tmp_path: Path) -> None:
    class Opens:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "opened",)

    jobs = Jobs(settings, store)
    jobs.huey.storage.enqueue(pickle.dumps(Opens()))
    with suppress(ValueError):
        jobs.huey.dequeue()
    assert not (tmp_path / "opened").exists()
    assert jobs.start(7)
    assert jobs.huey.dequeue().args == (7,)


@pytest.fixture(params=[False, True])
def served(settings: Settings, request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """gunicorn as `weakhar serve` starts it, with four threads, without and with a password."""
    with socket.socket() as probe_:
        probe_.bind(("127.0.0.1", 0))
        port = probe_.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--config", "python:ml_backend.web.server", "--threads", "4"]
    command += ["--bind", f"127.0.0.1:{port}", "ml_backend._wsgi:app"]
    secrets = {"BASIC_AUTH_USER": "u", "BASIC_AUTH_PASS": "p"} if request.param else {}
    process = subprocess.Popen(command, env={**os.environ, "MODEL_DIR": str(settings.model_dir), **secrets})
    try:
        for _ in range(300):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait()


@pytest.mark.processes
def test_half_sent_requests_block_nobody_for_long(served: tuple[str, int]) -> None:
    def health(timeout: float) -> bool:
        with suppress(OSError), socket.create_connection(served, timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b"200" in connection.recv(64)
        return False

    assert health(120)
    held = []
    for number in range(12):
        connection = socket.create_connection(served)
        half = b"POST /setup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n"
        connection.sendall(half if number % 2 else half + b"\r\n{")
        held.append(connection)
    assert health(180)  # without a clock on each it would wait for ever
    for connection in held:
        connection.close()


def test_the_page_says_why_a_connection_was_refused_until_it_is_taken(settings: Settings) -> None:
    web, _, _ = client_of(settings)
    body = {"project": "7.1", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "t"}
    assert web.post("/setup", json={**body, "extra_params": '{"komponents": 5}'}).status_code == 400
    page = web.get("/").text
    assert "komponents" in page
    assert "from 127.0.0.1" in page
    assert web.post("/setup", json={**body, "schema": "<View/>"}).status_code == 400
    page = web.get("/").text
    assert "komponents" not in page
    assert "shows no clip" in page
    assert web.post("/setup", json=body).status_code == 200
    assert "refused" not in web.get("/").text


def test_a_wish_for_a_study_is_checked_and_stands_on_the_page_until_it_is_fulfilled(settings: Settings) -> None:
    web, _, _ = client_of(settings)
    form = {"title": "My study", "dataset": "study", "backend": "http://localhost:9090", "classes": "a,b"}
    answer = web.post("/connect", data=form)
    assert "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in answer.get_json()["error"]
    assert "<form" not in web.get("/").text.split("<section")[1]
    known = {"label_studio_url": "http://localhost:8080", "label_studio_api_key": "t" * 40}
    web, _, jobs = client_of(settings.model_copy(update=known))
    for name, wrong in (
        *((name, "") for name in ("title", "dataset", "backend")),
        ("title", "ab"),
        ("title", "a" * 51),
        ("backend", "localhost:9090"),
        ("annotators", "two"),
        ("classes", "a\0b"),
    ):
        answer = web.post("/connect", data={**form, name: wrong})
        assert answer.status_code == 400, (name, wrong)
    assert "My study" not in web.get("/").text
    assert web.post("/connect", data=form, headers={"Origin": "http://elsewhere"}).status_code == 400
    assert web.post("/connect", data=form).status_code == 302
    assert "<b>My study</b>: is being connected" in web.get("/").text
    jobs.fulfil({**form, "classes": ("a", "b")})
    page = web.get("/").text
    assert "study: no such folder" in page
    assert 'class="study"' in page


def test_what_is_kept_of_refused_connections_is_bounded(settings: Settings) -> None:
    web, _, _ = client_of(settings)
    body = {"project": "7.1", "schema": CONFIG, "extra_params": json.dumps({"k" * 100_000: 5})}
    for number in range(30):
        here = {"REMOTE_ADDR": f"127.0.0.{number + 1}"}
        assert web.post("/setup", json=body, environ_base=here).status_code == 400
    assert len(web.get("/").text) < 20_000
    assert "from 127.0.0.30:" in web.get("/").text  # the last one is there, the first no longer
    assert "from 127.0.0.1:" not in web.get("/").text


def test_a_wrong_password_of_the_model_is_said_on_the_page(settings: Settings) -> None:
    web, _, _ = client_of(with_auth(settings))
    assert web.post("/setup", json={}).status_code == 401
    assert "user and password are missing or wrong" in web.get("/", auth=("u", "p")).text


def test_a_full_disk_is_said_on_the_page(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "disk is full" not in web.get("/").text
    monkeypatch.setattr("ml_backend.web.app.LEAST_FREE", 2**62)
    assert "the disk is full; free some space, nothing is lost" in web.get("/").text


def test_what_is_in_the_way_of_a_job_is_said_before_it_is_started(settings: Settings) -> None:
    web, _, _ = client_of(settings)
    body = {"project": "7.1", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "t"}
    assert web.post("/setup", json=body).status_code == 200
    assert "&#34;dataset&#34; is missing" in web.get("/").text
    assert web.post("/setup", json={**body, "extra_params": '{"dataset": "study"}'}).status_code == 200
    assert "study: no such folder; correct Extra params" in web.get("/").text
    (settings.data_dir / "study").mkdir(parents=True)
    assert "press Start Training" in web.get("/").text


def test_clients_that_ask_for_json_get_what_other_backends_answer(web: FlaskClient) -> None:
    asked = web.get("/", headers={"Accept": "application/json"})
    assert asked.get_json() == web.get("/health").get_json() == {"status": "UP", "model_class": "WeakHAR"}
    assert web.get("/", headers={"Accept": "*/*"}).mimetype == "text/html"
    assert web.get("/metrics").get_json() == {}


@pytest.mark.processes
def test_the_file_that_label_studio_ml_starts_serves(tmp_path: Path) -> None:
    """`label-studio-ml start ml_backend` runs that file with these options."""
    port, folder = free_port(), tmp_path / "model"
    command = [sys.executable, str(Path(model.__file__).with_name("_wsgi.py")), "--port", str(port)]
    process = subprocess.Popen([*command, "--model-dir", str(folder), "--log-level", "INFO"], cwd=tmp_path)
    try:
        wait_for(lambda: answers(port), 60, "the server")
        children = psutil.Process(process.pid).children(recursive=True)
        assert any(child.cmdline()[-1] == "worker" for child in children)
        assert (folder / "weakhar.db").is_file()
    finally:
        process.terminate()
        assert process.wait(30) == 0


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).json()["status"] == "UP"
    except httpx.HTTPError:
        return False


def test_the_page_says_before_a_job_is_started_that_label_studio_cannot_be_spoken_with(settings: Settings) -> None:
    web, store, jobs = client_of(settings)
    nobody = f"http://127.0.0.1:{free_port()}"
    web.post("/setup", json={"project": 1, "schema": CONFIG, "hostname": nobody, "access_token": "a" * 40})
    with pytest.raises(WeakHARError, match="cannot be reached"):
        jobs.connect(1)
    assert "cannot be reached" in web.get("/").text
    store.save_project(1, connection="")
    assert "cannot be reached" not in web.get("/").text


def test_a_failed_job_is_started_again_from_the_page(settings: Settings) -> None:
    web, store, _ = client_of(settings)
    web.post("/setup", json={"project": 1, "schema": CONFIG})
    store.set_job(1, "failed", message="out of memory")
    page = web.get("/").text
    assert 'action="retry/1"' in page
    assert web.post("/retry/1", headers={"Origin": "http://localhost"}).status_code == 302
    job = store.job(1)
    assert job is not None
    assert job.state == "queued"
    assert 'action="retry/1"' not in web.get("/").text


def test_pages_run_our_script_alone_and_strangers_do_not_get_it(settings: Settings) -> None:
    web, _, _ = client_of(settings)
    page = web.get("/")
    (script,) = re.findall('<script src="([^"]+)"', page.text)
    assert "<script>" not in page.text
    assert web.get(f"/{script}").status_code == 200
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert web.get(f"/{script}", environ_base=ELSEWHERE).status_code == 403
    assert "<script" not in web.get("/report/1").text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00.0"),
        (7.25, "0:07.2"),
        (59.96, "1:00.0"),
        (600, "10:00.0"),
        (3723.0, "1:02:03.0"),
        (86399.99, "24:00:00.0"),
    ],
)
def test_times_are_shown_as_players_show_them(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_no_two_of_thirty_classes_are_painted_alike_and_null_is_grey() -> None:
    classes = ("null", *(f"class {number}" for number in range(30)))
    colours = class_colours(classes)
    assert list(colours) == list(classes)
    assert len(set(colours.values())) == 31
    assert colours["null"] == "#aab"


def test_each_of_several_projects_has_a_page_of_its_own(settings: Settings) -> None:
    web, store, _ = client_of(settings)
    store.save_project(1, title="Gait")
    assert "?project=1" not in web.get("/").text  # the only one is shown in full
    store.save_project(2, title="Sports")
    both, one = web.get("/").text, web.get("/?project=2").text
    assert '<a href="?project=1">Gait</a>' in both
    assert '<a href="?project=2">Sports</a>' in both
    assert "Sports" in one
    assert "Gait" not in one
    for wrong in ("3", "x", "-1", str(2**70), "", "²"):
        answer = web.get("/", query_string={"project": wrong})
        assert (answer.status_code, wrong in answer.get_json()["error"]) in [(400, True), (404, True)]
