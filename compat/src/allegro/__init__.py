"""The package name of the framework's Allegro extension, answered by mlip."""

import nequip  # refuses beside the framework itself

__version__ = "0.8.3"
__all__ = ["nequip"]
