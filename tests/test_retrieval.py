"""Retrieval: exact search against a naive sort, an index that knows what has changed, and retrieve.py."""

import os
from dataclasses import replace

import numpy as np
import pytest
import scripts
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file
from scripts import one_sentence

from minires import models, retrieval
from minires.retrieval import Index, IndexFileError, changes, precision_at, search, unit, without_head


def normal(*shape, seed=0):
    return np.random.default_rng([seed, 13]).standard_normal(shape)


# Search -------------------------------------------------------------------------------------------------------------


def naive(vectors, queries, k):
    """All cosines, sorted one after the other: by the rounded cosine, and by number among equals."""
    found = []
    for query in queries:
        cosines = [round(float(np.float32(v) @ np.float32(query)), 6) for v in vectors]
        found.append(sorted(range(len(vectors)), key=lambda n: (-cosines[n], n))[:k])
    return np.array(found)


@st.composite
def searches(draw):
    """Vectors of a few directions only, so that many cosines are equal, and queries among them."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    M, Q = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    vectors = rng.integers(-1, 2, (M, 4)).astype(np.float32)
    vectors[:, 0] += 4 * (np.abs(vectors).sum(axis=1) == 0)
    return unit(vectors), unit(vectors[rng.integers(0, M, Q)]), draw(st.integers(1, M))


@given(searches(), st.sampled_from([1, 7, 2**24]))
def test_naive_sort_with_ties(drawn, block):
    """However small the blocks are."""
    vectors, queries, k = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "BLOCK", block)
        numbers, cosines = search(vectors, queries, k)
    np.testing.assert_array_equal(numbers, naive(vectors, queries, k))
    expected = np.take_along_axis(queries.astype(float) @ vectors.T.astype(float), numbers, axis=1)
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_many_queries_and_what_is_nearest_to_itself():
    vectors = unit(normal(600, 16))
    numbers, cosines = search(vectors, vectors, 3)
    np.testing.assert_array_equal(numbers[:, 0], np.arange(600))
    assert (cosines[:, 0] == 1).all() and (cosines[:, 1] < 1).all()


def test_lengths_do_not_count_and_zero_is_like_nothing():
    features = normal(5, 8)
    np.testing.assert_allclose(unit(1000 * features), unit(features), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(unit(features), axis=1), 1, atol=1e-6)
    vectors = unit(np.vstack([np.zeros(8), features]))
    assert search(vectors, vectors[:1], 6)[1].tolist() == [[0.0] * 6]


def test_precision_at_k():
    found = precision_at(np.array([[0, 1], [2, 1]]), np.array([5, 6, 6]), np.array([5, 6]))
    assert found == 0.75


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: search(unit(normal(3, 4)), unit(normal(1, 5)), 1), "expected rows of the same length"),
        (lambda: search(unit(normal(3, 4)), unit(normal(1, 4)), 4), "k is 4, expected 1 to 3"),
        (lambda: search(unit(normal(3, 4)), unit(normal(1, 4)), 0), "k is 0"),
        (lambda: unit(np.ones(3)), r"shape \(3,\), expected \(N, C\)"),
        (lambda: unit(np.full((1, 2), np.inf)), "NaN or infinite"),
        (lambda: retrieval.check_size(1_000_001, 64), "1,000,001 pictures of 64 numbers each: an index holds"),
        (lambda: retrieval.check_size(600_000, 2048), "an index holds 524,288 of them"),
    ],
)
def test_what_cannot_be(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# Vectors ------------------------------------------------------------------------------------------------------------


def densenet(rng):
    return models.DenseNet((2, 1), 4, 6, 10, small_input=True, rng=rng)


@pytest.mark.parametrize("build", [models.resnet8, models.simple_cnn, densenet])
def test_the_vector_is_what_the_last_layer_is_given(build):
    """With the last layer put behind it, the logits come back."""
    model, bodied = (build(rng=0).eval() for _ in range(2))
    x = normal(2, 32, 32, 3).astype("f")
    head = models.last_layer.head_of(model)
    features, _ = without_head(bodied)(x)
    np.testing.assert_allclose(features @ head.weight.data.T + head.bias.data, model(x)[0], rtol=1e-4, atol=1e-4)


# The index ----------------------------------------------------------------------------------------------------------

MADE_WITH = {"model": "resnet8", "weights": "ab", "preprocessing": {"size": 32}}


def an_index():
    return Index(unit(normal(3, 4)), ("a.png", "b/ç.png", "c.png"), np.array([[10, 1], [20, 2], [30, 3]]), MADE_WITH)


def test_an_index_comes_back_as_it_was(tmp_path):
    retrieval.save(tmp_path / "photos.index", an_index())
    found = retrieval.load(tmp_path / "photos.index")
    np.testing.assert_array_equal(found.vectors, an_index().vectors)
    np.testing.assert_array_equal(found.stamps, an_index().stamps)
    assert (found.names, found.made_with, found.unreadable) == (an_index().names, MADE_WITH, {})
    unreadable = {"d/ç.png": (5, 6)}
    retrieval.save(tmp_path / "photos.index", replace(an_index(), unreadable=unreadable))
    assert retrieval.load(tmp_path / "photos.index").unreadable == unreadable


def test_an_index_of_which_anything_is_another_is_refused(tmp_path):
    path = tmp_path / "i"
    retrieval.save(path, an_index())
    content = path.read_bytes()
    broken = [content[:-1], content[:40], b"", content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], b"hello"]
    for one in broken:
        path.write_bytes(one)
        with pytest.raises(
            IndexFileError,
            match=r"i: damaged, or no index .*: if it was an index, remove it, .*; else name",
        ):
            retrieval.load(path)
    save_file({"a": np.ones(2)}, path)
    with pytest.raises(IndexFileError, match="is no index of pictures: name another file with --index"):
        retrieval.load(path)
    path.unlink()
    with pytest.raises(IndexFileError, match="damaged, or no index"):
        retrieval.load(path)


def test_what_has_changed():
    """By name, size and time; nothing else is looked at."""
    stamps = np.array([[10, 1], [21, 2], [5, 5]])
    same, unreadable, what = changes(an_index(), ["a.png", "b/ç.png", "new.png"], stamps)
    assert same == {"a.png": 0} and not unreadable and what == {"new": 1, "changed": 1, "gone": 1}
    assert changes(None, ["a.png"], stamps[:1]) == ({}, [], {"new": 1, "changed": 0, "gone": 0})
    index = replace(an_index(), unreadable={"new.png": (5, 5), "b.png": (5, 5), "lost.png": (1, 1)})
    same, unreadable, what = changes(index, ["a.png", "b.png", "new.png"], stamps)
    assert same == {"a.png": 0} and unreadable == ["new.png"]
    assert what == {"new": 0, "changed": 1, "gone": len(index.names)}  # all but a.png, and lost.png


# The script ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for seed in (0, 1):
        save_file(models.resnet8(rng=seed).state_dict(), folder / f"{seed}.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path):
    """Pictures of several sizes, in sub-folders, two of them the same, and what is no picture."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (33 + number, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / ("deep" if number % 2 else "") / f"{number}.png")
    (tmp_path / "photos" / "twin.png").write_bytes((tmp_path / "photos" / "2.png").read_bytes())
    (tmp_path / "photos" / "notes.txt").write_text("hello")
    return tmp_path / "photos"


