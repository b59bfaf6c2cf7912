"""Hostile files from the window: each ends in one sentence, and the window goes on."""

import hostile
import pytest

from qinspect.gui.controller import Controller


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return hostile.made(tmp_path_factory.mktemp("hostile"))


def test_opening_them_one_after_another(cases, qtbot, digits):
    controller = Controller()
    said = []
    controller.failed.connect(said.append)
    for name, case in cases.items():
        if case.late:
            continue
        with qtbot.waitSignals([controller.failed], timeout=30_000):
            controller.open(case.path)
        assert said[-1].startswith(str(case.path.parent)), name
        assert said[-1].isprintable(), name
    with qtbot.waitSignal(controller.opened, timeout=30_000):
        controller.open(digits)
    controller.shutdown()


def test_tensors_that_cannot_be_read_are_shown_with_the_reason(cases, qtbot):
    (late,) = [case for name, case in cases.items() if name == "torch: a view of exabytes"]
    controller = Controller()
    with qtbot.waitSignal(controller.opened, timeout=30_000):
        controller.open(late.path)
    with qtbot.waitSignal(controller.uninspectable, timeout=30_000) as caught:
        controller.select("w")
    assert "repeats 4 stored bytes" in caught.args[0]
    controller.shutdown()
