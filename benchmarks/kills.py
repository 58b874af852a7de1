"""What kills do: weakhar's processes are killed (SIGKILL) at random moments of every step, on a real Label Studio.

Run: python -m benchmarks.kills [KILLS] [SEED], 200 kills unless told otherwise, four projects side by side, with
Label Studio in .venv-label-studio (`make setup`). Each project is embedded, clustered, given tasks, labelled and
exported; the worker, the web server or everything is killed meanwhile and started again. At the end there must be
every task once, every answer, each about its own clip, exports that are whole, and no answer of status 5xx.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
import pyarrow.parquet

from ml_backend.recordings import stretch_of_key
from ml_backend.sample import BackendServer, LabelStudioServer, wait_for, write_sample

LABEL_STUDIO = Path(__file__).parent.parent / ".venv-label-studio" / "bin" / "label-studio"
PARTICIPANTS, MINUTES, COMPONENTS = 3, 0.5, 6
SIDE_BY_SIDE = 4
STEPS = ("embedding", "clustering", "creating tasks", "labelling", "exporting")
KILLS_A_ROUND = 8
CHOICES = ("walking", "jogging", "lunges")
PATIENCE = 600


@dataclass
class Found:
    """Kills by step, and what was wrong afterwards: each entry says what."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Round:
    """One project, killed a number of times."""

    def __init__(
        self, label_studio: LabelStudioServer, data: Path, folder: Path, seed: int, steps: tuple[str, ...]
    ) -> None:
        """`steps`: one kill each, in the order of the job."""
        self.label_studio, self.folder, self.steps = label_studio, folder, steps
        self.random = random.Random(seed)
        self.backend = BackendServer(folder / "model", data, label_studio)
        self.project = label_studio.create_project(f"kills {seed}")
        self.found = Found()
        self.answers: dict[int, str] = {}

    def run(self) -> Found:
        """All of it; the servers are stopped afterwards."""
        with self.backend:
            self.backend.wait_until_up()
            model = self.label_studio.connect(
                self.project, self.backend, {"dataset": "study", "components": COMPONENTS}
            )
            self.label_studio.start_training(model)
            for step in self.steps:
                {"labelling": self.kill_while_labelling, "exporting": self.kill_an_export}.get(
                    step, self.kill_the_job
                )(step)
            self.finish_job()
            self.label()
            self.judge()
        return self.found

    def kill_the_job(self, step: str) -> None:
        """Kill at a random moment after a step of the job has begun; where it is over, at whatever comes."""
        wait_for(lambda: self.reached(step), PATIENCE, f"{step} of {self.project}")
        time.sleep(self.random.uniform(0, 1.5))
        self.kill(step, self.random.choice(("worker", "worker", "everything")))

    def reached(self, step: str) -> bool:
        """True when the job is at the step, or past it."""
        status = self.status()
        if status["state"] == "failed":
            self.again(status)
            return False
        embedded = status["step"].startswith("embedding") and status["done"] >= status["total"]
        at = STEPS.index(step)
        return bool(
            status["state"] == "done"
            or (status["active"] and any(status["step"].startswith(name) for name in STEPS[at:]))
            or (step == "clustering" and embedded)
        )

    def again(self, status: dict[str, Any]) -> None:
        """Press Start Training, as somebody would who reads that the job died three times."""
        if "died" not in status["message"]:
            self.found.faults.append(f"project {self.project}: the job failed: {status['message']}")
        httpx.post(f"{self.backend.url}/train", json={"project": str(self.project)}, timeout=60)

    def kill(self, step: str, what: str) -> None:
        """Kill one of the processes of `weakhar serve`, or all, and wait until it answers again."""
        assert self.backend.process is not None
        serve = psutil.Process(self.backend.process.pid)
        wanted = {"worker": "worker", "web": "gunicorn"}.get(what, "")

        def killed() -> bool:
            """False while what is to be killed is just being started again."""
            found = [serve] if what == "everything" else []
            for process in serve.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    found += [process] if wanted in " ".join(process.cmdline()) else []
            for process in reversed(found):  # a parent last: its children would end with it by themselves
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return bool(found)

        wait_for(killed, PATIENCE, f"{what} of {self.project}")
        self.found.kills[step] += 1
        if what == "everything":
            self.backend.process.wait()
            self.backend.start()
        self.backend.wait_until_up()

    def finish_job(self) -> None:
        """Wait until the job is done, starting it again where it died too often."""

        def done() -> bool:
            status = self.status()
            if status["state"] == "failed":
                self.again(status)
            return bool(status["state"] == "done")

        wait_for(done, PATIENCE, f"the job of project {self.project}")

    def kill_while_labelling(self, step: str) -> None:
        """People label while the web server, or everything, is killed: webhooks get lost."""
        self.finish_job()
        labelling = threading.Thread(target=self.label, args=(self.random.randint(2, 8),))
        labelling.start()
        time.sleep(self.random.uniform(0, 1.5))
        self.kill(step, self.random.choice(("web", "everything")))
        labelling.join()

    def label(self, tasks: int | None = None) -> None:
        """Answer so many of the tasks that have no answer yet."""
        missing = [task["id"] for task in self.label_studio.tasks(self.project) if task["id"] not in self.answers]
        for task in missing[:tasks]:
            choice = self.random.choice(CHOICES)
            self.label_studio.annotate(task, choice)
            self.answers[task] = choice

    def kill_an_export(self, step: str) -> None:
        """An export on the command line dies; what lies there afterwards is whole, or nothing is."""
        self.finish_job()
        target = self.folder / "export"
        process = self.weakhar("export", str(target), "--project", str(self.project))
        time.sleep(self.random.uniform(1.0, 6.0))
        process.kill()
        process.wait()
        self.found.kills[step] += 1
        if target.exists() and len(list((target / "samples").glob("*.parquet"))) != PARTICIPANTS:
            self.found.faults.append(f"{target}: is half an export")

    def weakhar(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The command, with the server's settings."""
        environment = {**os.environ, **self.backend.environment}
        command = [sys.executable, "-m", "ml_backend.cli", *arguments]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    def status(self) -> dict[str, Any]:
        """The project's state; a 5xx is a fault, no answer is waited for."""
        while True:
            with suppress(httpx.TransportError):
                answer = self.backend.get(f"status/{self.project}")
                if answer.status_code < 500:
                    found: dict[str, Any] = answer.raise_for_status().json()
                    return found
                self.found.faults.append(f"project {self.project}: status {answer.status_code}")
            time.sleep(0.1)

    def judge(self) -> None:
        """Compare what Label Studio, the export and the disk hold with what was done."""
        fault = self.found.faults.append
        tasks = self.label_studio.tasks(self.project)
        clips = [tuple(task["meta"]["weakhar"].values()) for task in tasks]
        if len(clips) != PARTICIPANTS * COMPONENTS or len(set(clips)) != len(clips):
            fault(f"project {self.project}: {len(clips)} tasks of {len(set(clips))} clips")
        uploads = self.label_studio.api("GET", f"api/projects/{self.project}/file-uploads", params={"all": "true"})
        if len({upload["file"] for upload in uploads}) > 2 * len(tasks):  # a clip, and the pictures beside it
            fault(f"project {self.project}: {len(uploads)} uploads for {len(tasks)} tasks")
        given = {task["id"]: [_choice(one) for one in task["annotations"]] for task in tasks}
        if given != {task: [choice] for task, choice in self.answers.items()}:
            fault(f"project {self.project}: Label Studio's answers are not those given")
        export = self.weakhar("export", str(self.folder / "export"), "--project", str(self.project))
        _, said = export.communicate()
        if export.returncode:
            fault(f"project {self.project}: no export: {said.decode()}")
            return
        rows = pyarrow.parquet.read_table(self.folder / "export" / "clips.parquet").to_pylist()
        known = {(row["participant"], round(row["start_seconds"], 3)): row["answer"] for row in rows}
        for task in tasks:
            participant, clip = task["meta"]["weakhar"].values()
            place = participant, round(stretch_of_key(clip).start_seconds, 3)
            if known.get(place) != self.answers.get(task["id"]):
                fault(f"project {self.project}, task {task['id']}: {place} is {known.get(place)} in the export")
        if left := list((self.folder / "model").glob("clips-*")):
            fault(f"{left[0]}: was left behind")


def _choice(annotation: dict[str, Any]) -> str:
    return str(annotation["result"][0]["value"]["choices"][0])


def campaign(
    label_studio: LabelStudioServer, folder: Path, kills: int, seed: int, side_by_side: int = SIDE_BY_SIDE
) -> Found:
    """So many kills, of each step as many as of any, spread over projects."""
    data = folder / "data"
    for _ in write_sample(data / "study", PARTICIPANTS, MINUTES):
        pass
    steps = [STEPS[number % len(STEPS)] for number in range(kills)]
    size = min(KILLS_A_ROUND, -(-kills // side_by_side))
    rounds = []
    for number, first in enumerate(range(0, kills, size)):
        own = tuple(sorted(steps[first : first + size], key=STEPS.index))
        rounds.append(Round(label_studio, data, folder / str(number), 1000 * seed + number, own))
    everything = Found()
    with ThreadPoolExecutor(side_by_side) as pool:
        for found in pool.map(Round.run, rounds):
            everything.kills += found.kills
            everything.faults += found.faults
            print(f"{everything.kills.total()} kills, {len(everything.faults)} faults", flush=True)
    return everything


def main(kills: int = 200, seed: int = 0) -> None:
    """Run the campaign and say what was found."""
    with TemporaryDirectory() as folder:
        server = LabelStudioServer(str(LABEL_STUDIO), Path(folder) / "label-studio")
        with server:
            server.wait_until_up()
            found = campaign(server, Path(folder), kills, seed)
    for step in STEPS:
        print(f"{step}: {found.kills[step]} kills")
    for fault in found.faults:
        print(fault)
    print(f"{len(found.faults)} faults")
    sys.exit(bool(found.faults))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
