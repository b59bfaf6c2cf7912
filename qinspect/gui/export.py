"""Anything a view shows as a file or on the clipboard: pictures, and the values behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QGuiApplication, QImage, QPainter
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QWidget

from qinspect.errors import ExportError
from qinspect.gui.theme import Theme
from qinspect.tables import Table

SCALE = 2
"""Pixels of a picture to each of the screen."""

HEAD = 46
"""Height of what is written above a picture."""


class Picture:
    """A widget with a title and a sentence above it, to be drawn in any resolution."""

    def __init__(self, widget: QWidget, title: str, sentence: str, theme: Theme) -> None:
        self._widget, self._title, self._sentence, self._theme = widget, title, sentence, theme
        self.size = widget.size() + QSize(0, HEAD)

    def draw(self, painter: QPainter) -> None:
        """All of it, from the upper left corner on."""
        theme, font = self._theme, QFont(self._widget.font())
        painter.fillRect(QRect(QPoint(0, 0), self.size), QColor(theme.panel))
        for y, text, colour, bold in (
            (6, self._title, theme.text, True), (24, self._sentence, theme.muted, False),
        ):  # fmt: skip
            font.setBold(bold)
            painter.setFont(font)
            painter.setPen(QColor(colour))
            room = self.size.width() - 16
            text = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideMiddle, room)
            painter.drawText(QRect(8, y, room, 20), Qt.AlignmentFlag.AlignVCenter, text)
        self._widget.render(painter, QPoint(0, HEAD))

    def image(self) -> QImage:
        """As pixels, finer than on the screen."""
        image = QImage(self.size * SCALE, QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(SCALE)
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.draw(painter)
        painter.end()
        return image

    def save(self, path: Path) -> None:
        """As PNG, or as SVG by the name; ExportError says why it could not be written."""
        write = self._write_svg if path.suffix.lower() == ".svg" else self._write_png
        _whole_or_not(path, write)

    def _write_png(self, path: Path) -> bool:
        return bool(self.image().save(str(path), "PNG"))  # type: ignore[call-overload]

    def _write_svg(self, path: Path) -> bool:
        generator = QSvgGenerator()
        # Without the resolution of the screen, text is drawn at 72/96 of its size and no longer meets its marks.
        generator.setResolution(round(self._widget.logicalDpiX()))
        generator.setFileName(str(path))
        generator.setSize(self.size)
        generator.setViewBox(QRect(QPoint(0, 0), self.size))
        generator.setTitle(self._title)
        generator.setDescription(self._sentence)
        painter = QPainter()
        if not painter.begin(generator):
            return False
        self.draw(painter)
        return bool(painter.end())


def save_tables(tables: tuple[Table, ...], path: Path) -> None:
    """As CSV, one table below the other; ExportError says why it could not be written."""

    def write(part: Path) -> bool:
        with part.open("w", encoding="utf-8", newline="") as stream:
            for number, table in enumerate(tables):
                if number:
                    stream.write("\n")
                table.to_csv(stream)
        return True

    _whole_or_not(path, write)


def _whole_or_not(path: Path, write: Callable[[Path], bool]) -> None:
    """Write beside, then rename: a file of that name is replaced by a whole one or left as it is."""
    part = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        if not write(part):
            raise ExportError("the file could not be written; choose another folder", path=path)
        part.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(f"the file could not be written ({reason}); choose another folder", path=path) from error
    finally:
        part.unlink(missing_ok=True)


def copy_picture(picture: Picture) -> None:
    """To the clipboard."""
    QGuiApplication.clipboard().setImage(picture.image())


def copy_tables(tables: tuple[Table, ...]) -> None:
    """To the clipboard, cells parted by tabs, as spreadsheets take them."""
    parts = []
    for table in tables:
        lines = ["\t".join(column.title for column in table.columns)]
        lines += ["\t".join(row) for row in table.cells()]
        parts.append("\n".join(lines))
    QGuiApplication.clipboard().setText("\n\n".join(parts))
