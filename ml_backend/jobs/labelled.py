"""A project's labels, participant by participant: each is made when it is looked at, and held while there is room,
so that ten million clips need no more memory than a million.

Where participants inform each other, what all of them say is held beside; it is small.
"""

import hashlib
import json
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, cached_property, partial
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from ml_backend.clusters import Clustering, clustering_stamp, load_clustering, participant_folder
from ml_backend.errors import ConfigError
from ml_backend.files import written_atomically
from ml_backend.labels import Answer, Classes, Others, ParticipantLabels, others_of, participant_labels, reliabilities

HELD_CLIPS = 1_000_000
"""Of all projects; the labels of one clip are some 700 bytes, with what they are made of."""
PROJECTS_HELD = 16
"""Of so many what participants say to others is held."""
TEMPERATURE_RECIPE = b"1"
"""Changes when a temperature is found in another way."""

_held: OrderedDict[tuple[Path, str, str, str], tuple[Hashable, ParticipantLabels]] = OrderedDict()
_others: OrderedDict[tuple[Path, str, str], tuple[Hashable, Others | None]] = OrderedDict()
_making = threading.RLock()


class ProjectLabels(Sequence[ParticipantLabels]):
    """The labels of `participants`, in their order, each made when it is asked for. made_of: equal where the labels
    are.

    `track` names the control that the answers are of, `across`: participants inform each other, `everywhere` as of
    participant_labels."""

    def __init__(
        self,
        folder: Path,
        participants: Sequence[str],
        answers: Sequence[Answer],
        classes: Classes,
        propagation: str,
        across: bool,
        everywhere: bool,
        track: str = "",
    ) -> None:
        self.participants = tuple(participants)
        self._folder, self._classes, self._propagation = folder, classes, propagation
        self._across, self._everywhere, self._track = across, everywhere, track
        self._read: dict[str, Clustering] = {}
        self._answers = _by_participant(answers)
        self._known = reliabilities(answers)
        common = (classes, propagation, everywhere, tuple(sorted(self._known.items())))
        self._made_of = {
            name: (clustering_stamp(folder, name), tuple(self._answers.get(name, ())), common)
            for name in participants
        }
        self.made_of: Hashable = (tuple(self._made_of.values()), across)
        _forget_others_than(folder, set(self.participants))

    def __iter__(self) -> Iterator[ParticipantLabels]:
        return map(self._of, self.participants)  # Sequence's own takes any IndexError for the end

    def __len__(self) -> int:
        return len(self.participants)

    @overload
    def __getitem__(self, which: int) -> ParticipantLabels: ...

    @overload
    def __getitem__(self, which: slice) -> list[ParticipantLabels]: ...

    def __getitem__(self, which: int | slice) -> ParticipantLabels | list[ParticipantLabels]:
        """One participant's labels, or those of several."""
        if isinstance(which, slice):
            return [self._of(name) for name in self.participants[which]]
        return self._of(self.participants[which])

    def _of(self, name: str) -> ParticipantLabels:
        place = (self._folder, self._propagation, self._track, name)
        with _making:
            others = self._what_others_say
            made_of = self._made_of[name], others  # which are the same object until anybody's answers change
            known = _held.get(place)
            if known is None or known[0] != made_of:
                known = made_of, self._make(name, others)
                _held[place] = known
                _make_room()
            _held.move_to_end(place)
        return known[1]

    def _make(self, name: str, others: Others | None) -> ParticipantLabels:
        # The matrices are small: threads for linear algebra get into each other's way, most on a busy machine.
        with _linear_algebra().limit(limits=1, user_api="blas"):
            return participant_labels(
                self._load(name),
                self._answers.get(name, []),
                self._classes,
                self._propagation,
                others,
                partial(_temperature, self._folder, self._track),
                self._everywhere,
                self._known,
            )

    @cached_property
    def _what_others_say(self) -> Others | None:
        """Asked for under the lock; once found it stays the same to whoever goes through all."""
        if not self._across:
            return None
        place = (self._folder, self._propagation, self._track)
        known = _others.get(place)
        if known is None or known[0] != self.made_of:
            with _linear_algebra().limit(limits=1, user_api="blas"):
                clusterings = partial(map, self._load, self.participants)
                found = others_of(clusterings, self._answers, self._classes, self._known)
            _others[place] = known = self.made_of, found
        _others.move_to_end(place)
        while len(_others) > PROJECTS_HELD:
            _others.popitem(last=False)
        return known[1]

    def _load(self, name: str) -> Clustering:
        """A participant's clusters: what they say to others, and their own labels, are made of the same reading."""
        if (known := self._read.get(name)) is None:
            with suppress(FileNotFoundError):
                known = load_clustering(self._folder, name)
            if known is None or clustering_stamp(self._folder, name) != self._made_of[name][0]:
                raise ConfigError(f"{name}: its clusters were made anew, or forgotten, meanwhile; try again")
            if sum(len(one.starts) for one in self._read.values()) < HELD_CLIPS:
                self._read[name] = known
        return known


def _forget_others_than(folder: Path, participants: Collection[str]) -> None:
    """Hold nothing of who does not belong to a project any more, nor of projects that are gone."""
    with _making:
        folders = {place[0] for place in _held} | {place[0] for place in _others}
        gone = {one for one in folders if not one.is_dir()}
        for held in [one for one in _held if one[0] in gone or (one[0] == folder and one[3] not in participants)]:
            del _held[held]
        for said in [one for one in _others if one[0] in gone]:
            del _others[said]


def _make_room() -> None:
    while len(_held) > 1 and sum(len(labels.said) for _, labels in _held.values()) > HELD_CLIPS:
        _held.popitem(last=False)


@cache
def _linear_algebra() -> ThreadpoolController:
    return ThreadpoolController()


def _by_participant(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        found[answer.participant].append(answer)
    return found


def _temperature(
    folder: Path, track: str, clustering: Clustering, said: npt.NDArray[np.int64], find: Callable[[], float | None]
) -> float | None:
    """A participant's temperature, written down beside its clusters with the answers that it was found by."""
    name = f"temperature-{track}.json" if track else "temperature.json"
    file = participant_folder(folder, clustering.participant) / name
    made_of = hashlib.sha256(clustering.clusters.tobytes() + said.tobytes() + TEMPERATURE_RECIPE).hexdigest()
    if file.is_file():
        known = json.loads(file.read_text())
        if known["made_of"] == made_of:
            found: float | None = known["temperature"]
            return found
    found = find()
    if not file.parent.is_dir():  # forgotten meanwhile: nothing brings them back
        return found
    with written_atomically(file) as temporary:
        temporary.write_text(json.dumps({"made_of": made_of, "temperature": found}))
    return found
