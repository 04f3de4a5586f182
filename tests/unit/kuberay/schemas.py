"""Custom resources' schemas as strict JSON schemas: what an API server would drop is invalid.

A required field with a default may be missing, and nulls are dropped, as the API server does.
Rules in CEL and the checks of KubeRay's operator itself are not evaluated.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml


def schemas_home() -> Path:
    """The folder of schemas (SPT_SCHEMAS_HOME); the test is skipped without it."""
    folder = os.environ.get("SPT_SCHEMAS_HOME", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SPT_SCHEMAS_HOME does not name the folder of custom resources' schemas")
    return Path(folder)


@functools.cache
def validator(home: Path, api_version: str, kind: str) -> jsonschema.protocols.Validator:
    """What checks manifests of a custom kind."""
    group, _, version = api_version.partition("/")
    (path,) = home.glob(f"*-crds/{group}_{kind.lower()}s.yaml")
    crd = yaml.load(path.read_text(), yaml.CSafeLoader)
    assert crd["spec"]["names"]["kind"] == kind
    (served,) = (v for v in crd["spec"]["versions"] if v["name"] == version)
    return jsonschema.Draft202012Validator(strict(served["schema"]["openAPIV3Schema"]))


def errors(home: Path, manifest: Any) -> list[str]:
    """What is wrong with a manifest of a custom kind."""
    check = validator(home, manifest["apiVersion"], manifest["kind"])
    return [f"{e.json_path}: {e.message[:200]}" for e in check.iter_errors(without_nulls(manifest))]


def strict(schema: Any) -> Any:
    """The schema with every unknown field an error."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    content = {
        name: {key: strict(one) for key, one in value.items()}
        if name in ("properties", "patternProperties")
        else strict(value)
        for name, value in schema.items()
        if name not in ("default", "description")
    }
    properties = schema.get("properties")
    if isinstance(properties, dict):
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            if properties.keys() >= {"apiVersion", "kind"}:
                content["properties"]["metadata"] = {"type": "object"}
            content.setdefault("additionalProperties", False)
        required = [n for n in schema.get("required", ()) if "default" not in properties.get(n, {})]
        content.pop("required", None)
        if required:
            content["required"] = required
    if schema.get("nullable") and "type" in content:
        content["type"] = [content["type"], "null"]
    return content


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(one) for name, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value
