"""The convolutional networks: against hand-written ones in NumPy, and against known counts."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.special import erf

from tfc_jax import registry
from tfc_jax.functional import Functional
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.network import Network

K, B = 3, 3
CNN = Run(architecture="cnn", depth=6, width=2)
VGG = Run(architecture="vgg11", depth=11, width=2)
RESNET = Run(architecture="resnet", depth=8, width=2, norm="batch")
CIFAR = (32, 32, 3)
VARIANTS = [
    CNN,
    replace(CNN, norm="batch", bias=True, activation="gelu"),
    replace(CNN, norm="layer", activation="gelu"),
    replace(VGG, init="he_normal"),
    replace(VGG, norm="batch", bias=True),
    RESNET,
    replace(RESNET, bias=True, activation="gelu"),
]


def functional(run: Run, shape: tuple[int, ...]) -> Functional:
    return Functional(Network(run, shape, K, K))


def spread(tree: dict) -> dict:
    """Moves biases, norm scales and statistics off 0 and 1, where they could hide."""
    rng = np.random.default_rng(1)

    def moved(leaf: Array) -> Array:
        a = np.asarray(leaf, np.float64)
        return jnp.asarray(
            a * rng.uniform(0.5, 2, a.shape) + rng.uniform(0, 1) if a.ndim < 2 else a
        )

    return jax.tree.map(moved, tree)


class Twin:
    """The three networks in NumPy, float64; sums over windows are written out."""

    def __init__(self, run: Run, params: dict, state: dict, train: bool) -> None:
        self.run, self.params, self.state, self.train = run, params, state, train
        self.features: list[np.ndarray] = []

    def act(self, a: np.ndarray) -> np.ndarray:
        return a * (1 + erf(a / np.sqrt(2))) / 2 if self.run.activation == "gelu" else a.clip(min=0)

    def norm(self, a: np.ndarray, params: dict, state: dict) -> np.ndarray:
        if self.run.norm == "layer":
            mean, var, epsilon = a.mean(-1, keepdims=True), a.var(-1, keepdims=True), 1e-6
        elif self.train:
            axes = tuple(range(a.ndim - 1))
            mean, var, epsilon = a.mean(axes), a.var(axes), 1e-5
        else:
            mean, var, epsilon = state["mean"], state["var"], 1e-5
        return (a - mean) / np.sqrt(var + epsilon) * params["scale"] + params["bias"]

    def chain(self, x: np.ndarray, pooled: tuple[int, ...]) -> np.ndarray:
        """Pools after the layers in `pooled`."""
        h, depth = x, self.run.depth
        for i in range(depth):
            layer = self.params["layers"][i]
            a = conv(h, layer) if layer["kernel"].ndim == 4 else dense(h.reshape(B, -1), layer)
            if i == depth - 1:
                return a
            if self.run.norm != "none":
                state = self.state["norms"][i] if self.run.norm == "batch" else {}
                a = self.norm(a, self.params["norms"][i], state)
            h = pool(self.act(a)) if i + 1 in pooled else self.act(a)
            self.features.append(h)
        raise AssertionError

    def resnet(self, x: np.ndarray) -> np.ndarray:
        p, s, n = self.params, self.state, (self.run.depth - 2) // 3
        h = self.act(self.norm(conv(x, p["stem"]), p["norms"][0], s["norms"][0]))
        self.features.append(h)
        for i in range(3 * n):
            q, t, stride = p["blocks"][i], s["blocks"][i], 2 if i in (n, 2 * n) else 1
            u = self.act(self.norm(conv(h, q["first"], stride), q["norms"][0], t["norms"][0]))
            v = self.norm(conv(u, q["second"]), q["norms"][1], t["norms"][1])
            if stride == 2:
                every_other = h[:, ::2, ::2] @ q["projection"][0]["kernel"][0, 0]
                h = self.norm(every_other, q["norms"][2], t["norms"][2])
            h = self.act(v + h)
            self.features.append(h if i < 3 * n - 1 else h.mean((1, 2)))
        return dense(self.features[-1], p["head"])


def conv(h: np.ndarray, layer: dict, stride: int = 1) -> np.ndarray:
    """3x3, zeros around the border, every `stride`-th place."""
    n, height, width, _ = h.shape
    padded = np.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((n, height, width, layer["kernel"].shape[-1])) + layer.get("bias", 0.0)
    for i in range(3):
        for j in range(3):
            out += padded[:, i : i + height, j : j + width] @ layer["kernel"][i, j]
    return out[:, ::stride, ::stride]


def dense(h: np.ndarray, layer: dict) -> np.ndarray:
    return h @ layer["kernel"] + layer.get("bias", 0.0)


def pool(h: np.ndarray) -> np.ndarray:
    rows, columns = range(h.shape[1] // 2), range(h.shape[2] // 2)
    windows = [
        [h[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2)) for j in columns] for i in rows
    ]
    return np.stack([np.stack(row, axis=1) for row in windows], axis=1)


# By hand: 9x10 pixels become 4x5 after layer 2 and 2x2 after layer 4 of the cnn; of vgg11 they
# become 4x5, 2x2 and 1x1 after layers 1, 2 and 4, and are pooled no further.
POOLED = {"cnn": (2, 4), "vgg11": (1, 2, 4)}
ODD = (9, 10, 2)


@pytest.mark.parametrize(
    "run", VARIANTS, ids=lambda run: f"{run.architecture}-{run.norm}-{run.bias}"
)
def test_the_network_is_the_hand_written_one(run: Run) -> None:
    net, seen = functional(run, ODD), dict[str, Array]()
    x = np.random.default_rng(0).standard_normal((B, *ODD))

    def tap(name: str, value: Array) -> Array:
        seen[name] = value
        return value

    with jax.enable_x64():
        params, state = map(spread, net.init(Hyper.of(run, np.float64)))
        for train in (True, False):
            z, _ = net.apply(params, state, jnp.asarray(x.reshape(B, -1)), train=train, tap=tap)
            p, s = (jax.tree.map(np.asarray, tree) for tree in (params, state))
            twin = Twin(run, p, s, train)
            pools = POOLED.get(run.architecture, ())
            logits = twin.chain(x, pools) if pools else twin.resnet(x)
            features = [seen[f"feature_{layer}"] for layer in range(1, run.depth)]
            for mine, theirs in zip([*features, z], [*twin.features, logits], strict=True):
                assert mine.shape == theirs.shape
                # Up to 15 sums of at most 144 products in float64; norms divide by some 0.01.
                assert np.abs(mine - theirs).max() <= 1e-12 * np.abs(theirs).max()


def n_params(run: Run, n_outputs: int = 10) -> int:
    return Network(run, CIFAR, n_outputs, n_outputs).sizes.n_params


def test_resnet_20_has_the_known_number_of_parameters() -> None:
    """269,722 with parameter-free shortcuts (He et al., 2016: 0.27M); projections add 2,752.

    Convolutions 9 (3 16 + 6 16^2 + 16 32 + 5 32^2 + 32 64 + 5 64^2), norms 2 (7 16 + 6 32 + 6 64),
    head 64 10 + 10; projections 16 32 + 32 64, and their norms 2 (32 + 64).
    """
    run = Run(architecture="resnet", depth=11, width=16, norm="batch", bias=True)
    assert n_params(run) == 269_722 + 2_752 == 272_474


def test_vgg11_of_width_64_has_the_known_convolutions() -> None:
    """9 (3 64 + 64 128 + 128 256 + 256^2 + 256 512 + 3 512^2) weights; then 512 512, twice."""
    run = Run(architecture="vgg11", depth=11, width=64)
    convolutions = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256**2 + 256 * 512 + 3 * 512**2)
    assert convolutions == 9_217_728
    # On 32x32 images the last feature has one pixel of 512 channels.
    assert n_params(run) == convolutions + 2 * 512**2 + 512 * 10
    # The usual 9,220,480 count the 2,752 biases of the convolutions.
    assert n_params(replace(run, bias=True)) - n_params(run) == 2_752 + 2 * 512 + 10


@pytest.mark.parametrize(
    ("run", "found"),
    [
        (replace(VGG, depth=8), "depth: 8 came, but vgg11 has 11 layers: write depth: 11."),
        (
            replace(RESNET, norm="none"),
            "norm: none came, but resnet is built with batch norm: write norm: batch.",
        ),
        (
            replace(RESNET, depth=6),
            "depth: 6 came, but resnet has three stages of n blocks, hence 3n + 2 layers: write "
            "depth: 5, 8, 11 or another of this series.",
        ),
        (
            replace(CNN, depth=1),
            "depth: 1 came, but cnn has a convolution below its linear layer. Use a depth of at "
            "least 2.",
        ),
        (
            replace(CNN, fourier_features=4),
            "fourier_features: 4 came, which makes inputs flat, but cnn needs images. Leave "
            "fourier_features at null.",
        ),
    ],
    ids=lambda value: value.architecture if isinstance(value, Run) else "",
)
def test_keys_that_do_not_fit_are_refused_with_the_remedy(run: Run, found: str) -> None:
    shape: Any = CIFAR if run.fourier_features is None else (8,)
    assert registry.module("models", run.architecture).misfits(run, shape) == [found]


def test_an_initial_convolution_counts_its_window_in_the_fan() -> None:
    run = Run(architecture="cnn", depth=4, width=32, init="he_normal")
    _, second, _, _ = functional(run, CIFAR).kernels(functional(run, CIFAR).init(Hyper.of(run))[0])
    assert second.shape == (9 * 32, 32)
    # Standard error of a second moment of Gaussians.
    assert abs(np.mean(np.square(second)) * 9 * 32 / 2 - 1) < 4 * np.sqrt(2 / second.size)
