"""An LSTM learns to write, letter by letter, from a real text: the documentation that comes with Python itself.

python examples/write_text.py [--epochs 8] [--text FILE] [--start "The "] [--picture loss.svg]

The model reads 64 letters and learns to name the next one at each place. To write, it is fed its own letters, and its
state is carried from call to call: training and writing are two compiled programs over the same weights.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.pictures import Series, curves

LENGTH, UNITS = 64, 192


class Writer(nn.Module):
    """Letters in, scores of the next letter out. letters: i64[N, T], state: (h, c) -> scores [N, T, V], (h, c)."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(letters, 48)
        self.lstm = nn.LSTM(48, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, letters)

    def __call__(self, letters: cr.Tensor, state: object = None) -> tuple[cr.Tensor, object]:
        ys, state = self.lstm(self.embedding(letters), state)
        return self.head(ys), state


def python_text() -> str:
    """The language reference and library topics, as the standard library holds them (0.7 MB)."""
    topics = import_module("pydoc_data.topics").topics
    return "\n".join(topics[name] for name in sorted(topics))


def encoded(text: str) -> tuple[str, np.ndarray]:
    """The letters that occur often, and the text in numbers; rare letters are read as a space."""
    kept, counts = np.unique(list(text), return_counts=True)
    alphabet = "".join(sorted({" ", *kept[counts >= 20]}))
    number = {letter: i for i, letter in enumerate(alphabet)}
    return alphabet, np.array([number.get(letter, number[" "]) for letter in text])


def train(model: Writer, numbers: np.ndarray, epochs: int, steps: int | None) -> cr.History:
    """Fits the model to windows of the text; the last tenth is held out."""
    count = (len(numbers) - 1) // LENGTH
    x, y = (numbers[at : at + count * LENGTH].reshape(count, LENGTH) for at in (0, 1))
    cut = count - count // 10 if steps is None else steps * 32
    data = cr.ArrayData(x[:cut], y[:cut], batch_size=32, shuffle=True)
    held = cr.ArrayData(x[-(count // 10) :][: cut], y[-(count // 10) :][: cut], batch_size=32)

    def loss(output: tuple[cr.Tensor, object], targets: cr.Tensor) -> cr.Tensor:
        scores = output[0]
        return cr.cross_entropy(cr.reshape(scores, (-1, scores.shape[-1])), cr.reshape(targets, (-1,)))

    specs = (cr.spec("N", LENGTH, dtype="i64"), cr.spec("N", LENGTH, dtype="i64"))
    rate = optim.schedules.Cosine(4e-3, epochs * len(data))
    step = cr.training_step(model, loss, optim.Adam(rate), specs, clip_norm=1.0)
    return cr.fit(step, data, epochs, validation=held)


def write(model: Writer, alphabet: str, start: str, length: int, temperature: float = 0.6) -> str:
    """A text that goes on from `start`; a low temperature prefers the likeliest letters."""
    state = cr.spec(1, 1, UNITS)
    net = cr.compile(model, cr.spec(1, 1, dtype="i64"), (state, state))
    h, c = np.zeros((1, 1, UNITS), np.float32), np.zeros((1, 1, UNITS), np.float32)
    rng, text = np.random.default_rng(0), start
    for i in range(len(start) + length - 1):
        scores, (h, c) = net(np.array([[alphabet.index(text[i])]]), (h, c))
        if i >= len(start) - 1:
            odds = np.exp((scores[0, 0] - scores.max()).astype(np.float64) / temperature)
            text += alphabet[rng.choice(len(alphabet), p=odds / odds.sum())]
    return text


def main(epochs: int = 8, text: str | None = None, start: str = "The ", picture: str | None = "loss.svg",
         steps: int | None = None) -> tuple[list[float], str]:  # fmt: skip
    """Trains, writes 400 letters, draws the loss; returns the losses of the epochs and the text."""
    cr.manual_seed(0)
    alphabet, numbers = encoded(Path(text).read_text(encoding="utf-8") if text else python_text())
    print(f"{len(numbers):,} letters, {len(alphabet)} different ones")
    model = Writer(len(alphabet))
    history = train(model, numbers, epochs, steps)
    losses = [float(v) for v in history["val_loss"]]
    written = write(model, alphabet, start, 400)
    print(f"held-out loss {losses[-1]:.3f} nats a letter. It writes:\n\n{written}")
    if picture is not None:
        at = list(range(1, len(losses) + 1))
        series = [Series("training", at, [float(v) for v in history["loss"]]), Series("held out", at, losses)]
        Path(picture).write_text(curves("Learning to write", "epoch", "nats a letter", series), encoding="utf-8")
    return losses, written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--text", metavar="FILE", help="a text of your own, in UTF-8")
    parser.add_argument("--start", default="The ")
    parser.add_argument("--picture", default="loss.svg", metavar="FILE.svg")
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.text, arguments.start, arguments.picture)
