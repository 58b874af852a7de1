"""The main job against a real Label Studio: the round trip, lost and repeated events, kills, wrong settings."""

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet
import pytest
from commands import weakhar

from benchmarks.kills import STEPS, campaign
from ml_backend.errors import LabelStudioError
from ml_backend.sample import BackendServer, LabelStudioServer, free_port, true_labels, wait_for
from training.approaches import Approach, training_labels
from training.dataset import read_dataset

RunJob = Callable[..., int]
AnswerAll = Callable[[int], dict[int, int]]
StartBackend = Callable[..., BackendServer]


def exported(backend: BackendServer, project: int, **options: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    answer = backend.get(f"export/{project}", **options)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    return json.loads(files["dataset.json"]), files


def test_the_round_trip_from_start_training_to_the_exported_dataset(
    label_studio: LabelStudioServer, start_backend: StartBackend, run_job: RunJob, answer_all: AnswerAll
) -> None:
    backend = start_backend(auth=True, new=True)
    project = run_job(backend, "round trip ü")
    tasks = label_studio.tasks(project)
    assert len(tasks) == 10
    sizes = [task["data"]["cluster_clips"] for task in tasks]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == 74

    clip = httpx.get(label_studio.url + tasks[0]["data"]["video"], headers=label_studio.headers)
    assert clip.content[4:8] == b"ftyp"
    assert tasks[0]["data"]["about"].startswith("Clip 1 of 10 · stands for ")
    assert tasks[-1]["data"]["about"].endswith("with it 100% of the recordings")
    _, strip = re.findall('src="([^"]+)"', tasks[0]["data"]["html"])
    pictures = httpx.get(label_studio.url + strip, headers=label_studio.headers)
    assert pictures.content[:2] == b"\xff\xd8"
    (model,) = label_studio.api("GET", "api/ml", params={"project": project})
    assert model["description"].startswith("done: 10 tasks created · http://")
    assert model["extra_params"]["components"] == 5
    (view,) = label_studio.api("GET", "api/dm/views/", params={"project": project})
    assert "tasks:data.html" in view["data"]["hiddenColumns"]["explore"]

    answer_all(project)
    wait_for(lambda: backend.status(project)["annotations"] == 10, 20, "webhooks with the secret header")

    description, files = exported(backend, project)
    assert description["labels"][:3] == ["null", "walking", "jogging"]
    assert set(description["participants"]) == {"p01", "p02"}
    table = pyarrow.parquet.read_table(io.BytesIO(files["samples/p01.parquet"]))
    assert table.num_rows == 2000
    assert set(table["source"].to_pylist()) == {"annotated", "propagated"}
    agree = [a == b for a, b in zip(table["label"].to_pylist(), table["ground_truth"].to_pylist(), strict=True)]
    assert sum(agree) / len(agree) > 0.5

    assert {"clip", "confidence", "propagated_label"} <= set(table.column_names)
    clips = pyarrow.parquet.read_table(io.BytesIO(files["clips.parquet"]))
    assert clips.num_rows == 74
    assert clips["answer"].null_count == 64
    assert "| p01 | 2000 |" in files["README.md"].decode()
    assert not description["paper_exact"]

    half, wear_files = exported(backend, project, threshold="50%", format="wear")
    assert half["threshold"] == "50%"
    assert 0.4 < half["participants"]["p01"]["coverage"] < 0.6
    rows = wear_files["samples/p01.csv"].decode().splitlines()
    assert rows[0].replace('"', "").startswith("sbj_id,right_wrist_acc_x")
    assert len(rows) - 1 == round(2000 * half["participants"]["p01"]["coverage"])

    page = backend.get("")
    assert "round trip ü" in page.text
    assert page.text.count('class="strip"') == 2


@pytest.mark.parametrize(
    "defaults",
    ["{}", '{"propagation": "discriminant", "clustering": "ward"}', '{"paper_exact": true}'],
)
def test_training_reads_a_real_export_and_derives_its_thresholds(
    start_backend: StartBackend, run_job: RunJob, answer_all: AnswerAll, tmp_path: Path, defaults: str
) -> None:
    backend = start_backend(WEAKHAR_DEFAULTS=defaults)
    project = run_job(backend, "to be trained on")
    answer_all(project)
    for threshold in ("none", "50%", "3"):
        target = tmp_path / threshold
        done = weakhar(backend, "export", str(target), "--project", str(project), "--threshold", threshold)
        assert done.returncode == 0, done.stderr
    everything = read_dataset(tmp_path / "none")
    for threshold in ("50%", "3"):
        narrowed = read_dataset(tmp_path / threshold)
        for one, other in zip(everything.participants, narrowed.participants, strict=True):
            derived = training_labels(everything, one, Approach("weak-ce", threshold), seed=1)
            np.testing.assert_array_equal(derived, other.weak)
    arguments = ["--models", "tinyhar", "--thresholds", "none,50%", "--seeds", "1", "--set", "epochs=1"]
    done = weakhar(backend, "evaluate", str(tmp_path / "none"), *arguments, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "run" / "table.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == [
        *("full", "few-shot-ce", "random-ce", "weak-ce", "weak-ce (T = 50%)", "weak-phgce", "weak-phgce (T = 50%)")
    ]


def test_a_second_run_creates_nothing_and_a_deleted_task_comes_back(
    label_studio: LabelStudioServer, start_backend: StartBackend, run_job: RunJob, dataset: Path
) -> None:
    backend = start_backend()
    project = run_job(backend, "again")
    before = {task["id"] for task in label_studio.tasks(project)}
    again = weakhar(backend, "run", str(dataset), "--project", str(project))
    assert "0 tasks created" in again.stdout, again.stderr
    assert {task["id"] for task in label_studio.tasks(project)} == before

    gone = min(before)
    label_studio.api("DELETE", f"api/tasks/{gone}/")
    assert "1 tasks created" in weakhar(backend, "run", str(dataset), "--project", str(project)).stdout
    assert len(label_studio.tasks(project)) == len(before)
    assert gone not in {task["id"] for task in label_studio.tasks(project)}


def test_another_clustering_reuses_answers_and_drops_untouched_tasks(
    label_studio: LabelStudioServer, start_backend: StartBackend, run_job: RunJob, dataset: Path
) -> None:
    backend = start_backend()
    project = run_job(backend, "recluster")
    kept = label_studio.tasks(project)[0]["id"]
    label_studio.annotate(kept, "walking")
    run = weakhar(backend, "run", str(dataset), "--project", str(project), "--set", "components=3")
    assert run.returncode == 0, run.stderr
    after = label_studio.tasks(project)
    assert kept in {task["id"] for task in after}
    assert 6 <= len(after) <= 7


def test_a_bad_recording_is_left_out_and_one_that_was_clustered_keeps_its_tasks(
    label_studio: LabelStudioServer, start_backend: StartBackend, run_job: RunJob, dataset: Path
) -> None:
    (dataset / "p03").mkdir()
    (dataset / "p03" / "session.mp4").write_bytes(b"no video" * 100)
    (dataset / "p03" / "session.csv").write_bytes((dataset / "p01" / "session.csv").read_bytes())
    backend = start_backend()
    project = run_job(backend, "left out")
    message = backend.status(project)["message"]
    assert message.startswith("10 tasks created; left out: ")
    assert "p03/session.mp4: cannot be opened as a video" in message
    before = {task["id"] for task in label_studio.tasks(project)}
    (mine,) = [task["id"] for task in label_studio.tasks(project) if task["data"]["participant"] == "p02"][:1]
    label_studio.annotate(mine, "walking")

    whole = (dataset / "p02" / "session.mp4").read_bytes()
    (dataset / "p02" / "session.mp4").write_bytes(whole[:500])  # as if its disk were offline
    run = ("run", str(dataset), "--project", str(project), "--set", "components=3")
    strict = weakhar(backend, *run, "--set", "strict=true")
    assert strict.returncode == 1
    again = weakhar(backend, *run, "--set", "strict=false")  # what is set stays set
    assert again.returncode == 0, again.stderr
    assert "left out: " in again.stdout
    assert "p02/session.mp4" in again.stdout
    of_p02 = {task["id"] for task in label_studio.tasks(project) if task["data"]["participant"] == "p02"}
    assert len(of_p02) == 5
    assert of_p02 <= before
    assert backend.status(project)["annotations"] == 1
    assert backend.get("").text.count('class="strip"') == 2

    (dataset / "p02" / "session.mp4").write_bytes(whole)
    weakhar(backend, *run)
    of_p02 = {task["id"] for task in label_studio.tasks(project) if task["data"]["participant"] == "p02"}
    assert mine in of_p02
    assert len(of_p02) in (3, 4)


def test_lost_webhooks_are_found_again_by_sync(
    label_studio: LabelStudioServer, start_backend: StartBackend, run_job: RunJob, answer_all: AnswerAll
) -> None:
    backend = start_backend()
    project = run_job(backend, "lost webhooks")
    backend.stop()
    annotations = answer_all(project)
    synced = weakhar(backend, "sync", "--project", str(project))
    assert f"{len(annotations)} annotations on 10 tasks" in synced.stdout, synced.stderr

    label_studio.api("DELETE", f"api/annotations/{next(iter(annotations.values()))}/")
    backend.start()
    backend.wait_until_up()
    wait_for(lambda: backend.status(project)["annotations"] == 9, 30, "the reconciliation at the start")


def test_an_edited_and_a_deleted_annotation_change_the_export(
    label_studio: LabelStudioServer, start_backend: StartBackend, run_job: RunJob, answer_all: AnswerAll
) -> None:
    backend = start_backend()
    project = run_job(backend, "edit and delete", propagation="cluster")
    annotations = answer_all(project)
    wait_for(lambda: backend.status(project)["annotations"] == 10, 20, "the webhooks")
    tasks = [task for task in label_studio.tasks(project) if task["data"]["participant"] == "p01"]
    edited, deleted = tasks[0], tasks[1]
    value = {"from_name": "activity", "to_name": "clip", "type": "choices", "value": {"choices": ["lunges"]}}
    label_studio.api("PATCH", f"api/annotations/{annotations[edited['id']]}/", json={"result": [value]})
    label_studio.api("DELETE", f"api/annotations/{annotations[deleted['id']]}/")
    wait_for(lambda: backend.status(project)["annotations"] == 9, 20, "the deletion")
    _, files = exported(backend, project)
    table = pyarrow.parquet.read_table(io.BytesIO(files["samples/p01.parquet"]))
    labels = dict(zip(table["cluster"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert labels[edited["data"]["cluster"]] == "lunges"
    assert labels[deleted["data"]["cluster"]] is None


def test_an_audit_asks_for_clips_drawn_at_random_and_says_how_right_the_labels_are(
    start_backend: StartBackend,
    run_job: RunJob,
    answer_all: AnswerAll,
    label_studio: LabelStudioServer,
    dataset: Path,
) -> None:
    backend = start_backend()
    project = run_job(backend, "audited", components=4)
    answered = answer_all(project)
    wait_for(lambda: backend.status(project)["annotations"] == len(answered), 20, "the answers")
    form = httpx.post(f"{backend.url}/audit/{project}", data={"clips": 12})
    assert form.status_code == 302
    wait_for(lambda: len(label_studio.tasks(project)) == len(answered) + 12, 60, "the audit's tasks")
    drawn = [task for task in label_studio.tasks(project) if task["id"] not in answered]
    assert all(task["data"]["about"].startswith("Audit clip") for task in drawn)
    assert not any(task["data"]["others"].strip() or task["data"]["likely"].strip() for task in drawn)
    before = exported(backend, project)[0]
    assert before["audit"]["answered"] == 0
    again = weakhar(backend, "run", str(dataset), "--project", str(project))
    assert "0 tasks created" in again.stdout  # and none of them is dropped
    for task, label in list(zip(drawn, true_labels(dataset, drawn), strict=True))[:11]:
        label_studio.annotate(task["id"], label)
    label_studio.annotate(drawn[11]["id"], None)
    told = weakhar(backend, "audit", "--project", str(project))
    assert "Labels are" in told.stdout, told.stderr
    assert "from 11 audit clips, 1 more showed no class" in told.stdout
    description, files = exported(backend, project)
    held, share = description["audit"], description["audit"]["share"]
    assert (held["answered"], held["changed_since"], held["closed"]) == (11, 0.0, False)
    truth = pyarrow.parquet.read_table(io.BytesIO(files["samples/p01.parquet"])).to_pandas()
    assert share["low"] - 0.05 <= (truth["label"] == truth["ground_truth"]).mean() <= share["high"] + 0.05
    assert "People looked at 11 clips" in files["README.md"].decode()
    closed = weakhar(backend, "audit", "--project", str(project), "--close")
    assert "its answers count as any from now on" in closed.stdout
    description, _ = exported(backend, project)
    assert description["audit"]["closed"]
    assert description["audit"]["share"] == share
    assert sum(one["clusters_labelled"] for one in description["participants"].values()) == 8


def test_a_target_asks_in_rounds_and_says_when_one_may_stop(
    start_backend: StartBackend, run_job: RunJob, label_studio: LabelStudioServer, dataset: Path
) -> None:
    backend = start_backend()
    project = run_job(backend, "target", components=12, target=0.7, round_clips=4)

    def waiting() -> list[dict[str, Any]]:
        return [task for task in label_studio.tasks(project) if not task["annotations"]]

    assert len(waiting()) == 4
    for task, label in zip(waiting()[:2], true_labels(dataset, waiting()[:2]), strict=True):
        label_studio.annotate(task["id"], label)
    wait_for(lambda: len(waiting()) == 6, 60, "the second round, before the first one is done")

    def reached() -> bool:
        return bool(backend.status(project)["target"]["reached"])

    def done() -> bool:
        tasks = waiting()
        for task, label in zip(tasks, true_labels(dataset, tasks), strict=True):
            label_studio.annotate(task["id"], label)
        return reached()

    wait_for(done, 180, "the target to be reached, with all that is asked answered")
    page = backend.get("", project=project).text
    assert "You can stop: at least" in page
    again = weakhar(backend, "run", str(dataset), "--project", str(project))
    assert "0 tasks created" in again.stdout, again.stderr


def test_a_skipped_and_a_mixed_clip_are_replaced_by_the_next_best(
    label_studio: LabelStudioServer, start_backend: StartBackend, run_job: RunJob
) -> None:
    backend = start_backend()
    project = run_job(backend, "next best")
    first, second = label_studio.tasks(project)[:2]
    label_studio.annotate(first["id"], None)
    label_studio.annotate(second["id"], "mixed / can't tell")

    def offered() -> set[tuple[str, int]]:
        return {(task["data"]["participant"], task["data"]["cluster"]) for task in label_studio.tasks(project)[10:]}

    wanted = {(task["data"]["participant"], task["data"]["cluster"]) for task in (first, second)}
    wait_for(lambda: offered() == wanted, 40, "two further tasks")


def test_names_that_are_not_to_be_shown_are_nowhere_in_label_studio(
    label_studio: LabelStudioServer,
    start_backend: StartBackend,
    run_job: RunJob,
    dataset: Path,
    tmp_path: Path,
) -> None:
    backend = start_backend()
    project = run_job(backend, "hidden", components=3)
    first = label_studio.tasks(project)[0]
    label_studio.annotate(first["id"], "walking")
    ready = weakhar(backend, "review", "--project", str(project), "--participant", first["data"]["participant"])
    assert "1 of 1 parts" in ready.stdout, ready.stderr
    review = int(ready.stdout.rstrip().rstrip("/").rpartition("/")[2])
    hide = weakhar(backend, "run", str(dataset), "--project", str(project), "--set", "show_participant=false")
    assert "0 tasks created" in hide.stdout, hide.stderr

    def told() -> str:
        files = label_studio.api("GET", f"api/projects/{project}/file-uploads", params={"all": "true"})
        tasks, parts = label_studio.tasks(project), label_studio.tasks(review)
        shown = [path for task in tasks for path in re.findall('src="([^"]+)"', task["data"]["html"])]
        shown += [task["data"][name] for task in parts for name in ("video", "signals")]
        assert sorted(f"/data/{file['file']}" for file in files) == sorted(shown)
        return json.dumps([files, tasks, parts])

    assert not re.search("p0[12]|session", told())
    again = weakhar(backend, "run", str(dataset), "--project", str(project), "--set", "components=4")
    assert again.returncode == 0, again.stderr
    assert not re.search("p0[12]|session", told())
    task = label_studio.tasks(project)[-1]
    label_studio.annotate(task["id"], "squats")
    assert weakhar(backend, "export", str(tmp_path / "out"), "--project", str(project)).returncode == 0
    clips = pyarrow.parquet.read_table(tmp_path / "out" / "clips.parquet").to_pylist()
    given = {(clip["start_seconds"], clip["answer"]) for clip in clips if clip["answer"]}
    assert given == {(first["data"]["start_seconds"], "walking"), (task["data"]["start_seconds"], "squats")}
    forgotten = weakhar(backend, "forget", "--project", str(project), "--participant", "p01", "--yes")
    assert forgotten.returncode == 0, forgotten.stderr
    told()
    assert 4 <= len(label_studio.tasks(project)) <= 5

    (dataset / "p03").mkdir()
    (dataset / "p03" / "session.mp4").write_bytes(b"no video" * 100)
    (dataset / "p03" / "session.csv").write_bytes((dataset / "p02" / "session.csv").read_bytes())
    quiet = run_job(backend, "quiet", components=2, show_participant=False)
    assert "left out: " in backend.status(quiet)["message"]

    def description() -> str:
        (model,) = label_studio.api("GET", "api/ml", params={"project": quiet})
        return str(model["description"])

    wait_for(lambda: description() == f"done · {backend.url}", 30, "the model's description, without names")


def test_two_projects_at_once_keep_apart(
    label_studio: LabelStudioServer, start_backend: StartBackend, answer_all: AnswerAll
) -> None:
    backend = start_backend()
    projects = []
    for components in (3, 6):
        project = label_studio.create_project(f"apart {components}")
        model = label_studio.connect(project, backend, {"dataset": "study", "components": components})
        label_studio.start_training(model)
        label_studio.start_training(model)
        projects.append(project)
    for project in projects:
        backend.wait_for_job(project)
    assert [len(label_studio.tasks(project)) for project in projects] == [6, 12]
    answer_all(projects[0])
    wait_for(lambda: backend.status(projects[0])["annotations"] == 6, 20, "the webhooks")
    assert backend.status(projects[1])["annotations"] == 0


def test_a_dozen_kills_at_any_step_lose_nothing_and_repeat_nothing(
    label_studio: LabelStudioServer, tmp_path: Path
) -> None:
    found = campaign(label_studio, tmp_path, kills=12, seed=1, side_by_side=2)
    assert found.faults == []
    assert set(found.kills) == set(STEPS)
    assert found.kills.total() == 12


def test_auth_keeps_everything_but_health_closed(
    label_studio: LabelStudioServer, start_backend: StartBackend, run_job: RunJob
) -> None:
    backend = start_backend(auth=True)
    assert httpx.get(f"{backend.url}/health").status_code == 200
    for method, path in [
        ("GET", ""),
        ("POST", "setup"),
        ("POST", "webhook"),
        ("GET", "export/1"),
        ("POST", "predict"),
    ]:
        assert httpx.request(method, f"{backend.url}/{path}", json={}).status_code == 401
        wrong = httpx.request(method, f"{backend.url}/{path}", json={}, auth=("weakhar", "wrong"))
        assert wrong.status_code == 401
    forged = httpx.post(f"{backend.url}/webhook", json={}, headers={"X-Weakhar-Secret": "guess"})
    assert forged.status_code == 401
    project = run_job(backend, "closed")
    (hook,) = label_studio.api("GET", "api/webhooks/", params={"project": project})
    assert hook["headers"]["X-Weakhar-Secret"]
    assert hook["send_for_all_actions"] is False


def test_suggestions_name_the_likeliest_class_for_our_tasks_only(
    label_studio: LabelStudioServer, start_backend: StartBackend, run_job: RunJob
) -> None:
    backend = start_backend()
    project = run_job(backend, "suggest", suggest=True)
    tasks = label_studio.tasks(project)
    asked = {"project": {"id": project}}
    before = httpx.post(f"{backend.url}/versions", json=asked).json()["versions"]
    label_studio.annotate(tasks[0]["id"], "squats")
    wait_for(lambda: backend.status(project)["annotations"] == 1, 20, "the webhook")
    # Label Studio asks for no new prediction of a version that it has.
    assert httpx.post(f"{backend.url}/versions", json=asked).json()["versions"] != before
    mates = [task for task in tasks[1:] if task["data"]["participant"] == tasks[0]["data"]["participant"]]
    body = {"project": f"{project}.17", "tasks": [mates[0], {"id": 1, "data": {"html": "not ours"}}]}
    (ours,), other = httpx.post(f"{backend.url}/predict", json=body).json()["results"]
    assert ours["result"][0]["value"]["choices"] == ["squats"]
    assert 0 < ours["score"] <= 1
    assert other == []
    weakhar(backend, "sync", "--project", str(project))
    beside = {task["id"]: task["data"]["likely"] for task in label_studio.tasks(project)}
    assert beside[mates[0]["id"]] == "Most probably squats."


def test_wrong_settings_each_get_one_clear_line(
    label_studio: LabelStudioServer, start_backend: StartBackend, dataset: Path
) -> None:
    backend = start_backend()
    project = label_studio.create_project("wrong settings")
    run = ("run", str(dataset), "--project", str(project))

    def error(*arguments: str, **environment: str) -> str:
        result = weakhar(backend, *arguments, **environment)
        assert result.returncode == 1
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        return result.stderr

    assert "refuses the access token" in error(*run, LABEL_STUDIO_API_KEY="f" * 40)
    unreachable = f"http://127.0.0.1:{free_port()}"
    assert "cannot be reached" in error(*run, LABEL_STUDIO_URL=unreachable)
    assert "has no such project (projects/99999)" in error("run", str(dataset), "--project", "99999")
    assert "components" in error(*run, "--set", "components=-3")
    assert "not known" in error(*run, "--set", "compnents=3")
    assert "not known" in error(*run, "--set", "backbone=resnet")
    assert "not connected" in error("export", "x", "--project", "77777")
    label_studio.api(
        "PATCH", f"api/projects/{project}/", json={"label_config": "<View><Text name='t' value='$t'/></View>"}
    )
    assert "shows no clip" in error(*run)

    body = {"project": f"{project}.1", "schema": "<View/>", "extra_params": {"dataset": "../..", "clip_seconds": 0}}
    answer = httpx.post(f"{backend.url}/setup", json=body)
    assert answer.status_code == 400
    assert "clip_seconds" in answer.json()["error"]


def test_a_dataset_outside_the_data_folder_fails_the_job_with_a_clear_message(
    start_backend: StartBackend, run_job: RunJob
) -> None:
    backend = start_backend()
    with pytest.raises(LabelStudioError, match="outside WEAKHAR_DATA_DIR"):
        run_job(backend, "outside", dataset="../..")


def test_connect_makes_a_project_and_starts_its_job_and_may_be_repeated(
    label_studio: LabelStudioServer, start_backend: StartBackend, dataset: Path
) -> None:
    backend = start_backend(auth=True)
    wanted = ("connect", "--title", "by connect", "--dataset", "study", "--set", "components=4")
    wanted += ("--backend", backend.url)
    done = weakhar(backend, *wanted)
    assert done.returncode == 1
    assert "no project 'by connect' yet; name its classes" in done.stderr
    done = weakhar(backend, *wanted, "--classes-from", str(dataset), "--annotators", "2")
    assert done.returncode == 0, done.stderr
    (found,) = label_studio.api("GET", "api/projects/", params={"title": "by connect"})["results"]
    assert f"{label_studio.url}/projects/{found['id']}/" in done.stdout
    backend.wait_for_job(found["id"])
    tasks = label_studio.tasks(found["id"])
    assert len(tasks) == 8
    assert found["maximum_annotations"] == 2
    label_studio.annotate(tasks[0]["id"], true_labels(dataset, tasks[:1])[0])
    wait_for(lambda: backend.status(found["id"])["annotations"] == 1, 30, "the webhook")

    healthy = weakhar(backend, "doctor", "--backend", backend.url)
    assert healthy.returncode == 0, healthy.stdout
    for line in (
        "ok Label Studio: 1.23.2",
        "an event arrives",
        f"Label Studio reaches {backend.url}",
        "can be loaded",
    ):
        assert line in healthy.stdout, healthy.stdout

    done = weakhar(backend, *wanted, "--classes", "left,right")
    assert done.returncode == 0, done.stderr
    assert "its classes stay" in done.stdout
    backend.wait_for_job(found["id"])
    assert len(label_studio.tasks(found["id"])) == 8
    assert len(label_studio.api("GET", "api/ml", params={"project": found["id"]})) == 1
    done = weakhar(backend, *wanted[:-1], f"http://127.0.0.1:{free_port()}")
    assert "start it with `weakhar serve`" in done.stderr

    form = {"title": "by form", "dataset": "nothere", "backend": backend.url, "own_labels": "on"}
    auth = (backend.user, backend.password)
    assert httpx.post(f"{backend.url}/connect", data=form, auth=auth).status_code == 302
    wait_for(lambda: "<b>by form</b>: " in backend.get("").text, 30, "the page to say what is wrong")
    assert "nothere: no such folder" in backend.get("").text
    httpx.post(f"{backend.url}/connect", data={**form, "dataset": "study"}, auth=auth)
    wait_for(lambda: "<b>by form</b>" not in backend.get("").text, 60, "the study to be connected")
    (made,) = label_studio.api("GET", "api/projects/", params={"title": "by form"})["results"]
    assert 'value="sit_ups"' in made["label_config"]
    assert backend.wait_for_job(made["id"])["tasks"] > 0

    (hook,) = label_studio.api("GET", "api/webhooks/", params={"project": found["id"]})
    ill = weakhar(backend, "doctor", "--backend", f"http://127.0.0.1:{free_port()}", LABEL_STUDIO_API_KEY="0" * 40)
    assert ill.returncode == 1
    for line in ("no backend: ", "start `weakhar serve`", "no Label Studio: ", "refuses the access token"):
        assert line in ill.stdout, ill.stdout

    def another_secret_is_seen() -> (
        bool
    ):  # unless the backend, which looks after each change of the model, was quicker
        other = {"headers": {"X-Weakhar-Secret": "another"}}
        label_studio.api("PATCH", f"api/webhooks/{hook['id']}/", json=other)
        return "the webhook's secret is another" in weakhar(backend, "doctor", "--backend", backend.url).stdout

    wait_for(another_secret_is_seen, 60, "the doctor to see another secret")

    before = backend.get("").text
    mistyped = ("run", str(dataset.parent / "nothere"), "--project", str(found["id"]), "--set", "components=5")
    assert weakhar(backend, *mistyped).returncode == 1
    assert "weakhar run --set" not in backend.get("").text + before  # nothing was kept
    assert backend.status(found["id"])["state"] == "done"
