"""Kubernetes: objects as plain data over one small `Api`, and what is built on it.

The library `kubernetes` is imported here only, and only when a cluster is spoken to.
"""

from meshctl.adapters.kubernetes.access import connect, in_cluster
from meshctl.adapters.kubernetes.watching import Cache

__all__ = ["Cache", "connect", "in_cluster"]
