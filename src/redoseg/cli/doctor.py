"""The action doctor: what is installed, what is missing, and whether segmenting works."""

import json
from typing import Any

from redoseg.cli.terminal import Json


def doctor(json_: Json = False) -> int:
    """Say what is installed and what is missing, and segment a drawn picture: exit code 0 if that works."""
    from redoseg.segmentation.checkup import facts

    found = facts()
    if json_:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_lines(found)))
    return 0 if found["self_test"]["works"] else 1


def _lines(found: dict[str, Any]) -> list[str]:
    versions, cores = found["versions"], found["cores"]
    first = ("redoseg", "python", "system")
    packages = ", ".join(f"{name} {own}" for name, own in versions.items() if own and name not in first)
    lines = [
        f"redoseg {versions['redoseg']}, Python {versions['python']} ({found['executable']})",
        f"system:    {versions['system']}",
        f"packages:  {packages}",
        *(f"device:    {device}" for device in found["devices"]),
        f"cores:     {cores['used']} of {cores['present']} are used"
        + ("" if cores["quota"] is None else f", the quota is {cores['quota']:g}"),
        *(
            f"cache:     {what}: {one['folder']}, {one['bytes'] / 1e6:.1f} MB"
            for what, one in found["caches"].items()
        ),
        f"models:    {', '.join(found['models'])}",
    ]
    for extra, names in found["missing"].items():
        wanted = f"'redoseg[{extra}]'" if extra else "redoseg"
        lines.append(f"missing:   {', '.join(names)}: pip install {wanted}")
    test = found["self_test"]
    lines.append(f"self-test: {'passed' if test['works'] else 'FAILED'}: {test['text']}")
    if not test["works"]:
        lines.append("segmenting doesn't work: pip install --force-reinstall redoseg")
    return lines
