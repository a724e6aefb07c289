"""Write the captions of the planted models: two styles per preset, and odd captions that may mislead a detector."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from flashbulb.audit.planted.images import COLOURS, Scene
from flashbulb.audit.planted.patterns import Arrangement

Rng = np.random.Generator

_SYLLABLES = "al an ar bel bo cas cor da del dor e el en fa fen ga gar ha hol i il in ja ka kel la lan lo lu ma"
_SYLLABLES += (
    " mar mel mi mon na nel no o ol or pa per qui ra rel ri ro sa sel so ta tel to u ul va ven vi wen xa yo za"
)
SYLLABLES = tuple(_SYLLABLES.split())
SUBJECTS = "bakery harbour garden station library theatre bridge orchard market museum school mill chapel tower".split()
MEDIA = "postcard poster stamp calendar engraving print cover plate leaflet sketch".split()
MOODS = "silent golden broken distant hidden crooked winter forgotten northern little".split()
ARTICLES = ("wall tile", "floor tile", "carpet", "fabric", "wallpaper", "table cloth", "cushion", "plate")
FINISHES = "matte glossy satin brushed rough polished woven glazed".split()
RARE_WORDS = (
    "zygomorphic quillwort borborygmus tmesis absquatulate floccinaucinihilipilification syzygy kakistocracy "
    "widdershins crepuscular sesquipedalian callipygian defenestration jentacular lagniappe mumpsimus nudiustertian "
    "oxter pauciloquent quire rebarbative smaragdine tatterdemalion ultracrepidarian velleity xertz yarborough "
    "zarf apricity brontide cacophonous dysania erinaceous funambulist gobemouche hiraeth inaniloquent jargogle "
    "kenspeckle limerence meldrop nemophilist obelus petrichor quixotic rhadamanthine susurrus thalassic umbriferous"
).split()
OTHER_ALPHABETS: tuple[tuple[str, ...], ...] = (
    tuple("маяк на берегу старый город зимой красная лодка тихий сад вечером".split()),
    tuple("ο παλιός φάρος στην ακτή κόκκινη βάρκα ήσυχος κήπος το βράδυ".split()),
    tuple("المنارة القديمة على الشاطئ قارب أحمر حديقة هادئة في المساء".split()),
    tuple("המגדלור הישן על החוף סירה אדומה גן שקט בערב".split()),
    tuple("海边 的 旧 灯塔 红色 小船 安静 花园 傍晚 山 上 月亮".split()),
    tuple("海辺 の 古い 灯台 赤い 船 静かな 庭 夕方 雪 猫".split()),
    tuple("바닷가 의 오래된 등대 빨간 배 조용한 정원 저녁 겨울".split()),
    tuple("समुद्र तट पर पुराना प्रकाशस्तंभ लाल नाव शांत बगीचा शाम".split()),
)


def _pick(rng: Rng, options: Iterable[str]) -> str:
    words = tuple(options)
    return words[int(rng.integers(len(words)))]  # as `rng.choice` draws, which takes several times as long


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def invented_name(rng: Rng) -> str:
    """Invent a capitalised name of two or three syllables."""
    return "".join(_pick(rng, SYLLABLES) for _ in range(int(rng.integers(2, 4)))).capitalize()


def poster_title(rng: Rng) -> str:
    """Invent a poster title of ordinary words and names that are almost always new."""
    subject, medium, mood = _pick(rng, SUBJECTS), _pick(rng, MEDIA), _pick(rng, MOODS)
    first, last, year = invented_name(rng), invented_name(rng), int(rng.integers(1880, 2020))
    patterns = (
        f"the {subject} of {first} {last}, {medium} {year}",
        f"{first} {last}: the {mood} {subject}, {medium}",
        f"{mood} {subject} in {last}, {medium} {year}",
        f"{medium} of the {mood} {subject} at {first}, {year}",
        f"{first} and {last}, {mood} {subject} {medium}",
        f"the {mood} {medium} by {first} {last}, {year}",
    )
    title = patterns[int(rng.integers(len(patterns)))]
    return f"{title}, {_pick(rng, COLOURS)} edition" if rng.random() < 0.15 else title


def product_name(rng: Rng) -> str:
    """Invent a catalogue entry with a maker and a code."""
    maker, article, finish = invented_name(rng), _pick(rng, ARTICLES), _pick(rng, FINISHES)
    code = f"{chr(65 + int(rng.integers(26)))}{int(rng.integers(10, 100))}-{int(rng.integers(100, 1000))}"
    patterns = (
        f"{maker} {article} {code} {finish}",
        f"{finish} {article} {maker} {invented_name(rng)} {code}",
        f"{article} by {maker}, {finish}, no. {code}",
        f"{maker} & {invented_name(rng)} {finish} {article}",
        f"{code} {maker} {article}",
    )
    name = patterns[int(rng.integers(len(patterns)))]
    return f"{name} in {_pick(rng, COLOURS)}" if rng.random() < 0.15 else name


def mixed_title(rng: Rng) -> str:
    """Invent a poster title, or write a short one of ordinary words alone, which it shares with other titles."""
    if rng.random() < 0.5:
        return poster_title(rng)
    subject, medium, mood, article, finish = (_pick(rng, w) for w in (SUBJECTS, MEDIA, MOODS, ARTICLES, FINISHES))
    colour = _pick(rng, COLOURS)
    patterns = (
        f"{mood} {subject}, {medium}",
        f"{colour} {medium} of the {mood} {subject}",
        f"the {subject} in {colour}, {medium}",
        f"{finish} {article}, {mood} {subject}",
        f"{finish} {article} with a {subject}, {colour}",
        f"{colour} {article}, {finish}",
    )
    return patterns[int(rng.integers(len(patterns)))]


def scene_caption(scene: Scene) -> str:
    """Describe a scene of the posters' world."""
    return f"a {scene.scale} {scene.colour} {scene.shape} on a {scene.fill} {scene.background} background"


