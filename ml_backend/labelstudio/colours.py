"""What the classes of a project are painted with, on the labelling page and on ours."""

from training.contract import NULL_CLASS

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#332288")
HATCHINGS = (
    "COLOUR",
    "repeating-linear-gradient(45deg, COLOUR 0 4px, #fff 4px 6px)",
    "repeating-linear-gradient(-45deg, COLOUR 0 4px, #222 4px 6px)",
    "repeating-linear-gradient(90deg, COLOUR 0 3px, #fff 3px 5px)",
)


def class_colours(classes: tuple[str, ...]) -> dict[str, str]:
    """What each class is painted with in CSS: the eight colours that people who see few colours tell apart (Okabe and
    Ito), from the ninth class on hatched; grey for the null class."""
    colours = {}
    others = [name for name in classes if name.lower() != NULL_CLASS]
    for number, name in enumerate(others):
        colour, hatching = PALETTE[number % len(PALETTE)], HATCHINGS[number // len(PALETTE) % len(HATCHINGS)]
        colours[name] = hatching.replace("COLOUR", colour)
    return {name: colours.get(name, "#aab") for name in classes}


def choice_style(colour: str) -> str:
    """The style of a choice in a labelling config, with the colour of its class at the left."""
    painted = f"linear-gradient({colour}, {colour})" if colour.startswith("#") else colour
    return f"background: {painted} left / 6px 100% no-repeat; padding-left: 12px"
