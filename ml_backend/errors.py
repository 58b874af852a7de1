"""The one way to fail: an error whose message is one line for the user."""


class WeakHARError(Exception):
    """Base of every error a user can cause; `status` is the HTTP status the app answers with."""

    status = 400


class RecordingError(WeakHARError):
    """A recording, its video or its IMU cannot be used."""


class ConfigError(WeakHARError):
    """A setting, an extra parameter or a labelling config is wrong."""


class LabelStudioError(WeakHARError):
    """Label Studio refused a request or cannot be reached."""

    status = 502
