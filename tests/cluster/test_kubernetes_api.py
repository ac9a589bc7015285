"""The real API server keeps what every `Api` promises, reached as a user reaches it: by a kubeconfig."""

from __future__ import annotations

from tests.adapters.api_contract import *  # noqa: F403 - the suite
from tests.cluster.widgets import place  # noqa: F401 - the fixture
