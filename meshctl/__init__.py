"""meshctl moves production traffic between versions of a service, only as far as the evidence allows."""

__version__ = "0.1.0"
