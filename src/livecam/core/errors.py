"""What livecam raises: one root, so that a caller may tell its refusals from faults of the program.

- :class:`LivecamError`, a ``ValueError``
    - :class:`OptionError`: an argument, an option or a combination of them
    - :class:`DataError`: a batch, a file or its content
        - :class:`MissingFileError`: also a ``FileNotFoundError``
    - :class:`UnsupportedNetworkError`: a network that a method does not fit
    - :class:`UnknownNameError`: also a ``KeyError``
        - :class:`LayerNotFoundError`, :class:`MethodNotFoundError`, :class:`MetricNotFoundError`,
          :class:`NetworkNotFoundError`

Every message is one sentence with the remedy. Commands print it and leave with exit code 2; any other exception keeps
its traceback.
"""


class LivecamError(ValueError):
    """Something that the caller can put right, in one sentence that says how."""

    def __str__(self) -> str:
        # KeyError would quote the sentence.
        return str(self.args[0]) if self.args else ""


class OptionError(LivecamError):
    """An argument or an option that is out of range, unknown, or at odds with another one."""


class DataError(LivecamError):
    """A batch, a file or its content that cannot be used."""


class MissingFileError(DataError, FileNotFoundError):
    """A file or a folder that is not there."""


class UnsupportedNetworkError(LivecamError):
    """A network that lacks what a method needs."""


class UnknownNameError(LivecamError, KeyError):
    """A name that nothing has."""


class LayerNotFoundError(UnknownNameError):
    """A layer that the network does not have, or a name that several of its layers could mean."""


class MethodNotFoundError(UnknownNameError):
    """An explanation method that is not registered."""


class MetricNotFoundError(UnknownNameError):
    """A metric that is not registered."""


class NetworkNotFoundError(UnknownNameError):
    """A network, an encoder or an architecture that no library has."""


def user_error(error: BaseException | None) -> BaseException | None:
    """Find what the user can put right: a :class:`LivecamError`, or the operating system's word on a file.

    Args:
        error: What was raised; libraries wrap what they caught, so its causes count too.

    Returns:
        The first such error in the chain; None where there is none, and the traceback is what is wanted.
    """
    while error is not None:
        if isinstance(error, LivecamError) or (isinstance(error, OSError) and error.filename is not None):
            return error
        error = error.__cause__
    return None
