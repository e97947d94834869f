"""Classes from a table, in the forms in which people have them."""

import os

import numpy as np
import pytest
from test_data_folders import colors, draw, expected, fill, read

from minires.data import DatasetError
from minires.data.tables import read_labels

NAMES = ["train/1.png", "train/2.png", "train/10.png"]
LABELS = {"train/1.png": "frog", "train/2.png": "ship", "train/10.png": "frog"}


def read_text(tmp_path, text, names=NAMES, encoding="utf-8", columns=None):
    """(labels, what was told) of a table."""
    path, told = tmp_path / "labels.csv", []
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_labels(path, names, columns, told.append), told


@pytest.mark.parametrize(
    "text",
    [
        "id,label\n1,frog\n2,ship\n10,frog\n",
        "id,label\r\n1,frog\r\n2,ship\r\n10,frog\r\n",
        "id;label\n1;frog\n2;ship\n10;frog\n",
        "id\tlabel\n1\tfrog\n2\tship\n10\tfrog",
        "id|label\n1|frog\n2|ship\n10|frog\n",
        "sep=;\nid;label\n1;frog\n2;ship\n10;frog\n",
        '"id","label"\n"1","frog"\n"2","ship"\n"10","frog"\n',
        "label,file\nfrog,train/1.png\nship,train/2.png\nfrog,train/10.png\n",
        "file,label\nkaggle/train/1.png,frog\nkaggle/train/2.png,ship\nkaggle/train/10.png,frog\n",
        "file,label\n./train/1.png,frog\n./train/2.png,ship\n./train/10.png,frog\n",
        "file,label\ntrain\\1.png,frog\ntrain\\2.png,ship\ntrain\\10.png,frog\n",
        "file,label\nC:\\me\\train\\1.png,frog\nC:\\me\\train\\2.png,ship\nC:\\me\\train\\10.png,frog\n",
        "1.png,frog\n2.png,ship\n10.png,frog\n",
        "n,id,width,class,height\n0,1,1,frog,2\n0,2,1,ship,2\n0,10,1,frog,2\n",
        "id,label\n\n1, frog \n 2 ,ship\n10,frog\n\n",
        "id,label,\n1,frog,\n2,ship,\n10,frog,\n",
    ],
)
def test_forms(tmp_path, text):
    labels, told = read_text(tmp_path, text)
    assert labels == LABELS
    assert "3 of 3 pictures" in told[0] and len(told) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_byte_order_marks(tmp_path, encoding):
    mark = "" if encoding in ("utf-8-sig", "utf-16") else "\ufeff"
    text = f"{mark}label,id\nfrog,1\n船,2\nfrog,10\n"
    labels, _ = read_text(tmp_path, text, encoding=encoding)
    assert labels == {**LABELS, "train/2.png": "船"}


def test_columns_are_named_by_word_or_number(tmp_path):
    text = "id,coarse,fine\n1,animal,frog\n2,thing,ship\n10,animal,frog\n"
    with pytest.raises(DatasetError, match=r"which column holds the classes\? Of id, coarse, fine .*label_columns"):
        read_text(tmp_path, text)
    assert read_text(tmp_path, text, columns=["id", "fine"])[0] == LABELS
    assert read_text(tmp_path, text, columns=["1", "3"])[0] == LABELS
    with pytest.raises(DatasetError, match="has no column 'breed': choose two of id, coarse, fine"):
        read_text(tmp_path, text, columns=["id", "breed"])


def test_what_is_left_out_is_told(tmp_path):
    labels, told = read_text(tmp_path, "id,label\n1,frog\n2,\n99,ship\n98,ship\n")
    assert labels == {"train/1.png": "frog"}
    assert "1 of 3 pictures" in told[0]
    assert told[1:] == [
        "left out: 2 rows of the table name no picture that is here: 99, 98",
        "left out: 1 rows of the table without a class",
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id,label\n1,frog\n1,ship\n", r"train/1.png has two classes, 'frog' and 'ship'"),
        ("id,label\n77,frog\n", r"no column names a picture that is here: .* 77, frog, pictures are called"),
        ("label\nfrog\n", "has no two columns"),
        ("", "has no two columns"),
        ("id,label\n1\n", "row 2 has 1 columns, the first 2"),
        (b"PK\x03\x04\xff\xff", "an Excel workbook or another archive: save it as CSV"),
        ("id,label\n1,Bär\n".encode("latin1"), "no text in UTF-8"),
        (b"id,label\n1,\0\n", "is no text"),
        ("id,label\n1,\"" + "x" * 200_000 + "\n", "no table that can be read"),
    ],
)  # fmt: skip
def test_what_is_no_such_table(tmp_path, text, match):
    with pytest.raises(DatasetError, match=rf"labels\.csv: .*{match}"):
        read_text(tmp_path, text)


