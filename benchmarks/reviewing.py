"""How long does it take to correct ten minutes of a recording? In Chromium, on a real Label Studio.

A sample recording of ten minutes is labelled from so few answers that about a tenth of it is wrong; then an annotator
who knows the truth draws over every wrong stretch of a second or more, by keys and mouse, and submits. `machine`:
seconds until the page can be worked on, and that it took to draw and submit; `person`: what the same strokes cost by
the keystroke-level model (Card, Moran and Newell 1980: 1.35 s to decide, 0.28 s a key, 1.1 s to point, 0.2 s to press
and to let go), and WATCHED seconds of video at each. Right: share of the samples before and after.

Run: python -m benchmarks.reviewing; it leaves build/review.png and build/reviewed.png to be looked at."""

import io
import time
import zipfile
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.harness import show
from benchmarks.pictures import ROOT, chromium, log_in
from ml_backend.sample import BackendServer, LabelStudioServer, true_labels, wait_for, write_sample

MINUTES, COMPONENTS, ANSWERS = 10.0, 100, 12
WATCHED, LEAST_SECONDS = 2.0, 1.0
DECIDE, KEY, POINT, PRESS = 1.35, 0.28, 1.1, 0.2
INSET = 4
LAST = "[...document.querySelectorAll('svg')].filter(one => one.clientWidth > 200 && one.clientHeight < 120).at(-1)"
MARKED = f"return {LAST}.querySelector('.selection').getBoundingClientRect().toJSON()"
WHOLE = f"return {LAST}.querySelector('.overlay').getBoundingClientRect().toJSON()"
PLOT = "return document.querySelector('svg .overlay')?.getBoundingClientRect().toJSON()"
READY = "return document.querySelector('video')?.readyState ?? 0"
Wrong = tuple[float, float, str]


def samples_of(backend: BackendServer, project: int) -> pd.DataFrame:
    """What would be exported now."""
    answer = backend.get(f"export/{project}")
    answer.raise_for_status()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as bundle:
        (name,) = (one for one in bundle.namelist() if one.startswith("samples/"))
        return pd.read_parquet(io.BytesIO(bundle.read(name)))


def wrong_stretches(samples: pd.DataFrame) -> list[Wrong]:
    """Where the label is another than the truth, with what is true there."""
    wrong = (samples.label != samples.ground_truth).to_numpy()
    truth = samples.ground_truth.to_numpy()
    begins = np.flatnonzero(np.r_[True, (wrong[1:] != wrong[:-1]) | (truth[1:] != truth[:-1])])
    ends = np.r_[begins[1:], len(samples)] - 1
    times = samples.time.to_numpy()
    found = [(times[a], times[b], truth[a]) for a, b in zip(begins, ends, strict=True) if wrong[a]]
    return [one for one in found if one[1] - one[0] >= LEAST_SECONDS]


def draw(driver: webdriver.Chrome, stretch: Wrong, keys: dict[str, str]) -> None:
    """Move what is shown to a stretch, and draw it over the first signal, a little inside its edges, of which the
    mouse would take hold."""
    start, end, name = stretch
    marked, whole = driver.execute_script(MARKED), driver.execute_script(WHOLE)
    centre = whole["x"] + whole["width"] * (start + end) / 2 / (60 * MINUTES)
    drag(driver, marked["x"] + marked["width"] / 2, centre, whole["y"] + whole["height"] / 2)
    marked, plot = driver.execute_script(MARKED), driver.execute_script(PLOT)
    seconds = 60 * MINUTES / whole["width"]
    first, last = (seconds * (marked["x"] + share * marked["width"] - whole["x"]) for share in (0, 1))
    left, right = (plot["x"] + plot["width"] * (time - first) / (last - first) for time in (start, end))
    ActionChains(driver).send_keys(keys[name]).perform()
    drag(driver, max(plot["x"], left) + INSET, min(plot["x"] + plot["width"], right) - INSET, plot["y"] + 40)


