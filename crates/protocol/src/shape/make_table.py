#!/usr/bin/env python3
"""Writes table.rs: the shapes of all requests that a broker takes, from Apache Kafka's message definitions.

usage: make_table.py FOLDER > table.rs      FOLDER: common/message of an unpacked kafka-clients jar
"""
import json, pathlib, re, sys

FIXED = {"bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "float64": 8, "uuid": 16}
NEWEST = 32767


def versions(text):
    if text is None or text == "none":
        return None
    if text.endswith("+"):
        return int(text[:-1]), NEWEST
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def kind(field, structs):
    name, array = field["type"], False
    if name.startswith("[]"):
        name, array = name[2:], True
    if name in FIXED:
        inner = f"Kind::Fixed({FIXED[name]})"
    elif name == "string":
        inner = "Kind::Text"
    elif name in ("bytes", "records"):
        inner = "Kind::Bytes"
    else:
        inner = f"Kind::Structure({fields(field.get('fields') or structs[name], structs)})"
        nullable = versions(field.get("nullableVersions"))
        if nullable and not array:
            inner = inner.replace("Kind::Structure(", f"Kind::Optional({nullable[0]}, ", 1)
    return f"Kind::Array(&{inner})" if array else inner


def fields(definitions, structs):
    out = []
    for field in definitions:
        present = versions(field["versions"])
        if present is None:
            continue
        tagged = versions(field.get("taggedVersions"))
        tag = f"Some(({field['tag']}, {tagged[0]}))" if tagged else "None"
        out.append(f"Field {{ from: {present[0]}, to: {present[1]}, tag: {tag}, kind: {kind(field, structs)} }}")
    return "&[" + ", ".join(out) + "]"


def main():
    requests = []
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*Request.json")):
        definition = json.loads(re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.M))
        if "broker" not in definition.get("listeners", []):
            continue
        structs = {struct["name"]: struct["fields"] for struct in definition.get("commonStructs", [])}
        flexible = versions(definition["flexibleVersions"])
        shape = fields(definition["fields"], structs)
        requests.append((definition["apiKey"], flexible[0] if flexible else NEWEST, shape, definition["name"]))
    print("//! The shapes of requests, made by `make_table.py` from the message definitions of Apache Kafka 4.3.1.\n")
    print("use super::{Field, Kind, Shape};\n")
    print("/// By key.")
    print("#[rustfmt::skip]")
    print(f"pub(super) const SHAPES: [(i16, Shape); {len(requests)}] = [")
    for key, flexible, shape, name in sorted(requests):
        print(f"    // {name}\n    ({key}, Shape {{ flexible: {flexible}, fields: {shape} }}),")
    print("];")


main()
