"""A model's card for people: README.md, with the front matter that a model hub reads. Torch-free."""

from collections.abc import Iterator
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from redoseg.models.card import (
    AS_WRITTEN,
    MATCHINGS,
    ON_CARDS,
    TRIVIAL,
    WRITTEN_TEXT,
    Card,
    beats_trivial,
    rule_text,
    supervision_text,
)

PAPER = "https://arxiv.org/abs/1905.13539"
NO_LICENCE = "**not stated, write here under which terms the photos may be used**"


def model_card(card: Card) -> str:
    """The text of README.md: front matter in YAML, then Markdown."""
    sections = {
        "Use": _use(card),
        "Intended use": _intended(card),
        "Training data": _data(card),
        "Figures": "\n".join(_figures(card)),
        "Limits": _limits(card),
        "Bias": _FACES_BIAS if _of_faces(card) else _BIAS,
        "Making it again": _again(card),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"---\n{_front_matter(card)}---\n\n# {card.name}\n\n{_summary(card)}\n\n{body}\n"


def _front_matter(card: Card) -> str:
    results = list(_results(card))
    kind = "unsupervised" if supervision_text(card.supervision) is None else "semi-supervised"
    data = ModelCardData(
        license="apache-2.0",
        library_name="redoseg",
        pipeline_tag="image-segmentation",
        tags=["image-segmentation", kind, "object-segmentation", "redo", "onnx"],
        metrics=["mean_iou", "accuracy"] if results else None,
        model_name=card.name if results else None,
        eval_results=results or None,
    )
    return f"{data.to_yaml()}\n"


def _results(card: Card) -> Iterator[EvalResult]:
    for row, scores in _rows(card):
        if row in TRIVIAL:
            continue  # hubs rank models by these results: trivial answers don't belong there
        for metric, name in _METRICS.items():
            yield EvalResult(
                task_type="image-segmentation",
                dataset_type=card.data["name"],
                dataset_name=card.data["name"],
                dataset_split=(card.scores or {})["split"],
                metric_type=metric,
                metric_name=f"{name}, {row}",
                metric_value=round(scores[metric], 4),
            )


_METRICS = {"iou": "IoU of the object", "mean_iou": "IoU, mean over regions", "accuracy": "accuracy"}


def _rows(card: Card) -> Iterator[tuple[str, dict[str, Any]]]:
    scores = card.scores or {}
    yield from ((row, scores[row]) for row in ON_CARDS if scores.get(row) is not None)


def _summary(card: Card) -> str:
    regions = "the object" if card.n == 2 else f"{card.n - 1} kinds of object"
    what = f"Finds {card.subject}" if card.subject else f"Finds {regions}"
    student = "; a second network was then trained on its masks (`redoseg distill`)" if card.teacher else ""
    student += "; its mask network began as another model's (`--start`)" if card.config().start else ""
    masks = supervision_text(card.supervision)
    sources = "pictures alone" if masks is None else f"pictures and a few masks (**{masks}**)"
    return (
        f"{what} in photos, as soft masks of {card.n} regions, background included. Learned from {sources} "
        f"by redrawing: [Unsupervised Object Segmentation by Redrawing]({PAPER}) (ReDO, NeurIPS 2019), "
        f"as the library `redoseg` has it{student}."
    )


def _use(card: Card) -> str:
    return f"""```python
import redoseg

seg = redoseg.Segmenter.from_pretrained("FOLDER")  # this one, or its id on the hub
masks = seg("photo.jpg")  # ({card.n}, H, W) float32, background first; they sum to one
```

`redoseg segment FOLDER PHOTOS --out MASKS` does the same for files. Neither needs PyTorch. `mask.onnx` is the
network for ONNX Runtime: `images` (B, 3, H, W) in [-1, 1], sides multiples of 4 from 32, to `masks`
(B, {card.n}, H, W). It has learned squares: `redoseg` shows it several of a photo of another shape."""


def _intended(card: Card) -> str:
    things = card.subject or "the kind of object that it was trained on"
    text = (
        f"Masks of {things} in photos like those of the training data, one such object large in the picture: "
        "for research on learning without labels, as a first guess for annotators, for effects on pictures. "
        "Look at a few masks of your own photos first. Not for anything where a wrong mask does harm."
    )
    if _of_faces(card):
        text += (
            " Not for recognising or finding people, nor for judging who they are or what they are like: a "
            "mask says which pixels look like a face, no more."
        )
    return text


def _data(card: Card) -> str:
    text, terms = (part.rstrip(".") for part in (card.data["text"], card.data["licence"] or NO_LICENCE))
    masks, supervision = "no mask was used", supervision_text(card.supervision)
    if card.supervision and supervision is not None:
        masks = f"**{supervision}** of {card.supervision['source']} were learned from, too"
    return (
        f"{text} ({card.data['images']:,} pictures to train on, at {card.size} x {card.size}; "
        f"{masks}). Terms of the data: {terms}. The Apache-2.0 licence is that of the weights and the "
        "code, not of the pictures, which aren't here."
    )


def _label(card: Card, row: str) -> str:
    if row != AS_WRITTEN:
        return MATCHINGS[row]
    matched = "nothing matched" if card.n == 2 else "objects told apart by one matching for the split"
    return f"{WRITTEN_TEXT}, refined; {matched}"


def _figures(card: Card) -> Iterator[str]:
    steps = "" if card.steps is None else f", after {card.steps:,} steps"
    yield f"Checkpoint: {rule_text(card)}{steps}{_WEIGHTS[card.ema]}.\n"
    if card.scores is None:
        yield "This checkpoint has not been scored: nothing is known of how good its masks are."
        return
    images, split = card.scores["images"], card.scores["split"]
    written = ", and of refined ones at 128 x 128 or more" if card.scores.get(AS_WRITTEN) else ""
    yield (
        f"{images:,} labelled images of the split `{split}`; mean scores of the network's masks at "
        f"{card.size} x {card.size}{written}:\n"
    )
    yield "| | IoU | accuracy |\n| --- | --- | --- |"
    for row, scores in _rows(card):
        label = TRIVIAL[row] if row in TRIVIAL else f"{_label(card, row)} (`{row}`)"
        yield f"| {label} | {scores['iou']:.3f} | {scores['accuracy']:.3f} |"
    yield (
        "\nOne matching for the split is the honest way; matching regions to labels anew for each image "
        "flatters. The trivial rows look at no photo, but were chosen with labels of the same split."
    )
    if "best" in (card.rule, (card.teacher or {}).get("rule")):
        yield "Labels took part in choosing the checkpoint, so on that split these figures are too high."
    if beats_trivial(card) is False:
        yield "\n**By IoU this model does not beat the best trivial row.**"


_WEIGHTS = {True: "; moving average of the weights", False: "; raw weights", None: ""}


def _limits(card: Card) -> str:
    points = [
        f"It was trained at {card.size} px: of a larger photo it sees the short side at {card.size}, and "
        "refines its masks along the outlines of the photo (`--refine off` enlarges them as they are).",
        "It gives a mask for every photo, also for one without such an object, and doesn't say so.",
        "It learned what can be redrawn, not what a person calls the object: what touches or resembles it "
        "may be taken in, and dark or bright parts left out.",
        "One run with one seed: another gives other masks, and some fail.",
    ]
    if card.n > 2:
        points.append("Which object has which number is arbitrary; only the background is known to be 0.")
    return "\n".join(f"- {point}" for point in points)


_BIAS = (
    "It knows what its training data shows, in that data's poses, backgrounds and light. How masks differ "
    "between kinds of photos has not been measured."
)
_FACES_BIAS = (
    "It learned from photos of people, and is likely worse for those that its training data shows rarely. "
    "Collections of press photos such as LFW hold mostly adult men of few origins and hardly any children or "
    "old people, mostly frontal and well lit. Dark hair, beards, glasses, headgear and dark skin in poor "
    "light are where masks are expected to fail first. Scores have not been measured by group, so nothing "
    "here shows that it treats people alike: measure it before it touches anybody's interests."
)


def _again(card: Card) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in card.trained_with.items())
    sums = "\n".join(f"| `{file}` | `{digest}` |" for file, digest in sorted(card.sha256.items()))
    lines = "\n".join(card.commands)
    return (
        f"```\n{lines}\n```\n\nData is named without its folders. Trained with {versions}; other versions "
        "or another machine give other bits, and with them another run. `card.json` holds every option.\n\n"
        f"| file | SHA-256 |\n| --- | --- |\n{sums}"
    )


def _of_faces(card: Card) -> bool:
    return "face" in card.subject.lower()
