"""Labelling accuracy (section 4 of the paper) on the sample recordings against the number of clusters.

No Label Studio is needed.

Four simulated participants of 4 minutes, three seeds, efficientnet_lite0; the annotator knows the ground truth.
`build/benchmarks` keeps recordings and vectors for the next time.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.harness import Rows
from benchmarks.people import Person, answers_to, classes_of, clustering_of, labelled, measured_in_clips
from ml_backend.clusters import cluster
from ml_backend.embeddings import embedders
from ml_backend.jobs import usable_recordings
from ml_backend.labels import macro_recall
from ml_backend.paper import Track, annotate
from ml_backend.recordings import CheckedRecording, recording_clips
from ml_backend.sample import CLASSES, write_sample
from ml_backend.settings import Parameters, Settings

FOLDER = Path("build/benchmarks")
COMPONENTS = (5, 9, 20, 40, 60)
SEEDS = (1, 2, 3)
MINUTES = 4
SHOWN = {"paper": "the paper's way", "cluster": "labels at the centre", "temporal": "and the model of time"}


def sample_recordings(parameters: Parameters) -> list[CheckedRecording]:
    root = FOLDER / "recordings"
    if not root.is_dir():
        for _ in write_sample(root, participants=4, minutes=MINUTES):
            pass
    return usable_recordings(root, parameters)[0]


def track_of(result: CheckedRecording, parameters: Parameters) -> Track:
    """A recording as its own participant."""
    video, imu = result.video, result.imu
    assert video is not None
    assert imu is not None
    assert imu.labels is not None
    truth = np.array([CLASSES.index(label) for label in imu.labels])
    starts = recording_clips(video, imu, parameters)
    return Track(imu.times, truth, starts, parameters.clip_seconds, parameters.stride_seconds)


def accuracy(track: Track, vectors: np.ndarray, components: int) -> float:
    """Labelling accuracy, mean over seeds; vectors: `(n_clips, dim)`."""
    return float(np.mean([annotate(track, cluster(vectors, components, seed)).accuracy(track) for seed in SEEDS]))


def sample_people() -> list[Person]:
    """The sample recordings with the vectors of their clips and frames."""
    parameters = Parameters()
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    found = []
    for result in sample_recordings(parameters):
        track, video = track_of(result, parameters), result.recording.video
        _, times, frames = embedder.stored(video)
        assert result.imu is not None
        measured = measured_in_clips(result.imu, track)
        found.append(Person(track, embedder.of_clips(video, track.starts), times, np.asarray(frames), measured))
    return found


def measure() -> Rows:
    people = sample_people()
    classes = classes_of(people)
    rows = []
    for components in COMPONENTS:
        found: dict[str, list[float]] = defaultdict(list)
        for person in people:
            runs = []
            for seed in SEEDS:
                clustering = clustering_of("p", person, components, seed)
                answers = answers_to(clustering, person.track, classes)
                runs.append(labelled(person, clustering, answers, classes)[1])
            for way in SHOWN:
                found[way].append(float(np.mean([macro_recall(person.track.truth, run[way]) for run in runs])))
        watched = components * people[0].track.clip_seconds / (MINUTES * 60)
        row = {"clusters a participant": str(components), "share of the video watched": f"{watched:.0%}"}
        for way, title in SHOWN.items():
            row[title] = f"{np.mean(found[way]):.3f} ± {np.std(found[way]):.3f}"
        rows.append(row)
    return rows
