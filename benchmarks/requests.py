"""Requests of any shape against every address: none may be a fault of ours.

Run: python -m benchmarks.requests 10000. A seeded thousand are a test.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_backend.jobs import Jobs, open_store
from ml_backend.settings import Settings
from ml_backend.web import create_app

CONFIG = (
    "<View><HyperText name='clip' value='$html'/><Choices name='activity' toName='clip'><Choice value='walking'/>"
    "<Choice value='jogging'/><Choice value='mixed'/></Choices></View>"
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=6), st.just("\0"),
    st.sampled_from(["1", "1.5", "walking", "2024-05-01T12:00:00Z", "r|0.000|4.000", "ANNOTATION_CREATED"]),
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "project", "schema", "hostname", "access_token", "extra_params", "tasks", "action", "annotation", "annotations",
    "id", "task", "result", "was_cancelled", "updated_at", "lead_time", "completed_by", "meta", "weakhar", "clip",
    "participant", "data", "label_config", "type", "value", "choices", "from_name",
)  # fmt: skip
NAMED = st.recursive(
    ANYTHING,
    lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=12,
)
ACTIONS = (
    "START_TRAINING", "ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED",
    "TASKS_DELETED", "PROJECT_UPDATED", "PROJECT_DELETED", "ELSE",
)  # fmt: skip
ANNOTATION = st.fixed_dictionaries({"id": st.just(1), "task": st.just(1)}, optional={"result": NAMED})
BODIES = st.one_of(
    NAMED,
    st.fixed_dictionaries(
        {"project": st.sampled_from([1, "1.17", {"id": 1}, 2, 2**40]), "action": st.sampled_from(ACTIONS)},
        optional=dict.fromkeys(("annotation", "annotations", "tasks", "task", "extra_params", "schema"), NAMED),
    ),
    st.fixed_dictionaries(
        {"project": st.just({"id": 1}), "action": st.sampled_from(ACTIONS)}, optional={"annotation": ANNOTATION}
    ),
    st.fixed_dictionaries({"project": st.just("1.17"), "schema": st.just(CONFIG)}, optional={"extra_params": NAMED}),
)
ADDRESSES = (
    "/setup", "/predict", "/webhook", "/train", "/versions", "/cancel/1", "/meanings/1", "/seen/1", "/export/1",
)  # fmt: skip
POSTS = st.tuples(st.sampled_from(ADDRESSES), BODIES)
GETS = st.tuples(
    st.sampled_from(("status", "report", "thresholds", "export")),
    st.one_of(st.integers(-(2**70), 2**70), st.text(max_size=4), st.just(1)),
    st.sampled_from(("", "?threshold=p9", "?format=%00", "?threshold=%ED%A0%80", "?format=x&threshold=6")),
)
REQUESTS = st.one_of(POSTS, POSTS, POSTS, GETS)


class Asked:
    """A server on a store of its own, in `folder`, that is asked anything."""

    def __init__(self, folder: Path) -> None:
        own = Settings(model_dir=folder / "model", data_dir=folder)
        self.store = open_store(own.database, own.model_dir)
        self.web: FlaskClient = create_app(own, self.store, Jobs(own, self.store)).test_client()

    def status(self, asked: tuple[str, Any] | tuple[str, Any, str]) -> int:
        """What a request is answered with."""
        self.store.save_project(1, label_config=CONFIG)  # a request may have deleted it
        if len(asked) == 2:
            text = json.dumps(asked[1])
            return self.web.post(asked[0], data=text, content_type="application/json").status_code
        return self.web.get(f"/{asked[0]}/{quote(str(asked[1]), safe='')}{asked[2]}").status_code


def is_fault(asked: tuple[Any, ...], status: int) -> bool:
    """True for an answer that says we failed; an export without an address of Label Studio's is none."""
    return status >= 500 and not (status == 502 and "export" in asked[0])


def main(count: int) -> None:
    """Ask so often, and print how it was answered."""
    found: Counter[int] = Counter()
    with TemporaryDirectory() as folder:
        server = Asked(Path(folder))

        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(REQUESTS)
        def ask(asked: Any) -> None:
            status = server.status(asked)
            found[status] += 1
            assert not is_fault(asked, status), asked

        ask()
    print({f"{status}": found[status] for status in sorted(found)})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
