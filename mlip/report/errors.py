"""What is raised when there is nothing to draw."""


class ReportError(ValueError):
    """A figure or report cannot be made of this; the message says what, where and the cure."""
