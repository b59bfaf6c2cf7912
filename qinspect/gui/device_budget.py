"""What a device has room for, and how much of it an export takes."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QWidget

from qinspect import figures as fmt
from qinspect.targets.target import Plan


@dataclass(frozen=True)
class DeviceBudget:
    """Bytes of flash and of RAM, bits a weight; None is no limit. `written` are the sizes in a person's own words."""

    flash: int | None = None
    ram: int | None = None
    bpw: float | None = None
    written: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Use:
    """A share of a limit, and what to say of it; `over` by how much in words, empty where it fits."""

    share: float
    text: str
    over: str = ""


def uses(plan: Plan, budget: DeviceBudget) -> tuple[Use, Use, Use]:
    """Flash, RAM and bits a weight; without words where nothing is limited. Flash without a limit is held to FP32."""
    flash, ram = budget.written
    return _flash(plan, budget.flash, flash), _ram(plan, budget.ram, ram), _bits(plan, budget.bpw)


def _flash(plan: Plan, limit: int | None, written: str) -> Use:
    used = plan.budgeted_nbytes
    if limit is not None:
        return _of("flash", used, limit, written)
    whole = max(1, plan.fp32_nbytes)
    return Use(min(1.0, used / whole), f"{fmt.nbytes(used)}, {100 * used / whole:.1f} % of FP32")


def _ram(plan: Plan, limit: int | None, written: str) -> Use:
    if limit is None:
        return Use(0, "")
    if plan.needs is None:
        return Use(0, "RAM is known of exported C alone")
    return _of("RAM", plan.needs.ram, limit, written)


def _of(what: str, used: int, limit: int, written: str) -> Use:
    """A limit in binary units is told as it was written, beside what it is in those of all other sizes here."""
    over = f"{fmt.nbytes(used - limit)} too much for the {what}" if used > limit else ""
    whole = fmt.nbytes(limit) + (f" ({written.strip()})" if "i" in written.lower() else "")
    return Use(used / max(1, limit), f"{fmt.nbytes(used)} of {whole} {what}", over)


def _bits(plan: Plan, limit: float | None) -> Use:
    if limit is None or plan.bpw is None:
        return Use(0, "")
    over = f"{plan.bpw - limit:.2f} bits a weight too many" if plan.bpw > limit else ""
    return Use(plan.bpw / limit, f"{plan.bpw:.2f} of {limit:.2f} bits a weight", over)


class BudgetFields(QWidget):
    """Three fields to write limits in; `changed` tells of every change."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.flash, self.ram, self.bpw = (QLineEdit(self) for _ in range(3))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        label = QLabel("Fits", self)
        label.setObjectName("muted")
        row.addWidget(label)
        said = {
            self.flash: (
                "flash",
                "Flash of the device, such as 256 kB, 1 MB or 512 KiB",
            ),
            self.ram: ("RAM", "RAM of the device, such as 64 kB"),
            self.bpw: ("bits/weight", "Bits a weight at most, scales and padding included, such as 4.5"),
        }
        for field, (name, tip) in said.items():
            field.setPlaceholderText(name)
            field.setToolTip(tip)
            field.setAccessibleName(f"Limit of {name}")
            field.setClearButtonEnabled(False)
            field.textChanged.connect(lambda _: self._on_text())
            row.addWidget(field, 1)
        self.setFocusProxy(self.flash)

    @property
    def budget(self) -> DeviceBudget:
        """What is written in the fields, as far as it can be read."""
        flash, ram = self.flash.text(), self.ram.text()
        return DeviceBudget(fmt.read_nbytes(flash), fmt.read_nbytes(ram), self._bits(), (flash, ram))

    def _bits(self) -> float | None:
        try:
            found = float(self.bpw.text().replace(",", "."))
        except ValueError:
            return None
        return found if 0 < found <= 64 else None

    @property
    def problem(self) -> str:
        """What cannot be read; empty if all can."""
        read = {self.flash: self.budget.flash, self.ram: self.budget.ram, self.bpw: self.budget.bpw}
        wrong = [field for field, value in read.items() if field.text().strip() and value is None]
        hints = {self.bpw: "4.5"}
        return " ".join(f"{field.text()!r} is no limit; write it like {hints.get(field, '256 kB')}." for field in wrong)

    def _on_text(self) -> None:
        self.changed.emit()
