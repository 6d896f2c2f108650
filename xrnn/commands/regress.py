"""`xrnn regress`: train a regression on series, and test it on others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xrnn.commands.curves import draw_training
from xrnn.commands.picture import Picture
from xrnn.commands.series_job import SeriesJob
from xrnn.commands.terminal import Terminal
from xrnn.models.labelled.regression_checkpoint import REGRESSION_CHECKPOINTS
from xrnn.models.labelled.regression_data import SeriesWithTargets, load_with_targets, numbers
from xrnn.models.labelled.regression_scores import Scores
from xrnn.models.labelled.regression_settings import RegressionSettings
from xrnn.models.labelled.regression_trainer import RegressionTrainer
from xrnn.typing import HostArray


class RegressJob(SeriesJob[RegressionTrainer]):
    """`xrnn regress` with its options."""

    checkpoints = REGRESSION_CHECKPOINTS
    default_out = Path("regression.safetensors")
    trainer = RegressionTrainer

    def load(self, settings: RegressionSettings) -> SeriesWithTargets:
        return load_with_targets(self.paths, settings.seed, settings.columns, validate=settings.patience > 0)

    def report(self, trainer: RegressionTrainer, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """Print the errors on TEST, and those of a predictor that always predicts the mean of TRAIN."""
        data, targets = trainer.data, numbers(trainer.data.test)
        predicted: HostArray = (
            data.mean + data.deviation * trainer.best.outputs(trainer.inputs(data.test), trainer.comm)[:, 0]
        )
        model, mean = Scores.of(targets, predicted), Scores.of(targets, np.full(len(targets), data.mean))
        trainer.report_best(terminal)
        terminal.result(f"mean absolute error: {model.mae:.4g} (mean predictor: {mean.mae:.4g})")
        if model.r2 is not None:
            terminal.result(f"R²: {model.r2:.3f} (mean predictor: {mean.r2:.3f})")
        results = {"mae": model.mae, "r2": model.r2, "mean_predictor": mean._asdict(), "series": len(targets)}
        return results, _picture(trainer, targets, predicted, model)


def _picture(trainer: RegressionTrainer, targets: HostArray, predicted: HostArray, scores: Scores) -> Picture:
    """The losses of all updates beside a plot of the predicted numbers against the true ones."""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        draw_training(left, trainer, "mean squared error / variance")
        ends = [min(targets.min(), predicted.min()), max(targets.max(), predicted.max())]
        right.plot(ends, ends, color="tab:gray", linewidth=0.8)
        right.scatter(targets, predicted, s=12, alpha=0.6)
        right.set(xlabel="true", ylabel="predicted", title=f"mean absolute error {scores.mae:.4g}")
        right.grid(alpha=0.3)

    return Picture((10.5, 4.2), draw)
