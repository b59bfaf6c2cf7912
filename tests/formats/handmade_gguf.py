"""GGUF files built byte by byte, so that every field can be wrong."""

import struct


def text(value):
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def tensor(name="w", dims=(4,), kind=0, offset=0, n_dims=None):
    sizes = b"".join(struct.pack("<Q", d & (1 << 64) - 1) for d in dims)
    return (
        text(name)
        + struct.pack("<I", len(dims) if n_dims is None else n_dims)
        + sizes
        + struct.pack("<IQ", kind, offset)
    )


def header(entries=(), tensors=(), *, version=3, n_tensors=None, n_entries=None, data=bytes(64)):
    made = b"GGUF" + struct.pack("<I", version)
    made += struct.pack("<Q", len(tensors) if n_tensors is None else n_tensors)
    made += struct.pack("<Q", len(entries) if n_entries is None else n_entries)
    made += b"".join((*entries, *tensors))
    return made + bytes(-len(made) % 32) + data


def array(kind, count, data=b""):
    return struct.pack("<IQ", kind, count) + data
