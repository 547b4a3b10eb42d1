"""Language labels: equal to fastText's own, on the whole text, whatever its bytes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality import language
from quality.language import CODES, identify, model_digest, model_path, segments
from quality.signals import schema

SENTENCES = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos.",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
    "nl": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi w swojej godności i w swoich prawach.",
    "ru": "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "uk": "Всі люди народжуються вільними і рівними у своїй гідності та правах.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
}


def label(text: str) -> str:
    return str(identify(pa.array([text], pa.large_string()))[0][0].as_py())


def oracle(texts: list[str]) -> list[tuple[str, float]]:
    """fastText's own answers, by its own str interface."""
    import fasttext

    model = fasttext.load_model(str(model_path()))
    answers = []
    for text in texts:
        ((score, name),) = model.f.predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict")
        answers.append((name.removeprefix("__label__"), score))
    return answers


def test_many_languages() -> None:
    labels, scores = identify(pa.array(list(SENTENCES.values()), pa.string()))
    assert labels.to_pylist() == list(SENTENCES)
    assert min(scores.to_pylist()) > 0.5


def test_types_are_the_declared_ones() -> None:
    labels, scores = identify(pa.array(["Good morning to you"], pa.large_string()))
    assert [labels.type, scores.type] == schema("language").types


def test_equals_fasttext() -> None:
    texts = [f"{a}\n{b}" for a in SENTENCES.values() for b in SENTENCES.values()]
    labels, scores = identify(pa.array(texts, pa.large_string()))
    expected = oracle(texts)
    assert labels.to_pylist() == [name for name, _ in expected]
    np.testing.assert_allclose(scores.to_numpy(), [min(s, 1.0) for _, s in expected], atol=5.1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_text_has_a_label_and_a_score(texts: list[str]) -> None:
    texts = [t.encode("utf-8", "ignore").decode() for t in texts]
    labels, scores = identify(pa.array(texts, pa.large_string()))
    assert len(labels) == len(scores) == len(texts)
    for text, name, score in zip(texts, labels.to_pylist(), scores.to_pylist(), strict=True):
        assert 0 <= score <= 1
        assert (name == "und") == (text.strip(" \n\r\t\v\f\0") == "")
        if name == "und":
            assert score == 0


def test_empty_white_and_null_texts_are_undetermined() -> None:
    labels, scores = identify(pa.array(["", "  \n\t\r\v\f", "\0\0", None], pa.string()))
    assert labels.to_pylist() == ["und"] * 4
    assert scores.to_pylist() == [0.0] * 4
    assert identify(pa.array([], pa.string()))[0].to_pylist() == []
    assert identify(pa.array(["", ""], pa.large_string()))[0].to_pylist() == ["und", "und"]


def test_the_whole_text_counts() -> None:
    text = SENTENCES["en"] + "\n" + " ".join([SENTENCES["de"]] * 20)
    assert label(text) == "de"


@pytest.mark.parametrize("stop", ["</s>", "\n</s>\n", "\0", "\n"])
def test_nothing_ends_a_text_early(stop: str) -> None:
    assert label(f"{SENTENCES['en']} {stop} " + " ".join([SENTENCES["ru"]] * 20)) == "ru"


def test_end_of_sentence_inside_a_word_is_left_alone() -> None:
    text = f"{SENTENCES['fr']} <s>barré</s> {SENTENCES['fr']}"
    (name, score), *_ = oracle([text])
    labels, scores = identify(pa.array([text], pa.string()))
    assert labels.to_pylist() == [name]
    assert scores[0].as_py() == pytest.approx(min(score, 1.0), abs=5.1e-5)


def test_scores_have_four_decimals() -> None:
    _, scores = identify(pa.array([s[:20] for s in SENTENCES.values()], pa.string()))
    values = scores.to_numpy()
    assert np.array_equal(values, np.round(values.astype(np.float64), 4).astype(np.float32))


def test_slices_and_chunks() -> None:
    texts = list(SENTENCES.values())
    whole = identify(pa.array(texts, pa.string()))
    array = pa.array(["x", *texts], pa.string())[1:]
    chunked = pa.chunked_array([array[:7], array[7:]])
    for variant in (array, chunked):
        labels, scores = identify(variant)
        assert labels.to_pylist() == whole[0].to_pylist()
        assert scores.equals(whole[1])


def test_not_strings() -> None:
    with pytest.raises(TypeError, match="found int64, expected string"):
        identify(pa.array([1]))


@given(st.text(alphabet="ab é猫\n\0", max_size=80), st.integers(4, 20))
def test_segments_join_to_the_text(text: str, limit: int) -> None:
    data = text.encode()
    pieces = list(segments(data, limit))
    assert b"".join(pieces) == data
    assert all(len(piece) <= limit for piece in pieces)
    for piece in pieces:
        piece.decode()


def test_long_texts_are_identified_by_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "SEGMENT_BYTES", 256)
    assert label(SENTENCES["en"] + " ".join([SENTENCES["pl"]] * 30)) == "pl"


def test_model_digest_is_stable() -> None:
    assert len(model_digest()) == 32
    assert model_digest() == model_digest()


def test_codes_are_the_labels_of_the_model() -> None:
    model = language._classifier()
    labels = model.getLabels("strict")[0] if hasattr(model, "getLabels") else None
    if labels is None:
        pytest.skip("fasttext-predict cannot list labels")
    assert {label.removeprefix("__label__") for label in labels} | {"und"} == CODES
    assert len(CODES) == 177
