"""Architectures as both of PyTorch's exporters write them load and give what PyTorch gives. Runs where torch is."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
nn = torch.nn

Case = tuple[Callable[[], Any], Callable[[], Sequence[Any]]]


def image(size: int = 64) -> Callable[[], Sequence[Any]]:
    return lambda: (torch.randn(1, 3, size, size),)


def words(length: int = 12, count: int = 99) -> Callable[[], Sequence[Any]]:
    return lambda: (torch.randint(1, count, (2, length)),)


def sized(name: str, **options: Any) -> Callable[[], Any]:
    """A model of transformers by its name, random and small."""

    def make() -> Any:
        config = getattr(transformers, f"{name}Config")(**options)
        return getattr(transformers, f"{name}Model")(config)

    return make


TEXT = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}

# name -> (the model, its inputs); all small, weights random.
CASES: dict[str, Case] = {
    "bert": (sized("Bert", **TEXT), words()),
    "distilbert": (sized("DistilBert", vocab_size=99, dim=32, n_layers=2, n_heads=4, hidden_dim=37), words()),
    "roberta": (sized("Roberta", **TEXT), words()),
    "electra": (sized("Electra", embedding_size=16, **TEXT), words()),
    "gpt2": (sized("GPT2", vocab_size=99, n_embd=32, n_layer=2, n_head=4, use_cache=False), words()),
    "gpt_neo": (sized("GPTNeo", vocab_size=99, hidden_size=32, num_layers=2, num_heads=4,
                      attention_types=[[["global", "local"], 1]], use_cache=False), words()),
    "opt": (sized("OPT", vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=37,
                  word_embed_proj_dim=32, use_cache=False), words()),
    "vit": (sized("ViT", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37,
                  image_size=64, patch_size=16), image()),
    "deit": (sized("DeiT", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37,
                   image_size=64, patch_size=16), image()),
    "resnet": (sized("ResNet", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1]), image()),
    "regnet": (sized("RegNet", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], groups_width=8), image()),
    "mobilenet_v1": (sized("MobileNetV1", depth_multiplier=0.25, image_size=64), image()),
    "mobilenet_v2": (sized("MobileNetV2", depth_multiplier=0.35, image_size=64), image()),
    "efficientnet": (sized("EfficientNet", width_coefficient=0.2, depth_coefficient=0.3, image_size=64,
                           hidden_dim=256), image()),
    "convnext": (sized("ConvNext", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], image_size=64), image()),
    "swin": (sized("Swin", embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4, image_size=64), image()),
    "segformer": (sized("Segformer", depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 40, 64]), image()),
    "poolformer": (sized("PoolFormer", depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32]), image()),
    "wav2vec2": (sized("Wav2Vec2", hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=37,
                       conv_dim=(16, 16), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2,
                       num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2), lambda: (torch.randn(1, 800),)),
    "lstm": (lambda: nn.LSTM(5, 7, 2, bidirectional=True), lambda: (torch.randn(9, 2, 5),)),
    "gru": (lambda: nn.GRU(5, 7), lambda: (torch.randn(9, 2, 5),)),
    "encoder_layer": (lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
                      lambda: (torch.randn(2, 6, 16),)),
    "unet_parts": (lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, 1, 2, 2),
        nn.InstanceNorm2d(8, affine=True), nn.Upsample(scale_factor=2, mode="bilinear"), nn.ConvTranspose2d(8, 4, 2, 2),
        nn.PixelShuffle(2), nn.AdaptiveAvgPool2d(4), nn.Hardswish(), nn.ReflectionPad2d(1)), image(32)),
}  # fmt: skip


def first_output(found: Any) -> Any:
    """The first tensor of what a model returns."""
    while not torch.is_tensor(found):
        found = found[0]
    return found


class First(nn.Module):
    """A model reduced to its first output."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        found = self.model(x, return_dict=False) if hasattr(self.model, "config") else self.model(x)
        return first_output(found)


def exported(model: Any, inputs: Sequence[Any], newer: bool) -> bytes:
    """The model as ONNX; skips what the exporter itself cannot write."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            if newer:
                program = torch.onnx.export(model, tuple(inputs), dynamo=True, verbose=False)
                return program.model_proto.SerializeToString()
            file = io.BytesIO()
            torch.onnx.export(model, tuple(inputs), file, dynamo=False, opset_version=17)
            return file.getvalue()
        except Exception as problem:  # noqa: BLE001
            pytest.skip(f"torch cannot export it: {type(problem).__name__}")


@pytest.mark.slow
@pytest.mark.parametrize("newer", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize("name", CASES)
def test_an_exported_architecture_gives_what_torch_gives(name: str, newer: bool) -> None:
    make, draw = CASES[name]
    torch.manual_seed(0)
    model, inputs = First(make()).eval(), draw()
    with torch.no_grad():
        precise = First(make()).eval().double()
        precise.load_state_dict(model.state_dict())
        wanted = precise(*(x.double() if x.is_floating_point() else x for x in inputs))
        wanted = wanted.float().double().numpy()  # some random nets end in numbers below those of f32
    loaded = cr.load_onnx(exported(model, inputs, newer))
    found = cr.compile(loaded).run([np.ascontiguousarray(x.numpy()) for x in inputs])[0]
    verdict = models_agree(found, wanted, OTHER_FRAMEWORK)
    assert verdict.ok, verdict.reason
