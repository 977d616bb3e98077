"""Every law over every function of the table, and the table over every function."""

import inspect

import jax
import jax.numpy as jnp
import pytest

import jaxnoise as jn
from jaxnoise import learned, tree, weights
from jaxnoise.testing import CASES, LAWS, LawError, Report, check_noise, run_law
from jaxnoise.testing.__main__ import CASES as ALL_CASES
from jaxnoise.testing._fingerprint import measured, recorded
from jaxnoise.testing._weight_cases import WEIGHT_CASES

PUBLIC = set(jn.__all__)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_law(case, law):
    # strict throughout, as the law of shapes is: another mode would compile all anew
    with jax.numpy_dtype_promotion("strict"):
        outcome = run_law(law, case)
    assert outcome.status != "broken", outcome.detail


def test_every_public_function_has_a_row():
    covered = {name for case in ALL_CASES for name in case.covers}
    draws = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in (learned, tree, weights)
        for name in module.__all__
        if next(iter(inspect.signature(getattr(module, name)).parameters)) == "key"
    }
    # what makes a key, and a mask for `dropconnect` to be equal to
    draws -= {"tree.leaf_key", "tree.mask"}
    assert PUBLIC | draws == covered


def test_a_leaked_tracer_breaks_the_shape_law():
    kept = []

    def leaks(key, x, rate):
        kept.append(x)
        return jn.dropout(key, x, rate)

    with pytest.raises(LawError, match=r"shape law, leaks: .*[Ll]eak"):
        check_noise(leaks, laws=["shape"])


def test_laws_that_say_nothing_are_known():
    """A law that skips a case silently would be a hole in the table."""
    dense = {"gaussian_noise", "gaussian_dropout", "real_gaussian_dropout"}
    dense |= {"uniform_noise", "laplace_noise", "neftune_noise", "speckle_noise"}
    dense |= {"poisson_noise", "rrelu", "salt_and_pepper"}
    assert {case.name for case in CASES if case.dropped is None} == dense
    blocks = {"drop_block", "drop_block, share_channels"}
    assert {case.name for case in CASES if case.mean is None} == blocks
    assert all(case.mean is not None for case in WEIGHT_CASES)
    selects = {"token_dropout", "tree.dropconnect", "weights.dropconnect_dense"}
    assert {case.name for case in WEIGHT_CASES if case.dropped is not None} == selects


def test_fingerprints_are_those_recorded():
    assert measured(ALL_CASES) == recorded()


@pytest.mark.parametrize("name", sorted(PUBLIC - {"dropout_mask", "apply_mask"}))
def test_signature(name):
    """f(key, x, amount[, amount2], *, options): key first, defaults keyword-only."""
    parameters = list(inspect.signature(getattr(jn, name)).parameters.values())
    assert parameters[0].name == "key"
    data = {"embedding_dropout": "table", "neftune_noise": "embeddings"}
    data |= {"token_dropout": "ids", "dot_product_attention": "q"}
    assert parameters[1].name == data.get(name, "x")
    amount = 4 if name == "dot_product_attention" else 2  # after its k and v
    assert parameters[amount].name in ("rate", "stddev", "scale", "alpha", "lower")
    for parameter in parameters:
        required = parameter.default is parameter.empty
        assert required == (parameter.kind is parameter.POSITIONAL_OR_KEYWORD)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_docstring(name):
    text = inspect.getdoc(getattr(jn, name)) or ""
    parts = ["Law:", "Args:", "Returns:", "Raises:", "Example:"]
    # drop_block has an exact law for the mean of an example, and none for an element
    parts += ["the mean over the example"] if name == "drop_block" else ["E[", "Var["]
    for part in parts:
        assert part in text, f"{name} has no {part}"


def test_report_and_unknown_law():
    report = check_noise(jn.dropout, laws=["off", "key"])
    assert isinstance(report, Report) and not report.broken
    assert "4 keys" in str(report)
    with pytest.raises(ValueError, match="laws must be among"):
        check_noise(jn.dropout, laws=["moment"])


RATED = ("dropout", "spatial_dropout", "drop_path", "alpha_dropout")
RATED += ("feature_alpha_dropout", "gaussian_dropout", "salt_and_pepper")
SCALED = ("gaussian_noise", "uniform_noise", "laplace_noise", "speckle_noise")
OFF = [(name, (0.0,)) for name in (*RATED, *SCALED)]
OFF += [("drop_block", (0.0, 2))]
OFF += [("real_gaussian_dropout", amounts) for amounts in [(0.0, 1.0), (0.5, 0.0)]]


@pytest.mark.parametrize(("name", "amounts"), OFF)
def test_nothing_is_computed_where_nothing_is_asked_for(name, amounts):
    traced = jax.make_jaxpr(lambda key, x: getattr(jn, name)(key, x, *amounts))
    assert not traced(jax.random.key(0), jnp.ones((1, 64, 8))).eqns
