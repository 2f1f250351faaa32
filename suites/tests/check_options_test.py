"""Which options and values count as tried, on a table and recordings made here."""

import importlib.util
import pathlib

import pytest

SUITES = pathlib.Path(__file__).resolve().parent.parent

_spec = importlib.util.spec_from_file_location("check_options", SUITES / "check_options.py")
check_options = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_options)

TABLE = {
    "operations": [
        {"name": "a.save", "arguments": [
            {"name": "model", "type": "handle model", "required": True},
            {"name": "format", "type": "string", "values": ["one", "two"]},
            {"name": "overwrite", "type": "bool", "text": "false: it is kept; default true"},
            {"name": "threads", "type": "int"},
            {"name": "kind", "type": "string", "required": True, "values": ["wide"]},
            {"name": "options", "type": "record options"},
            {"name": "plan", "type": "dict of record wide"}]},
        {"name": "a.load", "arguments": []}],
    "records": [
        {"name": "options", "by": "kind", "cases": {"wide": "wide"}},
        {"name": "wide", "fields": [{"name": "deep", "type": "bool", "default": False}]}],
}


@pytest.fixture
def untried():
    def call(*calls):
        options = check_options.Options(TABLE)
        for operation, arguments in calls:
            options.add_call(operation, arguments)
        return sorted(options.all - options.tried)

    return call


def test_every_operation_and_value_counts(untried):
    assert untried() == ["a.load", "a.save", "a.save:format=one", "a.save:format=two", "a.save:kind=wide", "a.save:options",
                         "a.save:options.deep=false", "a.save:options.deep=true", "a.save:overwrite=false",
                         "a.save:overwrite=true", "a.save:plan", "a.save:plan.deep=false", "a.save:plan.deep=true",
                         "a.save:threads"]


def test_what_is_left_out_counts_as_its_default(untried):
    left = untried(("a.load", {}), ("a.save", {"kind": "wide", "format": "one", "options": {}}))
    assert left == ["a.save:format=two", "a.save:options.deep=true", "a.save:overwrite=false", "a.save:plan",
                    "a.save:plan.deep=false", "a.save:plan.deep=true", "a.save:threads"]


def test_records_are_looked_into(untried):
    calls = [("a.save", {"kind": "wide", "threads": 2, "overwrite": False, "options": {"deep": True},
                         "plan": {"x": {"deep": True}, "y": {"deep": False}}})]
    assert not [name for name in untried(*calls) if "plan" in name or name.endswith("deep=true") or "threads" in name]
