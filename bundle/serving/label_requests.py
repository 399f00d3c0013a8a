"""What clients of the MONAI Label app may ask, field by field. Needs ``pydantic``, as MONAI Label does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError  # type: ignore[import-not-found]

from ..core import BundleError, parsed_json

Model = TypeVar("Model", bound=BaseModel)


def _or_none(value: Any) -> Any:
    return None if value == "" else value


Pair = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]
_MAY_BE_EMPTY = BeforeValidator(_or_none)


class _Request(BaseModel):
    """Other keys, which other apps know, do not matter; text that is a number is one."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class TrainRequest(_Request):
    """Of ``POST /train/slpd``: numbers of ``configs/train.yaml``, and how the run begins."""

    max_epochs: Annotated[Annotated[int, Field(ge=1, le=100_000)] | None, _MAY_BE_EMPTY] = None
    batch_size: Annotated[Annotated[int, Field(ge=1, le=1_000_000)] | None, _MAY_BE_EMPTY] = None
    n_prototypes: Annotated[Annotated[int, Field(ge=1, le=10_000)] | None, _MAY_BE_EMPTY] = None
    min_regions: Annotated[Annotated[int, Field(ge=1, le=1_000_000_000)] | None, _MAY_BE_EMPTY] = None
    prototype_warmup_epochs: Annotated[Annotated[int, Field(ge=0, le=1_000_000)] | None, _MAY_BE_EMPTY] = None
    seed: Annotated[Annotated[int, Field(ge=0, le=2**53)] | None, _MAY_BE_EMPTY] = None
    lr: Annotated[Annotated[float, Field(ge=0, le=1000)] | None, _MAY_BE_EMPTY] = None
    pretrained: bool = False
    resume: bool = False


class SlideRequest(_Request):
    """A question about a slide, as a task is handed it: the box in level-0 px, and what single questions take."""

    model: str
    image: str | None = ""
    location: Pair | None = None
    size: Pair | None = None
    output: Literal["json", "dsa", "asap"] | None = None
    min_poly_area: Annotated[Annotated[FiniteFloat, Field(ge=0)] | None, _MAY_BE_EMPTY] = None
    head: Annotated[Annotated[int, Field(ge=1, le=10_000)] | None, _MAY_BE_EMPTY] = None
    n_similar: Annotated[Annotated[int, Field(ge=1, le=1_000_000)] | None, _MAY_BE_EMPTY] = None


def read_request(model: type[Model], values: Any) -> Model:
    """The request's fields.

    Raises:
        BundleError: a field is not what it may be; the message names each that is not.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise BundleError(fields_of(error)) from None


def fields_of(error: ValidationError) -> str:
    """What is wrong with which field, in a line."""
    found = [(".".join(map(str, one["loc"])) or "the request", str(one["msg"])) for one in error.errors()]
    return "; ".join(f"{name}: {what[:1].lower()}{what[1:]}" for name, what in found)


def read_json(text: str, name: str) -> Mapping[str, Any]:
    """A JSON object in a form's field.

    Raises:
        BundleError: it is none.
    """
    try:
        values = parsed_json(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise BundleError(f'{name}: give a JSON object, such as {{"location": [0, 0], "size": [0, 0]}}.')
    return values
