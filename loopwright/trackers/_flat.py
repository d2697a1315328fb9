"""A nested configuration as flat names and texts, as trackers show it. Changes nothing that it is given."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Dotted names to texts; items of a list that are mappings themselves are numbered.

    >>> flatten({"optimizer": {"lr": 0.003}, "augment": [{"name": "Flips"}], "sizes": [96, 128], "run": None})
    {'optimizer.lr': '0.003', 'augment.0.name': 'Flips', 'sizes': '[96, 128]', 'run': 'null'}
    """
    return dict(_walk(config, ""))


def _walk(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and (value or not name):
        for key, below in value.items():
            yield from _walk(below, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for place, below in enumerate(value):
            yield from _walk(below, f"{name}.{place}")
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
