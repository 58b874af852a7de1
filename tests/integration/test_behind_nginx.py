"""Label Studio as labs run it: behind nginx under a sub-path, with TLS by a private authority, a limit on bodies,
and with uploads in cloud storage."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from commands import weakhar

from ml_backend.sample import BackendServer, LabelStudioServer, free_port, wait_for

PROGRAMS = Path(__file__).parents[2] / ".venv-label-studio" / "bin"
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/server.crt; ssl_certificate_key {folder}/server.key;
    client_max_body_size {limit};
    location /ls/ {{
      proxy_pass http://127.0.0.1:{inner}/; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto
      https;
    }}
  }}
}}
"""


def certificates(folder: Path) -> None:
    """A private authority, and a certificate by it for 127.0.0.1."""
    folder.mkdir(parents=True)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=lab",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of an S3 server that has a bucket `media`."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([PROGRAMS / "moto_server", "-H", "127.0.0.1", "-p", str(port)])

    def made() -> bool:
        try:
            return httpx.put(f"{address}/media").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_for(made, 60, "the S3 server")
        yield address
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> Iterator[tuple[LabelStudioServer, str, Path]]:
    """A Label Studio that knows its public address, that address, and the folder of nginx."""
    folder, port = tmp_path_factory.mktemp("nginx") / "n", free_port()
    certificates(folder)
    server = LabelStudioServer(str(PROGRAMS / "label-studio"), tmp_path_factory.mktemp("label-studio-ls"))
    public = f"https://127.0.0.1:{port}/ls"
    server.environment |= {
        "LABEL_STUDIO_HOST": public,
        "STORAGE_TYPE": "s3",
        "STORAGE_AWS_ENDPOINT_URL": bucket,
        "STORAGE_AWS_BUCKET_NAME": "media",
        "STORAGE_AWS_REGION_NAME": "us-east-1",
        "STORAGE_AWS_ACCESS_KEY_ID": "lab",
        "STORAGE_AWS_SECRET_ACCESS_KEY": "secret",
        "STORAGE_AWS_S3_USE_SSL": "false",
    }
    with server:
        server.wait_until_up()
        yield server, public, folder


def start_nginx(folder: Path, public: str, inner: int, limit: str) -> subprocess.Popen[bytes]:
    port = int(public.split(":")[2].split("/")[0])
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, inner=inner, limit=limit))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])

    def up() -> bool:
        try:
            return httpx.get(f"{public}/health", verify=False).status_code == 200
        except httpx.HTTPError:
            return False

    wait_for(up, 30, "nginx")
    return process


def test_a_sub_path_a_private_authority_small_bodies_and_cloud_storage(
    behind: tuple[LabelStudioServer, str, Path], dataset: Path, tmp_path: Path
) -> None:
    label_studio, public, folder = behind
    project = label_studio.create_project("behind a proxy")
    backend = BackendServer(tmp_path / "model", dataset.parent, label_studio)
    backend.environment["LABEL_STUDIO_URL"] = public

    def run() -> subprocess.CompletedProcess[str]:
        return weakhar(backend, "run", str(dataset), "--project", str(project), "--set", "components=2")

    nginx = start_nginx(folder, public, label_studio.port, "1k")
    try:
        assert "CERTIFICATE_VERIFY_FAILED" in run().stderr
        backend.environment["LABEL_STUDIO_CA"] = str(folder / "ca.crt")
        small = run()
        assert "too large for a proxy in front of it (413)" in small.stderr, small.stderr
    finally:
        nginx.terminate()
        nginx.wait()
    nginx = start_nginx(folder, public, label_studio.port, "1m")
    try:
        done = run()
        assert "4 tasks created" in done.stdout, done.stderr
        assert f"{public}/projects/{project}" in done.stdout.replace("\n", "")
        before = label_studio.tasks(project)
        shown = re.findall('src="(/ls/data/upload/[^"]+)"', before[0]["data"]["html"])
        headers = label_studio.headers
        clip, strip = (httpx.get(public.removesuffix("/ls") + one, headers=headers, verify=False) for one in shown)
        assert clip.content[4:8] == b"ftyp"
        assert strip.content[:2] == b"\xff\xd8"
        assert "0 tasks created" in run().stdout
        assert [task["data"] for task in label_studio.tasks(project)] == [task["data"] for task in before]
    finally:
        nginx.terminate()
        nginx.wait()
