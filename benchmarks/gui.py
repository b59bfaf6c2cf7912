"""How fast the window answers: the real one, driven offscreen, with layers of 4096 × 14336 weights.

`make bench-gui` puts its table into `docs/benchmarks.md`, in less than two minutes. A change is a step of the slider
that a person drags. It is painted when every view that shows it has been painted. A stall is how late a timer of 4 ms
ticks. What the window's own thread takes of the processor is told as well: it depends least on what else
runs on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtCore import QElapsedTimer, QEvent, QEventLoop, QObject, QSettings, Qt, QTimer
from PySide6.QtWidgets import QApplication
from safetensors.numpy import save_file

from benchmarks.page import Both, processor, write
from qinspect.gui import app as gui_app
from qinspect.gui import layer_rows as columns
from qinspect.gui.main_window import MainWindow

SHAPE = (4096, 14336)
LAYERS = ("first.weight", "second.weight")
MANY = 2000
MOVES, MOVE_MS = 60, 16
TICK_MS = 4
PARTS = ("drag", "exact", "layer", "many", "start")

BARE = "import numpy, PySide6.QtWidgets, pyqtgraph"
PAINTED = """
import os, sys, tempfile
from pathlib import Path
from PySide6.QtCore import QEvent, QObject, QSettings, Qt, QTimer, Signal
from qinspect.gui.app import application
from qinspect.gui.main_window import MainWindow
class Watch(QObject):
    painted = Signal()
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint:
            self.painted.emit()
        return False
app = application()
window = MainWindow(QSettings(str(Path(tempfile.mkdtemp()) / "window.ini"), QSettings.Format.IniFormat))
watch = Watch()
watch.painted.connect(lambda: os._exit(0), Qt.ConnectionType.QueuedConnection)  # once it is painted, not before
until = sys.argv[1]
if until == "window":
    window.installEventFilter(watch)
else:
    made = QTimer(interval=1)
    made.timeout.connect(lambda: os._exit(0) if window.frames else None)
    made.start()
