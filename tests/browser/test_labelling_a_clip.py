"""An annotator in headless Chromium: opens a task, sees the clip play and loop, presses a key, submits."""

from collections.abc import Callable
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.pictures import log_in
from ml_backend.sample import BackendServer, LabelStudioServer, wait_for


def test_a_clip_loops_and_one_key_labels_its_cluster(
    browser: webdriver.Chrome,
    label_studio: LabelStudioServer,
    start_backend: Callable[..., BackendServer],
    tmp_path: Path,
) -> None:
    backend = start_backend()
    project = label_studio.create_project("browser")
    model = label_studio.connect(project, backend, {"dataset": "study", "components": 4})
    label_studio.start_training(model)
    backend.wait_for_job(project)
    task = label_studio.tasks(project)[0]

    log_in(browser, label_studio)
    browser.get(f"{label_studio.url}/projects/{project}/data?task={task['id']}")
    WebDriverWait(browser, 60).until(lambda page: page.find_element(By.CSS_SELECTOR, "video"))

    def state(name: str) -> float:
        """Of the player that the page holds now: Label Studio may draw it anew; not a number between two."""
        return float(browser.execute_script(f"return Number(document.querySelector('video')?.{name})") or "nan")

    wait_for(lambda: state("readyState") >= 3, 30, "the clip to load")
    assert state("loop") == 1
    assert state("duration") == pytest.approx(4.0, abs=0.1)
    wait_for(lambda: state("currentTime") > 3, 15, "the clip to play by itself")
    wait_for(lambda: state("currentTime") < 2, 15, "the clip to start again")
    browser.save_screenshot(str(tmp_path / "labelling.png"))
    assert browser.find_element(By.XPATH, "//*[text()='stretching']").location["y"] < 768

    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys("3")
    body.send_keys(Keys.CONTROL, Keys.ENTER)
    wait_for(lambda: backend.status(project)["annotations"] == 1, 30, "the webhook of the submitted label")

    browser.get(backend.url)
    browser.save_screenshot(str(tmp_path / "status.png"))
    strip = browser.find_element(By.CSS_SELECTOR, ".strip:not(.truth) i")
    assert strip.get_attribute("title").startswith("squats")
