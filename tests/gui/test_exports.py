"""Every view as a picture, as vector graphics, as values: written, copied, shown as a table."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from driving import inspection_of
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QFileDialog

from qinspect.gui.frame import ViewFrame
from qinspect.gui.table_window import TableWindow
from qinspect.gui.views.plot_view import PlotView
from qinspect.gui.views.view import registry
from qinspect.quant.scheme import make_scheme

LAYER_VIEWS = [name for name in registry.names() if issubclass(registry[name], PlotView)]
W = (np.random.default_rng(7).standard_normal((48, 160)) * 0.05).astype(np.float32)


@pytest.fixture
def framed(qapp, qtbot):
    """A view of a name in its frame, with a layer in it."""
    made = []

    def make(name):
        frame = ViewFrame(registry[name]())
        made.append(frame)
        frame.resize(520, 400)
        frame.show()
        qtbot.waitExposed(frame)
        frame.show_inspection(inspection_of(W, make_scheme("base11", group_size=32)))
        frame.heard = []
        frame.told.connect(frame.heard.append)
        frame.failed.connect(frame.heard.append)
        return frame

    yield make
    for frame in made:
        frame.close()
        frame.deleteLater()


@pytest.fixture
def answer(monkeypatch):
    """What the file dialog will say."""

    def set_path(path, kind=""):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), kind))

    return set_path


def trigger(frame, title):
    frame._fill_menu()
    next(action for action in frame.menu.actions() if action.text().replace("&", "").split("\t")[0] == title).trigger()


def differs(a: QImage, b: QImage) -> float:
    """Share of pixels that are clearly of another colour."""
    x, y = (
        np.frombuffer(image.convertToFormat(QImage.Format.Format_RGB32).constBits(), np.uint8)
        .reshape(image.height(), image.width(), 4)[..., :3]
        .astype(int)
        for image in (a, b)
    )
    return float((np.abs(x - y).max(axis=2) > 60).mean())


@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_a_picture_has_twice_the_pixels_and_the_view_in_it(framed, answer, tmp_path, name):
    frame = framed(name)
    answer(tmp_path / "view.png")
    trigger(frame, "Save picture…")
    assert frame.heard == ["Saved view.png."]
    image = QImage(str(tmp_path / "view.png"))
    view = frame.view.size()
    assert image.width() == 2 * view.width()
    seen = frame.view.grab().toImage()
    below = image.copy(0, image.height() - 2 * view.height(), image.width(), 2 * view.height())
    small = below.scaled(view, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation)
    assert differs(small, seen) < 0.12
    assert list(tmp_path.iterdir()) == [tmp_path / "view.png"]


@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_vector_graphics_look_like_the_view(framed, answer, tmp_path, name):
    frame = framed(name)
    answer(tmp_path / "view", "Vector graphics (*.svg)")
    trigger(frame, "Save picture…")
    renderer = QSvgRenderer(str(tmp_path / "view.svg"))
    assert renderer.isValid()
    picture = frame._picture()
    size = renderer.viewBoxF().size()
    assert size.width() / size.height() == pytest.approx(picture.size.width() / picture.size.height(), rel=1e-3)
    image = QImage(picture.size, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    renderer.render(painter)
    painter.end()
    seen = picture.image().scaled(
        picture.size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    )
    assert differs(image, seen) < 0.12
    text = (tmp_path / "view.svg").read_text(encoding="utf-8")
    assert "base11" in text  # the title says what is seen


@pytest.mark.parametrize("name", LAYER_VIEWS)
def test_values_are_written_in_full(framed, answer, tmp_path, name):
    frame = framed(name)
    answer(tmp_path / "values.csv")
    trigger(frame, "Save values as CSV…")
    tables = frame.view.tables()
    with (tmp_path / "values.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == [column.key for column in tables[0].columns]
    for read, row in zip(rows[1:], tables[0].rows, strict=False):
        for text, value in zip(read, row, strict=True):
            if isinstance(value, float | int):
                assert float(text) == pytest.approx(float(value), rel=1e-12, nan_ok=True)


def test_the_histogram_of_the_file_is_that_of_the_weights(framed):
    view = framed("histogram").view
    (table,) = view.tables()
    low, high = table.column("from"), table.column("to")
    assert low[1:] == high[:-1]
    assert sum(table.column("original")) == W.size
    counts, _ = np.histogram(W.astype(np.float64), [*low, high[-1]])
    assert np.abs(counts - np.array(table.column("original"))).sum() <= 2


def test_the_table_of_codes_has_every_code_and_its_count(framed):
    view = framed("occupancy").view
    (table,) = view.tables()
    scheme = view.inspection.scheme
    counts = scheme.count(scheme.quantize(W))
    assert table.column("code") == tuple(range(11))
    assert table.column("count") == tuple(counts)
    assert table.column("share_percent") == pytest.approx(tuple(100 * counts / W.size))


def test_the_table_of_scales_has_every_group(framed):
    view = framed("scales").view
    (table,) = view.tables()
    assert len(table.rows) == 48 * 5
    scales = view.inspection.scales.values
    assert table.column("minimum") == pytest.approx(scales["minimum"].ravel().tolist())
    assert [table.column(key)[48] for key in ("row", "group")] == [9, 3]


def test_the_table_of_errors_is_the_image(framed):
    view = framed("error").view
    (table,) = view.tables()
    values = np.array([row[1:] for row in table.rows])
    np.testing.assert_allclose(values, view.map.crop.values)
    assert [row[0] for row in table.rows][:2] == [0, view.map.crop.cell[0]]


def test_picture_and_values_are_copied(framed, qtbot):
    frame = framed("occupancy")
    clipboard = QGuiApplication.clipboard()
    frame.view.setFocus()
    qtbot.keyClick(frame.window().focusWidget(), Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert clipboard.image().size() == frame._picture().size * 2
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    qtbot.keyClick(frame.window().focusWidget(), Qt.Key.Key_C, keys)
    lines = clipboard.text().splitlines()
    assert len(lines) == 12
    assert lines[0].split("\t")[0] == "Code"
    assert frame.heard == ["Copied the picture of Occupancy.", "Copied the values of Occupancy."]


def test_values_are_shown_as_a_table_whose_cells_can_be_copied(framed, qtbot):
    frame = framed("occupancy")
    trigger(frame, "Show values as a table")
    (shown,) = frame.findChildren(TableWindow)
    view = shown.view
    assert view.model().rowCount() == 11
    cell = view.visualRect(view.model().index(4, 1)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=cell)
    qtbot.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    count = frame.view.inspection.usage.counts[4]
    assert QGuiApplication.clipboard().text() == f"Weights\n{count:,}"
    shown.close()


def test_what_cannot_be_written_is_told_and_leaves_nothing(framed, answer, tmp_path):
    frame = framed("error")
    answer(tmp_path / "missing" / "view.png")
    trigger(frame, "Save picture…")
    assert len(frame.heard) == 1 and "could not be written" in frame.heard[0]
    answer("")
    trigger(frame, "Save picture…")
    assert len(frame.heard) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_layer_there_are_no_values(framed):
    frame = framed("error")
    frame.show_inspection(None, "Gone.")
    frame._fill_menu()
    possible = {action.text().replace("&", "").split("\t")[0]: action.isEnabled() for action in frame.menu.actions()}
    assert not possible["Save values as CSV…"] and not possible["Show values as a table"]
    assert possible["Copy picture"]
    assert frame._picture().size == frame.view.size() + QSize(0, 46)
