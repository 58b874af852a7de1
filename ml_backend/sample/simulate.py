"""Sample recordings: a simulated person, filmed and wearing two accelerometers, with ground truth.

One articulated skeleton gives both the video (drawn with Pillow) and the accelerations of the right wrist
and the left ankle, so that the two are synchronised exactly. Nothing here is used on real data.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
from PIL import Image, ImageDraw

from ml_backend.files import written_atomically
from ml_backend.recordings import VideoWriter

Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT, FRAME_RATE = 320, 240, 25
SAMPLING_RATE = 50.0
GRAVITY = 9.81
BLEND_SECONDS = 0.8
NULL = "null"
ACTIVITIES = (
    "walking",
    "jogging",
    "squats",
    "jumping_jacks",
    "sit_ups",
    "push_ups",
    "lunges",
    "stretching",
)
CLASSES = (NULL, *ACTIVITIES)

# The pose: angles in radians; flexion is forward, abduction outward, for legs from hanging straight down.
POSE = (
    *("forward", "sideways", "lift", "heading", "pitch", "lean"),
    *("l_hip", "l_hip_abd", "l_knee", "r_hip", "r_hip_abd", "r_knee"),
    *("l_shoulder", "l_shoulder_abd", "l_elbow", "r_shoulder", "r_shoulder_abd", "r_elbow"),
)

BONES = (
    ("l_hip", "l_knee", "trousers", 9.0),
    ("l_knee", "l_ankle", "trousers", 7.5),
    ("r_hip", "r_knee", "trousers", 9.0),
    ("r_knee", "r_ankle", "trousers", 7.5),
    ("pelvis", "neck", "shirt", 20.0),
    ("l_shoulder", "r_shoulder", "shirt", 11.0),
    ("l_shoulder", "l_elbow", "shirt", 7.0),
    ("l_elbow", "l_wrist", "skin", 5.5),
    ("r_shoulder", "r_elbow", "shirt", 7.0),
    ("r_elbow", "r_wrist", "skin", 5.5),
    ("l_ankle", "l_toe", "shoes", 6.0),
    ("r_ankle", "r_toe", "shoes", 6.0),
)


@dataclass(frozen=True)
class Person:
    """Proportions (metres), tempo and style (factors about 1), looks and surroundings of one participant."""

    thigh: float
    shin: float
    torso: float
    upper_arm: float
    forearm: float
    tempo: float
    vigour: float
    colours: dict[str, tuple[int, int, int]]
    camera_yaw: float
    camera_distance: float
    light: float
    background: Image.Image


def write_sample(
    root: Path, participants: int, minutes: float, seed: int = 0, jumps: bool = False
) -> Iterator[tuple[str, float]]:
    """Write `root/<participant>/session.{mp4,csv}`; yields the participant and the share done, for a progress bar.
    With `jumps` everybody stands and jumps three times first."""
    for number in range(participants):
        name = f"p{number + 1:02d}"
        random = np.random.default_rng([seed, number])
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        person = _random_person(random)
        begun = _jumps(random) if jumps else []
        start = begun[-1][1] if begun else 0.0
        segments = _random_segments(random, minutes * 60 - start)
        segments = [*begun, *((begin + start, end + start, activity) for begin, end, activity in segments)]
        pose_at = _Motion(random, person, segments)
        for share in _write_video(folder / "session.mp4", person, pose_at, minutes * 60, random):
            yield name, share
        _write_imu(folder / "session.csv", person, pose_at, segments, minutes * 60, random)


def _random_person(random: np.random.Generator) -> Person:
    size = random.normal(1, 0.06)

    def part(length: float) -> float:
        return float(length * size * random.normal(1, 0.04))

    skin = np.array([225, 180, 150]) * random.uniform(0.45, 1.05)
    return Person(
        thigh=part(0.44),
        shin=part(0.43),
        torso=part(0.52),
        upper_arm=part(0.30),
        forearm=part(0.27),
        tempo=float(random.normal(1, 0.1)),
        vigour=float(random.normal(1, 0.1)),
        colours={
            "shirt": _random_colour(random, 20, 240),
            "trousers": _random_colour(random, 10, 160),
            "shoes": _random_colour(random, 0, 255),
            "skin": (int(skin[0]), int(skin[1]), int(skin[2])),
        },
        camera_yaw=float(random.uniform(0.35, 1.15) * random.choice([-1, 1])),
        camera_distance=float(random.uniform(3.6, 4.6)),
        light=float(random.uniform(0.7, 1.1)),
        background=_random_background(random),
    )


def _random_colour(random: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = random.integers(low, high, 3)
    return int(red), int(green), int(blue)


def _random_background(random: np.random.Generator) -> Image.Image:
    """A wall, a floor and some furniture, drawn wider than the picture so that the camera can pan."""
    width = WIDTH + 40
    image = Image.new("RGB", (width, HEIGHT), _random_colour(random, 120, 230))
    draw = ImageDraw.Draw(image)
    horizon = int(HEIGHT * random.uniform(0.55, 0.68))
    draw.rectangle((0, horizon, width, HEIGHT), fill=_random_colour(random, 60, 190))
    for _ in range(int(random.integers(3, 7))):
        x, w, h = random.integers(0, width), random.integers(15, 70), random.integers(15, 90)
        y = horizon - h if random.random() < 0.5 else random.integers(0, horizon // 2)
        box = tuple(int(v) for v in (x, y, x + w, y + h))
        draw.rectangle(box, fill=_random_colour(random, 40, 240))
    grain = random.normal(0, 6, (HEIGHT, width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def _random_segments(random: np.random.Generator, seconds: float) -> list[tuple[float, float, str]]:
    """`(start, end, class)` from 0 to `seconds`: each class once, then at random; 5-40 s each."""
    queue = list(random.permutation(CLASSES))
    longest = min(40.0, max(8.0, 1.7 * seconds / len(CLASSES)))
    segments: list[tuple[float, float, str]] = []
    start = 0.0
    while start < seconds:
        last = segments[-1][2] if segments else ""
        activity = str(queue.pop() if queue else random.choice([c for c in CLASSES if c != last]))
        end = start + random.uniform(5, longest)
        end = seconds if seconds - end < 5 else end
        segments.append((start, end, activity))
        start = end
    return segments


def _jumps(random: np.random.Generator) -> list[tuple[float, float, str]]:
    """Standing, three jumps, standing."""
    ends = np.cumsum([random.uniform(2, 5), random.uniform(2.4, 3.2), random.uniform(1.5, 4)])
    return list(zip([0.0, *ends[:-1]], map(float, ends), (NULL, "jumping_jacks", NULL), strict=True))


class _Motion:
    """The pose at any time: each segment's own motion, blended into the next."""

    def __init__(self, random: np.random.Generator, person: Person, segments: list[tuple[float, float, str]]) -> None:
        self.segments = segments
        self.starts = np.array([start for start, _, _ in segments])
        self.styles = [
            (
                person.tempo * random.normal(1, 0.05),
                person.vigour * random.normal(1, 0.05),
                random.uniform(0, 6.28, 8),
            )
            for _ in segments
        ]
        # People do not stay on one spot nor keep facing one way; each segment has its own.
        self.places = [(random.normal(0, 0.25), random.normal(0, 0.25), random.normal(0, 0.25)) for _ in segments]

    def __call__(self, times: Floats) -> Floats:
        """Pose `(n, len(POSE))` at `times (n,)` seconds."""
        own = np.clip(np.searchsorted(self.starts, times, side="right") - 1, 0, None)
        poses = np.empty((len(times), len(POSE)))
        for segment in np.unique(own):
            at = own == segment
            poses[at] = self._segment_pose(segment, times[at])
            since = times[at] - self.starts[segment]
            if segment > 0 and since.min() < BLEND_SECONDS:
                share = np.clip(since / BLEND_SECONDS, 0, 1)[:, None]
                share = share * share * (3 - 2 * share)
                poses[at] = share * poses[at] + (1 - share) * self._segment_pose(segment - 1, times[at])
        return poses

    def _segment_pose(self, segment: int, times: Floats) -> Floats:
        tempo, vigour, phases = self.styles[segment]
        pose = _activity_pose(self.segments[segment][2], times, tempo, vigour, phases)
        forward, sideways, heading = self.places[segment]
        pose["forward"] = pose["forward"] + forward
        pose["sideways"] = pose["sideways"] + sideways
        pose["heading"] = pose["heading"] + heading
        sway = 0.03 * np.sin(0.9 * times + phases[0]) + 0.02 * np.sin(2.3 * times + phases[1])
        pose["lean"] = pose["lean"] + sway
        return np.stack([np.broadcast_to(pose[name], times.shape) for name in POSE], axis=1)


