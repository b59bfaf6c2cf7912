"""Colours and type of the window, dark and light. Widgets ask for roles, never for colours of their own."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication

from qinspect.assets import resource

FAMILY = "Source Sans 3"
MONOSPACED = "JetBrains Mono"


@dataclass(frozen=True)
class Theme:
    """Colours by role, as #rrggbb."""

    name: str
    window: str
    panel: str
    raised: str
    line: str
    text: str
    muted: str
    accent: str
    on_accent: str
    selection: str
    plot: str
    grid: str
    weights: str
    decoded: str
    error: str
    level: str
    good: str
    warning: str
    bad: str
    unused: str


DARK = Theme(
    name="dark",
    window="#14171c", panel="#1a1e25", raised="#232932", line="#2f3641", text="#e4e8ee", muted="#98a3b3",
    accent="#5b9df0", on_accent="#0c1118", selection="#25405e", plot="#14171c", grid="#262c36",
    weights="#5b9df0", decoded="#f2a65a", error="#e86a8a", level="#7d8899",
    good="#5fbf8a", warning="#e9b44c", bad="#ef6f6c", unused="#4a5361",
)  # fmt: skip

LIGHT = Theme(
    name="light",
    window="#eef0f3", panel="#f8f9fb", raised="#ffffff", line="#d3d8e0", text="#1b222c", muted="#5b6676",
    accent="#2467c4", on_accent="#ffffff", selection="#cfe0f7", plot="#ffffff", grid="#e6e9ee",
    weights="#3c7bd0", decoded="#c8620a", error="#c22f58", level="#7f8896",
    good="#1e8a55", warning="#a66d00", bad="#c53a36", unused="#b7bfca",
)  # fmt: skip

THEMES = {theme.name: theme for theme in (DARK, LIGHT)}


def load_fonts(app: QApplication) -> None:
    """Use the shipped fonts, so that every machine shows the same glyphs and none shows boxes."""
    for path in sorted(resource("fonts").glob("*.ttf")):
        QFontDatabase.addApplicationFont(str(path))
    app.setFont(_font(FAMILY, 10.0))


def _font(family: str, size_pt: float) -> QFont:
    font = QFont(family)
    font.setPointSizeF(size_pt)
    font.setFeature(QFont.Tag("tnum"), 1)  # figures of one width: nothing jumps when values change
    return font


def system_theme() -> Theme:
    """Dark or light as the desktop says; dark where it says nothing."""
    scheme = QApplication.styleHints().colorScheme()
    return LIGHT if scheme == Qt.ColorScheme.Light else DARK


def apply(app: QApplication, theme: Theme) -> None:
    """Give the whole application this theme's palette and style sheet."""
    app.setPalette(_palette(theme))
    app.setStyleSheet(_style(theme))


def monospaced(size_pt: float = 9.0) -> QFont:
    """A font for columns of digits."""
    return _font(MONOSPACED, size_pt)


def _palette(theme: Theme) -> QPalette:
    palette = QPalette()
    role = QPalette.ColorRole
    colours = {
        role.Window: theme.window, role.WindowText: theme.text,
        role.Base: theme.panel, role.AlternateBase: theme.raised,
        role.Text: theme.text, role.Button: theme.raised, role.ButtonText: theme.text, role.BrightText: theme.bad,
        role.ToolTipBase: theme.raised, role.ToolTipText: theme.text, role.PlaceholderText: theme.muted,
        role.Highlight: theme.selection, role.HighlightedText: theme.text, role.Link: theme.accent,
        role.Light: theme.raised, role.Midlight: theme.raised, role.Mid: theme.line, role.Dark: theme.line,
        role.Shadow: theme.window,
    }  # fmt: skip
    for which, colour in colours.items():
        palette.setColor(which, QColor(colour))
    for which in (role.Text, role.WindowText, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, which, QColor(theme.unused))
    return palette


