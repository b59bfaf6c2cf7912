"""Names that would do harm, in the window: shown as they are written, nowhere as HTML or as a control."""

import numpy as np
import pytest
import safetensors.numpy
from PySide6.QtCore import Qt
from PySide6.QtGui import Qt as GuiQt
from PySide6.QtWidgets import QAbstractButton, QLabel, QWidget

from qinspect.gui.controller import Controller
from qinspect.gui.layer_model import DISPLAY, TIP, LayerModel
from qinspect.gui.plain import PlainLabel, caption, tip
from qinspect.quant.scheme import make_scheme

BOLD = "<b>bold</b><img src='x'>.weight"
NAMES = (BOLD, "\x1b[31mred\nsecond line", "right\u202eto left", "a&b", "n" * 3000)


@pytest.fixture(scope="module")
def harmful(tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "a&b <i>file.safetensors"
    rng = np.random.default_rng(0)
    safetensors.numpy.save_file({name: rng.standard_normal((8, 64)).astype(np.float32) for name in NAMES}, path)
    return path


class TestTexts:
    def test_a_tool_tip_shows_what_looks_like_html(self, qapp):
        assert tip("plain\ntext") == "plain\ntext"
        assert tip("<b>x</b>\n&lt;") == '<span style="white-space: pre-wrap">&lt;b&gt;x&lt;/b&gt;\n&amp;lt;</span>'

    def test_a_label_does_too(self, qtbot):
        label = PlainLabel(None, "<b>x</b>")
        qtbot.addWidget(label)
        wide = QLabel("<b>x</b>")
        qtbot.addWidget(wide)
        assert label.sizeHint().width() > 2 * wide.sizeHint().width()

    def test_an_ampersand_is_none_of_a_key(self):
        assert caption("a&b&&") == "a&&b&&&&"


def test_the_table_shows_names_as_they_are_written(harmful, qtbot):
    controller, model = Controller(), LayerModel()
    with qtbot.waitSignal(controller.opened, timeout=30_000) as opened:
        controller.open(harmful)
    model.show_infos(opened.args[0].infos)
    for row in range(model.rowCount()):
        for column in range(model.columnCount()):
            shown, rest = model.data(model.index(row, column), DISPLAY), model.data(model.index(row, column), TIP)
            assert shown.isprintable()
            assert len(shown) < 500
            if rest and GuiQt.mightBeRichText(rest):
                assert "<b>" not in rest
    assert BOLD in {model.data(model.index(row, 0), DISPLAY) for row in range(model.rowCount())}
    controller.shutdown()


def test_nothing_in_the_window_takes_a_name_for_html(window, harmful, settle):
    window.open(harmful)
    settle(window)
    for name in NAMES:
        window.table.select(name)
        settle(window)
        for part in window.findChildren(QWidget):
            assert "<b>bold" not in part.toolTip(), part
            said = part.text() if isinstance(part, QLabel | QAbstractButton) else ""
            assert said.replace("\n", "").isprintable(), part
            if "bold</b>" in said and type(part) is QLabel:
                assert part.textFormat() == Qt.TextFormat.PlainText, part
        window.controller.apply(make_scheme("symmetric"), [name])
        assert window.controller.history.stack.undoText().isprintable()
        assert "&b" not in window.controller.history.stack.undoText().replace("&&", "")
        for frame in window.grid.frames:
            assert frame.view.subject().isprintable()
            assert len(frame.view.subject()) < 200
    window.status.say(f"{BOLD}: cannot be read", error=True)
    assert "<b>" not in window.status.message.toolTip()
    assert window.status.message.text().startswith("<b>")
