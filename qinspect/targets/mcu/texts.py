"""The C of an export: the templates of `resources/c` with a model in them.

All numbers that follow from weights are written equally long, so that sizes are known before a weight is read.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Template

import numpy as np

from qinspect.assets import resource
from qinspect.network import LayerNorm, Linear, Relu
from qinspect.targets.matrix import Matrix
from qinspect.targets.mcu.device_file import HEADER_WORDS, VERSION, DeviceFile, Entry
from qinspect.targets.mcu.golden import Golden
from qinspect.targets.mcu.literals import comment, floats, identifiers, literal, words_nbytes, words_text
from qinspect.targets.program import INPUT, Program, Step
from qinspect.targets.target import Needs

MATRIX_BYTES = 88
"""Of a `qi_matrix`."""

_CHUNK = 1 << 16
"""Words turned into text at a time."""

_TYPES = {"F32": "QI_F32", "F16": "QI_F16", "BF16": "QI_BF16", "F8_E8M0": "QI_E8M0", "U8": "QI_U8", "U16": "QI_U16"}


@dataclass(frozen=True)
class Texts:
    """A model named `title`; `program` is None where there is no network to run."""

    title: str
    file: DeviceFile
    program: Program | None

    def small(self, crc: int, golden: Golden) -> dict[str, str]:
        """Every file but `model.bin` and `model.c`."""
        return {
            "model.h": self._filled("model.h", self._header(crc)),
            "qinspect.h": _template("qinspect.h"),
            "main_test.c": self._filled("main_test.c", self._test(golden)),
            "README.md": self._filled("README.md", self._readme()),
        }

    @cached_property
    def code(self) -> str:
        """`model.c` up to the data."""
        matrices = "\n".join(self._initialised(entry) for entry in self._matrices)
        return self._filled("model.c", {"matrices": matrices, "forward": self._forward()})

    @property
    def code_nbytes(self) -> int:
        """Size of `model.c`."""
        frame = len(self.code.encode()) + len(_DATA_BEGINS) + len(_DATA_ENDS)
        return frame + sum(len(remark) + words_nbytes(count) for remark, _, count in self._pieces())

    def data(self, words: np.ndarray) -> Iterator[bytes]:
        """`model.c` from the data on; `words` is all that `model.bin` holds before its directory."""
        yield _DATA_BEGINS.encode()
        for remark, start, count in self._pieces():
            yield remark.encode()
            for at in range(start, start + count, _CHUNK):
                yield words_text(words[at : min(at + _CHUNK, start + count)])
        yield _DATA_ENDS.encode()

    @property
    def needs(self) -> Needs:
        """What the device must have beside room for code."""
        flash = 4 * self.file.words + MATRIX_BYTES * len(self._matrices)
        return Needs(flash, self._scratch_bytes)

    # Parts.

    def _filled(self, name: str, values: Mapping[str, str]) -> str:
        return Template(_template(name)).substitute(values, title=comment(self.title))

    @cached_property
    def _matrices(self) -> list[Entry]:
        return [entry for entry in self.file.entries if entry.matrix is not None]

    @cached_property
    def _identifiers(self) -> dict[str, str]:
        return identifiers(entry.name for entry in self.file.entries)

    def _place(self, name: str) -> str:
        """The macro for where a plain array is; 0 for one that there is not."""
        known = any(entry.name == name for entry in self.file.entries)
        return f"MODEL_{self._identifiers[name].upper()}" if known else "0u"

    def _pieces(self) -> Iterator[tuple[str, int, int]]:
        """A remark, first word and number of words of each piece of the data."""
        yield "    /* header */\n", 0, HEADER_WORDS
        for entry in self.file.entries:
            for part, array in entry.stored.items():
                start = self.file.offsets[array.name] // 4
                yield f"    /* {comment(entry.name)}: {part} */\n", start, -(-array.nbytes // 4)

    def _header(self, crc: int) -> dict[str, str]:
        return {
            "version": str(VERSION),
            "words": str(self.file.words),
            "data_bytes": f"{4 * self.file.words}",
            "layout": f"0x{self.file.layout:08X}",
            "crc": f"0x{crc:08X}",
            "sizes": self._sizes(),
            "declarations": self._declarations(),
        }

    def _sizes(self) -> str:
        if self.program is None:
            return ""
        return f"#define MODEL_INPUTS {self.program.inputs}u\n#define MODEL_OUTPUTS {self.program.outputs}u\n"

    def _declarations(self) -> str:
        lines = []
        for entry in self.file.entries:
            remark = f"/* {comment(entry.name)}: {_described(entry)} */"
            identifier = self._identifiers[entry.name]
            if entry.matrix is not None:
                lines.append(f"extern const qi_matrix model_{identifier}; {remark}")
            else:
                place = self.file.places(entry)["values"]
                lines.append(f"#define MODEL_{identifier.upper()} {place}u {remark}")
        return "\n".join([*lines, "", self._calls()])

    def _calls(self) -> str:
        """What runs the network."""
        if self.program is None:
            return ""
        buffers = "".join(f"    float b{number}[{size}];\n" for number, size in enumerate(self.program.buffers))
        groups, cols = self._largest
        values = {"scratch_bytes": self._scratch_bytes, "buffers": buffers, "groups": groups, "cols": cols}
        return Template(_template("forward.h")).substitute(values)

    @property
    def _largest(self) -> tuple[int, int]:
        """Groups of a row, and columns, of the matrices that have most."""
        matrices = [entry.matrix for entry in self._matrices if entry.matrix]
        return max([1, *(m.groups for m in matrices)]), max([1, *(m.cols for m in matrices)])

    @property
    def _scratch_bytes(self) -> int:
        groups, cols = self._largest
        buffers = self.program.buffers if self.program else ()
        return 4 * (sum(buffers) + groups) + -(-cols // 4) * 4

    def _initialised(self, entry: Entry) -> str:
        assert entry.matrix is not None
        values = ", ".join(_fields(entry.matrix, self.file.places(entry)))
        lines = textwrap.fill(values, 110, initial_indent="    ", subsequent_indent="    ")
        return f"const qi_matrix model_{self._identifiers[entry.name]} = {{\n{lines}}};"

    def _forward(self) -> str:
        return "" if self.program is None else "".join(f"{self._function(int8)}\n" for int8 in (False, True))

    def _function(self, int8: bool) -> str:
        assert self.program is not None
        name = "model_forward_i8" if int8 else "model_forward"
        calls = "\n".join(f"    {self._call(step, int8)}" for step in self.program.steps)
        result = f"    memcpy(y, scratch->b{self.program.result}, MODEL_OUTPUTS * sizeof *y);"
        head = f"void {name}(const uint32_t *data, const float *x, float *y, model_scratch *scratch)"
        return f"{head}\n{{\n{calls}\n{result}\n}}\n"

    def _call(self, step: Step, int8: bool) -> str:
        source = "x" if step.source == INPUT else f"scratch->b{step.source}"
        target, width = f"scratch->b{step.target}", f"{step.width}u"
        match step.operator:
            case Linear(prefix):
                matrix = next(entry for entry in self._matrices if entry.name == f"{prefix}.weight")
                assert matrix.matrix is not None
                rounds = int8 and matrix.matrix.takes_int8
                first = f"&model_{self._identifiers[matrix.name]}, data, {self._place(f'{prefix}.bias')}, {source}"
                scratch = "scratch->sums.i8, scratch->q" if rounds else "scratch->sums.f32"
                return f"qi_matvec_{'i8' if rounds else 'f32'}({first}, {scratch}, {target});"
            case LayerNorm(prefix, eps):
                weight, bias = self._place(f"{prefix}.weight"), self._place(f"{prefix}.bias")
                return f"qi_layernorm(data, {weight}, {bias}, {literal(eps)}, {source}, {target}, {width});"
            case Relu():
                return f"qi_relu({source}, {target}, {width});"
        return f"qi_add({source}, {target}, {width});"

    def _test(self, golden: Golden) -> dict[str, str]:
        return self._test_of_layers(golden) if self.program is None else self._test_of_network(golden)

    def _test_of_network(self, golden: Golden) -> dict[str, str]:
        vectors, checks = [], []
        for name in golden.inputs:
            vectors += [floats(f"input_{name}", golden.inputs[name])]
            for kind, values in (("f32", golden.f32[name]), ("i8", golden.i8[name])):
                vectors.append(floats(f"{kind}_{name}", values))
                forward = "model_forward" if kind == "f32" else "model_forward_i8"
                checks.append(f"    {forward}(model_data, input_{name}, output, &scratch);")
                check = f'"{forward}, input {name}", output, {kind}_{name}, MODEL_OUTPUTS, TOLERANCE_{kind.upper()}'
                checks.append(f"    check({check});")
        memory = "static model_scratch scratch;\nstatic float output[MODEL_OUTPUTS];\n"
        return {"vectors": "\n".join([*vectors, memory]), "checks": "\n".join([*checks, ""])}

    def _test_of_layers(self, golden: Golden) -> dict[str, str]:
        if not self._matrices:
            return {"vectors": "", "checks": "    (void)check;\n"}
        vectors, checks = [], [] if golden.i8 else ["    (void)sums_i8, (void)q;"]
        for entry in self._matrices:
            assert entry.matrix is not None
            identifier, rows, cols = self._identifiers[entry.name], entry.matrix.rows, entry.matrix.cols
            checks.append(f"    generate({cols}u);")
            for kind, outputs, scratch in (("f32", golden.f32, "sums, y"), ("i8", golden.i8, "sums_i8, q, y")):
                if entry.name not in outputs:
                    continue
                vectors.append(floats(f"{kind}_{identifier}", outputs[entry.name]))
                checks.append(f"    qi_matvec_{kind}(&model_{identifier}, model_data, 0u, x, {scratch});")
                check = f'"{identifier} {kind}", y, {kind}_{identifier}, {rows}u, TOLERANCE_{kind.upper()}'
                checks.append(f"    check({check});")
        groups, cols = self._largest
        rows = max(entry.matrix.rows for entry in self._matrices if entry.matrix)
        memory = Template(_template("inputs.c")).substitute(rows=rows, cols=cols, groups=groups)
        return {"vectors": "\n".join([*vectors, memory]), "checks": "\n".join([*checks, ""])}

    def _readme(self) -> dict[str, str]:
        rows = [
            f"| `{comment(entry.name)}` | {' × '.join(map(str, entry.shape)) or 'scalar'} | {_described(entry)} "
            f"| {sum(array.nbytes for array in entry.stored.values())} |"
            for entry in self.file.entries
        ]
        network = self.program is not None
        return {
            "data_bytes": str(4 * self.file.words),
            "what": "`model_forward`, which runs the network" if network else "a `qi_matrix` for every layer",
            "flash": str(self.needs.flash),
            "ram": str(self.needs.ram),
            "usage": _template(f"usage_of_{'network' if network else 'layers'}.md"),
            "table": "\n".join(rows),
        }


_DATA_BEGINS = "QI_SECTION QI_ALIGN const uint32_t model_data[MODEL_WORDS] = {\n"
_DATA_ENDS = "};\n"


def _template(name: str) -> str:
    return (resource("c") / name).read_text(encoding="utf-8")


def _described(entry: Entry) -> str:
    if entry.matrix is None:
        return f"{entry.dtype} array"
    matrix = f"{entry.matrix.rows} x {entry.matrix.cols}"
    if not entry.matrix.base:
        return f"{matrix}, float32"
    label = entry.scheme.label if entry.scheme else ""
    return f"{matrix}, {label}, {entry.matrix.digits} codes a word"


def _fields(matrix: Matrix, places: Mapping[str, int]) -> list[str]:
    """The initialiser of a `qi_matrix`."""
    power = matrix.base & (matrix.base - 1) == 0
    shift = matrix.base.bit_length() - 1
    bits = shift if power and matrix.base else 0
    reciprocal = 0 if power else (1 << (32 + shift)) // matrix.base
    numbers = [
        matrix.rows, matrix.cols, matrix.group, matrix.sets, matrix.base, matrix.digits, matrix.group_words,
        matrix.row_words, bits, reciprocal, 0 if power else shift,
        *(places.get(part, 0) for part in ("codes", "scale", "offset", "zero", "table")),
    ]  # fmt: skip
    kinds = [_TYPES[matrix.arrays.get(part, (other,))[0]] for part, other in (("scale", "F32"), ("zero", "U8"))]
    meaning = [literal(value) for value in (matrix.unit, matrix.fixed_zero, matrix.fixed_offset)]
    return [*(f"{number}u" for number in numbers), *kinds, *meaning, f"{int(matrix.even)}u"]
