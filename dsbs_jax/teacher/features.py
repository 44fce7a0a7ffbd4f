"""Finds out which fields of a request a server does not accept, and replaces them.

The first refusal that names a field changes all following requests, if there is a
replacement that keeps the meaning of the request: plain JSON for JSON of a schema, or
the other name of the token limit. Otherwise one error names our setting. The key of a
request does not depend on these changes.
"""

import copy
import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dsbs_jax.teacher import failures
from dsbs_jax.teacher.failures import RequestFailure, RunFailure

Body = dict[str, Any]
_Change = tuple[str, Callable[[Body], None]]

NO_RESPONSE_FORMAT = "without response_format"

_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
# Words with which servers refuse a field.
_REFUSES = re.compile(
    r"unsupported|not (be )?(supported|allowed|permitted|available|implemented|enabled"
    r"|a valid|recognized|valid)|n['o]t support|does not|doesn't|cannot|can't|unknown"
    r"|unrecognized|unexpected|unimplemented|extra[_ ](inputs?|forbidden|fields?)"
    r"|invalid|literal_error|should be|must be|disabled|deprecated|only"
    r"|too (large|many)|at most|less than|incompatible|no longer",
    re.IGNORECASE,
)
_JSON = re.compile(
    r"response[ _]?format|json[ _-]?(schema|object|mode)|structured|guided|grammar"
    r"|outlines",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class _Feature:
    """A part of a request that some servers do not accept.

    Attributes:
        setting: Our setting, for the error.
        remedy: What to do if there is no replacement.
        is_used: Whether a body has it.
        is_named: Whether a refusal names it.
        changes: What to try in its place, one after the other.
    """

    setting: str
    remedy: str
    is_used: Callable[[Body], bool]
    is_named: Callable[[str], bool]
    changes: tuple[_Change, ...] = ()


class ServerFeatures:
    """The fields that a server is known to accept, shared by all requests of a run."""

    def __init__(self) -> None:
        """Starts with the assumption that the server accepts everything."""
        self._changes: dict[str, _Change] = {}
        self._used: dict[str, int] = {}
        self._is_proven = False

    @property
    def changes(self) -> tuple[str, ...]:
        """The changes to each request, for the record and for messages."""
        return tuple(name for name, _ in self._changes.values())

    def adapt(self, body: Mapping[str, Any]) -> Body:
        """Returns the body with all changes."""
        changed = copy.deepcopy(dict(body))
        for feature in _FEATURES:
            if feature.setting in self._changes:
                _, change = self._changes[feature.setting]
                change(changed)
        return changed

    def accept(self) -> None:
        """Records that the server answered a request, so the fields are accepted."""
        self._is_proven = True

    def learn(
        self,
        failure: RequestFailure | RunFailure,
        body: Mapping[str, Any],
        sent_with: tuple[str, ...],
    ) -> str | None:
        """Changes the following requests if a refusal concerns one of their fields.

        Args:
            failure: The refusal.
            body: The original body.
            sent_with: The value of `changes` when the request was sent.

        Returns:
            The change to all following requests, or None if the refusal does not
            concern a field.

        Raises:
            RunFailure: A field has no replacement that the server accepts.
        """
        if sent_with != self.changes:
            # Another request found the change meanwhile.
            return self.changes[-1] if self.changes else None
        said = f"{failure.reason} {failure.detail}"
        if self._is_proven or failures.is_about_content(said):
            return None
        sent = self.adapt(body)
        for feature in [*_FEATURES, *_other_fields(body)]:
            used = feature.is_used(sent) or feature.setting in self._used
            if not (used and feature.is_named(said) and _REFUSES.search(said)):
                continue
            number = self._used.get(feature.setting, 0)
            if number == len(feature.changes):
                raise RunFailure(
                    f"{failure.reason}; the server does not accept {feature.setting}, "
                    f"{feature.remedy}"
                )
            self._used[feature.setting] = number + 1
            self._changes[feature.setting] = feature.changes[number]
            return feature.changes[number][0]
        return None


def _named(name: str) -> Callable[[str], bool]:
    """Returns a test for a field's name, which may be a common word, in a message."""
    field = re.escape(name)
    what = "parameter|param|argument|field|option|property|key|input|value"
    pattern = re.compile(
        rf"['\"`]{field}['\"`]|\b({what})s?\b[\s:=]*(supplied: )?['\"`]?{field}\b"
        rf"|\b{field}\b['\"`]?\s+({what}|is not|is only|must|does not|doesn't|not "
        rf"supported|unsupported|sequences?|is too)|support\w*\W+{field}\b"
        rf"|(^|: ){field}: |\b{field} ?(=|>|<|!=) ?\d| {field}$|supplied: {field}\b",
        re.IGNORECASE,
    )
    if "_" in name:
        pattern = re.compile(rf"(?<![a-z0-9_]){field}(?![a-z0-9_])", re.IGNORECASE)
    return lambda said: pattern.search(said) is not None


def _has(*names: str) -> Callable[[Body], bool]:
    return lambda body: any(name in body for name in names)


def _without(*names: str) -> _Change:
    def change(body: Body) -> None:
        for name in names:
            body.pop(name, None)

    return f"without {names[0]}", change


def _rename_limit(body: Body) -> None:
    old, new = _TOKEN_LIMITS if _TOKEN_LIMITS[0] in body else _TOKEN_LIMITS[::-1]
    if old in body:
        body[new] = body.pop(old)


def _json_object(with_schema: bool) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        if not _has_schema(body):
            return
        schema = body["response_format"]["json_schema"]["schema"]
        body["response_format"] = {"type": "json_object"}
        if with_schema:
            body["response_format"]["schema"] = schema
        else:
            _ask_for_json(body, schema)

    return change


def _without_response_format(body: Body) -> None:
    if _has_schema(body):
        form = body.pop("response_format")
        _ask_for_json(body, form["json_schema"]["schema"])


def _has_schema(body: Mapping[str, Any]) -> bool:
    form = body.get("response_format")
    return "messages" in body and isinstance(form, dict) and "json_schema" in form


def _ask_for_json(body: Body, schema: Mapping[str, Any]) -> None:
    """Adds to the instructions that the reply is JSON, which the schema said before."""
    labels = schema.get("properties", {}).get("label", {}).get("enum")
    text = 'Reply with a JSON object with the fields "rationale" and "label".'
    if labels:
        text += f' "label" is one of {json.dumps(labels, ensure_ascii=False)}.'
    # Not as a message of its own, because some models have no system role.
    first = body["messages"][0]
    first["content"] = f"{text}\n\n{first['content']}"


def _other_fields(body: Mapping[str, Any]) -> Iterable[_Feature]:
    """Returns the fields of EXTRA_BODY, which have no replacement."""
    own = {"model", "messages", "prompt", *_KNOWN_FIELDS}
    own |= {"response_format"} if _has_schema(body) else set()
    for name in sorted(body.keys() - own):
        setting = f"EXTRA_BODY[{name!r}]"
        yield _Feature(setting, "remove it", _has(name), _named(name))


def _field(
    setting: str, value: str, *names: str, changes: tuple[_Change, ...] = ()
) -> _Feature:
    tests = [_named(name) for name in names]
    remedy = f"set {setting} = {value}"

    def is_named(said: str) -> bool:
        return any(test(said) for test in tests)

    return _Feature(setting, remedy, _has(*names), is_named, changes)


_FEATURES = (
    _Feature(
        "STRUCTURED = True",
        "set STRUCTURED = False",
        _has_schema,
        lambda said: _JSON.search(said) is not None,
        (
            ("json_object with a schema", _json_object(with_schema=True)),
            ("json_object", _json_object(with_schema=False)),
            (NO_RESPONSE_FORMAT, _without_response_format),
        ),
    ),
    _field("SAMPLES_PER_REQUEST", "1", "n", "best_of", changes=(_without("n"),)),
    _field(
        "STREAM",
        "False",
        "stream_options",
        "stream",
        changes=(_without("stream_options"), _without("stream", "stream_options")),
    ),
    _field("SEND_STOP", "False", "stop", changes=(_without("stop"),)),
    _field("SEED", "None", "seed", changes=(_without("seed"),)),
    _field(
        "MAX_TOKENS_NAME",
        "the name that the server documents",
        *_TOKEN_LIMITS,
        changes=(("the other name of max_tokens", _rename_limit),),
    ),
    _field("TEMPERATURE", "None", "temperature"),
    _field("TOP_P", "None", "top_p"),
)
_KNOWN_FIELDS = (
    "n",
    "stream",
    "stream_options",
    "stop",
    "seed",
    "temperature",
    "top_p",
    *_TOKEN_LIMITS,
)
