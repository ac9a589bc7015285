"""The judge, loaded with its first block: numpy and scipy take as long as all the rest of a start together.

A controller that comes back looks at its releases sooner, one without a moving release never needs them, and neither
does an abort before any traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from meshctl.core.model import AnalysisSpec, Block, Judgement, StageTerms
from meshctl.core.ports import Judge


class LateJudge:
    """Implements `meshctl.core.ports.Judge` by `AnalysisJudge`."""

    @cached_property
    def _judge(self) -> Judge:
        from meshctl.adapters.judge import AnalysisJudge

        return AnalysisJudge()

    def learn(self, state: str, analysis: AnalysisSpec, blocks: Sequence[Block]) -> str:
        return self._judge.learn(state, analysis, blocks)

    def fold(
        self, state: str, analysis: AnalysisSpec, terms: StageTerms, blocks: Sequence[Block]
    ) -> tuple[str, Judgement]:
        return self._judge.fold(state, analysis, terms, blocks)
