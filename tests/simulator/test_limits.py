"""What the exchange allows: weights in fixed minutes, growing bans, messages, connection attempts."""

from bot.simulator.limits import Attempts, Bucket, Limits, Weights

MINUTE = 60_000
HOME = "127.0.0.1"


def test_weight_counts_in_fixed_minutes() -> None:
    """The counter starts again at the full minute, not a minute after the first request."""
    weights = Weights(Limits(weight_a_minute=10))
    assert weights.charge(HOME, 10, 59_999) is None
    assert weights.used(HOME, 59_999) == 10
    assert weights.charge(HOME, 10, MINUTE) is None
    assert weights.used(HOME, MINUTE) == 10


def test_too_much_weight_is_429_with_the_rest_of_the_minute() -> None:
    """Retry-After is in seconds and ends with the minute; another address is not concerned."""
    weights = Weights(Limits(weight_a_minute=10))
    weights.charge(HOME, 10, 0)
    refusal = weights.charge(HOME, 1, 45_500)
    assert refusal is not None and (refusal.status, refusal.retry_after_s) == (429, 15)
    assert "10 request weight per 1 MINUTE" in refusal.message
    assert weights.charge("10.0.0.1", 1, 45_500) is None


def test_who_ignores_429_is_banned_and_longer_each_time() -> None:
    """418 after the tolerated number of ignored 429s, for 2 minutes, then 4; inside a ban nothing counts."""
    weights = Weights(Limits(weight_a_minute=1, ignored_429_max=2))
    statuses = []
    for at in range(5):
        refusal = weights.charge(HOME, 1, at)
        statuses.append(refusal.status if refusal else 200)
    assert statuses == [200, 429, 429, 418, 418]
    refusal = weights.charge(HOME, 1, 1_000)
    assert refusal is not None and refusal.retry_after_s == 120
    assert "IP banned until 120003" in refusal.message
    later = 180_000
    bans = [weights.charge(HOME, 1, later + at) for at in range(4)]
    assert bans[0] is None and bans[3] is not None and (bans[3].status, bans[3].retry_after_s) == (418, 240)


def test_bans_end_at_three_days() -> None:
    """However often: never longer than three days."""
    weights = Weights(Limits(weight_a_minute=0, ignored_429_max=0))
    now_ms, longest = 0, 0
    for _ in range(20):
        refusal = weights.charge(HOME, 1, now_ms)
        assert refusal is not None
        longest = max(longest, refusal.retry_after_s)
        now_ms += refusal.retry_after_s * 1000
    assert longest == 259_200


def test_five_messages_a_second_pass_and_the_sixth_does_not() -> None:
    """Five at once are fine, a sixth in the same second is not; a second later there is room again."""
    bucket = Bucket(5.0, 1.0, 0.0)
    assert [bucket.take(0.0) for _ in range(6)] == [True] * 5 + [False]
    bucket = Bucket(5.0, 1.0, 0.0)
    assert all(bucket.take(second + part * 0.2) for second in range(10) for part in range(5))


def test_accelerated_time_forgives_bunched_heartbeats_only() -> None:
    """At 60 times the speed a stall of a quarter second bunches some heartbeats; a flood is still one."""
    bucket = Bucket(5.0, 60.0, 0.0)
    taken = [bucket.take(0.0) for _ in range(12)]
    assert taken == [True] * 8 + [False] * 4


def test_connection_attempts_are_counted_in_windows() -> None:
    """300 in five minutes, then none until the next five minutes."""
    attempts = Attempts(Limits())
    assert all(attempts.allow(HOME, at) for at in range(300))
    assert not attempts.allow(HOME, 299_999)
    assert attempts.allow("10.0.0.1", 299_999)
    assert attempts.allow(HOME, 300_000)
