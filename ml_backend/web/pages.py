"""What the status page shows of each project, made once a change and not while anybody waits for it.

A page that is made of what was known a moment ago is shown while the new one is made, by one thread, which rests for
some time after each: the webhooks of Label Studio wait for a second only.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

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
    """Pages by project; `make(project id)` gives one, `stamp(project id)` changes when it would differ."""

    def __init__(self, make: Callable[[int], str], stamp: Callable[[int], str]) -> None:
        self._make, self._stamp = make, stamp
        self._held: dict[int, Held] = {}
        self._making = threading.Lock()

    def page(self, project_id: int) -> str:
        """The page, at most a moment old; the first one is waited for."""
        stamp, held = self._stamp(project_id), self._held.get(project_id)
        if held is None:
            with self._making:
                held = self._held.get(project_id) or self._renewed(project_id, stamp)
        elif held.stamp != stamp and time.monotonic() - held.done_at > REST * held.took:
            threading.Thread(target=self._renew, args=(project_id, stamp), daemon=True).start()
        return held.page

    def fresh(self, project_id: int) -> bool:
        """True if the page shows all that is known."""
        held = self._held.get(project_id)
        return held is not None and held.stamp == self._stamp(project_id)

    def _renew(self, project_id: int, stamp: str) -> None:
        if self._making.acquire(blocking=False):
            try:
                self._renewed(project_id, stamp)
            finally:
                self._making.release()

    def _renewed(self, project_id: int, stamp: str) -> Held:
        began = time.monotonic()
        page = self._make(project_id)
        now = time.monotonic()
        self._held[project_id] = Held(page, stamp, now, now - began)
        return self._held[project_id]
