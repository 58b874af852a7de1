"""Inertial classifiers from weakly labelled datasets: reads exports of weakhar or WEAR-style CSV, nothing else."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.losses import PHGCELoss, WeightedCrossEntropy
    from training.models import ShallowDeepConvLSTM, TinyHAR

__all__ = ["PHGCELoss", "ShallowDeepConvLSTM", "TinyHAR", "WeightedCrossEntropy"]


def __getattr__(name: str) -> Any:
    """Loads torch only when one of these is asked for: the command line answers before that."""
    if name not in __all__:
        raise AttributeError(f"module 'training' has no attribute '{name}'")
    return getattr(
        import_module("training.losses" if "Loss" in name or "Entropy" in name else "training.models"), name
    )
