"""An edge gateway for every AI vendor."""

__version__ = "0.1.0"
