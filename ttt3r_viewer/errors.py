"""The errors that a user can cause, each a sentence: what came, what was expected, how to fix it.

The command line catches `ViewerError` once, prints its text on one line and exits with 2.
"""


class ViewerError(Exception):
    """The base of every error that is not our own mistake."""


class SettingsError(ViewerError):
    """A flag or a configuration file asks for something that cannot be."""


class InputError(ViewerError):
    """The whole input (folder, glob, video, image) cannot be used."""


class FrameError(ViewerError):
    """One frame cannot be used; the run goes on without it."""


class WeightsError(ViewerError):
    """A weights file is missing, damaged, unsafe, or of another network."""


class RuleError(ViewerError):
    """An update rule is unknown, or its parameters are out of range."""


class ReconstructionError(ViewerError):
    """The network cannot go on: memory, device, or numbers."""


class ViewerServerError(ViewerError):
    """The browser page cannot be served: host or port."""


class OutputError(ViewerError):
    """Results cannot be written where they were asked for."""


class RecordingError(ViewerError):
    """Recorded frames cannot be read: missing, damaged, or written by a newer program."""


class EvaluationError(ViewerError):
    """Poses cannot be measured, or the file of true poses cannot be read."""


def in_a_line(error: BaseException, most: int | None = None) -> str:
    """What an error says, or else its kind, on one line, cut after `most` characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:most]


def system_words(error: BaseException) -> str:
    """What the system says of an `OSError`, without number and file; else `in_a_line`."""
    words = getattr(error, "strerror", None)
    return " ".join(words.split()) if words else in_a_line(error)
