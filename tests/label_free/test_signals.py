"""What is known of f without labels: each signal against another way to find it; what the score ranks."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score
from torch import nn

from redoseg.config import TrainConfig
from redoseg.label_free.measures import agreement, brightness, compactness, outline
from redoseg.label_free.signals import RELIT, Signals, code_recovery, label_free_score, measure
from redoseg.networks.build import build_networks
from redoseg.networks.mask import MaskNetwork
from redoseg.training.selection import LabelFreeSelection

S = 32


class Known(MaskNetwork):
    """An f whose object is what a function says: images (B, 3, S, S) -> soft masks (B, S, S)."""

    def __init__(self, of, n=2):
        super().__init__(n, width=4, blocks=1, size=S)
        self.of = of

    def ordered_masks(self, images):
        m = self.of(images)
        return torch.stack((1 - m, m), 1) if m.ndim == 3 else m


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def coarse(count, seed=0):
    """Images with patches of 4 x 4 pixels, in [-1, 1]."""
    return 2 * random(count, 3, S // 4, S // 4, seed=seed).repeat_interleave(4, 2).repeat_interleave(4, 3) - 1


def light(images):
    return images.mean(1)


def bright(images):
    return (light(images) > 0).float()


def fixed(mask):
    return lambda images: mask.expand(len(images), S, S)


def column(upto):
    return (torch.arange(S) < upto).float().expand(S, S)


def kappa(ones, others):
    return cohen_kappa_score(ones.flatten().numpy(), others.flatten().numpy())


# Each signal


def test_sizes_variation_border_confidence():
    masks = random(70, S, S) ** 2  # more than one batch
    images = torch.arange(70.0)[:, None, None, None].expand(-1, 3, S, S) / 100
    f = Known(lambda part: masks[(100 * part[:, 0, 0, 0]).round().long() % 70])
    found, m = measure(f, images), masks.double().numpy()
    assert found.sizes == pytest.approx((1 - m.mean(), m.mean()))
    assert found.variation == pytest.approx(m.std(0, ddof=1).mean())
    edge = np.ones((S, S), bool)
    edge[1:-1, 1:-1] = False
    assert found.border == pytest.approx(m[:, edge].mean())
    assert found.centred == pytest.approx(1 - m[:, edge].mean() / m.mean(), abs=1e-6)
    assert found.confidence == pytest.approx(np.abs(2 * m - 1).mean())


@pytest.mark.parametrize("n", [2, 3, 4])
def test_confidence_goes_from_undecided_to_decided(n):
    images = coarse(4)
    undecided = Known(lambda part: torch.full((len(part), n, S, S), 1 / n), n)
    decided = Known(lambda part: nn.functional.one_hot((part[:, 0] > 0).long(), n).float().movedim(3, 1), n)
    assert measure(undecided, images).confidence == pytest.approx(0, abs=1e-6)
    assert measure(decided, images).confidence == pytest.approx(1)


@pytest.mark.parametrize("n", [2, 3])
def test_agreement_is_cohens_kappa(n):
    ones, others = (random(5, 9, 9, seed=seed).mul(n).long() for seed in (0, 1))
    mixed = torch.where(random(5, 9, 9, seed=2) < 0.4, ones, others)
    for other in (others, mixed, ones):
        assert agreement(ones, other) == pytest.approx(kappa(ones, other))
    assert agreement(ones, ones) == pytest.approx(1)


def test_agreement_of_one_region_says_nothing():
    nothing, something = torch.zeros(2, 4, 4).long(), (random(2, 4, 4) > 0.5).long()
    assert agreement(nothing, nothing) == agreement(nothing + 1, nothing + 1) == 0
    assert agreement(nothing, something) == pytest.approx(0)


def test_what_depends_on_pixels_alone_survives_mirroring_and_moving():
    found = measure(Known(bright), coarse(5))
    assert found.mirrored == pytest.approx(1)
    assert found.moved == pytest.approx(1)


def test_what_depends_on_the_place_alone_does_not():
    found = measure(Known(fixed(column(S // 2))), coarse(5))
    assert found.mirrored == pytest.approx(-1)  # the other half
    step, inner = 3, column(S // 2)[3:-3, 3:-3]
    assert found.moved == pytest.approx(kappa(inner, column(S // 2 - step)[3:-3, 3:-3]))
    assert found.swapped == found.relit == pytest.approx(1)


def test_in_another_light():
    """Light and dark swapped, all colours kept; the random change is the same every time, and milder."""
    images = coarse(70)
    assert measure(Known(bright), images).swapped == pytest.approx(kappa(bright(images), 1 - bright(images)))
    redder = Known(lambda part: (part[:, 0] > part[:, 1]).float())
    assert measure(redder, images).swapped == pytest.approx(1)
    both = [measure(Known(bright), images).relit for _ in range(2)]
    assert both[0] == both[1]
    assert -0.9 < both[0] < 0.99
    assert 0 < RELIT < 1


def test_outline_against_loops():
    images, regions = coarse(3), (random(3, S // 4, S // 4, seed=1) * 3).long()
    regions = regions.repeat_interleave(4, 1).repeat_interleave(4, 2)
    steps: dict[bool, list[np.floating]] = {True: [], False: []}
    I, r = images.numpy(), regions.numpy()
    for k in range(3):
        for y in range(S):
            for x in range(S):
                for v, u in ((y + 1, x), (y, x + 1)):
                    if v < S and u < S:
                        step = np.linalg.norm(I[k, :, y, x] - I[k, :, v, u])
                        steps[bool(r[k, y, x] != r[k, v, u])].append(step)
    expected = 1 - np.mean(steps[False]) / np.mean(steps[True])
    assert outline(images, regions) == pytest.approx(expected)
    assert 0.2 < expected < 1


def test_outline_on_every_edge_on_none_and_nowhere():
    images = torch.zeros(2, 3, S, S)
    images[:, :, 8:20, 8:20] = 0.7
    square = (images[:, 0] > 0).long()
    assert outline(images, square) == 1
    assert outline(images, square.roll(5, 1)) < 0.95
    assert outline(images, square.roll(14, 2)) < outline(images, square.roll(1, 2)) < 1
    assert outline(images, torch.zeros_like(square)) == 0
    assert outline(torch.zeros_like(images), square) == 0
    assert outline(coarse(2), torch.arange(S * S).reshape(1, S, S).expand(2, S, S)) == 0  # nothing within


def test_compactness():
    objects = torch.zeros(4, S, S, dtype=torch.bool)
    objects[0, 4:14, 6:16] = True
    objects[1, ::2, ::2] = True  # scattered: 256 pixels, all but those of the border with four sides
    objects[2, 3:5, 3:19] = True
    assert compactness(objects[:1]) == pytest.approx(1)
    assert compactness(objects[1:2]) == pytest.approx(4 * 16 / (256 * 4 - 32))
    assert compactness(objects[2:3]) == pytest.approx(4 * math.sqrt(32) / 36)
    assert compactness(objects[[0, 2, 3]]) == pytest.approx((1 + 4 * math.sqrt(32) / 36) / 2)
    assert compactness(objects[3:]) == compactness(~objects[3:]) == 0


def test_brightness_is_a_correlation():
    images, objects = coarse(4), random(4, S, S)
    expected = [
        np.corrcoef(I.ravel(), m.ravel())[0, 1]
        for I, m in zip(light(images).numpy(), objects.numpy(), strict=True)
    ]
    assert brightness(images, objects) == pytest.approx(abs(np.mean(expected)), abs=1e-6)
    assert brightness(images, 0.3 * light(images) + 0.5) == pytest.approx(1)
    assert brightness(images, -light(images)) == pytest.approx(1)
    sign = torch.tensor([1.0, -1, 1, -1])[:, None, None]
    assert brightness(images, sign * light(images)) == pytest.approx(0, abs=1e-6)  # not in the same sense
    assert brightness(images, torch.ones_like(objects)) == brightness(images * 0, objects) == 0


class Codes(nn.Module):
    """A delta that knows what is drawn: all of channel 0, of channel 1 the first half, nothing else."""

    def __init__(self, n, size):
        super().__init__()
        self.n, self.size = n, size

    def forward(self, images):
        z = torch.randn(len(images), self.n, self.size, generator=torch.Generator().manual_seed(0))
        z[:, 1, self.size // 2 :] = 0
        z[:, 2:] = 0
        self.drawn = z
        return z


def test_recovered_is_one_less_the_error_by_region():
    f = MaskNetwork(n=3, width=4, blocks=0, size=S)
    f.order.copy_(torch.tensor([1, 2, 0]))
    G = nn.ModuleList(Flat() for _ in range(3))
    found = code_recovery(f, G, Codes(3, 4000), coarse(10), 4000)
    assert found == pytest.approx((0.5, 0, 1), abs=0.02)


class Flat(nn.Module):
    """A generator whose pixels are all the code's first number."""

    def forward(self, mask, z):
        return z[:, :1, None, None].expand(-1, 3, *mask.shape[2:])


