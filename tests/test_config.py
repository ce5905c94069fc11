"""Settings: what is wrong is said at once, all of it, each with its path (fault P17)."""

from pathlib import Path

import pytest

from bot.config import BadConfiguration, Settings, load

ROOT = Path(__file__).parent.parent


def errors_of(text: str, tmp_path: Path) -> list[str]:
    """What loading this TOML complains about."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(BadConfiguration) as caught:
        load(path)
    assert caught.value.exit_code == 78
    return caught.value.errors


def test_the_shipped_file_is_complete_and_says_the_defaults() -> None:
    """Every setting stands in config.toml; where it differs from the default it is the universe, model or strategy."""
    shipped, default = load(ROOT / "config.toml"), Settings()
    differ = {name for name in Settings.model_fields if getattr(shipped, name) != getattr(default, name)}
    assert differ == {"market", "forecaster", "strategies"}
    import tomllib

    written = tomllib.loads((ROOT / "config.toml").read_text())
    for section, values in default.model_dump().items():
        if isinstance(values, dict) and section != "strategies":
            assert set(written[section]) == set(values), section


def test_all_errors_are_said_at_once_with_their_paths(tmp_path: Path) -> None:
    """Unknown key, wrong type, out of range, NaN, duplicate symbol, limit above limit: one start, every error."""
    errors = errors_of(
        """
        [market]
        symbls = []
        symbols = ["BTC/USDT", "BTCUSDT"]
        [feed]
        silence_s = "long"
        ping_every_s = nan
        [risk]
        position_max = 0.9
        exposure_max = 0.5
        [account]
        fee_bps = 5000
        [strategies.masked-divergence]
        bet = "up"
        """,
        tmp_path,
    )
    text = "\n".join(errors)
    for path in (
        "market.symbls: no such setting, did you mean market.symbols?",
        "market.symbols: named twice: BTC/USDT",
        "feed.silence_s:",
        "feed.ping_every_s:",
        "risk.position_max is above risk.exposure_max",
        "account.fee_bps:",
        "strategies.masked-divergence.bet:",
    ):
        assert path in text, text


def test_an_unknown_strategy_is_told_the_nearest_name(tmp_path: Path) -> None:
    """A typing error in a name gets a suggestion."""
    assert "did you mean masked-divergence?" in errors_of('[strategy]\nname = "masked-divergense"', tmp_path)[0]


def test_the_environment_is_above_the_file_and_the_command_line_above_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three layers, the later one wins, key by key."""
    path = tmp_path / "config.toml"
    path.write_text("[account]\ncash = 1\nfee_bps = 1\nspread_bps = 1")
    monkeypatch.setenv("LACUNA__ACCOUNT__CASH", "2")
    monkeypatch.setenv("LACUNA__ACCOUNT__FEE_BPS", "2")
    account = load(path, {"account.cash": 3}).account
    assert (account.cash, account.fee_bps, account.spread_bps) == (3, 2, 1)


def test_a_variable_that_names_no_section_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """LACUNA__RISKS__... would be silent otherwise."""
    monkeypatch.setenv("LACUNA__RISKS__POSITION_MAX", "0.1")
    with pytest.raises(BadConfiguration, match="LACUNA__RISKS__POSITION_MAX"):
        load()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[market", "not TOML"),
        ("[market]\nsoft_limit_ms = 30000", "soft_limit_ms is not below"),
        ("[market]\nhard_limit_ms = 60000", "hard_limit_ms is not below the timeframe"),
        ('[market]\ntimeframe = "2m"', "must be one of"),
        ('[market]\nsymbols = ["BTC/EUR"]', "not quoted in market.quote"),
        ('[market]\nsymbols = ["BTC"]', "write it as BTC/USDT"),
        ("[exchange]\nspeed = 10", "exchange.speed is for a simulated exchange"),
    ],
)
def test_contradictions_say_what_to_change(text: str, says: str, tmp_path: Path) -> None:
    """Each contradiction names the setting to change."""
    assert says in "\n".join(errors_of(text, tmp_path))


def test_a_missing_file_says_so() -> None:
    """A path that is not there is an error, not the defaults."""
    with pytest.raises(BadConfiguration, match="no such file"):
        load(Path("nowhere.toml"))


# -- strategies: validated once, after file, environment and command line are one


def test_a_strategys_setting_from_the_environment_is_checked_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault P17: what the strategy would refuse stops the start, whichever layer it came from."""
    monkeypatch.setenv("LACUNA__STRATEGIES__MASKED_DIVERGENCE__BET", "up")
    monkeypatch.setenv("LACUNA__STRATEGIES__HOLD__INVESTD", "0.5")
    with pytest.raises(BadConfiguration) as caught:
        load(None, {"account.cash": -1})
    text = "\n".join(caught.value.errors)
    assert "strategies.masked-divergence.bet:" in text
    assert "strategies.hold.investd: no such setting, did you mean strategies.hold.invested?" in text
    assert "account.cash:" in text


def test_the_layers_of_a_strategys_settings_are_one_before_they_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer alone is right, together they contradict each other; and where they fit they are numbers, not text."""
    path = tmp_path / "config.toml"
    path.write_text("[strategies.masked-divergence]\nz_exit = 1.5\nz_slices_min = 50")
    monkeypatch.setenv("LACUNA__STRATEGIES__MASKED_DIVERGENCE__Z_SLICES_MIN", "60")
    with pytest.raises(BadConfiguration, match=r"strategies\.masked-divergence: z_exit is not below z_entry"):
        load(path, {"strategies.masked-divergence.z_entry": 1.0})
    found = load(path, {"strategies.masked-divergence.z_entry": "3"}).strategies
    assert found == {"masked-divergence": {"z_exit": 1.5, "z_slices_min": 60, "z_entry": 3.0}}


@pytest.mark.parametrize("paths", [("market", "market.window"), ("market.window", "market")])
def test_a_section_cannot_be_a_value_and_a_section(paths: tuple[str, ...]) -> None:
    """Fault P17: --set market=1 --set market.window=3, in either order, is a sentence."""
    with pytest.raises(BadConfiguration, match="market: set as a whole and in part"):
        load(None, dict.fromkeys(paths, 3))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("market.soft_limit_ms", 0),
        ("market.soft_limit_ms", 499),
        ("feed.resync_every_s", 0),
        ("feed.resync_every_s", 0.001),
        ("feed.ping_every_s", 0.001),
        ("feed.attempts_window_s", 0.001),
    ],
)
def test_a_pause_that_would_be_none_is_refused(path: str, value: float) -> None:
    """A wait of nothing asks the exchange as fast as the machine can, or spends the budget of attempts for ever."""
    with pytest.raises(BadConfiguration, match=path):
        load(None, {path: value})


def test_a_ceiling_on_what_nothing_forecasts_is_refused(tmp_path: Path) -> None:
    """Without a volatility model the ceiling would be silent: it says which of the two to change."""
    (error,) = errors_of("[risk]\nforecast_volatility_max = 0.02\n[forecaster]\nvolatility = ''", tmp_path)
    assert "risk.forecast_volatility_max: forecaster.volatility names nothing that forecasts it" in error
