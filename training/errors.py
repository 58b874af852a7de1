"""The one way to fail: an error whose message is one line for the user."""


class TrainingError(Exception):
    """A dataset, a configuration or a saved model cannot be used."""
