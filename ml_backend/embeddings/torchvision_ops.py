"""Makes torchvision import beside a torch build whose compiled torchvision operators do not load.

torchvision's wheel for CUDA, beside a CPU torch, fails on import: its Python side registers shapes for two operators
that its compiled side could not define. Nothing we use needs them; declaring them is enough.
"""

import torch

OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []


def declare_missing_operators() -> None:
    """Import torchvision; where that fails for want of an operator, declare the missing ones and try again."""
    if _declared:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name, schema in OPERATORS.items():
            if not hasattr(torch.ops.torchvision, name):
                library.define(schema)
        _declared.append(library)
        import torchvision  # noqa: F401
