"""What is the difference between Dropout, GaussianDropout, GaussianNoise and the rest?

Sends the 5 x 2 array 0 ... 9 through the noises of jaxnoise with one key, prints what
comes out beside the formula, the moments of the formula beside those of 20 000 draws,
and draws all of it into one picture. Where Keras is installed, the layers that both
have also run in Keras (JAX backend) with the same key; the largest difference is
printed in ulps, units in the last place. Without Keras it says so.

    python examples/compare_noise.py
    python examples/compare_noise.py --seed 3 --out noise.png

With `batch_dims=0` the array is one example of 5 positions and 2 channels; for drop
path it is 5 samples, and for embedding dropout a table of 5 words. Noises of ids, of
attention and of negative numbers alone are in the gallery of the site.
"""

import argparse
import importlib.util
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

import jaxnoise as jn

RATE, STDDEV = 0.3, 1.0
UNIFORM, LAPLACE = 3**0.5, 0.5**0.5  # the scales that have the variance of STDDEV
SHOWN = 5.0  # the input whose outputs the histograms show
DRAWS, SCATTERED = 20_000, 40
BLUE = "tab:blue"
DOTS = {"color": BLUE, "alpha": 0.5, "markersize": 4, "markeredgewidth": 0}

# alpha dropout: where it drops to, and its slope (see jaxnoise.alpha_dropout)
FLOOR = -1.7580993408473766
SLOPE = ((1 - RATE) * (1 + RATE * FLOOR**2)) ** -0.5


class Law(NamedTuple):
    """A formula, with E[y] and the standard deviation of y as functions of x."""

    text: str
    mean: Callable[[Any], Any]
    sd: Callable[[Any], Any]


DROPPED = Law(
    "y = x m / (1 - r)", lambda x: x, lambda x: x * (RATE / (1 - RATE)) ** 0.5
)
FLOORED = Law(
    "y = a (x m + A (1 - m)) + c",
    lambda x: SLOPE * (1 - RATE) * x,
    lambda x: SLOPE * (RATE * (1 - RATE)) ** 0.5 * (x - FLOOR),
)
MULTIPLIED = DROPPED._replace(text="y = x (1 + n sqrt(r / (1 - r)))")
ADDED = Law("y = x + s n", lambda x: x, lambda x: STDDEV + 0 * x)
ADDED_TO_SOME = Law("y = x + b s n", lambda x: x, lambda x: STDDEV * RATE**0.5 + 0 * x)


class Variant(NamedTuple):
    """A function, its amounts and its law; what shares a draw; the layer of Keras."""

    name: str
    amounts: tuple[float, ...]
    law: Law | None
    note: str = ""
    one_example: bool = False
    keras: str = ""
    high: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"batch_dims": 0} if self.one_example else {}
        return options if self.high is None else options | {"high": self.high}

    def __call__(self, key: jax.Array, x: jax.Array) -> jax.Array:
        return getattr(jn, self.name)(key, x, *self.amounts, **self.options)

    @property
    def text(self) -> str:
        return self.law.text if self.law else "y = x m / mean(m)"

    @property
    def call(self) -> str:
        amounts = ", ".join(f"{amount:.3g}" for amount in self.amounts)
        options = "".join(f", {name}={v:g}" for name, v in self.options.items())
        return f"jn.{self.name}(key, x, {amounts}{options})"


SPECKLED = Law("y = x (1 + s n)", lambda x: x, lambda x: RATE * x)
COUNTED = Law("y = s c, c ~ Poisson(x / s)", lambda x: x, lambda x: x**0.5)
# salt is 9 and pepper 0, as likely as each other: mean 4.5, variance 4.5^2
SALTED = Law(
    "y = 0 or 9 with probability r",
    lambda x: (1 - RATE) * x + RATE * 4.5,
    lambda x: (RATE * 4.5**2 + RATE * (1 - RATE) * (x - 4.5) ** 2) ** 0.5,
)

UNIT, CHANNEL = "one m for each unit", "one m for each channel"
VARIANTS = (
    Variant("dropout", (RATE,), DROPPED, UNIT, keras="Dropout"),
    Variant("spatial_dropout", (RATE,), DROPPED, CHANNEL, True, "SpatialDropout1D"),
    Variant("drop_path", (RATE,), DROPPED, "one m for each sample"),
    Variant("drop_block", (RATE, 2), None, "m = 0 in blocks of 2 positions", True),
    Variant("alpha_dropout", (RATE,), FLOORED, UNIT, keras="AlphaDropout"),
    Variant("feature_alpha_dropout", (RATE,), FLOORED, CHANNEL, True),
    Variant("gaussian_dropout", (RATE,), MULTIPLIED, keras="GaussianDropout"),
    Variant("gaussian_noise", (STDDEV,), ADDED, keras="GaussianNoise"),
    Variant("uniform_noise", (UNIFORM,), ADDED._replace(text="y = x + s u")),
    Variant("laplace_noise", (LAPLACE,), ADDED._replace(text="y = x + s l")),
    Variant("real_gaussian_dropout", (RATE, STDDEV), ADDED_TO_SOME),
    Variant("speckle_noise", (RATE,), SPECKLED, "s = r"),
    Variant("poisson_noise", (1.0,), COUNTED, "s = 1"),
    Variant("salt_and_pepper", (RATE,), SALTED, high=9.0),
    Variant("embedding_dropout", (RATE,), DROPPED, "one m for each word"),
)


