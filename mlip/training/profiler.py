"""A callback that profiles some training steps with torch's profiler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mlip.config.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ACTIVITIES = {"cpu": torch.profiler.ProfilerActivity.CPU, "cuda": torch.profiler.ProfilerActivity.CUDA}


class TorchProfilerCallback(Callback):
    """Writes a table of the costliest operations, and a trace to look at in a browser.

    Args:
        profile_dir: where ``rank{r}_summary.txt`` goes; a relative path starts at the run's folder.
        chrome_trace_dir: where the traces go; null for ``profile_dir``.
        wait: steps before each round.
        warmup: steps of each round that are thrown away.
        active: steps of each round that are kept.
        repeat: rounds.
        ranks: which ranks profile.
        record_shapes: record shapes of inputs.
        with_stack: record where in the source.
        with_modules: record which module.
        profile_memory: record allocations.
        activities: ``cpu``, ``cuda``; both where there is a GPU by default.
        summary_rows: rows of the table.
    """

    def __init__(
        self,
        profile_dir: str = "profiler",
        chrome_trace_dir: str | None = None,
        wait: int = 1,
        warmup: int = 1,
        active: int = 3,
        repeat: int = 1,
        ranks: Sequence[int] = (0,),
        record_shapes: bool = True,
        with_stack: bool = False,
        with_modules: bool = False,
        profile_memory: bool = False,
        activities: Sequence[str] | None = None,
        summary_rows: int = 30,
    ) -> None:
        names = [name.lower() for name in (activities or (["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]))]
        unknown = [name for name in names if name not in _ACTIVITIES]
        if unknown:
            raise ConfigError(f"TorchProfilerCallback: activities are cpu and cuda, not {unknown[0]!r}")
        if min(wait, warmup, repeat) < 0 or active < 1:
            raise ConfigError("TorchProfilerCallback: wait, warmup and repeat must be at least 0, active at least 1")
        self._folders = (profile_dir, chrome_trace_dir or profile_dir)
        self._ranks = list(ranks)
        self._rows = summary_rows
        self._schedule = {"wait": wait, "warmup": warmup, "active": active, "repeat": repeat}
        self._options: dict[str, Any] = {
            "activities": [_ACTIVITIES[name] for name in names],
            "record_shapes": record_shapes,
            "with_stack": with_stack,
            "with_modules": with_modules,
            "profile_memory": profile_memory,
        }
        self._profiler: Any = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin."""
        if trainer.global_rank not in self._ranks:
            return
        summaries, traces = (Path(trainer.default_root_dir) / folder for folder in self._folders)
        for folder in (summaries, traces):
            folder.mkdir(parents=True, exist_ok=True)
        rank = trainer.global_rank

        def write(profile: Any) -> None:
            table = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=self._rows)
            (summaries / f"rank{rank}_summary.txt").write_text(table)
            profile.export_chrome_trace(str(traces / f"rank{rank}_step{profile.step_num}.json"))

        self._profiler = torch.profiler.profile(
            schedule=torch.profiler.schedule(**self._schedule), on_trace_ready=write, **self._options
        )
        self._profiler.start()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The next step begins."""
        if self._profiler is not None:
            self._profiler.step()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None
