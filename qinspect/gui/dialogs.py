"""What the window asks in dialogs: which file to open, where to save, and what this program is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

if TYPE_CHECKING:
    from qinspect.gui.main_window import MainWindow


def checkpoint_path(parent: QWidget, title: str) -> str:
    """Ask for a checkpoint; empty where none was chosen."""
    from qinspect.formats.checkpoint import registry

    suffixes = sorted({f"*{suffix}" for reader in registry for suffix in reader.suffixes})
    path, _ = QFileDialog.getOpenFileName(parent, title, "", f"Checkpoints ({' '.join(suffixes)});;All files (*)")
    return path


def open_other(window: MainWindow) -> None:
    """Ask for a checkpoint or a recipe, and compare the open file with it."""
    from qinspect.formats.checkpoint import registry

    suffixes = sorted({f"*{suffix}" for reader in registry for suffix in reader.suffixes})
    kinds = f"Checkpoints and recipes ({' '.join(suffixes)} *.json);;All files (*)"
    path, _ = QFileDialog.getOpenFileName(window, "Compare with", "", kinds)
    if path:
        window.controller.comparing.open(path)


def save_picture(window: MainWindow) -> None:
    """Ask where to, and save what the window shows."""
    path, _ = QFileDialog.getSaveFileName(window, "Save a picture of the window", "qinspect.png", "*.png")
    if path and not window.grab().save(path):
        window.show_error(f"{path}: the picture could not be written; choose another folder")


def save_table(window: MainWindow) -> None:
    """Ask where to, and write the table of layers for a spreadsheet."""
    path, _ = QFileDialog.getSaveFileName(window, "Save the table of layers", "layers.csv", "*.csv")
    if path:
        try:
            Path(path).write_text(window.table.csv(), encoding="utf-8")
        except OSError as error:
            window.show_error(f"{path}: the table could not be written: {error.strerror}; choose another folder")


def show_about(parent: QWidget) -> None:
    """Say what this program is."""
    from qinspect import __version__

    QMessageBox.about(
        parent,
        "About qinspect",
        f"<b>qinspect {__version__}</b><p>Shows what quantization does to every layer of a network, "
        "and exports the packed model a device runs.</p><p>MIT licence.</p>",
    )
