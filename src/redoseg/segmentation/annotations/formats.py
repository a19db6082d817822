"""What a photo's shapes are in each form: text for labelme and YOLO, parts of one COCO file for all photos.

Forms: https://cocodataset.org/#format-data, https://github.com/wkentaro/labelme,
https://docs.ultralytics.com/datasets/segment/.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from redoseg.segmentation.annotations.shapes import PhotoShapes, Shape

_LABELME = "5.5.0"  # whose form this is; later versions read it


def labelme_text(photo: PhotoShapes, image_path: str, names: Sequence[str]) -> str:
    """A labelme file. Pieces of one object are polygons of one group; a hole is cut open."""
    shapes: list[dict[str, Any]] = [
        {
            "label": name_of(shape, names), "points": piece.as_one(), "group_id": shape.label,
            "description": "", "shape_type": "polygon", "flags": {}, "mask": None,
        }
        for shape in photo.shapes
        for piece in shape.pieces
    ]  # fmt: skip
    content: dict[str, Any] = {
        "version": _LABELME, "flags": {}, "shapes": shapes, "imagePath": image_path, "imageData": None,
        "imageHeight": photo.size[1], "imageWidth": photo.size[0],
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def yolo_text(photo: PhotoShapes, names: Sequence[str]) -> str:
    """A line for each piece: the number of its class from 0, then x and y as shares of width and height."""
    lines = []
    for shape in photo.shapes:
        for piece in shape.pieces:
            shares = (f"{value / side:.6f}" for p in piece.as_one() for value, side in zip(p, photo.size))  # noqa: B905
            lines.append(f"{category_of(shape, names) - 1} {' '.join(shares)}\n")
    return "".join(lines)


def yolo_yaml(names: Sequence[str]) -> str:
    """The data.yaml beside `labels/`; photos are looked for in `images/` beside it."""
    classes = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))
    return f"train: images\nval: images\nnames:\n{classes}"


def coco_annotations(photo: PhotoShapes, names: Sequence[str], exact: bool) -> list[dict[str, Any]]:
    """The annotations of one photo, without ids: polygons, but run lengths of what has a hole, for which COCO
    has no polygon, and of everything if it is to be `exact`."""
    width, height = photo.size
    found = []
    for shape in photo.shapes:
        left, top, right, bottom = shape.box
        flat = [[value for point in piece.outline for value in point] for piece in shape.pieces]
        runs = {"size": [height, width], "counts": shape.counts}
        found.append({
            "category_id": category_of(shape, names), "area": shape.area, "iscrowd": 0,
            "bbox": [left, top, right - left, bottom - top],
            "segmentation": runs if exact or any(piece.holes for piece in shape.pieces) else flat,
        })  # fmt: skip
    return found


def coco_lines(photos: Sequence[tuple[dict[str, Any], Sequence[str]]], names: Sequence[str]) -> Iterator[str]:
    """A COCO file, bit by bit, from each photo's entry without its id, and its annotations as JSON."""
    yield '{"images": ['
    for number, (image, _) in enumerate(photos, 1):
        yield f"{',' if number > 1 else ''}\n{json.dumps({'id': number, **image}, ensure_ascii=False)}"
    yield '],\n"annotations": ['
    last = 0
    for number, (_, annotations) in enumerate(photos, 1):
        for annotation in annotations:
            last += 1
            yield f'{"," if last > 1 else ""}\n{{"id": {last}, "image_id": {number}, {annotation[1:]}'
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    yield f'],\n"categories": {json.dumps(categories, ensure_ascii=False)}}}\n'


def category_of(shape: Shape, names: Sequence[str]) -> int:
    """From 1: the region's number where regions have names, 1 where there is one name for all."""
    return 1 if len(names) == 1 else shape.label


def name_of(shape: Shape, names: Sequence[str]) -> str:
    return names[category_of(shape, names) - 1]