def _activity_pose(activity: str, t: Floats, tempo: float, vigour: float, phases: Floats) -> dict[str, Floats]:
    """The named joint angles of one activity at times `t (n,)`; angles not named stay those of standing."""
    pose = {name: np.zeros_like(t) for name in POSE}
    pose.update(l_shoulder_abd=np.full_like(t, 0.12), r_shoulder_abd=np.full_like(t, 0.12))

    def cycle(hertz: float) -> tuple[Floats, Floats]:
        phase = 2 * np.pi * hertz * tempo * t + phases[2] + 0.3 * np.sin(0.7 * t + phases[3])
        return np.sin(phase), 0.5 - 0.5 * np.cos(phase)

    if activity in ("walking", "jogging"):
        jog = activity == "jogging"
        swing, _ = cycle(1.45 if jog else 0.95)
        stride, knee, elbow = (0.65, 1.35, 1.5) if jog else (0.45, 0.7, 0.35)
        pose.update(
            l_hip=vigour * stride * swing + (0.15 if jog else 0.05),
            r_hip=-vigour * stride * swing + (0.15 if jog else 0.05),
            l_knee=0.15 + vigour * knee * np.clip(np.roll(swing, 0) * 0.6 + 0.4, 0, None),
            r_knee=0.15 + vigour * knee * np.clip(-swing * 0.6 + 0.4, 0, None),
            l_shoulder=-vigour * stride * swing,
            r_shoulder=vigour * stride * swing,
            l_elbow=np.full_like(t, elbow),
            r_elbow=np.full_like(t, elbow),
            pitch=np.full_like(t, 0.18 if jog else 0.05),
            lift=np.clip(0.09 * np.abs(swing) * vigour, 0, None) if jog else np.zeros_like(t),
            forward=0.5 * np.sin(0.5 * t + phases[4]),
        )
    elif activity == "squats":
        _, down = cycle(0.45)
        bend = vigour * 1.6 * down
        pose.update(l_hip=bend, r_hip=bend, l_knee=1.9 * vigour * down, r_knee=1.9 * vigour * down)
        pose.update(pitch=0.55 * down, l_shoulder=0.4 + 1.1 * down, r_shoulder=0.4 + 1.1 * down)
        pose.update(l_hip_abd=np.full_like(t, 0.18), r_hip_abd=np.full_like(t, 0.18))
    elif activity == "jumping_jacks":
        _, out = cycle(0.95)
        pose.update(l_hip_abd=0.5 * vigour * out, r_hip_abd=0.5 * vigour * out)
        pose.update(l_shoulder_abd=0.2 + 2.6 * out, r_shoulder_abd=0.2 + 2.6 * out)
        pose.update(lift=0.16 * vigour * 4 * out * (1 - out))
    elif activity == "sit_ups":
        _, up = cycle(0.4)
        pose.update(pitch=-1.5 + 1.35 * vigour * up, l_hip=np.full_like(t, 2.2), r_hip=np.full_like(t, 2.2))
        pose.update(l_knee=np.full_like(t, 2.0), r_knee=np.full_like(t, 2.0))
        pose.update(l_shoulder=np.full_like(t, 2.5), r_shoulder=np.full_like(t, 2.5))
        pose.update(l_elbow=np.full_like(t, 2.0), r_elbow=np.full_like(t, 2.0))
    elif activity == "push_ups":
        _, down = cycle(0.55)
        pose.update(pitch=1.25 + 0.2 * down, l_hip=-1.25 - 0.2 * down, r_hip=-1.25 - 0.2 * down)
        pose.update(l_shoulder=1.45 - 0.9 * vigour * down, r_shoulder=1.45 - 0.9 * vigour * down)
        pose.update(l_elbow=1.5 * vigour * down, r_elbow=1.5 * vigour * down)
        pose.update(l_shoulder_abd=np.full_like(t, 0.3), r_shoulder_abd=np.full_like(t, 0.3))
    elif activity == "lunges":
        swing, _ = cycle(0.3)
        left, right = np.clip(swing, 0, 1), np.clip(-swing, 0, 1)
        pose.update(l_hip=vigour * (1.3 * left - 0.5 * right), r_hip=vigour * (1.3 * right - 0.5 * left))
        pose.update(l_knee=1.3 * left + 1.1 * right, r_knee=1.3 * right + 1.1 * left)
        pose.update(l_shoulder_abd=np.full_like(t, 0.55), r_shoulder_abd=np.full_like(t, 0.55))
        pose.update(l_elbow=np.full_like(t, 1.6), r_elbow=np.full_like(t, 1.6))
    elif activity == "stretching":
        side, _ = cycle(0.16)
        pose.update(
            lean=0.6 * vigour * side, l_shoulder_abd=np.full_like(t, 2.7), r_shoulder_abd=np.full_like(t, 2.7)
        )
        pose.update(l_hip_abd=np.full_like(t, 0.25), r_hip_abd=np.full_like(t, 0.25))
    else:
        # Standing about: shifts weight, looks round, now and then lifts a hand to the head.
        gesture = np.clip(np.sin(0.6 * t + phases[4]) * 3 - 2, 0, 1)
        pose.update(heading=0.5 * np.sin(0.25 * t + phases[5]), r_shoulder=0.1 + 1.0 * gesture)
        pose.update(r_elbow=0.2 + 2.0 * gesture, l_elbow=0.2 + 0.2 * np.sin(0.4 * t + phases[6]))
        pose.update(forward=0.15 * np.sin(0.2 * t + phases[7]))
    return pose


