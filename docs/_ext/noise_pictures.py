"""Pictures of noise, for the gallery, the first pages and the README.

`python docs/_ext/noise_pictures.py docs/noises.png` draws the one of the README.
"""

import io
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib.cbook
import matplotlib.image
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

BLUE, GREY = "#3569b8", "#8a94a3"
GRAYS = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0}
CHANGES = {"cmap": "PuOr_r", "vmin": -1.0, "vmax": 1.0}
STYLE = {
    "figure.dpi": 110,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def photo(size: int = 128) -> np.ndarray:
    """Grace Hopper in gray, (size, size) from 0 to 1: a file of matplotlib."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        image = matplotlib.image.imread(file, format="jpg")
    gray = image[20:532].mean(-1, dtype=np.float32) / 255
    step = 512 // size
    return gray.reshape(size, step, size, step).mean((1, 3))


def features(size: int = 64, channels: int = 4) -> np.ndarray:
    """Activation maps of the photo, (1, size, size, channels): edges by direction."""
    image = photo(size)
    across, down = np.gradient(image)
    angles = np.arange(channels) * 2 * np.pi / channels
    maps = [across * np.cos(angle) + down * np.sin(angle) for angle in angles]
    stacked = np.maximum(np.stack(maps, -1), 0)
    bright = np.quantile(stacked, 0.99)
    return np.minimum(stacked / bright, 1).astype(np.float32)[None]


def show(x: Any, y: Any, values: Any, *, at: float = 0.5, mask: Any = None) -> Figure:
    """Input, output, what was done, and a histogram of the outputs of x = `at`."""
    figure, axes = grid(2, 2, (6, 5.2))
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    image(axes[0, 0], x, "x", **GRAYS)
    image(axes[0, 1], y, "y", **GRAYS)
    if mask is None:
        image(axes[1, 0], y - x, "y - x: orange up, purple down", **CHANGES)
    else:
        image(axes[1, 0], mask, "the mask: white is kept", **GRAYS)
    histogram(axes[1, 1], values, at)
    return figure


def show_maps(x: Any, y: Any) -> Figure:
    """Activation maps (1, height, width, channels) before and after."""
    x, y = np.asarray(x)[0], np.asarray(y)[0]
    channels = x.shape[-1]
    figure, axes = grid(2, channels, (1.7 * channels, 3.7))
    for channel in range(channels):
        before, after = x[..., channel], y[..., channel]
        scale = {"cmap": "gray", "vmin": min(0, after.min()), "vmax": 1.2}
        image(axes[0, channel], before, f"channel {channel}", **scale)
        image(axes[1, channel], after, "", **scale)
    axes[0, 0].set_ylabel("x")
    axes[1, 0].set_ylabel("y")
    return figure


def show_rows(parts: Sequence[tuple[str, Any]], unit: str) -> Figure:
    """Matrices below each other, such as sequences: rows are what shares a draw."""
    figure, axes = grid(1, len(parts), (2.7 * len(parts), 2.6))
    for ax, (title, matrix) in zip(axes[0], parts, strict=True):
        image(ax, np.asarray(matrix, np.float32), title, cmap="viridis", aspect="auto")
        ax.set_xlabel(unit)
    return figure


def grid(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    """A figure with its axes as an array of two dims."""
    with plt.rc_context(STYLE):
        return plt.subplots(
            rows, columns, figsize=size, layout="constrained", squeeze=False
        )


def image(ax: Any, picture: Any, title: str, **options: Any) -> None:
    ax.imshow(np.asarray(picture), interpolation="nearest", **options)
    ax.set(xticks=[], yticks=[], title=title)
    for spine in ax.spines.values():
        spine.set_visible(False)


def histogram(ax: Any, values: Any, at: float) -> None:
    """Outputs of one input, with their mean and standard deviation."""
    values = np.asarray(values, np.float32).ravel()
    low, high = np.quantile(values, [0.001, 0.999])
    edge = max(0.1 * (high - low), 0.1)
    ax.hist(values, bins=np.linspace(low - edge, high + edge, 60), color=BLUE)
    mean, spread = values.mean(), values.std()
    ax.axvline(at, color=GREY, lw=4, alpha=0.5)
    ax.axvline(mean, color="black", lw=1.2)
    for bound in (mean - spread, mean + spread):
        ax.axvline(bound, color="black", lw=1, ls="--")
    label = f"mean {mean:.2f}, standard deviation {spread:.2f}"
    ax.set(yticks=[], title=f"y where x = {at:g}", xlabel=label)
    ax.spines[["left", "top", "right"]].set_visible(False)


def overview() -> Figure:
    """The photo under eleven noises."""
    import jax

    import jaxnoise as jn

    key, x = jax.random.key(0), photo()
    amounts: dict[str, tuple[float, ...]] = {
        "dropout": (0.3,),
        "gaussian_dropout": (0.3,),
        "gaussian_noise": (0.2,),
        "real_gaussian_dropout": (0.3, 0.5),
        "uniform_noise": (0.4,),
        "laplace_noise": (0.2,),
        "salt_and_pepper": (0.1,),
        "poisson_noise": (0.1,),
        "speckle_noise": (0.3,),
        "drop_block": (0.15, 16),
        "alpha_dropout": (0.2,),
    }
    figure, axes = grid(2, 6, (10, 3.7))
    image(axes[0, 0], x, "x", **GRAYS)
    for ax, (name, arguments) in zip(axes.flat[1:], amounts.items(), strict=True):
        maps = x[None, ..., None] if name == "drop_block" else x
        y = getattr(jn, name)(key, maps, *arguments)
        image(ax, y.reshape(x.shape), name, **GRAYS)
    return figure


if __name__ == "__main__":
    picture = io.BytesIO()
    overview().savefig(picture, dpi=120)
    # gray, in 32 steps: a third of the bytes
    Image.open(picture).convert("L").quantize(32).save(sys.argv[1], optimize=True)
