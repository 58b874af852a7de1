"""The HTTP side. In come requests of Label Studio and of people; out come the answers of an ML backend's protocol,
the status page and exports. A webhook lands in `app.py` and is taken by `protocol.py`.

Other rooms use `create_app`; and `model_version`, `project_number`, `predictions` and `take_event`, what the
protocol means.
"""

from ml_backend.web.app import create_app
from ml_backend.web.protocol import model_version, predictions, project_number, take_event

__all__ = ["create_app", "model_version", "predictions", "project_number", "take_event"]