def test_a_missing_table_and_one_of_any_size(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_labels(tmp_path / "none.csv", NAMES)
    monkeypatch.setattr("minires.data.tables.MOST_BYTES", 10)
    with pytest.raises(DatasetError, match="has more than 10 bytes, the limit: is it a table"):
        read_text(tmp_path, "id,label\n1,frog\n")


def test_a_name_that_fits_two_pictures_is_refused(tmp_path):
    names = ["a/1.png", "b/1.png"]
    with pytest.raises(DatasetError, match=r"1 may be a/1.png, b/1.png: give the path"):
        read_text(tmp_path, "id,label\n1,frog\n", names)
    labels, _ = read_text(tmp_path, "id,label\na/1.png,frog\nb/1.png,ship\n", names)
    assert labels == {"a/1.png": "frog", "b/1.png": "ship"}


def test_no_other_file_is_opened(tmp_path):
    """What a table names is compared with what is there, and nothing more."""
    secret = tmp_path / "secret.png"
    draw(secret, (1, 2, 3))
    fill(tmp_path / "set")
    rows = "".join(f"{kind}/{number:02d},{kind}\n" for kind in ("cat", "dog") for number in range(10))
    (tmp_path / "labels.csv").write_text(f"id,label\n{rows}../secret.png,cat\n{secret},dog\n/etc/passwd,dog\n")
    dataset, told = read(tmp_path / "set", labels=tmp_path / "labels.csv")
    assert colors(dataset.train_images) | colors(dataset.test_images) == expected(10)
    assert any("3 rows of the table name no picture" in line for line in told)


def test_a_million_rows_take_seconds(tmp_path):
    import time

    rows = "".join(f"{number},{number % 7}\n" for number in range(200_000))
    began = time.monotonic()
    labels, _ = read_text(tmp_path, f"id,label\n{rows}", [f"{number}.png" for number in range(0, 200_000, 10)])
    assert len(labels) == 20_000 and time.monotonic() - began < 20


class TestFolders:
    def test_kaggle(self, tmp_path):
        """train/1.png and a table; and pictures without labels to test on."""
        for number in range(1, 21):
            draw(tmp_path / "train" / f"{number}.png", (100 * (number % 2), number, 0))
        draw(tmp_path / "test" / "1.png", (1, 1, 1))
        rows = "".join(f"train/{number},{'frog' if number % 2 else 'ship'}\n" for number in range(1, 20))
        (tmp_path / "labels.csv").write_text(f"id,label\n{rows}")
        dataset, told = read(tmp_path, labels=tmp_path / "labels.csv")
        assert dataset.classes == ("frog", "ship")
        for images, labels in (
            (dataset.train_images, dataset.train_labels),
            (dataset.test_images, dataset.test_labels),
        ):
            np.testing.assert_array_equal(images[:, 0, 0, 0], 100 * (1 - labels))
        assert len(dataset.train_images) + len(dataset.test_images) == 19
        assert any("1 pictures that are not in the table: train/20.png" in line for line in told)
        assert any("1 pictures that are not in the table: test/1.png" in line for line in told)

    def test_classes_that_are_numbers_are_in_their_order(self, tmp_path):
        for number in range(12):
            (
                draw(tmp_path / "set" / f"{number}a.png", (number, 0, 0)),
                draw(tmp_path / "set" / f"{number}b.png", (number, 1, 0)),
            )
        rows = "".join(f"{number}{letter},{number}\n" for number in range(12) for letter in "ab")
        (tmp_path / "labels.csv").write_text(f"id,label\n{rows}")
        dataset, _ = read(tmp_path / "set", labels=tmp_path / "labels.csv")
        assert dataset.classes == tuple(map(str, range(12)))
        np.testing.assert_array_equal(dataset.train_images[:, 0, 0, 0], dataset.train_labels)

    def test_with_a_test_folder(self, tmp_path):
        for number in range(4):
            (
                draw(tmp_path / "a" / f"{number}.png", (number, 0, 0)),
                draw(tmp_path / "b" / f"{number + 4}.png", (number, 1, 0)),
            )
        rows = "".join(f"{number},{'odd' if number % 2 else 'even'}\n" for number in range(8))
        (tmp_path / "labels.csv").write_text(f"id,label\n{rows}")
        dataset, _ = read(tmp_path / "a", test_folder=tmp_path / "b", labels=tmp_path / "labels.csv")
        assert (len(dataset.train_images), len(dataset.test_images)) == (4, 4)
        np.testing.assert_array_equal(dataset.test_images[:, 0, 0, 0] % 2, dataset.test_labels)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("id,label\n" + "1,frog\n" * 1500 + "1\n", "row 1502 has 1 columns, the first 2"),
        ("id" + ",label" * 1000 + "\n", "1,001 columns, 1,000 is the limit"),
        ("id,label" + " " * 2**20 + "\n", "a line of more than 1,048,576 letters"),
        ('id,label\n1,"' + "frog\n" * 50_000, "no table that can be read"),
        ("id,label\n1," + "x" * 256 + "\n", "has more than 255 letters, the limit: is 2 the column of the classes"),
        ("id,label\n1,frog\n".encode("utf-16") + b"\0", "no text in UTF-8"),
        ("id,label\n1,fr\0og\n".encode("utf-16"), "is no text"),
        (b"id,label\n" + b"1,frog\n" * 50_000 + "1,Bär\n".encode("latin1"), "no text in UTF-8"),
    ],
)
def test_tables_made_to_cost(tmp_path, text, match):
    with pytest.raises(DatasetError, match=rf"labels\.csv: .*{match}"):
        read_text(tmp_path, text)


def test_names_in_a_table_are_shown_escaped(tmp_path):
    """Header, classes and names of pictures, as a terminal may see them."""
    text = "id\x1b[1m,label\u202e\n1,fr\x1b[31mog\n2,ship\n\x1b]0;x,ship\n"
    labels, told = read_text(tmp_path, text)
    assert labels["train/1.png"] == r"fr\x1b[31mog"
    assert all(line.isprintable() for line in told) and len(told) == 2


def test_a_name_of_marks_takes_no_time(tmp_path):
    """A letter with 100,000 accents takes minutes to bring into order; no file is called so."""
    marks = "a" + "\u0301\u0327" * 60_000
    assert read_text(tmp_path, f"id,label\n1,frog\n{marks},ship\n")[0] == {"train/1.png": "frog"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(DatasetError, match=r"labels.csv: is a pipe, a device or a socket, and no file"):
        read_labels(tmp_path / "labels.csv", NAMES)
