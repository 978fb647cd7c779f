"""Words that occur in like company get like vectors: skip-gram with negative samples, drawn in two dimensions.

python examples/word_vectors.py [--epochs 25] [--text FILE] [--picture words.svg]

After Mikolov et al., "Distributed representations of words and phrases", NeurIPS 2013 (equation 4), and Figure 4 of
LeCun, Bengio and Hinton, "Deep learning", Nature 521 (2015). The text is the documentation that comes with Python.
"""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.pictures import Dot, Plane, planes

SIZE, WINDOW, NEGATIVES, LEAST = 48, 4, 8, 12
SHOWN = ("list tuple dict set string bytes integer float int str complex character unicode",
         "class function method attribute argument parameter object type iterator generator module package import file",
         "return yield if else while for true false none",
         "raise except try finally error exception")  # one colour each


class SkipGram(nn.Module):
    """Scores of pairs: a word and its company, and the word and words drawn at random.

    words: i64[N], company: i64[N, 1 + NEGATIVES] -> dot products of their vectors [N, 1 + NEGATIVES].
    """

    def __init__(self, words: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Embedding(words, SIZE), nn.Embedding(words, SIZE)
        for table in (self.inner, self.outer):
            table.weight.data *= 0.1

    def __call__(self, words: cr.Tensor, company: cr.Tensor) -> cr.Tensor:
        return cr.squeeze(self.outer(company) @ cr.expand_dims(self.inner(words), -1), -1)


def words_of(text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The words that occur often, how often, and the text in numbers."""
    found = re.findall(r"[a-z]+", text.lower())
    words, numbers, counts = np.unique(found, return_inverse=True, return_counts=True)
    kept = counts >= LEAST
    renumbered = np.cumsum(kept) - 1
    return words[kept].tolist(), counts[kept], renumbered[numbers[kept[numbers]]]


def pairs_of(numbers: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Every word with each neighbour in its window; frequent words are thinned out, as the paper does."""
    share = counts / counts.sum()
    thinned = numbers[rng.random(len(numbers)) < np.sqrt(1e-3 / share)[numbers]]
    steps = [s for s in range(-WINDOW, WINDOW + 1) if s]
    middle = thinned[WINDOW:-WINDOW]
    company = [thinned[WINDOW + s : len(thinned) - WINDOW + s] for s in steps]
    return np.tile(middle, len(steps)), np.concatenate(company)


def loss(scores: cr.Tensor, truth: cr.Tensor) -> cr.Tensor:
    """Real pairs are to score high, drawn ones low: the sum over each word's pairs, on average."""
    return cr.binary_cross_entropy_with_logits(scores, truth) * (1 + NEGATIVES)


def train(model: SkipGram, numbers: np.ndarray, counts: np.ndarray, epochs: int, batch: int = 512) -> list[float]:
    """The mean loss of each epoch."""
    rng = np.random.default_rng(0)
    noise = np.cumsum(counts**0.75)
    noise /= noise[-1]
    specs = ((cr.spec(batch, dtype="i64"), cr.spec(batch, 1 + NEGATIVES, dtype="i64")), cr.spec(batch, 1 + NEGATIVES))
    step = cr.training_step(model, loss, optim.Adam(2e-3), specs)
    truth = np.zeros((batch, 1 + NEGATIVES), np.float32)
    truth[:, 0] = 1
    means: list[float] = []
    for epoch in range(epochs):
        words, company = pairs_of(numbers, counts, rng)
        order = rng.permutation(len(words))
        losses = []
        for at in range(0, len(order) - batch + 1, batch):
            chosen = order[at : at + batch]
            drawn = np.searchsorted(noise, rng.random((batch, NEGATIVES)))
            losses.append(step(words[chosen], np.concatenate([company[chosen, None], drawn], 1), truth))
        means.append(float(np.mean(losses)))
        print(f"epoch {epoch + 1}: loss {means[-1]:.3f}")
    return means


def neighbours(vectors: np.ndarray, words: list[str], word: str, count: int = 5) -> list[str]:
    """The words whose vectors point most nearly the same way."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = np.argsort(-(unit @ unit[words.index(word)]))
    return [words[i] for i in near if words[i] != word][:count]


def picture(vectors: np.ndarray, words: list[str], counts: np.ndarray) -> str:
    """Words in the plane of their two main directions: those of Python, in a text of others the most frequent."""
    colours = {w: colour for colour, group in enumerate(SHOWN) for w in group.split() if w in words}
    colours = colours if len(colours) > 20 else dict.fromkeys((words[i] for i in np.argsort(-counts)[:40]), 0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = unit[[words.index(w) for w in colours]]
    centred = chosen - chosen.mean(0)
    flat = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    dots = [Dot((float(x), float(y)), colours[w], w) for (x, y), w in zip(flat, colours, strict=True)]
    plane = Plane("two main directions of their vectors", dots=dots)
    return planes("Words by the company they keep", [plane], side=640)


def main(epochs: int = 25, text: str | None = None,
         path: str | None = "words.svg") -> tuple[list[float], SkipGram, list[str]]:  # fmt: skip
    """Trains, prints neighbours, draws; returns the losses, the model and its words."""
    cr.manual_seed(0)
    topics = import_module("pydoc_data.topics").topics
    words, counts, numbers = words_of(Path(text).read_text(encoding="utf-8") if text else "\n".join(topics.values()))
    print(f"{len(numbers):,} words, {len(words):,} different ones")
    model = SkipGram(len(words))
    losses = train(model, numbers, counts, epochs)
    vectors = model.inner.weight.data
    for word in (w for w in ("list", "integer", "import", "exception") if w in words):
        print(f"{word}: {', '.join(neighbours(vectors, words, word))}")
    if path is not None:
        Path(path).write_text(picture(vectors, words, counts), encoding="utf-8")
    return losses, model, words


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--text", metavar="FILE", help="a text of your own, in UTF-8")
    parser.add_argument("--picture", default="words.svg", metavar="FILE.svg")
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.text, arguments.picture)
