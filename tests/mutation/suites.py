"""Which tests are to see a change of which module, the fast and telling ones first."""

_SHAPES = "tests/test_structured.py"
_REST = ["tests/test_survivors.py", "tests/test_image.py"]
_GAUSSIAN = ["tests/test_gaussian.py", "tests/test_quantile.py"]
_DROPOUT = ["tests/test_dropout.py", "tests/test_check.py", "tests/test_bits.py"]

# of the recurrent core some tests of a second each, and then the whole files
_CORE, _NOISE = "tests/test_recurrent_core.py", "tests/test_recurrent_noise.py"
_LAYERS = ["tests/test_recurrent_linen.py", "tests/test_recurrent_nnx.py"]
_BAD = [f"{_NOISE}::test_bad_{of}" for of in ("rates_shapes_and_keys", "sequences")]
_BAD += [f"{_NOISE}::test_bad_noise"]
_DRAW = [
    f"{_NOISE}::test_the_draw_is_that_of_the_package",
    f"{_NOISE}::test_values_and_mean[0.1]",
    f"{_NOISE}::test_shapes[6]",
]
_REVERSED = f"{_CORE}::test_reversed_sequences_of_any_rank"
_FLAX = [
    f"{_LAYERS[0]}::test_errors",
    f"{_LAYERS[0]}::test_parameters_and_outputs_are_those_of_flax[simple]",
    f"{_LAYERS[0]}::test_sequences_end_where_they_end[batch1-simple]",
]


def _cell(name, *numbers):
    """The equations and the gradients of a cell, with all kinds of noise at once."""
    equations = f"{_CORE}::test_sequence_is_the_equations_of_the_papers"
    gradients = f"{_CORE}::test_gradients_are_those_of_autodiff"
    found = [f"{equations}[{name}, all per step]"]
    return found + [f"{gradients}[float64-1e-12-{name}-rates{n}]" for n in numbers]


SUITES = {
    "jaxnoise/_mask.py": [*_DROPOUT, _SHAPES],
    "jaxnoise/_integers.py": ["tests/test_check.py", "tests/test_text.py"],
    "jaxnoise/_check.py": [
        "tests/test_check.py",
        "tests/test_survivors.py",
        "tests/test_text.py",
        "tests/attack/test_calls.py::test_calls[dropout]",
        *_DROPOUT,
    ],
    "jaxnoise/_threefry.py": ["tests/test_dropout.py", "tests/test_gaussian.py"],
    "jaxnoise/_packed.py": ["tests/test_bits.py"],
    "jaxnoise/_random.py": [
        "tests/test_dropout.py",
        *_GAUSSIAN,
        "tests/test_bits.py",
        *_REST,
    ],
    "jaxnoise/_dropout.py": _DROPOUT,
    "jaxnoise/_gaussian.py": [*_GAUSSIAN, "tests/test_check.py", *_REST],
    "jaxnoise/_quantile.py": [*_GAUSSIAN, *_REST],
    "jaxnoise/_structured.py": [
        _SHAPES,
        "tests/test_check.py",
        "tests/test_laws.py::test_law[drop_block-traced]",
    ],
    "jaxnoise/recurrent/_noise.py": [*_DRAW, *_BAD, _NOISE, _CORE],
    "jaxnoise/recurrent/_masks.py": [*_cell("lstm", 2, 1), _CORE, _NOISE],
    "jaxnoise/recurrent/_lstm.py": [*_cell("lstm", 2), _CORE, _NOISE],
    "jaxnoise/recurrent/_gru.py": [*_cell("gru", 5), _CORE, _NOISE],
    "jaxnoise/recurrent/_simple.py": [*_cell("simple", 8), _CORE, *_LAYERS],
    "jaxnoise/recurrent/_cell.py": [*_BAD, *_cell("simple"), _CORE, _NOISE],
    "jaxnoise/recurrent/_sequence.py": [*_FLAX, _REVERSED, _CORE, *_LAYERS],
    "jaxnoise/recurrent/_overwrite.py": [*_cell("simple", 8), _CORE, _NOISE],
    "jaxnoise/recurrent/_scan.py": [*_cell("gru", 5, 4), _CORE, _NOISE],
    "jaxnoise/recurrent/_layer.py": [*_FLAX, *_LAYERS],
}
