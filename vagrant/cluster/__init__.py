"""Lab guests that run frazil: for the demo, the end-to-end tests and the benchmarks."""

from .application import Application, Evidence
from .certificates import Certificates
from .host import FrazilFailed, FrazilHost, HostSettings, start_all

__all__ = [
    "Application",
    "Certificates",
    "Evidence",
    "FrazilFailed",
    "FrazilHost",
    "HostSettings",
    "start_all",
]
