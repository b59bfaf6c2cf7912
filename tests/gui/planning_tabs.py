"""What tests of the sweep, the budget and the layers share: a file with two blocks, and hands for the tabs."""

import numpy as np
from driving import hover, pixel_of, send
from PySide6.QtCore import QEvent, Qt
from safetensors.numpy import save_file

from qinspect.quant.scheme import make_scheme

BASE11 = make_scheme("base11")


def write_model(path, *, big=False, bad=False):
    """q, k and a wide layer in two blocks, a head with rows of 100, a vector, a counter, an empty tensor."""
    rng = np.random.default_rng(5)
    tensors = {}
    for block in (0, 1):
        for part, shape in (("q_proj", (32, 128)), ("k_proj", (16, 128)), ("mlp", (64, 128))):
            x = rng.normal(0, 0.05, shape)
            tensors[f"h.{block}.{part}.weight"] = x**3 * 50 if part == "mlp" and block else x
    tensors["head.weight"] = rng.normal(0, 0.2, (20, 100))
    tensors["norm.weight"] = rng.normal(1, 0.1, 128)
    if big:
        tensors["big.weight"] = rng.normal(0, 1, (3072, 512))
    if bad:
        tensors["bad.weight"] = np.full((8, 8), np.nan)
    found = {name: x.astype(np.float32) for name, x in tensors.items()}
    save_file(found | {"steps": np.array([3]), "empty.weight": np.zeros((0, 4), np.float32)}, path)
    return found


LAYERS = ["head.weight", *(f"h.{block}.{part}.weight" for block in (0, 1) for part in ("k_proj", "mlp", "q_proj"))]


def frame_of(window, name):
    return next(frame for frame in window.frames if frame.view.name == name)


def go_to(window, name):
    """The view of this name, on the tab that comes to the front."""
    window.tabs.setCurrentWidget(frame_of(window, name))
    return frame_of(window, name).view


def colours(widget):
    """Those of some pixels."""
    image = widget.grab().toImage()
    places = ((x, y) for x in range(0, image.width(), 5) for y in range(0, image.height(), 5))
    return {image.pixelColor(*place).name() for place in places}


def choose_grid(view, qtbot, schemes, sizes="", bits=""):
    """Type group sizes and bits, and check just these schemes in the menu; last, so that nothing else is measured."""
    entries = {action.text(): action for action in view.bar.menu.actions()}
    entries["None"].trigger()
    for edit, text in ((view.bar.sizes, sizes), (view.bar.bits, bits)):
        edit.setFocus()
        edit.selectAll()
        qtbot.keyClick(edit, Qt.Key.Key_Delete)
        qtbot.keyClicks(edit, text)
        qtbot.keyClick(edit, Qt.Key.Key_Return)
    for action in entries.values():
        if action.isCheckable() and action.data() in schemes:
            action.trigger()


def click(plot, at):
    """Press and release without moving."""
    left = Qt.MouseButton.LeftButton
    hover(plot, at)
    send(plot, QEvent.Type.MouseButtonPress, at, left, left)
    send(plot, QEvent.Type.MouseButtonRelease, at, left)


def place_of(plot, number):
    """The pixel of the point of this number."""
    return pixel_of(plot, *plot._xy[number])
