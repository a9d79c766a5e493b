"""The networks of the notes in PyTorch: each is built from ours, layer by layer, with our weights.

Layers have the same names and settings in both libraries; what a note composes of them in a forward pass of its own is
written again here. ``torch`` is an argument, so this module can be imported where PyTorch is not installed.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention import multi_head, transformer
from tinygrad_notes.notes.cnn import googlenet, inception_block, resnet_basic
from tinygrad_notes.notes.language import RecurrentLanguageModel
from tinygrad_notes.notes.translation import PAD

VANISHING = 1e-10  # of the largest gradient: below it, in float64, a gradient is 0 but for rounding

# ---------------------------------------------------------------------- networks


def twin(torch: Any, model: nn.Module) -> Any:
    """PyTorch's network of the same layers, weights, dtype and mode."""
    made = translated(torch, model).to(getattr(torch, str(next(model.parameters()).dtype)))
    made.load_state_dict({name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()})
    return made.train(model.training)


def translated(torch: Any, module: nn.Module) -> Any:
    """A module of PyTorch's with its own weights."""
    for ours, theirs in composed(torch).items():
        if isinstance(module, ours):
            return theirs(module)
    for container in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
        if isinstance(module, container):
            made = getattr(torch.nn, container.__name__)()
            for name, child in module.named_children():
                made.add_module(name, translated(torch, child))
            return made
    theirs = getattr(torch.nn, type(module).__name__)
    if isinstance(module, nn.RNN | nn.GRU | nn.LSTM):
        return theirs(module.input_size, module.hidden_size, module.num_layers, batch_first=module.batch_first)
    if isinstance(module, nn.TransformerEncoder | nn.TransformerDecoder):
        return stack(torch, module)
    # what a layer is made with stands in it under the names of PyTorch's parameters
    settings = {name: getattr(module, name) for name in inspect.signature(theirs).parameters if hasattr(module, name)}
    if "bias" in settings:
        settings["bias"] = settings["bias"] is not None
    return theirs(**settings)


def stack(torch: Any, module: Any) -> Any:
    """Encoder or decoder of a Transformer whose activation is the default, ReLU."""
    first, name = module.layers[0], type(module).__name__
    layer = getattr(torch.nn, f"{name}Layer")(
        first.self_attn.embed_dim, first.self_attn.num_heads, first.linear1.out_features, first.dropout.p,
        batch_first=first.self_attn.batch_first, norm_first=first.norm_first,
    )  # fmt: skip
    norm = None if module.norm is None else translated(torch, module.norm)
    # a layout of PyTorch's that only masked inference uses
    options = {"enable_nested_tensor": False} if name == "TransformerEncoder" else {}
    return getattr(torch.nn, name)(layer, len(module.layers), norm, **options)


