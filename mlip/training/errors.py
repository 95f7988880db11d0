"""What is raised when a run cannot go on."""


class TrainingError(RuntimeError):
    """A run stopped; the message says where, why, what is left on disk, and the cure."""
