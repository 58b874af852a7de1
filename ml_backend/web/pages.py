"""What the status page shows of each project, made once a change and not while anybody waits for it.

A page that is made of what was known a moment ago is shown while the new one is made, by one thread, which rests for
some time after each: the webhooks of Label Studio wait for a second only.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ml_backend.jobs import Project
from ml_backend.web.report import Part

REST = 30.0
"""Times as long as it took to make a page, before the next is made: a thirtieth of the time goes into pages."""
MOST = 100
"""Pages that are kept: people look for names."""


@dataclass
class Held:
    """A page, and of what it was made: `stamp`; the time when it was done, and how long it took, in seconds."""

    page: str
    stamp: str
    done_at: float
    took: float


class Pages:
    """Pages by project and part of it; `make` gives one, `stamp` changes when it would differ."""

    def __init__(self, make: Callable[[Project, Part], str], stamp: Callable[[Project], str]) -> None:
        self._make, self._stamp = make, stamp
        self._held: dict[tuple[int, Part], Held] = {}
        self._making = threading.Lock()

    def page(self, project: Project, part: Part) -> tuple[str, bool]:
        """The page, at most a moment old, and whether it shows all that is known; the first one is waited for."""
        stamp, held = self._stamp(project), self._held.get((project.id, part))
        if held is None:
            with self._making:
                held = self._held.get((project.id, part)) or self._renewed(project, part, stamp)
        elif held.stamp != stamp and time.monotonic() - held.done_at > REST * held.took:
            threading.Thread(target=self._renew, args=(project, part, stamp), daemon=True).start()
        return held.page, held.stamp == stamp

    def _renew(self, project: Project, part: Part, stamp: str) -> None:
        if self._making.acquire(blocking=False):
            try:
                self._renewed(project, part, stamp)
            finally:
                self._making.release()

    def _renewed(self, project: Project, part: Part, stamp: str) -> Held:
        began = time.monotonic()
        page = self._make(project, part)
        now = time.monotonic()
        self._held[project.id, part] = held = Held(page, stamp, now, now - began)
        while len(self._held) > MOST:
            self._held.pop(next(iter(self._held)), None)
        return held
