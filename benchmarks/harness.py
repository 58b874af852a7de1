"""What all benchmarks share: a fresh process for each contender, a table, and a description of the machine."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
from rich.console import Console
from rich.table import Table

Rows = list[dict[str, Any]]

SHARED_DATA = Path(__file__).parent.parent.parent / "shared" / "data"
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "open_clip_torch", "transformers", "av")


@dataclass(frozen=True)
class Run:
    """What a contender returned, how long it took, and the most memory its process ever held."""

    result: Any
    seconds: float
    peak_mb: float


def in_child(prepare: Callable[..., Any], contend: Callable[..., Any], *arguments: Any) -> Run:
    """`contend(prepare(*arguments))` in a process of its own; only `contend` is timed."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
        return child.submit(_run, prepare, contend, arguments).result()


def _run(prepare: Callable[..., Any], contend: Callable[..., Any], arguments: tuple[Any, ...]) -> Run:
    prepared = prepare(*arguments)
    began = time.perf_counter()
    result = contend(prepared)
    seconds = time.perf_counter() - began
    return Run(result, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def copied_packets(source: Path, target: Path, **metadata: str) -> Path:
    """A video's packets in another container, by the target's name; `metadata` of the whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        written.metadata.update(metadata)
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    return target


def machine() -> dict[str, Any]:
    """Processor, cores, memory and package versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def show(title: str, rows: Rows) -> None:
    """The rows as a table on the terminal, or as Markdown where stdout is none."""
    console = Console()
    if console.is_terminal:
        table = Table(*rows[0], title=title)
        for row in rows:
            table.add_row(*map(str, row.values()))
        console.print(table)
        return
    print(f"\n{title}\n\n| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    sys.stdout.flush()


def _processor() -> str:
    listing = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    fields = dict(line.split(":", 1) for line in listing.splitlines() if ":" in line)
    wanted = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in fields.get("Flags", "")]
    return f"{fields.get('Model name', platform.machine()).strip()} ({', '.join(wanted)})"
