"""How the cost of a compiled program is read from its text."""

import pytest

from benchmarks.compiled import _programs

pytestmark = pytest.mark.program

# A loop whose step reads one row of xs, writes it to ys and draws 64 blocks. Before it
# there are a fusion that draws as many, and one that packs bits with other shifts.
LOOP = """\
HloModule jit_f

%step (p: f32[5,8], p.1: s32[]) -> f32[1,8] {
  %p = f32[5,8]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %cast = f32[5,8]{1,0} bitcast(%p)
  ROOT %row = f32[1,8]{1,0} dynamic-slice(%cast, %p.1, %zero), dynamic_slice_sizes={1,8}
}

%write (q: f32[5,8], q.1: f32[1,8], q.2: s32[]) -> f32[5,8] {
  %q = f32[5,8]{1,0} parameter(0)
  %q.1 = f32[1,8]{1,0} parameter(1)
  %q.2 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  ROOT %new = f32[5,8]{1,0} dynamic-update-slice(%q, %q.1, %q.2, %zero.1)
}

%inner (r: u32[64]) -> u32[64] {
  %r = u32[64]{0:T(128)} parameter(0)
  %thirteen = u32[]{:T(128)} constant(13)
  %all = u32[64]{0:T(128)} broadcast(%thirteen), dimensions={}
  %left = u32[64]{0:T(128)} shift-left(%r, %all)
  %left.1 = u32[64]{0:T(128)} shift-left(%left, %all)
  ROOT %left.2 = u32[64]{0:T(128)} shift-left(%left.1, %all)
}

%draw (k: u32[64]) -> u32[64] {
  %k = u32[64]{0:T(128)} parameter(0)
  ROOT %nested = u32[64]{0:T(128)} fusion(%k), kind=kLoop, calls=%inner
}

%pack (s: u32[64], s.1: u32[64]) -> u32[64] {
  %s = u32[64]{0} parameter(0)
  %s.1 = u32[64]{0} parameter(1)
  %eight = u32[] constant(8)
  %eights = u32[64]{0} broadcast(%eight), dimensions={}
  %other = u32[64]{0} shift-left(%s, %eights)
  %far = u32[64]{0} shift-left(%s, %s.1)
  ROOT %both = u32[64]{0} or(%other, %far)
}

%body (state: (s32[], f32[5,8], f32[5,8])) -> (s32[], f32[5,8], f32[5,8]) {
  %state = (s32[], f32[5,8]{1,0}, f32[5,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %xs = f32[5,8]{1,0} get-tuple-element(%state), index=1
  %ys = f32[5,8]{1,0} get-tuple-element(%state), index=2
  %f.1 = f32[1,8]{1,0} fusion(%xs, %i), kind=kLoop, calls=%step, backend_config={"a":{"estimated_cycles":"100"}}
  %f.2 = f32[5,8]{1,0} fusion(%ys, %f.1, %i), kind=kLoop, calls=%write, backend_config={"estimated_cycles":"7"}
  %words = u32[64]{0:T(128)} constant({...})
  %f.3 = u32[64]{0:T(128)} fusion(%words), kind=kLoop, calls=%draw
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one), backend_config={"estimated_cycles":"1"}
  ROOT %out = (s32[], f32[5,8]{1,0}, f32[5,8]{1,0}) tuple(%next, %xs, %f.2)
}

%more (state.1: (s32[], f32[5,8], f32[5,8])) -> pred[] {
  %state.1 = (s32[], f32[5,8]{1,0}, f32[5,8]{1,0}) parameter(0)
  %j = s32[] get-tuple-element(%state.1), index=0
  %five = s32[] constant(5)
  ROOT %less = pred[] compare(%j, %five), direction=LT
}

ENTRY %main (x: f32[5,8], y: f32[5,8], k.1: u32[64]) -> f32[5,8] {
  %x = f32[5,8]{1,0} parameter(0)
  %y = f32[5,8]{1,0} parameter(1)
  %k.1 = u32[64]{0:T(128)} parameter(2)
  %drawn = u32[64]{0:T(128)} fusion(%k.1), kind=kLoop, calls=%draw, metadata={op_name="jit(f)/draw (a)"}
  %packed = u32[64]{0} fusion(%drawn, %k.1), kind=kLoop, calls=%pack
  %ahead = (f32[5,8]{1,0:S(1)}, f32[5,8]{1,0}, u32[]{:S(2)}) copy-start(%x)
  %there = f32[5,8]{1,0:S(1)} copy-done(%ahead)
  %start = s32[] constant(0)
  %init = (s32[], f32[5,8]{1,0}, /*index=2*/f32[5,8]{1,0}) tuple(%start, %there, %y)
  %loop = (s32[], f32[5,8]{1,0}, f32[5,8]{1,0}) while(%init), condition=%more, body=%body, backend_config={TRIPS}
  ROOT %result = f32[5,8]{1,0} get-tuple-element(%loop), index=2
}
"""  # noqa: E501
KNOWN = LOOP.replace("TRIPS", '"known_trip_count":{"n":"5"}')
# a step: the index and a row are read and the row is written, twice; 64 words as well
STEP = 2 * (4 + 32 + 32) + 2 * 256
AROUND = 2 * 256 + 3 * 256


