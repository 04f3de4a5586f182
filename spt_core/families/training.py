"""What the driver of a training asks, by family; torch. Adding a family: one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from spt_core.artifacts import ModelArtifact
from spt_core.data.splits import Splits
from spt_core.families.baseline import Baselines, BaselineWork
from spt_core.families.candidate import Candidate, only_the_student
from spt_core.families.carrying import Transferring
from spt_core.families.graph import Exported
from spt_core.families.image.baselines import tune_image_baselines
from spt_core.families.image.distilling import ImageDistilling, narrowed_image
from spt_core.families.image.exporting import export_image
from spt_core.families.image.space import image_space
from spt_core.families.image.teaching import ImageTeaching
from spt_core.families.image.transferring import ImageTransferring
from spt_core.families.series.baselines import tune_series_baselines
from spt_core.families.series.distilling import SeriesDistilling, narrowed_series
from spt_core.families.series.exporting import export_series
from spt_core.families.series.space import series_space
from spt_core.families.series.teaching import SeriesTeaching
from spt_core.families.series.transferring import SeriesTransferring
from spt_core.families.space import Space
from spt_core.families.tabular.baselines import tune_baselines
from spt_core.families.tabular.candidates import refitted_files, table_candidates
from spt_core.families.tabular.distilling import TableDistilling, narrowed_student
from spt_core.families.tabular.exporting import export_table
from spt_core.families.tabular.private_teaching import table_teaching
from spt_core.families.tabular.space import table_space
from spt_core.families.tabular.transferring import TableTransferring
from spt_core.families.text.baselines import tune_text_baselines
from spt_core.families.text.distilling import TextDistilling, narrowed_text
from spt_core.families.text.exporting import export_text
from spt_core.families.text.space import text_space
from spt_core.families.text.teaching import TextTeaching
from spt_core.families.text.transferring import TextTransferring
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.plan import FitPlan, StudentPlan


class Training(NamedTuple):
    """How a family's models are made: plans to be fitted, files to serve from, what stands beside.

    `export` raises ParityError where the files do not answer like the checkpoint. `narrowed` is the
    configuration of a student with a share of its width, of a teacher; InputError where there is
    nothing left to take. `candidates` takes the share of the teacher's trees that they may use.
    `space` is what a search may change of a student of that teacher. A teacher and a lesson may
    have a twin, whose calibration and figures they take; `refitted` are the files of a blend like
    a twin's, of a teacher and a student on more rows, where the family has blends. `cross_fits`:
    students learn from a lesson's teachers of folds. `transferring` is how a teacher begins with
    one of another task.
    """

    teach: Callable[[Splits, TrainingConfig, ModelArtifact | None], FitPlan]
    distill: Callable[[Lesson], StudentPlan]
    export: Callable[[ModelArtifact], Exported]
    baselines: Callable[[BaselineWork], Baselines]
    candidates: Callable[[ModelArtifact, ModelArtifact, Splits, float], Sequence[Candidate]]
    refitted: Callable[[ModelArtifact, ModelArtifact, ModelArtifact], Mapping[str, bytes]] | None
    narrowed: Callable[[Any, ModelArtifact, float], Any]
    space: Callable[[TrainingConfig, ModelArtifact], Space]
    transferring: Transferring
    cross_fits: bool = False


TRAINING: Mapping[str, Training] = {
    "tabular": Training(
        teach=table_teaching,
        distill=TableDistilling,
        export=export_table,
        baselines=tune_baselines,
        candidates=table_candidates,
        refitted=refitted_files,
        narrowed=narrowed_student,
        space=table_space,
        transferring=TableTransferring(),
        cross_fits=True,
    ),
    "text": Training(
        teach=TextTeaching,
        distill=TextDistilling,
        export=export_text,
        baselines=tune_text_baselines,
        candidates=only_the_student,
        refitted=None,
        narrowed=narrowed_text,
        space=text_space,
        transferring=TextTransferring(),
    ),
    "image": Training(
        teach=ImageTeaching,
        distill=ImageDistilling,
        export=export_image,
        baselines=tune_image_baselines,
        candidates=only_the_student,
        refitted=None,
        narrowed=narrowed_image,
        space=image_space,
        transferring=ImageTransferring(),
    ),
    "series": Training(
        teach=SeriesTeaching,
        distill=SeriesDistilling,
        export=export_series,
        baselines=tune_series_baselines,
        candidates=only_the_student,
        refitted=None,
        narrowed=narrowed_series,
        space=series_space,
        transferring=SeriesTransferring(),
    ),
}
