"""Threads: bits under contention, fork, signals, a system that refuses threads, and the end of the process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.backends.llvm.jit import Module, compile_text, object_code
from chainrule.backends.llvm.objects import undefined_symbols
from chainrule.backends.llvm.runtime import Frame, thread_count
from chainrule.backends.llvm.runtime_native import EXPORTS, native, runtime_text
from chainrule.backends.llvm.runtime_pool import MAX_THREADS, has_pool
from chainrule.backends.llvm.runtime_threads import read_cgroup_quota
from chainrule.backends.llvm.target import host_target, named_target
from chainrule.errors import ArgumentError
from tests.llvm.runtime_kernels import F32, call, kernels, mapping_frame, scaled

ROOT = Path(__file__).resolve().parents[2]
pooled = pytest.mark.skipif(not has_pool(host_target().triple), reason="there is no pool for this system")
CHAIN = ("scale", "root", "scale", "scale", "root", "root", "scale", "root")


def floats(n: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 2, n).astype(np.float32)


def chained(x: np.ndarray) -> np.ndarray:
    for name in CHAIN:
        x = scaled(x) if name == "scale" else np.sqrt(x)
    return x


def run_script(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own, with the test kernels imported; a hang fails by the time limit."""
    start = "import os, sys, threading, time\nimport numpy as np\nfrom tests.llvm.runtime_kernels import *\n"
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"} | environment
    return subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(body)], env=env, capture_output=True, text=True, timeout=100
    )


