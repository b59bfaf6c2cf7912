"""What jobs of the window share: errors as sentences, kernels made ready."""

from __future__ import annotations

import logging

from qinspect.errors import QInspectError
from qinspect.task import Token


def sentence(error: Exception) -> str:
    """What to tell a person; what is not our own error is also logged whole, for whoever mends it."""
    if isinstance(error, QInspectError):
        return str(error)
    logging.getLogger(__name__).error("unexpected error", exc_info=error)
    return f"unexpected {type(error).__name__}: {error}"


def warm_up(token: Token) -> None:
    """Run every kernel once on a tiny tensor: they are compiled at the first install, loaded from the cache later."""
    import numpy as np

    from qinspect import analysis
    from qinspect.quant import view_kernels
    from qinspect.quant.limits import own_noise
    from qinspect.quant.scheme import registry

    w = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 16)
    own_noise(w, 4)
    for cls in registry:
        token.check()
        scheme = cls()
        scheme.measure(w)
        q = scheme.quantize(w)
        scheme.dequantize(q)
        subject = analysis.Subject(q, w, (-1.0, 1.0), 1.0)
        analysis.answer(subject, analysis.EVERYTHING)
    for pool in range(4):
        view_kernels.pool_cells(w, 0, 0, 4, 16, 2, 2, pool, np.empty((2, 8), np.float32))
