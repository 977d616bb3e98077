"""`python -m jaxnoise.testing`: the table, the exit code, the fingerprints."""

import json

import jax.numpy as jnp
import pytest

import jaxnoise as jn
from jaxnoise.testing import CASES, Case, _fingerprint
from jaxnoise.testing import __main__ as main

DROPOUT = (CASES[0],)


def is_biased(key, x, rate):
    """Too small by 5 %, but where it is off."""
    return jn.dropout(key, x, rate) * jnp.where(rate > 0, 0.95, 1.0)


def test_all_green_is_exit_code_0(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(main, "CASES", DROPOUT)
    path = tmp_path / "report.json"
    assert main.main(["--only", "off", "key", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert f"8 x cpu (cpu); jaxnoise {jn.__version__}, jax " in printed
    assert "dropout ok  ok" in printed
    assert "2 of 2 laws hold" in printed
    assert "10 of 10 are those recorded on CPU" in printed
    outcomes = json.loads(path.read_text())["outcomes"]
    assert [outcome["law"] for outcome in outcomes] == ["off", "key"]


def test_a_broken_law_is_exit_code_1(monkeypatch, capsys):
    promises = {"mean": lambda x, a: x, "variance": lambda x, a: x**2 * a / (1 - a)}
    monkeypatch.setattr(main, "CASES", (Case("biased", is_biased, **promises),))
    monkeypatch.setattr(main, "compare_fingerprints", lambda: False)
    assert main.main(["--only", "off", "moments"]) == 1
    printed = capsys.readouterr().out
    assert "FAIL" in printed and "moments law, biased: amount 0.1: mean" in printed
    assert "1 of 2 laws hold" in printed


def test_another_fingerprint_is_exit_code_1(monkeypatch, capsys):
    monkeypatch.setattr(main, "CASES", DROPOUT)
    monkeypatch.setattr(_fingerprint, "bits_fingerprint", lambda: "0" * 16)
    assert main.main(["--only", "off"]) == 1
    assert "FAIL fingerprint, bits: 0000000000000000" in capsys.readouterr().out


def test_unknown_law_names_the_laws(capsys):
    with pytest.raises(SystemExit):
        main.main(["--only", "moment"])
    assert "moments" in capsys.readouterr().err


def test_the_table_of_a_terminal(monkeypatch, capsys):
    main._rich_table([["dropout", "ok", "FAIL", "-"]], ["off", "key", "x64"])
    assert "FAIL" in capsys.readouterr().out