def legacy_key(seed: int, call: int) -> jax.Array:
    """The key that a Keras layer with this seed uses in its n-th call, from 0."""
    return jax.random.wrap_key_data(jnp.array([seed, call], jnp.uint32))


def array() -> jax.Array:
    return jnp.arange(10.0).reshape(5, 2)


def draw(variant: Variant, seed: int) -> np.ndarray:
    """Independent outputs for the array, (DRAWS, 5, 2)."""
    keys = jax.random.split(jax.random.key(seed), DRAWS)
    return np.asarray(jax.vmap(variant, (0, None))(keys, array()))


def import_keras() -> tuple[Any, str]:
    """(keras, its version) on the JAX backend, or (None, why not)."""
    if importlib.util.find_spec("keras") is None:
        return None, "Keras is not installed: nothing to compare with."
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = importlib.import_module("keras")
    if (backend := keras.backend.backend()) != "jax":
        return None, f"Keras runs on {backend}, not on JAX: nothing to compare with."
    return keras, f"Keras {keras.__version__} on JAX."


def keras_output(keras: Any, variant: Variant, seed: int) -> np.ndarray:
    """The output of the Keras layer in its first call."""
    layer = getattr(keras.layers, variant.keras)(variant.amounts[0], seed=seed)
    batch = array()[None] if variant.one_example else array()
    with jax.legacy_prng_key("allow"):  # Keras passes its key as raw uint32
        return np.asarray(layer(batch, training=True)).reshape(5, 2)


