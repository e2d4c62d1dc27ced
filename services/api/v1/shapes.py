"""Shapes of what is asked and answered: what all of them have in common. Pure."""

from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import JsonSchemaValue

from shared.tokens import TOKEN_MAX_BYTES, encode_token

PAGE_MAX = 1000
#: Text that names something: no control characters.
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]+$"


def _check_name(text: str) -> str:
    fault = encode_token(text)[1]
    if fault:
        raise ValueError(fault.replace("token", "text", 1))
    return text


#: A token, uid or name of a group.
Name = Annotated[
    str,
    Field(min_length=1, max_length=TOKEN_MAX_BYTES, pattern=NAME_PATTERN, description="1 to 255 bytes of UTF-8"),
    AfterValidator(_check_name),
]


def _without_nulls(schema: JsonSchemaValue) -> JsonSchemaValue:
    for field in schema.get("properties", {}).values():
        choices = [choice for choice in field.get("anyOf", ()) if choice != {"type": "null"}]
        if len(choices) < len(field.get("anyOf", ())):
            del field["anyOf"]
            field.update(choices[0] if len(choices) == 1 else {"anyOf": choices})
            field.pop("default", None)
    return schema


def _as_whole(number: Any) -> Any:
    """JSON knows one kind of number: 5.0 is 5."""
    return int(number) if type(number) is float and number.is_integer() else number


#: For a whole number in a body, behind its bounds: in front of them, they would be missing in the specification.
AS_WHOLE = BeforeValidator(_as_whole)


class Body(BaseModel):
    """A body that is sent to us: no fields that are not known, no null, numbers are numbers and text is text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, fields: Any) -> Any:
        if isinstance(fields, dict):
            for name, value in fields.items():
                if value is None:
                    raise ValueError(f"{str(name)[:64]} is null: leave it out")
        return fields

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> JsonSchemaValue:
        """Fields that may be left out are no nulls."""
        return _without_nulls(handler.resolve_ref_schema(handler(core_schema)))


class Parameters(BaseModel):
    """Query, path or header parameters, which come as text."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> JsonSchemaValue:
        return _without_nulls(handler.resolve_ref_schema(handler(core_schema)))

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Made once: flask-openapi3 asks for it with every request."""
        if arguments or options:
            return super().model_json_schema(*arguments, **options)
        return _plain_schema(cls)


@cache
def _plain_schema(model: type[Parameters]) -> dict[str, Any]:
    return super(Parameters, model).model_json_schema()


class Answer(BaseModel):
    """A body that we send: these fields, and in later versions others beside them."""

    model_config = ConfigDict(extra="allow")


class PageQuery(Parameters):
    after: str = Field(default="", max_length=255, description="`next` of the page before")
    limit: int = Field(default=100, ge=1, le=PAGE_MAX)


class TokenPath(Parameters):
    token: Name


class GroupPath(Parameters):
    group: Name


class UserPath(Parameters):
    uid: Name


class Problem(Answer):
    """RFC 9457 problem details."""

    type: str = Field(description="urn:push-gateway:problem: and the code")
    title: str
    status: int
    code: str = Field(description="docs/http-api.md, section Errors")
    detail: str
    request_id: str = Field(default="", description="the X-Request-Id of request and answer: look for it in the logs")
    errors: list[dict[str, str]] | None = Field(default=None, description="field and what is wrong with it")
