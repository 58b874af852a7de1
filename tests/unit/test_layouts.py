"""Which files belong together: several sensors, several videos of one IMU, names that look alike, and the rest."""

import shutil
import unicodedata
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from benchmarks.harness import copied_packets
from ml_backend.errors import RecordingError
from ml_backend.jobs import usable_recordings
from ml_backend.recordings import Problem, VideoWriter, check_dataset, find_recordings
from ml_backend.settings import Parameters

PARAMETERS = Parameters(components=2)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of ten seconds."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with VideoWriter(path, 64, 48, 10) as writer:
        for number in range(100):
            writer.write(np.full((48, 64, 3), 2 * number, np.uint8), number / 10)
    return path


def imu(path: Path, seconds: float = 10.0, rate: float = 50.0, name: str = "acc", start: float = 0.0) -> Path:
    """Samples whose value is their time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = start + np.arange(round(seconds * rate)) / rate
    lines = [f"time,{name}_x,{name}_y", *[f"{time:.4f},{time:.4f},1.5" for time in times]]
    path.write_text("\n".join(lines) + "\n")
    return path


def video(film: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(film, path))


def messages(problems: list[Problem], error: bool) -> list[str]:
    return [problem.message for problem in problems if problem.error == error and "components" not in problem.message]


def test_sensors_beside_a_video_become_one_table_on_one_clock(film: Path, tmp_path: Path) -> None:
    video(film, tmp_path / "p01" / "walk.v2.mp4")
    imu(tmp_path / "p01" / "walk.v2.left wrist.csv", rate=50)
    imu(tmp_path / "p01" / "walk.v2.right.csv", rate=25, seconds=9)
    (result,), problems = check_dataset(tmp_path, PARAMETERS)
    assert messages(problems, error=True) == []
    assert result.recording.name == "walk.v2"
    samples = result.imu
    assert samples is not None
    assert samples.channels == ("left wrist_acc_x", "left wrist_acc_y", "right_acc_x", "right_acc_y")
    assert samples.sampling_rate == 50
    np.testing.assert_allclose(samples.values[:, 2], samples.times, atol=1e-6)  # interpolated in time
    assert samples.times[-1] == pytest.approx(8.96)
    video(film, tmp_path / "p01" / "walk.mp4")
    imu(tmp_path / "p01" / "walk.v2.csv")
    found, _ = find_recordings(tmp_path, PARAMETERS)
    assert [file.sensor for file in found[0].imus] == ["", "left wrist", "right"]  # an exact name wins


def test_sensors_of_a_manifest_have_clocks_of_their_own(film: Path, tmp_path: Path) -> None:
    video(film, tmp_path / "cam.mp4")
    imu(tmp_path / "left.csv", start=100)
    imu(tmp_path / "right.csv", rate=100, name="gyr")
    entry = {"participant": "p", "video": "cam.mp4", "imu": ["left.csv", {"file": "right.csv", "offset_seconds": -2}]}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"recordings": [entry]}))
    (result,), problems = check_dataset(tmp_path, PARAMETERS)
    assert messages(problems, error=True) == []
    samples = result.imu
    assert samples is not None
    assert samples.channels == ("left_acc_x", "left_acc_y", "right_gyr_x", "right_gyr_y")
    assert samples.sampling_rate == 100
    np.testing.assert_allclose(samples.values[:, 0], samples.times + 100, atol=1e-6)
    np.testing.assert_allclose(samples.values[:, 2], samples.times + 2, atol=1e-6)
    lines = (tmp_path / "right.csv").read_text().splitlines()
    (tmp_path / "right.csv").write_text("\n".join([*lines[:500], *lines[700:]]))
    (result,), _ = check_dataset(tmp_path, PARAMETERS)
    assert result.imu is not None
    ((begin, end),) = result.imu.gaps  # where one has no samples there are none
    assert (begin, end) == (pytest.approx(2.98, abs=0.02), pytest.approx(5.0, abs=0.02))
    entry["imu"] = [{"file": "left.csv", "sensor": "a"}, {"file": "left.csv", "sensor": "a"}]
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"recordings": [entry]}))
    _, problems = check_dataset(tmp_path, PARAMETERS)
    assert "channel 'a_acc_x' is in another IMU file of the recording too" in messages(problems, error=True)[0]


@pytest.mark.parametrize("way", ["chapters", "list", "entries"])
def test_one_imu_of_several_videos_exports_every_sample_once(film: Path, tmp_path: Path, way: str) -> None:
    names = ("GX010001", "GX020001")
    folder = tmp_path / "p01"
    for name in names:
        video(film, folder / f"{name}.MP4")
    wrist = imu(folder / ("GX010001.csv" if way == "chapters" else "wrist.csv"), seconds=20)
    entries: list[dict[str, object]] = [{"participant": "p01", "video": [f"p01/{name}.MP4" for name in names]}]
    if way == "entries":
        entries = [{"participant": "p01", "video": f"p01/{name}.MP4"} for name in names]
        entries[1]["offset_seconds"] = -10
    for entry in entries:
        entry["imu"] = "p01/wrist.csv"
    if way != "chapters":
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"recordings": entries}))
    checked, problems = check_dataset(tmp_path, PARAMETERS)
    assert messages(problems, error=True) == []
    assert [str(result.recording) for result in checked] == ["p01/GX010001", "p01/GX020001"]
    assert [result.overlap_seconds for result in checked] == [pytest.approx(10)] * 2
    parts = [result.imu for result in checked]
    assert parts[0] is not None
    assert parts[1] is not None
    np.testing.assert_allclose(parts[1].values[:, 0], parts[1].times + 10, atol=1e-6)
    both = np.concatenate([parts[0].values[:, 0], parts[1].values[:, 0]])
    np.testing.assert_allclose(both, np.arange(1000) / 50, atol=1e-6)  # every sample once
    assert wrist.is_file()


def test_a_gap_between_videos_of_one_recording_is_known_by_their_own_clocks(film: Path, tmp_path: Path) -> None:
    for name, stamp in (("GX010001", "10:00:00"), ("GX020001", "10:00:10"), ("GX030001", "10:00:25")):
        copied_packets(film, tmp_path / "p01" / f"{name}.MP4", creation_time=f"2024-05-01T{stamp}Z")
    imu(tmp_path / "p01" / "GX010001.csv", seconds=35)
    checked, problems = check_dataset(tmp_path, PARAMETERS)
    assert messages(problems, error=True) == []
    assert "GX030001.MP4: by both videos' own clocks starts 5.0 s after GX020001 ends" in str(problems)
    assert [result.overlap_seconds for result in checked] == [pytest.approx(10)] * 3
    last = checked[2].imu
    assert last is not None
    np.testing.assert_allclose(last.values[:, 0], last.times + 25, atol=1e-6)


def test_a_clock_that_counts_minutes_without_saying_so_is_refused(film: Path, tmp_path: Path) -> None:
    video(film, tmp_path / "p01" / "walk.mp4")
    path = imu(tmp_path / "p01" / "walk.csv", seconds=10)
    header, *lines = path.read_text().splitlines()
    minutes = [f"{number / 50 / 60:.8f},{line.partition(',')[2]}" for number, line in enumerate(lines)]
    path.write_text("\n".join([header, *minutes]))
    _, problems = check_dataset(tmp_path, PARAMETERS)
    assert "takes 0.1667 s for a video of 10 s; set time_unit to min" in messages(problems, error=True)[0]


def test_chapters_with_imus_of_their_own_are_recordings_of_their_own(film: Path, tmp_path: Path) -> None:
    for name in ("GX010001", "GX020001", "GX010002"):
        video(film, tmp_path / "p01" / f"{name}.MP4")
        imu(tmp_path / "p01" / f"{name}.csv")
    found, problems = find_recordings(tmp_path, PARAMETERS)
    assert problems == []
    assert [recording.imus[0].how.offset_seconds for recording in found] == [0, 0, 0]


def test_an_imu_of_two_participants_or_of_two_videos_at_once_is_an_error(film: Path, tmp_path: Path) -> None:
    video(film, tmp_path / "a.mp4")
    video(film, tmp_path / "b.mp4")
    imu(tmp_path / "imu.csv")
    entries = [{"participant": name, "video": f"{name}.mp4", "imu": "imu.csv"} for name in "ab"]
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"recordings": entries}))
    assert (
        "is the IMU of a/a too, of another participant" in messages(find_recordings(tmp_path, PARAMETERS)[1], True)[0]
    )
    entries[1]["participant"] = "a"
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"recordings": entries}))
    assert "is the IMU of a/a too, that starts with it" in messages(find_recordings(tmp_path, PARAMETERS)[1], True)[0]


def test_every_file_is_a_recording_a_problem_or_named_as_ignored(film: Path, tmp_path: Path) -> None:
    video(film, tmp_path / "p01" / "cam.mp4")
    imu(tmp_path / "p01" / "cam.csv")
    video(film, tmp_path / "p02" / "day1" / "cam.mp4")
    imu(tmp_path / "p02" / "day1" / "cam.csv")
    video(film, tmp_path / "p03" / "cam.clip")  # FFmpeg opens it, whatever it is called
    imu(tmp_path / "p03" / "cam.txt")
    video(film, tmp_path / "p04" / "VID.insv")
    imu(tmp_path / "p04" / "imu.tsv")
    for name in ("notes.docx", "README.txt", "photo.jpg", "GL010001.LRV"):
        (tmp_path / "p01" / name).write_bytes(b"something else")
    (tmp_path / "protocol.pdf").write_bytes(b"%PDF")
    (tmp_path / "p01" / "offline.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "p05").symlink_to(tmp_path / "nowhere")
    found, problems = find_recordings(tmp_path, PARAMETERS)
    assert [str(recording) for recording in found] == ["p01/cam", "p03/cam"]
    errors, warnings = messages(problems, error=True), messages(problems, error=False)
    for expected in (
        "p02/day1: its recordings lie a level deeper",
        "p04/VID.insv: has no IMU file of the same name",
        "p04/imu.tsv: has no video of the same name",
        "p01/offline.mp4: links to what is not there; is its disk offline?",
        "p05: links to what is not there; is its disk offline?",
    ):
        assert sum(expected in error for error in errors) == 1, (expected, errors)
    assert len(errors) == 5
    assert f"{tmp_path}: ignored protocol.pdf: no part of a recording" in warnings
    assert any("ignored GL010001.LRV, README.txt, notes.docx, photo.jpg" in warning for warning in warnings)


def test_a_manifest_names_the_videos_that_it_does_not_list(film: Path, tmp_path: Path) -> None:
    video(film, tmp_path / "a.mp4")
    video(film, tmp_path / "deep" / "b.mp4")
    imu(tmp_path / "a.csv")
    (tmp_path / "dataset.yaml").write_text("recordings: [{participant: p, video: a.mp4, imu: a.csv}]")
    assert messages(find_recordings(tmp_path, PARAMETERS)[1], error=False) == [
        f"{tmp_path / 'dataset.yaml'}: does not list deep/b.mp4; ignored"
    ]


def test_names_that_look_alike_are_one(film: Path, tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoé") for form in ("NFC", "NFD"))
    video(film, tmp_path / decomposed / f"{decomposed}.mp4")
    imu(tmp_path / decomposed / f"{composed}.csv")
    found, problems = find_recordings(tmp_path, PARAMETERS)
    assert [str(recording) for recording in found] == [f"{composed}/{composed}"]
    assert problems == []
    entries = [
        {"participant": decomposed, "video": f"{composed}/{composed}.mp4", "imu": f"{decomposed}/{decomposed}.csv"}
    ]
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"recordings": entries}, allow_unicode=True), "utf-8")
    (result,), problems = check_dataset(tmp_path, PARAMETERS)
    assert result.recording.participant == composed
    if (tmp_path / composed).exists():  # where the file system tells the two apart, the path is tried as it is
        assert messages(problems, error=True) == []


def test_a_bad_recording_is_left_out_and_named(film: Path, tmp_path: Path) -> None:
    for name in ("p01", "p02", "p03"):
        video(film, tmp_path / name / "cam.mp4")
        imu(tmp_path / name / "cam.csv")
    (tmp_path / "p02" / "cam.mp4").write_bytes(b"no video" * 100)
    imu(tmp_path / "p03" / "cam.csv", name="other")
    checked, problems = usable_recordings(tmp_path, PARAMETERS)
    assert [str(result.recording) for result in checked] == ["p01/cam"]
    errors = [problem for problem in problems if problem.error]
    assert {problem.recording for problem in errors} == {"p02/cam", "p03/cam"}
    with pytest.raises(RecordingError, match=r"p02/cam\.mp4: .* \(and 1 more"):
        usable_recordings(tmp_path, Parameters(components=2, strict=True))
    (tmp_path / "p01" / "cam.csv").unlink()
    imu(tmp_path / "p03" / "cam.csv")
    shutil.rmtree(tmp_path / "p03")
    with pytest.raises(RecordingError, match="has no IMU file of the same name"):
        usable_recordings(tmp_path, PARAMETERS)


def test_absolute_clocks_propose_an_offset_and_give_it_when_asked(film: Path, tmp_path: Path) -> None:

    with av.open(str(film)) as source, av.open(str(tmp_path / "cam.mp4"), "w") as target:
        target.metadata["creation_time"] = "2024-05-21T12:00:00.000000Z"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    lines = ["time,acc_x", *[f"2024-05-21T14:00:0{2 + k // 50}.{k % 50 * 20:03}+02:00,{k}" for k in range(400)]]
    (tmp_path / "imu.csv").write_text("\n".join(lines))
    entry = "participant: p, video: cam.mp4, imu: imu.csv"
    (tmp_path / "dataset.yaml").write_text(f"recordings: [{{{entry}}}]")
    (result,), problems = check_dataset(tmp_path, PARAMETERS)
    assert result.imu is not None
    assert result.imu.start == 0
    assert any("of both files it starts 2.0 s after the video" in warning for warning in messages(problems, False))
    (tmp_path / "dataset.yaml").write_text(f"recordings: [{{{entry}, clock: absolute}}]")
    (result,), problems = check_dataset(tmp_path, PARAMETERS)
    assert result.imu is not None
    assert result.imu.start == pytest.approx(2.0)
    assert not any("clocks of both files" in message for message in messages(problems, error=False))
    imu(tmp_path / "imu.csv")
    _, problems = check_dataset(tmp_path, PARAMETERS)
    assert "its clock does not say when it was taken" in messages(problems, error=True)[0]
    video(film, tmp_path / "cam.mp4")
    _, problems = check_dataset(tmp_path, PARAMETERS)
    assert "cam.mp4: does not say when it was taken" in messages(problems, error=True)[0]


def test_check_tells_gaps_and_what_was_filled_in(film: Path, tmp_path: Path) -> None:
    video(film, tmp_path / "p01" / "cam.mp4")
    lines = imu(tmp_path / "p01" / "cam.csv").read_text().splitlines()
    lines[20] = f"{lines[20].split(',')[0]},,1.5"
    (tmp_path / "p01" / "cam.csv").write_text("\n".join([*lines[:100], *lines[200:]]))
    _, problems = check_dataset(tmp_path, Parameters(components=2, missing_values="interpolate"))
    gaps, filled = messages(problems, error=False)
    assert "samples are missing in 1 places, 2.0 s in all, the longest 2.02 s from 1.96 s on" in gaps
    assert "1 missing values were filled in" in filled


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("participant: p, video: v.mp4, imu: i.csv, imu_columns: []", "field imu_columns is empty"),
        (
            "participant: p, video: v.mp4, imu: i.csv, offset_seconds: nan",
            "field offset_seconds is no number such as 2.5",
        ),
        (
            "participant: p, video: v.mp4, imu: i.csv, offset_seconds: '1,5'",
            "offset_seconds is no number such as 2.5",
        ),
        ("participant: p, video: v.mp4, imu: i.csv, ofset_seconds: 1", "field ofset_seconds is not known"),
        ("participant: p, video: v.mp4", "field imu is missing"),
        (
            "participant: p, video: v.mp4, imu: i.csv, time_unit: days",
            "time_unit must be one of h, min, s, ms, 100us, us, ns",
        ),
        (
            "participant: p, video: v.mp4, imu: i.csv, offset_seconds: 1, offset_seconds: 3",
            "'offset_seconds' stands there twice",
        ),
        ("participant: [p1], video: v.mp4, imu: i.csv", "field participant: must be text"),
        (f"participant: p, video: {'v' * 300}.mp4, imu: i.csv", "no such file|no file can be called so"),
        ('participant: p, video: "v\\0.mp4", imu: i.csv', "no file can be called so|no such file"),
    ],
)
def test_a_wrong_manifest_is_told_in_our_words(tmp_path: Path, entry: str, expected: str) -> None:
    (tmp_path / "dataset.yaml").write_text(f"recordings: [{{{entry}}}]")
    (tmp_path / "i.csv").write_text("time,ax\n0,1\n0.02,2\n0.04,3\n")
    _, problems = check_dataset(tmp_path, PARAMETERS)
    errors = messages(problems, error=True)
    assert any(one in error for one in expected.split("|") for error in errors), errors
    assert not any("Input should" in error or "String should" in error for error in errors)


def test_sensors_with_absolute_stamps_lie_where_they_were(film: Path, tmp_path: Path) -> None:
    video(film, tmp_path / "p01" / "a.mp4")
    for name, start in (("left", 0), ("right", 2)):
        lines = [f"2024-05-21T12:00:{start + k // 50:02}.{k % 50 * 20:03}Z,{start + k / 50}" for k in range(450)]
        (tmp_path / "p01" / f"a.{name}.csv").write_text("\n".join(["time,acc_x", *lines]))
    (result,), _ = check_dataset(tmp_path, PARAMETERS)
    assert result.imu is not None
    np.testing.assert_allclose(result.imu.values[:, 0], result.imu.values[:, 1], atol=1e-6)
    assert result.imu.start == pytest.approx(2.0)


def test_a_missing_chapter_is_named(film: Path, tmp_path: Path) -> None:
    for name in ("GX010001", "GX030001"):
        video(film, tmp_path / "p01" / f"{name}.MP4")
    imu(tmp_path / "p01" / "GX010001.csv", seconds=30)
    errors = messages(check_dataset(tmp_path, PARAMETERS)[1], error=True)
    assert "of its chapters only GX010001, GX030001 are there; copy the missing ones" in errors[0]
