"""Where annotations lie in OUT."""

from collections.abc import Sequence
from pathlib import Path

from redoseg.config.segment import Annotation
from redoseg.errors import DataError

COCO = Path("coco.json")
YAML = Path("yolo", "data.yaml")


def colmap_file(out: Path, photo_name: str) -> Path:
    """The mask of a photo as COLMAP looks for it below --ImageReader.mask_path: the photo's whole name and
    .png."""
    return out / "colmap" / "masks" / f"{photo_name}.png"


def text_files(
    wanted: Sequence[Annotation], out: Path, name: Path, photo_name: str
) -> dict[Annotation, Path]:
    """The text file of one photo in each form that has one; `name` is its mask's in OUT."""
    places = {
        "labelme": out / "labelme" / name.with_suffix(".json"),
        "yolo": out / "yolo" / "labels" / Path(photo_name).with_suffix(".txt"),
    }
    return {form: places[form] for form in wanted if form in places}


def check_texts(files: Sequence[tuple[str, Path]]) -> None:
    """DataError if two photos, named first, would have one file of YOLO's, which leaves suffixes out."""
    seen: dict[Path, str] = {}
    for photo, file in files:
        if file in seen:
            raise DataError(
                f"YOLO has one {file.name} for {seen[file]} and {photo}: give one of them another name"
            )
        seen[file] = photo
