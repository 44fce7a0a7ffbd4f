"""Bodies of requests and responses.

A request with an unknown field, or a field of another type, is refused: nothing that a
client asks for is ignored.
"""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field


class _Request(pydantic.BaseModel):
    """A body that has no other fields and whose values are not converted."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


Columns = dict[str, Any]


class PredictRequest(_Request):
    """Inputs to answer."""

    input: str | Columns | list[str | Columns] = Field(
        description="A text, an object with the columns of the input, or a list."
    )
    model: str | None = Field(
        None, description="Name of the model; optional if the server has one."
    )
    explain: bool = Field(False, description="Whether to add a rationale.")


class Answer(pydantic.BaseModel):
    """The answer to one input, with the fields that `dsbs-jax predict` writes."""

    model_config = pydantic.ConfigDict(from_attributes=True)

    predicted_label: str
    log_probability: float = Field(
        description="Log-probability of the answer's tokens in nats."
    )
    probabilities: dict[str, float] | None = Field(
        None, description="Probability of each label of a closed label set."
    )
    predicted_rationale: str | None = None


class PredictResponse(pydantic.BaseModel):
    """The answers to the inputs, in their order."""

    model: str
    predictions: list[Answer]


class ErrorDetail(pydantic.BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorResponse(pydantic.BaseModel):
    """An error, in the shape of the OpenAI API."""

    error: ErrorDetail


class TextPart(_Request):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(_Request):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=1)]

    @property
    def text(self) -> str:
        """The text of the message."""
        return self.content if isinstance(self.content, str) else self.content[0].text


class StreamOptions(_Request):
    """What a stream contains."""

    include_usage: bool | None = None


class ChatRequest(_Request):
    """The fields of OpenAI's chat completions that a student can obey."""

    model: str
    messages: list[Message] = Field(
        min_length=1, description="The last one, of the user, is the input."
    )
    n: Literal[1] | None = None
    # A student always gives its most probable answer.
    temperature: Annotated[float, Field(ge=0, le=0)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class ModelCard(pydantic.BaseModel):
    """A model, with the fields of the OpenAI API and what the student can do."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time at which the server loaded it.")
    owned_by: str = "dsbs_jax"
    labels: list[str] | None = Field(description="The closed label set, if any.")
    explains: bool = Field(description="Whether `explain` is possible.")
    method: str | None = Field(description="The training method.")
    engine: str = Field(description="What computes the answers.")
    columns: list[str] = Field(description="The columns of an input.")
    max_inputs: int = Field(description="Inputs of a request.")
    max_characters: int = Field(description="Characters of an input.")


class ModelList(pydantic.BaseModel):
    """The models of the server."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(pydantic.BaseModel):
    """State of the server."""

    status: str