window.show()
app.exec()
"""


class Painted(QObject):
    """Counts what is painted of some widgets."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: set[object] = set()

    def expect(self, widgets: list[object]) -> None:
        """From now on, wait for these."""
        self.waiting = set(widgets)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Cross off what is painted."""
        if event.type() == QEvent.Type.Paint:
            self.waiting.discard(watched)
        return False


class Driver:
    """The window with a file open, and a hand on its sliders."""

    def __init__(self, path: Path) -> None:
        self.app = gui_app.application()
        folder = tempfile.mkdtemp()
        self.window = MainWindow(QSettings(str(Path(folder) / "window.ini"), QSettings.Format.IniFormat))
        self.window.resize(1600, 1000)
        self.window.show()
        self.window.build_views()
        self.window.controller.warm_up()
        self.window.open(path)
        gui_app.settle(self.window)
        self.painted = Painted()
        for view in self._canvases():
            view.installEventFilter(self.painted)

    def _canvases(self) -> list[QObject]:
        """What the visible views are painted on."""
        frames = [frame for frame in self.window.grid.frames if frame.isVisible()]
        return [plot.viewport() for frame in frames for plot in frame.view.plots if plot.isVisible()]

    def until_painted(self, shown: Callable[[], bool], limit_s: float = 30.0) -> float:
        """Milliseconds until `shown` holds and all canvases have been painted since."""
        start = time.perf_counter()
        expected = False
        while time.perf_counter() - start < limit_s:
            self.app.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 5)
            if not expected and shown():
                self.painted.expect(self._canvases())
                expected = True
                self._repaint_expected()
            if expected and not self.painted.waiting:
                return 1000 * (time.perf_counter() - start)
        raise SystemExit("the window has not painted in time")

    def _repaint_expected(self) -> None:
        """A canvas that the new figures leave as it is counts as painted, at the price of painting it."""
        for canvas in list(self.painted.waiting):
            canvas.update()

    def close(self) -> None:
        """End all work."""
        self.window.close()
        self.window.deleteLater()
        self.app.processEvents()


def drag(driver: Driver) -> tuple[list[float], list[float], int]:
    """Move the slider of the group size 60 times in a second: latencies, stalls (ms), and how many changes are seen."""
    window = driver.window
    slider = window.form.editor("group_size").slider
    slider.setValue(0)
    gui_app.settle(window)
    changed: dict[object, float] = {}
    latencies: list[float] = []
    shown: list[object] = []
    stalls: list[float] = []
    clock = QElapsedTimer()
    moves = iter(_back_and_forth(slider.maximum(), MOVES))
    loop = QEventLoop()

    def move() -> None:
        value = next(moves, None)
        if value is None:
            mover.stop()
            QTimer.singleShot(400, loop.quit)
            return
        slider.setValue(value)
        changed[window.controller.scheme] = time.perf_counter()

    def tick() -> None:
        stalls.append(max(0.0, clock.nsecsElapsed() / 1e6 - TICK_MS))
        clock.start()

    def seen(inspection: object) -> None:
        if inspection.part < 1 and inspection.scheme in changed:
            driver.painted.expect(driver._canvases())
            shown.append(inspection.scheme)

    class Finish(QObject):
        """After the canvases have been painted."""

        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() == QEvent.Type.UpdateRequest:
                QTimer.singleShot(0, mark)
            return False

    def mark() -> None:
        if shown and not driver.painted.waiting:
            scheme = shown[-1]
            shown.clear()
            latencies.append(1000 * (time.perf_counter() - changed[scheme]))

    finish = Finish()
    window.installEventFilter(finish)
    window.controller.inspected.connect(seen)
    mover, ticker = QTimer(), QTimer()
    for timer, interval, slot in ((mover, MOVE_MS, move), (ticker, TICK_MS, tick)):
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.setInterval(interval)
        timer.timeout.connect(slot)
    clock.start()
    ticker.start()
    mover.start()
    loop.exec()
    ticker.stop()
    window.removeEventFilter(finish)
    window.controller.inspected.disconnect(seen)
    gui_app.settle(window)
    return latencies, stalls, len(latencies)


def _back_and_forth(top: int, count: int) -> Iterator[int]:
    for number in range(1, count + 1):
        at = number % (2 * max(1, top))
        yield at if at <= top else 2 * top - at


def exact(driver: Driver, rounds: int) -> list[float]:
    """Milliseconds from a change to figures of all rows, painted."""
    window, found = driver.window, []
    slider = window.form.editor("group_size").slider
    last: list[object] = []
    window.controller.inspected.connect(lambda inspection: last.append(inspection))
    for number in range(rounds):
        last.clear()
        slider.setValue(1 + number % max(1, slider.maximum()))
        scheme = window.controller.scheme

        def done(scheme: object = scheme) -> bool:
            return bool(last) and last[-1].part == 1 and last[-1].scheme == scheme

        found.append(driver.until_painted(done))
        gui_app.settle(window)
    return found


def other_layer(driver: Driver, rounds: int) -> list[float]:
    """Milliseconds from a click on another layer until it is painted."""
    window, found = driver.window, []
    last: list[object] = []
    window.controller.inspected.connect(lambda inspection: last.append(inspection))
    for number in range(rounds):
        last.clear()
        name = LAYERS[number % 2] if window.controller.info.name != LAYERS[number % 2] else LAYERS[1 - number % 2]
        window.table.select(name)

        def done(name: str = name) -> bool:
            return bool(last) and last[-1].info.name == name

        found.append(driver.until_painted(done))
        gui_app.settle(window)
    return found


def cost(driver: Driver, rounds: int) -> list[float]:
    """Milliseconds of the processor that the window's thread takes to draw and paint a preview of all views."""
    window, kept = driver.window, []
    window.controller.inspected.connect(kept.append)
    drag(driver)
    window.controller.inspected.disconnect(kept.append)
    previews = [inspection for inspection in kept if inspection.part < 1]
    found = []
    for number in range(rounds):
        begin = time.thread_time()
        window.controller.inspected.emit(previews[number % len(previews)])
        driver.app.processEvents()
        found.append(1000 * (time.thread_time() - begin))
    gui_app.settle(window)
    return found


