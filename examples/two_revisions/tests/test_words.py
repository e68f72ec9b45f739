from words import count

TEXT = " ".join(str(number % 100) for number in range(1000))


def test_count(benchmark):
    assert benchmark(count, TEXT)["42"] == 10
