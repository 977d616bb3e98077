"""Runs an example as it is, in a process that kills itself at one moment.

    python tests/support/killed_example.py NAME MOMENT NUMBER ARGUMENT ...

MOMENT is "never"; "step", after NUMBER training steps; "writing", when the state of a
checkpoint is on the disk and the rest of it is not; or "deleting", when a part of an
old checkpoint is gone. SIGKILL leaves Python no time for anything.
"""

import functools
import importlib
import os
import signal
import sys
from pathlib import Path


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_steps(trainer, left):
    """Die after so many calls of what makes a step, or in the chunk that has it."""

    def count(steps):
        nonlocal left
        left -= steps
        if left <= 0:
            die()

    if hasattr(trainer, "update_of"):
        update_of = trainer.update_of

        def counted(self, case):
            update = update_of(self, case)

            @functools.wraps(update)
            def step(*arguments):
                state = update(*arguments)
                count(1)
                return state

            return step

        trainer.update_of = counted
    else:
        advance = trainer._steps

        def chunk(self, state, data, key, start, stop):
            result = advance(self, state, data, key, start, stop)
            count(stop - start)  # it may be still at work
            return result

        trainer._steps = chunk


def die_in_files(moment):
    """Die by what the files of the checkpoints go through, in any thread."""
    deleting = 0

    def audit(event, arguments):
        nonlocal deleting
        path = str(arguments[0]) if arguments else ""
        if moment == "writing":
            # older orbax counts its temporary names
            if event == "os.rename" and "/state.orbax-checkpoint-tmp" in path:
                die()
        elif event == "shutil.rmtree" and path.rpartition("/")[2].isdecimal():
            deleting = 1
        elif deleting and event in ("os.remove", "os.rmdir"):
            deleting += 1
            if deleting > 2:  # the event comes before the deed
                die()

    sys.addaudithook(audit)


def main(name, moment, number, *arguments):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
    example = importlib.import_module(name)
    if moment == "step":
        die_in_steps(example.Trainer, int(number))
    elif moment != "never":
        die_in_files(moment)
    example.main(arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
