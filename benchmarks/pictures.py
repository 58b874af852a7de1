"""The pictures of README and docs, of a real Label Studio in Chromium: `make pictures` writes them into docs/.

labelling.gif: an annotator labels three clips by keys; labelling.png: the page; review.png: a whole recording to go
through; status.png: the status page, which build/ then has at three widths of a screen, to be looked at.
"""

import io
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from ml_backend.sample import USER, BackendServer, LabelStudioServer, true_labels, wait_for, write_sample

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SWITCHES = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking"),
    *("disable-component-update", "disable-sync", "no-first-run"),
)
SIZE = 1280, 720
GIF_WIDTH, GIF_COLOURS, GIF_MILLISECONDS = 720, 64, 250
WIDTHS = 1280, 768, 390
KEYS = {"null": "0", "walking": "1", "jogging": "2", "squats": "3", "jumping_jacks": "4", "sit_ups": "5"}
KEYS |= {"push_ups": "6", "lunges": "7", "stretching": "8"}


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser without a window, of SIZE."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for switch in SWITCHES:
        options.add_argument(f"--{switch}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        resize(driver, *SIZE)
        yield driver
    finally:
        driver.quit()


def resize(driver: webdriver.Chrome, width: int, height: int) -> None:
    """The page's own size, without the browser's frame."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def log_in(driver: webdriver.Chrome, label_studio: LabelStudioServer, user: str = USER, password: str = "") -> None:
    """As the user that the server was started with, or another."""
    driver.get(f"{label_studio.url}/user/login")
    driver.find_element(By.NAME, "email").send_keys(user)
    driver.find_element(By.NAME, "password").send_keys(password or label_studio.password, Keys.ENTER)
    WebDriverWait(driver, 30).until(lambda page: "login" not in page.current_url)


def label_by_keys(
    driver: webdriver.Chrome, label_studio: LabelStudioServer, project: int, root: Path
) -> list[Image.Image]:
    """Label three clips in the labelling stream; what the screen showed meanwhile."""
    shots: list[Image.Image] = []

    def look(times: int) -> None:
        for _ in range(times):
            shots.append(Image.open(io.BytesIO(driver.get_screenshot_as_png())))
            time.sleep(0.15)

    driver.get(f"{label_studio.url}/projects/{project}/data?labeling=1")
    for number, task in enumerate(label_studio.tasks(project)[:3]):
        wait_for_clip(driver, task["data"]["about"])
        if number == 0:
            driver.save_screenshot(str(DOCS / "labelling.png"))
        look(9)
        body = driver.find_element(By.TAG_NAME, "body")
        body.send_keys(KEYS[true_labels(root, [task])[0]])
        look(3)
        body.send_keys(Keys.CONTROL, Keys.ENTER)
    look(4)
    return shots


def wait_for_clip(driver: webdriver.Chrome, about: str) -> None:
    """Until the clip that says this of itself plays."""
    playing = "const v = document.querySelector('video'); return v && v.readyState >= 3 && v.currentTime > 0"
    WebDriverWait(driver, 60).until(lambda page: about in page.page_source and page.execute_script(playing))


def save_gif(shots: list[Image.Image], target: Path) -> None:
    """An animation that loops, with few colours."""
    height = round(SIZE[1] * GIF_WIDTH / SIZE[0])
    small = [shot.convert("RGB").resize((GIF_WIDTH, height)).quantize(GIF_COLOURS) for shot in shots]
    small[0].save(target, save_all=True, append_images=small[1:], duration=GIF_MILLISECONDS, loop=0, optimize=True)


def main() -> None:
    """Make all pictures."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "data" / "study"
        for _ in write_sample(root, 2, 2):
            pass
        label_studio = LabelStudioServer(str(ROOT / ".venv-label-studio" / "bin" / "label-studio"), folder / "ls")
        with label_studio, chromium() as driver, ExitStack() as stack:
            label_studio.wait_until_up()
            backend = BackendServer(folder / "model", folder / "data", label_studio)
            stack.enter_context(backend)
            backend.wait_until_up()
            project = label_studio.create_project("Fitness study")
            model = label_studio.connect(project, backend, {"dataset": "study", "components": 12})
            label_studio.start_training(model)
            backend.wait_for_job(project)
            log_in(driver, label_studio)
            save_gif(label_by_keys(driver, label_studio, project, root), DOCS / "labelling.gif")
            tasks = label_studio.tasks(project)[3:18]
            for task, label in zip(tasks, true_labels(root, tasks), strict=True):
                label_studio.annotate(task["id"], label)
            time.sleep(5)
            show_review(driver, label_studio, backend, project)
            show_status(driver, backend, SIZE[0], DOCS / "status.png")
            (ROOT / "build").mkdir(exist_ok=True)
            for width in WIDTHS:
                show_status(driver, backend, width, ROOT / "build" / f"status-{width}.png")


def show_review(
    driver: webdriver.Chrome, label_studio: LabelStudioServer, backend: BackendServer, project: int
) -> None:
    """A recording with its signals and labels."""
    backend.post(f"review/{project}")
    wait_for(lambda: backend.status(project).get("parts") == 2, 120, "the recordings to be ready")
    (review,) = label_studio.api("GET", "api/projects/", params={"title": "Fitness study (review)"})["results"]
    resize(driver, *SIZE)
    driver.get(f"{label_studio.url}/projects/{review['id']}/data?labeling=1")
    WebDriverWait(driver, 60).until(lambda page: page.find_elements(By.CSS_SELECTOR, "svg .overlay"))
    time.sleep(4)
    driver.save_screenshot(str(DOCS / "review.png"))


def show_status(driver: webdriver.Chrome, backend: BackendServer, width: int, target: Path) -> None:
    """The whole status page at a width."""
    resize(driver, width, SIZE[1])
    driver.get(backend.url)
    resize(driver, width, int(driver.execute_script("return document.documentElement.scrollHeight")))
    driver.save_screenshot(str(target))


if __name__ == "__main__":
    main()
