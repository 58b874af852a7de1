"""What requests may hold: read, bounded and checked before anything is done with it, so that no input is a fault."""

import json
from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ml_backend.errors import ConfigError
from ml_backend.labelstudio import seconds_of

MOST_BYTES = 10 * 2**20
"""A request's body; tasks with what Label Studio sends of each are a hundredth of that."""
DEEPEST = 64
"""Objects and lists within each other; a labelling config's answers have ten."""
MOST = 2**63 - 1
"""The largest number that a database holds."""


def _number_of(value: Any) -> Any:
    """Label Studio sends the numbers of projects and tasks, or these as objects."""
    return value.get("id") if isinstance(value, dict) else value


def _project_number(value: Any) -> Any:
    """Label Studio also names projects "<id>.<created at>"."""
    value = _number_of(value)
    return value.partition(".")[0] if isinstance(value, str) else value


def _stamp(value: str) -> str:
    seconds_of(value)
    return value


Number = Annotated[int, Field(ge=1, le=MOST)]
ProjectNumber = Annotated[Number, BeforeValidator(_project_number)]
Stamp = Annotated[str, AfterValidator(_stamp)]
Object = dict[str, Any]


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")


class Annotation(_Body):
    """An annotation, as far as we read it."""

    id: Number
    task: Annotated[Number, BeforeValidator(_number_of)] | None = None
    result: list[Any] | None = None
    was_cancelled: bool | None = None
    created_at: Stamp | None = None
    updated_at: Stamp | None = None
    lead_time: Annotated[float, Field(allow_inf_nan=False)] | None = None


class Answered(Annotation):
    """An annotation that says which task it answers."""

    task: Annotated[Number, BeforeValidator(_number_of)]


class Setup(_Body):
    """What Label Studio sends when a model is added, and when its page is opened."""

    project: ProjectNumber | None = None
    label_config: str = Field("", alias="schema")
    hostname: str | None = None
    access_token: str | None = None
    extra_params: Object | str | None = None


class Predict(_Body):
    """Tasks to predict."""

    project: ProjectNumber
    tasks: list[Object] = Field(default_factory=list)


class Event(_Body):
    """A webhook: an action on a project."""

    project: ProjectNumber
    action: str


class Project(_Body):
    """A project alone."""

    project: ProjectNumber | None = None


B = TypeVar("B", bound=_Body)


def body_as(model: type[B]) -> B:
    """The request's JSON as a `model`; ConfigError names the field that is wrong."""
    return checked(model, json_body())


def checked(model: type[B], value: Any) -> B:
    """`value` as a `model`; ConfigError names the field that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(f'{request.path}: field "{field}": {problem["msg"]}') from None


def json_body() -> Object:
    """The request's JSON object, whose texts, numbers and depth a database can hold."""
    if not request.is_json:
        raise ConfigError(f"{request.path}: expected a JSON object as body, with Content-Type application/json")
    try:
        value = json.loads(request.get_data(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ConfigError(f"{request.path}: expected a JSON object as body") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{request.path}: expected a JSON object as body")
    _check(value)
    return value


def _no_number(_name: str) -> None:
    raise ValueError


def _check(value: Any) -> None:
    """ConfigError for what no database holds; not by recursion, which deep JSON would exhaust."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ConfigError(f"{request.path}: its JSON is nested deeper than {DEEPEST} levels")
        deeper: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                deeper += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                deeper += one
            elif isinstance(one, str) and not is_plain_text(one):
                raise ConfigError(f"{request.path}: holds text with a zero byte, or that is no Unicode")
            elif isinstance(one, int) and abs(one) > MOST:
                raise ConfigError(f"{request.path}: holds a number beyond {MOST}")
        level = deeper


def is_plain_text(text: str) -> bool:
    """False for text with zero bytes or halves of characters, which databases and files refuse."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
