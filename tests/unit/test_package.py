"""What is installed: the pinned set, the constraints and the dependencies agree; so do settings, docs and Docker."""

import json
import re

import pytest
import yaml
from installed import PROJECT, REPOSITORY, name_of

from benchmarks.figures import RESULTS, corrected
from ml_backend.settings import Parameters, Settings


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


def test_every_variable_of_the_containers_is_in_the_example_to_copy() -> None:
    compose = (REPOSITORY / "docker" / "docker-compose.yml").read_text(encoding="utf-8")
    example = (REPOSITORY / "docker" / ".env.example").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{([A-Z_]+)", compose))
    assert asked == set(re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE))
    assert not re.search(r"^(?!#).*(PASS|PASSWORD)=.+", example, re.MULTILINE)  # no password that many would have


def test_the_manifests_ask_for_the_secrets_of_the_example_and_run_what_compose_runs() -> None:
    base = REPOSITORY / "docker" / "kubernetes" / "base"
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text(encoding="utf-8"))
    text = "\n---\n".join((base / name).read_text(encoding="utf-8") for name in kustomization["resources"])
    example = (base / "secrets.env.example").read_text(encoding="utf-8")
    offered = set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE))  # no password that many would have
    assert set(re.findall(r"key: ([A-Z_]+)", text)) <= offered
    assert set(re.findall(r"\$\(([A-Z_]+)\)", text)) <= offered
    compose = yaml.safe_load((REPOSITORY / "docker" / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for manifest in yaml.safe_load_all(text):
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            service = compose[container["name"]]
            if container["name"] in ("backend", "worker"):
                assert " ".join(container["command"]) == service["command"]
            else:
                assert container["image"] == service["image"]


def test_every_parameter_and_setting_is_in_the_docs_with_its_default() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \| (?:`([^`]*)`)?.* \| ", text, re.MULTILINE))
    for name, field in Parameters.model_fields.items():
        default = "" if field.default is None else str(field.default)
        assert rows[name] == (default.lower() if isinstance(field.default, bool) else default), name
    variables = {
        str(field.validation_alias.choices[0] if field.validation_alias else f"WEAKHAR_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
    assert variables <= set(rows)


@pytest.mark.parametrize("file", ["README.md", *sorted(path.name for path in (REPOSITORY / "docs").glob("*.md"))])
def test_every_link_of_readme_and_docs_leads_somewhere(file: str) -> None:
    folder = REPOSITORY if file == "README.md" else REPOSITORY / "docs"
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (folder / file).read_text(encoding="utf-8"))
    assert [link for link in links if not (folder / link).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_figures_of_readme_and_docs_are_those_of_the_benchmarks() -> None:
    for document, (says, should_say) in corrected(json.loads(RESULTS.read_text(encoding="utf-8"))).items():
        assert says == should_say, f"{document}: run python -m benchmarks.figures"


def test_another_result_makes_another_document() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    people = [row for row in results["temporal"]["rows"] if row["data"] == "UTD-MHAD" and row["answers"] == 54]
    people[0]["temporal"] = "12.3 (+4.5 ± 6.7)"
    found = corrected(results)
    assert "| 54 | 4.5 | 75.6 % | 12.3 % |" in found["README.md"][1]
    assert "79.7, 12.3, 97.5 % by the model of time" in found["docs/results.md"][1]
    assert "12.3 (+4.5 ± 6.7)" in found["docs/clustering.md"][1]
