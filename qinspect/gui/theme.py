"""Colours and type of the window, dark and light. Widgets ask for roles, never for colours of their own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from string import Template

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication

from qinspect.assets import resource

FAMILY = "Source Sans 3"


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
    other: str
    level: str
    good: str
    warning: str
    bad: str
    unused: str


DARK = Theme(
    name="dark",
    window="#14171c", panel="#1a1e25", raised="#232932", line="#2f3641", text="#e4e8ee", muted="#98a3b3",
    accent="#5b9df0", on_accent="#0c1118", selection="#25405e", plot="#14171c", grid="#262c36",
    weights="#5b9df0", decoded="#f2a65a", error="#e86a8a", other="#4fc3b0", level="#7d8899",
    good="#5fbf8a", warning="#e9b44c", bad="#ef6f6c", unused="#4a5361",
)  # fmt: skip

LIGHT = Theme(
    name="light",
    window="#eef0f3", panel="#f8f9fb", raised="#ffffff", line="#d3d8e0", text="#1b222c", muted="#5b6676",
    accent="#2467c4", on_accent="#ffffff", selection="#cfe0f7", plot="#ffffff", grid="#e6e9ee",
    weights="#3c7bd0", decoded="#c8620a", error="#c22f58", other="#0b8276", level="#7f8896",
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
    style = _style(theme)
    if style != app.styleSheet():  # to set it polishes every widget anew
        app.setStyleSheet(style)


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
    images = {name: resource(f"icons/{name}-{theme.name}.svg").as_posix() for name in ("chevron", "caret", "check")}
    sheet = Template(resource("themes/window.qss").read_text(encoding="utf-8"))
    return sheet.substitute(asdict(theme), **images)