def start(rounds: int) -> dict[str, float]:
    """Seconds from starting Python, medians: bare imports, first paint of the window, views made."""
    runs = {"imports": [BARE], "window": [PAINTED, "window"], "views": [PAINTED, "views"]}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, arguments in runs.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", *arguments], check=True)
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def many(folder: Path) -> dict[str, list[float]]:
    """Milliseconds a step of sorting, filtering and scrolling 2,000 tensors takes, with its repaint."""
    path = folder / "many.safetensors"
    rng = np.random.default_rng(0)
    arrays = {
        f"blocks.{n // 8}.{part}.weight": rng.standard_normal((32, 64)).astype(np.float32)
        for n in range(0, MANY, 8)
        for part in ("q", "k", "v", "o", "gate", "up", "down", "norm")
    }
    save_file(arrays, path)
    driver = Driver(path)
    view, table = driver.window.table.view, driver.window.table

    def timed(work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        work()
        view.viewport().repaint()
        return 1000 * (time.perf_counter() - begin)

    orders = [Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder]
    sorts = [
        timed(lambda c=column, o=order: view.sortByColumn(c, o))
        for column in (columns.SQNR, columns.NAME, columns.SIZE, columns.MAX_ERROR)
        for order in orders
    ]
    filters = [timed(lambda t=text: table.filter.setText(t)) for text in ("b", "bl", "1", "1.*q", "gate", "")]
    bar = view.verticalScrollBar()
    scrolls = [
        timed(lambda v=value: bar.setValue(v)) for value in range(0, bar.maximum(), max(1, bar.maximum() // 100))
    ]
    folds = [timed(table.group.toggle) for _ in range(4)]
    driver.close()
    return {"sort": sorts, "filter": filters, "scroll a page": scrolls, "blocks on and off": folds}


def row(what: str, values: list[float], bound: str = "") -> None:
    """One line of the table."""
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    print(f"| {what} | {p50:.0f} | {p95:.0f} | {p99:.0f} | {max(values):.0f} | {len(values)} | {bound} |", flush=True)


def write_layers(path: Path) -> None:
    """A checkpoint of two large layers."""
    rng = np.random.default_rng(1)
    save_file({name: rng.standard_normal(SHAPE, dtype=np.float32) for name in LAYERS}, path)


def measure(wanted: set[str], rounds: int, folder: Path) -> None:
    """Print the table."""
    print("| | p50 | p95 | p99 | most | of | bound |\n|---|---|---|---|---|---|---|")
    if wanted & {"drag", "exact", "layer"}:
        write_layers(folder / "large.safetensors")
        driver = Driver(folder / "large.safetensors")
        if "drag" in wanted:
            drags = [drag(driver) for _ in range(4)][1:]
            row("preview painted after a change, in a drag", [each for d in drags for each in d[0]], "p95 ≤ 50")
            row("stall of the window in a drag", [each for d in drags for each in d[1]], "p99 < 33")
            print(f"| changes seen of {MOVES} in a drag | {statistics.median(d[2] for d in drags):.0f} | | | | | |")
            row("a preview drawn and painted, of the processor", cost(driver, 3 * rounds))
        if "exact" in wanted:
            row("exact figures painted after a change", exact(driver, rounds), "1000")
        if "layer" in wanted:
            row("another layer painted", other_layer(driver, rounds), "p95 < 100")
        driver.close()
    if "many" in wanted:
        for what, values in many(folder).items():
            row(f"{MANY:,} tensors: {what}", values)
    if "start" in wanted:
        found = start(5)
        print(
            f"\nCold start, s: imports {found['imports']:.2f}, window painted {found['window']:.2f} "
            f"({found['window'] / found['imports']:.2f} ×), views made {found['views']:.2f} "
            f"({found['views'] / found['imports']:.2f} ×); at most 1.5 ×."
        )
    QApplication.processEvents()


def main() -> None:
    """Measure all and write the page, or print a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="how often what is not a drag is done")
    parser.add_argument("--only", nargs="*", choices=PARTS, help="print these alone, and write nothing")
    args = parser.parse_args()
    with contextlib.redirect_stdout(Both()) as told, tempfile.TemporaryDirectory() as name:
        print(f"{processor()}, {os.cpu_count()} cores, layers of {SHAPE[0]} × {SHAPE[1]}, ms\n")
        measure(set(args.only or PARTS), args.rounds, Path(name))
    if not args.only:
        write(told.getvalue(), "bench-gui")


if __name__ == "__main__":
    main()
