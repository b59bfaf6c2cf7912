"""What all views of a layer share: the place under the cursor, the selection, the part in view."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal


@dataclass(frozen=True)
class Spot:
    """A place in a layer, as far as it is known: a row and some columns, a code, a value.

    Rows and columns are those of the whole layer as a matrix. `units` is a value between the levels, in codes; `steps`
    is an error in steps, with its sign.
    """

    row: int | None = None
    cols: tuple[int, int] | None = None
    """First and last (exclusive): one weight, or those of a group."""
    code: int | None = None
    value: float | None = None
    units: float | None = None
    error: float | None = None
    steps: float | None = None


@dataclass(frozen=True)
class Extent:
    """A part of a layer: rows and columns from … to, where each is centred on its number. None is not for zooming."""

    rows: tuple[float, float] | None = None
    cols: tuple[float, float] | None = None


class Linked(QObject):
    """Views tell what a person does in them, and follow what is done in others; each signal names who began."""

    pointed = Signal(object, object)  # Spot | None, the view
    pinned = Signal(object)  # Spot
    zoomed = Signal(object, object)  # Extent, the view
    opened = Signal(str)  # the name of a view that is to come to the front

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.pin: Spot | None = None

    @property
    def row(self) -> int | None:
        """The selected row."""
        return None if self.pin is None else self.pin.row

    def point(self, spot: Spot | None, view: object) -> None:
        """The cursor is over a place."""
        self.pointed.emit(spot, view)

    def select(self, spot: Spot | None) -> None:
        """A place has been chosen to look at more closely; None forgets it."""
        if spot is None or spot.row is not None:
            self.pin = spot
            self.pinned.emit(spot)

    def zoom(self, extent: Extent, view: object) -> None:
        """Another part of the layer is in view."""
        self.zoomed.emit(extent, view)

    def open(self, name: str) -> None:
        """Bring a view to the front."""
        self.opened.emit(name)
