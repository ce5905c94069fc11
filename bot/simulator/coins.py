"""Names and first prices of the synthetic coins: the well-known ones first, made-up ones after."""

from itertools import islice, product

KNOWN = {
    "BTC": 60_000.0, "ETH": 3_000.0, "SOL": 150.0, "BNB": 550.0, "XRP": 0.55, "DOGE": 0.12, "ADA": 0.45, "TRX": 0.12,
    "AVAX": 30.0, "LINK": 14.0, "DOT": 6.5, "LTC": 75.0, "BCH": 400.0, "NEAR": 5.5, "UNI": 8.0, "APT": 8.5,
    "ICP": 10.0, "ETC": 25.0, "XLM": 0.1, "FIL": 5.0, "ATOM": 7.5, "ARB": 0.9, "OP": 2.0, "HBAR": 0.08,
    "INJ": 24.0, "SUI": 1.2, "AAVE": 95.0, "ALGO": 0.16, "VET": 0.028, "GRT": 0.22, "MKR": 2_500.0, "SAND": 0.35,
    "MANA": 0.38, "AXS": 6.5, "THETA": 1.6, "FTM": 0.6, "EGLD": 35.0, "XTZ": 0.8, "FLOW": 0.7, "CHZ": 0.08,
    "CRV": 0.35, "SNX": 2.1, "COMP": 52.0, "ZEC": 24.0, "DASH": 28.0, "ENJ": 0.2, "BAT": 0.21, "ZIL": 0.018,
    "IOTA": 0.18, "NEO": 12.0, "QTUM": 3.0, "KSM": 25.0, "ONE": 0.015, "WAVES": 1.2, "YFI": 6_200.0, "SUSHI": 0.9,
    "LRC": 0.2, "ANKR": 0.03, "CELO": 0.65, "ROSE": 0.09,
}  # fmt: skip
CONSONANTS, VOWELS = "BDFGKLMNPRSTVZ", "AEIOU"


def names_and_prices(count: int) -> tuple[list[str], list[float]]:
    """`count` pairs against USDT and a price each of them could have."""
    made_up = (f"{a}{b}{c}{d}X" for b, a, d, c in product(VOWELS, CONSONANTS, VOWELS, CONSONANTS))
    bases = list(KNOWN) + list(islice((name for name in made_up if name not in KNOWN), max(0, count - len(KNOWN))))
    prices = [KNOWN.get(base, 0.02 * 3.0 ** (at % 7)) for at, base in enumerate(bases)]
    return [f"{base}/USDT" for base in bases[:count]], prices[:count]
