"""What the status page shows of each project, made once a change and not while anybody waits for it.

A page that is made of what was known a moment ago is shown while the new one is made, by one thread, which rests for
some time after each: the webhooks of Label Studio wait for a second only.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ml_backend.jobs import Project

REST = 30.0
"""Times as long as it took to make a page, before the next is made: a thirtieth of the time goes into pages."""


@dataclass
class Held:
    """A page, and of what it was made: `stamp`; the time when it was done, and how long it took, in seconds."""

    page: str
    stamp: str
    done_at: float
    took: float


class Pages:
    """Pages by project; `make` gives one, `stamp` changes when it would differ."""

    def __init__(self, make: Callable[[Project], str], stamp: Callable[[Project], str]) -> None:
        self._make, self._stamp = make, stamp
        self._held: dict[int, Held] = {}
        self._making = threading.Lock()

    def page(self, project: Project) -> tuple[str, bool]:
        """The page, at most a moment old, and whether it shows all that is known; the first one is waited for."""
        stamp, held = self._stamp(project), self._held.get(project.id)
        if held is None:
            with self._making:
                held = self._held.get(project.id) or self._renewed(project, stamp)
        elif held.stamp != stamp and time.monotonic() - held.done_at > REST * held.took:
            threading.Thread(target=self._renew, args=(project, stamp), daemon=True).start()
        return held.page, held.stamp == stamp

    def _renew(self, project: Project, stamp: str) -> None:
        if self._making.acquire(blocking=False):
            try:
                self._renewed(project, stamp)
            finally:
                self._making.release()

    def _renewed(self, project: Project, stamp: str) -> Held:
        began = time.monotonic()
        page = self._make(project)
        now = time.monotonic()
        self._held[project.id] = Held(page, stamp, now, now - began)
        return self._held[project.id]
