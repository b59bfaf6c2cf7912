"""What every test needs before the first of them is imported, and the fixtures that several share."""

import os

import pytest

# Qt reads this once, when the first window is made.
if os.environ.get("CI") or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ["QT_QPA_PLATFORM"] = "offscreen"

from qinspect.assets import resource


@pytest.fixture(scope="session")
def digits():
    """Path of the sample network; its test set lies beside it."""
    return resource("samples/digits.safetensors")