def test_a_loop_counts_each_of_its_steps():
    cost = _programs.cost(KNOWN)
    assert cost.blocks == 64 * 6
    assert cost == _programs.Cost(
        cycles=5 * 108,
        bytes=AROUND + 5 * STEP,
        kernels=2 + 5 * 3,
        step_kernels=3,
        rotations=3 * 64 * 6,
        unknown_loops=0,
    )


def test_a_loop_of_unknown_length():
    """It has the length that the case tells, or counts as one step and says so."""
    told = _programs.cost(LOOP, trips=5)
    assert told == _programs.cost(KNOWN)
    untold = _programs.cost(LOOP)
    assert untold.unknown_loops == 1
    assert (untold.cycles, untold.bytes) == (108, AROUND + STEP)


def test_a_kernel_without_an_estimate():
    """The compiler writes the largest number; then there is none of the whole."""
    found = _programs.cost(KNOWN.replace('"7"', f'"{2**63 - 1}"'))
    assert found == _programs.cost(KNOWN)._replace(cycles=0)


def test_the_dearest_branch_counts():
    text = KNOWN.replace("ENTRY %main", "%main").replace("%k.1", "%k.2") + (
        "ENTRY %top (p.5: pred[], x.9: f32[5,8]) -> f32[5,8] {\n"
        "  %p.5 = pred[] parameter(0)\n"
        "  %x.9 = f32[5,8]{1,0} parameter(1)\n"
        "  ROOT %c = f32[5,8]{1,0} conditional(%p.5, %x.9, %x.9), "
        "branch_computations={%pack, %main}\n"
        "}\n"
    )
    assert _programs.cost(text) == _programs.cost(KNOWN)
    by_truth = "true_computation=%main, false_computation=%pack"
    text = text.replace("branch_computations={%pack, %main}", by_truth)
    assert _programs.cost(text) == _programs.cost(KNOWN)


def test_what_a_fusion_passes_on_it_has_read():
    text = (
        "%same (p: bf16[4,8]) -> bf16[4,8] {\n"
        "  %p = bf16[4,8]{1,0} parameter(0)\n"
        "  ROOT %b = bf16[4,8]{1,0} bitcast(%p)\n"
        "}\n"
        "%twice (q: bf16[4,8]) -> bf16[4,8] {\n"
        "  %q = bf16[4,8]{1,0} parameter(0)\n"
        "  %f = bf16[4,8]{1,0} fusion(%q), kind=kLoop, calls=%same\n"
        "  ROOT %sum = bf16[4,8]{1,0} add(%f, %f)\n"
        "}\n"
        "ENTRY %main (x: bf16[4,8]) -> bf16[4,8] {\n"
        "  %x = bf16[4,8]{1,0} parameter(0)\n"
        "  ROOT %y = bf16[4,8]{1,0} fusion(%x), kind=kLoop, calls=%twice\n"
        "}\n"
    )
    assert _programs.cost(text) == _programs.Cost(bytes=2 * 64, kernels=1)


def test_only_a_program_has_a_cost():
    with pytest.raises(ValueError, match="no ENTRY"):
        _programs.cost("HloModule jit_f\n")
