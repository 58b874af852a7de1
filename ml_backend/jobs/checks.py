"""What a user gives, checked by the rooms that own it: a project's parameters, and the recordings of a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_backend import clusters, embeddings, labels, recordings
from ml_backend.errors import ConfigError, RecordingError
from ml_backend.recordings import CheckedRecording, Problem
from ml_backend.settings import Parameters, Settings, as_object

CHECKS = {**recordings.CHECKS, **embeddings.CHECKS, **clusters.CHECKS, **labels.CHECKS}


def checked_parameters(settings: Settings, overrides: Any = None, where: str = "extra params") -> Parameters:
    """The defaults with a project's overrides (dict, JSON text or None); ConfigError names a wrong field."""
    parameters = settings.parameters(overrides, where)
    if parameters.clips == "storage" and not settings.clips_url:
        raise ConfigError(
            f'{where}: "clips": storage needs WEAKHAR_CLIPS_URL where weakhar is started, or leave it out'
        )
    for name, check in CHECKS.items():
        value = getattr(parameters, name)
        try:
            check(value)
        except ValueError as error:
            raise ConfigError(f'{where}: "{name}": {error}, got {value!r}') from None
    return parameters


def extra_params(settings: Settings, given: Any) -> dict[str, Any]:
    """What a project's Extra params set, checked: names with values as they are meant; ConfigError names a wrong
    one."""
    named = as_object(given, "extra params")
    meant = checked_parameters(settings, named).model_dump()
    return {name: meant[name] for name in named}


def check_study(
    root: Path, parameters: Parameters, deep: bool = False, roots: Sequence[Path] = ()
) -> tuple[list[CheckedRecording], list[Problem]]:
    """All recordings under `root` and every problem with them, also those that only show when they are clustered."""
    checked, problems = recordings.check_dataset(root, parameters, deep, roots)
    return checked, problems + clusters.capped_components(parameters, checked)


def usable_recordings(
    root: Path, parameters: Parameters, roots: Sequence[Path] = ()
) -> tuple[list[CheckedRecording], list[Problem]]:
    """The recordings that can be used, and all problems: those that are errors say what is left out.

    RecordingError with the first problem if nothing can be used; with `strict` if any is an error.
    """
    checked, problems = check_study(root, parameters, roots=roots)
    errors = [problem for problem in problems if problem.error]
    left_out = {problem.recording for problem in errors}
    usable = [result for result in checked if str(result.recording) not in left_out]
    if errors and (parameters.strict or not usable):
        more = f" (and {len(errors) - 1} more: `weakhar check` lists all)" if len(errors) > 1 else ""
        raise RecordingError(errors[0].message + more)
    return usable, problems
