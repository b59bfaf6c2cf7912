"""Every hostile file ends in one sentence that names it, in little time and memory, from the command line too."""

import json
import re
import subprocess
import sys
from pathlib import Path

import hostile
import pytest

SOME = hostile.Case(Path("x"))


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """All cases and what was found of each."""
    cases = hostile.made(tmp_path_factory.mktemp("hostile"))
    command = [sys.executable, str(Path(__file__).parent / "limited.py")]
    paths = "\n".join(str(case.path) for case in cases.values())
    done = subprocess.run(command, input=paths, capture_output=True, text=True, timeout=280, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (case, result) for (name, case), result in zip(cases.items(), found, strict=True)}


def wrong(case, found):
    """What is not as it should be; nothing if all is well."""
    if "crash" in found:
        return found["crash"]
    said = found["read"] if case.late else found["open"]
    if said is None:
        return "nothing was said"
    if not said.startswith(f"{case.path.parent}") or not said.isprintable():
        return f"this does not name the file, or is no line that can be shown: {said!r}"
    if not re.search(case.text, said):
        return f"{said!r} does not say {case.text!r}"
    if "code" in found and not case.late and (found["code"], found["stderr"]) != (1, f"qinspect: error: {said}\n"):
        return f"the command line said {found['stderr']!r} and returned {found['code']}"
    return None


def test_every_hostile_file_ends_in_one_sentence(looked):
    assert len(looked) > 200
    failed = {name: text for name, (case, found) in looked.items() if (text := wrong(case, found))}
    assert not failed, "\n".join(f"{name}: {text}" for name, text in failed.items())


def test_none_takes_longer_than_a_second_of_the_processor(looked):
    """The longest takes about half of one."""
    slow = {name: found["seconds"] for name, (_, found) in looked.items() if found["seconds"] > 1}
    assert not slow


def test_none_takes_much_memory(looked):
    """The limit of 200 MB holds in any case; most take next to nothing."""
    grown = {name: found["grown"] >> 20 for name, (_, found) in looked.items()}
    assert max(grown.values()) < 200
    assert sum(megabytes > 20 for megabytes in grown.values()) < 10, {n: g for n, g in grown.items() if g > 20}
