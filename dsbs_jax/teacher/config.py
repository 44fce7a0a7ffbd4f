"""The settings of an extraction; this module does not import the teacher's client."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Self

from dsbs_jax import settings
from dsbs_jax.data.column_config import ColumnConfig
from dsbs_jax.errors import UserError
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.settings import (
    AnyPath,
    LocalPath,
    NonNegativeFloat,
    PositiveInt,
    Settings,
    Text,
    setting,
)
from dsbs_jax.teacher.budget import BudgetConfig
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.judge_config import JudgeConfig
from dsbs_jax.teacher.reading import ReadingConfig
from dsbs_jax.teacher.sampling import SamplingConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractionConfig(Settings):
    """Files, prompt and label set of an extraction."""

    input_file: AnyPath = setting(
        help="Rows with `input`, and optionally `id` and `label`, in a format of "
        "DATA_FILES."
    )
    output_dir: LocalPath = setting(
        help="A new folder, or the folder of an extraction to resume."
    )
    prompt: Text = setting(
        help="'cqa', 'svamp', 'asdiv', 'anli1', 'esnli', 'template', or the path of "
        "your own file (format: dsbs_jax/teacher/prompts/template.txt)."
    )
    labels: tuple[Text, ...] | None = setting(
        None,
        help="The task's labels; other labels of the teacher do not count. By default "
        "the labels of the prompt file, or the human labels of the data if they are a "
        "small closed set. An empty list allows any label.",
    )
    give_answers: bool = setting(
        False,
        help="Ask the teacher again, with the human label given, for rows whose label "
        "it does not reach with a rationale. Such rows have `answer_given`.",
    )

    def __post_init__(self) -> None:
        """Checks that LABELS has two or more labels, all different and not blank."""
        super().__post_init__()
        labels = self.labels or ()
        blank = not all(label.strip() for label in labels)
        if blank or len(set(labels)) != len(labels) or len(labels) == 1:
            raise UserError(
                f"LABELS is {labels!r:.80}, expected two or more different labels, "
                "none of them blank"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunnerConfig(Settings):
    """Concurrency, and when the run aborts because the server does not answer."""

    concurrency: PositiveInt = setting(8, help="Requests in flight at the same time.")
    max_failures_in_a_row: PositiveInt = setting(
        20, help="Consecutive failed requests before the run aborts (circuit breaker)."
    )
    samples_per_request: PositiveInt = setting(
        1,
        help="Samples of an input that one request asks for (`n`), so that the prompt "
        "is paid once. If the server returns fewer, samples are requested one by one.",
    )
    retry_empty: bool = setting(
        False, help="Request stored replies without text again."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchConfig(Settings):
    """Requests through OpenAI's Batch API."""

    batch: bool = setting(
        False,
        help="Send the requests through OpenAI's Batch API: half price, replies within "
        "24 hours.",
    )
    batch_period: NonNegativeFloat = setting(
        30.0, help="Seconds between two requests for the state of a batch."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """All settings of an extraction, in the order of the gin file.

    Attributes:
        extraction: Files, prompt and label set.
        columns: The columns of the input file.
        sampling: How the teacher answers.
        endpoint: The teacher's server.
        runner: Concurrency and circuit breaker.
        batch: Whether the requests are sent as a batch.
        budget: Prices and caps.
        reading: How replies are read.
        judge: The model that judges the rationales, if any.
        filters: Which rows are dropped.
    """

    extraction: ExtractionConfig
    columns: ColumnConfig
    sampling: SamplingConfig
    endpoint: EndpointConfig
    runner: RunnerConfig
    batch: BatchConfig
    budget: BudgetConfig
    reading: ReadingConfig
    judge: JudgeConfig
    filters: FilterConfig

    @classmethod
    def classes(cls) -> dict[str, type[Settings]]:
        """Returns the settings classes by attribute."""
        return typing.get_type_hints(cls)

    @classmethod
    def from_macros(cls, values: Mapping[str, Any]) -> Self:
        """Builds the settings from values by macro name; ignores other values.

        Raises:
            UserError: A required setting is missing, or a value is wrong.
        """
        groups: dict[str, Any] = {
            attribute: settings.from_values(group, values)
            for attribute, group in cls.classes().items()
        }
        return cls(**groups)

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> Self:
        """Builds the settings from values by field name of any of the classes.

        Raises:
            UserError: A name is not a setting, a required setting is missing, or a
                value is wrong.
        """
        names = {
            attribute: {info.field for info in settings.settings_of(group)}
            for attribute, group in cls.classes().items()
        }
        settings.check_names(values, set().union(*names.values()))
        groups: dict[str, Any] = {}
        for attribute, group in cls.classes().items():
            own = {k: v for k, v in values.items() if k in names[attribute]}
            groups[attribute] = settings.from_fields(group, own)
        return cls(**groups)

    def as_gin(self) -> str:
        """Returns the settings as a gin file that holds every value."""
        return settings.as_gin(getattr(self, name) for name in self.classes())
