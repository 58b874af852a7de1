"""The one training loop (section 5 of the paper), and prediction: window by window, then sample by sample."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.approaches import Approach, training_labels
from training.dataset import UNLABELLED, Dataset, Participant, window_starts
from training.errors import TrainingError
from training.losses import LOSSES, class_weights, one_hot_weights
from training.models import build_model

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults are the paper's. `paper_exact` adds the oddities of the published code: windows span
    gaps, random clips get their cluster's label, losses are weighted as if labels were one-hot, and
    ShallowDeepConvLSTM recurs over the batch and is not shuffled; each can be had alone, to measure it."""

    window_seconds: float = 1.0
    overlap: float = 0.5
    epochs: int = 30
    batch_size: int = 100
    learning_rate: float = 1e-4
    weight_decay: float = 1e-6
    decay_every: int = 10  # epochs
    decay: float = 0.9
    normalise: bool = False
    shuffle: bool = True
    span_gaps: bool = False
    batch_recurrence: bool = False
    one_hot_weights: bool = False
    paper_exact: bool = False
    device: str = "auto"
    precision: str = "auto"  # bfloat16 where the processor is made for it, else float32

    def __post_init__(self) -> None:
        for name in ("window_seconds", "epochs", "batch_size", "learning_rate", "decay_every", "decay"):
            if not 0 < getattr(self, name) < np.inf:
                raise TrainingError(f"{name} = {getattr(self, name)} must be above 0")
        if not 0 <= self.weight_decay < np.inf:
            raise TrainingError(f"weight_decay = {self.weight_decay} must be 0 or above")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise TrainingError(f"precision = {self.precision} must be auto, float32 or bfloat16")
        if not 0 <= self.overlap < 1:
            raise TrainingError(f"overlap = {self.overlap} must be at least 0 and below 1")

    def window(self, sampling_rate: float) -> tuple[int, int]:
        """Length and step of windows in samples."""
        length = max(1, int(self.window_seconds * sampling_rate + 1e-6))  # a stride of one second must hold a window
        return length, max(1, round(length * (1 - self.overlap)))


@dataclass
class Trained:
    """A model with what predicting needs; mean and std `(channels,)` of the training samples, None without
    normalisation."""

    model: nn.Module
    name: str
    labels: tuple[str, ...]
    channels: tuple[str, ...]
    sampling_rate: float
    window: int
    step: int
    batch_recurrence: bool = False
    batch_size: int = 1000
    mean: Tensor | None = None
    std: Tensor | None = None

    def normalised(self, windows: Tensor) -> Tensor:
        """z-scores per channel where the model was trained on them."""
        return windows if self.mean is None or self.std is None else (windows - self.mean) / self.std


def train(
    dataset: Dataset,
    participants: list[Participant],
    model_name: str,
    approach: Approach,
    seed: int,
    settings: Settings,
    after_epoch: Callable[[int, float], None] = lambda *_: None,
) -> Trained:
    """Train a model on the participants' labels by the approach; `after_epoch` gets the epoch and its mean loss.

    A KeyboardInterrupt ends training after the steps made so far, if an epoch is complete.
    """
    torch.manual_seed(seed)
    device = _device(settings.device)
    length, step = settings.window(dataset.sampling_rate)
    values, starts, labels = _training_windows(dataset, participants, approach, seed, settings)
    recurs = model_name == "shallow_deepconvlstm"
    recurrence = recurs and (settings.paper_exact or settings.batch_recurrence)
    model = build_model(model_name, len(dataset.channels), len(dataset.labels), length, recurrence)
    trained = Trained(
        model=model.to(device),
        name=model_name,
        labels=dataset.labels,
        channels=dataset.channels,
        sampling_rate=dataset.sampling_rate,
        window=length,
        step=step,
        batch_recurrence=recurrence,
        batch_size=settings.batch_size if recurrence else Trained.batch_size,
    )
    settings = replace(settings, shuffle=settings.shuffle and not (recurs and settings.paper_exact))
    if settings.normalise:
        trained.mean, trained.std = (moment.to(device) for moment in _moments(values, starts, length))
    classes = len(dataset.labels)
    as_one_hot = settings.one_hot_weights or settings.paper_exact
    loss_of = LOSSES[approach.loss](one_hot_weights(classes) if as_one_hot else class_weights(labels, classes)).to(
        device
    )
    _descend(trained, values.to(device), starts.to(device), labels.to(device), loss_of, settings, after_epoch)
    model.eval()
    return trained