@functools.cache
def composed(torch: Any) -> dict[type, Any]:
    """PyTorch's classes for those of the notes that have a forward pass of their own."""
    functional = torch.nn.functional

    class Composed(torch.nn.Module):  # type: ignore[misc, name-defined]
        """The modules in ours, and its numbers, under their names."""

        def __init__(self, ours: nn.Module):
            super().__init__()
            modules = {id(child): translated(torch, child) for child in ours.children()}  # one of them may stand twice
            for name, value in vars(ours).items():
                if isinstance(value, nn.Module):
                    setattr(self, name, modules[id(value)])
                elif value is None or isinstance(value, int | float):
                    setattr(self, name, value)

    class Residual(Composed):
        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            if hasattr(self, "conv3"):
                y = self.bn3(self.conv3(torch.relu(y)))
            return torch.relu(y if self.downsample is None else y + self.downsample(x))

    class Paths(Composed):
        def forward(self, x: Any) -> Any:
            return torch.cat([path(x) for path in self.paths.values()], dim=1)

    class GoogLeNet(Composed):
        def forward(self, x: Any) -> Any:
            for stage in self.stages:
                x = stage(x)
            return self.fc(self.dropout(x))

    class Recurrent(Composed):
        def advance(self, tokens: Any, state: Any = None) -> tuple[Any, Any]:
            if self.embedding is None:
                x = functional.one_hot(tokens, self.vocabulary).to(self.output.weight.dtype)
            else:
                x = self.embedding(tokens)
            h, state = self.recurrent(x, state)
            return self.output(h), state

        def forward(self, tokens: Any) -> Any:
            return self.advance(tokens)[0]

    class MultiHead(Composed):
        def split(self, x: Any) -> Any:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        def forward(self, queries: Any, keys: Any, values: Any, mask: Any = None) -> Any:
            heads = self.split(self.W_Q(queries)), self.split(self.W_K(keys)), self.split(self.W_V(values))
            found = functional.scaled_dot_product_attention(*heads, attn_mask=mask)
            return self.W_O(found.transpose(1, 2).flatten(2))

    class Transformer(Composed):
        def embed(self, table: Any, tokens: Any) -> Any:
            place = torch.from_numpy(transformer.positions(tokens.shape[1], self.d_model)).to(table.weight.dtype)
            return self.dropout(table(tokens) * math.sqrt(self.d_model) + place)

        def forward(self, source: Any, lengths: Any, target: Any) -> Any:
            padding = torch.arange(source.shape[1]) >= lengths[:, None]
            memory = self.encoder(self.embed(self.source_embedding, source), src_key_padding_mask=padding)
            later = torch.ones(2 * (target.shape[1],), dtype=torch.bool).triu(1)
            x = self.decoder(
                self.embed(self.target_embedding, target), memory,
                tgt_mask=later, memory_key_padding_mask=padding, tgt_is_causal=True,
            )  # fmt: skip
            return functional.linear(x, self.target_embedding.weight) if self.output is None else self.output(x)

    return {
        resnet_basic.Residual: Residual, inception_block.Paths: Paths, googlenet.GoogLeNet: GoogLeNet,
        RecurrentLanguageModel: Recurrent, multi_head.MultiHead: MultiHead, transformer.Transformer: Transformer,
    }  # fmt: skip


# ---------------------------------------------------------------------- what they learn

Loss = Callable[[Any, Any, Any], Any]  # of a library's functions, the output and the target


def of_classes(functions: Any, output: Any, target: Any) -> Any:
    return functions.cross_entropy(output, target)


def of_tokens(functions: Any, output: Any, target: Any) -> Any:
    return functions.cross_entropy(output.reshape((-1, output.shape[-1])), target.reshape((-1,)))


def of_padded_tokens(functions: Any, output: Any, target: Any) -> Any:
    return functions.cross_entropy(
        output.reshape((-1, output.shape[-1])), target.reshape((-1,)), ignore_index=PAD
    )  # fmt: skip


def of_values(functions: Any, output: Any, target: Any) -> Any:
    return functions.mse_loss(output, target)


@dataclass(frozen=True)
class Lesson:
    """A network, what it is called with, and what its loss compares the output with. Nothing is dropped: what is
    drawn at random differs between libraries."""

    model: nn.Module
    inputs: tuple[np.ndarray, ...]
    target: np.ndarray
    loss: Loss = of_classes

    def __post_init__(self) -> None:
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    @property
    def shapes(self) -> str:
        """Of the inputs, but for lengths and masks."""
        return ", ".join("×".join(map(str, x.shape)) for x in self.inputs if x.ndim > 1 and x.dtype != bool)

    def to(self, dtype: Any) -> Lesson:
        """The same in another floating dtype; the network itself is changed."""
        *inputs, target = (x.astype(dtype) if x.dtype.kind == "f" else x for x in (*self.inputs, self.target))
        return replace(self, model=self.model.to(dtype), inputs=tuple(inputs), target=target)

    def within(self, torch: Any, library: str) -> tuple[Any, list[Any], Callable[[Any], Any]]:
        """The network, its inputs and the loss of its output in a library, "tn" or "torch"."""
        ours = library == "tn"
        tensor, functions = (tn.tensor, tn) if ours else (torch.tensor, torch.nn.functional)
        target = tensor(self.target)
        model = self.model if ours else twin(torch, self.model)
        return model, [tensor(x) for x in self.inputs], lambda output: self.loss(functions, output, target)


