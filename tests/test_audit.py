"""The audit of the peers: ours keeps every law, flax breaks what it is known to break.

The committed table is checked against what the code gives for these two; the other
libraries are audited where `python -m benchmarks.audit_peers` runs.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jaxnoise as jn

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import audit_peers
from benchmarks.audit_peers import LEGEND, MARKS, PEERS, WHY, audit, notes, table
from jaxnoise.testing import LAWS, check_noise

pytestmark = pytest.mark.program

COMMITTED = Path(audit_peers.__file__).parent / "results" / "audit.md"


# of flax those that it breaks, and some that it keeps
BROKEN = ("precision", "x64", "traced", "errors", "residuals")
ASKED = {"jaxnoise": LAWS, "flax.linen": (*BROKEN, "sharding", "off", "moments")}


@pytest.fixture(scope="module")
def outcomes():
    with jax.debug_key_reuse(False):
        return {name: audit(name, laws) for name, laws in ASKED.items()}


@pytest.fixture(scope="module")
def committed():
    """The text, and its table as {library: {law: mark}}."""
    text = COMMITTED.read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = ([c.strip() for c in line[1:-1].split("|")] for line in lines)
    columns = {
        title: {row[0]: row[i] for row in rows} for i, title in enumerate(head) if i
    }
    return text, columns


def test_jaxnoise_keeps_every_law(outcomes):
    assert [(o.law, o.status) for o in outcomes["jaxnoise"]] == [
        (law, "ok") for law in LAWS
    ]


def test_flax_breaks_what_it_never_promised(outcomes):
    status = {o.law: o.status for o in outcomes["flax.linen"]}
    for law in BROKEN:
        assert status.pop(law) == "beyond", law
    # an explicit mesh is refused by the flax that is audited; another may take it
    assert status.pop("sharding") in ("beyond", "ok")
    assert set(status.values()) == {"ok"}


def test_a_traced_rate_is_why_flax_is_run_at_known_rates(outcomes):
    detail = {o.law: o.detail for o in outcomes["flax.linen"]}
    assert "TracerBoolConversionError" in detail["traced"]
    assert detail["off"] == "known 0"
    assert "20484 bytes are kept" in detail["residuals"]


def test_notes_say_what_was_seen(outcomes):
    lines = notes(outcomes["flax.linen"]).splitlines()
    start = "- residuals: more than a mask is kept for the backward pass. Seen of"
    assert any(
        line.startswith(start)
        and "flax.linen: 20484 bytes are kept for an input of 4096" in line
        for line in lines
    )
    assert notes(outcomes["jaxnoise"]) == ""


def test_a_broken_promise_is_told_from_what_was_never_promised(monkeypatch):
    def biased(rate):
        def noise(key, x):
            return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x, 0)

        return noise

    peer = audit_peers.Peer("flax", biased)
    monkeypatch.setitem(PEERS, "biased", peer)
    found = audit("biased", ["moments", "errors", "key"])
    assert [o.status for o in found] == ["broken", "beyond", "ok"]
    assert table(found).splitlines()[2:] == [
        "| key | yes |",
        "| errors | (no) |",
        "| moments | **no** |",
    ]


def test_a_law_that_holds_to_rounding_is_marked_so(monkeypatch):
    def rounded(rate):
        def noise(key, x):
            keep = jax.random.bernoulli(key, 1 - rate, x.shape)
            traced = isinstance(x, jax.core.Tracer)
            y = jnp.where(keep, x / (1 - rate), 0)
            return y * jnp.float32(1 + 2**-23) if traced else y

        return noise

    monkeypatch.setitem(PEERS, "rounded", audit_peers.Peer("flax", rounded))
    assert [o.status for o in audit("rounded", ["repeats"])] == ["rounding"]


def test_laws_for_amounts_that_must_be_known():
    """`Case.traced`: the laws that trace an amount give a known one instead."""

    def known_only(key, x, rate):
        if isinstance(rate, jax.core.Tracer):
            raise TypeError("the rate must be known")
        return jn.dropout(key, x, rate)

    laws = ("shape", "off", "traced", "gradients", "residuals")
    options = {"laws": laws, "raises": False}
    found = check_noise(known_only, **options, traced=False).outcomes
    assert [o.status for o in found] == ["ok", "ok", "-", "ok", "ok"]
    found = check_noise(known_only, **options).outcomes
    assert {o.status for o in found} == {"broken"}

    def divides(key, x, rate):
        keep = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(keep, x / (1 - rate), 0)

    outcome = check_noise(
        divides, laws=["gradients"], raises=False, traced=False
    ).outcomes[0]
    assert "at a known 1.0 is not finite" in outcome.detail


def test_a_library_that_is_missing_is_left_out(monkeypatch, capsys):
    def missing(rate):
        raise ImportError("no such library")

    peer = audit_peers.Peer("flax", missing)
    monkeypatch.setattr(audit_peers, "PEERS", {"missing": peer})
    assert audit_peers.main([]) == 0
    assert "missing is left out: no such library" in capsys.readouterr().err


def test_the_committed_table_has_the_rows_and_columns_of_the_code(committed):
    text, columns = committed
    assert [title.split()[0] for title in columns] == list(PEERS)
    for marks in columns.values():
        assert list(marks) == list(LAWS)
        assert set(marks.values()) <= set(MARKS.values())
    assert LEGEND in text


def test_the_committed_notes_are_about_the_laws_that_somebody_broke(committed):
    text, columns = committed
    kept = ("yes", "-")
    broken = {law for law in LAWS if any(m[law] not in kept for m in columns.values())}
    seen = text.partition("## What was seen, and why")[2].split("\n- ")[1:]
    assert {note.partition(":")[0] for note in seen} == broken == set(WHY)


def test_the_committed_table_is_what_the_laws_say_now(committed, outcomes):
    _, columns = committed
    for name, found in outcomes.items():
        column = columns.get(f"{name} {version(PEERS[name].package)}")
        if column:  # another version of flax may do otherwise
            for o in found:
                assert column[o.law] == MARKS[o.status], o
    assert f"jaxnoise {version('jaxnoise')}" in columns
