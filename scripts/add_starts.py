"""The starts from which a shipped model's masks are refined, chosen on its data, for models made before 0.3.

python scripts/add_starts.py NAME DATA

Runs choose them at their end (`label_free.calibration.choose_starts`); no mask is read.
"""

import dataclasses
import json
import sys

import onnx

from redoseg.data.dataset import open_dataset
from redoseg.data.sampler import evenly_spaced
from redoseg.files import write_json
from redoseg.label_free.calibration import choose_starts
from redoseg.models import shipped
from redoseg.models.backends.onnx import INFO
from redoseg.models.card import ONNX, REFINING, read_card, sha256_of
from redoseg.models.load import load_model
from redoseg.tensors import to_tensor
from redoseg.training.trainer import OBSERVED


def main(name: str, data: str) -> None:
    folder, f = shipped.ROOT / name, load_model(name).f
    images = open_dataset([data], size=f.size, n=f.n).split("train")
    sample = images.images(evenly_spaced(len(images), OBSERVED))
    refining = {"starts": list(choose_starts(f, to_tensor(sample, f.order.device)))}
    write_json(folder / REFINING, refining)
    card = read_card(folder)
    assert card is not None
    model = onnx.load(folder / ONNX)
    info = {prop.key: prop.value for prop in model.metadata_props}
    info[INFO] = json.dumps(json.loads(info[INFO]) | refining)
    onnx.helper.set_model_props(model, info)
    onnx.save(model, folder / ONNX)
    sums = card.sha256 | {file: sha256_of(folder / file) for file in (REFINING, ONNX)}
    dataclasses.replace(card, refining=refining, sha256=sums).write(folder)
    print(f"{name}: {refining}")


if __name__ == "__main__":
    main(*sys.argv[1:])
