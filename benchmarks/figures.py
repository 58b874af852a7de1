"""The figures of README and docs, from `benchmarks/results.json`: python -m benchmarks.figures writes them anew.

What a document says stands here with a gap for each figure; a test says where a document says something else.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
FIGURE = r"[-+]?[\d.,]*\d"

Results = dict[str, Any]
Said = tuple[str, str, list[str]]
"""A document, what it says with {} for each figure, and the figures."""


def said(results: Results) -> Iterator[Said]:
    """Every sentence or row with figures, and what they are now."""
    yield from _accuracy(results)
    yield from _speed(results)
    for name, columns in (
        ("temporal", ("paper", "cluster", "discriminant", "temporal", "others", "every clip")),
        ("temporal", ("changes, paper", "changes, temporal", "for each true one", "expected")),
    ):
        for row in results[name]["rows"]:
            start = f"| {row['data']} | {row['answers']} | "
            yield "docs/clustering.md", *_gaps(start, [str(row[column]) for column in columns])
    for row in results["audit"]["rows"]:
        start = f"| {row['data']} | {row['answers']} | {row['right']} | "
        yield "docs/clustering.md", *_gaps(start, list(row.values())[3:])
    for row in results["asking"]["rows"]:
        start = f"| {row['data']} | {row['answers']} | "
        yield "docs/clustering.md", *_gaps(start, list(row.values())[2:])
    named = (
        "`/health`, idle",
        "status page, nothing changes",
        "webhook",
        "status page while every webhook changes it",
    )
    for name, row in zip(named, results["load"]["rows"], strict=True):
        yield "docs/operations.md", f"| {name} | {{}} | {{}} |", [str(row["p50 (ms)"]), str(row["p99 (ms)"])]
    for row in results["alignment"]["rows"]:
        start = f"| {row['data']} | {row['seconds']} | {row['pairs']} | "
        yield "docs/recordings.md", *_gaps(start, list(row.values())[3:])
    for row in results["decoding"]["rows"]:
        yield "docs/backbones.md", *_gaps(f"| {row['film']} | ", list(row.values())[1:])
    for row in results["scale"]["rows"]:
        yield "docs/scale.md", *_gaps(f"| {row['nodes']} | {row['killed']} | ", list(row.values())[2:])
    for row in results["many_tasks"]["rows"]:
        yield "docs/scale.md", *_gaps(f"| {row['what']} | ", [str(value) for value in list(row.values())[1:]])
    for row in results["many_labels"]["rows"]:
        start = f"| {row['participants']} | {row['clips']} | {row['each']} | "
        yield "docs/scale.md", *_gaps(start, list(row.values())[3:])
    for row in results["clustering_scale"]["rows"][3:]:
        memory = row["peak memory"].removesuffix(" GB")
        yield (
            "docs/scale.md",
            f"| {row['clips']} | {row['components']} | {{}} | {{}} GB |",
            [str(row["seconds"]), memory],
        )
    for row in results["labelling_accuracy"]["rows"]:
        yield "docs/results.md", *_gaps(f"| {row['clusters a participant']} | ", list(row.values())[1:])


def _accuracy(results: Results) -> Iterator[Said]:
    people = {row["answers"]: row for row in results["temporal"]["rows"] if row["data"] == "UTD-MHAD"}
    for answers in (27, 54, 100):
        minutes = _rounded(5 * answers / 60, 1)
        figures = [minutes, people[answers]["paper"], people[answers]["temporal"]]
        yield "README.md", f"| {answers} | {{}} | {{}} % | {{}} % |", [_plain(figure) for figure in figures]
    paper, ours = ([_plain(people[answers][way]) for answers in (27, 54, 100)] for way in ("paper", "temporal"))
    way = (
        "{}, {}, {} % the paper's\nway, {}, {}, {} % by the model of time with changes placed by frames; annotating "
    )
    yield (
        "docs/results.md",
        f"{way}every clip would give {{}} %",
        [*paper, *ours, people[100]["every clip"]],
    )
    median, most = people[100]["changes, temporal"].removesuffix(" s").split(" / ")
    paper_median, paper_most = people[100]["changes, paper"].removesuffix(" s").split(" / ")
    within = (
        "lie within {} s of a labelled one at 100 answers, and 90 % within {} s (the paper's way: {} s and {} s). "
        "With the three others\nlabelled, 27 answers give {} %"
    )
    figures = [median, most, paper_median, paper_most, _plain(people[27]["others"])]
    yield "docs/results.md", within, figures


def _speed(results: Results) -> Iterator[Said]:
    small, large = results["clustering"]["rows"]
    yield "README.md", "up to {} times as fast as scikit-learn's", [str(large["times faster"])]
    for size, row in (("768 × 100 clusters", small), ("1,792 × 100", large)):
        (ours, memory), (theirs, much) = (_seconds_and_gb(row[way]) for way in ("weakhar", "scikit-learn + scipy"))
        text = f"2,400 clips × {size}: {{}} s, {{}} GB | scikit-learn + scipy: {{}} s, {{}} GB | **{{}}×**"
        figures = [
            f"{ours:.2g}" if ours < 0.95 else f"{ours:.1f}",
            memory,
            _rounded(theirs, 0),
            _rounded(float(much), 1),
        ]
        yield "docs/results.md", text, [*figures, str(row["times faster"])]
    for model, said_as in (("shallow_deepconvlstm", "ShallowDeepConvLSTM"), ("tinyhar", "TinyHAR")):
        row = next(one for one in results["training"]["rows"] if one["model, precision"] == f"{model}, auto")
        figures = [row[way].partition(" s")[0] for way in ("weakhar", "textbook")]
        text = f"training {said_as}, 10 folds: {{}} s | textbook loop: {{}} s | **{{}}×**"
        yield "docs/results.md", text, [*figures, row["times faster"]]
    labels = results["project_labels"]["rows"][0]
    text = "{} s in a new process, {} ms when asked again, and {} s the first time that temperatures are looked for"
    cold, first = (f"{float(labels[name].removesuffix(' s')):.1f}" for name in ("cold", "first"))
    yield "docs/clustering.md", text, [cold, labels["warm"].removesuffix(" ms"), first]
    yield "docs/operations.md", "and at most {} MB in all", [str(results["exporting"]["rows"][0]["peak (MB)"])]


def _gaps(start: str, cells: list[str]) -> tuple[str, list[str]]:
    """A row of a table of these cells, which are set in bold or not, as text with a gap for each figure."""
    figures = [figure for cell in cells for figure in re.findall(FIGURE, cell)]
    return start + " | ".join(re.sub(FIGURE, "{}", cell) for cell in cells) + " |", figures


def _rounded(figure: float, digits: int) -> str:
    """A half upwards, as people do."""
    return f"{figure + 1e-9:.{digits}f}"


def _plain(cell: str) -> str:
    """The first figure of a cell."""
    return cell.partition(" ")[0]


def _seconds_and_gb(cell: str) -> tuple[float, str]:
    seconds, _, memory = cell.partition(" s, ")
    return float(seconds), memory.removesuffix(" GB")


def corrected(results: Results) -> dict[str, tuple[str, str]]:
    """Document → what it says, and what it should say. ValueError names what a document does not say at all."""
    texts = {}
    for document, text, figures in said(results):
        before, after = texts.setdefault(document, ((ROOT / document).read_text(encoding="utf-8"),) * 2)
        pattern = re.escape(text).replace(r"\{\}", f"({FIGURE})").replace(r"\|\ ", r"\|\ (?:\*\*)?")
        pattern = pattern.replace(r"\ \|", r"(?:\*\*)?\ \|").replace(r"\*\*(?:\*\*)?", r"\*\*")
        found = list(re.finditer(pattern, after))
        if len(found) != 1:
            raise ValueError(f"{document} says {len(found)} times what begins '{text[:60]}'; correct said()")
        for number, figure in reversed(list(enumerate(figures, start=1))):
            start, end = found[0].span(number)
            after = after[:start] + figure + after[end:]
        texts[document] = before, after
    return texts


if __name__ == "__main__":
    for name, (old, new) in corrected(json.loads(RESULTS.read_text(encoding="utf-8"))).items():
        if old != new:
            (ROOT / name).write_text(new, encoding="utf-8")
            print(f"{name}: figures written anew")
