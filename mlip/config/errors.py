"""What is raised when the user's config cannot be used."""


class ConfigError(ValueError):
    """A config does not fit; the message names the place in the config, what is wrong, and the cure."""