def drag(driver: webdriver.Chrome, first: float, last: float, y: float) -> None:
    """With the mouse, from here to there."""
    mouse = ActionChains(driver, duration=20)
    act = mouse.w3c_actions.pointer_action
    act.move_to_location(round(first), round(y)).pointer_down().move_to_location(round((first + last) / 2), round(y))
    act.move_to_location(round(last), round(y)).pointer_up()
    mouse.perform()


def correct(driver: webdriver.Chrome, address: str, wrong: list[Wrong], keys: dict[str, str]) -> tuple[float, float]:
    """Seconds until the page can be worked on, and that all strokes took."""
    began = time.perf_counter()
    driver.get(address)
    WebDriverWait(driver, 60).until(lambda page: page.execute_script(PLOT) and page.execute_script(READY) >= 3)
    opened = time.perf_counter()
    driver.save_screenshot(str(ROOT / "build" / "review.png"))
    strokes = time.perf_counter()
    for stretch in wrong:
        draw(driver, stretch, keys)
    driver.save_screenshot(str(ROOT / "build" / "reviewed.png"))
    driver.find_element(By.XPATH, "//button[normalize-space()='Submit']").click()
    return opened - began, time.perf_counter() - strokes


def main() -> None:
    """Make the recording, label it, correct it, and say what it took."""
    (ROOT / "build").mkdir(exist_ok=True)
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        root = folder / "data" / "study"
        for _ in write_sample(root, 1, MINUTES):
            pass
        label_studio = LabelStudioServer(str(ROOT / ".venv-label-studio" / "bin" / "label-studio"), folder / "ls")
        stack.enter_context(label_studio)
        label_studio.wait_until_up()
        backend = BackendServer(folder / "model", folder / "data", label_studio)
        stack.enter_context(backend)
        backend.wait_until_up()
        driver = stack.enter_context(chromium())
        project = label_studio.create_project("ten minutes")
        extra = {"dataset": "study", "components": COMPONENTS, "target": 0.99, "round_clips": ANSWERS}
        label_studio.start_training(label_studio.connect(project, backend, extra))
        backend.wait_for_job(project)
        tasks = label_studio.tasks(project)
        for task, label in zip(tasks, true_labels(root, tasks), strict=True):
            label_studio.annotate(task["id"], label)
        wait_for(lambda: backend.status(project)["annotations"] >= len(tasks), 60, "the answers")
        began = time.perf_counter()
        backend.post(f"review/{project}")
        wait_for(lambda: backend.status(project).get("parts") == 1, 300, "the recording to be ready")
        made = time.perf_counter() - began
        (task,) = (one for one in label_studio.api("GET", "api/projects/")["results"] if "(review)" in one["title"])
        before = samples_of(backend, project)
        wrong = wrong_stretches(before)
        classes = list(dict.fromkeys(before.ground_truth.tolist()))
        config = label_studio.api("GET", f"api/projects/{task['id']}/")["label_config"]
        keys = {name: config.partition(f'value="{name}"')[2].partition('hotkey="')[2][0] for name in classes}
        log_in(driver, label_studio)
        address = f"{label_studio.url}/projects/{task['id']}/data?labeling=1"
        opened, strokes = correct(driver, address, wrong, keys)
        wait_for(lambda: backend.status(project)["parts_reviewed"] == 1, 60, "what was drawn")
        after = samples_of(backend, project)
        person = len(wrong) * (WATCHED + DECIDE + KEY + 4 * POINT + 4 * PRESS) + POINT + PRESS
        row = {
            "right before": f"{100 * (before.label == before.ground_truth).mean():.1f} %",
            "right after": f"{100 * (after.label == after.ground_truth).mean():.1f} %",
            "stretches drawn": len(wrong),
            "made ready": f"{made:.0f} s",
            "page opens": f"{opened:.1f} s",
            "machine, drawing": f"{strokes:.1f} s",
            "person": f"{person:.0f} s",
        }
        show("reviewing", [row])


if __name__ == "__main__":
    main()
