"""Numbers as the window writes them."""

from __future__ import annotations

import pytest

from qinspect.gui import format as fmt


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0"), (0.0085, "0.00850"), (-0.25, "−0.250"), (3.14159, "3.14"), (1234.5, "1234"), (1.234e-5, "1.23e−5")],
)
def test_magnitudes_have_three_digits_wherever_they_stand(value, written):
    assert fmt.magnitude(value) == written
