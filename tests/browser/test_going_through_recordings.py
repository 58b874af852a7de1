"""An annotator goes through a recording in headless Chromium: what is drawn there is what is exported."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from commands import weakhar
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.pictures import log_in
from ml_backend.sample import BackendServer, LabelStudioServer, true_labels, wait_for


def test_what_is_drawn_over_a_recording_is_exported_and_other_parts_get_the_labels_anew(
    browser: webdriver.Chrome,
    label_studio: LabelStudioServer,
    start_backend: Callable[..., BackendServer],
    dataset: Path,
    tmp_path: Path,
) -> None:
    backend = start_backend()
    project = label_studio.create_project("gone through")
    model = label_studio.connect(project, backend, {"dataset": "study", "components": 4})
    label_studio.start_training(model)
    backend.wait_for_job(project)
    early = weakhar(backend, "review", "--project", str(project))
    assert "has no labels to go through yet" in early.stderr
    tasks = label_studio.tasks(project)
    for task, label in zip(tasks, true_labels(dataset, tasks), strict=True):
        label_studio.annotate(task["id"], label)
    wait_for(lambda: backend.status(project)["annotations"] == len(tasks), 30, "the answers")

    browser.get(f"{backend.url}/?project={project}")
    browser.find_element(By.XPATH, "//button[text()='Make them ready']").click()
    link = "//a[text()='Go through them in Label Studio']"
    WebDriverWait(browser, 120).until(lambda page: page.find_elements(By.XPATH, link))
    wait_for(lambda: backend.status(project)["parts"] == 2, 60, "both parts")
    backend.wait_for_job(project)
    address = browser.find_element(By.XPATH, link).get_attribute("href")
    review = int(str(address).rstrip("/").rpartition("/")[2])
    before = predictions(label_studio, review)
    assert all(len(found) == 1 for found in before.values())

    log_in(browser, label_studio)
    browser.get(f"{label_studio.url}/projects/{review}/data?labeling=1")
    waiting = WebDriverWait(browser, 60, ignored_exceptions=[StaleElementReferenceException])
    waiting.until(drawn_signals)
    waiting.until(lambda page: page.execute_script(READY) >= 3)
    about = browser.find_element(By.XPATH, "//h4[contains(text(), 'correct what is wrong')]").text
    ActionChains(browser).send_keys("9").perform()  # stretching
    chart = waiting.until(drawn_signals)  # which is drawn anew when the video is there
    ActionChains(browser).move_to_element_with_offset(chart, 0, 0).click_and_hold().move_by_offset(60, 0).pause(
        0.2
    ).move_by_offset(60, 0).release().perform()
    browser.save_screenshot(str(tmp_path / "review.png"))
    browser.find_element(By.XPATH, "//button[normalize-space()='Submit']").click()
    wait_for(lambda: backend.status(project)["parts_reviewed"] == 1, 30, "the webhook of what was drawn")

    participant = about.partition("/")[0]
    (task,) = (one for one in label_studio.tasks(review) if one["annotations"])
    (region,) = (one for one in task["annotations"][0]["result"] if one["origin"] == "manual")
    target = tmp_path / "out"
    done = weakhar(backend, "export", str(target), "--project", str(project))
    assert done.returncode == 0, done.stderr
    samples = pd.read_parquet(target / "samples")
    own = samples[samples.participant == participant]
    assert set(own.source) == {"reviewed"}
    start, end = region["value"]["start"], region["value"]["end"]
    inside = (own.time >= start) & (own.time < end)
    assert end - start > 1
    assert set(own[inside].label) == {"stretching"}
    assert "reviewed" not in set(samples[samples.participant != participant].source)
    outside = own[~inside]
    assert (outside.label == outside.propagated_label).mean() > 0.8

    again = weakhar(backend, "review", "--project", str(project))
    assert "0 of 2 parts were made ready" in again.stdout, again.stderr
    after = predictions(label_studio, review)
    assert after.pop(task["id"]) == before.pop(task["id"])  # somebody has touched it
    assert after != before
    browser.get(f"{label_studio.url}/projects/{review}/data?labeling=1")
    waiting.until(drawn_signals)
    wait_for(lambda: "Labeled regions will appear here" not in browser.page_source, 30, "the other part's labels")
    label_studio.api("DELETE", f"api/annotations/{task['annotations'][0]['id']}/")
    wait_for(lambda: backend.status(project)["parts_reviewed"] == 0, 30, "the deletion")


READY = "return document.querySelector('video')?.readyState ?? 0"


def drawn_signals(browser: webdriver.Chrome) -> object:
    """The first chart over which one can draw."""
    found = [one for one in browser.find_elements(By.CSS_SELECTOR, "svg") if one.size["width"] > 200]
    return next((one for one in found if one.size["height"] > 60), False)


def predictions(label_studio: LabelStudioServer, review: int) -> dict[int, list[object]]:
    """What is predicted of each task."""
    return {task["id"]: [one["result"] for one in task["predictions"]] for task in label_studio.tasks(review)}
