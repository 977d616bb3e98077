"""Which tests are to see a change of which module, the fast and telling ones first."""

_SHAPES = "tests/test_structured.py"
_NOTHING = "tests/test_laws.py::test_nothing_is_computed_where_nothing_is_asked_for"
_INTEGERS = "tests/test_integers.py"
_REST = [_NOTHING, "tests/test_check.py", "tests/test_image.py"]
_GAUSSIAN = ["tests/test_gaussian.py", "tests/test_quantile.py"]
_DROPOUT = ["tests/test_dropout.py", _NOTHING, "tests/test_check.py"]
_DROPOUT += ["tests/test_bits.py"]
_OPTIONS = "tests/attack/test_options.py"

# meshes: what is cheap, what is drawn where, and then the whole files
_MESHES = ["tests/test_devices.py", "tests/test_devices_recurrent.py"]
_PLACES = [f"{_MESHES[0]}::test_functions_and_layers", "tests/test_sharding.py"]
_ASKED = [
    f"{_MESHES[0]}::test_bad_shardings",
    f"{_MESHES[0]}::test_a_mask_drawn_where_it_is_asked_for",
    f"{_MESHES[1]}::test_masks_where_they_are_asked_for",
]

# of the recurrent core some tests of a second each, and then the whole files
_CORE, _NOISE = "tests/test_recurrent_core.py", "tests/test_recurrent_noise.py"
_GRADIENTS = "tests/test_recurrent_gradients.py"
_TRANSFORMS = "tests/test_recurrent_noise_transforms.py"
_CORES, _NOISES = [_CORE, _GRADIENTS], [_NOISE, _TRANSFORMS]
_LAYERS = [f"tests/test_recurrent_{of}.py" for of in ("linen", "nnx", "wrappers")]
_BAD = [f"{_NOISE}::test_bad_{of}" for of in ("rates_shapes_and_keys", "sequences")]
_BAD += [f"{_NOISE}::test_bad_noise", f"{_NOISE}::test_bad_weights"]
_BY_GATE = f"{_CORE}::test_kernels_by_gate_are_those_side_by_side[simple]"
_DRAW = [
    f"{_NOISE}::test_the_draw_is_that_of_the_package",
    f"{_NOISE}::test_values_and_mean[0.1]",
    f"{_NOISE}::test_shapes[6]",
]
_TOGETHER = f"{_CORE}::test_gates_together_are_gates_apart"
_REVERSED = f"{_CORE}::test_reversed_sequences_of_any_rank"
_FLAX = [
    f"{_LAYERS[0]}::test_errors",
    f"{_LAYERS[0]}::test_parameters_and_outputs_are_those_of_flax[simple]",
    f"{_LAYERS[0]}::test_sequences_end_where_they_end[batch1-simple]",
]


def _cell(name, *numbers):
    """The equations and the gradients of a cell, with all kinds of noise at once."""
    equations = f"{_CORE}::test_sequence_is_the_equations_of_the_papers"
    gradients = f"{_GRADIENTS}::test_gradients_are_those_of_autodiff"
    found = [f"{equations}[{name}, all per step]"]
    return found + [f"{gradients}[float64-1e-12-{name}-rates{n}]" for n in numbers]


SUITES = {
    "jaxnoise/_core/_mask.py": [*_DROPOUT, _SHAPES, *_PLACES],
    "jaxnoise/_core/_sharding.py": [*_ASKED, *_PLACES, *_MESHES],
    "jaxnoise/_core/_integers.py": [
        _INTEGERS,
        "tests/test_check.py",
        "tests/test_text.py",
        _OPTIONS,
    ],
    "jaxnoise/_core/_check.py": [
        "tests/test_check.py",
        _INTEGERS,
        _NOTHING,
        "tests/test_text.py",
        "tests/test_activation.py",
        "tests/attack/test_calls.py::test_calls[dropout]",
        _OPTIONS,
        "tests/test_dropout.py",
        "tests/test_bits.py",
    ],
    "jaxnoise/_core/_threefry.py": ["tests/test_dropout.py", "tests/test_gaussian.py"],
    "jaxnoise/_core/_packed.py": ["tests/test_bits.py", _NOTHING, *_PLACES],
    "jaxnoise/_core/_random.py": [
        "tests/test_dropout.py",
        *_GAUSSIAN,
        "tests/test_bits.py",
        *_REST,
    ],
    "jaxnoise/_dropout.py": _DROPOUT,
    "jaxnoise/_gaussian.py": [*_GAUSSIAN, *_REST],
    "jaxnoise/_core/_quantile.py": [*_GAUSSIAN, *_REST],
    "jaxnoise/_structured.py": [
        _SHAPES,
        "tests/test_check.py",
        "tests/test_laws.py::test_law[drop_block-traced]",
        _NOTHING,
        *_PLACES,
    ],
    "jaxnoise/recurrent/_noise.py": [
        *_DRAW,
        *_BAD,
        *_NOISES,
        *_CORES,
        _MESHES[1],
    ],
    "jaxnoise/recurrent/_masks.py": [
        *_cell("lstm", 2, 1),
        *_CORES,
        *_NOISES,
        _MESHES[1],
    ],
    "jaxnoise/recurrent/_matmul.py": [
        *_cell("lstm", 2, 1),
        *_CORES,
        *_NOISES,
        _MESHES[1],
    ],
    "jaxnoise/recurrent/_weights.py": [
        *_BAD,
        _BY_GATE,
        *_cell("lstm", 2),
        *_CORES,
        *_NOISES,
        _MESHES[1],
    ],
    "jaxnoise/recurrent/_lstm.py": [*_cell("lstm", 2), *_CORES, *_NOISES],
    "jaxnoise/recurrent/_gru.py": [*_cell("gru", 5), *_CORES, *_NOISES],
    "jaxnoise/recurrent/_simple.py": [*_cell("simple", 8), *_CORES, *_LAYERS],
    "jaxnoise/recurrent/_cell.py": [
        *_BAD,
        *_cell("simple"),
        *_CORES,
        *_NOISES,
        _MESHES[1],
    ],
    "jaxnoise/recurrent/_time_layout.py": [
        *_FLAX,
        _REVERSED,
        *_CORES,
        *_LAYERS,
        _MESHES[1],
    ],
    "jaxnoise/recurrent/_apart.py": [
        *_cell("gru", 5, 4),
        *_CORES,
        _MESHES[1],
    ],
    "jaxnoise/recurrent/_together.py": [_TOGETHER, *_CORES],
    "jaxnoise/recurrent/_scan_in_place.py": [*_cell("simple", 8), *_CORES, *_NOISES],
    "jaxnoise/recurrent/_scan.py": [
        *_cell("gru", 5, 4),
        *_CORES,
        *_NOISES,
        _MESHES[1],
    ],
    "jaxnoise/recurrent/_cell_layer.py": [*_FLAX, *_LAYERS, _MESHES[1]],
}
