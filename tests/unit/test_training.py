"""The training package: fidelity to the paper's models and losses, which samples each approach trains on, windows,
the grid, saved models, and every input that a user can get wrong."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from exports import LABELS, RATE, write_export
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ml_backend.labels import parse_threshold
from training import PHGCELoss, ShallowDeepConvLSTM, TinyHAR, WeightedCrossEntropy
from training.approaches import Approach, parse_approaches, training_labels
from training.cli import cli
from training.dataset import UNLABELLED, Dataset, read_dataset, read_recording, window_starts
from training.errors import TrainingError
from training.evaluate import make_jobs, run_grid, scores
from training.loop import Settings, _training_windows, predict, predicted_classes, train
from training.losses import LOSSES, class_weights
from training.models import build_model
from training.saved import export_onnx, load_model, save_model
from training.tables import table_rows, terminal_table, write_tables

QUICK = Settings(epochs=2, learning_rate=1e-3)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("exports") / "my study ü")


@pytest.fixture
def spoilt(export: Path, tmp_path: Path) -> Path:
    """A copy of the export that a test may spoil."""
    return Path(shutil.copytree(export, tmp_path / "spoilt"))


@pytest.fixture(scope="module")
def dataset(export: Path) -> Dataset:
    return read_dataset(export)


def change(file: Path, **columns: object) -> None:
    """Replace columns of a Parquet file; None removes one."""
    table = pa.parquet.read_table(file)
    for name, values in columns.items():
        table = table.drop_columns([name]) if name in table.column_names else table
        if values is not None:
            table = table.append_column(name, pa.array(values))
    pa.parquet.write_table(table, file)


# --- fidelity


@pytest.fixture(scope="module")
def fidelity(shared_data: Path) -> Path:
    return shared_data.parent / "fidelity"


def test_parameter_counts_are_those_of_the_published_models(fidelity: Path) -> None:
    for reference in json.loads((fidelity / "arch_reference.json").read_text()).values():
        _, window, channels = reference["input"]
        for name, count in reference["parameters"].items():
            model = build_model(name, channels, reference["classes"], window)
            assert sum(weight.numel() for weight in model.parameters()) == count
            assert model(torch.zeros(2, window, channels)).shape == (2, reference["classes"])


def test_losses_equal_the_reference(fidelity: Path) -> None:
    for case in json.loads((fidelity / "loss_reference.json").read_text()):
        scores_, target = torch.tensor(case["logits"]), torch.tensor(case["target"])
        weight = torch.tensor(case["class_weight"])
        robust, plain = PHGCELoss(weight, case["q"], case["tau"]), WeightedCrossEntropy(weight)
        for loss, name in ((robust, "phgce"), (plain, "weighted_ce")):
            expected = torch.tensor(case[f"{name}_per_window"])
            torch.testing.assert_close(loss.per_window(scores_, target), expected, atol=1e-5, rtol=1e-6)
            assert float(loss(scores_, target)) == pytest.approx(case[f"{name}_mean"], abs=1e-5)


def test_class_weights_follow_the_paper() -> None:
    weights = class_weights(torch.tensor([0, 0, 0, 1]), 3)
    torch.testing.assert_close(weights, torch.tensor([4 / 9, 4 / 3, 1.0]))


def test_the_published_recurrence_runs_over_the_batch() -> None:
    """An answer then depends on the windows before it, and does not without the oddity."""
    windows = torch.randn(4, 50, 3)
    for exact in (False, True):
        torch.manual_seed(0)
        model = ShallowDeepConvLSTM(3, 5, 50, paper_exact=exact).eval()
        alone, together = model(windows[3:]), model(windows)[3:]
        assert torch.allclose(alone, together, atol=1e-5) != exact


def test_tinyhars_attention_starts_as_the_identity_and_softmax_sums_over_queries() -> None:
    attention = TinyHAR(3, 5, 50).attention
    steps = torch.randn(2, 7, 3, 40)
    torch.testing.assert_close(attention(steps), steps)
    with torch.no_grad():
        attention.gamma.fill_(1.0)
    query, key, value = (layer(steps[0, 0]) for layer in (attention.query, attention.key, attention.value))
    shares = torch.softmax(query @ key.T, dim=0)
    torch.testing.assert_close(attention(steps)[0, 0], shares.T @ value + steps[0, 0])


# --- data


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 12),
    st.integers(1, 6),
)
def test_windows_never_span_a_gap_and_miss_none(runs: list[tuple[int, bool]], length: int, step: int) -> None:
    segment = np.repeat(np.arange(len(runs)), [count for count, _ in runs])
    usable = np.repeat([kept for _, kept in runs], [count for count, _ in runs])
    starts = window_starts(segment, usable, length, step)
    for start in starts:
        assert len(set(segment[start : start + length])) == 1
        assert usable[start : start + length].all()
    expected = sum(max(0, (count - length) // step + 1) for count, kept in runs if kept)
    assert len(starts) == expected


def test_a_gap_in_time_and_another_recording_begin_a_segment(spoilt: Path) -> None:
    table = pa.parquet.read_table(spoilt / "0.parquet")
    times = table["time"].to_numpy().copy()
    times[1000:] += 5
    names = np.where(np.arange(len(times)) < 2000, "one", "two")
    times[2000:] -= times[2000]
    change(spoilt / "0.parquet", time=times, recording=names)
    segment = read_dataset(spoilt).participants[0].segment
    assert np.flatnonzero(np.diff(segment)).tolist() == [999, 1999]


def test_a_wear_folder_is_read_with_null_for_empty_labels(tmp_path: Path) -> None:
    for number in (10, 2):
        rows = [f"{number},0.{k},1,{('', 'null', 'walking')[k // 3]}" for k in range(9)]
        (tmp_path / f"sbj_{number}.csv").write_text("\n".join(["sbj_id,acc_x,acc_y,label", *rows]))
    with pytest.raises(TrainingError, match=r"sbj_2\.csv: has no column 'time' in seconds; .* --sampling-rate"):
        read_dataset(tmp_path)
    read = read_dataset(tmp_path, sampling_rate=50.0)
    assert read.labels == ("null", "walking")
    assert [participant.name for participant in read.participants] == ["sbj_2", "sbj_10"]
    assert read.participants[0].truth is not None
    assert read.participants[0].truth.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]


# --- approaches


def labels_of(dataset: Dataset, name: str, threshold: str = "none", seed: int = 1) -> np.ndarray:
    return training_labels(dataset, dataset.participants[0], Approach(name, threshold), seed)


def test_each_approach_trains_on_its_own_samples(dataset: Dataset) -> None:
    participant = dataset.participants[0]
    assert participant.truth is not None
    np.testing.assert_array_equal(labels_of(dataset, "full"), participant.truth)
    few = labels_of(dataset, "few-shot-ce")
    assert (few >= 0).sum() == 6 * RATE  # one second for each of the six clusters
    weak = labels_of(dataset, "weak-ce")
    assert (weak >= 0).all()
    assert (weak != participant.truth).mean() == pytest.approx(1 / 6)
    near = labels_of(dataset, "weak-phgce", "2")
    assert (near >= 0).mean() == pytest.approx(0.3)
    np.testing.assert_array_equal(near[near >= 0], weak[near >= 0])


def test_random_draws_as_many_clips_labelled_as_their_last_sample(dataset: Dataset) -> None:
    participant = dataset.participants[0]
    assert participant.truth is not None
    across_a_change = 0
    for seed in range(5):
        drawn = labels_of(dataset, "random-ce", seed=seed)
        assert (drawn >= 0).sum() == 6 * RATE
        for first in np.flatnonzero(drawn >= 0)[::RATE]:
            last = min(first + 4 * RATE, len(drawn)) - 1
            assert (drawn[first : first + RATE] == participant.truth[last]).all()
            across_a_change += participant.truth[first] != participant.truth[last]
    assert across_a_change > 0
    assert not np.array_equal(labels_of(dataset, "random-ce", seed=1), labels_of(dataset, "random-ce", seed=2))


@pytest.mark.parametrize("threshold", ["none", "3", "2.5", "50%", "90%", "1%"])
def test_thresholds_keep_what_the_export_with_that_threshold_keeps(dataset: Dataset, threshold: str) -> None:
    participant = dataset.participants[0]
    assert participant.distance is not None
    by_clip = participant.distance[::RATE]
    expected = np.repeat(parse_threshold(threshold).keeps(by_clip), RATE)
    np.testing.assert_array_equal(labels_of(dataset, "weak-ce", threshold) >= 0, expected)


def test_an_export_with_a_threshold_still_gives_laxer_ones(export: Path, spoilt: Path) -> None:
    for number in range(3):
        table = pa.parquet.read_table(spoilt / f"{number}.parquet")
        far = table["distance"].to_numpy() >= 2
        label = np.where(far, None, np.array(table["label"].to_pylist(), dtype=object))
        source = np.where(far, "omitted", np.array(table["source"].to_pylist(), dtype=object))
        change(spoilt / f"{number}.parquet", label=pa.array(label, pa.string()), source=source)
    for threshold in ("none", "3", "80%"):
        np.testing.assert_array_equal(
            labels_of(read_dataset(spoilt), "weak-ce", threshold),
            labels_of(read_dataset(export), "weak-ce", threshold),
        )


def test_labels_that_do_not_follow_from_the_cluster_come_from_their_own_column(export: Path, spoilt: Path) -> None:
    for number in range(3):
        table = pa.parquet.read_table(spoilt / f"{number}.parquet")
        corrected = np.array(table["label"].to_pylist(), dtype=object)
        corrected[::3] = LABELS[0]
        far = table["distance"].to_numpy() >= 2
        label = pa.array(np.where(far, None, corrected), pa.string())
        change(spoilt / f"{number}.parquet", label=label, propagated_label=pa.array(corrected, pa.string()))
    dataset = read_dataset(spoilt)
    labels = labels_of(dataset, "weak-ce")
    assert (labels[::3] == 0).all()
    np.testing.assert_array_equal(labels[1::3], labels_of(read_dataset(export), "weak-ce")[1::3])
    near = labels_of(dataset, "weak-ce", "2")
    np.testing.assert_array_equal(near, dataset.participants[0].weak)
    assert dataset.channels == ("acc_x", "acc_y")


def test_thresholds_multiply_only_the_weak_approaches() -> None:
    names = [str(approach) for approach in parse_approaches(["full", "weak-ce"], ["none", "6"])]
    assert names == ["full", "weak-ce", "weak-ce (T = 6)"]


# --- training


@pytest.mark.parametrize("model", ["tinyhar", "shallow_deepconvlstm"])
def test_training_learns_and_the_same_seed_gives_the_same_weights(dataset: Dataset, model: str) -> None:
    losses: list[float] = []
    participants = list(dataset.participants[1:])
    run = [
        train(
            dataset,
            participants,
            model,
            Approach("full"),
            seed,
            replace(QUICK, epochs=8),
            lambda _, x: losses.append(x),
        )
        for seed in (1, 1, 2)
    ]
    weights = [trained.model.state_dict() for trained in run]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])
    assert losses[7] < losses[0]
    held_out = dataset.participants[0]
    rows = slice(held_out.begin, held_out.begin + len(held_out.segment))
    found = predicted_classes(predict(run[0], dataset.values[rows], held_out.segment))
    assert (found == held_out.truth).mean() > 0.5


def test_predictions_cover_a_windows_first_step_and_the_last_window_reaches_to_the_end(dataset: Dataset) -> None:
    trained = train(dataset, list(dataset.participants), "tinyhar", Approach("full"), 1, replace(QUICK, epochs=1))
    segment = np.array([0] * 130 + [1] * 30 + [2] * 50)
    found = predict(trained, dataset.values[: len(segment)], segment)
    known = ~found[:, 0].isnan().numpy()
    assert known.tolist() == [True] * 130 + [False] * 30 + [True] * 50
    with torch.inference_mode():
        windows = torch.stack(
            [torch.from_numpy(dataset.values[start : start + 50]) for start in (0, 25, 50, 75, 160)]
        )
        own = torch.softmax(trained.model(windows), dim=1)
    expected = own.repeat_interleave(torch.tensor([25, 25, 25, 55, 50]), dim=0)
    torch.testing.assert_close(found[known], expected)
    assert (predicted_classes(found) == -1).sum() == 30


def test_normalisation_uses_the_training_samples_alone(dataset: Dataset) -> None:
    trained = train(
        dataset,
        list(dataset.participants[1:]),
        "tinyhar",
        Approach("full"),
        1,
        replace(QUICK, epochs=1, normalise=True),
    )
    training = dataset.values[dataset.participants[1].begin :]
    assert trained.mean is not None
    np.testing.assert_allclose(trained.mean.numpy(), training.mean(axis=0), atol=1e-5)


def test_paper_exact_windows_span_gaps(dataset: Dataset) -> None:
    """Six separate seconds of a participant make six windows, or eleven when they seem to follow one another."""
    participants, approach = list(dataset.participants), Approach("few-shot-ce")
    values, starts, labels = _training_windows(dataset, participants, approach, 1, QUICK)
    assert len(starts) == len(labels) == 3 * 6
    np.testing.assert_array_equal(values, dataset.values)
    values, starts, _ = _training_windows(dataset, participants, approach, 1, replace(QUICK, paper_exact=True))
    assert len(starts) == 3 * 11
    annotated = np.concatenate(
        [participant.annotated for participant in participants if participant.annotated is not None]
    )
    np.testing.assert_array_equal(values, dataset.values[annotated])


def test_paper_exact_labels_random_clips_as_their_clusters(dataset: Dataset) -> None:
    for participant in dataset.participants:
        ours, published = (
            training_labels(dataset, participant, Approach("random-ce"), 3, as_published)
            for as_published in (False, True)
        )
        np.testing.assert_array_equal(ours == UNLABELLED, published == UNLABELLED)  # the same clips
        drawn = published != UNLABELLED
        assert drawn.any()
        weak = training_labels(dataset, participant, Approach("weak-ce"), 3)
        np.testing.assert_array_equal(published[drawn], weak[drawn])
    assert (ours != published).any()


def test_f1_by_subject_counts_classes_that_a_subject_lacks_as_zero(dataset: Dataset, tmp_path: Path) -> None:
    """As the authors average: what a participant does not do costs, where the pooled score does not see it."""
    first = dataset.participants[0]
    assert first.truth is not None
    one_class = replace(first, truth=np.full(len(first.truth), 1))
    lacking = replace(dataset, participants=(one_class, *dataset.participants[1:]))
    jobs = make_jobs(lacking, ["tinyhar"], [Approach("full")], [1], [])
    for number, (job, participant) in enumerate(zip(jobs, lacking.participants, strict=True)):
        (tmp_path / job.folder).mkdir(parents=True)
        (tmp_path / job.folder / "result.json").write_text("{}")
        assert participant.truth is not None
        np.save(tmp_path / job.folder / f"{number}.npy", participant.truth.astype(np.int16))  # all right
    (score,) = scores(lacking, jobs, tmp_path)
    assert score.macro_f1[0] == pytest.approx(100)
    others = len(lacking.participants) - 1
    assert score.subject_f1[0] == pytest.approx(100 * (1 / len(dataset.labels) + others) / (1 + others))


def test_three_periods_are_no_gap_and_more_are(tmp_path: Path) -> None:
    for steps, segments in ((2.9, 1), (3.1, 2)):
        times = np.r_[np.arange(100), np.arange(100) + 99 + steps] / 50
        pa.parquet.write_table(pa.table({"time": times, "x": np.zeros(200)}), tmp_path / "r.parquet")
        assert read_recording(tmp_path / "r.parquet", ("x",), 50.0)[2].max() + 1 == segments


def test_paper_exact_weighs_classes_as_the_published_code(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Spied(WeightedCrossEntropy):
        def __init__(self, weight: torch.Tensor) -> None:
            seen.append(weight)
            super().__init__(weight)

    monkeypatch.setitem(LOSSES, "ce", Spied)
    people, classes = list(dataset.participants), len(dataset.labels)
    for settings in (QUICK, replace(QUICK, one_hot_weights=True), replace(QUICK, paper_exact=True)):
        train(dataset, people, "tinyhar", Approach("weak-ce"), 1, replace(settings, epochs=1))
    ours, alone, exact = seen
    expected = [1 / (classes - 1), *[1.0] * (classes - 1)]
    assert alone.tolist() == pytest.approx(expected)
    assert exact.tolist() == pytest.approx(expected)
    assert ours.tolist() != pytest.approx(expected)


def test_paper_exact_leaves_tinyhar_shuffled_and_deepconvlstm_in_order(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffles: list[str] = []
    shuffle = torch.randperm
    for model in ("tinyhar", "shallow_deepconvlstm"):
        monkeypatch.setattr(torch, "randperm", lambda *a, model=model: (shuffles.append(model), shuffle(*a))[1])
        exact = replace(QUICK, epochs=1, paper_exact=True)
        trained = train(dataset, list(dataset.participants), model, Approach("few-shot-ce"), 1, exact)
        assert trained.batch_recurrence == (model == "shallow_deepconvlstm")
    assert set(shuffles) == {"tinyhar"}


@pytest.mark.parametrize(("rate", "length"), [(50.0, 50), (49.7, 49), (25.6, 25), (100.0, 100)])
def test_a_window_fits_the_stride_that_a_clip_labels(rate: float, length: int) -> None:
    assert Settings().window(rate)[0] == length


@pytest.mark.processes
def test_an_export_made_anew_is_another_dataset(dataset: Dataset, spoilt: Path, tmp_path: Path) -> None:
    jobs = make_jobs(dataset, ["tinyhar"], [Approach("weak-ce")], [1, 1], [["p 0 ä"], ["p 0 ä"]])
    assert len(jobs) == 1
    run_grid(dataset, jobs, replace(QUICK, epochs=1), tmp_path / "run", lambda *_: None)
    count = pa.parquet.read_table(spoilt / "0.parquet").num_rows
    change(spoilt / "0.parquet", label=["walking"] * count)
    anew = replace(read_dataset(spoilt), path=dataset.path)
    with pytest.raises(TrainingError, match="run with other content"):
        run_grid(anew, jobs, replace(QUICK, epochs=1), tmp_path / "run", lambda *_: None)


def test_who_has_nothing_to_test_on_is_named_before_training(spoilt: Path, tmp_path: Path) -> None:
    for number in range(3):
        table = pa.parquet.read_table(spoilt / f"{number}.parquet")
        truth = [None] * table.num_rows if number == 1 else table["ground_truth"].to_pylist()
        if number == 1:
            truth[:30] = ["walking"] * 30
        change(spoilt / f"{number}.parquet", ground_truth=pa.array(truth, pa.string()))
    short = read_dataset(spoilt)
    jobs = make_jobs(short, ["tinyhar"], [Approach("weak-ce")], [1], [])
    with pytest.raises(TrainingError, match="'p 1 ä' has no gapless window of 50 samples to test on"):
        run_grid(short, jobs, QUICK, tmp_path / "run", lambda *_: None)
    assert not (tmp_path / "run").exists()


def test_training_on_one_class_or_nothing_says_what_to_do(dataset: Dataset, spoilt: Path) -> None:
    with pytest.raises(TrainingError, match="no window of 400 samples to train on; label more"):
        train(dataset, list(dataset.participants), "tinyhar", Approach("few-shot-ce"), 1, Settings(window_seconds=8))
    for number in range(3):
        count = pa.parquet.read_table(spoilt / f"{number}.parquet").num_rows
        change(spoilt / f"{number}.parquet", label=["walking"] * count)
    one = read_dataset(spoilt)
    with pytest.raises(TrainingError, match="only class 'walking'"):
        train(one, list(one.participants), "tinyhar", Approach("weak-ce"), 1, QUICK)


def test_values_too_large_are_told_instead_of_a_nan_model(spoilt: Path) -> None:
    count = pa.parquet.read_table(spoilt / "0.parquet").num_rows
    change(spoilt / "0.parquet", acc_x=np.full(count, 3e38))
    large = read_dataset(spoilt)
    with pytest.raises(TrainingError, match=r"overflows in epoch 1 .*set normalise"):
        train(large, list(large.participants), "tinyhar", Approach("full"), 1, QUICK)


# --- wrong input


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"acc_x": None}, r"1\.parquet: has no channel 'acc_x'"),
        (
            {"acc_y": [float("nan")] + [0.0] * 2999},
            "channel 'acc_y' has 1 missing or infinite values, the first in",
        ),
        (
            {"label": ["flying"] * 3000},
            r"column 'label' holds 'flying', which is not among the labels of dataset\.",
        ),
        ({"time": [0.0] * 3000}, "column 'time' does not increase"),
        ({"acc_x": ["a"] * 3000}, "channel 'acc_x' holds string, expected numbers"),
        ({"label": None}, "has no column 'label'"),
        ({"source": None}, "has no column 'source'"),
        ({"distance": None}, "has no column 'distance'"),
        ({"time": np.arange(3000) / 25}, "has 25 samples a second, expected 50; resample it"),
        ({"time": np.arange(3000) * 20.0}, "has 0.05 samples a second, expected 50"),
    ],
)
def test_a_wrong_column_is_named(spoilt: Path, columns: dict[str, object], message: str) -> None:
    change(spoilt / "1.parquet", **columns)
    with pytest.raises(TrainingError, match=message):
        read_dataset(spoilt)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"schema_version": 3}, "schema_version 3 is newer"),
        ({"schema_version": None}, "has no schema_version"),
        ({"participants": {}}, "lists no participants"),
        ({"format": "wear"}, "is of the wear format, which holds no times; export as parquet to train"),
        ({"participants": {"p": {"file": "gone.parquet"}}}, r"gone\.parquet: no such file"),
    ],
)
def test_a_wrong_dataset_json_is_told(spoilt: Path, description: dict[str, object], message: str) -> None:
    file = spoilt / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **description}))
    with pytest.raises(TrainingError, match=message):
        read_dataset(spoilt)


def test_files_that_are_no_dataset_are_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match=r"neither dataset\.json nor CSV"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(TrainingError, match="not valid JSON"):
        read_dataset(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"\0\xff")
    with pytest.raises(TrainingError, match=r"clip\.mp4: is neither \.csv nor \.parquet"):
        read_recording(tmp_path / "clip.mp4", ("acc_x",), 50.0)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(TrainingError, match="has no schema_version"):
        read_dataset(tmp_path)
    (tmp_path / "twice.csv").write_text("acc_x,acc_x\n1,2\n")
    with pytest.raises(TrainingError, match="two columns of one name"):
        read_recording(tmp_path / "twice.csv", ("acc_x",), 50.0)
    (tmp_path / "other.csv").write_text("gyro_x\n1\n2\n")
    with pytest.raises(TrainingError, match="has no channel 'acc_x'; its channels are gyro_x"):
        read_recording(tmp_path / "other.csv", ("acc_x",), 50.0)
    with pytest.raises(TrainingError, match=r"other\.csv: has no column 'time'"):
        read_recording(tmp_path / "other.csv", ("gyro_x",), 50.0)
    with pytest.raises(TrainingError, match=r"has 100 samples a second, expected 50"):
        read_recording(tmp_path / "other.csv", ("gyro_x",), 50.0, given=100.0)


def test_evaluation_needs_truth_two_participants_and_known_names(tmp_path: Path, dataset: Dataset) -> None:
    full = [Approach("full")]
    blind = read_dataset(write_export(tmp_path / "blind", truth=False))
    with pytest.raises(TrainingError, match="participant 'p 0 ä' has no ground truth"):
        make_jobs(blind, ["tinyhar"], [Approach("weak-ce")], [1], [])
    alone = read_dataset(write_export(tmp_path / "alone", participants=1))
    with pytest.raises(TrainingError, match="leaves nobody to train on"):
        make_jobs(alone, ["tinyhar"], full, [1], [])
    with pytest.raises(TrainingError, match="model 'resnet' is not known"):
        make_jobs(dataset, ["resnet"], full, [1], [])
    with pytest.raises(TrainingError, match="no participant 'p9'; it has p 0 ä"):
        make_jobs(dataset, ["tinyhar"], full, [1], [["p9"]])
    with pytest.raises(TrainingError, match="approach 'magic' is not known"):
        parse_approaches(["magic"], ["none"])
    with pytest.raises(TrainingError, match="threshold '-1' is neither"):
        parse_approaches(["weak-ce"], ["-1"])


def test_training_without_truth_is_fine_for_the_weak_approaches(tmp_path: Path) -> None:
    blind = read_dataset(write_export(tmp_path / "blind", truth=False))
    trained = train(blind, list(blind.participants), "tinyhar", Approach("weak-phgce"), 1, QUICK)
    assert trained.labels == tuple(LABELS)


# --- saved models


def test_a_saved_model_predicts_the_same(dataset: Dataset, tmp_path: Path) -> None:
    trained = train(
        dataset, list(dataset.participants), "tinyhar", Approach("full"), 1, replace(QUICK, normalise=True)
    )
    save_model(trained, tmp_path / "mödel")
    again = load_model(tmp_path / "mödel")
    values, segment = dataset.values[:500], np.zeros(500, dtype=np.int64)
    torch.testing.assert_close(predict(again, values, segment), predict(trained, values, segment))
    file = tmp_path / "mödel" / "model.json"
    about = json.loads(file.read_text())
    for wrong, message in (
        ({"labels": ["a", "b"]}, r"does not fit model\.json"),
        ({"schema_version": 9}, "newer"),
        ({"channels": ["x"] * 7}, "does not fit"),
    ):
        file.write_text(json.dumps({**about, **wrong}))
        with pytest.raises(TrainingError, match=message):
            load_model(tmp_path / "mödel")
    file.write_text("{")
    with pytest.raises(TrainingError, match="is damaged"):
        load_model(tmp_path / "mödel")
    with pytest.raises(TrainingError, match="holds no model"):
        load_model(tmp_path)


@pytest.mark.processes
@pytest.mark.parametrize("model", ["tinyhar", "shallow_deepconvlstm"])
def test_onnx_gives_torchs_scores_and_says_what_they_are(dataset: Dataset, tmp_path: Path, model: str) -> None:
    import onnx

    settings = replace(QUICK, epochs=1, normalise=True)
    trained = train(dataset, list(dataset.participants), model, Approach("full"), 1, settings)
    file = tmp_path / "model.onnx"
    assert export_onnx(trained, file) < 1e-4
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert json.loads(metadata["labels"]) == LABELS
    assert json.loads(metadata["channels"]) == ["acc_x", "acc_y"]
    assert trained.mean is not None
    assert json.loads(metadata["mean"]) == pytest.approx(trained.mean.tolist())


# --- the grid


@pytest.mark.processes
def test_a_grid_goes_on_where_it_stopped_and_writes_every_table(dataset: Dataset, tmp_path: Path) -> None:
    approaches = parse_approaches(["full", "weak-phgce"], ["none", "3"])
    jobs = make_jobs(dataset, ["tinyhar"], approaches, [1, 2], [])
    assert len(jobs) == 3 * 2 * 3
    run_grid(dataset, jobs[:4], QUICK, tmp_path, lambda *_: None)
    assert scores(dataset, jobs, tmp_path) == []
    stamps = {job: (tmp_path / job.folder / "result.json").stat().st_mtime_ns for job in jobs[:4]}
    seen: list[int] = []
    run_grid(dataset, jobs, QUICK, tmp_path, lambda done, *_: seen.append(done))
    assert seen == list(range(4, 19))
    assert stamps == {job: (tmp_path / job.folder / "result.json").stat().st_mtime_ns for job in jobs[:4]}
    found = scores(dataset, jobs, tmp_path)
    assert [str(score.approach) for score in found] == ["full", "weak-phgce", "weak-phgce (T = 3)"]
    assert found[0].confusion.sum() == 2 * len(dataset.values)
    write_tables(dataset, found, tmp_path)
    header, rows = table_rows(dataset, found)
    assert len(rows) == 3
    assert "paper's F1" not in header
    for name in ("table.md", "table.csv", "table.tex", "results.json", "config.json", "environment.json"):
        assert (tmp_path / name).stat().st_size > 0
    assert (tmp_path / "confusion" / "tinyhar-weak-phgce-3.png").read_bytes().startswith(b"\x89PNG")
    first = (tmp_path / "confusion" / "tinyhar-full-none.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    assert sum(map(float, first[1:])) == pytest.approx(100, abs=0.1)
    with pytest.raises(TrainingError, match="run with other settings"):
        run_grid(dataset, jobs, replace(QUICK, epochs=3), tmp_path, lambda *_: None)


@pytest.mark.processes
def test_a_dataset_of_the_papers_gets_the_papers_numbers_beside_its_own(dataset: Dataset, tmp_path: Path) -> None:
    named = replace(dataset, title="export wear-2024")
    jobs = make_jobs(named, ["tinyhar"], [Approach("full")], [1], [[p.name] for p in dataset.participants[:1]])
    run_grid(named, jobs, QUICK, tmp_path, lambda *_: None, processes=1)
    header, rows = table_rows(named, scores(named, jobs, tmp_path))
    assert header[-2:] == ["paper's recall", "paper's F1"]
    assert rows[0][-2:] == ["77.83", "71.89"]


# --- the command


def test_the_commands_train_predict_and_export(export: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("model: tinyhar\napproach: weak-ce\nepochs: 5\nlearning_rate: 1e-3\n")
    model = tmp_path / "a model"
    arguments = ["train", str(export), "--config", str(config), "--out", str(model), "--set", "epochs=1"]
    result = CliRunner().invoke(cli, [*arguments, "--threshold", "3", "--tensorboard"], catch_exceptions=False)
    assert "saved in" in result.output.replace("\n", " ")
    assert f"weakhar predict {model} RECORDING.csv" in result.output.replace("\n", "")
    with pytest.raises(TrainingError, match="holds a model already"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
    about = json.loads((model / "model.json").read_text())
    assert about["approach"] == "weak-ce (T = 3)"
    assert len(about["losses"]) == 1
    assert list(model.glob("events.out.tfevents*"))
    out = tmp_path / "labels.csv"
    CliRunner().invoke(
        cli, ["predict", str(model), str(export / "0.parquet"), "--out", str(out)], catch_exceptions=False
    )
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "time,label,probability"
    assert len(lines) == 3001
    assert lines[-1].split(",")[1] in LABELS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "resnet"], "model 'resnet' is not known"),
        (["--set", "epochs=many"], "epochs: expected int"),
        (["--set", "epochs=0"], "epochs = 0 must be above 0"),
        (["--set", "epochs=[1"], "cannot be read as a value"),
        (["--set", "learning_rate=.nan"], "learning_rate = nan must be above 0"),
        (["--set", "weight_decay=-1"], "weight_decay = -1.0 must be 0 or above"),
        (["--seed", "1", "--hold-out", "p 0 ä,p 1 ä,p 2 ä"], "every participant is held out"),
        (["--set", "speed=3"], "expected NAME=VALUE"),
        (["--hold-out", "nobody"], "no participant 'nobody'"),
        (["--approach", "full", "--threshold", "6"], "takes no threshold"),
        (["--set", "device=quantum"], "device 'quantum' cannot be used"),
        (["--set", "precision=half"], "must be auto, float32 or bfloat16"),
        (["--config", "nowhere.yaml"], "cannot be read as YAML"),
    ],
)
def test_a_wrong_option_is_one_clear_line(export: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        CliRunner().invoke(cli, ["train", str(export), *arguments], catch_exceptions=False)


def test_training_says_how_well_it_does_on_those_held_out(export: Path, tmp_path: Path) -> None:
    arguments = ["train", str(export), "--out", str(tmp_path / "model"), "--set", "epochs=1", "--approach", "full"]
    arguments += ["--hold-out", "p 0 ä"]
    CliRunner().invoke(cli, arguments, catch_exceptions=False)
    again = CliRunner().invoke(cli, [*arguments, "--overwrite"], catch_exceptions=False)
    found = re.search(r"held out p 0 ä: macro recall ([\d.]+) %, macro F1 ([\d.]+) %", again.output)
    assert found
    trained, dataset = load_model(tmp_path / "model"), read_dataset(export)
    person = dataset.participant("p 0 ä")
    rows = slice(person.begin, person.begin + len(person.segment))
    predicted = predicted_classes(predict(trained, dataset.values[rows], person.segment))
    assert person.truth is not None
    recalls = [(predicted[person.truth == number] == number).mean() for number in np.unique(person.truth)]
    assert float(found[1]) == pytest.approx(100 * np.mean(recalls), abs=0.06)


@pytest.mark.processes
def test_a_list_can_be_written_with_commas(export: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(export), "--models", "tinyhar", "--approaches", "few-shot-ce", "--seeds", "1,2"]
    arguments += ["--split", "p 0 ä, p 1 ä", "--set", "epochs=1", "--processes", "1", "--out", str(tmp_path)]
    CliRunner().invoke(cli, arguments, catch_exceptions=False)
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert list(rows[0]["subjects"]) == ["p 0 ä+p 1 ä"]
    assert len(list(tmp_path.rglob("result.json"))) == 2
    with pytest.raises(TrainingError, match="seeds: expected whole numbers"):
        CliRunner().invoke(cli, ["evaluate", str(export), "--seeds", "one"], catch_exceptions=False)


@pytest.mark.processes
def test_a_killed_worker_is_told_and_nothing_is_lost(dataset: Dataset, tmp_path: Path) -> None:
    jobs = make_jobs(dataset, ["tinyhar"], [Approach("few-shot-ce")], [1, 2], [])

    def kill_after_the_first(done: int, *_: object) -> None:
        if done == 1:
            for child in multiprocessing.active_children():
                child.kill()

    with pytest.raises(TrainingError, match="a training process was killed"):
        run_grid(dataset, jobs, QUICK, tmp_path, kill_after_the_first)
    assert not list(tmp_path.glob(".dataset*"))
    run_grid(dataset, jobs, QUICK, tmp_path, lambda *_: None)
    assert len(scores(dataset, jobs, tmp_path)) == 1


@pytest.mark.processes
def test_ctrl_c_saves_a_model_that_predicts(export: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    command = [sys.executable, "-m", "training", "train", str(export), "--out", str(model), "--set", "epochs=100000"]
    process = subprocess.Popen([*command, "--tensorboard"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    # Ten losses are written at a time: then some epochs are over.
    while not any(log.stat().st_size > 500 for log in model.glob("events*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "of 100000 epochs; the model so far is whole and saved" in errors
    assert load_model(model).labels == tuple(LABELS)


@pytest.mark.processes
def test_ctrl_c_ends_a_grid_at_once_and_says_how_to_go_on(export: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "training",
        "evaluate",
        str(export),
        "--models",
        "tinyhar",
        "--out",
        str(tmp_path),
    ]
    command += ["--approaches", "full,weak-ce", "--set", "epochs=100000", "--processes", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".dataset*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # workers are starting: the moment at which they are most easily hurt
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopped; what was finished is kept" in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.glob(".dataset*"))


@pytest.mark.processes
def test_training_imports_nothing_of_the_backend() -> None:
    code = (
        "import sys, training.cli, training.evaluate, training.tables, training.saved; "
        "print([name for name in sys.modules if name.startswith('ml_backend')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_seed_has_no_spread_and_several_say_how_many(dataset: Dataset, tmp_path: Path) -> None:
    for seeds in ([1], [1, 2]):
        jobs = make_jobs(dataset, ["tinyhar"], [Approach("few-shot-ce")], seeds, [])
        run_grid(dataset, jobs, replace(QUICK, epochs=1), tmp_path / str(len(seeds)), lambda *_: None)
        found = scores(dataset, jobs, tmp_path / str(len(seeds)))
        _, (row,) = table_rows(dataset, found)
        assert all(("±" in cell) is (len(seeds) > 1) for cell in row[2:6])
        assert ("one seed" in str(terminal_table(dataset, found).title)) is (len(seeds) == 1)


def test_progress_without_a_terminal_is_a_line_now_and_then(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.cli.LINE_SECONDS", 0.0)
    arguments = ["train", str(export), "--out", str(tmp_path / "model"), "--set", "epochs=2", "--approach", "weak-ce"]
    told = CliRunner().invoke(cli, arguments, catch_exceptions=False).stderr
    assert re.search(r"^1 of 2 after \d+ s, tinyhar, weak-ce: loss [\d.]+$", told, re.MULTILINE)
    assert "2 of 2" in told
