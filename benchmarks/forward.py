"""Forward of packed linear layers at batch 1, against the plain recipe and a float layer.

`python -m benchmarks.forward` prints the table of `docs/benchmarks.md`; contestants of a row are timed in turns.
"""

from __future__ import annotations

import torch

from benchmarks import plain
from benchmarks.timing import medians_ms
from qinspect.nn import QuantizedLinear
from qinspect.quant.scheme import make_scheme

SIZE = 4096
GROUP = 128
SCHEMES = (
    make_scheme("base11", group_size=GROUP),
    make_scheme("symmetric", bits=4, granularity="group", group_size=GROUP, param_dtype="float16"),
    make_scheme("symmetric", bits=8, granularity="channel"),
    make_scheme("normal_float", group_size=GROUP),
)


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    w, x = torch.randn(SIZE, SIZE), torch.randn(1, SIZE)
    packed = plain.quantize(w, GROUP)
    print(f"\n| {SIZE} × {SIZE}, batch 1 | ms | of a float layer's speed | × the plain recipe |")
    print("|---|---|---|---|")
    for scheme in SCHEMES:
        layer = QuantizedLinear(scheme.quantize(w))
        with torch.no_grad():
            ours, dense, recipe = medians_ms(
                lambda layer=layer: layer(x), lambda: x @ w.T, lambda: x @ plain.decode(*packed, GROUP).T, rounds=7
            )
        print(f"| {scheme.label} | {ours:.1f} | {dense / ours:.2f} | {recipe / ours:.0f} |")


if __name__ == "__main__":
    main()