class Reading(nn.Module):
    """A delta that keeps what it sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return torch.zeros(len(images), 2, 1)


@pytest.mark.parametrize("generated", [False, True])
def test_recovered_redraws_each_region_by_itself_or_all(generated):
    f, delta, images = MaskNetwork(width=4, blocks=0, size=S), Reading(), coarse(130)
    code_recovery(f, nn.ModuleList((Flat(), Flat())), delta, images, 1, generated=generated)
    some = images[::3]  # 44 of them: at most 64
    z = torch.randn(len(some), 2, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        M = f.eval()(some)
    V = z[:, :, :, None, None]
    for k, seen in enumerate(delta.seen):
        pixels = V[:, k].expand(-1, 3, S, S)
        fake = M[:, k : k + 1] * pixels + (1 - M[:, k : k + 1]) * some
        torch.testing.assert_close(seen, (M[:, :, None] * V).sum(1).expand_as(some) if generated else fake)
    assert len(delta.seen) == 2


def test_recovered_of_codes_that_are_not_finite():
    net = networks()
    with torch.no_grad():
        net.delta.heads.bias.fill_(math.inf)
    assert code_recovery(net.f, net.G, net.delta, coarse(3), 5) is None


def networks(norm="batch", n=2):
    config = TrainConfig.of(data="x", out="y", size=S, width=4, g_width=4, f_width=4, f_blocks=1, code_size=5)
    return build_networks(dataclasses.replace(config, n=n, g_norm=norm), 0, torch.device("cpu"))


@pytest.mark.parametrize("n", [2, 3])
def test_measuring_leaves_everything_as_it_was(n):
    """Weights, statistics, modes, the global random state; and finds the same again."""
    net, images = networks(n=n), coarse(5)
    modules = nn.ModuleList((net.f, net.G, net.delta))
    before = {name: value.clone() for name, value in modules.state_dict().items()}
    state = torch.get_rng_state()
    found = [(measure(net.f, images), code_recovery(net.f, net.G, net.delta, images, 5)) for _ in range(2)]
    assert found[0] == found[1]
    assert all(torch.equal(value, before[name]) for name, value in modules.state_dict().items())
    assert all(module.training for module in modules.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert len(found[0][0].sizes) == len(found[0][1]) == n
    assert sum(found[0][0].sizes) == pytest.approx(1)


def test_signals_do_not_depend_on_f_s_own_order():
    f, images = networks(n=3).f, coarse(4)
    other = networks(n=3).f
    turn = torch.tensor([2, 0, 1])
    with torch.no_grad():
        for parameter in other.head.parameters():
            parameter.copy_(parameter[turn])
    other.order.copy_(turn.argsort())
    ours, theirs = (measure(network, images).as_dict() for network in (f, other))
    for name, value in ours.items():
        assert theirs[name] == pytest.approx(value, abs=1e-5), name


def test_json_and_back():
    found = measure(networks().f, coarse(3))
    for signals in (found, dataclasses.replace(found, recovered=(0.25, -0.5))):
        assert Signals.from_dict(json.loads(json.dumps(signals.as_dict(), allow_nan=False))) == signals


def test_masks_of_nothing_are_finite():
    for mask in (torch.zeros(S, S), torch.ones(S, S), torch.full((S, S), 0.5)):
        found = measure(Known(fixed(mask)), coarse(3))
        json.dumps(found.as_dict(), allow_nan=False)
        assert label_free_score(found) == 0


# The score

GOOD = Signals((0.7, 0.3), 0.2, 0.03, 0.9, 0.5, 0.8, 0.1, 0.8, 0.7, 0.5, 0.6)


def test_the_score_is_a_product_of_three():
    assert label_free_score(GOOD) == pytest.approx((1 - 0.03 / 0.3) * 0.5 * 0.8)


@pytest.mark.parametrize(
    "change",
    [{"border": 0.1}, {"outline": 0.4}, {"mirrored": 0.5}, {"sizes": (0.8, 0.2)}],
)
def test_each_part_counts(change):
    assert 0 < label_free_score(dataclasses.replace(GOOD, **change)) < label_free_score(GOOD) < 1


@pytest.mark.parametrize(
    "change",
    [
        *({"sizes": (0.991, 0.009)}, {"sizes": (0.009, 0.991)}, {"variation": 9e-4}),
        *({"border": 0.31}, {"outline": -0.1}, {"mirrored": -0.2}, {"outline": -0.1, "mirrored": -0.2}),
    ],
)
def test_nothing_is_made_of_a_collapse_or_of_what_is_worse_than_chance(change):
    assert label_free_score(dataclasses.replace(GOOD, **change)) == 0


def test_what_a_collapse_is_can_be_said():
    small = dataclasses.replace(GOOD, sizes=(0.995, 0.005), border=0.0, variation=5e-4)
    assert label_free_score(small, 0.001, 1e-4) == pytest.approx(0.4)
    assert label_free_score(GOOD, 0.31) == label_free_score(GOOD, least_variation=0.3) == 0


def squares(count=40):
    """Squares on a rough ground, brighter than it or darker, both lit from one side; the truth."""
    place, tone = random(count, 2), random(count, 2, 3, 1, 1, seed=1) - 0.5
    y, x = (place * 10 + 6).long().T[..., None, None]
    rows, columns = torch.arange(S)[:, None], torch.arange(S)
    truth = ((rows >= y) & (rows < y + 12) & (columns >= x) & (columns < x + 12)).float()
    slope = (torch.arange(S) / S - 0.5).expand(S, S)
    sign = torch.where(random(count, seed=3) < 0.5, -1.0, 1.0)[:, None, None, None]
    images = 0.5 * torch.where(truth[:, None] > 0, tone[:, 0] + sign, tone[:, 1] - sign)
    images = (
        images + 0.5 * slope + 0.1 * torch.randn(count, 3, S, S, generator=torch.Generator().manual_seed(2))
    )
    return images.clamp(-1, 1), truth


def soft(mask):
    """Smoothed and not quite sure, as a network's are."""
    return 0.05 + 0.9 * nn.functional.avg_pool2d(mask[:, None], 3, 1, 1)[:, 0]


