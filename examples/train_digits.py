"""A ConvNet learns to read real handwritten digits, and shows what its layers make of one.

python examples/train_digits.py [--epochs 25] [--picture maps.svg]

The picture is after Figure 2 of LeCun, Bengio and Hinton, "Deep learning", Nature 521 (2015).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import datasets, nn, optim
from chainrule.frontend.augment import Shift
from chainrule.pictures import Panel, image_panels

HELD_OUT = 360  # the last digits, by other writers: looked at once, at the end
VALIDATION = 200  # of the others: they decide when to stop


class ConvNet(nn.Module):
    """Two stages of convolution, ReLU and pooling, then two dense layers. x: [N, 1, 8, 8] -> scores [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(64 * 2 * 2, 128)
        self.fc2 = nn.Linear(128, 10)

    def maps(self, x: cr.Tensor) -> tuple[cr.Tensor, ...]:
        """The feature maps of both stages, before and after pooling."""
        first = cr.relu(self.conv1(x))
        pooled = cr.max_pool2d(first, 2)
        second = cr.relu(self.conv2(pooled))
        return first, pooled, second, cr.max_pool2d(second, 2)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = self.dropout(cr.flatten(self.maps(x)[-1], 1))
        return self.fc2(cr.relu(self.fc1(x)))


def feature_maps(model: ConvNet, image: np.ndarray) -> str:
    """One digit [1, 1, 8, 8] and its feature maps, the strongest first, as SVG."""
    maps = cr.compile(model.maps, cr.spec(*image.shape))(image)
    captions = ("convolution + ReLU, 8x8", "max pool, 4x4", "convolution + ReLU, 4x4", "max pool, 2x2")
    orders = [np.argsort(-maps[stage][0].mean((1, 2))) for stage in (1, 1, 3, 3)]  # a map stands above its own pool
    panels = [Panel(c, m[0][order]) for c, m, order in zip(captions, maps, orders, strict=True)]
    return image_panels("One digit through the layers", [Panel("the digit", image[0]), *panels])


def main(epochs: int = 25, weights: str | None = None, picture: str | None = None) -> float:
    """Trains, writes weights and picture if paths are given; returns the share of unseen digits that are read right."""
    cr.manual_seed(0)
    images, labels = datasets.digits()
    learn, check = slice(None, -HELD_OUT - VALIDATION), slice(-HELD_OUT - VALIDATION, -HELD_OUT)
    train = cr.ArrayData(images[learn], labels[learn], batch_size=32, shuffle=True, augment=Shift(1))
    validation = cr.ArrayData(images[check], labels[check], batch_size=VALIDATION)

    model = ConvNet()
    specs = (cr.spec("N", 1, 8, 8), cr.spec("N", dtype="i64"))
    print(model.summary(specs[0]))

    # Forward, cross-entropy, backward and Adam: one call of native code for each batch.
    rate = optim.schedules.Cosine(5e-3, epochs * len(train))
    step = cr.training_step(model, cr.cross_entropy, optim.Adam(rate), specs, metrics=("accuracy",))
    stopping = cr.EarlyStopping("val_accuracy", patience=12)
    history = cr.fit(step, train, epochs, validation=validation, early_stopping=stopping)
    print(f"{len(history)} epochs, {history.stopped}, loss {history['loss'][-1]:.3f}")

    net = cr.compile(model, specs[0])
    accuracy = float(np.mean(net(images[-HELD_OUT:]).argmax(1) == labels[-HELD_OUT:]))
    print(f"{accuracy:.2%} of {HELD_OUT} digits by other writers are read right")
    if weights is not None:
        cr.save(model, weights)
    if picture is not None:
        Path(picture).write_text(feature_maps(model, images[-HELD_OUT:][:1]), encoding="utf-8")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--weights", metavar="FILE.safetensors", help="where to save the trained weights")
    parser.add_argument("--picture", metavar="FILE.svg", help="where to draw the feature maps of one digit")
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.weights, arguments.picture)
