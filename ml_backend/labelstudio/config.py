"""A project's labelling config (XML): which classes there are, and whether our tasks can be shown with it."""

from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

from ml_backend.errors import ConfigError
from ml_backend.labels import Classes

MEDIA_KEYS = ("$html", "$video")
MIXED = "mixed"
REMEDY = "paste one of label_studio_config/ into the project's labelling interface"


@dataclass(frozen=True)
class LabelConfig:
    """The Choices control that our tasks are answered with, and the classes it offers."""

    from_name: str
    to_name: str
    classes: Classes


def parse_label_config(xml: str) -> LabelConfig:
    """Read a labelling config; ConfigError if a clip cannot be shown or labelled with it."""
    if not xml.strip():
        raise ConfigError(f"label config: empty; {REMEDY}")
    try:
        root = fromstring(xml)
    except (ParseError, ValueError) as error:
        raise ConfigError(f"label config: not valid XML ({error}); {REMEDY}") from None
    media = {
        tag.get("name"): tag
        for tag in root.iter()
        if tag.tag in ("HyperText", "Video") and tag.get("value") in MEDIA_KEYS
    }
    if not media:
        raise ConfigError(
            f'label config: shows no clip; it needs <HyperText value="$html"> or <Video value="$video">: {REMEDY}'
        )
    for control in root.iter("Choices"):
        target = (control.get("toName") or "").split(",")[0]
        answers = [_answer(choice) for choice in control.iter("Choice")]
        answers = [answer for answer in answers if answer]
        mixed = frozenset(answer for answer in answers if answer.lower().startswith(MIXED))
        names = tuple(answer for answer in answers if answer not in mixed)
        if target in media and len(names) >= 2:
            return LabelConfig(control.get("name") or "", target, Classes(names, mixed))
    raise ConfigError(f"label config: has no <Choices> with two classes or more for the clip; {REMEDY}")


def _answer(choice: Element) -> str:
    """What Label Studio stores when the choice is taken."""
    return (choice.get("alias") or choice.get("value") or "").strip()
