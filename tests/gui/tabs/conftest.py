"""A window with the file of two blocks open, and its weights."""

import pytest
from planning_tabs import write_model


@pytest.fixture
def tensors(tmp_path):
    return write_model(tmp_path / "net.safetensors")


@pytest.fixture
def window(window, settle, tensors, tmp_path):
    window.open(tmp_path / "net.safetensors", layer="head.weight")
    settle(window)
    return window
