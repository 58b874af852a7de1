"""How right labels are, where the truth is known."""

import numpy as np
import numpy.typing as npt

from ml_backend.labels.answers import UNLABELLED

Ints = npt.NDArray[np.int64]


def macro_recall(truth: Ints, predicted: Ints) -> float:
    """The paper's labelling accuracy (section 4): mean over the classes that occur of their recall; NaN for none.

    truth, predicted: `(n_samples,)` class indices. Samples that are UNLABELLED do not count.
    """
    kept = predicted != UNLABELLED
    truth, predicted = truth[kept], predicted[kept]
    recalls = [float((predicted[truth == c] == c).mean()) for c in np.unique(truth)]
    return float(np.mean(recalls)) if recalls else float("nan")


def macro_f1(truth: Ints, predicted: Ints) -> float:
    """Mean over the classes that occur in the truth of their F1 score; NaN for none.

    truth, predicted: `(n_samples,)` class indices. Samples that are UNLABELLED do not count.
    """
    kept = predicted != UNLABELLED
    truth, predicted = truth[kept], predicted[kept]
    if not len(truth):
        return float("nan")
    from sklearn.metrics import f1_score  # takes a second and 60 MB

    return float(f1_score(truth, predicted, labels=np.unique(truth), average="macro"))
