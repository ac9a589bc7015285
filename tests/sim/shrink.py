"""Cut a story that fails down to the steps that it needs to fail by the same rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.sim.story import Settings, Story
from tests.sim.world import Failure

PLAYS_MAX = 3000


def shrink(story: Story, play: Callable[[Story], Failure | None]) -> tuple[Story, Failure]:
    """The shortest story found that breaks the same rule, and how it breaks it."""
    failure = play(story)
    assert failure is not None, "only what fails can be shrunk"
    left = [PLAYS_MAX]

    def fails(candidate: Story) -> Failure | None:
        left[0] -= 1
        found = play(candidate) if left[0] > 0 else None
        return found if found is not None and found.rule == failure.rule else None

    story = replace(story, steps=story.steps[: failure.step + 1])
    if fails(story) is None:
        story = replace(story, steps=(*story.steps,))
    size = max(1, len(story.steps) // 2)
    while size:
        shorter = _without_some(story, size, fails)
        size = size if shorter is not None and size > 1 else 0 if shorter is None and size == 1 else max(1, size // 2)
        story = shorter or story
    story = _plainer(story, fails)
    return story, play(story) or failure


def _without_some(story: Story, size: int, fails: Callable[[Story], Failure | None]) -> Story | None:
    """The story without so many steps in a row somewhere, as often as that goes; ``None`` when it never does."""
    position, found = 0, None
    while position < len(story.steps):
        shorter = replace(story, steps=story.steps[:position] + story.steps[position + size :])
        if fails(shorter) is not None:
            story = found = shorter
        else:
            position += size
    return found


def _plainer(story: Story, fails: Callable[[Story], Failure | None]) -> Story:
    """The usual settings where they do as well."""
    usual = Settings(real_judge=story.settings.real_judge)
    for name in Settings.__dataclass_fields__:
        plainer = replace(story, settings=replace(story.settings, **{name: getattr(usual, name)}))
        if plainer != story and fails(plainer) is not None:
            story = plainer
    return story
