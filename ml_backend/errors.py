"""The one way to fail: an error whose message is one line for the user."""

MOST_SAID = 160
"""Characters of what a library says that a message of ours repeats."""


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


def one_line(error: Exception) -> str:
    """What a library's error says, for a message of ours: on one line, and not too long."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]}…"
