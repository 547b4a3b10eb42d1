"""File names and stock phrases are told from captions, and keys join what is one caption."""

from __future__ import annotations

import pyarrow as pa
import pytest

from vl_data.captions import (
    caption_keys,
    is_boilerplate,
    is_file_name,
    normalised,
    template_keys,
    word_counts,
)


def plain(*captions: str | None) -> pa.Array:
    return normalised(pa.array(captions, pa.string()))


FILE_NAMES = (
    "IMG_2041.JPG|img_2041|DSC 0003 (1)|photo.png|Red car on a street.jpeg|image|Image 3"
    "|screenshot 2024-01-31 at 10.02.11|Screen Shot 2019-05-02 at 3.11.02 PM|20240131-100211"
    "|0a1b2c3d4e5f|team_photo_final_2|red-car-on-street|unnamed (2)|untitled-1|figure 3|P1010023"
    "|whatsapp image 2021-03-04 at 10.11.12|Bildschirmfoto 2020-01-01|DSCN4567 copy|logo.svg"
)
BOILERPLATE = (
    "Logo|click to enlarge|Image may contain: one person, standing|Photo by J. Doe / Getty Images"
    "|No description available.|ADVERTISEMENT|profile picture|Placeholder|Read more about it"
    "|图片|Фото|this image has an empty alt attribute; its file name is a.png|© 2019. All rights"
    " reserved.|View larger image|https://example.org/a|N/A|[image]|Loading...|stock photo of a cat"
    "|Click on the image to see it larger|Click image|Tap to zoom|Enlarge|Enlarge this photo"
    "|View full size|Full-size image|Share this|We use cookies|Cookie policy"
    "|Please enable JavaScript"
    "|Image not found|Sign up for our letters|«Фото»|写真。"
)
CAPTIONS = (
    "A red car on a street|Figure 3: the loss over time|The logo of the company on a wall"
    "|Image of the moon taken from Earth|Two dogs play in the snow."
    "|Ein Hund im Schnee|一只狗在雪地里"
    "|Photo 51, by Franklin and Gosling, 1952|well-known|Abb. 4 Aufbau der Maschine"
    "|A man searches a menu|Deinotherium giganteum|state-of-the-art|The first page of the file"
    "|A plate of cookies and a cup|A stop sign up on a hill|A full size bed in a room"
    "|A bus with an advertisement on its side|A truck waits for loading|JavaScript in an editor"
    "|Show All, layer enlarged|Click on the start point and drag|They share this table"
    "|A tap to turn|A larger picture hangs on the wall"
    "|Старое фото города|將警車的標誌放在轎車上。|古い写真が壁にある|집에서 찍은 사진"
)


@pytest.mark.parametrize("caption", FILE_NAMES.split("|"))
def test_file_names(caption: str) -> None:
    if caption == "red-car-on-street":
        assert is_file_name(plain(caption + "-2")).to_pylist() == [True]
    assert is_file_name(plain(caption)).to_pylist() == [True]


@pytest.mark.parametrize("caption", BOILERPLATE.split("|"))
def test_boilerplate(caption: str) -> None:
    assert is_boilerplate(plain(caption)).to_pylist() == [True]


@pytest.mark.parametrize("caption", CAPTIONS.split("|"))
def test_captions_are_neither(caption: str) -> None:
    if caption != "state-of-the-art":  # four parts and no space: a file name, as far as one can see
        assert is_file_name(plain(caption)).to_pylist() == [False]
    assert is_boilerplate(plain(caption)).to_pylist() == [False]


def test_nulls_stay() -> None:
    assert is_file_name(plain(None, "a b c")).to_pylist() == [None, False]
    assert is_boilerplate(plain(None)).to_pylist() == [None]
    assert word_counts(pa.array([None, "a b"], pa.string())).tolist() == [0, 2]
    assert caption_keys(plain(None, "", "!?")).tolist() == [0, 0, 0]


def test_words_are_counted_in_any_script() -> None:
    texts = ["A red car, on a street!", "一只狗在雪地里", "- * -", "well-known 3.5 don't"]
    assert word_counts(pa.array(texts)).tolist() == [6, 7, 0, 4]


def test_keys_join_what_differs_in_case_marks_or_width() -> None:
    same = plain("A  Red Car!", "a red car", "Ａ ｒｅｄ  ｃａｒ", " “A red-car” ")
    assert len(set(caption_keys(same).tolist())) == 1
    other = plain("a red car 2", "a blue car", "ä red car")
    assert len(set(caption_keys(other).tolist()) | set(caption_keys(same).tolist())) == 4


def test_templates_join_what_differs_in_numbers() -> None:
    lots = plain("Lot 17: chair", "Lot 204: chair", "Lot: chair", "LOT 1.5 chair")
    assert len(set(template_keys(lots).tolist())) == 1
    assert len(set(caption_keys(lots).tolist())) == 4
    assert template_keys(plain("Lot 17: table")).tolist() != template_keys(lots[:1]).tolist()
    assert template_keys(plain("2019-03-04")).tolist() == [0]
