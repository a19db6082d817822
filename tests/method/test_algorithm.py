"""Algorithm 1, against losses, gradients and images computed otherwise."""

from pathlib import Path

import numpy as np
import pytest
import torch

from redoseg.config import TrainConfig
from redoseg.errors import DivergenceError
from redoseg.method.algorithm import ReDO
from redoseg.method.augmentation import augment, shift_pixels, view
from redoseg.method.drawing import RandomDraws, redraw_batch
from redoseg.models.weights import load_flat
from redoseg.networks.layers import iterate_spectrum
from refusals import refusal
from run_compared import state_of

pytestmark = pytest.mark.training

CPU = torch.device("cpu")

FORMS = [
    {"redraw": "one", "delta_input": "composed"},  # the paper's
    {"redraw": "each", "delta_input": "generated"},  # the authors'
    {"redraw": "each", "delta_input": "composed"},
    {"redraw": "all", "delta_input": "composed"},
]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form.values()))
both_n = pytest.mark.parametrize("n", [2, 3])


def config(**options):
    small = {
        "size": 32, "batch": 5, "width": 4, "g_width": 4, "f_width": 4, "f_blocks": 1, "code_size": 3,
        "ema_half_life": 0.0, "lr_f_warmup": 0, "lr": 1e-3, "lr_f": 1e-3, "attention": True, "f_jitter": 0.0,
    }  # fmt: skip
    return TrainConfig(data=("digit",), out=Path("unused"), **small | options)


def new_redo(seed=0, **options):
    return ReDO(config(**options), seed, CPU)