# ---------------------------------------------------------------------- how far they are apart

LIMITS = {"float64": 1e-10, "float32": 1e-4}


class Errors(NamedTuple):
    """The worst of max |ours - theirs| / max |theirs|: over the output and what batch normalisation has averaged; over
    the gradients of all parameters and floating inputs. ``rounding``: the worst of theirs beside theirs in float64,
    so as much as the precision costs in this network."""

    outputs: float
    gradients: float
    rounding: float

    def check(self, dtype: str) -> None:
        """AssertionError where they are more than a right result can have."""
        worst, most = max(self[:2]), max(LIMITS[dtype], 3 * self.rounding)
        assert worst <= most, f"ours differs from theirs by {worst:.1e} of the largest value in {dtype}"


def worst_errors(torch: Any, make: Callable[[], Lesson]) -> dict[str, Errors]:
    """By dtype, "float64" and "float32", of lessons that are made from the same seed.

    A gradient that is 0 by mathematics (of a bias in front of batch normalisation, of the keys' bias) is rounding in
    both libraries: its difference is divided by the largest of all gradients.
    """
    found: dict[str, Errors] = {}
    exact: Results = {}, {}
    for dtype in LIMITS:
        tn.manual_seed(0)
        lesson = make().to(getattr(tn, dtype))
        theirs, ours = results(torch, lesson, "torch"), results(torch, lesson, "tn")  # ours changes its averages
        exact = exact if found else theirs
        assert all(map(np.any, exact[1].values())), "a gradient of zeros, which compares nothing"
        outputs, gradients = worst_of(ours, theirs, exact[1])
        found[dtype] = Errors(outputs, gradients, max(worst_of(theirs, exact, exact[1])))
    return found


Results = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


def results(torch: Any, lesson: Lesson, library: str) -> Results:
    """The output and the buffers after one pass, and all gradients, by name."""
    model, inputs, loss = lesson.within(torch, library)
    leaves = dict(model.named_parameters())
    leaves |= {f"input {i}": x.requires_grad_() for i, x in enumerate(inputs) if lesson.inputs[i].dtype.kind == "f"}
    output = model(*inputs)
    assert str(output.dtype).removeprefix("torch.") == str(next(lesson.model.parameters()).dtype), output.dtype
    loss(output).backward()
    values = {"output": output, **dict(model.named_buffers())}
    return (
        {name: np.array(value.detach().numpy()) for name, value in values.items()},
        {name: np.array(leaf.grad.numpy()) for name, leaf in leaves.items()},
    )


def worst_of(found: Results, expected: Results, gradients: dict[str, np.ndarray]) -> list[float]:
    """The worst relative errors of values and of gradients; which of these vanish, the exact ``gradients`` say."""
    largest = max(float(np.abs(gradient).max()) for gradient in gradients.values())
    scales = {n: largest for n, gradient in gradients.items() if np.abs(gradient).max() < VANISHING * largest}
    worst = []
    for a, b in zip(found, expected):
        assert a.keys() == b.keys(), f"found {sorted(a)}, expected {sorted(b)}"
        worst.append(max(relative_error(a[n], b[n], scales.get(n)) for n in b))
    return worst


def relative_error(ours: np.ndarray, theirs: np.ndarray, scale: float | None = None) -> float:
    """max |ours - theirs| / max |theirs|, or / ``scale``."""
    assert ours.shape == theirs.shape, f"ours has shape {ours.shape}, theirs {theirs.shape}"
    error = float(np.abs(ours - theirs).max() / (np.abs(theirs).max() if scale is None else scale))
    assert np.isfinite(error), "a value that is not finite, or nothing but zeros to compare with"
    return error
