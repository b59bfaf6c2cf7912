"""The public names, and that they are the ones that type checkers see."""

import ast
from pathlib import Path

import numpy as np
import pytest

import qinspect


def test_every_public_name_can_be_had_and_no_other_is_lazy():
    for name in qinspect.__all__:
        assert getattr(qinspect, name) is not None
    assert set(qinspect.__all__) <= set(dir(qinspect))
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = qinspect.nothing_of_this_name


def test_type_checkers_see_exactly_the_public_names():
    tree = ast.parse(Path(qinspect.__file__).read_text(encoding="utf-8"))
    (guarded,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    seen = [alias.asname or alias.name for n in guarded.body for alias in n.names]
    seen += [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    assert sorted(seen) == qinspect.__all__


def test_a_scheme_is_made_measured_and_decoded_through_public_names_alone():
    w = np.linspace(-1, 1, 11, dtype=np.float32)[None]
    scheme = qinspect.make_scheme("base11", group_size=128)
    assert isinstance(scheme, qinspect.schemes()["base11"])
    # Eleven even weights are the eleven levels: the error is only that of fp32 arithmetic.
    assert qinspect.measure(w, scheme).max_error < 1e-6
    np.testing.assert_allclose(scheme.dequantize(scheme.quantize(w)), w, atol=1e-6)


def test_unknown_scheme_is_refused_with_the_names_that_exist():
    with pytest.raises(qinspect.SchemeError, match="base11"):
        qinspect.make_scheme("base12")
