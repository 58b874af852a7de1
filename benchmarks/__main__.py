"""Run the benchmarks, print their tables and write `benchmarks/results.json` with a description of the machine.

Run: python -m benchmarks [NAME ...]; without a name all of them, in half an hour. Named ones replace only their own
part of the results.
"""

import json
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from benchmarks.harness import SHARED_DATA, machine, show

NAMES = (
    "clustering",
    "clustering_scale",
    "embedding",
    "backbones",
    "sampling",
    "decoding",
    "labelling_accuracy",
    "temporal",
    "audit",
    "asking",
    "alignment",
    "project_labels",
    "many_labels",
    "load",
    "exporting",
    "tasks",
    "many_tasks",
    "scale",
    "training",
)
NEED_REAL_RECORDINGS = (
    "embedding",
    "backbones",
    "sampling",
    "decoding",
    "temporal",
    "audit",
    "asking",
    "alignment",
    "training",
)
RESULTS = Path(__file__).parent / "results.json"


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        sys.exit(f"error: benchmark '{unknown[0]}' is not known; known are {', '.join(NAMES)}")
    for name in names or NAMES:
        if name in NEED_REAL_RECORDINGS and not SHARED_DATA.is_dir():
            sys.exit(f"error: {name} needs the real recordings in ../shared/data; name other benchmarks")
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in names or NAMES:
        module = import_module(f"benchmarks.{name}")
        began = time.perf_counter()
        rows = module.measure()
        results[name] = {
            "what": " ".join(str(module.__doc__).split("\n\n")[0].split()),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "seconds": round(time.perf_counter() - began),
            "rows": rows,
        }
        show(name, rows)
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
