"""The tool behind the colour bar, with a real mouse and keys."""

from __future__ import annotations

import numpy as np
import pytest
from driving import drag, inspection_of, pixel_of
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtWidgets import QComboBox

from qinspect.analysis import Pooling
from qinspect.gui.colours import Norm, Rule, table_of
from qinspect.gui.level_tool import LevelTool
from qinspect.quant.scheme import make_scheme

W = (np.random.default_rng(11).standard_normal((600, 800)) * 0.05).astype(np.float32)
W[3, 5] = 2.0


@pytest.fixture
def error(show):
    return show("error", inspection_of(W, make_scheme("base11", group_size=64)), size=(500, 380))


def opened(view, qtbot):
    """The tool, by a click on the bar."""
    image = view.map
    bar = image.bar.mapRectToScene(image.bar.rect())
    qtbot.mouseClick(image.viewport(), Qt.MouseButton.LeftButton, pos=bar.center().toPoint())
    tools = image.findChildren(LevelTool)
    assert len(tools) == 1 and tools[0].isVisible()
    return tools[0]


def pick(box: QComboBox, text: str) -> None:
    at = box.findText(text)
    assert at >= 0
    box.setCurrentIndex(at)
    box.activated.emit(at)


def test_the_ends_are_set_by_rules_and_reset(error, qtbot):
    tool, image = opened(error, qtbot), error.map
    first = image.spread
    qtbot.mouseClick(tool.extremes, Qt.MouseButton.LeftButton)
    most = np.abs(image.values).max()
    assert (image.spread.low, image.spread.high) == pytest.approx((-most, most))
    qtbot.mouseClick(tool.sigma, Qt.MouseButton.LeftButton)
    assert image.spread.high < most
    tool.percent.setValue(90)
    low, high = np.percentile(image.values, (10, 90))
    assert image.spread.high == pytest.approx(max(-low, high), rel=0.02)  # of a sample
    qtbot.mouseClick(tool.reset, Qt.MouseButton.LeftButton)
    assert image.spread == first
    assert not tool.reset.isEnabled()


def test_exact_ends_are_typed(error, qtbot):
    tool, image = opened(error, qtbot), error.map
    tool.low.setFocus()
    tool.low.selectAll()
    qtbot.keyClicks(tool.low, "-0.001")
    qtbot.keyClick(tool.low, Qt.Key.Key_Return)
    tool.high.selectAll()
    qtbot.keyClicks(tool.high, "0.004")
    qtbot.keyClick(tool.high, Qt.Key.Key_Return)
    assert (image.spread.low, image.spread.high) == pytest.approx((-0.001, 0.004))
    assert image.look.rule == Rule.FIXED
    tool.high.selectAll()
    qtbot.keyClicks(tool.high, "-5")  # below the low end: not taken
    qtbot.keyClick(tool.high, Qt.Key.Key_Return)
    assert image.spread.high == pytest.approx(0.004)


def test_the_ends_are_dragged_in_the_histogram(error, qtbot):
    tool, image = opened(error, qtbot), error.map
    plot, high = tool.plot, image.spread.high
    counts = tool.plot._curve.getData()[1]
    assert counts.max() > 2  # a hundred and more, on a logarithmic axis
    start = QPointF(pixel_of(plot, high, 0).x(), plot.area.center().y())
    drag(plot, start, start - QPointF(8, 0))
    assert image.spread.high < 0.9 * high
    assert image.look.rule == Rule.FIXED


def test_colours_and_the_way_values_spread(error, qtbot):
    tool, image = opened(error, qtbot), error.map
    assert tool.norm.findText("log") < 0  # of signed errors there is none
    pick(tool.colours, "blue–red")
    pick(tool.norm, "square root")
    assert image.look.norm == Norm.SQRT
    value = np.array([[image.spread.high / 4]], np.float32)
    assert image.spread.indices(value)[0, 0] == pytest.approx(254 * 0.75, abs=1)
    table = table_of("blue–red", image.theme)
    assert np.array_equal(image._image.table, table)


def test_what_is_chosen_stays_with_another_scheme_and_goes_with_another_quantity(error, qtbot):
    tool, image = opened(error, qtbot), error.map
    tool.close()
    image.set_look(image.look.fixed(-0.01, 0.01))
    error.show_inspection(inspection_of(W, make_scheme("symmetric", bits=4)))
    assert (image.spread.low, image.spread.high) == (-0.01, 0.01)
    error.controls()[0].setCurrentText("|error|")
    assert image.spread.low == 0
    assert image.look.rule == Rule.PERCENTILE


def test_pooling_is_chosen_and_said_on_the_image(error, qtbot):
    tool, image = opened(error, qtbot), error.map
    assert "largest error" in error.hint
    peak = np.abs(image.crop.values).max()
    for pooling, words in ((Pooling.RMS, "root mean square error"), (Pooling.MEAN, "mean error")):
        tool.pooling.setCurrentIndex(tool.pooling.findData(pooling))
        tool.pooling.activated.emit(tool.pooling.currentIndex())
        assert f"the {words} of" in error.hint
        assert np.abs(image.crop.values).max() < peak
    rows, cols = image.crop.cell
    inspection = error.inspection
    exact = inspection.scheme.dequantize(inspection.quantized) - W
    np.testing.assert_allclose(image.crop.values[0, 0], exact[:rows, :cols].mean(), atol=1e-7)


def test_the_tool_opens_from_the_menu_and_closes_by_escape(error, qtbot):
    action = next(each for each in error.actions_offered() if "levels" in each.text())
    action.trigger()
    (tool,) = error.map.findChildren(LevelTool)
    assert tool.isVisible() and tool.colours.hasFocus()
    qtbot.keyClick(tool, Qt.Key.Key_Escape)
    assert not tool.isVisible()


def test_everything_in_the_tool_has_a_name(error, qtbot):
    tool = opened(error, qtbot)
    named = (tool.colours, tool.norm, tool.pooling, tool.plot, tool.low, tool.high, tool.percent, tool.reset)
    assert all(widget.accessibleName() for widget in named)
    assert tool.accessibleName()
    assert not tool.grab().isNull()
    corner = tool.mapToGlobal(QPoint(0, 0))
    assert tool.screen().availableGeometry().contains(corner)
