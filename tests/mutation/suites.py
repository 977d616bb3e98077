"""Which tests are to see a change of which module, the fast and telling ones first."""

_SHAPES = "tests/test_structured.py"
_REST = ["tests/test_survivors.py", "tests/test_image.py"]
_GAUSSIAN = ["tests/test_gaussian.py", "tests/test_quantile.py"]
_DROPOUT = ["tests/test_dropout.py", "tests/test_check.py", "tests/test_bits.py"]
_RECURRENT = ["tests/test_recurrent_core.py", "tests/test_recurrent_noise.py"]

SUITES = {
    "jaxnoise/_mask.py": [*_DROPOUT, _SHAPES],
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
    "jaxnoise/recurrent/_noise.py": _RECURRENT,
    "jaxnoise/recurrent/_masks.py": _RECURRENT,
    "jaxnoise/recurrent/_lstm.py": _RECURRENT,
    "jaxnoise/recurrent/_gru.py": _RECURRENT,
    "jaxnoise/recurrent/_scan.py": _RECURRENT,
    "jaxnoise/recurrent/_overwrite.py": _RECURRENT,
}
