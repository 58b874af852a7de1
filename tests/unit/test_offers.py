"""What is asked of annotators: the order, what each clip says of itself, and the pictures beside it."""

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from PIL import Image

from ml_backend.labelstudio import Media, Offer, is_upload_of, upload_names, with_order
from ml_backend.recordings import Stretch, clip_key, cut_clip, stretch_of_key, write_strip
from ml_backend.recordings.strips import GAP, HEIGHT
from ml_backend.recordings.video import picture_at

VIDEO = "0123456789abcdef0123456789abcdef"


def offer(clips: int, seconds: float, next_best: bool = False, named: bool = True, alike: float = 1.0) -> Offer:
    key = clip_key(Stretch("Tåg 01", 4.0, 8.0, VIDEO))
    moments = ((Path("v.mp4"), alike),)
    return Offer(
        "anna", "Tåg 01", Path("v.mp4"), 4, 8, 1, clips, seconds, key, alike=moments, next_best=next_best, named=named
    )


def test_a_clip_says_where_it_stands_what_it_stands_for_and_how_much_is_done_with_it() -> None:
    offers = [offer(60, 3725), offer(30, 82), offer(30, 82, next_best=True), offer(10, 9)]
    assert [one.about for one in with_order(offers, 100)] == [
        "Clip 1 of 3 · stands for 1 h 2 min · with it 60% of the recordings",
        "Clip 2 of 3 · stands for 1 min 22 s · with it 90% of the recordings",
        "In place of a clip that showed no class · stands for 1 min 22 s",
        "Clip 3 of 3 · stands for 9 s · with it 100% of the recordings",
    ]


@effort(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 500), st.booleans())))
def test_every_clip_of_the_order_is_numbered_once(clusters: list[tuple[int, bool]]) -> None:
    offers = [offer(size, float(size), next_best) for size, next_best in clusters]
    said = [one.about for one in with_order(offers, sum(size for size, _ in clusters))]
    first = sum(not next_best for _, next_best in clusters)
    assert [text.split(" · ")[0] for text in said if text.startswith("Clip")] == [
        f"Clip {number} of {first}" for number in range(1, first + 1)
    ]


def test_a_hidden_clip_names_neither_participant_nor_recording_and_is_found_by_its_video() -> None:
    hidden = offer(3, 3.0, named=False)
    for text in (*hidden.shown_as, hidden.upload_name, hidden.strip_name):
        assert "anna" not in text
        assert "T" not in text
    assert hidden.place == offer(3, 3.0).place
    assert stretch_of_key(hidden.shown_as[1])[1:] == stretch_of_key(hidden.key)[1:]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("blurred", [True, False])
def test_uploads_are_known_by_the_names_of_the_clips_that_they_were_made_for(named: bool, blurred: bool) -> None:
    one = replace(offer(3, 3.0, named=named), blurred=blurred)
    names = upload_names("anna", one.key)
    assert len(names) == 4
    assert is_upload_of(f"1f2e3d4c-{one.upload_name}", names)
    assert is_upload_of(f"1f2e3d4c-{one.strip_name}", names)
    other = clip_key(Stretch("Tåg 01", 5.0, 9.0, VIDEO))
    assert not any(is_upload_of(f"1f2e3d4c-{name}", names) for name in upload_names("anna", other))
    assert not is_upload_of("1f2e3d4c-somebody-elses.jpg", names)
    assert len(f"upload/1234567/1f2e3d4c-{one.strip_name}") <= 100  # what Label Studio's database holds
    assert offer(3, 3.0, alike=2.0).strip_name != offer(3, 3.0).strip_name


def test_the_strip_shows_each_moment_in_its_order(sample_root: Path, tmp_path: Path) -> None:
    video = sample_root / "p01" / "session.mp4"
    write_strip([(video, seconds) for seconds in (1.0, 20.0, 1e6)], tmp_path / "strip.jpg")
    strip = np.asarray(Image.open(tmp_path / "strip.jpg"), dtype=float)
    assert strip.shape[0] == HEIGHT
    width = (strip.shape[1] - 2 * GAP) // 3
    for number, seconds in enumerate((1.0, 20.0, 1e6)):
        wanted = Image.fromarray(picture_at(video, seconds, 160)).resize((width, HEIGHT))
        shown = strip[:, number * (width + GAP) :][:, :width]
        assert np.abs(shown - np.asarray(wanted, dtype=float)).mean() < 6


class Unsent(Media):
    """Files that are made, of a project without uploads; nothing is asked of Label Studio."""

    uploads: dict[str, int] = {}  # noqa: RUF012 - none are there


@pytest.fixture
def even_memory() -> Iterator[None]:
    """What is allocated holds the same bytes each time: x264 looks into memory that it has not written, so that the
    same pictures become files of other bytes now and then."""
    fill = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc alone
    perturb = -6
    if fill is not None:
        fill(perturb, 85)
    yield
    if fill is not None:
        fill(perturb, 0)


@pytest.mark.usefixtures("even_memory")
def test_files_of_tasks_are_made_ahead_in_order_and_what_cannot_be_is_left_to_who_asks(
    sample_root: Path, tmp_path: Path
) -> None:
    video, gone = sample_root / "p01" / "session.mp4", sample_root / "p01" / "gone.mp4"
    offers = []
    for number in range(7):
        own = gone if number == 3 else video
        key = clip_key(Stretch("session", 4.0 * number, 4.0 * number + 4, "0" * 32))
        moments = ((video, 1.0), (video, 2.0)) if number % 2 else ()
        offers.append(Offer("p01", "session", own, 4.0 * number, 4.0 * number + 4, 1, 1, 1.0, key, alike=moments))
    media = Unsent(None, 1, tmp_path)  # type: ignore[arg-type]
    seen = []
    for offer in media.ahead(offers):
        there = (
            (tmp_path / offer.upload_name).is_file(),
            bool(offer.alike) and (tmp_path / offer.strip_name).is_file(),
        )
        seen.append((offer, there))
        if offer.video == video:
            (tmp_path / offer.upload_name).unlink()
    assert [offer for offer, _ in seen] == offers
    assert [there for _, there in seen] == [(number != 3, bool(number % 2)) for number in range(7)]
    assert not list(tmp_path.glob("*.mp4"))
    cut_clip(video, 0.0, 4.0, tmp_path / "alone.mp4")
    media.make(offers[0], ())
    assert (tmp_path / offers[0].upload_name).read_bytes() == (tmp_path / "alone.mp4").read_bytes()
    media.make(offers[1], [offers[1].upload_name])
    assert not (tmp_path / offers[1].upload_name).exists()  # it was uploaded before
