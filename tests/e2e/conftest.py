"""A mesh for a test, that surely ends: what ``local down`` leaves running is killed by id and fails the test."""

from __future__ import annotations

import pytest

from tests.e2e.world import Mesh

GATED = (
    "{weight: 10, gate: manual, minDuration: 1s}, {weight: 50, gate: manual, minDuration: 4s}, "
    "{weight: 100, minDuration: 1s}"
)
"""Stages that wait for a person, so that a test decides when a run goes on."""


@pytest.fixture
def make_mesh(tmp_path):
    made = []

    def make(stages=GATED, **settings):
        made.append(Mesh(tmp_path, stages, **settings))
        return made[-1]

    yield make
    left = [pid for mesh in made for pid in mesh.end()]
    assert not left, f"left running: {left}"


@pytest.fixture
def mesh(make_mesh):
    return make_mesh()
