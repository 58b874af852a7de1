"""The losses of the paper (section 5): class-weighted per window, then the mean over the batch.

Unlike torch's own weighted cross-entropy the sum is divided by the number of windows, not by the sum of weights.
"""

import torch
from torch import Tensor, nn


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy times the class weight, mean over the batch. weight: `(classes,)`, 1 if None."""

    def __init__(self, weight: Tensor | None = None) -> None:
        super().__init__()
        self.weight: Tensor | None
        self.register_buffer("weight", weight)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """scores `(batch, classes)`, target `(batch,)` class indices → scalar."""
        return self.per_window(scores, target).mean()

    def per_window(self, scores: Tensor, target: Tensor) -> Tensor:
        """`(batch,)`."""
        return nn.functional.cross_entropy(scores, target, self.weight, reduction="none")


class PHGCELoss(nn.Module):
    """Partially Huberised generalised cross-entropy (Menon et al. 2020), robust to wrong labels.

    With p the probability of the label and p0 = tau^(1/(q-1)): (1 - p^q)/q above p0, its tangent there below.
    weight: `(classes,)`, 1 if None.
    """

    def __init__(self, weight: Tensor | None = None, q: float = 0.7, tau: float = 10.0) -> None:
        super().__init__()
        self.weight: Tensor | None
        self.register_buffer("weight", weight)
        self.q = q
        self.tau = tau
        self.threshold = tau ** (1 / (q - 1))

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """scores `(batch, classes)`, target `(batch,)` class indices → scalar."""
        return self.per_window(scores, target).mean()

    def per_window(self, scores: Tensor, target: Tensor) -> Tensor:
        """`(batch,)`."""
        p = torch.softmax(scores, dim=1).gather(1, target[:, None]).squeeze(1)
        above = (1 - p.clamp(min=self.threshold) ** self.q) / self.q
        losses = above + self.tau * (self.threshold - p).clamp(min=0)
        return losses if self.weight is None else losses * self.weight[target]


LOSSES: dict[str, type[WeightedCrossEntropy] | type[PHGCELoss]] = {"ce": WeightedCrossEntropy, "phgce": PHGCELoss}


def one_hot_weights(classes: int) -> Tensor:
    """The published code's weights `(classes,)`: 1 / (classes - 1) for the first class, 1 for all others, whatever
    the data, since it counts the zeros and ones of one-hot labels."""
    weights = torch.ones(classes)
    weights[0] = 1 / max(1, classes - 1)
    return weights


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """`n_windows / (n_classes · n_windows_of_class)`, 1 for absent classes; labels `(n_windows,)` → `(classes,)`."""
    counts = torch.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * counts.clamp(min=1).double())
    return torch.where(counts > 0, weights, 1.0).float()
