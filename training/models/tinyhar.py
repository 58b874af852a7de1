"""TinyHAR (Zhou et al. 2022): convolutions along time, attention across channels, fusion, LSTM, attention."""

import torch
from torch import Tensor, nn

from training.errors import TrainingError

FILTERS = 40
KERNEL = 5
STRIDES = (1, 2, 1, 2)
DROPOUT = 0.5


class TinyHAR(nn.Module):
    """Windows `(batch, time, channels)` → scores `(batch, classes)`.

    `paper_exact` changes nothing here; it stands for the same constructor as the other model's.
    """

    def __init__(self, channels: int, classes: int, window: int, paper_exact: bool = False) -> None:  # noqa: ARG002
        super().__init__()
        length = window
        for stride in STRIDES:
            length = (length - KERNEL) // stride + 1
        if length < 1:
            raise TrainingError(f"tinyhar needs windows of 25 samples or more, got {window}; use longer windows")
        blocks = []
        for inputs, stride in zip((1, FILTERS, FILTERS, FILTERS), STRIDES, strict=True):
            convolution = nn.Conv1d(inputs, FILTERS, KERNEL, stride)
            blocks.append(nn.Sequential(convolution, nn.ReLU(inplace=True), nn.BatchNorm1d(FILTERS)))
        self.convolutions = nn.Sequential(*blocks)
        self.attention = ChannelAttention()
        self.dropout = nn.Dropout(DROPOUT)
        self.fusion = nn.Linear(channels * FILTERS, 2 * FILTERS)
        self.lstm = nn.LSTM(2 * FILTERS, 2 * FILTERS, batch_first=True)
        self.score = nn.Linear(2 * FILTERS, 1)
        self.classifier = nn.Linear(2 * FILTERS, classes)

    def forward(self, windows: Tensor) -> Tensor:
        batch, time, channels = windows.shape
        # Channels stay separate (kernel (5, 1)), so each is a batch entry of a convolution along time.
        features = self.convolutions(windows.transpose(1, 2).reshape(batch * channels, 1, time))
        by_step = features.view(batch, channels, FILTERS, -1).permute(0, 3, 1, 2)  # batch, time, channels, filters
        steps = self.dropout(self.attention(by_step)).flatten(2)
        outputs, _ = self.lstm(torch.relu(self.fusion(steps)))
        shares = torch.softmax(self.score(outputs), dim=1)  # batch, time, 1
        scores: Tensor = self.classifier((shares * outputs).sum(dim=1))
        return scores


class ChannelAttention(nn.Module):
    """Self-attention across channels at each step, unscaled; its softmax over the queries as in the paper's code."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(FILTERS, FILTERS, bias=False)
        self.key = nn.Linear(FILTERS, FILTERS, bias=False)
        self.value = nn.Linear(FILTERS, FILTERS, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, by_step: Tensor) -> Tensor:
        """`(batch, time, channels, filters)` → the same shape."""
        products = self.query(by_step) @ self.key(by_step).transpose(-1, -2)
        shares = torch.softmax(products, dim=-2)
        return self.gamma * (shares.transpose(-1, -2) @ self.value(by_step)) + by_step
