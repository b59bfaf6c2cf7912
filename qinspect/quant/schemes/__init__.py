"""One file a scheme; each is found by `qinspect.quant.scheme.registry` as soon as it exists."""
