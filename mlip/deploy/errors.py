"""What can go wrong in compilation."""


class CompileError(ValueError):
    """The model cannot be compiled as asked; the message says why and what to do."""
