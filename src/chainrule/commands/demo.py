"""`chainrule demo`: trains a ConvNet on real handwritten digits, compares, times, exports and draws it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.timing import spelled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to put the files, and how long to train."""
    parser.add_argument(
        "--out", default="chainrule-demo", metavar="FOLDER", help="where files go (default chainrule-demo)"
    )
    parser.add_argument("--epochs", type=int, help="epochs of training (default: enough for 97.5 %%)")
    parser.add_argument("--threads", type=int, help="threads (default: all cores); the numbers do not depend on it")


def run(arguments: argparse.Namespace) -> int:
    """Five chapters; with --json one object with all their numbers."""
    import chainrule as cr
    from chainrule.demo import agreement, draw, speed, train

    say = _silent if arguments.json else print
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {}

    say("1. A ConvNet for the 8x8 digits\n")
    digits, model = train.load_digits(), train.make_model()
    say(model.summary(cr.spec("N", 1, 8, 8)), "\n")

    say("2. One training step, compiled: forward, cross-entropy, backward, Adam\n")
    epochs = train.EPOCHS if arguments.epochs is None else arguments.epochs
    data, updates = train.make_data(digits, epochs)
    start = time.perf_counter()
    step = train.make_step(model, updates, threads=arguments.threads)
    facts["step_compile_s"] = time.perf_counter() - start
    _, losses = train.train(step, data, epochs, progress=False if arguments.json else None)
    facts["train_s"] = time.perf_counter() - start
    net = cr.compile(model, cr.spec("N", 1, 8, 8), threads=arguments.threads)
    facts["accuracy"] = train.accuracy(net, digits.test_images, digits.test_labels)
    facts["final_loss"] = float(losses[-1]) if losses else None
    facts["images_per_second"] = len(losses) * train.BATCH / max(facts["train_s"] - facts["step_compile_s"], 1e-9)
    say(f"compiled in {spelled(facts['step_compile_s'])}, {updates} steps in "
        f"{spelled(facts['train_s'] - facts['step_compile_s'])} "
        f"({facts['images_per_second']:,.0f} images/s)")  # fmt: skip
    say(f"{facts['accuracy']:.2%} of the last {train.HELD_OUT} digits, by other writers, are read right\n")

    say("3. Native code, the numpy reference and onnxruntime agree\n")
    files = {"net": out / "digits.onnx", "step": out / "digits_step.onnx"}
    cr.export_onnx(net, str(files["net"]))
    cr.export_onnx(step, str(files["step"]))
    facts["agreement"] = agreements = dict[str, object]()
    fresh = train.make_model()
    for found in (agreement.outputs_agree(model, digits.test_images), agreement.gradients_agree(fresh, digits),
                  agreement.steps_agree(fresh, digits)):  # fmt: skip
        agreements[found.what] = dict(found.largest)
        say(f"{found.what} (up to {found.scale:.3g}), largest difference:")
        for pair, difference in found.largest.items():
            say(f"   {pair:<26} {difference:.2e}")
    say(f"written: {files['net']} (inference), {files['step']} (the whole training step)\n")

    say("4. Speed, measured now\n")
    facts["speed"] = rows = list[dict[str, object]]()
    say(f"   {'':<26}{'chainrule':>12}{'onnxruntime':>14}")
    for row in speed.measure(model, digits.test_images, arguments.threads):
        rows.append({"what": row.what, "chainrule_s": row.ours, "onnxruntime_s": row.theirs})
        say(f"   {row.what:<26}{spelled(row.ours):>12}{'' if row.theirs is None else spelled(row.theirs):>14}")
    say("   (onnxruntime beside the cache: creating a session and its first run)\n")

    say("5. Pictures\n")
    image = np.ascontiguousarray(digits.test_images[:1])
    facts["pictures"] = [str(p) for p in draw.draw_all(out, model, net, losses, image)]
    for path in facts["pictures"]:
        say(f"   {path}")
    if arguments.json:
        json.dump(facts, sys.stdout)
        print()
    return 0


def _silent(*words: object) -> None:
    """Says nothing: machines read the JSON object at the end."""
