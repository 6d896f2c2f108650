"""The commands that learn one value per series."""

from __future__ import annotations

from typing import Any

from xrnn.commands.run import Job, T
from xrnn.models.data.batches import updates_per_epoch
from xrnn.models.labelled.trainer import default_epochs


class SeriesJob(Job[T]):
    """A job that sets the files, the trainer, `load` and `report`."""

    unit = "epochs"
    data = "series"
    argument = "TRAIN"
    picture = "picture"
    use = "xrnn predict {} FILE..."

    def default_upto(self, data: Any) -> int:
        return default_epochs(len(data.train))

    def steps_per_unit(self, settings: Any, data: Any) -> int:
        return updates_per_epoch(len(data.train), settings.batch)
