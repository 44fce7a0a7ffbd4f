"""Settings of a judge: a model that says whether rationales support their labels."""

import dataclasses
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.settings import AnyPath, PositiveInt, Settings, Text, setting, settings_of
from dsbs_jax.teacher import endpoint
from dsbs_jax.teacher.sampling import Temperature


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeConfig(Settings):
    """The judge's model, server and prompt."""

    judge: bool = setting(
        False,
        help="Ask a model whether the rationale of each kept row supports its label. "
        "DROP_UNSUPPORTED drops the rows that it rejects.",
    )
    judge_model: Text | None = setting(
        None, help="The server's name of the judge; by default TEACHER_MODEL."
    )
    judge_base_url: Text | None = setting(
        None, help="The address of the judge's server; by default BASE_URL."
    )
    judge_api_key_variable: Text = setting(
        "JUDGE_API_KEY",
        help="Environment variable of the key of JUDGE_BASE_URL. Without "
        "JUDGE_BASE_URL, the judge has the teacher's key.",
    )
    judge_prompt: AnyPath | None = setting(
        None,
        help="Text file with {input}, {label} and {rationale}, which asks for a reason "
        "and 'Verdict: yes' or 'Verdict: no'; by default a general prompt.",
    )
    judge_temperature: Temperature = setting(
        0.0, help="Temperature of the judge; None uses the server's default."
    )
    judge_max_tokens: PositiveInt = setting(
        256, help="Maximum tokens of a reply of the judge."
    )
    judge_extra_body: dict[str, Any] = setting(
        {}, help="Further fields of each request to the judge."
    )

    def __post_init__(self) -> None:
        """Checks the server, and that no setting is given without the one it needs."""
        super().__post_init__()
        if self.judge_base_url is not None:
            endpoint.check_url("JUDGE_BASE_URL", self.judge_base_url)
        endpoint.check_variable("JUDGE_API_KEY_VARIABLE", self.judge_api_key_variable)
        if self.judge_api_key_variable != "JUDGE_API_KEY" and not self.judge_base_url:
            raise UserError(
                "JUDGE_API_KEY_VARIABLE is set, expected JUDGE_BASE_URL with it"
            )
        for info in settings_of(JudgeConfig):
            if not self.judge and getattr(self, info.field) != info.default:
                raise UserError(f"{info.macro} is set, expected JUDGE = True with it")
