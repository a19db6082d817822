"""The action serve: a page and an API around one loaded model."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from redoseg.cli.options import by_group
from redoseg.cli.terminal import Device, Weights, note_frames
from redoseg.serving.limits import Limits


def serve(
    model: tyro.conf.Positional[str],
    photos: tyro.conf.Positional[tuple[str, ...]] = (),
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    corrections: Path = Path("corrections"),
    limits: Annotated[Limits, by_group(Limits)],
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: Device = "auto",
) -> int:
    """Open a page to try a model on photos, look at masks, correct and download them; with an API.

    Args:
        model: A run's folder, a model's folder, an ONNX file, a hub id, or a name from `redoseg models`.
        photos: Photos or folders of which the page offers some. None: those that a run was trained on.
        host: The address to listen at. At any but this machine's own (127.0.0.1) a token is needed.
        port: 0 takes a free one.
        token: What a client must know, at least eight letters. None: one is made up where it is needed.
        corrections: Folder for masks that are corrected on the page, for `redoseg fix`.
        limits: What is taken on at most.
        checkpoint: In a run: last, label-free (chosen without masks), best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
    """
    from redoseg.serving.serve import serve as run

    note_frames(model, photos)
    chosen: dict[str, Any] = {"checkpoint": checkpoint, "weights": weights, "device": device}
    place: dict[str, Any] = {"host": host, "port": port, "token": token, "corrections": corrections}
    run(model, photos, ready=_say, limits=limits, **place, **chosen)
    return 0


def _say(address: str) -> None:
    print(f"{address} (Ctrl-C ends it)", flush=True)