def _joints(person: Person, pose: Floats) -> dict[str, Floats]:
    """Positions `(n, 3)` in metres (forward, left, up) of every joint for poses `(n, len(POSE))`."""
    p = dict(zip(POSE, pose.T, strict=True))
    zero = np.zeros(len(pose))

    def limb(flexion: Floats, abduction: Floats, side: float) -> Floats:
        return np.stack(
            [
                np.sin(flexion) * np.cos(abduction),
                side * np.sin(abduction),
                -np.cos(flexion) * np.cos(abduction),
            ],
            axis=1,
        )

    def in_torso(v: Floats) -> Floats:
        """Rotate by lean (about forward), then pitch (about left)."""
        x, y, z = v.T
        y, z = y * np.cos(p["lean"]) + z * np.sin(p["lean"]), z * np.cos(p["lean"]) - y * np.sin(p["lean"])
        x, z = x * np.cos(p["pitch"]) + z * np.sin(p["pitch"]), z * np.cos(p["pitch"]) - x * np.sin(p["pitch"])
        return np.stack([x, y, z], axis=1)

    up = in_torso(np.stack([zero, zero, zero + 1], axis=1))
    left = in_torso(np.stack([zero, zero + 1, zero], axis=1))
    joints = {"pelvis": np.zeros((len(pose), 3)), "neck": up * person.torso}
    joints["head"] = up * (person.torso + 0.2)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        hip = np.stack([zero, zero + sign * 0.1, zero], axis=1)
        knee = hip + person.thigh * limb(p[f"{side}_hip"], p[f"{side}_hip_abd"], sign)
        shin_angle = p[f"{side}_hip"] - p[f"{side}_knee"]
        ankle = knee + person.shin * limb(shin_angle, p[f"{side}_hip_abd"], sign)
        toe = ankle + 0.18 * limb(shin_angle + np.pi / 2, zero, sign)
        shoulder = joints["neck"] * 0.94 + left * (sign * 0.18)
        arm, abduction = p[f"{side}_shoulder"], p[f"{side}_shoulder_abd"]
        elbow = shoulder + person.upper_arm * in_torso(limb(arm, abduction, sign))
        wrist = elbow + person.forearm * in_torso(limb(arm + p[f"{side}_elbow"], abduction, sign))
        parts = {"hip": hip, "knee": knee, "ankle": ankle, "toe": toe}
        parts |= {"shoulder": shoulder, "elbow": elbow, "wrist": wrist}
        joints |= {f"{side}_{name}": position for name, position in parts.items()}
    # The lowest joint stands on the floor, a jump lifts all.
    lowest = np.min([position[:, 2] for position in joints.values()], axis=0)
    cos, sin = np.cos(p["heading"]), np.sin(p["heading"])
    for name, position in joints.items():
        x, y, z = position.T
        turned = (x * cos - y * sin + p["forward"], x * sin + y * cos + p["sideways"], z - lowest + 0.06 + p["lift"])
        joints[name] = np.stack(turned, axis=1)
    return joints


