"""The quantization core: numpy arrays in and out, numba kernels inside. It knows no Qt, no torch and no file."""
