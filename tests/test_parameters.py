"""Texts of parameters, as people write them: what can be read is read alike, the rest is one clear message."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellkey.errors import ParameterError
from cellkey.parameters import read_mapping

GOOD = {"a": 0.5, "b": {"0": 1}}


@pytest.mark.parametrize("content", [
    b'{"a": 0.5, "b": {"0": 1}}',
    b'\xef\xbb\xbf{"a": 0.5,\r\n "b": {"0": 1}}\r\n',  # as Windows editors save it
    b'a: 0.5\nb:\n  "0": 1\n',
])
def test_files_with_marks_and_line_ends_of_other_systems(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "parameters.json"
    path.write_bytes(content)
    assert read_mapping(f"@{path}") == read_mapping(str(path)) == GOOD


def test_nothing_is_an_empty_mapping() -> None:
    assert read_mapping(None) == read_mapping("{}") == {}


@pytest.mark.parametrize(("text", "expected"), [
    ('{"a": ...}', "line 1, column 7: there is '...', which is a placeholder"),
    ('{ ... }', "placeholder"),
    ("...", "placeholder"),
    ('{"a": 1, "a": 2}', "'a' is given more than once"),
    ('{"b": {"a": 1, "a": 2}}', "'a' is given more than once"),
    ('{"a": NaN}', "NaN is not a JSON value"),
    ('{"a": -Infinity}', "-Infinity is not a JSON value"),
    ('{"a": 1e999}', "holds the number inf"),
    ('{"a": [1, 99999999999999999999]}', "99999999999999999999"),
    ('{"a": 1' + "0" * 5000 + "}", "thousands of digits"),
    ('{"a": ' * 5000, "nested too deeply"),
    ("{'a': 1}", "double quotes"),
    ('{"a": 1, // why\n}', "not valid JSON: line 2"),
    ('{"a": ', "not valid JSON: line 1"),
])
def test_every_mistake_in_a_text_is_named(text: str, expected: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read_mapping(text, option="--scoring-params")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("--scoring-params")


def test_comments_are_read_over(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('// why\n{"a": "// b", /* c\n */ "d": "\\"//"} // e')
    assert read_mapping(tmp_path / "p.json") == {"a": "// b", "d": '"//'}
    with pytest.raises(ParameterError, match="line 3, column 3"):
        read_mapping('{"a": 1, // "x\n/* \n*/}')


@pytest.mark.parametrize(("content", "expected"), [
    ('{"gräße": 1}'.encode("latin-1"), "not UTF-8 text"),
    (b"- 1\n- 2\n", "must hold an object"),
    (b"a: .inf\n", "holds the number inf"),
    (b"a: [1\n", "neither valid JSON nor valid YAML"),
    (b"...", "placeholder"),
])
def test_every_mistake_in_a_file_is_named(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "parameters.txt"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=expected):
        read_mapping(path)


def test_what_is_neither_json_nor_a_file(tmp_path: Path) -> None:
    for text in ("null", "5", "", str(tmp_path)):
        with pytest.raises(ParameterError, match="give inline JSON"):
            read_mapping(text)
