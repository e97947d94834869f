"""The last layer of every network, and what is not."""

import pytest
from minires.models.heads import body_of, body_up_to, extra_heads, head_name, head_of, module_at, replace_head

from minires import models
from minires.inspection.explain import last_maps
from minires.layers import Linear
from minires.pretrained.skeletons import without_numbers

NOTHING = without_numbers(0)


@pytest.mark.parametrize("name", models.MODELS)
def test_head_and_body_are_the_whole_and_share_nothing(name):
    model = models.build(name, 7, rng=NOTHING)
    head = head_of(model)
    assert isinstance(head, Linear) and len(head.weight.data) == 7
    body = [parameter for part in body_of(model) for parameter in part.parameters()]
    ours, theirs = {id(each) for each in body}, {id(each) for each in head.parameters()}
    assert not ours & theirs and ours | theirs == {id(each) for each in model.parameters()}
    assert len(body) == len(ours)


@pytest.mark.parametrize("name", ["resnet8", "vgg11", "densenet_bc100", "googlenet"])
def test_another_head(name):
    model = models.build(name, 7, rng=NOTHING)
    old, new = head_of(model), Linear(head_of(model).weight.shape[1], 3, rng=0)
    replace_head(model, new)
    assert head_of(model) is new and old not in model.modules()


def test_up_to_a_part():
    model = models.build("vgg11", 7, rng=NOTHING)
    assert body_up_to(model, "avgpool") == [model.features, model.avgpool]
    assert body_up_to(model, "classifier.6") == body_of(model) == body_up_to(model, "classifier")
    assert module_at(model, "") is model
    with pytest.raises(KeyError):
        body_up_to(model, "layer1")


def test_names():
    assert head_name(models.vgg11_bn(small_input=True, rng=NOTHING)) == "classifier"
    assert head_name(Linear(2, 3)) == "fc"
    assert extra_heads(models.googlenet(rng=NOTHING)) == ()
    assert extra_heads(models.inception_v3(aux_logits=True, rng=NOTHING)) == ("AuxLogits",)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vgg11", "features"), ("densenet_bc100", "features"), ("googlenet", "inception5b"),
        ("inception_v3", "Mixed_7c"), ("preact_resnet110", "bn1"), ("seresnet50", "layer4"), ("resnet8", "layer3"),
    ],
)  # fmt: skip
def test_the_last_maps(name, layer):
    assert last_maps(models.build(name, 7, rng=NOTHING)) == layer
