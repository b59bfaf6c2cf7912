"""What goes wrong while writing: the old file stays whole, nothing half-written is left, and one sentence says why."""

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qinspect.errors import ExportError, FormatError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe
from qinspect.targets.target import registry
from qinspect.targets.unpack import unpack
from qinspect.task import Cancelled, Token

OLD = b"an old file"
TARGETS = registry.names()
FILES = [target.name for target in registry if not target.folder]
FOLDERS = [target.name for target in registry if target.folder]


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    """What goes wrong here goes wrong without one too, and sooner; nor is onnxruntime needed."""
    monkeypatch.setattr("qinspect.targets.c.find_compiler", lambda token: None)
    monkeypatch.setattr("qinspect.targets.graph.runtime.version", lambda: None)


@pytest.fixture
def out(tmp_path):
    """A folder of its own with an old file in the way."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.bin").write_bytes(OLD)
    return tmp_path / "out" / "model.bin"


@pytest.fixture
def checkpoint(request, examples):
    """What the target of this test can export."""
    target = getattr(request.node, "callspec", None) and request.node.callspec.params.get("target")
    with open_checkpoint(examples[target]) as opened:
        yield opened


SCHEMES = defaultdict(
    lambda: make_scheme("base11"),
    {"compressed-tensors": make_scheme("symmetric", bits=4, granularity="group", group_size=32)},
)


def planned(checkpoint, target):
    plan = registry[target]().plan(checkpoint, Recipe.of(SCHEMES[target]))
    assert any(row.scheme for row in plan.rows)
    return plan


def write(checkpoint, target, out, token=None):
    return registry[target]().write(checkpoint, planned(checkpoint, target), out, token)


def old_in_the_way(checkpoint, target, out):
    """Of a target that is a folder, an old folder in place of the old file."""
    if registry[target].folder:
        out.unlink()
        out.mkdir()
        for name, _ in planned(checkpoint, target).files:
            (out / name).write_bytes(OLD)


def assert_untouched(out):
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert {path.read_bytes() for path in (out.iterdir() if out.is_dir() else [out])} == {OLD}


class Countdown(Token):
    """Cancels itself at the n-th check, its own or that of a part of it."""

    left = 0

    def check(self, fraction=None):
        Countdown.left -= 1
        if Countdown.left < 0:
            self.cancel()
        super().check(fraction)


@pytest.mark.parametrize("target", TARGETS)
def test_cancel_at_any_check(checkpoint, out, target):
    """At the first checks and the last, and at some between them."""
    old_in_the_way(checkpoint, target, out)
    plan, many = planned(checkpoint, target), 1 << 40
    Countdown.left = many
    registry[target]().write(checkpoint, plan, out.with_name("whole"), Countdown())
    checks = many - Countdown.left
    assert checks > 2 * len(checkpoint.infos)
    remove(out.with_name("whole"))
    for allowed in {0, 1, 2, *range(3, checks, max(1, checks // 10)), checks - 2, checks - 1}:
        Countdown.left = allowed
        with pytest.raises(Cancelled):
            registry[target]().write(checkpoint, plan, out, Countdown())
        assert_untouched(out)
    Countdown.left = checks
    registry[target]().write(checkpoint, plan, out, Countdown())
    assert OLD not in [path.read_bytes() for path in (out.iterdir() if out.is_dir() else [out])]
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("target", TARGETS)
def test_the_system_refuses_to_write_on(checkpoint, out, target):
    """At every tenth of the largest file the system accepts no further byte, as it does when a quota is reached."""
    plan = planned(checkpoint, target)
    size = max([size for _, size in plan.files] or [plan.nbytes])
    old_in_the_way(checkpoint, target, out)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for part in range(10):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * part // 10, limits[1]))
        try:
            with pytest.raises(ExportError, match="could not be written") as caught:
                write(checkpoint, target, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.path == out
        assert_untouched(out)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EACCES, "may write"),
        (errno.EROFS, "may write"),
        (errno.EIO, "another place"),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
def test_the_system_fails_at_any_call(checkpoint, out, monkeypatch, target, code, remedy, call):
    """Each call of a kind fails in turn, until an export makes no more of them."""
    old_in_the_way(checkpoint, target, out)
    calls = {"open": [(Path, "open")], "fsync": [(os, "fsync")], "rename": [(Path, "replace"), (Path, "rename")]}[call]
    monkeypatch.setattr("qinspect.targets.atomic._exchange", lambda a, b: False)
    for number in range(100):
        left = number

        def failing(name, before):
            def called(*args, **kwargs):
                nonlocal left
                writes = name != "open" or set(args[1] if len(args) > 1 else kwargs.get("mode", "r")) & set("x+")
                left -= bool(writes)
                if left < 0:
                    left = 1 << 30
                    raise OSError(code, os.strerror(code))
                return before(*args, **kwargs)

            return called

        with monkeypatch.context() as patch:
            for owner, name in calls:
                patch.setattr(owner, name, failing(name, getattr(owner, name)))
            try:
                write(checkpoint, target, out)
            except ExportError as error:
                said = str(error)
            else:
                assert number > 0
                return
        assert os.strerror(code) in said
        assert remedy in said
        assert_untouched(out)
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("target", FOLDERS)
@pytest.mark.parametrize("swap", [True, False], ids=["swapped", "by way of a third name"])
def test_an_old_folder_of_the_same_kind_is_replaced(checkpoint, out, monkeypatch, target, swap):
    if not swap:
        monkeypatch.setattr("qinspect.targets.atomic._exchange", lambda a, b: False)
    old_in_the_way(checkpoint, target, out)
    report = write(checkpoint, target, out)
    assert {path.name: path.stat().st_size for path in out.iterdir()} == dict(planned(checkpoint, target).files)
    assert OLD not in [path.read_bytes() for path in out.iterdir()]
    assert report.path == out
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("target", FOLDERS)
def test_a_folder_that_no_export_made_is_left_alone(checkpoint, tmp_path, target):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_bytes(OLD)
    with pytest.raises(ExportError, match=r"notes\.txt"):
        write(checkpoint, target, mine)
    assert_untouched(mine)
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to(mine)
    for name in ("file", "link"):
        with pytest.raises(ExportError, match="not a folder"):
            write(checkpoint, target, tmp_path / name)
    assert (tmp_path / "file").read_bytes() == OLD


@pytest.mark.parametrize("target", FOLDERS)
def test_the_folder_of_the_open_file_is_no_destination(example, tmp_path, target):
    name = registry[target].tensors_in
    (tmp_path / "model").mkdir()
    shutil.copy(example, tmp_path / "model" / name)
    before = (tmp_path / "model" / name).read_bytes()
    with (
        open_checkpoint(tmp_path / "model" / name) as checkpoint,
        pytest.raises(ExportError, match="open file lies in"),
    ):
        write(checkpoint, target, tmp_path / "model")
    assert (tmp_path / "model" / name).read_bytes() == before


def test_too_little_room_is_known_beforehand(checkpoint, out, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 30, (1 << 30) - 100, 100))
    with pytest.raises(ExportError, match=r"100 are free.*make room"):
        write(checkpoint, "safetensors", out)
    assert_untouched(out)


def test_a_disk_that_changes_bytes_is_found_out(checkpoint, out, monkeypatch):
    synced = os.fsync

    def flip(descriptor):
        synced(descriptor)
        with Path(f"/proc/self/fd/{descriptor}").open("r+b") as file:
            file.seek(-100, os.SEEK_END)
            byte = file.read(1)
            file.seek(-100, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))

    monkeypatch.setattr(os, "fsync", flip)
    with pytest.raises(ExportError, match="read back"):
        write(checkpoint, "safetensors", out)
    assert_untouched(out)


@pytest.mark.parametrize("way", ["itself", "another spelling", "symbolic link", "hard link"])
@pytest.mark.parametrize("target", FILES)
def test_the_open_file_is_no_destination(examples, tmp_path, target, way):
    path = tmp_path / "model"
    shutil.copy(examples[target], path)
    before = path.read_bytes()
    out = tmp_path / "link"
    match way:
        case "itself":
            out = path
        case "another spelling":
            out = tmp_path / ".." / tmp_path.name / path.name
        case "symbolic link":
            out.symlink_to(path)
        case "hard link":
            out.hardlink_to(path)
    with open_checkpoint(path) as checkpoint:
        with pytest.raises(ExportError, match="open file itself"):
            write(checkpoint, target, out)
        with pytest.raises(ExportError, match="open file itself"):
            unpack(checkpoint, out)
    assert path.read_bytes() == before


def test_a_shard_is_no_destination(tmp_path):
    save_file({"a.weight": torch.ones(4, 8)}, tmp_path / "one.safetensors")
    save_file({"b.weight": torch.ones(4, 8)}, tmp_path / "two.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"metadata":{},"weight_map":{"a.weight":"one.safetensors","b.weight":"two.safetensors"}}')
    with open_checkpoint(index) as checkpoint:
        for name in ("one.safetensors", "two.safetensors", index.name):
            with pytest.raises(ExportError, match="open file itself"):
                write(checkpoint, "safetensors", tmp_path / name)
        write(checkpoint, "safetensors", tmp_path / "whole.safetensors")


def test_a_link_elsewhere_is_replaced_and_its_file_is_not_touched(checkpoint, out):
    link = out.with_name("link")
    link.symlink_to(out)
    write(checkpoint, "safetensors", link)
    assert not link.is_symlink()
    assert out.read_bytes() == OLD


def test_folders_and_devices_are_no_destination(checkpoint, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for out in (tmp_path, tmp_path / "pipe", Path(), Path("/")):
        with pytest.raises(ExportError, match="not a regular file"):
            write(checkpoint, "safetensors", out)
    for out in (tmp_path / "no" / "out", tmp_path / "pipe" / "out"):
        with pytest.raises(ExportError, match=r"folder .* does not exist"):
            write(checkpoint, "safetensors", out)
    with pytest.raises(ExportError, match="could not be written"):
        write(checkpoint, "safetensors", tmp_path / ("n" * 300))
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_write_protected_file_stays(checkpoint, out, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(ExportError, match="write-protected"):
        write(checkpoint, "safetensors", out)
    assert_untouched(out)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("target", TARGETS)
def test_a_source_that_changes_is_not_exported(examples, tmp_path, out, target, at):
    path = tmp_path / examples[target].name
    shutil.copy(examples[target], path)

    def change(fraction):
        if fraction >= at:
            os.utime(path, (1, 1))

    with open_checkpoint(path) as checkpoint:
        old_in_the_way(checkpoint, target, out)
        with pytest.raises((ExportError, FormatError), match=r"changed (while it was being exported|on disk)"):
            write(checkpoint, target, out, Token(change))
    assert_untouched(out)


def test_a_plan_of_another_checkpoint_is_refused(checkpoint, tmp_path, out):
    save_file({"fc1.weight": torch.ones(4, 8)}, tmp_path / "other")
    with open_checkpoint(tmp_path / "other") as other:
        plan = registry["safetensors"]().plan(other, Recipe.of(None))
    with pytest.raises(ExportError):
        registry["safetensors"]().write(checkpoint, plan, out)
    assert_untouched(out)


@pytest.mark.parametrize("target", TARGETS)
def test_progress_runs_from_nothing_to_all(checkpoint, out, target):
    seen = []
    old_in_the_way(checkpoint, target, out)
    write(checkpoint, target, out, Token(seen.append))
    assert seen == sorted(seen)
    assert seen[0] < 0.1
    assert seen[-1] == 1.0


@pytest.fixture(scope="module")
def killed(examples, tmp_path_factory):
    """What lies there after exports were killed in the middle, by target and moment."""
    pairs = [word for target in TARGETS for word in (target, str(examples[target]))]
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path_factory.mktemp("killed"))]
    done = subprocess.run([*command, *pairs], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("moment", ["begun", "synced", "renamed"])
@pytest.mark.parametrize("target", TARGETS)
def test_killed_in_the_middle(killed, target, moment):
    """The old file or folder is whole, or the new one; what else is left has a name to tell, and goes with the next."""
    seen = killed[f"{target} {moment}"]
    there = {name: digest for name, digest in seen["killed"].items() if name.split("/")[0] == "out"}
    assert there == (seen["new"] if moment == "renamed" else seen["old"])
    for name in seen["killed"].keys() - there.keys():
        assert re.fullmatch(r"\.out\.\d+-[0-9a-f]{8}\.part", name.split("/")[0])
    if moment == "synced":
        assert seen["killed"].keys() - there.keys()
    assert seen["again"] == seen["new"]


def test_what_a_killed_export_left_goes_and_nothing_else(checkpoint, out, monkeypatch):
    dead, alive = "12345-0123abcd", f"{os.getpid()}-0123abcd"
    monkeypatch.setattr("qinspect.targets.atomic._alive", lambda pid: pid == os.getpid())
    gone = [f".{out.name}.{dead}.part"]
    stays = [f".{out.name}.{alive}.part", f".other.{dead}.part", f"{out.name}.{dead}.part", f".{out.name}.{dead}.txt"]
    for name in (*gone, *stays):
        out.with_name(name).write_bytes(OLD)
    write(checkpoint, "safetensors", out)
    assert {path.name for path in out.parent.iterdir()} == {out.name, *stays}


def test_a_folder_that_was_set_aside_comes_back(checkpoint, out):
    """Where folders cannot be swapped, a kill between two renames leaves the old one under another name."""
    old_in_the_way(checkpoint, "c", out)
    out.rename(out.with_name(f".{out.name}.99999999-0123abcd.old"))

    def stop(fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        write(checkpoint, "c", out, Token(stop))
    assert_untouched(out)