def succeeds(body: str, **environment: str) -> str:
    result = run_script(body, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    x = floats(1003)
    expected = chained(x)
    for threads in range(1, 9):
        entry = mapping_frame(1003, *CHAIN, threads=threads).entry
        for _ in range(50):
            assert np.array_equal(entry(x), expected)


def test_more_threads_than_the_pool_can_hold_are_refused() -> None:
    assert mapping_frame(9, "scale", threads=MAX_THREADS).threads == MAX_THREADS
    with pytest.raises(ArgumentError):
        mapping_frame(9, "scale", threads=MAX_THREADS + 1)


def _together(count: int, work: Any) -> None:
    """Runs work(index) on threads of Python at once; the first exception is raised here."""
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def guarded(index: int) -> None:
        try:
            gate.wait()
            work(index)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_many_threads_with_frames_of_their_own_share_one_pool() -> None:
    def work(index: int) -> None:
        x = floats(517, index)
        expected = chained(x)
        entry = mapping_frame(517, *CHAIN, threads=1 + index % 4).entry
        for _ in range(150):
            assert np.array_equal(entry(x), expected)

    _together(8, work)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_threads_may_call_one_frame(threads: int) -> None:
    frame = mapping_frame(2003, *CHAIN, threads=threads)
    served: list[int] = []

    def work(index: int) -> None:
        x = floats(2003, index)
        expected = chained(x)
        spare = mapping_frame(2003, *CHAIN, threads=threads)
        done = 0
        for _ in range(150):
            y = frame.entry(x)
            if y is NotImplemented:
                y = spare.entry(x)
            else:
                done += 1
            assert np.array_equal(y, expected)
        served.append(done)

    _together(6, work)
    assert sum(served) > 0
    assert frame._words[0] == 0 and frame.entry(floats(2003)) is not NotImplemented


def test_a_failure_on_one_thread_does_not_reach_the_others() -> None:
    codes = np.zeros(64, np.int64)
    codes[33] = 4

    def work(index: int) -> None:
        given = codes if index % 2 else np.zeros(64, np.int64)
        frame = Frame([call("fail", 64, 0)], 1, {}, [(0, np.dtype(np.int64), (64,))], [], None, 2, steady=True,
                      keep_alive=kernels())  # fmt: skip
        for _ in range(200):
            assert frame.run([given.ctypes.data]) == (4 if index % 2 else 0)

    _together(6, work)


@pooled
def test_a_sleeping_pool_wakes_for_the_next_run() -> None:
    entry, x = mapping_frame(301, *CHAIN, threads=3).entry, floats(301)
    for pause in (0.0, 0.02, 0.0, 0.05):
        time.sleep(pause)
        assert np.array_equal(entry(x), chained(x))


@pooled
def test_barriers_hold_when_threads_wait_long_for_each_other() -> None:
    # Worker 0 alone does the slow step: all others fall asleep at the barrier, every time.
    x, y = floats(64), np.zeros(64, np.float32)
    steps = [call("scale", 64, 0, 1), call("spin", 1, sizes=(3_000_000,), serial=True), call("root", 64, 1, 2)]
    frame = Frame(
        steps, 3, {1: y.ctypes.data}, [(0, F32, (64,))], [(2, F32, (64,))], None, 4, steady=True,
        keep_alive=(kernels(), y)
    )
    for _ in range(20):
        assert np.array_equal(frame.entry(x), np.sqrt(scaled(x)))


@pooled
def test_busy_neighbours_change_nothing_but_the_time() -> None:
    spin = "import sys\nprint(flush=True)\nwhile True: pass"
    neighbours = [subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for neighbour in neighbours:
            assert neighbour.stdout is not None
            neighbour.stdout.readline()
        entry, x = mapping_frame(1009, *CHAIN, threads=4).entry, floats(1009)
        for _ in range(100):
            assert np.array_equal(entry(x), chained(x))
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


@pooled
def test_a_child_of_fork_makes_its_own_workers() -> None:
    out = succeeds(
        """
        x = np.arange(300, dtype=np.float32)
        frame = mapping_frame(300, "scale", "root", threads=3)
        expected = frame.entry(x)
        for generation in range(3):
            pid = os.fork()
            if pid:
                break
            for _ in range(20):
                assert np.array_equal(frame.entry(x), expected)
            assert len(os.listdir("/proc/self/task")) == 3
        status = os.waitpid(pid, 0)[1] if pid else 0
        assert np.array_equal(frame.entry(x), expected)
        print("fine", flush=True)
        os._exit(os.waitstatus_to_exitcode(status))
        """
    )
    assert out.split() == ["fine"] * 4


@pooled
def test_a_child_of_fork_forgets_what_was_measured_on_its_parents_threads() -> None:
    succeeds(
        """
        from chainrule.backends.llvm.runtime_driver import FRAME_FIELDS, STRAIN_FIELDS
        places = [FRAME_FIELDS.index(name) for name in STRAIN_FIELDS]
        frame = mapping_frame(300, "scale", "root", threads=2, steady=False)
        frame._words[places] = 7
        pid = os.fork()
        if not pid:
            os._exit(int(frame._words[places].any()))
        assert os.waitpid(pid, 0)[1] == 0 and frame._words[places].all()
        """
    )


@pooled
def test_a_fork_in_the_midst_of_another_threads_run_leaves_the_child_free() -> None:
    succeeds(
        """
        import numpy as np
        from chainrule.backends.llvm.runtime import Frame
        x, stop = np.arange(64, dtype=np.float32), np.zeros(1, np.float32)
        ports = [(1, F32, (64,)), (2, F32, (64,))]
        steps = [call("scale", 64, 1, 2), call("wait", 3, 0)]
        frame = Frame(steps, 3, {0: stop.ctypes.data}, ports[:1], ports[1:], None, 3, steady=True,
                      keep_alive=(kernels(), stop))  # fmt: skip
        thread = threading.Thread(target=frame.entry, args=(x,))
        thread.start()
        while frame._words[0] == 0:
            pass
        pid = os.fork()
        if pid == 0:
            stop[0] = 1
            y = frame.entry(x)
            workers = len(os.listdir("/proc/self/task"))
            os._exit(0 if y is not NotImplemented and np.array_equal(y, scaled(x)) and workers == 3 else 7)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert frame.entry(x) is NotImplemented
        stop[0] = 1
        thread.join()
        assert np.array_equal(frame.entry(x), scaled(x))
        sys.exit(status)
        """
    )


@pooled
@pytest.mark.parametrize("pause", ["0", "0.1"])
def test_the_process_ends_with_workers_awake_or_asleep(pause: str) -> None:
    out = succeeds(
        f"""
        entry, x = mapping_frame(300, "scale", "root", threads=4).entry, np.arange(300, dtype=np.float32)
        for _ in range(50):
            entry(x)
        time.sleep({pause})
        print("end", flush=True)
        """
    )
    assert out == "end\n"


@pooled
@pytest.mark.parametrize("threads", [1, 3])
def test_the_process_ends_while_daemon_threads_are_running_programs(threads: int) -> None:
    out = succeeds(
        f"""
        import atexit
        x = np.arange(30000, dtype=np.float32)
        def work():
            entry = mapping_frame(30000, *("scale", "root") * 10, threads={threads}).entry
            while True:
                entry(x)
        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("end", flush=True)
        """
    )
    assert out == "end\n"


@pooled
def test_an_entry_that_is_still_referred_to_at_the_end_does_no_harm() -> None:
    succeeds(
        """
        import builtins, atexit
        builtins.entry = mapping_frame(300, "scale", "root", threads=2).entry
        x = np.arange(300, dtype=np.float32)
        atexit.register(lambda: [builtins.entry(x) for _ in range(10)])
        builtins.entry(x)
        """
    )


@pooled
def test_an_interrupt_during_a_run_is_raised_after_it() -> None:
    out = succeeds(
        """
        import signal
        stop, codes = np.zeros(1, np.float32), []
        from chainrule.backends.llvm.runtime import Frame
        frame = Frame([call("wait", 3, 0)], 1, {0: stop.ctypes.data}, [], [], None, 3, steady=True,
                      keep_alive=(kernels(), stop))  # fmt: skip
        def interrupt():
            while frame._words[0] == 0:
                pass
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            stop[0] = 1
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            frame.entry()
            time.sleep(10)
        except KeyboardInterrupt:
            print("interrupted", frame._words[0])
        thread.join()
        assert frame.entry() == ()
        """
    )
    assert out == "interrupted 0\n"


@pooled
def test_workers_leave_signals_to_the_threads_of_python() -> None:
    out = succeeds(
        """
        frame = mapping_frame(300, "scale", "root", threads=3)
        frame.entry(np.arange(300, dtype=np.float32))
        masks = {}
        for task in os.listdir("/proc/self/task"):
            lines = open(f"/proc/self/task/{task}/status").read().splitlines()
            masks[int(task)] = next(int(l.split()[1], 16) for l in lines if l.startswith("SigBlk"))
        own = masks.pop(os.getpid())
        workers = [m for m in masks.values() if m >> 1 & 1 and m >> 14 & 1]
        print(len(workers), own >> 1 & 1)
        """
    )
    assert out == "2 0\n"


@pooled
def test_a_system_that_refuses_threads_gets_fewer_or_none() -> None:
    succeeds(
        """
        import resource
        x = np.arange(3000, dtype=np.float32)
        serial = mapping_frame(3000, "scale", "root", threads=1).entry(x)
        frame = mapping_frame(3000, "scale", "root", threads=200)
        frame.entry
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        for spare in (1 << 20, 40 << 20):
            resource.setrlimit(resource.RLIMIT_AS, (used + spare, resource.RLIM_INFINITY))
            for _ in range(5):
                assert np.array_equal(frame.entry(x), serial)
        assert len(os.listdir("/proc/self/task")) < 200
        """
    )


# Reads or writes the register with the rounding mode and the flags for subnormals.
_CONTROL = """
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse.stmxcsr(ptr)
define void @set_control(ptr %value) {
  call void @llvm.x86.sse.ldmxcsr(ptr %value)
  ret void
}
define void @get_control(ptr %value) {
  call void @llvm.x86.sse.stmxcsr(ptr %value)
  ret void
}
"""


@pooled
@pytest.mark.skipif(not host_target().is_x86, reason="names a register of x86")
def test_workers_round_as_the_calling_thread_does() -> None:
    import ctypes

    library = compile_text(_CONTROL, ("set_control", "get_control"))
    setter, getter = (
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.address(n)) for n in ("set_control", "get_control")
    )
    old, upward = ctypes.c_uint32(), ctypes.c_uint32()
    entry, x = mapping_frame(501, "root", threads=4).entry, floats(501)
    usual = entry(x)
    getter(ctypes.byref(old))
    upward.value = old.value & ~0x6000 | 0x4000
    setter(ctypes.byref(upward))
    try:
        up = entry(x)
    finally:
        setter(ctypes.byref(old))
    exact = np.sqrt(x.astype(np.float64))
    assert (up.astype(np.float64) >= exact).all()
    assert np.array_equal(entry(x), usual) and (usual.astype(np.float64) < exact).any()


def test_the_variable_limits_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAINRULE_NUM_THREADS", raising=False)
    usual = thread_count()
    assert 1 <= usual <= (os.cpu_count() or 1)
    for value, expected in (("1", 1), (" 1 ", 1), ("9999", usual), ("", usual)):
        monkeypatch.setenv("CHAINRULE_NUM_THREADS", value)
        assert thread_count() == expected


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_a_variable_that_is_no_number_of_threads_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", value)
    with pytest.raises(ArgumentError, match="CHAINRULE_NUM_THREADS"):
        thread_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is a thing of Linux")
def test_affinity_limits_the_threads() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert thread_count() == 1
    finally:
        os.sched_setaffinity(0, before)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_quota_of_a_control_group_is_the_least_of_its_levels(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    _write(membership, "0::/a/b\n")
    _write(root / "a/cpu.max", "150000 100000\n")
    _write(root / "a/b/cpu.max", "max 100000\n")
    assert read_cgroup_quota(membership, root) == 1.5
    _write(root / "cpu.max", "100000 200000\n")
    assert read_cgroup_quota(membership, root) == 0.5


def test_quotas_of_the_first_version_are_read(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    _write(membership, "5:memory:/x\n4:cpu,cpuacct:/job\n0::/\n")
    _write(root / "cpu,cpuacct/job/cpu.cfs_quota_us", "300000\n")
    _write(root / "cpu,cpuacct/job/cpu.cfs_period_us", "100000\n")
    assert read_cgroup_quota(membership, root) == 3
    _write(root / "cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n")
    assert read_cgroup_quota(membership, root) is None


def test_a_container_that_sees_its_group_as_the_root_is_read(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    _write(membership, "0::/../../docker/abc\n")
    _write(root / "cpu.max", "200000 100000\n")
    assert read_cgroup_quota(membership, root) == 2


@pytest.mark.parametrize("text", ["", "max\n", "nonsense here\n", "100000 0\n"])
def test_files_that_say_nothing_limit_nothing(tmp_path: Path, text: str) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    assert read_cgroup_quota(membership, root) is None
    _write(membership, "0::/\nodd\n")
    _write(root / "cpu.max", text)
    assert read_cgroup_quota(membership, root) is None


@pytest.mark.parametrize(
    ("name", "triple", "threads"),
    [
        ("x86-64-v2", "x86_64-unknown-linux-gnu", True),
        ("aarch64", "aarch64-unknown-linux-gnu", True),
        ("x86-64-v3", "x86_64-apple-darwin", False),
        ("aarch64", "aarch64-apple-darwin", False),
    ],
)
def test_the_runtime_compiles_for_every_target(name: str, triple: str, threads: bool) -> None:
    text = runtime_text(triple)
    assert ("@hire" in text) == has_pool(triple) == threads
    assert undefined_symbols(object_code(Module(text, EXPORTS), named_target(name))) == []


def test_the_runtime_says_whether_it_has_threads() -> None:
    assert native().threads == has_pool(host_target().triple)
