"""Backbones by name, and where their weights come from.

A name is a backbone (`clip`), one of an open family (`timm:vit_base_patch16_224`), or several joined by `+`
(`clip+raft`), whose vectors are concatenated.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from ml_backend.embeddings.backbone import Backbone
from ml_backend.embeddings.device import Precision
from ml_backend.errors import ConfigError, one_line
from ml_backend.files import content_key, locked, written_atomically
from ml_backend.storage import fresh

BACKBONES = {
    "efficientnet_lite0": "efficientnet_lite0:load",
    "clip": "clip:load",
    "dinov2": "huggingface:load_dinov2",
    "i3d": "i3d:load",
    "raft": "raft:load",
    "raft_v2": "raft:load_v2",
}
RECIPES = {
    **{"efficientnet_lite0": 1, "clip": 2, "dinov2": 1, "i3d": 2, "raft": 2, "raft_v2": 1},
    **{"open_clip": 1, "timm": 1, "hf": 1},
}
"""Version of what each backbone, or family, does to a video: it is to be raised with each change of that, so that
vectors which an earlier version made are not taken for those of this one. A test says when the code was changed and
the version was not. 2: crops and flow as the paper's vectors were made."""
FAMILIES = {
    "open_clip": ("clip:load_any", "open_clip:ViT-B-32/laion2b_s34b_b79k"),
    "timm": ("timm_models:load", "timm:vit_base_patch14_dinov2.lvd142m"),
    "hf": ("huggingface:load", "hf:facebook/dinov3-vitb16-pretrain-lvd1689m"),
}
"""Loader and an example of each open family."""
PAPER_ORDER = {"dinov2+raft": ("raft", "dinov2")}
"""The paper's code puts the flow first in this combination, and last in the others."""


@dataclass(frozen=True)
class Weights:
    """Where weights come from before a hub is asked: files in `folder`; I3D's from a file or URL of its own. known:
    the file in which their hashes are written down."""

    folder: Path | None = None
    i3d_rgb: str = ""
    i3d_flow: str = ""
    known: Path | None = None

    def find(self, name: str) -> Path | None:
        """A file or folder of that name in the folder of weights."""
        path = self.folder / name if self.folder else None
        return path if path and path.exists() else None

    def key(self, backbone: str) -> str:
        """Of the backbone's recipe and the content of the user's own weights; empty for a first recipe with weights
        of the hub."""
        found = [path for name in local_names(backbone) if (path := self.find(name))]
        given = {"i3d": self.i3d_rgb, "raft": self.i3d_flow, "raft_v2": self.i3d_flow}.get(backbone, "")
        contents = [content_key(file) for path in found for file in _files(path)]
        if given:
            contents.append(content_key(Path(given)) if Path(given).is_file() else given)
        version = RECIPES[backbone.partition(":")[0]]
        recipe = f"r{version}" if version > 1 else ""  # the first ones were not written down
        own = sha256(" ".join(contents).encode()).hexdigest()[:8] if contents else ""
        return "-".join(part for part in (recipe, own) if part)


def local_names(backbone: str) -> tuple[str, ...]:
    """What the user's own weights of one backbone are called in the folder of weights."""
    family, _, name = backbone.partition(":")
    folder = name.replace("/", "--")
    return {
        "clip": ("clip-vit-large-patch14.safetensors",),
        "dinov2": ("facebook--dinov2-large",),
        "i3d": ("i3d_rgb.pt",),
        "raft": ("raft_large_v1.pth", "i3d_flow.pt"),
        "raft_v2": ("raft_large.pth", "i3d_flow.pt"),
        "open_clip": (f"{folder}.safetensors",),
        "timm": (f"{name}.safetensors",),
        "hf": (folder,),
    }.get(family, ())


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def parts_of(backbone: str) -> tuple[str, ...]:
    """The backbones whose vectors `backbone` concatenates, in that order; ValueError says what is not known."""
    parts = PAPER_ORDER.get(backbone, tuple(part.strip() for part in backbone.split("+")))
    for part in parts:
        family, _, name = part.partition(":")
        if part not in BACKBONES and not (family in FAMILIES and name):
            examples = ", ".join(example for _, example in FAMILIES.values())
            known = f"known are {', '.join(BACKBONES)}, and such as {examples}, also joined by +"
            raise ValueError(f"'{part}' is not known; {known}")
    if len(set(parts)) < len(parts):
        raise ValueError(f"'{backbone}' names a backbone twice")
    return parts


def load_backbone(name: str, weights: Weights = Weights(), precision: Precision = "float32") -> Backbone:
    """The one backbone called `name`; ConfigError if it is unknown or its weights cannot be had."""
    try:
        parts_of(name)
    except ValueError as error:
        raise ConfigError(f"backbone: {error}") from None
    from ml_backend.embeddings.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    family, _, member = name.partition(":")
    place = BACKBONES[name] if name in BACKBONES else FAMILIES[family][0]
    module, _, function = place.partition(":")
    loader: Callable[[str, Weights, Precision], Backbone] = getattr(
        import_module(f"ml_backend.embeddings.{module}"), function
    )
    backbone = loader(member, weights, precision)
    if weights.known is not None:
        _check_known(weights.known, f"{name} {weights.key(name)} {precision}".strip(), name, backbone)
    return backbone


def _check_known(file: Path, key: str, name: str, backbone: Backbone) -> None:
    """Write down the hash of weights at their first use; ConfigError where they are others later, as when a hub
    changed them: their vectors would be taken for those of the first ones."""
    found = weights_hash(backbone)
    with locked(file.with_suffix(".lock")):
        known = json.loads(file.read_text()) if fresh(file, now=True).is_file() else {}
        if known.setdefault(key, found) != found:
            raise ConfigError(
                f"backbone {name}: its weights are not those that were used before ({file} has their hash); restore "
                "those, or name these in WEAKHAR_WEIGHTS, which makes vectors of their own"
            )
        with written_atomically(file) as temporary:
            temporary.write_text(json.dumps(known, indent=1))


def weights_hash(backbone: Backbone) -> str:
    """SHA-256 over all weights of the networks that a backbone holds, the first 32 hex digits."""
    import torch

    digest, seen = sha256(), set[int]()
    for name, part in sorted(vars(backbone).items()):
        if isinstance(part, torch.nn.Module) and id(part) not in seen:
            seen.add(id(part))
            for key, value in part.state_dict().items():
                digest.update(f"{name}.{key} {tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def weights_error(backbone: str, error: Exception, local: Path | str | None, remedy: str) -> ConfigError:
    """Why a backbone has no weights: the user's own file is no good, or the hub was not reached."""
    reason = one_line(error)
    if local is not None:
        return ConfigError(f"backbone {backbone}: {local} cannot be loaded ({reason}); copy it again")
    return ConfigError(
        f"backbone {backbone}: its weights cannot be loaded ({reason}); where the hub cannot be reached, save "
        f"{remedy} in a folder, name it in WEAKHAR_WEIGHTS, or use backbone efficientnet_lite0"
    )
