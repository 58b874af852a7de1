"""Real videos and real IMU data through ingest, embedding, clustering, cutting and labelling; and a full disk."""

import os
import subprocess
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import torch
import yaml

from ml_backend.clusters import clustering_stamp, load_clustering, load_vectors, participant_folder, participants_of
from ml_backend.embeddings.i3d import I3D
from ml_backend.files import DiskError
from ml_backend.jobs import clusters_folder, pipeline, usable_recordings
from ml_backend.labels import macro_recall
from ml_backend.recordings.clips import clip_of_samples, last_sample_of_clips
from ml_backend.recordings.sampling import sample_frames
from ml_backend.recordings.video import VideoWriter, cut_clip, probe
from ml_backend.settings import Parameters, Settings

FILES = ("video/arm_wrestling.mp4", "video/low_res_mpeg4.avi", "video/skeleton.mp4", "gopro/karma.mp4")
ACTIVITIES = {FILES[0]: "jumping_jacks", FILES[1]: "sit_ups", FILES[2]: "walking", FILES[3]: "null"}


def hawthorne_rows(shared_data: Path, subject: int, label: str, count: int) -> np.ndarray:
    table = pa.csv.read_csv(shared_data / "hawthorne" / f"sbj_{subject}.csv")
    rows = table.filter(pa.compute.equal(table["label"], label))
    values = np.stack([rows[name].to_numpy() for name in ("acc_x", "acc_y", "acc_z")], axis=1)
    return np.resize(values, (count, 3))


def write_imu(path: Path, values: np.ndarray, labels: list[str]) -> None:
    columns = {f"acc_{axis}": column for axis, column in zip("xyz", values.T.copy(), strict=True)}
    pa.csv.write_csv(pa.table({**columns, "label": labels}), path)


def test_every_real_recording_is_checked_embedded_clustered_and_cut(
    shared_data: Path, tmp_path: Path, settings: Settings
) -> None:
    entries = []
    for name in FILES:
        stem = Path(name).stem
        count = int(probe(shared_data / name).duration * 50)
        write_imu(tmp_path / f"{stem}.csv", hawthorne_rows(shared_data, 0, "walking", count), ["walking"] * count)
        entries.append({"participant": stem, "video": str(shared_data / name), "imu": f"{stem}.csv"})
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"recordings": entries}))
    parameters = Parameters(clip_seconds=1, stride_seconds=0.5, components="50%", sampling_rate=50)
    checked, _ = usable_recordings(tmp_path, parameters)
    pipeline.embed_and_cluster(settings, clusters_folder(settings, 1), parameters, checked, lambda *_: None)
    # Clusters of an older version get what labels look at besides, and are themselves left alone.
    own = participant_folder(clusters_folder(settings, 1), Path(FILES[0]).stem)
    (own / "features.npz").unlink()
    before = clustering_stamp(own.parent, own.name)
    pipeline.embed_and_cluster(settings, clusters_folder(settings, 1), parameters, checked, lambda *_: None)
    assert clustering_stamp(own.parent, own.name)[1] == before[1]
    frames = load_clustering(own.parent, own.name).frames
    assert frames is not None
    assert len(frames.times) == len(frames.components) > 0
    for result in checked:
        clustering = load_clustering(clusters_folder(settings, 1), result.recording.participant)
        for clip in clustering.centroids[clustering.centroids >= 0]:
            start = float(clustering.starts[clip])
            target = tmp_path / "clip.mp4"
            cut_clip(result.recording.video, start, start + 1, target)
            assert probe(target).duration == pytest.approx(1.0, abs=0.15)  # how long the last frame shows is a guess
            with av.open(str(target)) as container:
                assert container.streams.video[0].width <= 640


