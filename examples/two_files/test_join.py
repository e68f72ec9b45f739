import pytest

WORDS = [str(number) for number in range(10_000)]


def added():
    text = ""
    for word in WORDS:
        text += word
    return text


def joined():
    return "".join(WORDS)


@pytest.mark.speedup_claim("join")  # optional: judges the sentence in claims.toml
def test_join(pair):
    """Joining words instead of adding them one by one."""
    pair(before=added, after=joined, equivalent=lambda before, after: before == after)
