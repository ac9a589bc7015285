"""Corners of a decision that no transcript reaches."""

from meshctl.core.decide import decide
from meshctl.core.model import ReleaseState, Seen
from tests.core.small_world import START, release_of


def test_a_version_that_serves_already_needs_no_run():
    decision = decide(release_of("1.0.0"), ReleaseState(baseline="1.0.0"), Seen(None, {}), None, (), START)
    assert decision.state.run is None
    assert decision.routing is None
    assert decision.wake_at is None
    assert decision.needed == ("1.0.0",)
