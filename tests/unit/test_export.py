"""What an export says of each sample: by which clip it is labelled, and whether a person watched it."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.dataset
import pyarrow.parquet
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from ml_backend.clusters import Clustering
from ml_backend.errors import ConfigError
from ml_backend.export import forget_in_export, write_export
from ml_backend.export.bids import _channel
from ml_backend.export.participant import file_names
from ml_backend.labels import Answer, Classes, ParticipantLabels, parse_threshold, participant_labels
from ml_backend.recordings import Imu, ImuFile, ImuFormat, Recording
from training.approaches import Approach, training_labels
from training.contract import CLIP_COLUMNS, COLUMNS
from training.dataset import read_dataset
from training.errors import TrainingError

CLASSES = Classes(("null", "walking", "jogging"))
ANSWERS = [Answer("p01", "session", 4.0, 8.0, "walking"), Answer("p01", "session", 25.0, 29.0, "jogging")]


def labelled(propagation: str, participant: str = "p01", answers: Sequence[Answer] = ANSWERS) -> ParticipantLabels:
    """37 clips of 40 s: cluster 0 until the clip at 17 s, cluster 1 from then on."""
    clips = np.arange(37)
    clusters = (clips >= 18).astype(np.int64)
    clustering = Clustering(
        participant=participant,
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
    own = [replace(answer, participant=participant) for answer in answers]
    return participant_labels(clustering, own, CLASSES, propagation)


def recording_of(sample_root: Path, participant: str) -> Recording:
    folder = sample_root / participant
    return Recording(participant, "session", folder / "session.mp4", (ImuFile(folder / "session.csv", ImuFormat()),))


def exported(sample_root: Path, target: Path, propagation: str, threshold: str = "none") -> pyarrow.Table:
    recording = recording_of(sample_root, "p01")
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


def test_units_that_files_state_are_kept_and_different_ones_are_warned_of(sample_root: Path, tmp_path: Path) -> None:
    recordings = {}
    everything = []
    for participant, unit in (("p01", "g"), ("p02", "m/s^2")):
        names, *rows = (sample_root / "p01" / "session.csv").read_text().splitlines()
        units = ",".join("s" if "time" in name else unit if "acc" in name else "" for name in names.split(","))
        path = tmp_path / f"{participant}.csv"
        path.write_text("\n".join([names, units, *rows]))
        known = recording_of(sample_root, "p01")
        recordings[f"{participant}/session"] = replace(
            known, participant=participant, imus=(ImuFile(path, ImuFormat()),)
        )
        labels = labelled("temporal")
        everything.append(replace(labels, clustering=replace(labels.clustering, participant=participant)))
    parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False}
    found = write_export(everything, recordings, CLASSES.names, parameters, parse_threshold("none"), tmp_path / "out")
    assert found["channel_units"] == dict.fromkeys(found["channels"], "g")
    assert "p02: channel 'right_wrist_acc_x' is in g and in m/s^2; convert one of them" in found["warnings"]
    assert "`right_wrist_acc_x` (g)" in (tmp_path / "out" / "README.md").read_text()
    assert forget_in_export(tmp_path / "out", "p02")
    for file in ("README.md", "dataset.json"):
        assert "p02" not in (tmp_path / "out" / file).read_text()


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


def test_clips_that_label_no_sample_count_in_a_share_all_the_same(sample_root: Path, tmp_path: Path) -> None:
    labels = labelled("temporal")
    borders = labels.borders.copy()
    borders[[3, 6, 24, 30]] = borders[[4, 7, 25, 31]]  # as where two changes lie within a second
    recordings = {"p01/session": recording_of(sample_root, "p01")}
    for threshold in ("none", "50%", "7%"):
        parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False}
        wanted = parse_threshold(threshold)
        write_export(
            [replace(labels, borders=borders)], recordings, CLASSES.names, parameters, wanted, tmp_path / threshold
        )
    everything = read_dataset(tmp_path / "none")
    for threshold in ("50%", "7%"):
        derived = training_labels(everything, everything.participants[0], Approach("weak-ce", threshold), seed=1)
        np.testing.assert_array_equal(derived, read_dataset(tmp_path / threshold).participants[0].weak)


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


def test_every_file_of_samples_has_the_same_plain_columns(sample_root: Path, tmp_path: Path) -> None:
    whole, without = recording_of(sample_root, "p01"), recording_of(sample_root, "p02")
    unlabelled = tmp_path / "unlabelled.csv"
    lines = (sample_root / "p02" / "session.csv").read_text().splitlines()
    place = lines[0].split(",").index('"label"')
    rows = (line.split(",") for line in lines)
    unlabelled.write_text("\n".join(",".join(row[:place] + row[place + 1 :]) for row in rows) + "\n")
    without = replace(without, imus=(ImuFile(unlabelled, ImuFormat()),))
    everything = [labelled("temporal"), labelled("temporal", "Tåg 01")]
    recordings = {"p01/session": whole, "Tåg 01/session": without}
    parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False}
    for found in (recordings, {**recordings, "p01/session": without}):
        write_export(everything, found, CLASSES.names, parameters, parse_threshold("none"), tmp_path / "out")
        files = sorted((tmp_path / "out" / "samples").iterdir())
        assert [file.name for file in files] == ["p01.parquet", "tag-01.parquet"]
        first, other = (pyarrow.parquet.read_schema(file) for file in files)
        assert first.equals(other)
        assert not any(pyarrow.types.is_dictionary(field.type) for field in first)
        assert ("ground_truth" in first.names) is (found is recordings)
        table = pyarrow.dataset.dataset(tmp_path / "out" / "samples").to_table()
        assert set(table["participant"].to_pylist()) == {"p01", "Tåg 01"}
        assert table.num_rows == 4000
        assert {part.name for part in read_dataset(tmp_path / "out").participants} == {"p01", "Tåg 01"}


@effort(deadline=None)
@given(st.lists(st.text(max_size=80), unique=True, max_size=12))
def test_file_names_are_readable_and_unique_also_where_a_file_system_ignores_case(names: list[str]) -> None:
    found = file_names(names)
    assert list(found) == names
    assert len({name.casefold() for name in found.values()}) == len(names)
    for name in found.values():
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name)
        assert len(name) <= 64


def test_file_names_that_are_plain_already_stay() -> None:
    assert file_names(["p01", "Tåg 01", "tag-01", "被験者 1", "!", "?"]) == {
        "p01": "p01", "Tåg 01": "tag-01", "tag-01": "tag-01-2", "被験者 1": "bei-yan-zhe-1",
        "!": "participant", "?": "participant-2",
    }  # fmt: skip


def test_intervals_and_elans_documents_hold_what_the_samples_hold(sample_root: Path, tmp_path: Path) -> None:
    recordings = {"p01/session": recording_of(sample_root, "p01")}
    parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False}
    out = tmp_path / "out"
    write_export([labelled("temporal")], recordings, CLASSES.names, parameters, parse_threshold("none"), out, "elan")
    with (out / "intervals.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = pyarrow.parquet.read_table(out / "samples" / "p01.parquet").to_pylist()
    for row in rows:
        start, end = float(row["start_seconds"]), float(row["end_seconds"])
        inside = {one["label"] for one in table if start < one["time"] < end}
        assert inside == {row["label"]}
    root = ElementTree.parse(out / "elan" / "p01" / "session.eaf").getroot()
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) / 1000 for slot in root.iter("TIME_SLOT")}
    for tier in ("label", "confidence"):
        own = root.find(f"TIER[@TIER_ID='{tier}']")
        assert own is not None
        assert [
            (slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")], one.findtext("ANNOTATION_VALUE"))
            for one in own.iter("ALIGNABLE_ANNOTATION")
        ] == [(float(row["start_seconds"]), float(row["end_seconds"]), row[tier]) for row in rows]
    (media,) = root.iter("MEDIA_DESCRIPTOR")
    assert (out / "elan" / "p01" / media.get("RELATIVE_MEDIA_URL", "")).resolve() == recordings[
        "p01/session"
    ].video.resolve()
    assert read_dataset(out).participants[0].name == "p01"
    assert forget_in_export(out, "p01")
    assert not list((out / "elan").rglob("*.eaf"))
    assert (out / "intervals.csv").read_text().strip().count("\n") == 0


def test_bids_motion_is_valid_and_holds_what_the_samples_hold(sample_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False, "written_by": "weakhar 1.2"}
    everything, recordings = [], {}
    for name in ("p 01", "p01"):
        labels = labelled("temporal")
        everything.append(replace(labels, clustering=replace(labels.clustering, participant=name)))
        recordings[f"{name}/session"] = replace(recording_of(sample_root, "p01"), participant=name)
    wanted = parse_threshold("none")
    found = write_export(everything, recordings, CLASSES.names, parameters, wanted, out, "bids")
    assert [one["bids"] for one in found["participants"].values()] == ["bids/sub-p01", "bids/sub-p01x2"]
    validator = Path(sys.executable).parent / "bids-validator-deno"
    said = subprocess.run([validator, out / "bids", "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(said.stdout)["issues"]["issues"]
    assert [one for one in issues if one["severity"] == "error"] == []
    motion = out / "bids" / "sub-p01" / "motion"
    stem = motion / "sub-p01_task-activities_tracksys-imu_run-01"
    samples = np.loadtxt(f"{stem}_motion.tsv", delimiter="\t")
    table = pyarrow.parquet.read_table(out / "samples" / "p-01.parquet").to_pandas()
    np.testing.assert_allclose(samples[:, 0], table.time - table.time[0], atol=1e-5)
    np.testing.assert_allclose(samples[:, 1:], table[found["channels"]], rtol=1e-5)
    with (motion / "sub-p01_task-activities_run-01_events.tsv").open() as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            start, end = float(row["onset"]), float(row["onset"]) + float(row["duration"])
            inside = table[(table.time - table.time[0] > start) & (table.time - table.time[0] < end)]
            assert set(inside.label) == {row["trial_type"]}
    assert read_dataset(out).participants[1].name == "p01"
    assert forget_in_export(out, "p01")
    assert "sub-p01x2" not in (out / "bids" / "participants.tsv").read_text()
    assert not (out / "bids" / "sub-p01x2").exists()
    assert (out / "bids" / "sub-p01").is_dir()


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("left_wrist_acc_x", "g", ("x", "ACCEL", "left_wrist")),
        ("Pelvis_free_acc_z", "m/s^2", ("z", "ACCEL", "pelvis")),
        ("rotationRateY", "rad/s", ("y", "GYRO", "n/a")),
        ("Pelvis_quat_w", "1", ("quat_w", "ORNT", "pelvis")),
        ("gyroscope_x", "rad/s", ("x", "GYRO", "n/a")),
        ("Acceleration x (m/s^2)", "m/s^2", ("x", "ACCEL", "n/a")),
        ("pressure", "", ("n/a", "MISC", "pressure")),
        ("temp_max", "", ("n/a", "MISC", "temp_max")),
        ("proximity", "", ("n/a", "MISC", "proximity")),
        ("quaternionW", "1", ("quat_w", "ORNT", "n/a")),
        ("qx", "1", ("x", "MISC", "qx")),
        ("hip_acc_magnitude", "g", ("n/a", "ACCEL", "hip")),
    ],
)
def test_bids_channels_have_type_axis_and_place(name: str, unit: str, expected: tuple[str, str, str]) -> None:
    imu = Imu(np.arange(2.0), np.zeros((2, 1)), (name,), None, 1.0, units={name: unit} if unit else {})
    assert _channel(name, imu) == (name, *expected, unit or "n/a")


def test_an_exports_readme_is_a_card_for_datasets(sample_root: Path, tmp_path: Path) -> None:
    exported(sample_root, tmp_path / "out", "temporal")
    head = (tmp_path / "out" / "README.md").read_text().split("---\n")[1]
    card = yaml.safe_load(head)
    assert card["configs"][0] == {"config_name": "samples", "default": True, "data_files": "samples/*.parquet"}
    for config in card["configs"]:
        assert list((tmp_path / "out").glob(config["data_files"]))


def test_clips_say_who_answered_them(sample_root: Path, tmp_path: Path) -> None:
    recordings = {"p01/session": recording_of(sample_root, "p01")}
    parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False}
    by_three = [replace(ANSWERS[0], annotator=who) for who in (7, 3, 7)]
    skipped = replace(ANSWERS[0], start_seconds=5.0, end_seconds=9.0, choice=None, annotator=3)
    everything, wanted = [labelled("temporal", answers=[*by_three, skipped])], parse_threshold("none")
    write_export(everything, recordings, CLASSES.names, parameters, wanted, tmp_path)
    clips = pyarrow.parquet.read_table(tmp_path / "clips.parquet")
    assert clips.column_names == list(CLIP_COLUMNS)
    by_start = dict(zip(clips["start_seconds"].to_pylist(), clips["answered_by"].to_pylist(), strict=True))
    assert by_start[4.0] == [3, 7]
    assert by_start[5.0] == []  # nobody's answer labels it
    said = (tmp_path / "README.md").read_text()
    assert all(f"`{name}`" in said for name in (*COLUMNS, *CLIP_COLUMNS))


def test_participants_who_are_not_one_table_with_the_others_are_warned_of(sample_root: Path, tmp_path: Path) -> None:
    whole = recording_of(sample_root, "p01")
    header, *rows = (sample_root / "p01" / "session.csv").read_text().splitlines()
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(",".join(line.split(",")[:4]) for line in [header, *rows[::2]]) + "\n")
    other = replace(whole, imus=(ImuFile(fewer, ImuFormat()),))
    parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False, "warnings": ["read this"]}
    everything = [labelled("temporal"), labelled("temporal", "p02", ANSWERS[:1])]
    found = {"p01/session": whole, "p02/session": other}
    said = write_export(everything, found, CLASSES.names, parameters, parse_threshold("none"), tmp_path / "out")
    before, channels, rate = said["warnings"]
    assert before == "read this"
    assert channels.startswith("p02: has channels right_wrist_acc_x, right_wrist_acc_y, right_wrist_acc_z, not those")
    assert rate == "p02: has 25 samples a second, dataset.json names 50"
    readme = (tmp_path / "out" / "README.md").read_text()
    assert all(f"- {warning}" in readme for warning in (before, channels, rate))
    assert "- p02: 1 of 2 clusters have no answer yet" in readme
    assert "- p01: " not in readme
