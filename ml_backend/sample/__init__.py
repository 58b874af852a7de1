"""Recordings to try weakhar on, and the demo. Nothing comes in; out come recordings of a simulated person with ground
truth, and the main job on them with a real Label Studio.

Other rooms use `write_sample` with `CLASSES`, `run_demo` with `true_labels`, and `LabelStudioServer` and
`BackendServer` with `USER`, `free_port` and `wait_for`, which serve the tests too.
"""

from ml_backend.sample.demo import run_demo, true_labels
from ml_backend.sample.servers import USER, BackendServer, LabelStudioServer, free_port, wait_for
from ml_backend.sample.simulate import CLASSES, write_sample

__all__ = [
    "CLASSES",
    "USER",
    "BackendServer",
    "LabelStudioServer",
    "free_port",
    "run_demo",
    "true_labels",
    "wait_for",
    "write_sample",
]
