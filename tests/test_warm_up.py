"""Kernels are compiled once for a version, and again for the next one."""

from __future__ import annotations

import time

import pytest

from qinspect import warm_up
from qinspect.quant import compiled
from qinspect.quant.scheme import make_scheme
from qinspect.task import Cancelled, Token


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "folder", lambda: tmp_path)
    return tmp_path


def test_kernels_are_compiled_once_for_a_version(cache, monkeypatch, capsys):
    (cache / "old.nbi").touch()
    (cache / "old.nbc").touch()
    made = []
    monkeypatch.setattr(warm_up, "warm_up", lambda **how: made.append(how))
    assert not warm_up.ready()
    warm_up.main()
    assert warm_up.ready()
    assert [path.name for path in cache.iterdir()] == ["qinspect-kernels"]
    assert "Kernels are ready" in capsys.readouterr().out
    (cache / "new.nbi").touch()
    warm_up.main()
    assert (cache / "new.nbi").exists()  # nothing was stale
    assert made == [{"all_of_them": True}] * 2
    monkeypatch.setattr(compiled, "version", lambda: "another")
    assert not warm_up.ready()


def test_whoever_cannot_write_a_stamp_is_not_ready(cache, monkeypatch):
    monkeypatch.setattr(compiled, "folder", lambda: cache / "missing")
    assert not warm_up.ready()


def test_compiling_apart_ends_with_the_token(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    token = Token()
    token.cancel()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        warm_up.compile_apart(token)
    assert time.monotonic() - start < 60


def test_all_calibrations_and_long_codes_are_among_the_variants():
    found = list(warm_up._variants(type(make_scheme("symmetric"))))
    rules = {scheme.calibration for scheme in found}
    assert {"minmax", "percentile", "mse"} <= rules
    assert max(scheme.n_codes for scheme in found) == 1 << 16
