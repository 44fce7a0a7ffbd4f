"""Settings of a quality card: the rationales, the filters and the student's limits."""

import dataclasses

from dsbs_jax.data import dataset_spec
from dsbs_jax.errors import UserError
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.settings import AnyPath, LocalPath, PositiveInt, Settings, Text, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig(Settings):
    """The rationales to judge."""

    data_files: AnyPath | None = setting(
        None, help="File of rows with rationales; or give --release."
    )
    filtered_file: AnyPath | None = setting(
        None,
        help="JSONL file of dropped rows; by default filtered.jsonl in the folder of "
        "the rows, if there is one.",
    )
    release: AnyPath | None = setting(
        None, help="Folder or zip file of the released data; needs --dataset."
    )
    dataset: Text | None = setting(
        None,
        help="Dataset whose metric compares labels; by default that of the "
        "extraction's report.json, or 'default', which compares text.",
    )
    dataset_module: Text | None = setting(
        None, help="Python module that registers the spec of your own --dataset."
    )
    teacher: Text = setting(
        dataset_spec.PALM, help="Teacher of the released completions."
    )
    split: Text = setting(
        "train", help="Split of the released files: train, valid or test."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BiasConfig(Settings):
    """The groups and the swapped inputs that show a bias."""

    group_by: tuple[Text, ...] = setting(
        (), help="Columns whose values are groups; the card compares their accuracy."
    )
    group_file: AnyPath | None = setting(
        None,
        help="File with the column id, which has the ids of the rationales, and the "
        "columns of GROUP_BY; by default the files of the rationales.",
    )
    swapped: AnyPath | None = setting(
        None,
        help="The teacher's answers to the inputs after `dsbs-jax swap`: the folder of "
        "the extraction, or a file of rows.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardConfig(FilterConfig, SourceConfig, BiasConfig):
    """Settings of the command: the rationales, the filters and the student's limits."""

    vocabulary_path: AnyPath | None = setting(
        None,
        help="SentencePiece model of the student; without it lengths are in words.",
    )
    inputs_length: PositiveInt | None = setting(
        None, help="Longest input of the student in tokens; by default the dataset's."
    )
    targets_length: PositiveInt | None = setting(
        None, help="Longest target of the student in tokens; by default the dataset's."
    )
    output_dir: LocalPath = setting(help="Folder to write the card to.")

    def __post_init__(self) -> None:
        """Checks the combination of the sources."""
        super().__post_init__()
        if bool(self.data_files) == bool(self.release):
            raise UserError("give either --data_files, or --release and --dataset")
        if self.release and not self.dataset:
            raise UserError("--release needs --dataset")
        if self.group_file and not self.group_by:
            raise UserError("--group_file needs --group_by")
        if self.group_by and self.release and not self.group_file:
            raise UserError("--group_by with --release needs --group_file")
