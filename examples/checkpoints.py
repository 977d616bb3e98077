"""Where a killed run goes on: the newest state of a run, in a folder, by orbax.

A checkpoint is whole or not there: orbax writes into a folder of another name, and
renames it when everything is on the disk. What is saved beside the state is what the
run depends on, so that no other one goes on with it by mistake. Keys of noise are not
in it: they derive from the seed and the step (`jaxnoise.keys`).
"""

import copy
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp


class Checkpoints:
    """The newest state of a run, notes about it, and what it depends on.

    Args:
      folder: made if it is not there.
      identity: what has to be the same in a run that goes on, as JSON.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.identity = identity
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1,
            cleanup_tmp_directories=True,  # of a run that was killed
        )
        self.manager = ocp.CheckpointManager(folder.absolute(), options=options)

    @property
    def step(self) -> int | None:
        """The step of the newest checkpoint; None if there is none."""
        return self.manager.latest_step()

    def check(self, resume: bool) -> None:
        """ValueError unless the run may go on with what is in the folder."""
        if self.step is None:
            return
        if not resume:
            raise ValueError(
                f"there is a checkpoint of step {self.step} already, to go on with by "
                f"--resume"
            )
        saved = self._read("notes", ocp.args.JsonRestore())["identity"]
        for name, value in self.identity.items():
            if saved.get(name) != value:
                raise ValueError(
                    f"the checkpoint is of a run with another {name}: "
                    f"{saved.get(name)}, this one has {value}"
                )

    def save(self, step: int, state: Any, notes: Any) -> None:
        """Save a pytree of arrays, and what JSON can hold.

        Returns once the state is copied, and is written while training goes on.
        """
        # a copy: orbax writes it later, when the run has noted more
        noted = {"identity": self.identity, "notes": copy.deepcopy(notes)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), notes=ocp.args.JsonSave(noted)
        )
        self.manager.save(step, args=items)

    def restore(self, like: Any) -> tuple[int, Any, Any]:
        """The newest step, its state in the structure of `like`, and its notes."""
        if self.step is None:
            raise FileNotFoundError(f"no checkpoint in {self.manager.directory}")
        state = self._read("state", ocp.args.StandardRestore(like))
        return self.step, state, self._read("notes", ocp.args.JsonRestore())["notes"]

    def _read(self, name: str, how: Any) -> Any:
        items = ocp.args.Composite(**{name: how})
        return self.manager.restore(self.step, args=items)[name]

    def close(self) -> None:
        """Wait for what is being written."""
        self.manager.close()
