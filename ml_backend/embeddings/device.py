"""Where a backbone computes, and in which precision: chosen once, for all of them."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]

PRECISIONS = ("auto", "float32", "bfloat16")
BFLOAT16_BACKBONES = {"clip"}
"""Those whose vectors in bfloat16 are known to keep a cosine of 0.999 to the float32 ones; EfficientNet-Lite0's fall
to 0.995, the others' published weights were not measured."""


def choose_precision(backbone: str, wanted: str) -> Precision:
    """`auto` is bfloat16 where both the backbone and the hardware are made for it, else float32."""
    if wanted != "auto":
        return "bfloat16" if wanted == "bfloat16" else "float32"
    if backbone not in BFLOAT16_BACKBONES:
        return "float32"
    import torch

    fast = torch.cuda.is_bf16_supported(False) if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def has_gpu() -> bool:
    """True where the networks run on a GPU."""
    import torch

    return torch.cuda.is_available()


def place(precision: Precision) -> tuple["torch.device", "torch.dtype"]:
    """Device and type of a network's weights and activations."""
    import torch

    return torch.device("cuda" if has_gpu() else "cpu"), getattr(torch, precision)


def check_precision(precision: str) -> None:
    """ValueError if it is not known."""
    if precision not in PRECISIONS:
        raise ValueError(f"'{precision}' is not known; known are {', '.join(PRECISIONS)}")
