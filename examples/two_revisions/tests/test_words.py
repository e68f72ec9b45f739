from words import count

TEXT = "to be or not to be that is the question " * 500


def test_count(benchmark):
    assert benchmark(count, TEXT)["be"] == 1000