def _write_video(
    path: Path, person: Person, motion: _Motion, seconds: float, random: np.random.Generator
) -> Iterator[float]:
    times = np.arange(int(seconds * FRAME_RATE)) / FRAME_RATE
    joints = _joints(person, motion(times))
    pan = 10 * np.sin(0.05 * times + random.uniform(0, 6)) + 1.5 * np.sin(1.3 * times)
    light = person.light * (1 + 0.12 * np.sin(0.04 * times + random.uniform(0, 6)))
    grain = [random.normal(0, 4, (HEIGHT, WIDTH, 1)) for _ in range(8)]
    with written_atomically(path) as temporary, VideoWriter(temporary, WIDTH, HEIGHT, FRAME_RATE) as writer:
        for i, time in enumerate(times):
            image = _picture(person, {name: position[i] for name, position in joints.items()}, pan[i])
            lit = np.asarray(image) * light[i] + grain[i % len(grain)]
            writer.write(np.clip(lit, 0, 255).astype(np.uint8), float(time))
            yield (i + 1) / len(times)


def _picture(person: Person, joints: dict[str, Floats], pan: float) -> Image.Image:
    shift = round(20 + pan)
    image = person.background.crop((shift, 0, shift + WIDTH, HEIGHT))
    draw = ImageDraw.Draw(image)
    cos, sin = np.cos(person.camera_yaw), np.sin(person.camera_yaw)
    projected: dict[str, tuple[float, float, float]] = {}
    for name, (x, y, z) in joints.items():
        depth = person.camera_distance - (x * cos + y * sin)
        scale = 330 / depth
        projected[name] = (WIDTH / 2 - pan + (y * cos - x * sin) * scale, 205 - (z - 0.1) * scale, depth)
    x, _, depth = projected["pelvis"]
    draw.ellipse((x - 30, 202, x + 30, 214), fill=(70, 70, 70))
    far_first = sorted(BONES, key=lambda bone: -(projected[bone[0]][2] + projected[bone[1]][2]))
    for start, end, part, thickness in far_first:
        (x0, y0, depth), (x1, y1, _) = projected[start], projected[end]
        width = thickness * 4 / depth
        colour = person.colours[part]
        draw.line((x0, y0, x1, y1), fill=colour, width=max(2, int(width)))
        for px, py in ((x0, y0), (x1, y1)):
            draw.ellipse((px - width / 2, py - width / 2, px + width / 2, py + width / 2), fill=colour)
    x, y, depth = projected["head"]
    radius = 40 / depth
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=person.colours["skin"])
    return image


