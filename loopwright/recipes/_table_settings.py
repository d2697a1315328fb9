"""The keys of ``table``: which columns of a table list the pictures that ``loopwright train`` learns from. Reads none."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from .._config import Settings
from .._errors import ConfigError
from ..data._row_split import COLUMN
from ..data._rows import FORMATS, is_table

_NOT_TRAINED = {  # what Table reads, but a classifier of one class does not learn
    "labels": "several labels a picture",
    "values": "numbers",
    "separator": "several labels a picture",
}


class TableSettings(Settings):
    """As ``Table`` takes them, with its defaults."""

    image: str = "path"  # the column of the pictures' paths
    label: str = "label"  # that of their classes
    classes: list[str | int] | None = None  # in the order of the outputs; by default those of the whole table, sorted
    root: str | None = None  # the folder that paths begin in; by default the table's
    outside: bool = False  # let paths lead out of it
    split_column: str | None = COLUMN  # that of train, val, test; without such a column, or with null, holdout decides
    weight: str | None = None  # a column of numbers: how often a row is drawn
    delimiter: str | None = Field(None, min_length=1, max_length=1)

    @model_validator(mode="before")
    @classmethod
    def _one_class(cls, value: Any) -> Any:
        other = [key for key in value if key in _NOT_TRAINED] if isinstance(value, Mapping) else []
        if other:
            raise ConfigError(
                f"{other[0]}: 'loopwright train' learns one class a picture, label: COLUMN; for {_NOT_TRAINED[other[0]]} "
                "write the loop, with lw.Table: see docs/data.md"
            )
        return value

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of ``Table`` that are not as they are by default."""
        return self.model_dump(exclude_defaults=True)


def check_is_table(data: str) -> None:
    """``ConfigError`` where columns are named of what has none."""
    if not is_table(data):
        raise ConfigError(
            f"table: names columns, and data: {data} is no table ({', '.join(FORMATS)}): leave it out (table=null)"
        )
