"""Kubernetes: objects as plain data over one small `Api`, and what is built on it.

The library `kubernetes` is imported here only, and only when a cluster is spoken to.
"""

from meshctl.adapters.kubernetes.access import connect, in_cluster

__all__ = ["connect", "in_cluster"]
