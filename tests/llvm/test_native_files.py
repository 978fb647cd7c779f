"""Programs written as shared objects and object files give, without Python, the bits that they give inside it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.llvm.c_header import c_names
from chainrule.backends.llvm.objects import undefined_symbols
from chainrule.errors import ArgumentError, NotSupported
from chainrule.models import MODELS
from tests.llvm.native_files import Native, aligned, macro

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def digits_step(batch: int) -> tuple[nn.Module, cr.Step]:
    cr.manual_seed(3)
    model = MODELS["digits"].build()
    specs = (cr.spec(batch, 1, 8, 8), cr.spec(batch, dtype="i64"))
    return model, cr.training_step(model, cr.cross_entropy, optim.Adam(1e-2), specs, seed=0)


def test_a_shared_object_gives_the_bits_of_the_executable(tmp_path: Path):
    entry = MODELS["lenet"]
    net = cr.compile(entry.build(), *entry.specs)
    files = net.save(tmp_path / "lenet.so", dims={"N": 3})
    assert [f.name for f in files] == ["lenet.so", "lenet.h"]
    x = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    y = np.empty((3, 10), np.float32)
    assert Native(files[0]).run(x, y) == 0
    assert np.array_equal(y, net(x))


def test_an_older_target_gives_the_same(tmp_path: Path):
    entry = MODELS["lenet"]
    model = entry.build()
    net = cr.compile(model, *entry.specs, target="x86-64-v2")
    native = Native(net.save(tmp_path / "lenet.so", dims={"N": 1})[0])
    x, y = np.random.default_rng(0).random((1, 1, 28, 28), np.float32), np.empty((1, 10), np.float32)
    assert native.run(x, y) == 0
    assert np.array_equal(y, net(x))


def test_loops_and_branches_are_straight_code(tmp_path: Path):
    w = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)

    def model(x):
        def row(h, m):
            h, made = cr.scan(lambda h, v: (cr.tanh(h @ w + v), h), h, m, reverse=True)
            return cr.cond(h[0] > 0, lambda: h, lambda: -h), made

        h, made = cr.scan(row, cr.zeros(4), x)
        return cr.while_loop(lambda c: (c * c).sum() > 0.1, lambda c: c * 0.5, h), made

    net = cr.compile(model, cr.spec("N", "T", 4))
    native = Native(net.save(tmp_path / "loops.so", dims={"N": 3, "T": 2})[0])
    x = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)
    found = [np.empty(4, np.float32), np.empty((3, 2, 4), np.float32)]
    assert native.run(x, *found) == 0
    for got, want in zip(found, net(x), strict=True):
        assert np.array_equal(got, want)


def test_weights_in_a_file_are_passed_and_may_be_others(tmp_path: Path):
    model = nn.Linear(5, 4)
    net = cr.compile(model, cr.spec(2, 5))
    so, header, weights = net.save(tmp_path / "line.so", weights="file")
    native, block = Native(so), aligned(weights.stat().st_size)
    assert macro(header, "LINE_WEIGHTS_BYTES") == block.size
    block[:] = np.fromfile(weights, np.uint8)
    x, y = np.ones((2, 5), np.float32), np.empty((2, 4), np.float32)
    assert native.run(x, y, weights=block) == 0
    assert np.array_equal(y, net(x))
    bias = block[macro(header, "LINE_OFFSET_BIAS") :][:16].view(np.float32)
    bias += 1
    native.run(x, y, weights=block)
    assert not np.array_equal(y, net(x))


def test_a_training_step_changes_its_block_as_python_changes_the_model(tmp_path: Path):
    _, step = digits_step(16)
    native = Native(step.save(tmp_path / "step.so")[0])
    weights = native.weights()
    native.init(weights)
    x, y = cr.datasets.digits()
    losses = []
    for i in range(10):
        batch, target = np.ascontiguousarray(x[16 * i :][:16]), np.ascontiguousarray(y[16 * i :][:16])
        loss = np.empty((), np.float32)
        assert native.run(batch, target, loss, weights=weights) == 0
        losses.append((float(loss), float(step(batch, target))))
    assert all(a == b for a, b in losses)
    for name, array in step.state.items():
        offset = macro(native.header, f"STEP_OFFSET_{c_names([name])[0].upper()}")
        assert np.array_equal(weights[offset:][: array.nbytes], array.reshape(-1).view(np.uint8)), name


def test_wrong_data_is_reported_and_changes_nothing(tmp_path: Path):
    _, step = digits_step(4)
    native = Native(step.save(tmp_path / "step.so")[0])
    weights = native.weights()
    native.init(weights)
    before = weights.copy()
    status = native.run(np.zeros((4, 1, 8, 8), np.float32), np.full(4, 99), np.empty((), np.float32), weights=weights)
    assert status & 0xFFFFFFFF == 1
    assert f" *   {status >> 32}: take_along_axis" in native.header.read_text()
    assert np.array_equal(weights, before)


MAIN = r"""
#include <stdio.h>
#include "train.h"

