"""What an export says of each sample: by which clip it is labelled, and whether a person watched it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from ml_backend.clusters import Clustering
from ml_backend.errors import ConfigError
from ml_backend.export import write_export
from ml_backend.labels import Answer, Classes, ParticipantLabels, parse_threshold, participant_labels
from ml_backend.recordings import ImuFile, ImuFormat, Recording
from training.approaches import Approach, training_labels
from training.contract import COLUMNS
from training.dataset import read_dataset
from training.errors import TrainingError

CLASSES = Classes(("null", "walking", "jogging"))
ANSWERS = [Answer("p01", "session", 4.0, 8.0, "walking"), Answer("p01", "session", 25.0, 29.0, "jogging")]


def labelled(propagation: str) -> ParticipantLabels:
    """37 clips of 40 s: cluster 0 until the clip at 17 s, cluster 1 from then on."""
    clips = np.arange(37)
    clusters = (clips >= 18).astype(np.int64)
    clustering = Clustering(
        participant="p01",
        recordings=("session",),
        durations=np.array([40.0]),
        recording_of_clip=np.zeros(37, np.int64),
        starts=clips.astype(float),
        clusters=clusters,
        distances=np.abs(clips - np.where(clusters, 25, 4)).astype(float),
        log_density=np.zeros(37),
        centroids=np.array([4, 25]),
        clip_seconds=4.0,
        stride_seconds=1.0,
        principal_components=np.stack([6.0 * clusters + 0.1 * np.sin(clips), np.cos(clips)], axis=1),
    )
    return participant_labels(clustering, ANSWERS, CLASSES, propagation)


def exported(sample_root: Path, target: Path, propagation: str, threshold: str = "none") -> pyarrow.Table:
    folder = sample_root / "p01"
    recording = Recording("p01", "session", folder / "session.mp4", (ImuFile(folder / "session.csv", ImuFormat()),))
    parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": propagation == "cluster"}
    everything, wanted = [labelled(propagation)], parse_threshold(threshold)
    write_export(everything, {"p01/session": recording}, CLASSES.names, parameters, wanted, target)
    return pyarrow.parquet.read_table(target / "samples" / "p01.parquet")


def stretch(table: pyarrow.Table, column: str, value: str) -> tuple[float, float]:
    """First and last time at which a column has a value, if it has it all the while between."""
    times, found = table["time"].to_numpy(), np.array(table[column].to_pylist()) == value
    first, last = times[found][[0, -1]]
    assert found[(times >= first) & (times <= last)].all()
    return float(first), float(last)


def test_a_label_changes_between_the_centres_of_the_clips_and_a_watched_clip_is_annotated_whole(
    sample_root: Path, tmp_path: Path
) -> None:
    table = exported(sample_root, tmp_path / "out", "temporal")
    assert [name for name in table.column_names if name in COLUMNS] == list(COLUMNS)
    assert stretch(table, "label", "walking") == pytest.approx((0.0, 19.5), abs=0.021)
    assert stretch(table, "label", "jogging") == pytest.approx((19.5, 39.98), abs=0.021)
    times, watched = table["time"].to_numpy(), np.array(table["source"].to_pylist()) == "annotated"
    np.testing.assert_array_equal(
        watched, ((times >= 4) & (times < 8 - 1e-6)) | ((times >= 25) & (times < 29 - 1e-6))
    )
    assert table["clip"][0].as_py() == 0
    assert table["clip"][-1].as_py() == 36


def test_paper_exact_gives_a_clips_label_to_its_first_stride(sample_root: Path, tmp_path: Path) -> None:
    table = exported(sample_root, tmp_path / "out", "cluster")
    assert stretch(table, "label", "walking") == pytest.approx((0.0, 17.98), abs=0.001)
    watched = table["time"].to_numpy()[np.array(table["source"].to_pylist()) == "annotated"]
    assert watched.min() == pytest.approx(4.0)
    assert watched.max() == pytest.approx(25.98)
    assert len(watched) == 100
    assert table["confidence"].null_count == table.num_rows


@pytest.mark.parametrize("propagation", ["temporal", "cluster"])
@pytest.mark.parametrize("threshold", ["none", "5", "50%", "7%"])
def test_training_derives_the_threshold_that_an_export_would_have(
    sample_root: Path, tmp_path: Path, propagation: str, threshold: str
) -> None:
    exported(sample_root, tmp_path / "all", propagation)
    exported(sample_root, tmp_path / "kept", propagation, threshold)
    everything, kept = read_dataset(tmp_path / "all"), read_dataset(tmp_path / "kept")
    derived = training_labels(everything, everything.participants[0], Approach("weak-ce", threshold), seed=1)
    np.testing.assert_array_equal(derived, kept.participants[0].weak)


def test_confidence_is_a_threshold_of_exports_by_the_model_of_time(sample_root: Path, tmp_path: Path) -> None:
    exported(sample_root, tmp_path / "all", "temporal")
    kept = exported(sample_root, tmp_path / "kept", "temporal", "p0.9")
    everything = read_dataset(tmp_path / "all")
    derived = training_labels(everything, everything.participants[0], Approach("weak-ce", "p0.9"), seed=1)
    np.testing.assert_array_equal(derived, read_dataset(tmp_path / "kept").participants[0].weak)
    assert kept["propagated_label"].null_count == 0
    with pytest.raises(ConfigError, match="needs confidences"):
        exported(sample_root, tmp_path / "paper", "cluster", "p0.9")
    exported(sample_root, tmp_path / "paper", "cluster")
    papers = read_dataset(tmp_path / "paper")
    with pytest.raises(TrainingError, match="needs confidences"):
        training_labels(papers, papers.participants[0], Approach("weak-ce", "p0.9"), seed=1)


def test_few_shot_and_random_clips_are_whole_clips(sample_root: Path, tmp_path: Path) -> None:
    exported(sample_root, tmp_path / "out", "temporal")
    dataset = read_dataset(tmp_path / "out")
    few = training_labels(dataset, dataset.participants[0], Approach("few-shot-ce"), seed=1)
    assert (few >= 0).sum() == 400
    for seed in range(5):
        random = training_labels(dataset, dataset.participants[0], Approach("random-ce"), seed)
        assert 200 <= (random >= 0).sum() <= 400