@pytest.fixture
def retrieve(weights, folder, tmp_path, monkeypatch, capsys):
    """retrieve(query, ..., "--flag", ...) -> (exit code, stdout, stderr)"""
    script = scripts.load("retrieve")
    usual = {"--folder": folder, "--weights": weights / "0.safetensors"}
    more = ("--out", tmp_path / "found.png", "--device", "cpu")

    def call(*flags):
        given = [word for flag, value in usual.items() if flag not in flags for word in (flag, value)]
        return scripts.call(script, monkeypatch, capsys, *flags, *given, *more)

    return call


def found(printed):
    """[(cosine, name)] of the lines of what was found."""
    rows = [line.split() for line in printed.splitlines() if line.startswith("  ") and ":" not in line]
    return [(float(cosine), name) for cosine, name in rows]


def test_a_query_finds_itself_and_its_twin(retrieve, folder, tmp_path):
    code, printed, err = retrieve(folder / "deep" / "3.png", folder / "twin.png", "-k", 3)
    assert code == 0, err
    rows = found(printed)
    assert rows[0] == (1.0, "deep/3.png") and rows[1][0] < 1
    assert rows[3:5] == [(1.0, "twin.png"), (1.0, "2.png")]
    assert "to the network the same picture: twin.png, 2.png" in printed and "notes.txt" in err
    assert "index: 7 pictures to look at" in printed
    assert scripts.picture(tmp_path / "found.png").size > (500, 300)


