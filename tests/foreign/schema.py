"""Validates documents against JSON Schemas of a folder, by the reference implementation in Python.

Reads {"folder", "cases": [{"schema", "document"}]} from standard input; `schema` is a file of the folder, with its fragment.
Writes a list: for each case the first few things that are wrong with it. Schemas are found by where they lie: `$id` of one of
UCP's does not fit its own references.
"""

import json
import pathlib
import sys

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

asked = json.load(sys.stdin)
registry = Registry()
folder = pathlib.Path(asked["folder"]).resolve()
for path in folder.rglob("*.json"):
    schema = json.loads(path.read_text())
    if isinstance(schema, dict) and "$id" in schema:
        schema["$id"] = path.as_uri()
        registry = registry.with_resource(path.as_uri(), Resource.from_contents(schema))
found = []
for case in asked["cases"]:
    validator = Draft202012Validator({"$ref": f"{folder.as_uri()}/{case['schema']}"}, registry=registry)
    errors = [f"{error.json_path}: {error.message}"[:300] for error in validator.iter_errors(case["document"])]
    found.append(errors[:5])
json.dump(found, sys.stdout)