def _write_imu(
    path: Path,
    person: Person,
    motion: _Motion,
    segments: list[tuple[float, float, str]],
    seconds: float,
    random: np.random.Generator,
) -> None:
    """CSV with `time` (s), three accelerations (m/s²) for the right wrist and the left ankle, and `label`."""
    times = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    columns: dict[str, pa.Array] = {"time": pa.array(np.round(times, 4))}
    for sensor, joint, parent in (("right_wrist", "r_wrist", "r_elbow"), ("left_ankle", "l_ankle", "l_knee")):
        force = _specific_force(person, motion, times, joint, parent)
        mount = np.linalg.qr(np.eye(3) + 0.15 * random.normal(size=(3, 3)))[0]
        force = force @ mount.T + random.normal(0, 0.15, 3) + random.normal(0, 0.12, force.shape)
        for axis, values in zip("xyz", force.T, strict=True):
            columns[f"{sensor}_acc_{axis}"] = pa.array(np.round(values, 4))
    starts = np.array([start for start, _, _ in segments])
    labels = np.array([activity for _, _, activity in segments])
    columns["label"] = pa.array(labels[np.searchsorted(starts, times, side="right") - 1])
    with written_atomically(path) as temporary:
        pyarrow.csv.write_csv(pa.table(columns), temporary)


def _specific_force(person: Person, motion: _Motion, times: Floats, joint: str, parent: str) -> Floats:
    """What an accelerometer at `joint` measures, `(n, 3)` m/s² in the frame of the limb from `parent`."""
    step = 0.01
    before, now, after = (_joints(person, motion(times + shift)) for shift in (-step, 0, step))
    acceleration = (before[joint] - 2 * now[joint] + after[joint]) / step**2
    force = acceleration + np.array([0, 0, GRAVITY])
    along = now[joint] - now[parent]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, now["l_hip"] - now["r_hip"])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    frame = np.stack([along, across, np.cross(along, across)], axis=1)
    measured: Floats = np.einsum("nij,nj->ni", frame, force)
    return measured