static _Alignas(64) unsigned char weights[TRAIN_WEIGHTS_BYTES], arena[TRAIN_ARENA_BYTES];

int main(int argc, char **argv) {
    static float x[32 * 64];
    static int64_t y[32];
    FILE *data = fopen(argv[1], "rb");
    float loss;
    train_init(weights);
    while (fread(x, sizeof x, 1, data) == 1 && fread(y, sizeof y, 1, data) == 1) {
        int64_t status = train_run(weights, arena, x, y, &loss);
        if (status) return 1;
        printf("%a\n", loss);
    }
    return fclose(data);
}
"""


@needs_cc
@pytest.mark.parametrize("ending", [".so", ".o"])
def test_a_c_program_trains_the_digits_net_to_the_same_bits(tmp_path: Path, ending: str):
    _, step = digits_step(32)
    code = step.save(tmp_path / f"train{ending}")[0]
    images, labels = cr.datasets.digits()
    batches = [(images[i : i + 32], labels[i : i + 32]) for i in range(0, 32 * 20, 32)]
    data = b"".join(np.ascontiguousarray(a).tobytes() for pair in batches for a in pair)
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "main.c").write_text(MAIN)
    subprocess.run(["cc", "-Wall", "-Werror", "-o", "main", "main.c", code.name, "-Wl,-rpath,$ORIGIN"],
                   cwd=tmp_path, check=True)  # fmt: skip
    printed = subprocess.run(["./main", "data"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert [float.fromhex(line) for line in printed.split()] == [float(step(*batch)) for batch in batches]


def test_the_object_takes_nothing_from_outside(tmp_path: Path):
    entry = MODELS["lenet"]
    code = cr.compile(entry.build(), *entry.specs).save(tmp_path / "lenet.o", dims={"N": 1})[0]
    assert undefined_symbols(code.read_bytes()) == []


def test_an_object_for_another_processor_is_written_and_a_shared_object_refused(tmp_path: Path):
    net = cr.compile(lambda x: cr.relu(x * 2 + 1), cr.spec(8), backend="llvm")
    from chainrule.backends.llvm.aot import native_program
    from chainrule.backends.llvm.elf import shared_object

    made = native_program(net.program, "double", (), {})
    assert shared_object(made.code, made.exports, "double.so")[16] == 3  # ET_DYN
    foreign = bytearray(made.code)
    foreign[18] = 183  # EM_AARCH64
    with pytest.raises(NotSupported, match="shared objects are written for x86-64"):
        shared_object(bytes(foreign), made.exports, "double.so")


def test_a_size_without_value_a_wrong_ending_and_a_bad_name_are_refused(tmp_path: Path):
    entry = MODELS["mlp"]
    net = cr.compile(entry.build(), *entry.specs)
    with pytest.raises(ArgumentError, match="the size N has no value"):
        net.save(tmp_path / "mlp.so")
    with pytest.raises(ArgumentError, match="ends in neither"):
        net.save(tmp_path / "mlp.dll", dims={"N": 1})
    with pytest.raises(ArgumentError, match="cannot be the name of a C function"):
        net.save(tmp_path / "2-layers.so", dims={"N": 1})
    with pytest.raises(NotSupported, match="only programs of the llvm backend"):
        cr.compile(entry.build(), *entry.specs, backend="reference").save(tmp_path / "mlp.so", dims={"N": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_program_with_sizes_that_follow_from_data_is_not_written_and_says_so(tmp_path: Path):
    net = cr.compile(lambda x: cr.boolean_mask(x, x > 0), cr.spec(8))
    with pytest.raises(NotSupported, match="a size follows from data"):
        net.save(tmp_path / "some.so")
    with pytest.raises(NotSupported, match="sizes that follow from data"):
        net.profile(np.ones(8, np.float32))


def test_names_become_identifiers_each_once():
    assert c_names(["a.b", "a_b", "0", "int", "a/*b"]) == ["a_b", "a_b_2", "x0", "int_2", "a__b"]
