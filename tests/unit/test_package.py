"""What is installed: the pinned set, the constraints and the dependencies agree."""

from installed import PROJECT, REPOSITORY, name_of


def pinned(file: str) -> dict[str, str]:
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    return {name_of(line): line.split("==")[1] for line in lines if "==" in line}


def test_the_pinned_set_and_the_dependencies_name_the_same_packages() -> None:
    assert set(pinned("requirements.txt")) == {name_of(entry) for entry in PROJECT["dependencies"]}
    development = set(pinned("requirements-dev.txt")) - {"setuptools"}
    assert development == {name_of(entry) for entry in PROJECT["optional-dependencies"]["dev"]}


def test_every_pinned_version_is_the_constraints_and_allowed_by_the_dependencies() -> None:
    constraints = pinned("constraints.txt")
    allowed = {name_of(entry): entry.split(">=")[1] for entry in PROJECT["dependencies"]}
    for name, version in pinned("requirements.txt").items():
        assert constraints[name] == version
        as_numbers = [tuple(map(int, text.split(".")[:2])) for text in (f"{version}.0", f"{allowed[name]}.0")]
        assert as_numbers[0] >= as_numbers[1], name
