"""Recorded results: table.md says what result.json beside it says, to the byte."""

import json
from pathlib import Path
from statistics import mean, stdev

import pytest

from redoseg.reproduction import ablations, figure4, figures2_3, semi_supervised, table1
from redoseg.reproduction.tables import format_cell, summarize, summarize_scores, to_markdown

RECORDED = Path(__file__).resolve().parents[2] / "results" / "reproduce"
TABLES = {
    "ablations": lambda result: ablations.make_table(result["sets"]),
    "figure2": lambda result: figures2_3.make_table(result["sets"], result["failed"]),
    "figure4": lambda result: figure4.make_table(result["sets"]),
    "semi-supervised": lambda result: semi_supervised.make_table(result["sets"]),
    "table1": lambda result: table1.make_table(result["sets"]),
}


def recorded(name):
    folder = RECORDED / f"{name}-small"
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result, (folder / "table.md").read_text(encoding="utf-8")


def test_every_recorded_result_is_looked_at():
    assert {folder.parent.name for folder in RECORDED.glob("*/result.json")} == {f"{n}-small" for n in TABLES}


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"table1"}))
def test_a_table_is_made_from_its_result_again(name):
    result, table = recorded(name)
    assert TABLES[name](result) == table


def summarized_again(node):
    """What was recorded, each summary made anew from its values."""
    if not isinstance(node, dict):
        return node
    if set(node) == {"mean", "deviation", "values"}:
        return summarize(node["values"])
    return {key: summarized_again(value) for key, value in node.items()}


def test_table_1_is_made_from_its_seeds_again():
    """result.json has five digits of each number, which takes one deviation over the edge of rounding; the
    column of label-free scores was added after the table had been recorded."""
    result, table = recorded("table1")
    for of_set in result["sets"].values():
        of_set.setdefault("label_free", None)
    made = TABLES["table1"](summarized_again(result)).splitlines()
    rows = [line.split(" | ") for line in made if line.startswith("|")]
    assert {row.pop(6) for row in rows} == {"label-free score", "---", "-"}
    assert [" | ".join(row) for row in rows] == [line for line in table.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7814, ".781"),
        (-0.25, "-0.250"),
        (1.0, "1.000"),
        (None, "-"),
        (float("nan"), "-"),
        (1327, "1,327"),
        ("0", "0"),
        ({"mean": 0.5, "deviation": None, "values": [0.5]}, ".500"),
        ({"mean": 0.5, "deviation": 0.0125, "values": []}, ".500 ± .013"),
    ],
)
def test_cells(value, text):
    assert format_cell(value) == text


def test_what_a_record_lacks_is_a_dash_and_whole_numbers_stay_whole():
    table = to_markdown([{"a": 5}, {"b": 0.25, "left out": 1}], ("a", "b"))
    assert table == "| a | b |\n| --- | --- |\n| 5 | - |\n| - | .250 |\n"
    assert to_markdown([], ("a", "b")) == "| a | b |\n| --- | --- |\n"


def test_scores_are_summarized_as_the_standard_library_does():
    scores = [{"accuracy": 0.1 * k, "iou": 0.7 / k} for k in (1, 2, 3)]
    assert summarize_scores(scores) == {
        metric: {"mean": mean(values), "deviation": stdev(values), "values": values}
        for metric in ("accuracy", "iou")
        for values in [[score[metric] for score in scores]]
    }
    assert summarize_scores(scores[:1])["iou"]["deviation"] is None
    assert summarize_scores([]) == {"accuracy": None, "iou": None}
