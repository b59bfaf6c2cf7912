"""What every test needs before the first of them is imported, and the fixtures that several share."""

import os

import pytest
from hypothesis import settings

# Qt reads this once, when the first window is made.
if os.environ.get("CI") or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ["QT_QPA_PLATFORM"] = "offscreen"

from qinspect.assets import resource

# The first call of a kernel compiles it, which takes longer than any deadline for one example.
settings.register_profile("qinspect", deadline=None)
settings.load_profile("qinspect")


@pytest.fixture(scope="session")
def digits():
    """Path of the sample network; its test set lies beside it."""
    return resource("samples/digits.safetensors")
