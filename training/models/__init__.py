"""The two inertial classifiers of the paper, by name."""

from torch import nn

from training.errors import TrainingError
from training.models.deepconvlstm import ShallowDeepConvLSTM
from training.models.tinyhar import TinyHAR

MODELS: dict[str, type[ShallowDeepConvLSTM] | type[TinyHAR]] = {
    "shallow_deepconvlstm": ShallowDeepConvLSTM,
    "tinyhar": TinyHAR,
}


def build_model(name: str, channels: int, classes: int, window: int, paper_exact: bool = False) -> nn.Module:
    """The model called `name` with freshly drawn weights; TrainingError if it is unknown or the window too short."""
    if name not in MODELS:
        raise TrainingError(f"model '{name}' is not known; known are {', '.join(MODELS)}")
    model = MODELS[name](channels, classes, window, paper_exact)
    initialise(model)
    return model


def initialise(model: nn.Module) -> None:
    """Xavier normal for conv, linear and recurrent weights; conv and linear biases 0, as in the paper."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM):
            for name, weight in module.named_parameters():
                if "weight" in name:
                    nn.init.xavier_normal_(weight)


__all__ = ["MODELS", "ShallowDeepConvLSTM", "TinyHAR", "build_model", "initialise"]