def truth_of(images, truth):
    """As a function of the images, mirrored or moved as they are: an f that finds what it should."""
    corners = {image.double().sum().round(decimals=3).item(): k for k, image in enumerate(images)}

    def find(part):
        found = []
        for image in part:
            k = corners.get(image.double().sum().round(decimals=3).item())
            if k is None:  # in another light
                found.append(bright(image[None])[0])
                continue
            same = [(image - change(images[k])).abs().max() < 1e-6 for change in CHANGES]
            found.append(CHANGES[same.index(True)](truth[k]))
        return soft(torch.stack(found))

    return find


CHANGES = [lambda p: p, lambda p: p.flip(-1), lambda p: p.roll((3, 3), (-2, -1))]


def test_the_rule_knows_an_object_from_what_is_none():
    images, truth = squares()
    disc = torch.zeros(S, S)
    disc[8:24, 8:24] = 1
    ring = torch.ones(S, S)
    ring[2:-2, 2:-2] = 0
    find = truth_of(images, truth)
    wrong = {
        "split by brightness": lambda part: soft(bright(part)),
        "the darker half": lambda part: soft(1 - bright(part)),
        "one side": lambda part: soft((part - part.mean(1, True) + column(16) > 0.5).float()[:, 0]),
        "a fixed disc": lambda part: fixed(disc)(part) * 0.9 + 0.05,
        "the border": lambda part: fixed(ring)(part) * 0.9 + 0.05,
        "inside out": lambda part: 1 - find(part),
        "undecided": lambda part: 0.5 + 0.02 * light(part),
        "a lost region": lambda part: 0.005 * find(part),
        "noise": lambda part: (part[:, 0] * 97 % 1 > 0.5).float(),
    }
    good = label_free_score(measure(Known(find), images))
    scores = {name: label_free_score(measure(Known(of), images)) for name, of in wrong.items()}
    assert good > 0.4
    assert max(scores.values()) < 0.6 * good, scores


