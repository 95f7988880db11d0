"""The package name of the NequIP framework, answered by mlip."""

from nequip._provider import API_VERSION, refuse_beside_the_framework

refuse_beside_the_framework()

__version__ = API_VERSION