def predict(trained: Trained, values: npt.NDArray[np.float32], segment: Ints) -> Tensor:
    """Class probabilities of every sample `(n, classes)`, NaN where a segment is shorter than a window.

    A window's answer covers its first step, the last window's reaches to the end of its segment.
    """
    device = next(trained.model.parameters()).device
    starts = torch.from_numpy(window_starts(segment, np.ones(len(segment), bool), trained.window, trained.step))
    result = torch.full((len(segment), len(trained.labels)), torch.nan)
    if len(starts) == 0:
        return result
    windows = _windows(torch.from_numpy(values), trained.window)
    with torch.inference_mode():
        scores = [
            trained.model(trained.normalised(windows[batch].to(device).transpose(1, 2))).cpu()
            for batch in starts.split(trained.batch_size)
        ]
    probabilities = torch.softmax(torch.cat(scores), dim=1)
    begins = starts.numpy()
    of_segment = segment[begins]
    # The last window of a segment reaches to its end.
    ends = np.where(
        np.diff(of_segment, append=-1) != 0, np.searchsorted(segment, of_segment, "right"), begins + trained.step
    )
    covered = np.concatenate([np.arange(begin, end) for begin, end in zip(begins, ends, strict=True)])
    result[covered] = probabilities.repeat_interleave(torch.from_numpy(ends - begins), dim=0)
    return result


def predicted_classes(probabilities: Tensor) -> Ints:
    """Class index of every sample, -1 where there is none; `(n,)`."""
    unknown = probabilities[:, 0].isnan()
    return torch.where(unknown, UNLABELLED, probabilities.nan_to_num().argmax(dim=1)).numpy()


def _descend(
    trained: Trained,
    values: Tensor,
    starts: Tensor,
    labels: Tensor,
    loss_of: nn.Module,
    settings: Settings,
    after_epoch: Callable[[int, float], None],
) -> None:
    model, windows = trained.model, _windows(values, trained.window)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, settings.decay_every, settings.decay)
    half = _uses_bfloat16(settings.precision, values.device)

    def one_epoch() -> float:
        order = torch.randperm(len(starts)) if settings.shuffle else torch.arange(len(starts))
        total = torch.zeros((), device=values.device)
        for batch in order.to(values.device).split(settings.batch_size):
            with torch.autocast(values.device.type, torch.bfloat16, enabled=half):
                scores = model(trained.normalised(windows[starts[batch]].transpose(1, 2)))
            loss = loss_of(scores.float(), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(batch)
        schedule.step()
        return float(total) / len(starts)

    model.train()
    for epoch in range(1, settings.epochs + 1):
        try:
            mean_loss = one_epoch()
            # Where the loss stays finite the model need not: an infinite variance would predict one class for all.
            if not np.isfinite(mean_loss) or not all(part.isfinite().all() for part in model.state_dict().values()):
                raise TrainingError(
                    f"training overflows in epoch {epoch} (loss {mean_loss:.3g}); lower learning_rate or set "
                    "normalise, the values of the channels may be too large"
                )
            after_epoch(epoch, mean_loss)
        except KeyboardInterrupt:
            if epoch == 1:
                raise
            break


def _training_windows(
    dataset: Dataset, participants: list[Participant], approach: Approach, seed: int, settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    """Values, the rows of them at which windows start, and the windows' labels: those of their last samples."""
    length, step = settings.window(dataset.sampling_rate)
    values, starts, labels = [], [], []
    begin = 0
    for participant in participants:
        own = training_labels(dataset, participant, approach, seed, settings.paper_exact)
        segment, first_row = participant.segment, participant.begin
        if settings.span_gaps or settings.paper_exact:  # the rows that remain, as if they followed one another
            kept = np.flatnonzero(own != UNLABELLED)
            values.append(dataset.values[participant.begin + kept])
            own, segment, first_row = own[kept], np.zeros(len(kept), dtype=np.int64), begin
            begin += len(kept)
        begins = window_starts(segment, own != UNLABELLED, length, step)
        starts.append(first_row + begins)
        labels.append(own[begins + length - 1])
    all_starts, all_labels = torch.from_numpy(np.concatenate(starts)), torch.from_numpy(np.concatenate(labels))
    if len(all_starts) == 0:
        raise TrainingError(
            f"{dataset.path}: approach {approach} leaves no window of {length} samples to train on; label more "
            "clips, raise the threshold or shorten the window"
        )
    if len(all_labels.unique()) < 2:
        only = dataset.labels[int(all_labels[0])]
        raise TrainingError(
            f"{dataset.path}: approach {approach} leaves only class '{only}' to train on; label others too"
        )
    return torch.from_numpy(np.concatenate(values) if values else dataset.values), all_starts, all_labels


def _moments(values: Tensor, starts: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `(channels,)` of the samples that lie in windows."""
    inside = torch.zeros(len(values) + 1)
    inside.index_add_(0, starts, torch.ones(len(starts)))
    inside.index_add_(0, starts + length, -torch.ones(len(starts)))
    samples = values[inside.cumsum(0)[:-1] > 0.5].double()
    std = samples.std(dim=0, correction=0)
    return samples.mean(dim=0).float(), torch.where(std > 0, std, 1.0).float()


def _windows(values: Tensor, length: int) -> Tensor:
    """A view `(n - length + 1, channels, length)`: window k begins at sample k; nothing is copied."""
    return values.unfold(0, length, 1)


def _uses_bfloat16(precision: str, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bfloat16"
    return torch.cuda.is_bf16_supported(False) if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(
            f"device '{name}' cannot be used ({str(error).splitlines()[0]}); take cpu or auto"
        ) from None
    return device
