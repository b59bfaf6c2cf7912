"""The published demonstrations in a window of their own: the tables of `qinspect reproduce`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from html import escape

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QTextBrowser, QVBoxLayout, QWidget

from qinspect.gui.jobs import Job, Lane
from qinspect.reproduce import RECIPES, Demonstration
from qinspect.tables import Table
from qinspect.task import Token

_log = logging.getLogger(__name__)


class Demonstrations(QDialog):
    """One page with all recipes, computed on `lane` when it is first shown, and kept."""

    def __init__(self, lane: Lane, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Published recipes")
        self.resize(820, 760)
        self.page = QTextBrowser(self)
        self.page.document().setDocumentMargin(20)
        self.page.document().setDefaultStyleSheet(
            "h3 { margin-top: 24px } table { margin-top: 8px } th, td { padding: 2px 14px 2px 0px }"
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.page)
        self._lane = lane
        self._asked = False

    def showEvent(self, event: QShowEvent) -> None:
        """Compute what is not there yet."""
        super().showEvent(event)
        if self._asked:
            return
        self._asked = True
        self.page.setPlainText("Computing…")
        work = Job("Published recipes", lambda token, _: _compute(token), self._on_computed, self._on_failed)
        work.cancelled = lambda: self._give_up("Cancelled. Opened again, this page is computed anew.")
        self._lane.put(work)

    def _on_computed(self, shown: Sequence[Demonstration]) -> None:
        self.page.setHtml("".join(map(_html, shown)))

    def _on_failed(self, error: Exception) -> None:
        _log.error("a published recipe failed", exc_info=error)
        self._give_up(str(error))

    def _give_up(self, sentence: str) -> None:
        self._asked = False
        self.page.setPlainText(sentence)


def show(lane: Lane, parent: QWidget) -> None:
    """Bring the page up beside the window, which stays usable."""
    dialog = parent.findChild(Demonstrations) or Demonstrations(lane, parent)
    dialog.show()
    dialog.raise_()


def _compute(token: Token) -> list[Demonstration]:
    shown = []
    for i, recipe in enumerate(RECIPES.values()):
        token.check(i / len(RECIPES))
        shown.append(recipe())
    return shown


def _html(shown: Demonstration) -> str:
    title, code, lesson = map(escape, (shown.title, shown.code, shown.lesson))
    return f"<h3>{title}</h3><p><code>{code}</code></p>{''.join(map(_table, shown.tables))}<p>→ {lesson}</p>"


def _table(table: Table) -> str:
    aligned = ["right" if column.spec else "left" for column in table.columns]
    cells = [[column.title for column in table.columns], *table.cells()]
    bold = (0, len(table.rows)) if table.total else (0,)
    rows = [_row("th" if i in bold else "td", row, aligned) for i, row in enumerate(cells)]
    caption = f"<p>{escape(table.caption)}</p>" if table.caption else ""
    return f"{caption}<table cellspacing='0'>{''.join(rows)}</table>"


def _row(tag: str, cells: Sequence[str], aligned: Sequence[str]) -> str:
    both = zip(cells, aligned, strict=True)
    inner = [f'<{tag} align="{align}">{escape(cell)}</{tag}>' for cell, align in both]
    return f"<tr>{''.join(inner)}</tr>"
