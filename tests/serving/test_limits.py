"""Rates, places in the queue and albums, by a clock of the tests."""

import asyncio

import pytest

from redoseg.errors import ConfigError
from redoseg.serving.albums import Albums
from redoseg.serving.limits import Desk, Limits, Rates, Refusal


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_client_has_so_many_requests_a_second():
    clock = Clock()
    rates = Rates(2, clock)
    for _ in range(4):
        rates.count("a")
    with pytest.raises(Refusal, match="more than 2 requests a second") as refusal:
        rates.count("a")
    assert (refusal.value.status, refusal.value.retry_after) == (429, 1)
    rates.count("b")  # another one has its own
    clock.now += 0.5
    rates.count("a")
    with pytest.raises(Refusal):
        rates.count("a")
    clock.now += 1000
    for _ in range(4):
        rates.count("a")
    with pytest.raises(Refusal):
        rates.count("a")


def test_who_asks_a_little_too_often_gets_what_the_rate_allows():
    clock, passed = Clock(), 0
    rates = Rates(50, clock)
    for _ in range(6000):  # 60 a second
        clock.now += 1 / 60
        try:
            rates.count("a")
            passed += 1
        except Refusal:
            continue
    assert passed == pytest.approx(5000, abs=110)


def test_without_a_rate_as_many_as_come():
    rates = Rates(0, Clock())
    for _ in range(1000):
        rates.count("a")


def test_clients_that_are_gone_are_forgotten():
    rates = Rates(1, Clock())
    for client in range(10_500):
        rates.count(str(client))
    assert len(rates._left) == 10_000


def test_the_queue_has_an_end_and_places_are_given_back():
    async def fill():
        desk = Desk(queue=1, workers=1)
        async with desk.place(), desk.place():
            with pytest.raises(Refusal) as refusal:
                async with desk.place():
                    pass
            assert (refusal.value.status, refusal.value.retry_after) == (503, 1)
        with pytest.raises(ValueError, match="broken"):
            async with desk.place():
                raise ValueError("broken")
        async with desk.place(), desk.place():
            assert await desk.run(lambda: 7) == 7
        desk.close()

    asyncio.run(fill())


def test_albums_are_forgotten_after_an_hour_or_where_there_is_no_room(tmp_path):
    clock = Clock()
    albums = Albums(tmp_path, Limits(albums=2), clock)
    first, second = albums.open(), albums.open()
    with pytest.raises(Refusal, match="too many pages"):
        albums.open()
    clock.now += 400
    albums.get(second)
    third = albums.open()  # the first wasn't heard of for more than five minutes
    with pytest.raises(Refusal, match="not here any more"):
        albums.get(first)
    assert len(list(tmp_path.iterdir())) == 2
    clock.now += 4000
    albums.open()
    for key in (second, third):
        with pytest.raises(Refusal):
            albums.get(key)


def test_an_album_has_so_many_photos(tmp_path):
    albums = Albums(tmp_path, Limits(photos=2))
    album = albums.get(albums.open())
    for name in ("a", "b", "a"):
        albums.add(album, name, b"x")
    with pytest.raises(Refusal, match="there are 2 photos already"):
        albums.add(album, "c", b"x")


def test_all_albums_together_have_so_many_bytes(tmp_path):
    albums = Albums(tmp_path, Limits(gigabytes=1))
    album, other = (albums.get(albums.open()) for _ in range(2))
    albums.add(album, "a", b"x")
    album.sizes["a"] = 1 << 30
    with pytest.raises(Refusal, match="1 GB already: remove some first"):
        albums.add(other, "b", b"x")


def test_what_is_removed_stays_until_nobody_needs_it(tmp_path):
    albums = Albums(tmp_path, Limits())
    key = albums.open()
    album = albums.get(key)
    with album.in_use():
        albums.add(album, "a", b"x")
        albums.remove(key)
        assert album.photo("a").read_bytes() == b"x"
        with pytest.raises(Refusal, match="not here any more"), album.in_use():
            pass
    assert not album.folder.exists()
    with pytest.raises(Refusal):
        albums.remove(key)


@pytest.mark.parametrize("limit", ["megabytes", "megapixels", "photos", "albums"])
def test_limits_that_let_nothing_through_are_refused(limit):
    with pytest.raises(ConfigError, match=f"--{limit} is 0"):
        Limits(**{limit: 0})
