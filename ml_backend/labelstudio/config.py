"""A project's labelling config (XML): which classes there are, whether our tasks can be shown with it, and what an
annotation says by it: a class, that the clip shows none, or what is not understood."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from xml.etree.ElementTree import Element, ParseError, SubElement, indent, tostring

from defusedxml.ElementTree import fromstring

from ml_backend.errors import ConfigError
from ml_backend.labels import Classes
from ml_backend.labelstudio.colours import choice_style, class_colours

MEDIA_KEYS = ("$html", "$video")
MIXED = ("mixed / can't tell", "mixed", "can't tell")
"""Choices, in small letters, by which an annotator says that a clip shows none of the classes."""
NO_CLASS = ""
"""What a choice means that names none of the classes."""
CONFIGS = files("label_studio_config")
KEYS = "123456789qwertyuiopasdfghjklzxcvbnm"
"""Keys of the classes, in this order; 0 is for the clip that shows none."""
TRACK = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
"""What a track may be called: it becomes part of the names of columns."""
REMEDY = "paste one of label_studio_config/ into the project's labelling interface"

Path = tuple[str, ...]
Given = tuple[tuple[str, tuple[Path, ...]], ...]
"""What an annotation holds: of each Choices control its name and what was taken, a nested choice as its path."""
Meanings = Mapping[str, str | None]
"""Choices that are not what they are called: the class meant, NO_CLASS, or None where nobody has decided yet."""


@dataclass(frozen=True)
class LabelConfig:
    """The Choices control that our tasks are answered with, and the classes it offers. named: what is stored when a
    choice is taken, and its class; groups: what holds nested choices and names no class itself; tracks: names of the
    other controls that say something else of the same clip, such as a posture."""

    from_name: str
    to_name: str
    classes: Classes
    named: Mapping[Path, str]
    groups: frozenset[Path]
    meanings: Meanings
    tracks: tuple[str, ...] = ()
    track: str = ""

    def understood(self, given: Given) -> tuple[str | None, str]:
        """The choice that an annotation names, a class or one of `classes.mixed`; else None and what is wrong."""
        taken = self._taken(given)
        if not taken:
            others = ", ".join(f"'{name}'" for name, paths in given if paths)
            return None, f"answers {others}, not '{self.from_name}'" if others else "nothing is chosen"
        if len(taken) > 1:
            return None, f"names several choices: {', '.join(' / '.join(path) for path in taken)}"
        return self._class_of(taken[0])

    def named_alone(self, given: Given) -> str:
        """The one choice that an annotation names, whatever it means; empty if there is none."""
        taken = self._taken(given)
        return " / ".join(taken[0]) if len(taken) == 1 else ""

    def _taken(self, given: Given) -> list[Path]:
        """The choices that were taken in this control, each once."""
        names = (self.from_name,) if self.track else ("", self.from_name)  # what names no control is the first's
        own = (path for name, paths in given if name in names for path in paths)
        return list(dict.fromkeys(tuple(map(plain, path)) for path in own))

    def _class_of(self, path: Path) -> tuple[str | None, str]:
        text = " / ".join(path)
        name = self.named.get(path)
        if name is None and len(path) == 1:  # without allowNested the last part alone is stored
            found = {named for other, named in self.named.items() if other[-1:] == path}
            name = found.pop() if len(found) == 1 else None
        name = text if name is None else name
        if name not in self.classes.names and name in self.meanings:
            meant = self.meanings[name]
            if meant is None:
                return None, f"'{name}' may be a class, or say that the clip shows none: decide"
            name = MIXED[0] if meant == NO_CLASS else meant
        if name in self.classes.names or name in self.classes.mixed:
            return name, ""
        if plain(name).casefold() in MIXED:
            return MIXED[0], ""
        if path in self.groups:
            return None, f"'{text}' is a group of choices and no class"
        return None, f"'{text}' is no class of the labelling config (any more)"


def parse_label_config(xml: str, meanings: Meanings | None = None, track: str = "") -> LabelConfig:
    """Read a labelling config: its first Choices for the clip, or the one called `track`; ConfigError if a clip
    cannot be shown or labelled with it."""
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
    meanings = {plain(text): meant for text, meant in (meanings or {}).items()}
    found = [config for control in root.iter("Choices") if (config := _control(control, media, meanings))]
    tracks = tuple(config.from_name for config in found[1:] if TRACK.fullmatch(config.from_name))
    if track and track not in tracks:
        raise ConfigError(f"label config: has no track '{track}'; it has {', '.join(tracks) or 'none'}")
    for config in found:
        if not track or config.from_name == track:
            return replace(config, tracks=tracks, track=track)
    raise ConfigError(f"label config: has no <Choices> with two classes or more for the clip; {REMEDY}")


def _control(control: Element, media: Mapping[str | None, Element], meanings: Meanings) -> LabelConfig | None:
    """What one Choices control offers; None where it is not about the clip, or offers no two classes."""
    target = (control.get("toName") or "").split(",")[0]
    leaves = list(_leaves(control))
    named = _names(leaves)
    offered = list(dict.fromkeys(named.values()))
    mixed = frozenset(name for name in offered if plain(name).casefold() in MIXED)
    none = {name for name, meant in meanings.items() if meant is None or meant == NO_CLASS}
    names = tuple(name for name in offered if name not in mixed and name not in none)
    if target not in media or len(names) < 2:
        return None
    groups = frozenset(path[:length] for path in leaves for length in range(1, len(path)))
    return LabelConfig(control.get("name") or "", target, Classes(names, mixed | {MIXED[0]}), named, groups, meanings)


def labelling_config(classes: Sequence[str], tracks: Mapping[str, Sequence[str]] | None = None) -> str:
    """A labelling config for these classes, each with a key of its own, and one for `mixed / can't tell`; tracks:
    name → classes of what else is to be said of each clip.

    ConfigError names what cannot be a class.
    """
    tracks = tracks or {}
    for track in tracks:
        if not TRACK.fullmatch(track) or track == "activity":
            raise ConfigError(f"track: '{track}' is no name; take letters, digits and _, and not activity")
    named = {"": _checked_names(classes), **{track: _checked_names(own) for track, own in tracks.items()}}
    count = sum(map(len, named.values()))
    if count > len(KEYS):
        raise ConfigError(f"classes: {count} are more than there are keys for ({len(KEYS)}); leave some out")
    template = (CONFIGS / "looping_clip.xml").read_text(encoding="utf-8")
    comments = template[: template.index("<View>")]  # Label Studio takes what its preview shows from one of them
    root = fromstring(template)
    control = next(root.iter("Choices"))
    column = next(view for view in root.iter("View") if control in list(view))
    keys = iter(KEYS)
    _fill(control, named[""], keys, "0")
    for track in tracks:
        SubElement(column, "Header", value=track.replace("_", " "), size="5")
        own = SubElement(column, "Choices", {**control.attrib, "name": track})
        _fill(own, named[track], keys, "")
    indent(root)
    return comments + tostring(root, encoding="unicode")


def _fill(control: Element, names: Sequence[str], keys: Iterator[str], mixed_key: str) -> None:
    for choice in list(control):
        control.remove(choice)
    for (name, colour), key in zip(class_colours(tuple(names)).items(), keys, strict=False):
        SubElement(control, "Choice", value=name, hotkey=key, style=choice_style(colour))
    hotkey = {"hotkey": mixed_key} if mixed_key else {}
    SubElement(control, "Choice", {"value": MIXED[0], **hotkey, "style": "padding-left: 12px"})


def _checked_names(classes: Sequence[str]) -> list[str]:
    names = [plain(name) for name in classes]
    if len(names) < 2:
        raise ConfigError("classes: name two or more, such as walking,jogging")
    for name in names:
        if not name or not name.isprintable():
            raise ConfigError(f"classes: '{name}' is no name; name each class in words")
        if name.casefold() in MIXED:
            raise ConfigError(f"classes: '{name}' says that a clip shows none, and is always there; leave it out")
        if names.count(name) > 1:
            raise ConfigError(f"classes: '{name}' is named twice; name each class once")
    return names


def plain(text: str) -> str:
    """A choice as it is compared: blanks round it, and how é and apostrophes are written, make no difference."""
    return " ".join(unicodedata.normalize("NFC", text).replace("\u2019", "'").split())


def _names(leaves: Sequence[Path]) -> dict[Path, str]:
    """What each choice is called as a class: by its last part, where that names one choice only."""
    last = [path[-1] for path in leaves]
    return {path: path[-1] if last.count(path[-1]) == 1 or len(path) == 1 else " / ".join(path) for path in leaves}


def _leaves(element: Element, above: Path = ()) -> Iterator[Path]:
    """The choices under a control that hold no further ones, each with those that it is nested in."""
    for choice in element:
        if choice.tag != "Choice":
            yield from _leaves(choice, above)
            continue
        # What Label Studio stores when the choice is taken.
        path = (*above, plain(choice.get("alias") or choice.get("value") or ""))
        if choice.find(".//Choice") is not None:
            yield from _leaves(choice, path)
        elif path[-1]:
            yield path