def test_the_rule_prefers_the_whole_object_to_a_part_or_too_much():
    images, truth = squares()
    grown = nn.functional.max_pool2d(truth[:, None], 5, 1, 2)[:, 0]
    part = 1 - nn.functional.max_pool2d(1 - truth[:, None], 5, 1, 2)[:, 0]
    whole, more, less = (
        label_free_score(measure(Known(truth_of(images, mask)), images)) for mask in (truth, grown, part)
    )
    assert whole > 1.3 * more
    assert whole > 1.3 * less


# The choice in a run


def choice(**options):
    return LabelFreeSelection(TrainConfig.of(data="x", out="y", **options))


def test_the_highest_score_is_chosen_of_equals_the_later():
    kept, better = choice(), dataclasses.replace(GOOD, outline=0.6)
    sequence = [GOOD, dataclasses.replace(GOOD, outline=0.4), better, better, GOOD]
    assert [kept.update(signals, step) for step, signals in enumerate(sequence, 1)] == [
        *(True, False, True, True, False),
    ]
    assert kept.best == {"step": 4, "score": label_free_score(better)}
    assert (kept.signals, kept.score) == (GOOD, label_free_score(GOOD))
    kept.reset()
    assert kept.best is kept.signals is kept.score is None
    assert kept.update(dataclasses.replace(GOOD, variation=0.0), 1)  # the only one there is
    assert kept.best == {"step": 1, "score": 0.0}


def test_a_run_says_what_it_takes_for_a_collapse():
    small = dataclasses.replace(GOOD, sizes=(0.995, 0.005), border=0.0, variation=5e-4)
    for options, score in (({}, 0.0), ({"collapse_below": 1e-3, "collapse_variation": 1e-4}, 0.4)):
        kept = choice(**options)
        kept.update(small, 1)
        assert kept.score == pytest.approx(score)
