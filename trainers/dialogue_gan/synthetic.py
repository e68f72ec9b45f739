"""Made-up dialogues in the text format of `data`: who speaks and where decides which words are likely."""

import numpy as np

from trainers.dialogue_gan.config import DialogueConfig

__all__ = ["write_dialogue"]

_FIRST_NAMES = (
    "Mara", "Tobias", "Ines", "Old Tom", "Doctor Vale", "Sister Agnes Moor", "Wilhelm", "Zora", "Captain Brandt",
    "Lucia", "Professor Ada Quill", "Henry", "Nadia", "Ferryman",
)  # fmt: skip
_PLACES = ("harbour", "kitchen", "old library", "railway station", "garden", "court room", "attic")
_HOURS = ("at dawn", "at noon", "at dusk", "at night", "in the rain", "in winter")
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "br", "st", "tr", "gl")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")
_ENDS = (".", ".", ".", "!", "?", "...")

_SHARE_OF_COMMON_WORDS = 0.15
_COMMON, _OF_THE_SPEAKER, _OF_THE_SCENE = 0.3, 0.35, 0.35
"""How often a word comes from the common words, from the speaker's own and from the scene's."""


def write_dialogue(config: DialogueConfig) -> str:
    """Text of `num_lines` lines by `num_characters` speakers in `num_scenes` scenes; the same for the same seed.

    Every word is drawn from one of three lists: the words of all, the speaker's own, or the scene's. In each, frequency
    falls with the rank, as in natural text.
    """
    rng = np.random.default_rng(config.data_seed)
    speakers = [_numbered(_FIRST_NAMES, index) for index in range(config.num_characters)]
    scenes = [_scene(index) for index in range(config.num_scenes)]
    words = _words(rng, config.num_words)
    num_common = max(1, int(_SHARE_OF_COMMON_WORDS * len(words)))
    common, special = words[:num_common], words[num_common:]
    # Dealt out like cards, so that every list has words of its own, some by one fewer than others.
    lists = [special[start :: len(speakers) + len(scenes)] or common for start in range(len(speakers) + len(scenes))]
    lines: list[str] = []
    num_left, block = config.num_lines, 0
    while num_left:
        # Every scene once before any comes back, so that few lines show as many as they can.
        scene = block % len(scenes) if block < len(scenes) else int(rng.integers(len(scenes)))
        num_in_scene = min(num_left, int(rng.integers(3, 9)) if config.num_lines > 5 * len(scenes) else 2)
        lines += ["", f"[SCENE: {scenes[scene]}]"]
        cast = rng.permutation(len(speakers))[: int(rng.integers(2, 5))]
        for turn in range(num_in_scene):
            speaker = int(cast[turn % len(cast)])
            pools = (common, lists[speaker], lists[len(speakers) + scene])
            lines.append(f"{speakers[speaker]}: {_sentence(rng, pools)}")
        num_left, block = num_left - num_in_scene, block + 1
    return "\n".join(lines[1:]) + "\n"


def _sentence(rng: np.random.Generator, pools: tuple[list[str], ...]) -> str:
    """Draw three to twelve words, with a capital, a comma now and then, and an end."""
    num_words = int(rng.integers(3, 13))
    chosen = []
    for place in range(num_words):
        pool = pools[int(rng.choice(3, p=(_COMMON, _OF_THE_SPEAKER, _OF_THE_SCENE)))]
        weights = 1 / np.arange(1, len(pool) + 1)
        word = pool[int(rng.choice(len(pool), p=weights / weights.sum()))]
        comma = "," if place < num_words - 1 and rng.random() < 0.1 else ""
        chosen.append(word + comma)
    chosen[0] = chosen[0].capitalize()
    return " ".join(chosen) + str(rng.choice(_ENDS))


def _words(rng: np.random.Generator, num_words: int) -> list[str]:
    """Draw different words of two or three syllables."""
    words: dict[str, None] = {}
    while len(words) < num_words:
        num_syllables = int(rng.integers(2, 4))
        syllables = [str(rng.choice(_ONSETS)) + str(rng.choice(_VOWELS)) for _ in range(num_syllables)]
        words["".join(syllables)] = None
    return list(words)


def _numbered(names: tuple[str, ...], index: int) -> str:
    """Name by number; beyond the list, its names come again with a letter."""
    name, again = names[index % len(names)], index // len(names)
    return name if not again else f"{name.split()[0]}{'x' * again}"


def _scene(index: int) -> str:
    place, hour = _PLACES[index % len(_PLACES)], _HOURS[index // len(_PLACES) % len(_HOURS)]
    again = index // (len(_PLACES) * len(_HOURS))
    return f"{place} {hour}" + (f" {again + 1}" if again else "")
