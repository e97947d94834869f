"""What does not fit among names and their shapes, in words."""

from minires.names import misfits, unknown


def test_what_fits_is_no_sentence():
    assert misfits({}, {}, "the model") == ""
    assert misfits({"a": (3,), "b": ()}, {"b": (), "a": (3,)}, "the model") == ""


def test_every_misfit_is_named_by_its_kind():
    found, expected = {"a": (3,), "c": (2,), "d": ()}, {"a": (4,), "b": (1, 2), "d": ()}
    text = "missing: b; unexpected: c; misshapen: a has (3,), the model (4,)"
    assert misfits(found, expected, "the model") == text


def test_of_many_only_some_are_named():
    names = {f"k{index}": () for index in range(7)}
    assert misfits({}, names, "the model", most=5) == "missing: k0, k1, k2, k3, k4 and 2 more"
    assert misfits(dict(list(names.items())[:5]), {}, "it", most=5) == "unexpected: k0, k1, k2, k3, k4"
    assert misfits({}, names, "the model") == f"missing: {', '.join(names)}"


def test_of_many_names_those_that_are_like_the_one_given_come_first():
    names = [f"other{index}" for index in range(45)] + ["dense121", "dense161"]
    sentence = unknown("model", "dense", names)
    assert "choose one of dense121, dense161, other0, other1, " in sentence and sentence.endswith("other37 and 7 more")
    assert "choose one of other0, dense121" in unknown("model", "dense", ["other0", "dense121"])  # all are seen


def test_the_nearest_name_is_meant():
    assert "did you mean 'resnet20'?" in unknown("model", "resnet21", ["resnet110", "resnet20", "resnet8"])
