"""What goes wrong with a stack, in sentences for its user."""


class StackError(Exception):
    """What is wrong, where, and what to do; printed without a traceback."""
