"""From soft masks to the object: at which threshold, which region, which of its connected pieces."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.config.segment import SegmentConfig
from redoseg.data.labels import region_map
from redoseg.segmentation.segmenter import Masks, Segmenter

Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Objects:
    """What a photo shows: `labels` (H, W), 0 on the background, else the number of the region or instance.
    `single`: there is one kind of object, and its label is 1. `soft` (H, W) float32 in [0, 1] is how much a
    pixel is the object's before a threshold; None if nobody asks for it."""

    labels: Labels
    single: bool
    soft: Masks | None = None


def find_objects(
    segmenter: Segmenter,
    masks: Masks,
    size: tuple[int, int],
    photo: Image.Image | None,
    config: SegmentConfig,
) -> Objects:
    """The objects in soft masks (n, h, w), at the photo's `size` (width, height); see `Segmenter.restore`."""
    single = config.instances is None and (segmenter.n == 2 or config.region is not None)
    if config.threshold is None and config.region is None and "soft" not in config.type:
        return Objects(choose_pieces(segmenter.regions(masks, size, photo), config), single)
    restored = segmenter.restore(masks, size, photo)
    soft = None
    if "soft" in config.type:
        soft = 1 - restored[0] if config.region is None else restored[config.region]
    return Objects(choose_pieces(choose_region(restored, config), config), single, soft)


def choose_region(masks: Masks, config: SegmentConfig) -> Labels:
    """The labels (H, W) of soft masks (n, H, W): of `config.region` alone 1, else of every region its number.
    At a threshold t a region is where its mask is above t; without one region chosen, where it beats the
    background t / (1 - t) times over, which for two regions is the same."""
    region, threshold = config.region, config.threshold
    if region is not None:
        inside = region_map(masks) == region if threshold is None else masks[region] > threshold
        return inside.astype(np.uint8)
    if threshold is None:
        return region_map(masks)
    if len(masks) == 2:
        return (masks[1] > threshold).astype(np.uint8)
    found = masks[1:].argmax(0) + 1
    return np.where(masks[1:].max(0) > masks[0] * (threshold / (1 - threshold)), found, 0).astype(np.uint8)


def choose_pieces(labels: Labels, config: SegmentConfig) -> Labels:
    """The labels with the largest piece alone, then without holes, then numbered by pieces, as far as
    `config` asks for it. Pieces that touch at a corner are one."""
    if config.largest:
        labels = _keep_largest(labels)
    if config.fill_holes:
        labels = labels | _holes(labels)
    if config.instances is not None:
        labels = _number(labels, config.instances)
    return labels


def count_pieces(inside: NDArray[np.bool_]) -> int:
    """How many connected pieces there are; those that touch at a corner are one."""
    return int(cv2.connectedComponents(inside.view(np.uint8), connectivity=8)[0]) - 1


def _pieces(inside: NDArray[np.bool_], connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The number of each pixel's piece, (H, W), 0 outside, and the pieces' areas, that of 0 first."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(inside.view(np.uint8), connectivity=connectivity)
    return np.asarray(pieces, np.int32), np.asarray(stats[:, cv2.CC_STAT_AREA], np.int32)


def _keep_largest(labels: Labels) -> Labels:
    pieces, areas = _pieces(labels > 0, 8)
    if len(areas) <= 2:
        return labels
    return np.where(pieces == 1 + areas[1:].argmax(), labels, 0).astype(np.uint8)


def _holes(labels: Labels) -> Labels:
    """1 on the background that can't be reached from the photo's border, else 0."""
    pieces, areas = _pieces(labels == 0, 4)
    outer = np.zeros(len(areas), bool)
    outer[0] = True
    for edge in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        outer[edge] = True
    return (~outer)[pieces].view(np.uint8)


def _number(labels: Labels, share: float) -> Labels:
    pieces, areas = _pieces(labels > 0, 8)
    order = [int(piece) for piece in 1 + np.argsort(-areas[1:], kind="stable")]
    large = [piece for piece in order if areas[piece] >= share * labels.size]
    numbers = np.zeros(len(areas), np.uint8)
    numbers[large] = np.arange(1, len(large) + 1)
    return numbers[pieces]
