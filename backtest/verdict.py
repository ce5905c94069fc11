"""What all the figures come to, in one plain sentence, and in another what kept them from being others.

Skill     is claimed when the deflated Sharpe ratio is at least SURE and at most 1 - SURE of random entries did better.
Bad luck  does not explain a loss when the ratio is above 0 with a probability of at most 1 - SURE.
Too short under TRIPS_MIN round trips or DAYS_MIN days nothing is claimed at all.
Ended     where more than ENDED_MAX of the final equity stands in coins that have no candle at the end, the sentence
          says so, and claims no skill that would be none without them.
Everything between is "not distinguishable from luck".
"""

from backtest.statistics import Costs, Ended, Hold, Luck, Performance, RandomEntries, RoundTrips
from bot.core.market import DAY_MS

SURE = 0.95
TRIPS_MIN = 30
DAYS_MIN = 30.0
ENDED_MAX = 0.01


def verdict(
    performance: Performance,
    ended: Ended,
    trips: RoundTrips,
    costs: Costs,
    luck: Luck,
    hold: Hold | None,
    entries: RandomEntries | None,
    span_ms: int,
) -> str:
    """The sentence."""
    days = span_ms / DAY_MS
    if not trips.count and not trips.open:
        return f"Nothing was traded in {_days(days)}: there is nothing to judge."
    total = performance.total_return
    earned = f"{_gained(total).capitalize()} in {_days(days)}{_to_ended(ended)}"
    beside = [part for part in (_to_hold(total, hold), _to_random(entries)) if part]
    return f"{', '.join([earned, *beside])}: {_judged(performance, ended, trips, costs, luck, entries, days)}."


def held_back(notes: dict[str, int]) -> str:
    """A second sentence where a limit of risk stopped trading for good: nobody resumes a replay."""
    tripped = [code.removeprefix("risk.") for code in notes if code.startswith("risk.") and not code.endswith(".over")]
    lasting = [code for code in tripped if f"risk.{code}.over" not in notes]
    return f" A limit of risk held trading back to the end: {', '.join(lasting)}." if lasting else ""


def _gained(total: float) -> str:
    return f"{'earned' if total > 0.0 else 'lost'} {_share(abs(total))}"


def _to_ended(ended: Ended) -> str:
    """What is left where the coins without a candle at the end are worth nothing."""
    if not _matters(ended):
        return ""
    coins = "1 coin that has" if len(ended.symbols) == 1 else f"{len(ended.symbols)} coins that have"
    share = "all" if ended.share is None else _share(ended.share)
    without = f"{_gained(ended.total_return_at_zero)} if that is worth nothing"
    return f" ({share} of the final equity stands in {coins} no candle at the end: {without})"


def _matters(ended: Ended) -> bool:
    return bool(ended.symbols) and (ended.share is None or ended.share > ENDED_MAX)


def _to_hold(total: float, hold: Hold | None) -> str:
    if hold is None:
        return ""
    other = hold.performance.total_return
    word = "better" if total > other else "worse"
    coins = "the coin" if hold.coins == 1 else f"the {hold.coins} coins"
    return f"{abs(total - other) * 100:.1f} points {word} than holding {coins}"


def _to_random(entries: RandomEntries | None) -> str:
    if entries is None:
        return ""
    return f"{_share(1.0 - entries.better)} of random entries with the same holding times and costs did no better"


def _judged(
    performance: Performance,
    ended: Ended,
    trips: RoundTrips,
    costs: Costs,
    luck: Luck,
    entries: RandomEntries | None,
    days: float,
) -> str:
    few = _too_few(trips, days)
    if few:
        return f"not distinguishable from luck, {few}"
    if performance.total_return <= 0.0:
        return _loss(costs, luck)
    if _matters(ended) and ended.total_return_at_zero <= 0.0:
        return "not distinguishable from luck, without those coins nothing was earned"
    deflated, better = luck.deflated_sharpe, entries.better if entries else None
    if deflated is None or better is None:
        return "not distinguishable from luck"
    tried = "1 trial" if luck.trials == 1 else f"{luck.trials} trials"
    sure = f"the Sharpe ratio is above what chance gives the best of {tried} with a probability of {_share(deflated)}"
    if deflated >= SURE and better <= 1.0 - SURE:
        return f"more than luck explains, {sure}"
    return f"not distinguishable from luck, {sure}"


def _too_few(trips: RoundTrips, days: float) -> str:
    few = []
    if trips.count < TRIPS_MIN:
        count = "1 round trip" if trips.count == 1 else f"{trips.count} round trips"
        few.append(f"with {count} where {TRIPS_MIN} would be the least")
    if days < DAYS_MIN:
        few.append(f"over {_days(days)} where {DAYS_MIN:g} days would be the least")
    return " and ".join(few)


def _loss(costs: Costs, luck: Luck) -> str:
    probable = luck.probabilistic_sharpe
    if probable is None or probable > 1.0 - SURE:
        return "not distinguishable from luck"
    if costs.break_even_fee is not None and 0.0 < costs.break_even_fee < costs.fee:
        least = f"{costs.break_even_fee:.4%} a side"
        return f"a loss that is not bad luck, the fees ate what was earned before them, which would pay for {least}"
    return "a loss that is not bad luck, it would have been one without fees too"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _days(days: float) -> str:
    return f"{days:.0f} days" if days >= 2.0 else f"{days * 24.0:.1f} hours"
