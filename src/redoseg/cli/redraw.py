"""Action redraw: the paper's Figure 2 for one photo."""

from pathlib import Path

import tyro

from redoseg.cli.early import find_source
from redoseg.cli.terminal import Device, Weights


def redraw(
    model: tyro.conf.Positional[str],
    image: tyro.conf.Positional[Path],
    /,
    out: Path,
    region: int = 1,
    count: int = 8,
    seed: int = 0,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: Device = "auto",
) -> int:
    """Redraw one region of a photo with several codes: the paper's Figure 2 for a photo of one's own.

    Args:
        model: A run's folder, or a model with generators from `redoseg models`.
        image: The photo; its central square is used.
        out: PNG to write.
        region: 0 is the background, 1 the object.
        count: How many codes.
        seed: Decides the codes.
        checkpoint: last, label-free (chosen without masks) or best (chosen with masks).
        weights: The moving average or the raw weights. None: the average if one is kept.
    """
    from redoseg.figures.own_png import check_replaceable, save_own_png
    from redoseg.files import write_aside

    check_replaceable([out])
    source = find_source(model, checkpoint, weights)
    from redoseg.redrawing.redraw import redraw as draw

    picture = draw(source, image, region=region, count=count, seed=seed, device=device)
    write_aside(out, lambda aside: save_own_png(picture, aside))
    print(out)
    return 0
