"""Vectors are kept under the version of what made them: code that makes them is not changed without raising it."""

import ast
import hashlib
import json
from pathlib import Path

from ml_backend.embeddings.registry import BACKBONES, FAMILIES, RECIPES

EMBEDDINGS = Path(__file__).parents[2] / "ml_backend" / "embeddings"
KNOWN = Path(__file__).with_name("recipes.json")
SHARED = ("backbone", "frames")


def files_of(name: str) -> tuple[str, ...]:
    """The files that make a backbone's, or a family's, vectors."""
    place = BACKBONES[name] if name in BACKBONES else FAMILIES[name][0]
    module = place.partition(":")[0]
    beside = {"raft": ("i3d",), "efficientnet_lite0": ("timm_models",)}.get(module, ())
    return (*SHARED, *beside, module)


def meaning(path: Path) -> str:
    """What a file does: its code without comments, docstrings and layout."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                one
                for one in body
                if not (
                    isinstance(one, ast.Expr)
                    and isinstance(one.value, ast.Constant)
                    and isinstance(one.value.value, str)
                )
            ]
    return ast.dump(tree)


def recipe(name: str) -> str:
    code = "".join(meaning(EMBEDDINGS / f"{file}.py") for file in files_of(name))
    return f"{RECIPES[name]} {hashlib.sha256(code.encode()).hexdigest()[:16]}"


def test_every_backbone_and_family_has_a_version() -> None:
    assert set(RECIPES) == {*BACKBONES, *FAMILIES}


def test_code_that_makes_vectors_is_not_changed_without_a_word() -> None:
    """Where this fails: do vectors differ now? Then raise RECIPES. Then write what is found into recipes.json."""
    found = {name: recipe(name) for name in sorted(RECIPES)}
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    changed = [name for name in found if found[name] != known.get(name)]
    assert not changed, f"recipes.json should be {json.dumps(found, indent=1)}"
