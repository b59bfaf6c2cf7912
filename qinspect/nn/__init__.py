"""Packed layers as torch modules, thin around the shared core: they hold the codes and decode them as they run.

A packed layer never holds its weights in float32: every product decodes some rows into scratch memory, multiplies and
goes on, and so does the gradient of the input. `load_state_dict` reports what does not fit in torch's own way, all at
once and by name; everything else raises a `QInspectError`.
"""

from qinspect.nn.base11 import Base11Quantizer, Linear11Bit
from qinspect.nn.bignet import BigNet11Bit, load
from qinspect.nn.quantized import QuantizedLinear, Swap, quantize_model
from qinspect.nn.sentinel import SentinelLinear, SentinelQuantizer

__all__ = [
    "Base11Quantizer",
    "BigNet11Bit",
    "Linear11Bit",
    "QuantizedLinear",
    "SentinelLinear",
    "SentinelQuantizer",
    "Swap",
    "load",
    "quantize_model",
]
