"""What an export of 100 hours takes: 20 participants with 5 recordings of an hour each, 12 channels at 50 Hz, as CSV.

`peak (MB)` is the most that the process ever held, the interpreter and its libraries included.
"""

import os
from pathlib import Path
from shutil import rmtree

import numpy as np
import pyarrow as pa
import pyarrow.csv

from benchmarks.harness import Rows, in_child
from ml_backend.clusters import Clustering
from ml_backend.export import write_export
from ml_backend.labels import Answer, Classes, ParticipantLabels, Threshold, participant_labels
from ml_backend.recordings import ImuFile, ImuFormat, Recording, clip_starts

FOLDER = Path("build/benchmarks/exporting")
PARTICIPANTS, RECORDINGS, SECONDS, RATE, CHANNELS = 20, 5, 3600, 50, 12
CLASSES = Classes(("walking", "jogging", "standing"))


def prepare() -> None:
    """One file of samples, which all recordings are."""
    rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    count = SECONDS * RATE
    columns = {"time": np.arange(count) / RATE}
    columns |= {f"imu_{n}": np.random.default_rng(n).normal(size=count).round(5) for n in range(CHANNELS)}
    pa.csv.write_csv(pa.table(columns), FOLDER / "one.csv")
    (FOLDER / "one.mp4").write_bytes(b"a video, of which only the content counts")
    for name in recordings():
        for suffix in (".csv", ".mp4"):
            os.link(FOLDER / f"one{suffix}", FOLDER / f"{name.replace('/', '-')}{suffix}")


def recordings() -> dict[str, Recording]:
    """All recordings by participant/name."""
    found = {}
    for person in range(PARTICIPANTS):
        for number in range(RECORDINGS):
            file = FOLDER / f"p{person:02}-r{number}"
            imu = ImuFile(file.with_suffix(".csv"), ImuFormat())
            found[f"p{person:02}/r{number}"] = Recording(
                f"p{person:02}", f"r{number}", file.with_suffix(".mp4"), (imu,)
            )
    return found


def labels(person: int) -> ParticipantLabels:
    """A participant's clips in 50 clusters, one clip of each answered."""
    starts = clip_starts(0.0, SECONDS, 4.0, 1.0)
    random, count = np.random.default_rng(person), len(starts) * RECORDINGS
    clusters = np.repeat(random.integers(0, 50, count // 20 + 1), 20)[:count]
    clustering = Clustering(
        participant=f"p{person:02}",
        recordings=tuple(f"r{number}" for number in range(RECORDINGS)),
        durations=np.full(RECORDINGS, float(SECONDS)),
        recording_of_clip=np.repeat(np.arange(RECORDINGS), len(starts)),
        starts=np.tile(starts, RECORDINGS),
        clusters=clusters,
        distances=random.random(count),
        log_density=random.random(count),
        centroids=np.array([np.flatnonzero(clusters == cluster)[0] for cluster in range(50)]),
        clip_seconds=4.0,
        stride_seconds=1.0,
    )
    answers = [
        Answer(clustering.participant, *clustering.stretch(int(clip))[:3], CLASSES.names[int(clip) % 3])
        for clip in clustering.centroids
    ]
    return participant_labels(clustering, answers, CLASSES)


def contend(_prepared: None) -> int:
    """Export everything; how many samples that were."""
    everything = [labels(person) for person in range(PARTICIPANTS)]
    found = write_export(everything, recordings(), CLASSES.names, {"clip_seconds": 4.0}, Threshold(), FOLDER / "out")
    return sum(counts["samples"] for counts in found["participants"].values())


def measure() -> Rows:
    """One row."""
    prepare()
    run = in_child(nothing, contend)
    return [
        {
            "hours": PARTICIPANTS * RECORDINGS * SECONDS / 3600,
            "samples": run.result,
            "seconds": round(run.seconds, 1),
            "peak (MB)": round(run.peak_mb),
        }
    ]


def nothing() -> None:
    """Nothing to prepare in the process that is measured."""
