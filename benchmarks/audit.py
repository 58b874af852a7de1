"""Does an audit's interval hold? Clips are drawn, and answered by the truth, on labels as the product makes them.

`share`: of clips with the right label, `macro recall`: mean over classes; `holds`: how often the true one lies in the
interval at every one of five looks, after 20, 30, 40, 50 and 60 answers; `width`: after 60, half of the runs have
less.
`erring`: the same where annotators name a random class at 5 % of clips, which the upper end allows for. `limit`: how
much narrower than plain random draws any draws could be that know class and tenth of confidence, and how often labels
of each are right, beforehand (the standard deviation of the best allocation, as a ratio). `by confidence`: the same
where one knows how often labels of each confidence are right; `weighed`: of plain draws that are corrected by that,
as by a control variate; `as it is`: of draws by the model's confidence as it is, and corrected by it.

Participants, clusters and answers as in temporal. Run: python -m benchmarks audit; an hour on two cores."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
from sklearn.isotonic import IsotonicRegression

from benchmarks.harness import Rows
from benchmarks.people import Person, answers_to, classes_of, clustering_of, shown_in
from benchmarks.temporal import DATA, UTD_MHAD
from ml_backend.labels import Population, audited, macro_recall, others_of, participant_labels

PLACES = (
    ("sample", 9),
    ("composed real", 8),
    ("UTD-MHAD", 27),
    ("UTD-MHAD", 54),
    ("like WEAR", 50),
    ("like Wetlab", 50),
    ("like ActionSense", 50),
    ("many views", 50),
)
LOOKS = (20, 30, 40, 50, 60)
RUNS, ERRING = 1000, 0.05
LIMITS = ("limit", "by confidence", "weighed", "as it is")
LEAST_DRAWN = 0.3
"""How likely a clip is drawn at least, as a share of one whose label is as likely right as wrong."""
NONE = np.array([], dtype=np.int64)


def population_of(people: Sequence[Person], count: int) -> tuple[Population, np.ndarray]:
    """The labels of all participants after `count` answers each, and what the clips mostly show."""
    classes = classes_of(people)
    clusterings = [clustering_of(str(number), person, count, 1) for number, person in enumerate(people)]
    given = {c.participant: answers_to(c, p.track, classes) for c, p in zip(clusterings, people, strict=True)}
    others = others_of(lambda: clusterings, given, classes)
    found = [participant_labels(c, given[c.participant], classes, "temporal", others) for c in clusterings]
    beliefs = np.zeros((len(classes.names),) * 2)
    for labels in found:
        assert labels.posterior is not None
        np.add.at(beliefs, labels.propagated, labels.posterior)
    return (
        Population(
            np.concatenate([labels.propagated for labels in found]),
            np.concatenate([labels.confidence for labels in found]),
            np.repeat(np.arange(len(found)), [len(labels.propagated) for labels in found]),
            np.concatenate([labels.annotated for labels in found]),
            beliefs / np.maximum(beliefs.sum(axis=1, keepdims=True), 1e-9),
        ),
        np.concatenate([shown_in(person.track) for person in people]),
    )


def measure_audits(population: Population, truth: np.ndarray, erring: float) -> dict[str, str]:
    """How often intervals hold, and how wide they are."""
    right, recall = float((population.labels == truth).mean()), macro_recall(truth, population.labels)
    held, widths = np.zeros((RUNS, 2), dtype=bool), np.zeros((RUNS, 2))
    random = np.random.default_rng(0)
    for run in range(RUNS):
        drawn = population.draw(LOOKS[-1], NONE, run)
        said = truth[drawn].copy()
        wrong = random.random(len(said)) < erring
        said[wrong] = random.integers(0, len(population.beliefs), int(wrong.sum()))
        found = [audited(population, drawn[:n], said[:n]) for n in LOOKS]
        pairs = [((one.share, right), (one.macro_recall, recall)) for one in found if one is not None]
        held[run] = [all(pair[n][0].low <= pair[n][1] <= pair[n][0].high for pair in pairs) for n in (0, 1)]
        widths[run] = [one.high - one.low for one, _ in pairs[-1]]
    share, macro = (f"{100 * held[:, n].mean():.1f}, {100 * np.median(widths[:, n]):.0f}" for n in (0, 1))
    return {"share": share, "macro recall": macro}


def limits(population: Population, truth: np.ndarray) -> dict[str, str]:
    """`limit`, `by confidence`, `weighed` and `as it is` of the module."""
    free = ~population.by_people
    right = (population.labels == truth)[free].astype(float)
    sure = np.nan_to_num(population.confidence)[free]
    group = population.labels[free] * 10 + np.minimum((10 * sure).astype(int), 9)
    of_group = (np.bincount(group, right) / np.maximum(np.bincount(group), 1))[group]
    of_confidence = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(sure, right).predict(sure)
    spread, by_confidence = (np.sqrt(rate * (1 - rate)) for rate in (of_group, of_confidence))
    drawn = np.maximum(2 * np.sqrt(sure * (1 - sure)), LEAST_DRAWN)
    as_it_is = np.sqrt(drawn.mean() * ((right - sure) ** 2 / drawn).mean() - (right - sure).mean() ** 2)
    found = spread.mean(), by_confidence.mean(), np.sqrt((by_confidence**2).mean()), as_it_is
    plain = np.sqrt(right.mean() * (1 - right.mean()))
    return {name: f"{one / plain:.2f}" for name, one in zip(LIMITS, found, strict=True)}


def measure() -> Rows:
    rows = []
    for data, count in PLACES:
        if data.startswith("UTD-MHAD") and not UTD_MHAD.is_dir():
            continue
        population, truth = population_of(DATA[data][0](), count)
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            exact, erring = pool.map(partial(measure_audits, population, truth), (0.0, ERRING))
        rows.append(
            {
                "data": data,
                "answers": count,
                "right": f"{100 * (population.labels == truth).mean():.1f}",
                **{f"{name} (holds, width)": value for name, value in exact.items()},
                **{f"{name}, erring": value for name, value in erring.items()},
                **limits(population, truth),
            }
        )
    return rows