def images(config, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(config.batch, 3, config.size, config.size, generator=generator) * 2 - 1


def codes(config, seed=0):
    return RandomDraws.sample(config, torch.Generator().manual_seed(seed))


def batch(config, seed=0):
    return images(config, seed), codes(config, seed)


def one_round(redo, step):
    """Both updates of a step, on a batch that follows from the step."""
    real, (I, draws) = images(redo.config, 100 + step), batch(redo.config, step)
    return redo.generator_update(I, draws, step) | redo.discriminator_update(real, I, draws, step)


def copied(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network, before):
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def weights(redo):
    return {
        f"{letter}.{name}": p.detach().clone()
        for letter, network in redo.networks.items().items()
        for name, p in network.named_parameters()
    }


def gradients(network):
    return {name: p.grad for name, p in network.named_parameters()}


# What is drawn


@both_n
def test_codes_follow_from_the_generator(n):
    options = config(n=n, batch=7)
    one, again, other = codes(options, 1), codes(options, 1), codes(options, 2)
    assert one.regions.shape == (7,)
    assert one.regions.tolist() == sorted(one.regions.tolist())
    assert one.z.shape == (7, n, 3)
    assert torch.equal(one.z, again.z)
    assert torch.equal(one.regions, again.regions)
    assert not torch.isclose(one.z, other.z).all()


def test_codes_are_normal():
    z = codes(config(batch=400, code_size=16)).z
    assert z.mean().abs() < 0.03
    assert z.std() == pytest.approx(1, abs=0.03)


def slowly(config, net, I, draws):
    """`draw` without its short cuts, one image and one product at a time: fakes, read, codes, redrawn."""
    n = config.n
    hue = config.f_jitter_hue
    M = net.f(I if draws.view is None else view(I, draws.view[:, 1:], draws.view[:, 0], hue))
    if draws.shift is not None:
        M = shift_pixels(M, draws.shift)
    V = [net.G[k](M[:, k : k + 1], draws.z[:, k]) for k in range(n)]
    fakes, generated, codes, redrawn = [], [], [], []
    for b in range(len(I)):
        whole = sum(M[b, k] * V[k][b] for k in range(n))
        generated.append(whole)
        for i in {"one": [int(draws.regions[b])], "each": range(n), "all": []}[config.redraw]:
            fakes.append(M[b, i] * V[i][b] + (1 - M[b, i]) * I[b])
            codes.append(draws.z[b])
            redrawn.append([float(k == i) for k in range(n)])
        if config.redraw == "all":
            fakes.append(whole)
    if config.redraw == "all" or config.delta_input == "generated":
        return torch.stack(fakes), torch.stack(generated), draws.z, torch.ones(len(I), n), M
    return torch.stack(fakes), torch.stack(fakes), torch.stack(codes), torch.tensor(redrawn), M


@every_form
@both_n
def test_draw_is_the_papers_equation(form, n):
    options = config(n=n, **form)
    net = ReDO(options, 0, CPU).networks
    I, draws = batch(options)
    with torch.no_grad():
        found = redraw_batch(options, net.f, net.G, I, draws)
        expected = slowly(options, net, I, draws)
    fields = found.fakes, found.read, found.codes, found.redrawn, found.masks
    for ours, theirs in zip(fields, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@both_n
@pytest.mark.parametrize(
    ("option", "drawn_as", "differs"),
    [
        ({"f_jitter": 1.0}, "view", "masks"),
        ({"f_jitter": 1.0, "f_jitter_hue": 0.5}, "view", "masks"),
        ({"shift": 0.25}, "shift", "fakes"),
    ],
    ids=["light", "colours", "place"],
)
def test_what_is_changed_at_random(n, option, drawn_as, differs):
    """f sees other colours, what is composed keeps its own; of a redrawn region the mask alone moves."""
    options = config(n=n, **option)
    net = ReDO(options, 0, CPU).networks
    I, draws = batch(options)
    with torch.no_grad():
        found, expected = redraw_batch(options, net.f, net.G, I, draws), slowly(options, net, I, draws)
        plain = redraw_batch(options, net.f, net.G, I, draws._replace(**{drawn_as: None}))
    torch.testing.assert_close(found.fakes, expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.masks.sum(1), torch.ones(5, 32, 32))
    assert (getattr(found, differs) - getattr(plain, differs)).abs().max() > 1e-3


@both_n
@pytest.mark.parametrize(
    ("form", "fakes", "read"),
    [(FORMS[0], 1, 1), (FORMS[1], "n", 1), (FORMS[2], "n", "n"), (FORMS[3], 1, 1)],
    ids=lambda form: "-".join(form.values()) if isinstance(form, dict) else str(form),
)
def test_draws_shapes(form, n, fakes, read):
    options = config(n=n, **form)
    net = ReDO(options, 0, CPU).networks
    I, draws = batch(options)
    drawing = redraw_batch(options, net.f, net.G, I, draws)
    F, R = (5 * (n if times == "n" else times) for times in (fakes, read))
    assert drawing.masks.shape == (5, n, 32, 32)
    assert drawing.fakes.shape == (F, 3, 32, 32)
    assert drawing.read.shape == (R, 3, 32, 32)
    assert drawing.codes.shape == (R, n, 3)
    assert drawing.redrawn.shape == (R, n)
    assert set(drawing.redrawn.flatten().tolist()) <= {0, 1}


def test_fewer_images_than_regions():
    """Then some generators have nothing to draw: they stay as they are."""
    redo = new_redo(n=3, batch=2)
    I, draws = batch(redo.config)
    (idle,) = {0, 1, 2} - set(draws.regions.tolist())
    before = [copied(G_k) for G_k in redo.networks.G]
    redo.generator_update(I, draws, 0)
    moved = [
        any(not name.endswith((".u", ".v")) for name in changed(G_k, state))
        for G_k, state in zip(redo.networks.G, before, strict=True)
    ]
    assert moved == [k != idle for k in range(3)]


# The generators' update


def generator_loss_by_hand(twin, I, draws):
    """L_G, delta's mean error on what was drawn and its weight as design/method.md has it, and the masks."""
    config, net = twin.config, twin.networks
    iterate_spectrum(net.G, net.delta)  # D's power iterations belong to its own update
    fakes, read, codes, _, M = slowly(config, net, I, draws)
    L_G = -net.D(fakes).mean()
    errors = (net.delta(read) - codes).square()
    if config.redraw == "all" or config.delta_input == "generated":
        return L_G, errors.mean(), config.lambda_z, M
    regions = draws.regions if config.redraw == "one" else torch.arange(config.n).repeat(len(I))
    own = torch.stack([error[i] for error, i in zip(errors, regions, strict=True)])
    return L_G, own.mean(), config.lambda_z / config.n, M


def assert_gradients(network, expected):
    found = gradients(network)
    assert found.keys() == expected.keys()
    scale = max(gradient.abs().max() for gradient in expected.values() if gradient is not None)
    assert scale > 0
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * scale.item(), msg=name)


@every_form
@both_n
def test_the_generators_losses_and_gradients(form, n):
    redo, twin = (new_redo(n=n, lambda_z=7.0, **form) for _ in range(2))
    I, draws = batch(redo.config)
    losses = redo.generator_update(I, draws, 0)

    L_G, error, weight, _ = generator_loss_by_hand(twin, I, draws)
    assert losses.keys() == {"L_G", "z_error"}
    assert not any(loss.requires_grad for loss in losses.values())
    torch.testing.assert_close(losses["L_G"], L_G.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses["z_error"], error.detach(), rtol=1e-5, atol=1e-6)

    (L_G + weight * error).backward()
    for letter in ("f", "G", "delta"):
        assert_gradients(redo.networks.items()[letter], gradients(twin.networks.items()[letter]))


@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_small_regions_are_pushed(weight):
    options = {"min_region": 0.5, "min_region_weight": weight}
    redo, twin = (new_redo(**options) for _ in range(2))
    I, draws = batch(redo.config)
    redo.generator_update(I, draws, 0)
    L_G, error, weight_z, M = generator_loss_by_hand(twin, I, draws)
    push = (0.5 - M.mean((2, 3))).clamp(min=0).sum(1).mean()
    assert push > 0
    (L_G + weight_z * error + weight * push).backward()
    assert_gradients(redo.networks.f, gradients(twin.networks.f))


@pytest.mark.parametrize(("step", "grown"), [(0, 0), (9, 0), (10, 0), (15, 0.5), (20, 1), (50, 1)])
def test_binarisation_grows(step, grown):
    redo, twin = (new_redo(binarise=3.0, binarise_from=10) for _ in range(2))
    I, draws = batch(redo.config)
    redo.generator_update(I, draws, step)
    L_G, error, weight_z, M = generator_loss_by_hand(twin, I, draws)
    (L_G + weight_z * error + 3 * grown * torch.where(M < 0.5, M, 1 - M).mean()).backward()
    assert_gradients(redo.networks.f, gradients(twin.networks.f))


@every_form
def test_the_generators_update_leaves_D_alone(form):
    redo = new_redo(**form)
    D = redo.networks.D
    before = copied(D)
    redo.generator_update(*batch(redo.config), 0)
    assert changed(D, before) == set()  # power iterations included
    assert all(p.grad is None for p in D.parameters())
    assert all(p.requires_grad for p in D.parameters())
    assert all(module.training for module in D.modules())

    one_round(redo, 1)
    kept = {name: gradient.clone() for name, gradient in gradients(D).items()}
    redo.generator_update(*batch(redo.config, 2), 2)
    assert all(torch.equal(gradient, kept[name]) for name, gradient in gradients(D).items())


@every_form
def test_f_G_and_delta_are_moved(form):
    redo = new_redo(**form)
    net = redo.networks
    before = weights(redo)
    redo.generator_update(*batch(redo.config), 0)
    still = {name for name, value in weights(redo).items() if torch.equal(value, before[name])}
    assert {name for name in still if not name.startswith("D.")} == {
        name  # its gain is 0 at the first step
        for name in before
        if name.startswith("G.") and ".attention." in name and "gain" not in name
    }
    assert not any(name.startswith(("f.", "delta.")) for name in still)
    assert net.f_ema is None


def test_delta_follows_its_own_error_alone():
    """Without it delta has no gradient; with it, the gradient is the error's, whatever D says."""
    redo = new_redo(lambda_z=0.0)
    before = copied(redo.networks.delta)
    redo.generator_update(*batch(redo.config), 0)
    moved = changed(redo.networks.delta, before)
    assert all(name.endswith((".u", ".v")) for name in moved)  # its power iterations
    assert not any(p.grad.any() for p in redo.networks.delta.parameters())
    assert any(p.grad.any() for p in redo.networks.f.parameters())
    assert any(p.grad.any() for p in redo.networks.G.parameters())

    redo, twin = new_redo(lambda_z=7.0), new_redo(lambda_z=7.0)
    with torch.no_grad():
        redo.networks.D.head.weight.mul_(-100)
    I, draws = batch(redo.config)
    redo.generator_update(I, draws, 0)
    _, error, weight, _ = generator_loss_by_hand(twin, I, draws)
    (weight * error).backward()
    assert_gradients(redo.networks.delta, gradients(twin.networks.delta))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_optimiser_is_adam_with_f_decayed_in_the_gradient(decay):
    """Its first step with beta1 = 0: the gradient over its size, so a decoupled decay would show."""
    redo = new_redo(weight_decay_f=decay, lr_f=1e-2, lr=1e-3)
    before = weights(redo)
    redo.generator_update(*batch(redo.config), 0)
    for letter, lr, decayed in (("f", 1e-2, decay), ("G", 1e-3, 0.0), ("delta", 1e-3, 0.0)):
        for name, p in redo.networks.items()[letter].named_parameters():
            old = before[f"{letter}.{name}"]
            gradient = p.grad + decayed * old
            expected = old - lr * gradient / (gradient.abs() + 1e-8)
            torch.testing.assert_close(p.detach(), expected, rtol=0, atol=lr * 1e-2, msg=name)


def test_later_steps_have_no_momentum_and_remember_squares():
    redo = new_redo(lr=1e-3)
    p = redo.networks.D.head.weight
    squares = torch.zeros_like(p)
    for step in range(3):
        before = p.detach().clone()
        redo.discriminator_update(images(redo.config, 50 + step), *batch(redo.config, step), step)
        squares = 0.9 * squares + 0.1 * p.grad.square()
        size = (squares / (1 - 0.9 ** (step + 1))).sqrt()
        expected = before - 1e-3 * p.grad / (size + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-6)


def test_fs_rate_warms_up():
    redo = new_redo(lr_f=1e-3, lr_f_warmup=10, lr=5e-4)
    rates = {}
    for step in (0, 1, 4, 9, 10, 500):
        before = copied(redo.networks.f)
        redo.generator_update(*batch(redo.config, step), step)
        rates[step] = redo.optimizers["f"].param_groups[0]["lr"]
        if step == 0:
            after = redo.networks.f.state_dict()
            moved = max((after[name] - before[name]).abs().max().item() for name in before)
            assert moved == pytest.approx(1e-4, rel=0.01)  # Adam's first step is its rate
    assert rates == pytest.approx({0: 1e-4, 1: 2e-4, 4: 5e-4, 9: 1e-3, 10: 1e-3, 500: 1e-3})
    assert all(redo.optimizers[name].param_groups[0]["lr"] == 5e-4 for name in ("G", "D", "delta"))


def test_without_a_warm_up_f_has_its_rate_from_the_start():
    redo = new_redo(lr_f=1e-3, lr_f_warmup=0)
    redo.generator_update(*batch(redo.config), 0)
    assert redo.optimizers["f"].param_groups[0]["lr"] == 1e-3


def test_the_average_of_f():
    """f_ema <- f_ema + w (f - f_ema), w = 1 - 2^(-batch / half-life), half-life at most 1/20 of the run."""
    redo = new_redo(ema_half_life=40.0)
    net = redo.networks
    for step, half_life in ((0, 0.25), (1, 0.5), (99, 25), (159, 40), (1000, 40)):
        old = [p.clone() for p in net.f_ema.parameters()]
        redo.generator_update(*batch(redo.config, step), step)
        weight = 1 - 2 ** (-5 / half_life)
        for before, average, p in zip(old, net.f_ema.parameters(), net.f.parameters(), strict=True):
            torch.testing.assert_close(average, before + weight * (p.detach() - before), rtol=1e-5, atol=1e-7)
    assert all(p.grad is None for p in net.f_ema.parameters())


# The discriminator's update


@every_form
def test_the_discriminators_loss_and_gradients(form):
    redo, twin = (new_redo(**form) for _ in range(2))
    real, (I, draws) = images(redo.config, 7), batch(redo.config)
    losses = redo.discriminator_update(real, I, draws, 0)

    net = twin.networks
    iterate_spectrum(net.D)  # G's power iterations belong to the generators' update
    with torch.no_grad():
        fakes = slowly(twin.config, net, I, draws)[0]
    score = net.D(torch.cat((real, fakes)))
    # maximise min(0, -1 + D(I)) + min(0, -1 - D(G_F)), each a mean: there may be n fakes per image
    L_D = -(score[:5] - 1).clamp(max=0).mean() - (-1 - score[5:]).clamp(max=0).mean()
    L_D.backward()
    assert losses.keys() == {"L_D"}
    assert not losses["L_D"].requires_grad
    torch.testing.assert_close(losses["L_D"], L_D.detach(), rtol=1e-5, atol=1e-6)
    assert_gradients(redo.networks.D, gradients(net.D))


@every_form
def test_the_discriminators_update_moves_D_alone(form):
    redo = new_redo(ema_half_life=40.0, **form)
    others = [network for letter, network in redo.networks.items().items() if letter != "D"]
    before, D_before = [copied(network) for network in others], weights(redo)
    redo.discriminator_update(images(redo.config, 7), *batch(redo.config), 0)
    for network, state in zip(others, before, strict=True):
        assert changed(network, state) == set()  # power iterations included
        assert all(p.grad is None for p in network.parameters())
    moved = {name for name, value in weights(redo).items() if not torch.equal(value, D_before[name])}
    assert moved == {
        f"D.{name}"  # all but its attention, whose gain is 0 at the first step
        for name, _ in redo.networks.D.named_parameters()
        if not any(f".{part}." in name for part in ("query", "key", "value", "out"))
    }


def test_with_batch_norm_the_discriminators_fakes_count_in_the_running_statistics():
    redo = new_redo(g_norm="batch")
    G, before = redo.networks.G, copied(redo.networks.G)
    redo.discriminator_update(images(redo.config, 7), *batch(redo.config), 0)
    statistics = {name for name in before if "running_" in name or "num_batches" in name}
    assert statistics
    assert changed(G, before) == statistics


# Both


@pytest.mark.parametrize("form", FORMS[:2], ids=["paper", "authors"])
def test_the_same_seed_steps_the_same(form):
    one, again, other = new_redo(0, **form), new_redo(0, **form), new_redo(1, **form)
    for step in range(3):
        losses, repeated = one_round(one, step), one_round(again, step)
        one_round(other, step)
        assert losses == repeated
    state, repeated = state_of(one), state_of(again)
    assert all(torch.equal(state[name], repeated[name]) for name in state)
    matrices = {name: value for name, value in weights(one).items() if value.ndim > 1}
    assert not any(torch.equal(value, weights(other)[name]) for name, value in matrices.items())


def test_two_and_two_steps_are_four():
    """Everything that a resume needs is in `state_dict`."""
    options = {"ema_half_life": 40.0, "lr_f_warmup": 3, "g_norm": "batch"}
    unbroken, first, second = new_redo(**options), new_redo(**options), new_redo(seed=5, **options)
    for step in range(4):
        one_round(unbroken, step)
    for step in range(2):
        one_round(first, step)
    state = {name: value.clone() for name, value in state_of(first).items()}
    load_flat(second.networks.items(), second.optimizers, state, Path("first"))
    for step in range(2, 4):
        one_round(second, step)
    expected, found = state_of(unbroken), state_of(second)
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@every_form
@pytest.mark.parametrize("n", [2])
def test_bfloat16_losses_are_near_float32(form, n):
    """Within .02, or 2 % of a loss that is larger than one."""
    exact, rough = (new_redo(n=n, precision=precision, **form) for precision in ("float32", "bfloat16"))
    losses, found = one_round(exact, 0), one_round(rough, 0)
    for name, loss in losses.items():
        assert found[name].dtype == torch.float32
        assert found[name] != loss
        assert (found[name] - loss).abs() < 0.02 * max(1, loss.abs()), name
    assert all(value.dtype == torch.float32 for value in weights(rough).values())
    assert all(p.grad.dtype == torch.float32 for p in rough.networks.f.parameters())


@every_form
def test_what_is_not_a_number_stops_before_a_weight_is_moved(form):
    redo = new_redo(ema_half_life=40.0, **form)
    I, draws = batch(redo.config)
    real, broken = images(redo.config, 7), I.clone()
    broken[3, 1, 20, 20] = float("nan")
    before = weights(redo)

    with refusal(DivergenceError, match=r"f, G, delta is nan at step 12.* try a smaller --lr"):
        redo.generator_update(broken, draws, 12)
    for pair in ((broken, I), (real, broken)):
        with pytest.raises(DivergenceError, match="D is nan at step 12"):
            redo.discriminator_update(*pair, draws, 12)

    assert all(torch.equal(value, before[name]) for name, value in weights(redo).items())
    assert not any(optimiser.state for optimiser in redo.optimizers.values())
    assert all(p.requires_grad for name in "fGD" for p in redo.networks.items()[name].parameters())
    assert all(np.isfinite(list(one_round(redo, 12).values())))  # and it can go on


def test_everything_is_trained_in_train_mode():
    redo = new_redo(ema_half_life=40.0)
    one_round(redo, 0)
    modes = {letter: network.training for letter, network in redo.networks.items().items()}
    assert modes == {"f": True, "G": True, "D": True, "delta": True, "f_ema": False}


def test_r1_is_the_gradients_square():
    """Against a gradient of each image by itself, in the step that it is due and in no other."""
    for step, due in ((0, True), (1, False), (16, True)):
        redo, twin = new_redo(r1=0.5), new_redo(r1=0.0)
        real, (I, draws) = images(redo.config, 1), batch(redo.config)
        iterate_spectrum(twin.networks.D)
        norms = []
        for image in real:
            pixel = image[None].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(twin.networks.D(pixel).sum(), pixel)
            norms.append(gradient.square().sum())
        weight = 16 * 0.5 / 2 if due else 0.0
        penalty = weight * sum(norms) / len(norms)
        seen: list[float] = []
        redo._update_weights = lambda loss, names, step, seen=seen: seen.append(loss.item())
        L_D = redo.discriminator_update(real, I, draws, step)["L_D"]
        assert seen[0] - L_D.item() == pytest.approx(float(penalty), rel=1e-4, abs=1e-6)


def test_r1_moves_d():
    with_r1, without = new_redo(r1=5.0), new_redo()
    for redo in (with_r1, without):
        real, (I, draws) = images(redo.config, 1), batch(redo.config)
        redo.discriminator_update(real, I, draws, 0)
    assert changed(with_r1.networks.D, copied(without.networks.D))


@every_form
def test_d_sees_augmented_images(form):
    """Real and fake ones, in both updates; delta reads what was drawn."""
    redo = new_redo(diffaugment="all", **form)
    I, draws = batch(redo.config)
    real, shown, read = images(redo.config, 1), [], []
    redo.networks.D.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].detach()))
    redo.networks.delta.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].detach()))
    with torch.no_grad():
        drawing = redraw_batch(redo.config, redo.networks.f, redo.networks.G, I, draws)
    redo.generator_update(I, draws, 0)
    fakes = augment(drawing.fakes, draws.augment[:, :-1].flatten(0, 1), "all")
    torch.testing.assert_close(shown[0], fakes, rtol=0, atol=1e-3)
    torch.testing.assert_close(read[0], drawing.read, rtol=0, atol=1e-3)
    redo.discriminator_update(real, I, draws, 0)
    torch.testing.assert_close(shown[1][:5], augment(real, draws.augment[:, -1], "all"))
