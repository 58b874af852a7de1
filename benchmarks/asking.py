"""Which clips to ask first? Labels at equal numbers of answers, by what is asked.

`clusters`: as many clusters as answers, each asked once: what the product does without a target. The others cluster
once into FIXED, and ask in rounds of ROUND: `largest`, the largest clusters first; `margin`, those where the two
likeliest classes are nearest to each other, times the root of the cluster's size; `unsure`, those that hold most
clips that are expected to be wrong; `anywhere`, the least sure clip with its neighbours in time, in whatever
cluster; `cover`, the clip that brings all others nearest to one that was asked for: what the product does with a
target; `imu`, where there is one, the clusters about whose clips a classifier of the IMU disagrees most (a random
forest, fitted on what the labels say of other clips). All clips are labelled, also of clusters that nobody was asked
about. With `others known` all other participants are labelled with FIXED answers each.

Macro recall of samples, mean over participants; in brackets the difference to `clusters` with its standard error over
participants. Run: python -m benchmarks asking; a quarter of an hour on two cores."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from benchmarks.harness import Rows
from benchmarks.people import Person, answers_to, classes_of, clustering_of, shown_in
from benchmarks.temporal import DATA, UTD_MHAD
from ml_backend.clusters import Clustering
from ml_backend.labels import (
    Answer,
    Classes,
    Others,
    ParticipantLabels,
    in_order_of_cover,
    macro_recall,
    others_of,
    participant_labels,
)
from ml_backend.recordings import clip_of_samples_by_borders

PLACES = ("sample", "composed real", "UTD-MHAD", "like WEAR", "like ActionSense")
FIXED, ROUND, BUDGETS = 54, 5, (10, 20, 27, 40)
TREES = 100
NEIGHBOURS = 4
"""Clips before and after one that overlap it."""
Pick = Callable[[ParticipantLabels, np.ndarray, int], list[int]]
"""(labels, clips asked so far, how many) → clips to ask next."""


def probable(labels: ParticipantLabels) -> np.ndarray:
    """Posterior of every clip; all classes alike before the first answer."""
    posterior = labels.posterior
    if posterior is None or not posterior.any():
        return np.full((len(labels.said), 2), 0.5)
    return posterior


def by_cluster(labels: ParticipantLabels, asked: np.ndarray, count: int, worth: np.ndarray) -> list[int]:
    """Centroid clips of the clusters of most `worth (C,)` that were not asked."""
    centroids = labels.clustering.centroids
    free = [c for c in np.argsort(-worth, kind="stable") if centroids[c] >= 0 and centroids[c] not in asked]
    return [int(centroids[c]) for c in free[:count]]


def largest(labels: ParticipantLabels, asked: np.ndarray, count: int) -> list[int]:
    return by_cluster(labels, asked, count, labels.clustering.sizes.astype(float))


def margin(labels: ParticipantLabels, asked: np.ndarray, count: int) -> list[int]:
    two = np.sort(probable(labels), axis=1)[:, -2:]
    clustering = labels.clustering
    near = np.bincount(clustering.clusters, 1 - (two[:, 1] - two[:, 0]), len(clustering.centroids))
    return by_cluster(labels, asked, count, near / np.sqrt(np.maximum(clustering.sizes, 1)))


def unsure(labels: ParticipantLabels, asked: np.ndarray, count: int) -> list[int]:
    wrong = 1 - probable(labels).max(axis=1)
    clustering = labels.clustering
    return by_cluster(labels, asked, count, np.bincount(clustering.clusters, wrong, len(clustering.centroids)))


def anywhere(labels: ParticipantLabels, asked: np.ndarray, count: int) -> list[int]:
    wrong = 1 - probable(labels).max(axis=1)
    around = np.convolve(wrong, np.ones(2 * NEIGHBOURS + 1), mode="same")
    if not labels.annotated.any():  # then all are alike: one of each cluster
        return largest(labels, asked, count)
    found: list[int] = []
    for clip in np.argsort(-around, kind="stable"):
        if all(abs(clip - other) > NEIGHBOURS for other in [*asked, *found]):
            found.append(int(clip))
        if len(found) == count:
            break
    return found


def cover(labels: ParticipantLabels, asked: np.ndarray, count: int) -> list[int]:
    free = [int(clip) for clip in labels.clustering.centroids if clip >= 0 and clip not in asked]
    return [clip for clip, _ in in_order_of_cover(labels, asked.tolist(), free)[:count]]


def by_imu(measured: np.ndarray, labels: ParticipantLabels, asked: np.ndarray, count: int) -> list[int]:
    if len(np.unique(labels.propagated)) < 2:
        return largest(labels, asked, count)
    forest = RandomForestClassifier(TREES, oob_score=True, random_state=0, n_jobs=-1)
    forest.fit(measured, labels.propagated)
    own = np.searchsorted(forest.classes_, labels.propagated)
    doubt = 1 - np.nan_to_num(forest.oob_decision_function_)[np.arange(len(own)), own]
    clustering = labels.clustering
    return by_cluster(labels, asked, count, np.bincount(clustering.clusters, doubt, len(clustering.centroids)))


WAYS: dict[str, Pick] = {
    "largest": largest,
    "margin": margin,
    "unsure": unsure,
    "anywhere": anywhere,
    "cover": cover,
}


def asked_in_rounds(
    person: Person, clustering: Clustering, classes: Classes, pick: Pick, others: Others | None
) -> dict[int, ParticipantLabels]:
    """Labels at each of BUDGETS."""
    shown, found = shown_in(person.track), {}
    asked = np.array([], dtype=np.int64)
    labels = participant_labels(clustering, [], classes, "temporal", others)
    while len(asked) < BUDGETS[-1]:
        following = next(budget for budget in BUDGETS if budget > len(asked))
        more = pick(labels, asked, min(ROUND, following - len(asked)))
        if not more:
            break
        asked = np.r_[asked, more]
        answers = [answer_about(clustering, clip, classes.names[shown[clip]], person) for clip in asked]
        labels = participant_labels(clustering, answers, classes, "temporal", others, everywhere=True)
        found |= {budget: labels for budget in BUDGETS if budget == len(asked)}
    return {budget: found.get(budget, labels) for budget in BUDGETS}  # who has fewer clusters has no more to ask


def answer_about(clustering: Clustering, clip: int, name: str, person: Person) -> Answer:
    start = float(clustering.starts[clip])
    return Answer(clustering.participant, "r", start, start + person.track.clip_seconds, name)


def recall(person: Person, labels: ParticipantLabels) -> float:
    """Macro recall of the samples, in per cent."""
    clip = clip_of_samples_by_borders(person.track.times, labels.borders, np.inf)
    return 100 * macro_recall(person.track.truth, labels.propagated[np.maximum(clip, 0)])


def measure_people(people: Sequence[Person], informed: bool) -> dict[int, dict[str, list[float]]]:
    """Budget → way → macro recall of each participant."""
    classes = classes_of(people)
    fixed = [clustering_of(str(number), person, FIXED, 1) for number, person in enumerate(people)]
    given = {c.participant: answers_to(c, p.track, classes) for c, p in zip(fixed, people, strict=True)}
    found: dict[int, dict[str, list[float]]] = {budget: {} for budget in BUDGETS}
    for number, (person, clustering) in enumerate(zip(people, fixed, strict=True)):
        rest = {name: own for name, own in given.items() if name != str(number)}
        others = others_of(lambda: fixed, rest, classes) if informed else None
        for budget in BUDGETS:
            many = clustering_of(str(number), person, budget, 1)
            labels = participant_labels(many, answers_to(many, person.track, classes), classes, "temporal", others)
            found[budget].setdefault("clusters", []).append(recall(person, labels))
        ways = WAYS if person.imu is None else {**WAYS, "imu": partial(by_imu, person.imu)}
        for way, pick in ways.items():
            for budget, labels in asked_in_rounds(person, clustering, classes, pick, others).items():
                found[budget].setdefault(way, []).append(recall(person, labels))
    return found


def measure() -> Rows:
    rows = []
    for data in PLACES:
        if data.startswith("UTD-MHAD") and not UTD_MHAD.is_dir():
            continue
        people = DATA[data][0]()
        for informed in (False, True):
            for budget, ways in measure_people(people, informed).items():
                base = np.array(ways["clusters"])
                cells = {"clusters": f"{base.mean():.1f}", **dict.fromkeys([*WAYS, "imu"], "")}
                for way, own in ways.items():
                    if way != "clusters":
                        difference = np.array(own) - base
                        error = difference.std(ddof=1) / np.sqrt(len(difference))
                        cells[way] = f"{np.mean(own):.1f} ({difference.mean():+.1f} ± {error:.1f})"
                label = f"{data}, others known" if informed else data
                rows.append({"data": label, "answers": budget, **cells})
    return rows
