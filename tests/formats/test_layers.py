"""Packed layers of other programs against what those decode them to, on files that they wrote (tests/fixtures)."""

from pathlib import Path

import numpy as np
import pytest

from qinspect.formats.open import open_checkpoint

DATA = Path(__file__).parents[1] / "data" / "packed"
FIXTURES = sorted(folder.name for folder in DATA.iterdir())


def expected(name):
    with np.load(DATA / name / "expected.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", FIXTURES)
class TestFixtures:
    @pytest.fixture
    def checkpoint(self, name):
        with open_checkpoint(DATA / name) as opened:
            yield opened

    def test_every_layer_is_found_and_decodes_to_the_same_weights(self, name, checkpoint):
        weights = expected(name)
        packed = {info.name: info for info in checkpoint.infos if info.qtype}
        assert set(packed) == set(weights)
        for layer, known in weights.items():
            held = checkpoint.load(layer)
            assert packed[layer].shape == held.shape == known.shape
            np.testing.assert_array_equal(held.scheme.dequantize(held), known, err_msg=layer)

    def test_any_rows(self, name, checkpoint):
        for layer, known in expected(name).items():
            for rows in (slice(0, 1), slice(1, 4), slice(3, None), slice(2, 2)):
                part = checkpoint.load(layer, rows)
                np.testing.assert_array_equal(part.scheme.dequantize(part), known[rows], err_msg=layer)