def ulps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Distance in units in the last place of the larger of input and output.

    In ulps of the output alone it has no bound: x + s n may cancel to almost 0, and
    what is left is the rounding of x and of s n.
    """
    largest = np.maximum(np.maximum(abs(ours), abs(theirs)), np.asarray(array()))
    return abs(ours.astype(np.float64) - theirs) / np.spacing(largest)


def against_keras(variant: Variant, ours, theirs, seed: int) -> list[str]:
    lines, distance = [f"keras.layers.{variant.keras}:"], ulps(ours, theirs)
    if variant.name == "alpha_dropout":
        # from the same uniforms u, Keras drops the low end and jaxnoise the high end
        u = np.asarray(jax.random.uniform(legacy_key(seed, 0), ours.shape))
        alike = (u >= RATE) == (u < 1 - RATE)
        lines[0] += f" m = (u >= r), here (u < 1 - r): {alike.sum()} of 10 alike,"
        distance = distance[alike]
    return [*lines, f"largest difference {distance.max(initial=0):.2g} ulp"]


def show(variant: Variant, seed: int, keras: Any) -> None:
    """Input, output, the output of Keras; beside them the formula and its moments."""
    x = np.asarray(array())
    ours = np.asarray(variant(legacy_key(seed, 0), array()))
    columns, drawn = [x, ours], draw(variant, seed)[:, x == SHOWN]
    notes = [variant.text + (f", {variant.note}" if variant.note else "")]
    law = "E is not x: borders are dropped less"
    if variant.law:
        law = f"law E {variant.law.mean(SHOWN):.3f}, sd {variant.law.sd(SHOWN):.3f}"
    notes += [f"at x = {SHOWN:g}: {law}"]
    notes += [f"{DRAWS} draws: mean {drawn.mean():.3f}, sd {drawn.std():.3f}"]
    if keras and variant.keras:
        theirs = keras_output(keras, variant, seed)
        columns.append(theirs)
        notes += against_keras(variant, ours, theirs, seed)
    print(f"\n{variant.call}")
    for row in range(5):
        pairs = [" ".join(f"{value:6.2f}" for value in c[row]) for c in columns]
        note = notes[row] if row < len(notes) else ""
        print(f"{' |'.join(pairs)}   {note}".rstrip())


def draw_figure(seed: int, path: Path) -> None:
    """A cell for each variant: one draw, outputs against inputs, outputs at x = 5."""
    figure = Figure((12.8, 13.6), layout="constrained")
    cells = np.asarray(figure.subfigures(4, 4, wspace=0.02, hspace=0.03), object).flat
    for variant, cell in zip(VARIANTS, cells, strict=False):
        one = np.asarray(variant(legacy_key(seed, 0), array()))
        draw_cell(cell, variant, one, draw(variant, seed))
    draw_key(cells[-1])
    picture = io.BytesIO()
    figure.savefig(picture, dpi=125)
    # 64 colours are enough, and a third of the bytes
    Image.open(picture).convert("RGB").quantize(64).save(path, optimize=True)


def draw_cell(cell: Any, variant: Variant, one, outputs: np.ndarray) -> None:
    inputs = np.asarray(array())
    cell.suptitle(variant.name, fontsize=11, fontweight="bold")
    pattern, scatter, histogram = cell.subplots(1, 3, width_ratios=(0.3, 1, 0.4))
    histogram.sharey(scatter)
    pattern.imshow(one - inputs, cmap="PuOr_r", vmin=-5, vmax=5)
    pattern.set(xticks=[], yticks=[])
    pattern.set_title("y - x", fontsize=8.5)

    jitter = np.random.default_rng(0).uniform(-0.25, 0.25, (SCATTERED, *inputs.shape))
    points = outputs[:SCATTERED].ravel()
    scatter.plot((inputs + jitter).ravel(), points, ".", **DOTS)
    x = np.linspace(0, 9, 10)
    mean, sd = outputs.mean(0).ravel(), outputs.std(0).ravel()
    if variant.law:
        mean, sd = variant.law.mean(x), variant.law.sd(x)
    scatter.plot(x, mean, color="black", lw=1.5)
    scatter.plot(x, mean - sd, x, mean + sd, color="black", lw=1, ls="--")
    # no dot is cut
    low = min(points.min(), (mean - sd).min(), -1) - 0.5
    high = max(points.max(), (mean + sd).max(), 10) + 0.5
    scatter.set(ylim=(low, high), xticks=range(0, 10, 3), xlabel="x", ylabel="y")
    scatter.set_title(f"{variant.text}\n{variant.note}", fontsize=9.5)

    at = outputs[:, inputs == SHOWN].ravel()
    bins = np.linspace(low, high, 53)
    histogram.hist(at, bins=bins, orientation="horizontal", color=BLUE)
    for value, line in ((0, "-"), (-1, "--"), (1, "--")):
        height = mean[int(SHOWN)] + value * sd[int(SHOWN)]
        histogram.axhline(height, color="black", lw=1, ls=line)
    histogram.set(xticks=[], xlabel="draws")
    histogram.set_title("x = 5", fontsize=8.5)
    histogram.tick_params(labelleft=False)
    for ax in (scatter, histogram):
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)


def draw_key(cell) -> None:
    """How to read a cell, and the letters in the formulas."""
    ax = cell.subplots()
    ax.set_axis_off()
    handles = (
        Line2D([], [], ls="", marker=".", label="y against x (jittered)", **DOTS),
        Line2D([], [], color="black", label="E[y]"),
        Line2D([], [], color="black", ls="--", label="E[y] ± sd"),
        Patch(color=BLUE, label="right: y of 20,000 draws"),
        Patch(color=colormaps["PuOr_r"](0.8), label="left: one draw, y > x"),
        Patch(color=colormaps["PuOr_r"](0.2), label="left: one draw, y < x"),
    )
    ax.legend(handles=handles, loc="upper left", frameon=False, fontsize=9)
    letters = (
        f"r = {RATE:g}, m ~ Bernoulli(1 - r), b ~ Bernoulli(r)",
        "n ~ N(0, 1), u ~ U(-1, 1), l ~ Laplace(0, 1)",
        "s so that sd = 1 where s is added to all",
        f"A = {FLOOR:.3f}, a and c keep mean 0, sd 1",
    )
    ax.text(0, 0.42, "\n".join(letters), fontsize=9, va="top", transform=ax.transAxes)


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=2, help="from 0 to 2^31 - 1")
    parser.add_argument("--out", type=Path, default=Path("out/compare_noise.png"))
    arguments = parser.parse_args(argv)
    seed, path = arguments.seed, arguments.out
    if not 0 <= seed < 2**31:
        parser.error(f"argument --seed: must be from 0 to 2^31 - 1, got {seed}")
    if path.suffix != ".png":
        parser.error(f"argument --out: must be a file name in .png, got {path}")
    keras, status = import_keras()
    print(
        f"{status}\ninput | output" + (" | output of Keras, same key" if keras else "")
    )
    for variant in VARIANTS:
        show(variant, seed, keras)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_figure(seed, path)
    print(f"\nfigure: {path}")
    return path


if __name__ == "__main__":
    main()