def _style(theme: Theme) -> str:
    """What a palette can't say: borders, spacing and rounded corners."""
    t = theme
    chevron = resource(f"icons/chevron-{theme.name}.svg").as_posix()
    caret = resource(f"icons/caret-{theme.name}.svg").as_posix()
    return f"""
    QMainWindow, QMenuBar, QStatusBar {{ background: {t.window}; }}
    QMenuBar::item:selected, QMenu::item:selected {{ background: {t.accent}; color: {t.on_accent}; }}
    QMenu {{ background: {t.raised}; border: 1px solid {t.line}; padding: 4px; }}
    QMenu::item {{ padding: 4px 22px; border-radius: 4px; }}
    QMenu::separator {{ height: 1px; background: {t.line}; margin: 4px 8px; }}
    QToolTip {{ background: {t.raised}; color: {t.text}; border: 1px solid {t.line}; padding: 4px; }}
    QFrame#card {{ background: {t.panel}; border: 1px solid {t.line}; border-radius: 8px; }}
    QFrame#rule {{ background: {t.line}; border: 0; }}
    QTabWidget::pane {{ border: 0; }}
    QLabel#title {{ font-weight: 600; }}
    QLabel#muted {{ color: {t.muted}; }}
    QLineEdit, QComboBox, QSpinBox, QAbstractSpinBox {{
        background: {t.raised}; border: 1px solid {t.line}; border-radius: 5px; padding: 3px 6px; min-height: 18px; }}
    QLineEdit:focus, QComboBox:focus, QAbstractSpinBox:focus {{ border-color: {t.accent}; }}
    QComboBox QAbstractItemView {{ background: {t.raised}; border: 1px solid {t.line}; outline: 0; }}
    QComboBox::drop-down {{ border: 0; width: 20px; }}
    QComboBox::down-arrow {{ image: url("{chevron}"); width: 14px; height: 14px; }}
    QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {{ width: 0; border: 0; }}
    QAbstractSpinBox QLineEdit {{ border: 0; padding: 0; background: transparent; min-height: 0; }}
    QPushButton {{ background: {t.raised}; border: 1px solid {t.line}; border-radius: 5px; padding: 5px 12px; }}
    QPushButton:hover, QPushButton:focus {{ border-color: {t.accent}; }}
    QPushButton:disabled {{ color: {t.unused}; }}
    QPushButton#primary {{ background: {t.accent}; color: {t.on_accent}; border-color: {t.accent}; font-weight: 600; }}
    QPushButton#primary:focus {{ border-color: {t.text}; }}
    QPushButton#primary:disabled {{ background: {t.raised}; color: {t.unused}; border-color: {t.line}; }}
    QToolButton {{ border: 1px solid transparent; border-radius: 5px; padding: 2px 6px; }}
    QToolButton:hover {{ border-color: {t.line}; background: {t.raised}; }}
    QToolButton:focus {{ border-color: {t.accent}; }}
    QToolButton:checked {{ background: {t.raised}; border-color: {t.accent}; }}
    QTableView, QTreeView {{ background: {t.panel}; border: 1px solid transparent; gridline-color: transparent;
        selection-background-color: {t.selection}; selection-color: {t.text}; outline: 0; }}
    QTableView:focus {{ border-color: {t.selection}; }}
    QTableView::item {{ padding: 0 4px; border: 0; }}
    QTableView::item:selected {{ background: {t.selection}; color: {t.text}; }}
    QHeaderView::section {{ background: {t.panel}; color: {t.muted}; border: 0; border-bottom: 1px solid {t.line};
        padding: 4px 6px; }}
    QHeaderView::up-arrow, QHeaderView::down-arrow {{ subcontrol-origin: padding; subcontrol-position: center left;
        width: 12px; height: 12px; image: url("{chevron}"); }}
    QHeaderView::up-arrow {{ image: url("{caret}"); }}
    QSplitter::handle {{ background: transparent; }}
    QProgressBar {{ border: 1px solid {t.line}; border-radius: 4px; background: {t.panel}; text-align: center;
        max-height: 14px; }}
    QProgressBar::chunk {{ background: {t.accent}; border-radius: 3px; }}
    QAbstractScrollArea::corner {{ background: transparent; border: 0; }}
    QScrollBar:vertical {{ background: transparent; width: 10px; margin: 0; }}
    QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 0; }}
    QScrollBar::handle {{ background: {t.line}; border-radius: 4px; min-height: 24px; min-width: 24px; margin: 1px; }}
    QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {{
        background: transparent; border: 0; height: 0; width: 0; }}
    QSplitter::handle:hover {{ background: {t.line}; }}
    QTabBar {{ background: transparent; }}
    QTabBar::tab {{ background: transparent; color: {t.muted}; padding: 6px 14px; border: 0;
        border-bottom: 2px solid transparent; font-weight: 600; }}
    QTabBar::tab:selected {{ color: {t.text}; border-bottom-color: {t.accent}; }}
    QTabBar::tab:selected:focus {{ color: {t.accent}; }}
    QTabBar::tab:hover {{ color: {t.text}; }}
    QScrollArea {{ border: 0; background: transparent; }}
    QScrollArea > QWidget > QWidget {{ background: transparent; }}
    QSlider::groove:horizontal {{ height: 4px; border-radius: 2px; background: {t.line}; }}
    QSlider::sub-page:horizontal {{ height: 4px; border-radius: 2px; background: {t.accent}; }}
    QSlider::sub-page:horizontal:disabled {{ background: {t.line}; }}
    QSlider::handle:horizontal {{ width: 14px; height: 14px; margin: -5px 0; border-radius: 7px;
        background: {t.text}; }}
    QSlider::handle:horizontal:disabled {{ background: {t.unused}; }}
    QSlider::handle:horizontal:focus {{ background: {t.accent}; }}
    """
