"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Machines that run tests are busy: how long an example takes says nothing about the code.
settings.register_profile("thermocube", deadline=None)
settings.load_profile("thermocube")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real granules, where they are at hand; the test skips where they are not."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"needs the real granules at {path}, which are not here")
    return path
