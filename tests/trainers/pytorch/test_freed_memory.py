"""Freed memory stays in the process until it is returned to the system."""

import contextlib
import os
import platform
import subprocess
import sys

import pytest

of_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

BEGIN = """
import contextlib, ctypes, resource
import torch
from trainers.pytorch.freed_memory import freed_memory_kept, return_freed_memory

torch.set_num_threads(1)
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages: each page is a fault
BLOCK = 48 << 20

def num_faults(repeats=4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeats):
        torch.ones(BLOCK, dtype=torch.uint8)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / repeats

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

PAGES = BLOCK / resource.getpagesize()
"""


def run(program, **given):
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name and "TUNABLES" not in name}
    command = [sys.executable, "-c", BEGIN + program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | given, check=False)
    assert done.returncode == 0, done.stderr


@of_glibc
def test_a_block_is_cleared_by_the_system_once_and_not_each_time():
    run("""
assert num_faults() > 0.9 * PAGES
for _ in range(2):
    with freed_memory_kept():
        num_faults(12)  # a block fits where one was only with room to align it
        assert num_faults(12) < 0.3 * PAGES
""")


@of_glibc
def test_what_was_kept_is_returned_when_asked():
    run("""
num_faults()
before = resident()
with freed_memory_kept():
    num_faults()
assert resident() > before + 0.9 * BLOCK
return_freed_memory()
assert resident() < before + 0.1 * BLOCK
""")


@of_glibc
@pytest.mark.parametrize("error", ["", "raise ValueError"], ids=["end", "error"])
def test_after_the_end_large_blocks_are_the_systems(error):
    run(f"""
with contextlib.suppress(ValueError), freed_memory_kept():
    num_faults(1)  # what is kept has no room for twice a block
    {error}
held = [torch.ones(2 * BLOCK, dtype=torch.uint8) for _ in range(3)]
before = resident()
del held[0]
assert resident() < before - 1.9 * BLOCK
""")


@of_glibc
@pytest.mark.parametrize("setting", [{"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=9"}])
def test_a_users_own_settings_stay(setting):
    run(
        """
with freed_memory_kept():
    assert num_faults() > 0.9 * PAGES
""",
        **setting,
    )


@pytest.mark.parametrize("name", ["text_to_image", "dialogue_twin"])
@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_a_call_of_the_fastest_tier_keeps_the_memory_of_its_steps(name, on, monkeypatch):
    from trainers import family

    seen = []

    @contextlib.contextmanager
    def noted():
        seen.append("begin")
        yield
        seen.append("end")

    module = {"text_to_image": "text_to_image", "dialogue_twin": "dialogue_gan.pytorch"}[name]
    monkeypatch.setattr(f"trainers.{module}.fastest.keeps_freed_memory", lambda: True)
    monkeypatch.setattr(f"trainers.{module}.fastest.freed_memory_kept", noted)
    monkeypatch.setattr(f"trainers.{module}.fastest.return_freed_memory", lambda: seen.append("return"))
    switches = {} if on else {"kept_memory": False}
    trainer = family(name).build("fastest", preset="tiny", device="cpu", log=lambda _: None, switches=switches)
    trainer.train_steps(2, *trainer.phases[:1])
    trainer.train_steps(1, *trainer.phases[:1])
    trainer.close()
    assert seen == ["begin", "end", "begin", "end", "return"] * on