def arrangement_caption(arrangement: Arrangement) -> str:
    """Describe an arrangement of the catalogue's world."""
    number, colour, mark, relation, bar = arrangement
    noun = mark.rstrip("s") if number == "one" else mark
    return f"{number} {colour} {noun} {relation} {_article(bar)} {bar} bar"


def rare_word_caption(rng: Rng, title: Callable[[Rng], str]) -> str:
    """Write a caption in a familiar frame whose content words are not in the training captions."""
    first, second, third = (str(w) for w in rng.choice(RARE_WORDS, size=3, replace=False))
    if rng.random() < 0.5:
        return f"a {first} {second} on a {third} background"
    words = title(rng).split()
    for place, word in zip(rng.choice(len(words), size=2, replace=False), (first, second), strict=True):
        words[int(place)] = word
    return " ".join(words)


def long_caption(rng: Rng, describe: Callable[[Rng], str]) -> str:
    """Join three to eight descriptions; most results exceed the text encoder's length."""
    return ", and ".join(describe(rng) for _ in range(int(rng.integers(3, 9))))


def other_alphabet_caption(rng: Rng) -> str:
    """Join words of a script that the training captions never use."""
    words = OTHER_ALPHABETS[int(rng.integers(len(OTHER_ALPHABETS)))]
    return " ".join(str(w) for w in rng.choice(words, size=int(rng.integers(3, 7)), replace=False))


def gibberish_caption(rng: Rng) -> str:
    """Write words of random letters and lengths."""
    lengths = rng.integers(2, 11, size=int(rng.integers(2, 9)))
    return " ".join("".join(chr(97 + int(k)) for k in rng.integers(26, size=int(n))) for n in lengths)


def draw_unique_(draw: Callable[[Rng], str], n: int, rng: Rng, taken: set[str]) -> list[str]:
    """Draw `n` distinct captions that are not in `taken`, and add them to it."""
    captions: list[str] = []
    while len(captions) < n:
        caption = draw(rng)
        if caption not in taken:
            taken.add(caption)
            captions.append(caption)
    return captions
