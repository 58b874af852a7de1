"""Published downloads in their own layout, the simulated annotator, and the paper's tables made from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from published_data import DIMS, LABELS, SECONDS, write_published
from typer.testing import CliRunner

from ml_backend.cli import cli
from ml_backend.clusters import METHODS, cluster, reduced
from ml_backend.clusters.mixture import GaussianMixture
from ml_backend.errors import RecordingError
from ml_backend.labels import discriminant_labels, parse_threshold
from ml_backend.paper.annotator import Track, annotate
from ml_backend.paper.published import read_published
from ml_backend.paper.reproduce import Case, clustered, paper_name


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["reproduce", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_download_is_read_with_null_first_and_gaps_filled(published: Path) -> None:
    dataset = read_published(published)
    assert dataset.labels == ("null", *LABELS)
    assert dataset.participants == ("sbj_0", "sbj_1", "sbj_2")
    imu = dataset.imu("sbj_1")
    assert imu.channels == ("right_arm_acc_x", "right_arm_acc_y")
    assert np.isfinite(imu.values).all()
    assert set(dataset.truth(imu)) == {0, 1, 2, 3}


def test_combinations_are_concatenated_in_the_papers_order_and_cut_to_the_shortest(published: Path) -> None:
    dataset = read_published(published)
    flow = dataset.vectors("sbj_0", "raft", 4.0)
    both = dataset.vectors("sbj_0", "dinov2+raft", 4.0)
    assert both.shape == (len(flow), DIMS["raft"] + DIMS["dino"])
    np.testing.assert_array_equal(both[:, : DIMS["raft"]], flow)
    assert dataset.vectors("sbj_0", "clip+raft", 4.0).shape[1] == DIMS["clip"] + DIMS["raft"]


def test_what_is_missing_of_a_download_is_named(published: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"has no annotations/loso_sbj_\*\.json"):
        read_published(tmp_path)
    dataset = read_published(published)
    with pytest.raises(RecordingError, match=r"no processed/conv3d_features/96_frames_12_stride; there is proc"):
        dataset.vectors("sbj_0", "i3d", 8.0)
    root = tmp_path / "wetlab"
    write_published(root, participants=2, clip_seconds=(4,))
    np.save(root / "processed" / "raft_features" / "48_frames_12_stride" / "sbj_0.npy", np.zeros((9, 12)))
    with pytest.raises(RecordingError, match=r"vectors of sbj_0 differ in their number of clips: clip 87, raft 9"):
        read_published(root).vectors("sbj_0", "clip+raft", 4.0)
    (root / "raw" / "inertial" / "sbj_1.csv").unlink()
    with pytest.raises(RecordingError, match=r"has no sbj_1\.csv"):
        read_published(root)


def test_a_damaged_download_is_refused_before_anything_is_clustered(tmp_path: Path) -> None:
    root = tmp_path / "wetlab"
    write_published(root, participants=2, clip_seconds=(4,))
    split = root / "annotations" / "loso_sbj_1.json"
    whole = split.read_text()
    for text, message in (
        ("{}", r"loso_sbj_1\.json: has no database or label_dict"),
        ("{", r"loso_sbj_1\.json: cannot be read as JSON"),
        (whole.replace("Validation", "Test"), r"loso_sbj_1\.json: holds out nobody"),
        ((root / "annotations" / "loso_sbj_0.json").read_text(), "sbj_0 is held out in 2 of"),
    ):
        split.write_text(text)
        with pytest.raises(RecordingError, match=message):
            read_published(root)
    split.write_text(whole.replace("Validation", "validation"))
    dataset = read_published(root)
    assert dataset.splits == (("sbj_0",), ("sbj_1",))
    vectors = root / "processed" / "clip_features" / "48_frames_12_stride_avg_pool" / "sbj_0.npy"
    np.save(vectors, np.zeros((20, 8)))
    with pytest.raises(RecordingError, match="sbj_0 has 20 vectors of clip for 87 clips of 4 s in its 90 s of IMU"):
        clustered(dataset, "sbj_0", Case(backbone="clip"), 1)
    for content in (b"", b"no array"):
        vectors.write_bytes(content)
        with pytest.raises(RecordingError, match=r"sbj_0\.npy: cannot be read as a \.npy array"):
            dataset.vectors("sbj_0", "clip", 4.0)
    np.save(vectors, np.array(["text"]))
    with pytest.raises(RecordingError, match=r"no \.npy array of numbers"):
        dataset.vectors("sbj_0", "clip", 4.0)
    vectors.unlink()
    assert not dataset.has("clip", 4.0)


def test_the_annotator_answers_with_the_last_sample_and_labels_the_clips_first_stride() -> None:
    times = np.arange(500) / 50
    truth = (times >= 5).astype(np.int64)
    track = Track(times, truth, np.arange(7.0), 4.0, 1.0)
    weak = annotate(track, GaussianMixture(7, random_state=0).fit(np.arange(14.0).reshape(7, 2) * 9))
    # Each clip is its own cluster: clip 2 ends in class 1 and labels second 2, the last fills up to the end.
    assert [int(weak.samples[50 * second]) for second in range(10)] == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert weak.accuracy(track) == pytest.approx((2 / 5 + 1) / 2)


def test_several_answers_vote_and_the_first_class_of_a_tie_decides() -> None:
    track = Track(np.arange(300) / 50, np.repeat([0, 1, 1, 2, 2, 0], 50), np.arange(6.0), 1.0, 1.0)

    class One:
        labels_ = np.zeros(6, np.int64)
        centroids_ = np.array([0])
        distances_ = np.array([0.0, 1, 2, 3, 4, 5])

    def label(answers: int) -> int:
        return int(annotate(track, One(), answers).samples[0])

    assert [label(1), label(3), label(5)] == [0, 1, 1]
    # Answers 2, 0, 1, 2, 0: the classes 0 and 2 have two each, and 2 is the nearest clip's.
    tied = Track(track.times, np.repeat([2, 0, 1, 2, 0, 1], 50), track.starts, 1.0, 1.0)
    assert annotate(tied, One(), 5).samples[0] == 0
    assert len(annotate(track, One(), 5).answered) == 5
    kept = annotate(track, One(), 1, parse_threshold("3"))
    assert kept.coverage == 0.5
    assert (kept.propagated == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_clusters_whose_centroid_is_their_own(method: str) -> None:
    random = np.random.default_rng(0)
    vectors = np.repeat(random.normal(0, 5, (6, 10)), 12, axis=0) + random.normal(0, 0.5, (72, 10))
    found = cluster(vectors, 6, 1, method)  # type: ignore[arg-type]
    assert sorted(np.unique(found.labels_)) == list(range(6))
    for number, centroid in enumerate(found.centroids_):
        assert found.labels_[centroid] == number
        assert found.distances_[centroid] == 0
        own = found.labels_ == number
        assert found.log_density_[centroid] == found.log_density_[own].max()
    again = cluster(vectors, 6, 1, method)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.labels_, again.labels_)


def test_what_was_answered_stays_answered_when_a_discriminant_corrects() -> None:
    times = np.arange(4000) / 50
    track = Track(times, (times >= 40).astype(np.int64), np.arange(77.0), 4.0, 1.0)
    vectors = np.repeat([[0.0, 0], [9, 0]], [40, 37], axis=0) + np.random.default_rng(0).normal(0, 0.1, (77, 2))
    vectors[60] = [0, 0.5]  # looks like the other class
    clusters = cluster(vectors, 12, 1)
    weak = annotate(track, clusters, components=reduced(vectors))
    np.testing.assert_array_equal(
        weak.propagated[track.clip_of_sample == weak.answered[0]], track.answers[weak.answered[0]]
    )
    answered = np.isin(track.clip_of_sample, weak.answered)
    np.testing.assert_array_equal(weak.propagated[answered], track.answers[track.clip_of_sample[answered]])


def test_a_single_clip_is_a_cluster_of_its_own() -> None:
    for method in METHODS:
        found = cluster(np.ones((1, 5)), 1, 1, method)  # type: ignore[arg-type]
        assert (found.labels_.tolist(), found.centroids_.tolist(), found.distances_.tolist()) == ([0], [0], [0.0])


def test_segments_are_contiguous_in_time_and_ward_is_not() -> None:
    vectors = np.repeat([[0.0, 0], [9, 0], [0, 0], [9, 0]], 10, axis=0) + np.arange(40)[:, None] * 1e-3
    segments, ward = cluster(vectors, 4, 1, "segments"), cluster(vectors, 2, 1, "ward")
    assert (np.diff(segments.labels_) != 0).sum() == 3
    assert (np.diff(ward.labels_) != 0).sum() == 3
    assert len(np.unique(ward.labels_)) == 2


def test_a_discriminant_corrects_impure_clusters_and_leaves_the_unlabelled() -> None:
    random = np.random.default_rng(1)
    truth = np.arange(200) % 2
    vectors = random.normal(0, 1, (200, 80)) + 4 * truth[:, None] * (np.arange(80) < 3)
    labels = np.where(random.random(200) < 0.2, 1 - truth, truth)
    labels[:10] = -1
    corrected = discriminant_labels(reduced(vectors), labels)
    assert (corrected[:10] == -1).all()
    assert (corrected[10:] == truth[10:]).mean() > 0.97
    few = np.full(200, -1)
    few[:2] = [0, 1]
    np.testing.assert_array_equal(discriminant_labels(reduced(vectors), few), few)
    one = np.zeros(200, np.int64)
    np.testing.assert_array_equal(discriminant_labels(reduced(vectors), one), one)
    assert reduced(vectors[:7]).shape == (7, 7)


def test_clusters_are_those_of_the_papers_code_on_the_clips_that_vectors_and_imu_have(published: Path) -> None:
    dataset = read_published(published)
    track, _, found, _ = clustered(dataset, "sbj_0", Case(components=8), seed=2)
    vectors = dataset.vectors("sbj_0", "clip+raft", 4.0)
    assert len(track.starts) == len(vectors) == SECONDS - 4
    expected = GaussianMixture(8, random_state=2, paper_exact=True).fit(vectors)
    np.testing.assert_array_equal(found.labels_, expected.labels_)


def test_table_2_shows_ours_beside_the_papers_and_each_participant(published: Path, tmp_path: Path) -> None:
    output = run(published, "--table", 2, "--out", tmp_path)
    assert "CLIP+RAFT" in output
    assert "83.96 ± 4.99" in (tmp_path / "table-2.md").read_text()
    rows = (tmp_path / "table-2-participants.csv").read_text().splitlines()
    assert len(rows) == 1 + 7 * 3 * 3
    assert float(rows[1].split(",")[-1]) > 50


def test_figure_2_draws_box_plots_and_a_row_without_vectors_awaits_them(tmp_path: Path) -> None:
    root = tmp_path / "my wear data ä"
    write_published(root, participants=2, clip_seconds=(4,))
    for folder in (root / "processed" / "dino_features").iterdir():
        folder.rename(root / "elsewhere")
    run(root, "--figure", 2, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "figure-2.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "out" / "figure-2.md").read_text()
    assert "| DINOv2, 50 | awaits its vectors |" in table
    assert "# WEAR: labelling accuracy by number of clusters" in table


@pytest.mark.parametrize(("name", "rows"), [("clip-length", 3), ("answers", 6), ("thresholds", 12)])
def test_the_supplements_ablations(published: Path, tmp_path: Path, name: str, rows: int) -> None:
    run(published, "--ablation", name, "--propagation", "discriminant", "--clustering", "ward", "--out", tmp_path)
    lines = (tmp_path / f"{name}.csv").read_text().splitlines()
    assert len(lines) == 1 + rows
    if name == "thresholds":
        kept = np.array([float(line.split(",")[-1]) for line in lines[1:]]).reshape(3, 4)
        assert (kept == np.sort(kept, axis=1)[:, ::-1]).all()
        assert (kept[:, 0] == 100).all()
        assert [line.split(",")[0] for line in lines[1::4]] == [f'"C = {count}' for count in (4, 50, 100)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one of --table 2"),
        (["--table", "2", "--figure", "2"], "name one of --table 2"),
        (
            ["--table", "2", "--clustering", "kmeans"],
            "--clustering 'kmeans' is not known; known are gmm, ward,",
        ),
        (["--ablation", "length"], "ablation 'length' is not known; known are clip-length, answers, thresholds"),
    ],
)
def test_wrong_options_are_named(published: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["reproduce", str(published), *arguments])
    assert result.exit_code == 1
    assert message in str(result.exception)


def test_the_papers_name_is_found_in_the_folders(published: Path) -> None:
    dataset = read_published(published)
    assert paper_name(dataset, None) == "WEAR"
    assert paper_name(dataset, "wetlab") == "Wetlab"
    assert paper_name(dataset, "mine") == "mine"


def test_gaps_of_a_published_imu_are_zero_as_in_the_papers_code(published: Path) -> None:
    dataset = read_published(published)
    assert dataset.imu("sbj_0").values[7, 0] == 0  # left empty in the file
    assert replace(dataset, missing_values="interpolate").imu("sbj_0").values[7, 0] != 0
    assert dataset.first(2).participants == ("sbj_0", "sbj_1")
    assert dataset.first(2).splits == (("sbj_0",), ("sbj_1",))
