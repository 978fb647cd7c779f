"""An encoder-decoder with attention learns to carry names into another script, and shows what it looks at.

python examples/transliterate.py [--language uk] [--epochs 10] [--picture attention.svg]

The pairs are real: names of languages, countries and their parts in English and in another language, from the package
pycountry (`pip install pycountry`). After Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to
align and translate", ICLR 2015, with the dot product of Luong et al. (2015) as score; in the spirit of Figure 3 of
LeCun, Bengio and Hinton, "Deep learning", Nature 521 (2015).
"""

from __future__ import annotations

import argparse
import gettext
import re
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.pictures import heat_map

UNITS, LETTERS = 96, 32
LONGEST = 14  # letters of a name
END, START = 0, 1  # what fills a row up, and what a name begins with


class Transliterator(nn.Module):
    """Scores of the next letter of a name, from all letters of the original and those of the name so far.

    source: i64[N, S], target: i64[N, T] -> scores [N, T, letters], attention [N, T, S].
    """

    def __init__(self, sources: int, targets: int) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(sources, LETTERS), nn.Embedding(targets, LETTERS)
        self.encoder = nn.GRU(LETTERS, UNITS, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(LETTERS, 2 * UNITS, batch_first=True)
        self.mixed = nn.Linear(4 * UNITS, 2 * UNITS)
        self.head = nn.Linear(2 * UNITS, targets)

    def __call__(self, source: cr.Tensor, target: cr.Tensor) -> tuple[cr.Tensor, cr.Tensor]:
        read, last = self.encoder(self.source(source))
        first = cr.expand_dims(cr.concatenate([last[0], last[1]], -1), 0)
        state, _ = self.decoder(self.target(target), first)
        scores = state @ cr.transpose(read, (0, 2, 1)) / UNITS**0.5
        hidden = cr.expand_dims(source == END, 1)
        attention = cr.softmax(cr.where(hidden, -1e9, scores), -1)
        context = attention @ read
        return self.head(cr.tanh(self.mixed(cr.concatenate([context, state], -1)))), attention


def pairs_of(language: str) -> list[tuple[str, str]]:
    """Names of one word in English and in another language, sorted."""
    try:
        import pycountry
    except ImportError:
        raise SystemExit("the names come from pycountry: pip install pycountry") from None
    found: dict[str, str] = {}
    for domain in ("iso3166-1", "iso3166-2", "iso639-3"):
        catalogue = gettext.translation(domain, pycountry.LOCALES_DIR, languages=[language], fallback=True)
        for english, other in getattr(catalogue, "_catalog", {}).items():
            if isinstance(english, str) and re.fullmatch(rf"[A-Za-z]{{3,{LONGEST}}}", english):
                if re.fullmatch(rf"\w{{2,{LONGEST}}}", other) and english != other:
                    found.setdefault(english.lower(), other.lower())
    return sorted(found.items())


class Alphabet:
    """Letters in numbers, from 2 on."""

    def __init__(self, words: list[str]) -> None:
        self.letters = sorted(set("".join(words)))
        self.size = len(self.letters) + 2

    def encoded(self, words: list[str]) -> np.ndarray:
        """i64[N, LONGEST + 1], filled up with END."""
        rows = np.full((len(words), LONGEST + 1), END)
        for row, word in zip(rows, words, strict=True):
            row[: len(word)] = [self.letters.index(letter) + 2 for letter in word]
        return rows

    def decoded(self, row: np.ndarray) -> str:
        """The word up to its END."""
        numbers = row.tolist()
        return "".join(self.letters[n - 2] for n in numbers[: numbers.index(END)] if n >= 2)


def shifted(target: np.ndarray) -> np.ndarray:
    """What the decoder has seen when it names each letter."""
    return np.concatenate([np.full((len(target), 1), START), target[:, :-1]], 1)


def loss(output: tuple[cr.Tensor, cr.Tensor], target: cr.Tensor) -> cr.Tensor:
    scores = output[0]
    return cr.cross_entropy(cr.reshape(scores, (-1, scores.shape[-1])), cr.reshape(target, (-1,)))


def written(net: cr.Executable, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest letters, one after the other: i64[N, LONGEST + 1], and what was looked at for each."""
    target = np.full((len(source), LONGEST + 1), END)
    for at in range(LONGEST):
        target[:, at] = net(source, shifted(target))[0][:, at].argmax(-1)
    return target, net(source, shifted(target))[1]


def main(language: str = "uk", epochs: int = 10, picture: str | None = "attention.svg",
         most: int | None = None) -> tuple[list[float], float]:  # fmt: skip
    """Trains, prints names it never saw, draws; returns the losses and the share of unseen names written right."""
    cr.manual_seed(0)
    pairs = pairs_of(language)[:most]
    english, other = Alphabet([a for a, _ in pairs]), Alphabet([b for _, b in pairs])
    order = np.random.default_rng(0).permutation(len(pairs))
    source = english.encoded([pairs[i][0] for i in order])
    target = other.encoded([pairs[i][1] for i in order])
    held = len(pairs) // 10
    print(f"{len(pairs) - held:,} pairs to learn from, {held:,} to be tried on")

    model = Transliterator(english.size, other.size)
    spec = cr.spec("N", LONGEST + 1, dtype="i64")
    data = cr.ArrayData(source[held:], shifted(target[held:]), target[held:], batch_size=64, shuffle=True)
    rate = optim.schedules.Cosine(3e-3, epochs * len(data))
    step = cr.training_step(model, loss, optim.Adam(rate), ((spec, spec), spec), clip_norm=1.0)
    history = cr.fit(step, data, epochs)

    net = cr.compile(model, spec, spec)
    found, attention = written(net, source[:held])
    right = float(np.mean((found == target[:held]).all(1)))
    print(f"{right:.0%} of the names it never saw are letter for letter right; for example")
    for i in range(8):
        print(f"  {english.decoded(source[i]):<15} {other.decoded(found[i]):<15} (is {other.decoded(target[i])})")
    if picture is not None:
        i = int(np.argmax((source[:held] != END).sum(1)))
        rows, columns = other.decoded(found[i]) + ".", english.decoded(source[i])
        shades = attention[i, : len(rows), : len(columns)]
        Path(picture).write_text(heat_map("Where the decoder looks", shades, rows, columns), encoding="utf-8")
    return [float(v) for v in history["loss"]], right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--language", default="uk", help="two letters, as pycountry has them: uk, ru, ja, el, ka, ...")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--picture", default="attention.svg", metavar="FILE.svg")
    arguments = parser.parse_args()
    main(arguments.language, arguments.epochs, arguments.picture)
