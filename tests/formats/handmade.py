"""Files built byte by byte, as the formats' own documents lay them out."""

import json
import pickle
import struct
import zlib

import flatbuffers


def safetensors_bytes(header, data=b"", *, length=None):
    """Length, header (a dictionary, or text or bytes as they are), data."""
    text = json.dumps(header) if isinstance(header, dict) else header
    text = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype, shape, start, stop):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


class Zip:
    """A zip archive in which every field can be wrong."""

    def __init__(self):
        self.pieces = []
        self.records = []
        self.end = 0

    def put(self, data, size=None):
        """Append `data`; with `size`, a hole of so many bytes."""
        if size is None:
            self.pieces.append((self.end, data))
        self.end += len(data) if size is None else size

    def add(self, name, data, *, method=0, flags=0, crc=None, padding=0, local_name=None, **lies):
        """An entry; `lies` are other values than the true `size`, `stored_size` and `offset`."""
        raw = name.encode()
        local = raw if local_name is None else local_name.encode()
        packed = zlib.compress(data, wbits=-15) if method == 8 else data
        size, stored_size = lies.get("size", len(data)), lies.get("stored_size", len(packed))
        crc = zlib.crc32(data) if crc is None else crc
        common = struct.pack("<HHHHIII", flags, method, 0, 0x21, crc, stored_size, size)
        at = lies.get("offset", self.end)
        header = struct.pack("<IH", 0x04034B50, 20) + common + struct.pack("<HH", len(local), padding)
        self.put(header + local + bytes(padding) + packed)
        record = struct.pack("<IHH", 0x02014B50, 20, 20) + common + struct.pack("<HHHHHII", len(raw), 0, 0, 0, 0, 0, at)
        self.records.append(record + raw)
        return self

    def add_hole(self, name, nbytes, begin=b""):
        """An aligned entry that begins with `begin` and is `nbytes` long, without the bytes."""
        padding = -(self.end + 30 + len(name)) % 64
        self.add(name, begin, size=nbytes, stored_size=nbytes, padding=padding)
        self.put(b"", nbytes - len(begin))
        return self

    def directory(self):
        directory = b"".join(self.records)
        count = len(self.records)
        return directory + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(directory), self.end, 0)

    def bytes(self):
        return b"".join(data for _, data in self.pieces) + self.directory()

    def write(self, path):
        with path.open("wb") as file:
            for offset, data in [*self.pieces, (self.end, self.directory())]:
                file.seek(offset)
                file.write(data)
        return path


def torch_bytes(pickle, storages=(), **options):
    """The archive that `torch.save` would make of a pickle and the bytes of its storages."""
    made = Zip().add("archive/data.pkl", pickle, **options).add("archive/byteorder", b"little")
    for key, data in enumerate(storages):
        made.add(f"archive/data/{key}", data)
    return made.bytes()


def tensor_pickle(shape, strides, offset=0, *, storage="FloatStorage", numel=4, key="0", name="w"):
    """A pickle of `{name: tensor}` in plain text opcodes (protocol 0)."""

    def numbers(values):
        return "(" + "".join(f"I{value}\n" for value in values) + "t"

    text = f"(dV{name}\nctorch._utils\n_rebuild_tensor_v2\n"
    text += f"((Vstorage\nctorch\n{storage}\nV{key}\nVcpu\nI{numel}\ntQI{offset}\n"
    text += numbers(shape) + numbers(strides) + "I00\nccollections\nOrderedDict\n(tRtRs."
    return text.encode()


def legacy_bytes(pickled, keys, arrays, count=None):
    """The file that torch before 1.6 would make of a pickle and its storages, which may lie about their elements."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    data = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)) + pickled
    data += pickle.dumps(keys, 2)
    for array in arrays:
        data += struct.pack("<q", array.size if count is None else count) + array.tobytes()
    return data


def tflite_bytes(tensors, *, codes=(9,), operators=()):
    """A TFLite model of one graph.

    `tensors` are dictionaries: `name`, `shape`, `type` (a number), `data`, `scale`, `zero`, `axis`; data is bytes, or
    offset and size. `operators` are code index, inputs, outputs.
    """
    builder = flatbuffers.Builder(256)

    def numbers(values, width, put):
        builder.StartVector(width, len(values), width)
        for value in reversed(values):
            put(value)
        return builder.EndVector()

    def references(values):
        return numbers(values, 4, builder.PrependUOffsetTRelative)

    def table(fields):
        """From field numbers to (method, value)."""
        builder.StartObject(12)
        for field, (kind, value) in fields.items():
            getattr(builder, f"Prepend{kind}Slot")(field, value, 0)
        return builder.EndObject()

    def reference(value):
        return "UOffsetTRelative", value

    buffers, made = [table({})], []
    for tensor in tensors:
        name = builder.CreateString(tensor.get("name", ""))
        shape = numbers(tensor["shape"], 4, builder.PrependInt32)
        fields = {0: reference(shape), 1: ("Int8", tensor.get("type", 0)), 3: reference(name)}
        data = tensor.get("data")
        if isinstance(data, bytes):
            fields[2] = "Uint32", len(buffers)
            buffers.append(table({0: reference(builder.CreateByteVector(data))}))
        elif data is not None:
            fields[2] = "Uint32", len(buffers)
            buffers.append(table({1: ("Uint64", data[0]), 2: ("Uint64", data[1])}))
        if "scale" in tensor:
            scale = numbers(tensor["scale"], 4, builder.PrependFloat32)
            zero = numbers(tensor.get("zero", [0] * len(tensor["scale"])), 8, builder.PrependInt64)
            quantized = {2: reference(scale), 3: reference(zero), 6: ("Int32", tensor.get("axis", 0))}
            fields[4] = reference(table(quantized))
        made.append(table(fields))
    taking = []
    for index, inputs, outputs in operators:
        lists = [numbers(values, 4, builder.PrependInt32) for values in (inputs, outputs)]
        taking.append(table({0: ("Uint32", index), 1: reference(lists[0]), 2: reference(lists[1])}))
    graph = table({0: reference(references(made)), 3: reference(references(taking))})
    kinds = references([table({0: ("Int8", code), 3: ("Int32", code)}) for code in codes])
    model = {
        0: ("Uint32", 3),
        1: reference(kinds),
        2: reference(references([graph])),
        4: reference(references(buffers)),
    }
    builder.Finish(table(model), b"TFL3")
    return bytes(builder.Output())