def test_only_what_is_new_or_has_changed_is_looked_at(retrieve, folder):
    """And the index ends as one that is made anew."""
    assert retrieve(folder / "0.png")[0] == 0
    Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(folder / "new.png")
    Image.fromarray(np.full((50, 40, 3), 90, np.uint8)).save(folder / "0.png")
    (folder / "4.png").unlink()
    code, printed, err = retrieve(folder / "2.png")
    assert code == 0, err
    assert "index: 5 pictures as they were, 1 new, 1 changed, 1 gone" in printed
    index = folder / ".minires-index.safetensors"
    grown = retrieval.load(index)
    index.unlink()
    assert retrieve(folder / "2.png")[0] == 0
    anew = retrieval.load(index)
    assert grown.names == anew.names and (grown.stamps == anew.stamps).all()
    np.testing.assert_allclose(grown.vectors, anew.vectors, atol=1e-5)
    before = os.stat(index).st_mtime_ns
    code, printed, _ = retrieve(folder / "2.png")
    assert code == 0 and "index:" not in printed and os.stat(index).st_mtime_ns == before


def test_an_index_of_other_weights_or_a_damaged_one(retrieve, folder, weights):
    assert retrieve(folder / "0.png")[0] == 0
    index = folder / ".minires-index.safetensors"
    content = index.read_bytes()
    code, _, err = retrieve(folder / "0.png", "--weights", weights / "1.safetensors")
    assert code == 1 and "was made with other weights (resnet8): name another file with --index" in one_sentence(err)
    code, _, err = retrieve(folder / "0.png", "--size", 40, "--resize", 40)
    assert code == 1 and "was made with another preprocessing" in one_sentence(err)
    assert index.read_bytes() == content
    index.write_bytes(content[:100])
    code, _, err = retrieve(folder / "0.png")
    assert code == 1 and "damaged, or no index" in one_sentence(err) and "remove it, and it is made anew" in err
    code, _, err = retrieve(folder / "0.png", "--index", folder / "notes.txt")
    assert code == 1 and (folder / "notes.txt").read_text() == "hello"


def test_broken_pictures(retrieve, folder):
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:60])
    code, _, err = retrieve(folder / "0.png")
    assert code == 1 and "broken.png" in one_sentence(err) and "leave such out with --skip-broken" in err
    assert not (folder / ".minires-index.safetensors").exists()
    code, printed, err = retrieve(folder / "0.png", "--skip-broken")
    assert code == 0 and "note: left out: " in err and "broken.png" in err and "broken.png" not in printed
    index = folder / ".minires-index.safetensors"
    before = os.stat(index).st_mtime_ns
    code, printed, err = retrieve(folder / "broken.png", folder / "0.png", "--skip-broken")
    assert code == 1 and "error: " in err and found(printed)[0] == (1.0, "0.png")
    assert "broken.png, as before" in err and "index:" not in printed and os.stat(index).st_mtime_ns == before
    code, _, err = retrieve(folder / "0.png")
    assert code == 1 and "broken.png" in one_sentence(err), "who does not skip it is told again"
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:70])
    code, printed, err = retrieve(folder / "0.png", "--skip-broken")
    assert code == 0 and "7 pictures as they were, 1 changed" in printed and "as before" not in err
    (folder / "broken.png").write_bytes((folder / "twin.png").read_bytes())
    code, printed, err = retrieve(folder / "2.png")
    assert code == 0 and ("7 pictures as they were, 1 changed" in printed) and (1.0, "broken.png") in found(printed)
    code, printed, err = retrieve(folder / "2.png", "--skip-broken")
    assert code == 0 and "broken.png" not in err and "index:" not in printed


def test_what_a_user_may_ask_for_that_is_not_there(retrieve, folder, tmp_path):
    code, printed, err = retrieve(folder / "0.png", "-k", 50)
    assert code == 0 and "-k 50: there are 7 pictures in the folder: all of them are shown" in err
    assert len(found(printed)) == 7
    code, _, err = retrieve(folder / "0.png", "-k", 0)
    assert code == 1 and "-k 0: give 1 or more" in one_sentence(err)
    code, _, err = retrieve(folder / "notes.txt")
    assert code == 1 and "notes.txt: is not a picture" in err
    (tmp_path / "empty").mkdir()
    for other, words in (("empty", "there is no picture in it"), ("nowhere", "is no folder: name one with pictures")):
        code, _, err = retrieve(folder / "0.png", "--folder", tmp_path / other)
        assert code == 1 and words in one_sentence(err)
    (tmp_path / "empty" / "a.png").write_text("hello")
    code, _, err = retrieve(folder / "0.png", "--folder", tmp_path / "empty", "--skip-broken")
    assert code == 1 and "none of its 1 pictures can be read" in one_sentence(err)
    (tmp_path / "found.png").write_text("a user's own")
    code, _, err = retrieve(folder / "0.png")
    assert code == 1 and "name another file with --out" in one_sentence(err)
    assert (tmp_path / "found.png").read_text() == "a user's own"
