"""What is raised when the user's data cannot be used."""


class DataError(ValueError):
    """A data file, a frame or a data setting does not fit; the message says what, where and the cure."""
