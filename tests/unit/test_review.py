"""Recordings that people go through: what they leave there overrides the labels exactly, and nothing else."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from test_export import ANSWERS, CLASSES, labelled, recording_of

from ml_backend.export import write_export
from ml_backend.jobs import Store, project_answers
from ml_backend.labels import (
    REVIEW,
    UNLABELLED,
    Answer,
    Painted,
    filled,
    labelled_stretches,
    parse_threshold,
)
from ml_backend.labels.review import SLIVER, painted, reviewed_at
from ml_backend.labelstudio import channels_of, is_prediction, labelling_config, prediction_of, review_config
from ml_backend.labelstudio.answers import answer_of
from ml_backend.labelstudio.review import regions_of
from ml_backend.recordings import Imu, Stretch, clip_key, signals_of, write_signals
from ml_backend.settings import Settings
from ml_backend.web.report import in_words
from training.approaches import Approach, training_labels
from training.dataset import read_dataset

times = st.floats(-20, 120, allow_nan=False).map(lambda value: round(value, 3))
regions = st.lists(st.tuples(times, times, st.sampled_from("abc")), max_size=12)


def on_top(drawn: list[tuple[float, float, str]], moment: float) -> str | None:
    """What lies on top at a moment, looked up one by one."""
    return next((name for start, end, name in reversed(drawn) if start <= moment < end), None)


@given(regions, st.floats(-10, 110))
@effort(deadline=None)
def test_what_was_drawn_last_lies_on_top_and_nothing_overlaps(
    drawn: list[tuple[float, float, str]], moment: float
) -> None:
    found = painted(Painted(*one) for one in drawn)
    assert all(one.start_seconds < one.end_seconds for one in found)
    assert all(one.end_seconds <= other.start_seconds for one, other in pairwise(found))
    here = [one.holds for one in found if one.start_seconds <= moment < one.end_seconds]
    assert here == ([] if on_top(drawn, moment) is None else [on_top(drawn, moment)])


@given(regions, st.floats(0, 99.99))
@effort(deadline=None)
def test_a_part_is_filled_and_only_slivers_between_two_regions_are_given_away(
    drawn: list[tuple[float, float, str]], moment: float
) -> None:
    found = filled((Painted(*one) for one in drawn), 0.0, 100.0)
    edges = [0.0, *(one.end_seconds for one in found)]
    assert edges[-1] == 100.0
    assert [one.start_seconds for one in found] == edges[:-1]
    (here,) = (one.holds for one in found if one.start_seconds <= moment < one.end_seconds)
    expected = on_top(drawn, moment)
    if here != expected:  # then it is a gap, and a short one
        assert expected is None
        wide = [moment - SLIVER, moment + SLIVER]
        assert any(start <= wide[1] and wide[0] <= end for start, end, _ in drawn)


def reviewed(*said: tuple[float, float, str | None], at: float = 1.0) -> list[Answer]:
    return [Answer("p01", "session", start, end, name, source=REVIEW, at=at) for start, end, name in said]


def test_a_review_overrides_samples_exactly_whatever_the_threshold(sample_root: Path, tmp_path: Path) -> None:
    said = reviewed((0.0, 3.3, "null"), (3.3, 10.0, None), (10.0, 12.34, "jogging"), (12.34, 20.0, "walking"))
    labels = labelled("temporal", answers=[*ANSWERS, *said])
    recordings = {"p01/session": recording_of(sample_root, "p01")}
    for threshold in ("none", "p0.99", "5%"):
        target = tmp_path / threshold
        parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False}
        description = write_export(
            [labels], recordings, CLASSES.names, parameters, parse_threshold(threshold), target
        )
        table = pyarrow.parquet.read_table(target / "samples" / "p01.parquet").to_pandas()
        own = table[table.time < 20]
        assert set(own.source) == {"reviewed"}
        edges = np.array([0.0, 3.3, 10.0, 12.34])
        expected = np.array(["null", "", "jogging", "walking"], object)[np.searchsorted(edges, own.time, "right") - 1]
        assert (own.label.fillna("").to_numpy() == expected).all()
        assert (own.confidence == 1).all()
        assert "reviewed" not in set(table[table.time >= 20].source)
        counts = description["participants"]["p01"]
        assert counts["reviewed"] == len(own)
        assert counts["coverage"] == pytest.approx(table.label.notna().mean())
        (p01,) = read_dataset(target).participants
        derived = training_labels(read_dataset(target), p01, Approach("weak-ce", "7%"), seed=1)
        assert (derived[p01.reviewed] == p01.weak[p01.reviewed]).all()
    stretches = [one for one in labelled_stretches(labels, labels.propagated) if one.end_seconds <= 20]
    found = [(one.start_seconds, one.end_seconds, CLASSES.names[one.label]) for one in stretches]
    assert found == [(0.0, 3.3, "null"), (10.0, 12.34, "jogging"), (12.34, 20.0, "walking")]


def test_a_review_counts_before_other_answers_and_what_was_said_last_before_earlier_reviews() -> None:
    before = labelled("temporal")
    again = [*reviewed((20.0, 30.0, "walking"), at=1.0), *reviewed((22.0, 31.0, "null"), at=2.0)]
    labels = labelled("temporal", answers=[*ANSWERS, *again])
    assert CLASSES.names[labels.said[25]] == "null"
    assert labels.cluster_labels.tolist()[1] == CLASSES.names.index("null")
    assert labels.ties == []
    assert labels.wanted == [(0, 4)]  # nobody is asked about a clip that somebody went through
    nothing = labelled("temporal", answers=[*ANSWERS, *reviewed((20.0, 31.0, None))])
    assert nothing.wanted == before.wanted
    np.testing.assert_array_equal(nothing.propagated, before.propagated)
    at = reviewed_at(np.array([19.9, 20.0, 30.99, 31.0]), "session", nothing.reviewed)
    assert (at[1:3] == UNLABELLED).all()
    assert (at[[0, 3]] != UNLABELLED).all()


def test_what_is_predicted_comes_back_as_it_was_and_what_is_drawn_lies_on_top_of_it() -> None:
    labels = labelled("temporal")
    stretches = list(labelled_stretches(labels, labels.propagated))
    prediction = prediction_of(stretches, CLASSES.names, 10.0, 40.0)
    scores = [region["score"] for region in prediction["result"]]
    assert scores == sorted(scores)  # the least certain first
    result = [{**region, "origin": "prediction"} for region in prediction["result"]]
    assert is_prediction([prediction], prediction_of(stretches, CLASSES.names, 10.0, 40.0))
    assert not is_prediction([prediction], prediction_of(stretches, CLASSES.names, 10.0, 39.0))
    assert not is_prediction([], prediction)
    untouched = filled((Painted(10 + a, 10 + b, name) for a, b, name in regions_of(result)), 10.0, 40.0)
    expected = [(max(10.0, one.start_seconds), one.end_seconds, CLASSES.names[one.label]) for one in stretches]
    assert [(one.start_seconds, one.end_seconds, one.holds) for one in untouched] == expected
    drawn = {
        "origin": "manual",
        "type": "timeserieslabels",
        "value": {"start": 2, "end": 5.5, "timeserieslabels": ["null"]},
    }
    moved = {**result[0], "origin": "prediction-changed", "value": {**result[0]["value"], "start": 0, "end": 30}}
    regions = regions_of([drawn, *result, moved, {"type": "choices"}, "x", {"type": "timeserieslabels", "value": {}}])
    assert regions[-1] == (2.0, 5.5, "null")
    assert regions[-2][:2] == (0.0, 30.0)


def test_a_labelling_config_for_a_review_has_every_class_and_signal() -> None:
    config = review_config([f"class {number}" for number in range(40)], ("wrist_acc", "ankle_acc"))
    assert channels_of(config) == ("wrist_acc", "ankle_acc")
    assert config.count("<Label ") == 40
    assert config.count('hotkey="') == 35


@given(st.lists(st.sampled_from(["acc_x", "acc_y", "acc_z", "Gyro.X", "Gyro.Y", "Gyro.Z", "x", "hr", "a, b (m/s²)"])))
@effort(deadline=None)
def test_signals_are_few_named_plainly_and_within_their_time(channels: list[str]) -> None:
    names = tuple(dict.fromkeys(channels)) or ("hr",)
    values = np.arange(len(names) * 200, dtype=float).reshape(200, len(names))
    imu = Imu(5 + np.arange(200) / 100, values, names, None, 100.0)
    signals = signals_of(imu)
    assert 1 <= len(signals) <= 6
    assert not any(character in name for name in signals for character in ', "\n')
    assert all(len(one) == 200 for one in signals.values())


def test_signals_begin_at_the_part_and_are_nothing_where_there_is_no_sample(tmp_path: Path) -> None:
    imu = Imu(5 + np.arange(200) / 100, np.ones((200, 3)), ("acc_x", "acc_y", "acc_z"), None, 100.0)
    write_signals(imu, ("acc", "other"), 4.0, 8.0, tmp_path / "out.csv")
    header, *rows = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "time,acc,other"
    table = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    np.testing.assert_allclose(table[:, 0], np.arange(201) / 50)
    inside = (table[:, 0] >= 1) & (table[:, 0] <= 2.99)
    np.testing.assert_allclose(table[inside, 1], np.sqrt(3), atol=1e-3)
    assert (table[~inside, 1] == 0).all()
    assert (table[:, 2] == 0).all()


def test_the_store_tells_reviews_from_other_answers_and_forgets_them_too(store: Store, settings: Settings) -> None:
    video = "0" * 32
    store.save_project(1, label_config=labelling_config(["walking", "jogging"]), review_project=7)
    part = clip_key(Stretch("session", 0.0, 30.0, video))
    store.add_tasks(7, [(70, "p01", part)])
    result = [
        {"type": "timeserieslabels", "value": {"start": 1, "end": 9, "timeserieslabels": [name]}, "origin": "manual"}
        for name in ("walking", "sleeping")
    ]
    assert store.told_by(7).id == store.told_by(1).id == 1
    before = store.stamp(1)
    answer = answer_of({"id": 3, "task": 70, "result": result, "lead_time": 40.0, "completed_by": 5})
    assert store.upsert_annotation(7, answer)
    assert store.stamp(1) != before
    given = project_answers(store, settings, 1)
    assert [one.reason for one in given.gone]  # nothing is clustered here
    (unknown,) = given.not_understood
    assert (unknown.choice, unknown.review) == ("sleeping", True)
    assert store.annotations(1) == []
    store.forget_tasks(1, "p01", [video])
    assert store.tasks(7) == []
    store.delete_project(1)


def test_the_page_says_what_going_through_recordings_took() -> None:
    one, other = reviewed((0.0, 5.0, "null"), (5.0, 9.0, "walking"))
    answer = Answer("p01", "session", 0.0, 4.0, "null", annotator=2, seconds=4.0, task=1)
    lines = list(in_words([answer, replace(one, seconds=90.0, annotator=2, task=3), replace(other, task=3)], 600.0))
    assert lines[0].startswith("1 answers took 0.1 min")
    assert lines[1:] == ["going through 1 parts of recordings took 1.5 min"]
