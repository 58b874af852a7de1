"""Connections that were refused, for the status page: Label Studio shows its users "400 BAD REQUEST" and no reason.

Kept in a file, since the page may be another process's; of each address the last one, until one is taken.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from ml_backend.files import locked, written_atomically
from ml_backend.storage import fresh

MOST, LONGEST = 10, 300
"""Addresses that are kept, and letters of a reason: anybody may be refused."""


@dataclass(frozen=True)
class Refused:
    """A refused connection: from which address, why, and when, as `2026-05-01 12:00`."""

    address: str
    reason: str
    when: str


class Refusals:
    """The last refused connection of each address."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "refused.json"

    def listed(self) -> list[Refused]:
        """Newest last."""
        if not fresh(self._file).is_file():
            return []
        return [Refused(**entry) for entry in json.loads(self._file.read_text(encoding="utf-8"))]

    def note(self, address: str, reason: str | None) -> None:
        """Remember why an address was refused; None where it was let in."""
        if reason is None and not any(one.address == address for one in self.listed()):
            return
        with locked(self._file.with_suffix(".lock")):
            fresh(self._file, now=True)
            kept = [one for one in self.listed() if one.address != address]
            if reason is not None:
                kept.append(
                    Refused(address, reason[:LONGEST], datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"))
                )
            with written_atomically(self._file) as temporary:
                temporary.write_text(json.dumps([asdict(one) for one in kept[-MOST:]]), encoding="utf-8")
