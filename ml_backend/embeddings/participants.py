"""The vectors of a participant's clips: one backbone after another over all recordings, put together in order."""

from collections.abc import Hashable
from functools import partial
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from ml_backend.embeddings.backbone import CLIPS, FRAMES, Backbone, Sampling
from ml_backend.embeddings.device import Precision, choose_precision
from ml_backend.embeddings.registry import Weights, load_backbone, parts_of
from ml_backend.embeddings.store import Embedder, precomputed_clip_vectors, unit_spread
from ml_backend.errors import RecordingError
from ml_backend.recordings import CheckedRecording, clip_starts
from ml_backend.settings import Parameters, Settings
from ml_backend.spread import Progress

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
_in_memory: dict[Hashable, Backbone] = {}


def embedders(settings: Settings, parameters: Parameters) -> list[Embedder]:
    """One for each backbone whose vectors are concatenated; loaded when the first vector must be made."""
    known = settings.model_dir / "weights.json"
    weights = Weights(settings.weights, settings.i3d_rgb, settings.i3d_flow, known)
    return [_embedder(settings, parameters, weights, part) for part in parts_of(parameters.backbone)]


def embed_all(parts: list[Embedder], results: list[CheckedRecording], progress: Progress) -> None:
    """Make the vectors of all recordings that bring none, one backbone after another: one is in memory at a time."""
    wanted = [result for result in results if result.recording.vectors is None]
    durations = [result.video.duration if result.video else 0.0 for result in wanted]
    before = [0.0, *accumulate(durations)]
    try:
        for part in parts:
            _embed_by(part, wanted, before, progress)
    finally:
        _in_memory.clear()


def _embed_by(part: Embedder, wanted: list[CheckedRecording], before: list[float], progress: Progress) -> None:
    """The vectors by one backbone; before: the seconds of video before each recording, and of all."""
    step = f"embedding by {part.backbone} (seconds of video)"
    for number, result in enumerate(wanted):

        def report(seconds: float, done: float = before[number]) -> None:
            progress(step, done + seconds, before[-1])

        part.stored(result.recording.video, report)
    progress(step, before[-1], before[-1])


def participant_vectors(
    parameters: Parameters, parts: list[Embedder], results: list[CheckedRecording], starts: list[Floats]
) -> Vectors:
    """Vectors `(n_clips, dim)` of the clips at `starts`, `(n_clips,)` seconds for each recording, in order.

    Each backbone's block is scaled to the same spread if `scale_blocks` says so. RecordingError if recordings bring
    vectors of different dimensions.
    """
    found = [_recording_blocks(parameters, parts, *pair) for pair in zip(results, starts, strict=True)]
    dims = [[block.shape[1] for block in blocks] for blocks in found]
    if not parameters.scale_blocks:  # then blocks do not matter, and precomputed vectors are one block
        found = [[np.concatenate(blocks, axis=1)] for blocks in found]
        dims = [[sum(own)] for own in dims]
    for result, own in zip(results, dims, strict=True):
        if own != dims[0]:
            source, first = result.recording.vectors or result.recording.video, results[0].recording
            raise RecordingError(
                f"{source}: its vectors have {sum(own)} dimensions, those of {first} {sum(dims[0])}; "
                "use one backbone for all recordings of a participant"
            )
    blocks = [np.concatenate(block) for block in zip(*found, strict=True)]
    return np.concatenate([unit_spread(block) for block in blocks] if parameters.scale_blocks else blocks, axis=1)


def participant_frames(
    parts: list[Embedder], results: list[CheckedRecording], starts: list[Floats]
) -> tuple[list[tuple[Floats, list[Vectors]]], Vectors] | None:
    """Times `(n_frames,)` of each recording's frames with their vectors `(n_frames, dim)` by every backbone that sees
    single frames, memory-mapped; and the means `(n_clips, dim)` over each clip's frames. None where a recording
    brings its own vectors, or no backbone sees single frames."""
    if any(result.recording.vectors is not None for result in results):
        return None
    frames, means = [], []
    for result, own in zip(results, starts, strict=True):
        stored = [(part, part.stored(result.recording.video)) for part in parts]
        seen = [(part, times, vectors) for part, (rows, times, vectors) in stored if rows != CLIPS]
        if not seen:
            return None
        frames.append((seen[0][1], [vectors for _, _, vectors in seen]))
        blocks = [FRAMES.of_clips(times, vectors, own, part.sampling) for part, times, vectors in seen]
        means.append(np.concatenate(blocks, axis=1))
    return frames, np.concatenate(means)


def _embedder(settings: Settings, parameters: Parameters, weights: Weights, part: str) -> Embedder:
    precision = choose_precision(part, parameters.precision)
    return Embedder(
        folder=settings.model_dir / "vectors",
        backbone=part,
        weights=weights.key(part),
        precision=precision,
        sampling=Sampling(
            parameters.clip_seconds,
            parameters.stride_seconds,
            parameters.frame_rate,
            key_frames=not parameters.paper_exact,
        ),
        load=partial(_loaded, part, weights, precision),  # goes to other processes, which no lambda does
    )


def _loaded(part: str, weights: Weights, precision: Precision) -> Backbone:
    """The backbone, kept until another is wanted: one is in memory at a time."""
    key = (part, weights, weights.key(part), precision)
    if key not in _in_memory:
        _in_memory.clear()
        _in_memory[key] = load_backbone(part, weights, precision)
    return _in_memory[key]


def _recording_blocks(
    parameters: Parameters, parts: list[Embedder], result: CheckedRecording, starts: Floats
) -> list[Vectors]:
    if result.recording.vectors is not None:
        duration = result.video.duration if result.video else 0.0
        clips = len(clip_starts(0.0, duration, parameters.clip_seconds, parameters.stride_seconds))
        return [precomputed_clip_vectors(result.recording.vectors, starts, parameters.stride_seconds, clips)]
    return [part.of_clips(result.recording.video, starts) for part in parts]
