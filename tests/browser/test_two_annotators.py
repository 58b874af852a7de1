"""Two annotators in a browser each: they disagree on a clip, which a third is then offered."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.pictures import chromium
from ml_backend.sample import BackendServer, LabelStudioServer, wait_for

PASSWORD = "correct-horse-1"


def sign_up(driver: webdriver.Chrome, label_studio: LabelStudioServer, email: str) -> None:
    """As a colleague does, who was sent the invitation."""
    driver.get(label_studio.url + label_studio.api("GET", "api/invite")["invite_url"])
    driver.find_element(By.NAME, "email").send_keys(email)
    driver.find_element(By.NAME, "password").send_keys(PASSWORD, Keys.ENTER)
    WebDriverWait(driver, 30).until(lambda page: "signup" not in page.current_url)


@pytest.fixture
def browsers() -> Iterator[list[webdriver.Chrome]]:
    with ExitStack() as stack:
        yield [stack.enter_context(chromium()) for _ in range(2)]


def submit(driver: webdriver.Chrome, label_studio: LabelStudioServer, project: int, key: str) -> str:
    """Answer the clip that the labelling stream offers; what it says of itself."""
    driver.get(f"{label_studio.url}/projects/{project}/data?labeling=1")
    about = "//h4[contains(text(), 'Clip ')]"
    WebDriverWait(driver, 60).until(lambda page: page.find_elements(By.XPATH, about))
    said = driver.find_element(By.XPATH, about).text
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys(key)
    body.send_keys(Keys.CONTROL, Keys.ENTER)
    return said


def test_a_clip_on_which_two_disagree_is_offered_to_a_third(
    browsers: list[webdriver.Chrome],
    label_studio: LabelStudioServer,
    start_backend: Callable[..., BackendServer],
    tmp_path: Path,
) -> None:
    backend = start_backend()
    project = label_studio.create_project("two annotators")
    label_studio.api("PATCH", f"api/projects/{project}/", json={"maximum_annotations": 2})
    model = label_studio.connect(project, backend, {"dataset": "study", "components": 2})
    label_studio.start_training(model)
    backend.wait_for_job(project)
    (first, second), name = browsers, tmp_path.name
    for driver, who in ((first, "anna"), (second, "ben")):
        sign_up(driver, label_studio, f"{who}-{name}@example.com")
    said = submit(first, label_studio, project, "1")
    wait_for(lambda: backend.status(project)["annotations"] == 1, 30, "the first answer")
    assert submit(second, label_studio, project, "2") == said

    def offered_to(people: int) -> bool:
        return [task["overlap"] for task in label_studio.tasks(project)].count(people) == 1

    wait_for(lambda: offered_to(3), 60, "the clip to be offered to a third")
    second.get(backend.url)  # which brings itself up to date
    wait_for(lambda: "annotators disagree" in second.page_source, 30, "the page to name the tie")

    second.delete_all_cookies()
    sign_up(second, label_studio, f"eva-{name}@example.com")
    assert submit(second, label_studio, project, "2") == said
    wait_for(lambda: backend.status(project)["annotations"] == 3, 30, "the third answer")
    assert offered_to(3)
    second.get(backend.url)
    wait_for(lambda: "annotators disagree" not in second.page_source, 30, "the page to name no tie")
    assert second.find_element(By.CSS_SELECTOR, ".strip:not(.truth) i").get_attribute("title").startswith("jogging")
