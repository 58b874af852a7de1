"""What goes to a Ray cluster besides the main job's own steps: parts of an export, and training folds."""

import tarfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path

from ml_backend.errors import ConfigError, RecordingError
from ml_backend.export import ParticipantPart, Written
from ml_backend.files import scratch_folder
from ml_backend.spread import Knowing, Unit, ended
from ml_backend.storage import cache_folder

FOLDS_GPU = 0.25
"""Of a GPU that a fold gets: the models are small."""


def folds_on_ray(
    address: str, final: type[Exception], folds: Mapping[str, Callable[[], None]], shared: Path
) -> Generator[str]:
    """Run training folds, by name, on the cluster; yields the names of those that are done. What a fold raises of
    the `final` kind, which another try would not change, is raised here. ConfigError as of `ended`, and at the end
    where folds failed."""
    failed = dict[str, str]()
    units = [Unit(name, partial(_fold, run, final)) for name, run in folds.items()]
    with closing(ended(address, shared, units, FOLDS_GPU)) as over:
        for one in over:
            if one is None:
                continue
            if isinstance(one.result, Exception):
                raise one.result
            if one.why:
                failed[one.unit.name] = one.why
            else:
                yield one.unit.name
    if failed:
        name, why = next(iter(failed.items()))
        raise ConfigError(f"{len(failed)} of {len(folds)} folds failed, {name}: {why}; what is done is kept")


def _fold(run: Callable[[], None], final: type[Exception]) -> Exception | None:
    try:
        run()
    except final as error:
        return error
    return None


def written_on_ray(
    address: str, shared: Path, parts: Iterable[ParticipantPart], folder: Path
) -> Generator[Written | None]:
    """Write participants' parts of an export on the cluster, and what they wrote into `folder`, as each is done, and
    None now and then. ConfigError as of `ended`; RecordingError where one cannot be written."""
    units = (Unit(part.name, Knowing.of(_videos(part), partial(_packed, part.lean()))) for part in parts)
    with closing(ended(address, shared, units)) as over:
        for one in over:
            if one is None:
                yield None
                continue
            if one.why:
                raise RecordingError(f"{one.unit.name}: {one.why}")
            written, packed = one.result
            with tarfile.open(fileobj=BytesIO(packed)) as archive:
                archive.extractall(folder, filter="data")
            yield written


def _packed(part: ParticipantPart) -> tuple[Written, bytes]:
    """What is written of a participant, and its files in an archive: nodes need not see where exports go."""
    packed = BytesIO()
    with scratch_folder(cache_folder() / "parts") as folder:
        written = part.write(folder)
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
            archive.add(folder, ".")
    return written, packed.getvalue()


def _videos(part: ParticipantPart) -> list[Path]:
    return [one.video for one in part.recordings.values()]
