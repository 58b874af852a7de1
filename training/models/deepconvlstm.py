"""Shallow DeepConvLSTM (Bock et al. 2021): convolutions along time, one LSTM, a linear classifier."""

import torch
from torch import Tensor, nn

from training.errors import TrainingError

FILTERS = 64
KERNEL = 9
UNITS = 128
DROPOUT = 0.5


class ShallowDeepConvLSTM(nn.Module):
    """Windows `(batch, time, channels)` → scores `(batch, classes)`.

    `paper_exact`: the recurrence runs over the windows of a batch instead of over time, as in the published code.
    """

    def __init__(self, channels: int, classes: int, window: int, paper_exact: bool = False) -> None:
        super().__init__()
        if window <= 4 * (KERNEL - 1):
            raise TrainingError(
                f"shallow_deepconvlstm needs windows of more than {4 * (KERNEL - 1)} samples, got {window}; "
                "use longer windows or tinyhar"
            )
        inputs = (1, FILTERS, FILTERS, FILTERS)
        self.convolutions = nn.ModuleList([nn.Conv1d(n, FILTERS, KERNEL) for n in inputs])
        self.lstm = nn.LSTM(channels * FILTERS, UNITS, batch_first=not paper_exact)
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(UNITS, classes)

    def forward(self, windows: Tensor) -> Tensor:
        batch, time, channels = windows.shape
        # Channels stay separate (kernel (9, 1)), so each is a batch entry of a convolution along time.
        features = windows.transpose(1, 2).reshape(batch * channels, 1, time)
        for convolution in self.convolutions:
            features = torch.relu(convolution(features))
        steps = features.view(batch, channels, FILTERS, -1).permute(0, 3, 1, 2).flatten(2)
        outputs, _ = self.lstm(steps)
        scores: Tensor = self.classifier(self.dropout(outputs[:, -1]))
        return scores
