"""Training steps per second of segpipe's networks as it trains them, next to nnU-Net's step of the same network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from gpu_sizes import Row, Sizes, forget_memory, memory, seconds_each, seconds_once
from torch import nn
from torch.nn.utils import clip_grad_norm_

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.config.schema import Settings
from segpipe.training.fitting import build_module

CLIP = 12.0
Step = Callable[[], object]


@dataclass(frozen=True)
class Variant:
    """A way to take a step.

    Args:
        name: For the table.
        half: Type of autocast; None computes in float32.
        last: Whether channels lie last in memory.
        compiled: Whether the network goes through `torch.compile`.
        tuned: Whether cuDNN tries its kernels first.
    """

    name: str
    half: torch.dtype | None = torch.bfloat16
    last: bool = True
    compiled: bool = False
    tuned: bool = False


AS_TRAINED = Variant("bf16, channels first", last=False)
COMPILED = Variant("bf16, channels first, torch.compile", last=False, compiled=True)
LAYOUTS = (
    Variant("float32 (convolutions in TF32)", half=None),
    Variant("bf16, channels last"),
    Variant("bf16, channels last, cudnn.benchmark", tuned=True),
    Variant("bf16, channels first, cudnn.benchmark", last=False, tuned=True),
    Variant("bf16, channels last, torch.compile", compiled=True),
    Variant("bf16, channels last, torch.compile, cudnn.benchmark", compiled=True, tuned=True),
)
NNUNET = (
    Variant("fp16, GradScaler, cudnn.benchmark", torch.float16, tuned=True),
    Variant("fp16, GradScaler, cudnn.benchmark, torch.compile", torch.float16, compiled=True, tuned=True),
)


def rows(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Steps per second as segpipe takes them and as nnU-Net does, in turn, first without and then with compiling."""
    for own, other in zip((AS_TRAINED, COMPILED), NNUNET, strict=True):
        yield _own_row("dynunet", sizes.dynunet, own, device, sizes)
        step = partial(_nnunet_step, other)
        yield Row(f"nnU-Net's step, {_nnunet_source()}: {other.name}", _measure(step, other, device, sizes))
    for own in (AS_TRAINED, COMPILED):
        yield _own_row("unet", sizes.unet, own, device, sizes)


def layout_rows(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Steps per second in the precisions and layouts of memory that segpipe does not train in."""
    for name, channels in (("unet", sizes.unet), ("dynunet", sizes.dynunet)):
        for variant in LAYOUTS:
            yield _own_row(name, channels, variant, device, sizes)


def _own_row(name: str, channels: tuple[int, ...], variant: Variant, device: torch.device, sizes: Sizes) -> Row:
    settings = settings_for(name, channels, device, sizes)
    return Row(f"{name}: {variant.name}", _measure(partial(_own_step, settings, variant), variant, device, sizes))


def settings_for(network: str, channels: tuple[int, ...], device: torch.device, sizes: Sizes) -> Settings:
    """The checked settings of an experiment with such a network, patch and batch."""
    strides = [2] * (len(channels) - 1)
    words = [
        "+experiment=lung_tumour",
        "data=phantom",
        f"network={network}",
        f"network.channels={list(channels)}",
        f"network.strides={[1, *strides] if network == 'dynunet' else strides}",
        *(["network.deep_supervision=1"] if network == "dynunet" and len(channels) < 4 else []),
        f"recipe.patch={list(sizes.patch)}",
        f"recipe.spacing_mm={list(sizes.spacing_mm)}",
        f"training.batch_size={sizes.batch}",
        f"trainer={'gpu' if device.type == 'cuda' else 'cpu'}",
        "trainer.progress=false",
        "tracking=none",
    ]
    return settings_of(compose(words, registries), registries())


def _measure(make: Callable[[torch.device, Sizes], Step], variant: Variant, device: torch.device, sizes: Sizes) -> str:
    forget_memory(device)
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, variant.tuned
    try:
        step = make(device, sizes)
        first = seconds_once(step, device)
        seconds = seconds_each(step, device, sizes)
    finally:
        torch.backends.cudnn.benchmark = before
    return f"{1 / seconds:7.2f} steps/s {memory(device)}  first step {first:.1f} s"


def _own_step(settings: Settings, variant: Variant, device: torch.device, sizes: Sizes) -> Step:
    module: Any = build_module(settings, {}).to(device).train()
    network = module.network.to(memory_format=torch.channels_last_3d if variant.last else torch.contiguous_format)
    optimizer = module.make_optimizer(network)
    if variant.compiled:
        network.compile(backend=sizes.backend)
    images, labels = _batch(device, sizes)

    def step() -> None:
        with torch.autocast(device.type, variant.half, enabled=variant.half is not None):
            loss = module.loss(module(images), labels)
        loss.backward()
        clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _nnunet_step(variant: Variant, device: torch.device, sizes: Sizes) -> Step:
    """A step as nnU-Net takes it: Nesterov momentum, Dice and cross-entropy at each level, all in autocast, a scaler.

    Source: Isensee et al., doi 10.1038/s41592-020-01008-z; `nnUNetTrainer.train_step` of nnunetv2.
    """
    from monai.losses import DiceCELoss

    network = _nnunet_network(sizes).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
    scaler = torch.amp.GradScaler(device.type)
    loss_of_level = DiceCELoss(softmax=True, to_onehot_y=True, batch=True)
    if variant.compiled:
        network.compile(backend=sizes.backend)
    images, labels = _batch(device, sizes)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, variant.half):
            levels = network(images)
            targets = [nn.functional.interpolate(labels.float(), level.shape[2:]) for level in levels]
            pairs = zip(levels, targets, strict=True)
            loss = torch.stack([loss_of_level(level, target) / 2**n for n, (level, target) in enumerate(pairs)]).sum()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(network.parameters(), CLIP)
        scaler.step(optimizer)
        scaler.update()

    return step


def _nnunet_source() -> str:
    return "its own U-Net" if find_spec("dynamic_network_architectures") else "MONAI's DynUNet"


def _nnunet_network(sizes: Sizes) -> nn.Module:
    """nnU-Net's own network where its package is installed, else the one that segpipe trains as `dynunet`."""
    channels = list(sizes.dynunet)
    strides = [1, *[2] * (len(channels) - 1)]
    if not find_spec("dynamic_network_architectures"):
        from segpipe.networks import build_network

        spec = {"name": "dynunet", "channels": channels, "strides": strides, "norm": "instance", "act": "leakyrelu"}
        levels = len(channels) - 2
        return build_network({**spec, "deep_supervision": levels, "residual": False, "dropout": 0.0})
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    return PlainConvUNet(
        input_channels=1,
        n_stages=len(channels),
        features_per_stage=channels,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=strides,
        n_conv_per_stage=2,
        num_classes=2,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )


def _batch(device: torch.device, sizes: Sizes) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(sizes.batch, 1, *sizes.patch, device=device)
    return images, (images > 0.9).to(torch.uint8)
