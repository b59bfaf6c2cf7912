"""Names of tensors that would do harm where they are shown: none reaches a terminal, a table or a file as it is."""

import csv
import json

import numpy as np
import pytest
import safetensors.numpy
from commandline import run

from qinspect.formats.open import open_checkpoint

NAMES = (
    "\x1b[31mred\x1b]0;title\x07", "right\u202eto left\u2066", "line\nbreak\r\x00", "../../etc/passwd", "/etc/passwd",
    "<b>bold</b><img src='x'>", "n" * 3000, "=1+cmd|' /C calc'!A0", "*/ int harm; /* ?\\", "a&b;c|d`e$(f)",
    "zero\u200bwidth", "nul", "CON.weight", "tab\ttab",
)  # fmt: skip


@pytest.fixture(scope="module")
def harmful(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("names") / "harmful.safetensors"
    arrays = {name: rng.standard_normal((8, 64)).astype(np.float32) for name in NAMES}
    safetensors.numpy.save_file(arrays, path, {"\x1b[2Jkey\u202e": "text\x1b[0m\n", "<b>": "</b>"})
    return path


def shown(*arguments):
    """What a verb prints: characters to be seen, and ends of lines."""
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert text
    assert all(line.isprintable() for line in text.split("\n")), repr(text)
    return text


class TestCommandLine:
    @pytest.mark.parametrize("verb", ["info", "analyze"])
    def test_verbs_print_nothing_that_a_terminal_obeys(self, harmful, verb):
        assert "\\x1b[31mred" in shown(verb, harmful)

    def test_sweeps_and_plans(self, harmful, tmp_path):
        few = ("--scheme", "base11", "--group-size", "32")
        assert "\\x1b[31mred" in shown("sweep", harmful, "--layers", "*red*", *few)
        assert "\\x1b[31mred" in shown("plan", harmful, "--bpw", "6", "-o", tmp_path / "recipe.json", *few)

    @pytest.mark.parametrize("verb", ["info", "analyze"])
    def test_json_holds_the_names_as_they_are_in_plain_ascii(self, harmful, verb):
        done = run(verb, harmful, "--json")
        assert done.stdout.isascii()
        found = json.loads(done.stdout)
        assert {entry["name"] for entry in found.get("tensors") or found["layers"]} == set(NAMES)

    def test_no_cell_of_comma_separated_values_is_computed(self, harmful):
        rows = list(
            csv.DictReader(
                run("sweep", harmful, "--csv", "--scheme", "base11", "--group-size", "32").stdout.splitlines()
            )
        )
        cells = {cell for row in rows for cell in row.values()}
        assert "'=1+cmd|' /C calc'!A0" in cells
        assert not any(cell.startswith(("=", "+", "@")) for cell in cells)

    @pytest.mark.parametrize("target", ["safetensors", "pt", "fp32", "c"])
    def test_they_name_no_file(self, harmful, target, tmp_path):
        out = tmp_path / "here" / f"out{'' if target == 'c' else '.pt' if target == 'pt' else '.safetensors'}"
        out.parent.mkdir()
        before = set(harmful.parent.rglob("*"))
        text = shown("export", harmful, "--to", target, "-o", out)
        assert "written" in text or "wrote" in text
        assert set(harmful.parent.rglob("*")) == before
        assert list(tmp_path.iterdir()) == [out.parent]
        assert list(out.parent.iterdir()) == [out]
        if target == "c":
            for file in out.iterdir():
                if file.suffix in (".c", ".h", ".md"):
                    lines = file.read_text(encoding="utf-8").split("\n")
                    assert all(line.replace("\t", " ").isprintable() for line in lines), file
                    assert not any("int harm; /*" in line for line in lines)
        else:
            with open_checkpoint(out) as checkpoint:
                assert {info.name for info in checkpoint.infos} == set(NAMES)

    def test_comparing_and_verifying(self, harmful, tmp_path):
        packed = tmp_path / "packed.safetensors"
        shown("export", harmful, "--to", "safetensors", "-o", packed)
        assert "\\x1b[31mred" in shown("compare", packed, harmful)
        shown("verify", packed, "--against", harmful)
        shown("unpack", packed, "-o", tmp_path / "again.safetensors")

    def test_an_error_about_one_is_a_single_line(self, harmful):
        done = run("analyze", harmful, "--layers", "none\x1b[2J\n")
        assert done.returncode == 1
        assert done.stderr[:-1].isprintable()
