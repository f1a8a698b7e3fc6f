"""Values as YAML that reads back the same, for files that people edit."""

from __future__ import annotations

from typing import Any

__all__ = ["yaml_text"]

_LINE_BREAKS = "\x85\u2028\u2029"


def yaml_text(values: Any, *, short_lists: bool = False) -> str:
    """Return plain values (mappings, lists, text, numbers) as YAML, in the order given.

    Parameters
    ----------
    values
        What to write.
    short_lists
        Whether lists of plain values take one line each.

    Notes
    -----
    Text with one of the line breaks that only Unicode knows is written in double quotes with escapes; in other
    styles YAML folds them into spaces or newlines.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes such text, and lists of names, in styles of their own."""

    def text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
        style = '"' if any(c in data for c in _LINE_BREAKS) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def sequence(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
        flow = short_lists and not any(isinstance(v, dict | list) for v in data)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)

    Dumper.add_representer(str, text)
    Dumper.add_representer(list, sequence)
    written: str = yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)
    return written
