import asyncio


async def request(number):
    """A request that takes a millisecond."""
    await asyncio.sleep(0.001)
    return number


async def one_after_the_other():
    return [await request(number) for number in range(20)]


async def all_at_once():
    return await asyncio.gather(*map(request, range(20)))


def test_gather(pair):
    """Twenty requests at once instead of one after the other."""
    pair(
        before=one_after_the_other,
        after=all_at_once,
        names=("one by one", "gather"),
        equivalent=lambda before, after: before == list(after),
        units=20,  # requests in a call
    )