def compose(shared_data: Path, folder: Path, participant: int) -> None:
    """One recording of the real videos in random order, with real IMU data of the activity each stands for."""
    folder.mkdir(parents=True)
    order = np.random.default_rng(participant).permutation([*FILES, *FILES[:2]])
    frames = {name: [image for _, image in sample_frames(shared_data / name, 12.5)] for name in FILES}
    values, labels, shown = [], [], 0
    with VideoWriter(folder / "composed.mp4", 320, 240, 12.5) as writer:
        for name in order:
            for number in range(750):  # a minute; a shorter video is shown to and fro
                own = frames[name]
                image = own[abs((number + len(own) - 1) % (2 * len(own) - 2) - (len(own) - 1))]
                picture = av.VideoFrame.from_ndarray(image, format="rgb24").to_ndarray(
                    width=320, height=240, format="rgb24"
                )
                writer.write(picture, shown / 12.5)
                shown += 1
            values.append(hawthorne_rows(shared_data, participant, ACTIVITIES[name], 3000))
            labels += [ACTIVITIES[name]] * 3000
    write_imu(folder / "composed.csv", np.concatenate(values), labels)


def test_composed_real_recordings_are_labelled_with_12_clusters(
    shared_data: Path, tmp_path: Path, settings: Settings
) -> None:
    accuracies = []
    for participant in range(2):
        compose(shared_data, tmp_path / "data" / f"sbj_{participant}", participant)
    parameters = Parameters(components=12, sampling_rate=50)
    checked, _ = usable_recordings(tmp_path / "data", parameters)
    pipeline.embed_and_cluster(settings, clusters_folder(settings, 1), parameters, checked, lambda *_: None)
    for result in checked:
        clustering = load_clustering(clusters_folder(settings, 1), result.recording.participant)
        imu = result.imu
        assert imu is not None
        truth = np.array([sorted(ACTIVITIES.values()).index(label) for label in imu.labels])  # type: ignore[union-attr]
        answers = truth[last_sample_of_clips(imu.times, clustering.starts, 4.0)[clustering.centroids]]
        clip = clip_of_samples(imu.times, clustering.starts, 1.0, imu.end)
        accuracies.append(macro_recall(truth, answers[clustering.clusters[clip]]))
    assert min(accuracies) >= 0.95, accuracies


def test_a_combination_of_backbones_clusters_a_gopro_recording_with_its_own_imu(
    shared_data: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    torch.save(I3D(3, 400).state_dict(), tmp_path / "i3d_rgb.pt")
    (tmp_path / "data" / "p 1 ä").mkdir(parents=True)
    (tmp_path / "data" / "p 1 ä" / "ride.mp4").symlink_to(shared_data / "gopro" / "karma.mp4")
    settings = Settings(model_dir=tmp_path / "model", weights=tmp_path)
    parameters = Parameters(
        backbone="i3d+efficientnet_lite0", components=3, clustering="segments", scale_blocks=True, precision="float32"
    )
    checked, problems = usable_recordings(tmp_path / "data", parameters)
    assert not problems
    pipeline.embed_and_cluster(settings, clusters_folder(settings, 1), parameters, checked, lambda *_: None)
    vectors = load_vectors(clusters_folder(settings, 1), "p 1 ä")
    clustering = load_clustering(clusters_folder(settings, 1), "p 1 ä")
    assert vectors.shape == (9, 1024 + 1280)
    for block in (vectors[:, :1024], vectors[:, 1024:]):
        assert block.var(axis=0).sum() == pytest.approx(1, rel=1e-3)
    assert (np.diff(clustering.clusters) != 0).sum() == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small tmpfs")
def test_a_full_disk_is_named_and_loses_nothing(sample_root: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)], check=True)
    try:
        settings = Settings(model_dir=small / "model", data_dir=sample_root)
        parameters = Parameters(components=5)
        checked, _ = usable_recordings(sample_root, parameters)
        with pytest.raises(DiskError, match="the disk is full"):
            pipeline.embed_and_cluster(settings, clusters_folder(settings, 1), parameters, checked, lambda *_: None)
        before = next(small.rglob("*.partial")).stat().st_size
        assert before > 0
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        pipeline.embed_and_cluster(settings, clusters_folder(settings, 1), parameters, checked, lambda *_: None)
        assert participants_of(clusters_folder(settings, 1)) == ["p01", "p02"]
    finally:
        subprocess.run(["umount", str(small)], check=True)
